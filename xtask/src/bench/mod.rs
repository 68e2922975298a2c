//! `cargo xtask bench`: every op and a training step, timed, counted and set against ceilings measured in the same run,
//! and against PyTorch and JAX; as tables, JSON and a page with a roofline.

mod compare;
mod page;
mod roofline;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::shell::Repository;
use crate::table::{lines, number, short};
use crate::{table, vulkan};

const FORMS: [&str; 3] = ["torch", "torch.compile", "jax"];
/// Rows of a table, the first of which is the title.
type Rows = Vec<Vec<String>>;

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub struct Options {
    /// Only cases whose group or name contains this, besides those that ceilings are measured by
    filter: Option<String>,
    /// A Python that has torch or jax; without this option python3, if there is one
    #[arg(long)]
    python: Option<String>,
    /// Leave PyTorch and JAX out
    #[arg(long)]
    no_peers: bool,
    /// Where the figures go, instead of bench/bench.json in the build folder
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the page goes, instead of bench/bench.html in the build folder
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Figures of an earlier run: what became slower beyond the noise is told, and makes the command fail
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Seconds that the samples of a case take together
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// Measures, prints, writes and compares.
///
/// # Errors
/// When a program fails, a file cannot be read or written, or a case became slower than noise explains.
pub fn run(repo: &Repository, options: &Options) -> Result<()> {
    vulkan::ensure(repo)?;
    // Before anything is measured or written: a missing file costs no minutes, and may be the one that is overwritten.
    let old = options.compare.as_deref().map(read).transpose()?;
    let figures = measure(repo, options)?;
    if let Some(old) = &old {
        for warning in compare::comparable(old, &figures)? {
            println!("Warning: {warning}.\n");
        }
    }
    println!("{}\n", describe(&figures));
    println!("{}", table::markdown(&cases(&figures)));
    let peers = peers(&figures);
    if peers.len() > 1 {
        println!("{}\n\n{}", describe_peers(&figures), table::markdown(&peers));
    }
    let compared = old.as_ref().map(|old| compare::table(old, &figures));
    if let Some((rows, _)) = &compared {
        println!("Against {}:\n\n{}", old_commit(old.as_ref()), table::markdown(rows));
    }
    let file = |given: &Option<PathBuf>, name: &str| {
        std::path::absolute(given.clone().unwrap_or_else(|| repo.target.join("bench").join(name)))
    };
    let (json, html) = (file(&options.json, "bench.json")?, file(&options.html, "bench.html")?);
    write(&json, &format!("{figures:#}\n"))?;
    write(&html, &page::page(&figures, compared.as_ref().map(|(rows, _)| rows)))?;
    println!("{}\n{}", json.display(), html.display());
    match compared {
        Some((_, slower)) if slower > 0 => bail!("{slower} cases are slower than noise explains"),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--compare {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("--compare {}: no figures of this command", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Runs our program, then the peers' at the same cases and shapes.
fn measure(repo: &Repository, options: &Options) -> Result<Value> {
    let program = repo.build_bench("bench")?;
    let seconds = options.seconds.to_string();
    let mut command = repo.command(&program);
    // A first run compiles: no cache of an earlier one.
    command.env("MESA_SHADER_CACHE_DISABLE", "true").env("__GL_SHADER_DISK_CACHE", "0");
    command.args(["--seconds", &seconds]).args(&options.filter);
    let cases = lines(&repo.output(&mut command)?)?;
    let software = cases.first().context("no case was timed")?["device_type"] == "Cpu";
    let peers = match (&options.python, options.no_peers) {
        (_, true) => Vec::new(),
        (None, false) if repo.output(repo.command("python3").arg("--version")).is_err() => {
            println!("There is no python3: PyTorch and JAX are left out.\n");
            Vec::new()
        }
        (python, false) => {
            let asked: Vec<String> =
                cases.iter().map(|case| format!("{}:{}", text(case, "case"), text(case, "shape"))).collect();
            let mut command = repo.command(python.as_deref().unwrap_or("python3"));
            command.args(["benches/peers/bench.py", "--seconds", &seconds, "--cases", &asked.join(",")]);
            command.args(["--device", if software { "cpu" } else { "auto" }]);
            lines(&repo.output(&mut command)?)?
        }
    };
    let commit = repo.output(repo.command("git").args(["describe", "--always", "--dirty"])).unwrap_or_default();
    let mut figures = collect(cases, peers, commit.trim(), options.seconds);
    figures["filter"] = json!(options.filter);
    Ok(figures)
}

/// All figures of a run with its ceilings.
fn collect(cases: Vec<Value>, peers: Vec<Value>, commit: &str, seconds: f64) -> Value {
    let of = |key: &str| cases.first().map_or(Value::Null, |case| case[key].clone());
    let version = |key: &str| peers.iter().find_map(|peer| peer.get(key)).cloned().unwrap_or(Value::Null);
    let clock = if of("device_type") == "Cpu" { "cpu_ms" } else { "gpu_ms" };
    let mut figures = json!({
        "adapter": of("adapter"), "device_type": of("device_type"), "plan": of("plan"), "seed": of("seed"),
        "commit": commit, "seconds": seconds, "clock": clock,
        "python": version("python"), "torch": version("torch"), "jax": version("jax"),
    });
    let timed = |name: &'static str| {
        let cases = cases.iter().filter(move |case| case["group"] == name || case["case"] == name);
        cases.map(|value| Case { value, clock })
    };
    figures["copy_gb_s"] = json!(timed("copy").filter_map(|case| case.gigabytes()).reduce(f64::max));
    figures["matmul_gflop_s"] = json!(timed("matmul").filter_map(|case| case.gigaflops()).reduce(f64::max));
    figures["cases"] = Value::Array(cases);
    figures["peers"] = Value::Array(peers);
    figures
}

/// A case with the clock that its rates go by.
struct Case<'a> {
    value: &'a Value,
    clock: &'a str,
}

impl<'a> Case<'a> {
    /// All cases of a run.
    fn all(figures: &'a Value) -> impl Iterator<Item = Self> {
        let clock = figures["clock"].as_str().unwrap_or("wall_ms");
        figures["cases"].as_array().into_iter().flatten().map(move |value| Case { value, clock })
    }

    fn text(&self, key: &str) -> &'a str {
        text(self.value, key)
    }

    fn number(&self, key: &str) -> Option<f64> {
        number(self.value, key)
    }

    /// The clock that counts: where there are no timestamps, wall.
    fn clock(&self) -> &'a str {
        if self.number(self.clock).is_some() { self.clock } else { "wall_ms" }
    }

    /// The median of that clock in milliseconds and its median absolute deviation.
    fn time(&self) -> Option<[f64; 2]> {
        Some([self.number(self.clock())?, self.number(&format!("{}_mad", self.clock()))?])
    }

    /// Bytes that are moved in that time: copies have no timestamps.
    fn bytes(&self) -> Option<f64> {
        let copied = if self.clock() == "gpu_ms" { self.number("copied_bytes")? } else { 0.0 };
        Some(self.number("bytes")? - copied)
    }

    fn gigabytes(&self) -> Option<f64> {
        Some(self.bytes()? / self.time()?[0] / 1e6)
    }

    fn gigaflops(&self) -> Option<f64> {
        Some(self.number("flop")? / self.time()?[0] / 1e6)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn describe(figures: &Value) -> String {
    let clock = match figures["clock"].as_str() {
        Some("cpu_ms") => "process CPU time of all threads",
        _ => "the device's timestamps, or by wall where it has none (copies)",
    };
    let ceiling = |key| number(figures, key).map_or_else(|| "-".to_owned(), short);
    format!(
        "{}, plan {}, seed {}, commit {}. Rates are by {clock}; ceilings of this run: copy {} GB/s (read and written), best \
         matmul {} GFLOP/s. The first run is on a fresh device and compiles.",
        text(figures, "adapter"),
        text(figures, "plan"),
        figures["seed"],
        text(figures, "commit"),
        ceiling("copy_gb_s"),
        ceiling("matmul_gflop_s"),
    )
}

fn titles<const N: usize>(titles: [&str; N]) -> Vec<String> {
    titles.map(str::to_owned).to_vec()
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), short)
}

/// A row per case.
fn cases(figures: &Value) -> Rows {
    let mut table = vec![titles([
        "case",
        "shape",
        "GPU ms",
        "wall ms",
        "CPU ms",
        "± %",
        "dispatches",
        "MB",
        "MFLOP",
        "GB/s",
        "% of copy",
        "GFLOP/s",
        "% of matmul",
        "first run ms",
    ])];
    for case in Case::all(figures) {
        let share = |rate: Option<f64>, ceiling| {
            let share = rate.zip(number(figures, ceiling)).map(|(rate, ceiling)| 100.0 * rate / ceiling);
            share.map_or_else(|| "-".to_owned(), |share| format!("{share:.1}"))
        };
        let spread = case.time().map_or_else(|| "-".to_owned(), |[median, mad]| format!("{:.1}", 100.0 * mad / median));
        let (bytes, flop) = (case.gigabytes(), case.gigaflops());
        let mut row = titles([case.text("case"), case.text("shape")]);
        row.extend(["gpu_ms", "wall_ms", "cpu_ms"].map(|key| cell(case.number(key))));
        row.extend([spread, case.value["dispatches"].to_string()]);
        row.extend([case.number("bytes"), case.number("flop")].map(|count| cell(count.map(|count| count / 1e6))));
        row.extend([cell(bytes), share(bytes, "copy_gb_s"), cell(flop), share(flop, "matmul_gflop_s")]);
        row.push(cell(case.number("first_ms")));
        table.push(row);
    }
    table
}

/// The clock that ours and the peers' have in common.
fn common_clock(figures: &Value) -> &'static str {
    if figures["clock"] == "cpu_ms" { "cpu_ms" } else { "wall_ms" }
}

