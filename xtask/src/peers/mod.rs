//! `cargo xtask peers`: a step of the hypergeometric law beside the same in PyTorch, cell by cell in one run, by process CPU
//! time and peak memory; selections, relaxed sorts and partitions beside PyTorch and JAX, op by op;
//! clustering beside ClustPy and UMAP.

mod clustering;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell::Repository;
use crate::table::{lines, number, short};
use crate::{table, vulkan};

/// All but `clustering`, which takes an hour; those but the first are ops of `benches/peers/selection.py`.
pub const OPS: &str = "hypergeometric,gumbel_softmax,gumbel_top_k,relaxed_top_k,sigmoid_top_k,nested_subset,subset_marginals,\
    neural_sort,soft_sort,partition,sparsemax,entmax15";
/// Our forms, of which the first is set against all others.
const OURS: [&str; 4] = ["exact", "merged", "exact-shared", "merged-shared"];
const PEERS: [&str; 3] = ["merged-cumsum", "merged-dense", "exact"];
/// Of a cell; `missing` says it in words.
const LIMITS: [&str; 2] = ["--time-limit-s", "120"];

/// Runs the hypergeometric law, for which `shapes` and `batches` are, then the other ops, then clustering, where `ops` names them.
///
/// # Errors
/// When a program fails or prints something else than figures.
pub fn run(repo: &Repository, python: &str, ops: &str, shapes: &str, batches: &str) -> Result<()> {
    vulkan::ensure(repo)?;
    let (clusterings, ops): (Vec<&str>, Vec<&str>) = ops.split(',').partition(|&op| op == "clustering");
    let (laws, selections): (Vec<&str>, Vec<&str>) = ops.into_iter().partition(|&op| op == "hypergeometric");
    if !laws.is_empty() {
        hypergeometric(repo, python, shapes, batches)?;
    }
    if !selections.is_empty() {
        selection(repo, python, &selections)?;
    }
    if !clusterings.is_empty() {
        clustering::run(repo, python)?;
    }
    Ok(())
}

/// Prints a table an op, at the shapes that the Python file has for it.
fn selection(repo: &Repository, python: &str, ops: &[&str]) -> Result<()> {
    let program = repo.build_bench("selection")?;
    for op in ops {
        let script = ["benches/peers/selection.py", "--ops", op];
        let peers = lines(&repo.output(repo.command(python).args(script).args(LIMITS))?)?;
        let mut shapes: Vec<String> = peers.iter().map(|figure| shape(figure).join("x")).collect();
        shapes.dedup(); // torch's and jax's lines of a shape follow each other
        let arguments = ["--ops", op, "--shapes", &shapes.join(",")];
        let ours = lines(&repo.output(repo.command(&program).args(arguments))?)?;
        println!("{op}, forward / step, CPU ms:\n");
        println!("{}", table::markdown(&selection_table(op, &shapes, &[ours, peers].concat())));
    }
    Ok(())
}

/// A row per shape; ratios are of the peer's time to ours.
fn selection_table(op: &str, shapes: &[String], figures: &[Value]) -> Vec<Vec<String>> {
    let titles = ["rows", "n", "k", "softurn", "torch", "torch / softurn", "jax", "jax / softurn"];
    let mut table = vec![titles.map(str::to_owned).to_vec()];
    for name in shapes {
        let of = |library: &str| {
            let form = format!("{library}-{op}");
            figures.iter().find(|figure| figure["form"] == form.as_str() && shape(figure).join("x") == *name)
        };
        let ours = of("softurn");
        let mut row: Vec<String> = name.split('x').map(str::to_owned).collect();
        row.push(pair(ours, |time, _| short(time)));
        for library in ["torch", "jax"] {
            let peer = of(library);
            row.push(pair(peer, |time, _| short(time)));
            row.push(pair(peer, |time, key| match ours.and_then(|ours| number(ours, key)) {
                Some(ours) => format!("{:.1}", time / ours),
                None => "-".to_owned(),
            }));
        }
        table.push(row);
    }
    table
}

fn shape(figure: &Value) -> [String; 3] {
    ["rows", "n", "k"].map(|key| figure[key].to_string())
}

/// What to show of a forward and of a step, or why there is nothing.
fn pair(figure: Option<&Value>, show: impl Fn(f64, &str) -> String) -> String {
    let Some(figure) = figure else { return "-".to_owned() };
    let cell = |key| number(figure, key).map(|time| show(time, key));
    match (cell("forward_cpu_ms"), cell("step_cpu_ms")) {
        (Some(forward), Some(step)) => format!("{forward} / {step}"),
        _ => missing(figure),
    }
}

/// Prints a table of times, ratios and memory, and how times grow.
fn hypergeometric(repo: &Repository, python: &str, shapes: &str, batches: &str) -> Result<()> {
    let program = repo.build_bench("hypergeometric")?;
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
            let forms = ["--forms", &forms];
            let peers = lines(&repo.output(repo.command(python).args(script).args(forms).args(LIMITS))?)?;
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

    #[test]
    fn selections_are_set_against_ours_shape_by_shape() {
        let line = |form: &str, k: u32, forward: f64, step: f64| {
            let text = format!(r#"{{"form": "{form}", "rows": 4, "n": 9, "k": {k}, "forward_cpu_ms": {forward}"#);
            lines(&format!(r#"{text}, "step_cpu_ms": {step}}}"#)).unwrap().remove(0)
        };
        let slow = serde_json::json!({"form": "jax-a", "rows": 4, "n": 9, "k": 2, "slow": true});
        let figures =
            [line("softurn-a", 2, 1.0, 2.0), line("torch-a", 2, 3.0, 8.0), slow, line("torch-a", 3, 1.0, 1.0)];
        let table = selection_table("a", &["4x9x2".to_owned(), "4x9x3".to_owned()], &figures);
        let told = "over 2 minutes";
        assert_eq!(table[1], ["4", "9", "2", "1.00 / 2.00", "3.00 / 8.00", "3.0 / 4.0", told, told]);
        assert_eq!(table[2], ["4", "9", "3", "-", "1.00 / 1.00", "- / -", "-", "-"]);
    }
}
