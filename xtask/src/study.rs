//! `cargo xtask verify NAME`: long studies, cell by cell.
//!
//! A finished cell is `target/verify/STUDY/CELL.json` (its arguments, the adapter that was asked for, the commit, the
//! program's own summary) and is not run again as long as arguments and adapter stay the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::figures::{self, Column};
use crate::shell::Repository;
use crate::studies::{DATA, studies};
use crate::{table, vulkan};

/// Many runs of the program and the table that they fill.
pub struct Study {
    pub name: &'static str,
    /// The subcommand of `softurn`, in one word or two.
    pub command: &'static str,
    /// What its tables show.
    pub columns: &'static [Column],
    pub about: &'static str,
    pub cells: Vec<Cell>,
    /// Rows whose difference is shown, the second taken off the first, seed by seed.
    pub pairs: Vec<[String; 2]>,
}

/// One run of `softurn`.
pub struct Cell {
    /// Row of the table; cells of one row are averaged.
    pub row: String,
    pub seed: u64,
    /// Arguments of the subcommand, without `--seed` and those that say where the result goes.
    arguments: Vec<String>,
    /// The adapter that was asked for; part of what a stored result must match.
    adapter: Option<String>,
}

impl Cell {
    pub fn new(row: &str, seed: u64, common: &[&str], own: &[&str]) -> Self {
        let arguments = common.iter().chain(own).map(|&word| word.to_owned()).collect();
        Self { row: row.to_owned(), seed, arguments, adapter: None }
    }

    fn name(&self) -> String {
        format!("{}-{}", self.row.replace([' ', ','], "-"), self.seed)
    }

    fn arguments(&self) -> Vec<String> {
        [self.arguments.clone(), vec!["--seed".to_owned(), self.seed.to_string()]].concat()
    }
}

/// Prints the studies and their cells.
pub fn list() {
    for study in studies() {
        println!("{}: {}", study.name, study.about);
        for cell in study.cells {
            println!("    {:24} softurn {} {}", cell.name(), study.command, cell.arguments().join(" "));
        }
    }
}

/// Runs the cells of a study that are not finished, then prints its table and writes it in Markdown.
///
/// # Errors
/// When the study does not exist, or a cell fails (after the others have run).
pub fn run(repo: &Repository, name: &str, fresh: bool) -> Result<()> {
    let Some(mut study) = studies().into_iter().find(|study| study.name == name) else {
        let names: Vec<&str> = studies().iter().map(|study| study.name).collect();
        bail!("no study is called {name:?}; there is {}", names.join(", "));
    };
    study.cells.iter_mut().for_each(|cell| cell.adapter = repo.adapter());
    vulkan::ensure(repo)?;
    let program = repo.build_program()?;
    let folder = repo.target.join("verify").join(study.name);
    if fresh && folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let commit = commit(repo);
    let data = std::env::var("SOFTURN_DATA").ok();
    let failed = advance(&study, &folder, |cell, out| {
        let mut command = repo.command(&program);
        command
            .args(study.command.split_whitespace())
            .args(with_data(cell.arguments(), data.as_deref())?)
            .args(["--json", "--quiet", "--out"])
            .arg(out);
        let summary = figures::parse(&repo.output(&mut command)?)?;
        Ok(json!({
            "arguments": cell.arguments(),
            "asked_adapter": cell.adapter,
            "commit": commit,
            "summary": summary,
        }))
    })?;

    let heading = heading(&study, &folder);
    let (mut shown, mut markdown) = (heading.clone(), heading);
    for (title, rows) in [("", rows(&study, &folder)), (DIFFERENCES, differences(&study, &folder))] {
        if rows.len() > 1 {
            shown += &format!("\n\n{title}{}", table::aligned(&rows));
            markdown += &format!("\n\n{title}{}", table::markdown(&rows));
        }
    }
    let file = folder.join("table.md");
    std::fs::write(&file, markdown).with_context(|| format!("cannot write {}", file.display()))?;
    println!("\n{shown}\nin Markdown: {}", file.display());
    if !failed.is_empty() {
        bail!("{} of {} cells failed: {}", failed.len(), study.cells.len(), failed.join(", "));
    }
    Ok(())
}

