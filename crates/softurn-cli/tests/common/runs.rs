//! What tests of whole runs share: their figures, their reports, and runs that are killed and resumed.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::{run, subcommand, succeed, wait};

pub fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one object")
}

pub fn number(summary: &Value, key: &str) -> f64 {
    summary[key].as_f64().unwrap_or_else(|| panic!("{key}: {summary}"))
}

/// Bad input: one line on standard error that names the argument and says what is wanted, and nothing is written below `folder`.
pub fn refuses(words: &str, folder: &Path, wanted: &str) {
    let output = run(words, &folder.join("deep/run"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words}: {errors}");
    assert!(errors.lines().count() == 1 && output.stdout.is_empty(), "{words}: {errors}");
    assert!(errors.starts_with("error: --") || errors.starts_with("error: invalid value"), "{errors}");
    assert!(errors.contains(wanted), "{words}: {errors}");
    assert!(!folder.join("deep").exists(), "{words}");
}

/// Kills a run after its first epoch, lets nobody change `other`, and resumes it.
pub fn kill_and_resume(words: &str, command: &str, out: &Path, (other, refusal): (&str, &str)) -> Value {
    let mut child = subcommand(&format!("{words} --quiet"), out).spawn().expect("the program starts");
    assert!(wait(&mut child, out, |text| text.contains("\"epoch\":1")), "the run was too quick to be killed");
    child.kill().expect("a kill");
    child.wait().expect("a child");
    assert!(!out.join("report.html").exists());
    let refused = run(&format!("{command} --resume {other}"), out);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && errors.starts_with(refusal), "{errors}");
    summary(&succeed(&format!("{command} --resume --quiet --json"), out))
}

/// What two runs of one configuration do not share.
pub fn without_times(mut summary: Value) -> Value {
    let object = summary.as_object_mut().expect("an object");
    for key in ["out", "report", "seconds", "samples_per_second"] {
        assert!(object.remove(key).is_some(), "{key}");
    }
    summary
}

pub fn check_page(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part}");
    }
    for outside in ["http://", "https://", "src=\"//", "@import", "<link", "url("] {
        assert!(!page.contains(outside), "{outside} reaches outside the page");
    }
    for broken in ["NaN", "inf\"", "undefined"] {
        assert!(!page.contains(broken), "{broken}");
    }
}

/// Rows of the first table of a section of a report: their cells but for the first.
pub fn cells(page: &str, section: &str) -> Vec<Vec<String>> {
    let table = page.split(&format!("<section id=\"{section}\">")).nth(1).and_then(|rest| rest.split("<tbody>").nth(1));
    let table = table.and_then(|rest| rest.split("</tbody>").next()).expect(section);
    let cell = |cell: &str| cell.split("</td>").next().unwrap_or("").replace(',', "");
    let rows = table.split("</tr>").map(|row| row.split("<td>").skip(1).map(cell).collect::<Vec<_>>());
    rows.filter(|cells| !cells.is_empty()).collect()
}
