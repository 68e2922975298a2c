//! `cargo xtask peers`: a step of the hypergeometric law beside the same in PyTorch, cell by cell in one run, by process CPU
//! time and peak memory.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell::Repository;
use crate::{table, vulkan};

/// Our forms, of which the first is set against all others.
const OURS: [&str; 4] = ["exact", "merged", "exact-shared", "merged-shared"];
const PEERS: [&str; 3] = ["merged-cumsum", "merged-dense", "exact"];

/// Prints a table of times, ratios and memory, and how times grow.
///
/// # Errors
/// When a program fails or prints something else than figures.
pub fn run(repo: &Repository, python: &str, shapes: &str, batches: &str) -> Result<()> {
    vulkan::ensure(repo)?;
    repo.run(repo.cargo().args(["build", "--release", "-p", "softurn-benches", "--bin", "hypergeometric"]))?;
    let program = repo.target.join("release").join(format!("hypergeometric{}", std::env::consts::EXE_SUFFIX));
    let mut times = vec![titles(&["step, CPU ms"], &OURS, &PEERS)];
    let mut ratios = vec![titles(&["peer / exact"], &[], &PEERS)];
    let mut memory = vec![titles(&["peak, MB"], &OURS[..2], &PEERS)];
    let mut growth: Vec<(String, f64, f64)> = Vec::new();
    for shape in shapes.split(',') {
        for batch in batches.split(',') {
            // Side by side: what else the machine does falls on all of a cell.
            let forms = OURS.join(",");
            let arguments = ["--shapes", shape, "--batches", batch, "--forms", &forms];
            let ours = lines(&repo.output(repo.command(&program).args(arguments))?)?;
            let forms = PEERS.join(",");
            let script = ["benches/peers/hypergeometric.py", "--json", "--shapes", shape, "--batches", batch];
            let limits = ["--forms", &forms, "--time-limit-s", "120"];
            let peers = lines(&repo.output(repo.command(python).args(script).args(limits))?)?;
            let name = format!("{shape}, {batch} rows");
            let exact = number(&ours[0], "step_cpu_ms").context("our step was not timed")?;
            let cells = |figures: &[Value], key: &str| -> Vec<String> {
                figures.iter().map(|figure| number(figure, key).map_or_else(|| missing(figure), short)).collect()
            };
            times.push(row(&name, [cells(&ours, "step_cpu_ms"), cells(&peers, "step_cpu_ms")].concat()));
            memory.push(row(&name, [cells(&ours[..2], "peak_mb"), cells(&peers, "peak_mb")].concat()));
            let ratio = |figure: &Value| {
                number(figure, "step_cpu_ms").map_or_else(|| missing(figure), |time| format!("{:.1}", time / exact))
            };
            ratios.push(row(&name, peers.iter().map(ratio).collect()));
            growth.push((shape.to_owned(), batch.parse().context("--batches")?, exact));
            println!("{}", table::aligned(&[times[0].clone(), times[times.len() - 1].clone()]));
        }
    }
    for rows in [&times, &ratios, &memory] {
        println!("{}", table::markdown(rows));
    }
    println!("Growth of the exact step with rows, exponent between neighbouring batches:");
    for pair in growth.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let exponent = (pair[1].2 / pair[0].2).ln() / (pair[1].1 / pair[0].1).ln();
        println!("  {} from {} to {} rows: {exponent:.2}", pair[0].0, pair[0].1, pair[1].1);
    }
    Ok(())
}

fn titles(first: &[&str], ours: &[&str], peers: &[&str]) -> Vec<String> {
    let ours = ours.iter().map(|form| (*form).to_owned());
    first
        .iter()
        .map(|title| (*title).to_owned())
        .chain(ours)
        .chain(peers.iter().map(|form| format!("torch {form}")))
        .collect()
}

fn row(name: &str, cells: Vec<String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells).collect()
}

fn lines(output: &str) -> Result<Vec<Value>> {
    output.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no figures: {line}"))).collect()
}

fn number(figure: &Value, key: &str) -> Option<f64> {
    figure.get(key).and_then(Value::as_f64)
}

/// Why a cell has no time.
fn missing(figure: &Value) -> String {
    let set = |key| figure.get(key).and_then(Value::as_bool) == Some(true);
    if set("oom") {
        "out of memory"
    } else if set("slow") {
        "over 2 minutes"
    } else {
        "-"
    }
    .to_owned()
}

/// Three digits.
fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_say_why_they_are_empty() {
        let figures = lines("{\"oom\": true}\n{\"step_cpu_ms\": 12.34}\n").unwrap();
        assert_eq!(missing(&figures[0]), "out of memory");
        assert_eq!(number(&figures[1], "step_cpu_ms").map(short).unwrap(), "12.3");
        assert!(lines("no JSON").is_err());
    }
}