/// The arguments with the folder of data sets in place.
pub fn with_data(arguments: Vec<String>, folder: Option<&str>) -> Result<Vec<String>> {
    let with = |argument: String| match folder {
        Some(folder) => Ok(argument.replace(DATA, folder)),
        None if argument.contains(DATA) => bail!("SOFTURN_DATA is not set; it names the folder of {argument}"),
        None => Ok(argument),
    };
    arguments.into_iter().map(with).collect()
}

/// Runs every unfinished cell and stores its result; returns the names of those that failed.
fn advance(study: &Study, folder: &Path, run: impl Fn(&Cell, &Path) -> Result<Value>) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for (i, cell) in study.cells.iter().enumerate() {
        let name = cell.name();
        let place = format!("[{}/{}] {name}", i + 1, study.cells.len());
        if stored(cell, folder).is_some() {
            println!("{place}: done before");
            continue;
        }
        // What an interrupted run left; the program refuses to write into it.
        let out = folder.join("runs").join(&name);
        if out.exists() {
            std::fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
        }
        std::fs::create_dir_all(folder.join("runs"))?;
        match run(cell, &out) {
            Ok(result) => {
                store(&file(cell, folder), &result)?;
                println!("{place}: {}", figures::in_words(study.columns, &result["summary"]));
            }
            Err(error) => {
                println!("{place}: FAILED: {error:#}");
                failed.push(name);
            }
        }
    }
    Ok(failed)
}

/// What the table shows, and the commits and adapters that its cells come from: a resumed study may mix them.
fn heading(study: &Study, folder: &Path) -> String {
    let done: Vec<Value> = study.cells.iter().filter_map(|cell| stored(cell, folder)).collect();
    let all = |get: fn(&Value) -> &Value| {
        let values: BTreeSet<&str> = done.iter().map(|result| get(result).as_str().unwrap_or("unknown")).collect();
        values.into_iter().collect::<Vec<_>>().join(", ")
    };
    let (commits, adapters) = (all(|result| &result["commit"]), all(|result| &result["summary"]["adapter"]));
    format!("{}; mean ± standard deviation. Commit: {commits}. Adapter: {adapters}.", study.about)
}

/// One row of means and deviations for every row of the study.
fn rows(study: &Study, folder: &Path) -> Vec<Vec<String>> {
    let title = ["", "cells"].into_iter().chain(titles(study)).map(str::to_owned).collect();
    let mut rows: Vec<Vec<String>> = vec![title];
    let mut seen = Vec::new();
    for cell in &study.cells {
        if seen.contains(&&cell.row) {
            continue;
        }
        seen.push(&cell.row);
        let cells = study.cells.iter().filter(|other| other.row == cell.row);
        let done: Vec<Value> = cells.filter_map(|cell| stored(cell, folder)).collect();
        let figures: Vec<_> = done.iter().map(|result| figures::figures(study.columns, &result["summary"])).collect();
        let mut row = vec![cell.row.clone(), done.len().to_string()];
        for (i, title) in titles(study).enumerate() {
            let values: Vec<f64> = figures.iter().filter_map(|figures| figures[i]).collect();
            row.push(mean_and_deviation(title, &values));
        }
        rows.push(row);
    }
    rows
}

fn titles(study: &Study) -> impl Iterator<Item = &'static str> {
    study.columns.iter().map(|(title, _)| *title)
}

/// What stands above the table of [`differences`].
const DIFFERENCES: &str = "Differences seed by seed, mean and 95 % interval (Student's t):\n\n";