fn describe_peers(figures: &Value) -> String {
    let clock = if common_clock(figures) == "cpu_ms" {
        "process CPU ms (the peers run on one thread)"
    } else {
        "wall ms of many runs and one wait"
    };
    let peers = figures["peers"].as_array();
    let device = |form: &&str| {
        let of =
            |key: &str| peers?.iter().find(|peer| peer["form"] == **form && peer.get(key).is_some())?[key].as_str();
        let library = form.split('.').next().unwrap_or(form);
        Some(format!("{form} {} on {}", text(figures, library), of("device")?))
    };
    let mut told: Vec<String> = FORMS.iter().filter_map(device).collect();
    let skipped = peers.into_iter().flatten().filter(|peer| peer.get("skipped").is_some());
    told.extend(
        skipped.map(|peer| format!("{} {} skipped: {}", text(peer, "form"), text(peer, "case"), text(peer, "skipped"))),
    );
    told.dedup();
    format!("Peers, {clock}; Python {}; {}:", text(figures, "python"), told.join("; "))
}

/// A row per case that a peer has; ratios are of the peer's time to ours, so that above 1 ours is faster.
fn peers(figures: &Value) -> Rows {
    let key = common_clock(figures);
    let mut table = vec![titles([
        "case",
        "shape",
        "softurn",
        "torch",
        "torch / softurn",
        "torch.compile",
        "torch.compile / softurn",
        "jax",
        "jax / softurn",
    ])];
    let peers: Vec<&Value> = figures["peers"].as_array().into_iter().flatten().collect();
    for case in Case::all(figures) {
        let same = |peer: &&&Value| peer["case"] == case.value["case"] && peer["shape"] == case.value["shape"];
        let of = |form: &str| peers.iter().filter(same).find(|peer| peer["form"] == form);
        let ours = case.number(key);
        let mut row = titles([case.text("case"), case.text("shape")]);
        row.push(cell(ours));
        let mut any = false;
        for form in FORMS {
            let peer = of(form);
            any |= peer.is_some();
            let time = peer.and_then(|peer| number(peer, key));
            row.push(match peer {
                Some(peer) if peer.get("skipped").is_some() => "skipped".to_owned(),
                Some(peer) if peer.get("slow").is_some() => "too slow".to_owned(),
                _ => cell(time),
            });
            row.push(cell(time.zip(ours).map(|(time, ours)| time / ours)));
        }
        if any {
            table.push(row);
        }
    }
    table
}

