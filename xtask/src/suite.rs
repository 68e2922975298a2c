//! `cargo xtask test`: every step runs, is timed and is named when it fails.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::shell::{Repository, describe};
use crate::{table, tidy, vulkan};

/// Steps that are one command, from the cheapest.
const CHECKS: [(&str, &[&str]); 3] = [
    ("format", &["fmt", "--all", "--", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("docs", &["doc", "--workspace", "--no-deps"]),
];
const SHADERS: &[&str] = &["test", "-p", "softurn-kernels", "--lib", "shader::", "--", "--show-output"];
const TESTS: &[&str] = &["test", "--workspace", "--no-fail-fast"];
/// Where the repository's own golden files are.
pub const GOLDEN: &str = "tests/golden";
/// In the dev profile, which saves a release build.
const COMPARE: &[&str] = &["run", "--quiet", "-p", "softurn-golden", "--", GOLDEN];
/// Without `--bench`, criterion runs each bench once; the dev profile saves a second build of everything.
const BENCHES: &[&str] = &["test", "-p", "softurn-benches", "--benches"];

/// Runs everything; a failing step does not stop the others, except that benches need passing tests.
///
/// # Errors
/// At the end, when a step failed.
pub fn run(repo: &Repository) -> Result<()> {
    vulkan::ensure(repo)?;
    let mut steps = Steps::default();
    steps.run("tidy", || tidy::run(repo));
    for (name, arguments) in CHECKS {
        steps.run(name, || {
            let mut command = repo.cargo();
            command.args(arguments).env("RUSTDOCFLAGS", rustdoc_flags());
            announce(&command);
            repo.run(&mut command)
        });
    }
    steps.run("shaders", || shaders(repo));
    let mut count = Count::default();
    steps.run("tests", || tests(repo, &mut count));
    steps.run("golden", || {
        let mut command = repo.cargo();
        announce(command.args(COMPARE));
        repo.run(&mut command)
    });
    if steps.failed("tests") {
        steps.skip("benches");
    } else {
        steps.run("benches", || {
            let mut command = repo.cargo();
            announce(command.args(BENCHES));
            repo.run(&mut command)
        });
    }

    println!("\n{}", steps.table());
    for line in &count.lines {
        println!("{line}");
    }
    let failed = steps.failures();
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    if !failed.is_empty() {
        // Everything is said, and the count stays the last line of standard output.
        std::process::exit(1);
    }
    Ok(())
}

/// Runs the shader checks and shows their table.
///
/// # Errors
/// When one fails, or none ran.
pub fn shaders(repo: &Repository) -> Result<()> {
    let mut command = repo.cargo();
    announce(command.args(SHADERS));
    let (output, status) = repo.tee(&mut command)?;
    if !status.success() {
        bail!("{} failed ({status})", describe(&command));
    }
    if Count::of(&output).passed == 0 {
        bail!("no shader check ran");
    }
    Ok(())
}

fn tests(repo: &Repository, count: &mut Count) -> Result<()> {
    let mut command = repo.cargo();
    announce(command.args(TESTS));
    let (output, status) = repo.tee(&mut command)?;
    *count = Count::of(&output);
    if !status.success() {
        // A binary that crashed or did not compile prints no result of its own.
        count.failed = count.failed.max(1);
        bail!("{} failed ({status})", describe(&command));
    }
    if count.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn announce(command: &Command) {
    println!("$ {}", describe(command));
}

/// The caller's flags for rustdoc, with warnings as errors.
fn rustdoc_flags() -> String {
    let own = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    format!("{own} -D warnings").trim_start().to_owned()
}

/// The results that test binaries printed.
#[derive(Debug, Default, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
    lines: Vec<String>,
}

impl Count {
    fn of(output: &str) -> Self {
        let mut count = Self::default();
        for line in output.lines().filter(|line| line.starts_with("test result:")) {
            count.passed += number_before(line, " passed");
            count.failed += number_before(line, " failed");
            count.lines.push(line.to_owned());
        }
        count
    }
}

fn number_before(line: &str, word: &str) -> u64 {
    let before = line.split(word).next().filter(|before| before.len() < line.len()).unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[derive(Default)]
struct Steps {
    rows: Vec<(&'static str, Outcome, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = match step() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                println!("{name} failed: {error:#}");
                Outcome::Failed
            }
        };
        self.rows.push((name, outcome, start.elapsed()));
    }

    fn skip(&mut self, name: &'static str) {
        self.rows.push((name, Outcome::Skipped, Duration::ZERO));
    }

    fn failed(&self, name: &str) -> bool {
        self.failures().contains(&name)
    }

    fn failures(&self) -> Vec<&'static str> {
        self.rows.iter().filter(|row| row.1 == Outcome::Failed).map(|row| row.0).collect()
    }

    fn table(&self) -> String {
        let mut rows = vec![["step", "result", "seconds"].map(str::to_owned).to_vec()];
        for (name, outcome, time) in &self.rows {
            let result = match outcome {
                Outcome::Passed => "ok",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "skipped",
            };
            rows.push(vec![(*name).to_owned(), result.to_owned(), format!("{:.1}", time.as_secs_f64())]);
        }
        let total: Duration = self.rows.iter().map(|row| row.2).sum();
        rows.push(vec!["total".to_owned(), String::new(), format!("{:.1}", total.as_secs_f64())]);
        table::aligned(&rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let output = "running 3 tests\ntest a ... ok\n\
            test result: ok. 28 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.07s\n\
            test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        let count = Count::of(output);
        assert_eq!((count.passed, count.failed, count.lines.len()), (30, 3, 2));
        assert_eq!(Count::of("error: could not compile"), Count::default());
    }

    #[test]
    fn a_failed_step_is_named_and_does_not_stop_the_rest() {
        let mut steps = Steps::default();
        steps.run("format", || bail!("badly formatted"));
        steps.run("lints", || Ok(()));
        steps.skip("benches");
        assert_eq!(steps.failures(), ["format"]);
        assert!(steps.failed("format") && !steps.failed("lints") && !steps.failed("benches"));
        let table = steps.table();
        assert!(table.contains("FAILED") && table.contains("skipped") && table.contains("ok"));
    }
}