/// The mean difference of each pair of rows over the seeds that both have, with its confidence interval.
fn differences(study: &Study, folder: &Path) -> Vec<Vec<String>> {
    let titles = ["", "seeds"].into_iter().chain(titles(study)).map(str::to_owned).collect();
    let mut rows: Vec<Vec<String>> = vec![titles];
    let of = |row: &str, seed: u64| {
        let cell = study.cells.iter().find(|cell| cell.row == row && cell.seed == seed)?;
        Some(figures::figures(study.columns, &stored(cell, folder)?["summary"]))
    };
    for [a, b] in &study.pairs {
        let seeds: BTreeSet<u64> = study.cells.iter().map(|cell| cell.seed).collect();
        let both: Vec<_> = seeds.into_iter().filter_map(|seed| Some([of(a, seed)?, of(b, seed)?])).collect();
        let mut row = vec![format!("{a} - {}", b.rsplit(", ").next().unwrap_or(b)), both.len().to_string()];
        row.extend((0..study.columns.len()).map(|i| {
            let values: Vec<f64> = both.iter().filter_map(|[a, b]| Some(a[i]? - b[i]?)).collect();
            interval(&values)
        }));
        rows.push(row);
    }
    rows
}

/// The 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
const STUDENT: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];

fn interval(values: &[f64]) -> String {
    let n = values.len() as f64;
    let Some(quantile) = values.len().checked_sub(2).and_then(|i| STUDENT.get(i)) else {
        return "-".to_owned();
    };
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = quantile * (variance / n).sqrt();
    format!("{mean:+.3} [{:+.3}, {:+.3}]", mean - half, mean + half)
}