fn old_commit(old: Option<&Value>) -> String {
    old.map_or_else(String::new, |old| format!("commit {}", text(old, "commit")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(group: &str, name: &str, cpu: f64, flop: Option<f64>) -> Value {
        json!({
            "group": group, "case": name, "shape": "2x3", "adapter": "a", "device_type": "Cpu", "plan": "Cpu", "seed": 0,
            "wall_ms": 2.0 * cpu, "wall_ms_mad": 0.5, "cpu_ms": cpu, "cpu_ms_mad": 0.1, "first_ms": 12.0, "flop": flop,
            "bytes": 4e6, "copied_bytes": 1e6, "dispatches": 3,
        })
    }

    #[test]
    fn rates_are_shares_of_what_the_same_run_reached() {
        let timed = vec![
            case("ceilings", "copy", 1.0, None),
            case("matmul", "matmul", 2.0, Some(8e6)),
            case("matmul", "matmul NT", 1.0, Some(8e6)),
            case("rows", "softmax", 2.0, Some(2e6)),
        ];
        let figures = collect(timed, Vec::new(), "c", 1.0);
        assert_eq!(number(&figures, "copy_gb_s"), Some(4.0));
        assert_eq!(number(&figures, "matmul_gflop_s"), Some(8.0));
        let table = cases(&figures);
        let expected =
            ["softmax", "2x3", "-", "4.00", "2.00", "5.0", "3", "4.00", "2.00", "2.00", "50.0", "1.00", "12.5", "12.0"];
        assert_eq!(table[4], expected);
        assert_eq!(table[1][8], "-", "nobody counts operations of a copy");
    }

    #[test]
    fn on_a_gpu_timestamps_count_but_for_copies() {
        let mut timed = vec![case("ceilings", "copy", 1.0, None), case("rows", "softmax", 1.0, None)];
        timed.iter_mut().for_each(|case| case["device_type"] = json!("DiscreteGpu"));
        timed[1]["gpu_ms"] = json!(0.5);
        timed[1]["gpu_ms_mad"] = json!(0.0);
        let figures = collect(timed, Vec::new(), "c", 1.0);
        let rates: Vec<_> = Case::all(&figures).map(|case| (case.clock(), case.gigabytes())).collect();
        assert_eq!(rates, [("wall_ms", Some(2.0)), ("gpu_ms", Some(6.0))]);
    }

    #[test]
    fn peers_are_set_against_ours_of_the_same_shape() {
        let timed = vec![case("rows", "softmax", 2.0, None), case("rows", "argmax", 2.0, None)];
        let peer = |form: &str, shape: &str| json!({"form": form, "case": "softmax", "shape": shape, "cpu_ms": 3.0, "device": "cpu"});
        let skipped = json!({"form": "torch.compile", "case": "softmax", "shape": "2x3", "skipped": "no compiler"});
        let figures = collect(timed, vec![peer("torch", "2x3"), skipped, peer("jax", "9x9")], "c", 1.0);
        let table = peers(&figures);
        assert_eq!(table.len(), 2);
        assert_eq!(table[1], ["softmax", "2x3", "2.00", "3.00", "1.50", "skipped", "-", "-", "-"]);
        assert!(describe_peers(&figures).contains("torch.compile softmax skipped: no compiler"));
    }
}
