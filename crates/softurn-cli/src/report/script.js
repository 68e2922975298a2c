// Single out one group: point at its name to look, click to keep it.
for (const panel of document.querySelectorAll(".panel")) {
  const marks = panel.querySelectorAll("svg [data-g]");
  const keys = panel.querySelectorAll("button[data-g]");
  let kept = null;
  const show = (key) => {
    for (const mark of marks) mark.classList.toggle("away", key !== null && mark.dataset.g !== key);
    for (const button of keys) button.setAttribute("aria-pressed", String(button.dataset.g === kept));
  };
  for (const button of keys) {
    button.addEventListener("mouseenter", () => show(button.dataset.g));
    button.addEventListener("focus", () => show(button.dataset.g));
    button.addEventListener("mouseleave", () => show(kept));
    button.addEventListener("blur", () => show(kept));
    button.addEventListener("click", () => {
      kept = kept === button.dataset.g ? null : button.dataset.g;
      show(kept);
    });
  }
}