/// `0.750 ± 0.354`, with the deviation of a sample.
pub fn mean_and_deviation(title: &str, values: &[f64]) -> String {
    if values.is_empty() {
        return figures::cell(title, None);
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    // Of a sample: one value has no deviation.
    let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    format!("{} ± {}", figures::cell(title, Some(mean)), figures::cell(title, deviation))
}

fn file(cell: &Cell, folder: &Path) -> PathBuf {
    folder.join(format!("{}.json", cell.name()))
}

/// The finished result of a cell, if its arguments and adapter are still the ones it was made with.
fn stored(cell: &Cell, folder: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(file(cell, folder)).ok()?;
    let result: Value = serde_json::from_str(&text).ok()?;
    let same = result["arguments"] == json!(cell.arguments()) && result["asked_adapter"] == json!(cell.adapter);
    same.then_some(result)
}

/// Written beside and renamed, so that a file that exists is whole.
fn store(file: &Path, result: &Value) -> Result<()> {
    let beside = file.with_extension("json.new");
    let text = serde_json::to_string_pretty(result)? + "\n";
    std::fs::write(&beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, file).with_context(|| format!("cannot write {}", file.display()))
}

fn commit(repo: &Repository) -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(&repo.root).stderr(Stdio::null());
    let output = git.output().ok().filter(|output| output.status.success());
    output.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::studies::{datasets, digits, imbalance};

    #[test]
    fn studies_have_unique_cells() {
        for study in studies() {
            let mut names: Vec<String> = study.cells.iter().map(Cell::name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), study.cells.len(), "{}", study.name);
        }
        assert_eq!(digits().cells.len(), 25);
    }

    #[test]
    fn finished_cells_are_kept_and_failed_ones_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let study = digits();
        let ran = RefCell::new(Vec::new());
        let attempt = |broken: bool| {
            ran.borrow_mut().clear();
            advance(&study, folder.path(), |cell, out| {
                assert!(!out.exists(), "the program refuses a folder that exists");
                ran.borrow_mut().push(cell.name());
                std::fs::create_dir(out)?;
                if broken && cell.row == "gmm" {
                    bail!("no adapter");
                }
                Ok(json!({ "arguments": cell.arguments(), "summary": { "accuracy": cell.seed as f64 / 4.0 } }))
            })
            .unwrap()
        };
        let failed = attempt(true);
        assert_eq!((ran.borrow().len(), failed.len()), (25, 5));
        assert_eq!(failed[0], "gmm-0");
        assert!(attempt(false).is_empty());
        assert_eq!(ran.borrow().len(), 5, "only the failed cells");
        assert!(attempt(false).is_empty());
        assert!(ran.borrow().is_empty());

        let table = rows(&study, folder.path());
        assert_eq!(table.len(), 6);
        assert_eq!(table[1], ["hypergeometric", "5", "0.500 ± 0.395", "-", "-", "-", "-"]);

        // A truncated result is not a result.
        std::fs::write(folder.path().join("uniform-3.json"), "{\"arguments\": [").unwrap();
        attempt(false);
        assert_eq!(*ran.borrow(), ["uniform-3"]);
    }

    #[test]
    fn results_of_other_arguments_or_adapters_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let cell = |arguments: &[&str], adapter: Option<&str>| Cell {
            adapter: adapter.map(str::to_owned),
            ..Cell::new("uniform", 0, &[], arguments)
        };
        let old = cell(&["--epochs", "1"], None);
        store(&file(&old, folder.path()), &json!({ "arguments": old.arguments(), "asked_adapter": null })).unwrap();
        assert!(stored(&old, folder.path()).is_some());
        assert!(stored(&cell(&["--epochs", "2"], None), folder.path()).is_none());
        assert!(stored(&cell(&["--epochs", "1"], Some("1")), folder.path()).is_none());
    }

    #[test]
    fn the_heading_names_every_commit() {
        let folder = tempfile::tempdir().unwrap();
        let study = digits();
        for (cell, commit) in study.cells.iter().zip(["b", "a", "b"]) {
            let result =
                json!({ "arguments": cell.arguments(), "commit": commit, "summary": { "adapter": "llvmpipe" } });
            store(&file(cell, folder.path()), &result).unwrap();
        }
        assert!(heading(&study, folder.path()).ends_with("Commit: a, b. Adapter: llvmpipe."));
    }

    #[test]
    fn differences_are_of_seeds_that_both_rows_have() {
        let folder = tempfile::tempdir().unwrap();
        let study = imbalance();
        assert!(study.pairs.iter().flatten().all(|row| study.cells.iter().any(|cell| cell.row == *row)));
        let [a, b] = &study.pairs[0];
        for cell in study.cells.iter().filter(|cell| cell.seed < 3 && (cell.row == *a || cell.row == *b)) {
            let accuracy = if cell.row == *a { 0.5 + 0.1 * cell.seed as f64 } else { 0.25 };
            // The second row lacks a seed.
            if cell.row == *a || cell.seed < 2 {
                let result = json!({ "arguments": cell.arguments(), "summary": { "accuracy": accuracy } });
                store(&file(cell, folder.path()), &result).unwrap();
            }
        }
        let rows = differences(&study, folder.path());
        assert_eq!(rows.len(), 1 + study.pairs.len());
        // 0.3 with deviations of 0.05: the standard error is 0.05.
        assert_eq!(
            rows[1][..4],
            [format!("{a} - exchangeable"), "2".into(), "+0.300 [-0.335, +0.935]".into(), "-".into()]
        );
    }

    #[test]
    fn the_folder_of_data_sets_is_asked_for() {
        let arguments = datasets().cells.iter().find(|cell| cell.row.starts_with("usps")).unwrap().arguments();
        let put = with_data(arguments.clone(), Some("/sets")).unwrap();
        assert_eq!(put[1], "/sets/usps/train-images-idx3-ubyte.gz");
        assert!(with_data(arguments, None).unwrap_err().to_string().contains("SOFTURN_DATA"));
        assert_eq!(with_data(vec!["digits".to_owned()], None).unwrap(), ["digits"]);
    }

    #[test]
    fn one_value_has_no_deviation() {
        assert_eq!(mean_and_deviation("NMI", &[]), "-");
        assert_eq!(mean_and_deviation("NMI", &[0.5]), "0.500 ± -");
        assert_eq!(mean_and_deviation("seconds", &[1.0, 3.0]), "2.0 ± 1.4");
    }
}
