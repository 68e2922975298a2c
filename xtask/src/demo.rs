//! `cargo xtask demo`: the main job on the embedded digits, beside its baselines.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::figures::{self, CLUSTERING};
use crate::shell::Repository;
use crate::{table, vulkan};

/// Row title, folder suffix and arguments of the three runs, the main one first.
const RUNS: [(&str, &str, &[&str]); 3] = [
    ("softurn, hypergeometric prior", "", &["--prior", "hypergeometric"]),
    ("k-means", "-kmeans", &["--method", "kmeans", "--quiet"]),
    ("Gaussian mixture, diagonal", "-gmm", &["--method", "gmm", "--quiet"]),
];

/// Builds the program, runs the three methods and prints their table and the report's path.
pub fn run(repo: &Repository, seed: u64) -> Result<()> {
    vulkan::ensure(repo)?;
    let program = repo.build_program()?;
    let runs = repo.root.join("runs");
    std::fs::create_dir_all(&runs).with_context(|| format!("cannot create {}", runs.display()))?;
    let number = (1..).find(|n| !RUNS.iter().any(|run| runs.join(format!("demo-{n}{}", run.1)).exists()));
    let number = number.context("no free run number")?;

    let mut rows = vec![
        std::iter::once("method")
            .chain(CLUSTERING.iter().map(|(title, _)| *title))
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    ];
    let mut report = None;
    for (title, suffix, arguments) in RUNS {
        // Relative, as a person would type it: the printed paths stay short.
        let out = PathBuf::from("runs").join(format!("demo-{number}{suffix}"));
        eprintln!("{title} -> {}", out.display());
        let mut command = repo.command(&program);
        command.args(["cluster", "--data", "digits", "--k", "10", "--seed", &seed.to_string(), "--json"]);
        let summary = figures::parse(&repo.output(command.args(arguments).arg("--out").arg(&out))?)?;
        let figures = figures::figures(CLUSTERING, &summary);
        let cells = CLUSTERING.iter().zip(figures).map(|((title, _), value)| figures::cell(title, value));
        rows.push(std::iter::once(title.to_owned()).chain(cells).collect());
        if report.is_none() {
            let path = summary.get("report").and_then(Value::as_str).map(PathBuf::from);
            report = Some(path.unwrap_or_else(|| out.join("report.html")));
        }
    }
    println!("\n1,797 handwritten digits, 10 groups, seed {seed}, last epoch; labels serve this table only\n");
    println!("{}", table::aligned(&rows));
    if let Some(report) = report {
        println!("report: {}", report.display());
    }
    Ok(())
}
