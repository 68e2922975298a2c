//! What became faster or slower since an earlier run, beyond what noise explains.

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Case, Rows, text, titles};
use crate::table::short;

/// The standard deviation of normal noise is this many median absolute deviations.
const DEVIATIONS: f64 = 1.4826;
/// No difference below this share is told, however quiet the samples are: other code moves in memory.
const FLOOR: f64 = 0.05;

/// Warnings where two runs differ in what surrounds them.
///
/// # Errors
/// When the adapters or their plans differ: their times say nothing about each other.
pub fn comparable(old: &Value, new: &Value) -> Result<Vec<String>> {
    for key in ["adapter", "plan", "clock"] {
        if old[key] != new[key] {
            bail!("--compare: its {key} is {}, this run's is {}", old[key], new[key]);
        }
    }
    let other = |key: &&str| !old[*key].is_null() && !new[*key].is_null() && old[*key] != new[*key];
    let warning = |key| format!("--compare: its {key} is {}, this run's is {}", old[key], new[key]);
    Ok(["python", "torch", "jax", "seconds"].into_iter().filter(|key| other(key)).map(warning).collect())
}

/// A row per case of either run, of the new run alone where a filter chose its cases; and how many became slower.
pub fn table(old: &Value, new: &Value) -> (Rows, usize) {
    let mut rows = vec![titles(["case", "shape", "old ms", "new ms", "old / new", "noise %", "verdict"])];
    let mut slower = 0;
    let name = |case: &Case<'_>| [case.text("case"), case.text("shape")].map(str::to_owned);
    for case in Case::all(new) {
        let before = Case::all(old).find(|before| name(before) == name(&case));
        let (Some(now), Some(Some(then))) = (case.time(), before.map(|before| before.time())) else {
            let ours = case.time().map_or_else(|| "-".to_owned(), |[median, _]| short(median));
            rows.push(titles([case.text("case"), case.text("shape"), "-", &ours, "-", "-", "new"]));
            continue;
        };
        let (bound, verdict) = judge(then, now);
        slower += usize::from(verdict == "slower");
        let mut row = name(&case).to_vec();
        row.extend([short(then[0]), short(now[0]), format!("{:.2}", then[0] / now[0])]);
        row.extend([format!("{:.0}", 100.0 * bound), verdict.to_owned()]);
        rows.push(row);
    }
    let gone = |before: &Case<'_>| new["filter"].is_null() && !Case::all(new).any(|case| name(&case) == name(before));
    for before in Case::all(old).filter(gone) {
        let then = before.time().map_or_else(|| "-".to_owned(), |[median, _]| short(median));
        rows.push(titles([text(before.value, "case"), before.text("shape"), &then, "-", "-", "-", "left out"]));
    }
    (rows, slower)
}

/// The share by which noise may change a time, three standard deviations of both runs together, and what to say of
/// medians with their median absolute deviations.
fn judge(old: [f64; 2], new: [f64; 2]) -> (f64, &'static str) {
    let bound = (3.0 * DEVIATIONS * (old[1] / old[0]).hypot(new[1] / new[0])).max(FLOOR);
    let verdict = if new[0] > old[0] * (1.0 + bound) {
        "slower"
    } else if old[0] > new[0] * (1.0 + bound) {
        "faster"
    } else {
        "same"
    };
    (bound, verdict)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(adapter: &str, times: &[(&str, f64, f64)]) -> Value {
        let case = |&(name, time, mad): &(&str, f64, f64)| json!({"case": name, "shape": "1", "cpu_ms": time, "cpu_ms_mad": mad});
        let cases: Vec<Value> = times.iter().map(case).collect();
        json!({"adapter": adapter, "plan": "Cpu", "clock": "cpu_ms", "python": "3.11", "cases": cases})
    }

    #[test]
    fn noise_bounds_come_from_both_runs_and_have_a_floor() {
        assert_eq!(judge([10.0, 0.0], [10.4, 0.0]), (0.05, "same"));
        assert_eq!(judge([10.0, 0.0], [10.6, 0.0]).1, "slower");
        assert_eq!(judge([10.6, 0.0], [10.0, 0.0]).1, "faster");
        // 3 · 1.4826 · √(0.03² + 0.04²) = 0.22239
        let (bound, verdict) = judge([10.0, 0.3], [12.0, 0.48]);
        assert!((bound - 0.22239).abs() < 1e-12 && verdict == "same", "{bound} {verdict}");
        assert_eq!(judge([10.0, 0.3], [12.3, 0.492]).1, "slower");
    }

    #[test]
    fn cases_of_either_run_are_told() {
        let old = run("a", &[("x", 1.0, 0.0), ("gone", 2.0, 0.0), ("z", 1.0, 0.0)]);
        let new = run("a", &[("x", 2.0, 0.0), ("added", 3.0, 0.0), ("z", 1.0, 0.0)]);
        let (rows, slower) = table(&old, &new);
        assert_eq!(slower, 1);
        assert_eq!(rows[1], ["x", "1", "1.00", "2.00", "0.50", "5", "slower"]);
        assert_eq!(rows[2], ["added", "1", "-", "3.00", "-", "-", "new"]);
        assert_eq!(rows[3][6], "same");
        assert_eq!(rows[4], ["gone", "1", "2.00", "-", "-", "-", "left out"]);
        let mut chosen = new.clone();
        chosen["filter"] = json!("x");
        assert_eq!(table(&old, &chosen).0.len(), 4, "a filter leaves out on purpose");
    }

    #[test]
    fn other_adapters_are_refused_and_other_pythons_told() {
        let (old, mut new) = (run("a", &[]), run("a", &[]));
        assert!(comparable(&old, &new).unwrap().is_empty());
        new["python"] = json!("3.12");
        assert_eq!(comparable(&old, &new).unwrap(), [r#"--compare: its python is "3.11", this run's is "3.12""#]);
        assert!(comparable(&old, &run("b", &[])).unwrap_err().to_string().contains("adapter"));
    }
}
