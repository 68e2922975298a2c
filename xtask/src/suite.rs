//! `cargo xtask test`: every step runs, is timed and is named when it fails.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::shell::{Repository, describe};
use crate::{browser, swiftshader, table, tidy, vulkan};

/// Steps that are one command, from the cheapest.
const CHECKS: [(&str, &[&str]); 3] = [
    ("format", &["fmt", "--all", "--", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("docs", &["doc", "--workspace", "--no-deps"]),
];
const SHADERS: &[&str] = &["test", "-p", "softurn-kernels", "--lib", "shader::", "--", "--show-output"];
const TESTS: &[&str] = &["test", "--workspace", "--no-fail-fast"];
/// The kernel tests beside the first adapter: without statistics, whose many draws change with no adapter, and without the
/// mutation table, which tests the tests.
const KERNELS: &[&str] =
    &["test", "-p", "softurn-kernels", "--lib", "--", "--skip", "statistics::", "--skip", "every_mutant_is_caught"];
/// Left out with other subgroup sizes: a row is one invocation there, and no lane sees another.
const ONE_INVOCATION_A_ROW: &[&str] = &["--skip", "fisher_hypergeometric::"];
/// Prints a line about the adapter.
const ADAPTER: &[&str] =
    &["test", "--quiet", "-p", "softurn-kernels", "--lib", "capabilities_are_filled_in", "--", "--show-output"];
/// Bits of lavapipe's vectors that make subgroups of 4 and 16; its own choice here is 256, subgroups of 8.
const VECTOR_BITS: [&str; 2] = ["128", "512"];
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
    let mut name = String::new();
    steps.run("adapter", || {
        name = adapter(repo, &[])?;
        Ok(())
    });
    let log = browser::fresh_log(repo)?;
    steps.run("tests", || tests(repo, &log, &mut count));
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
    // The other software adapter, wherever there is one for the system.
    if std::env::consts::OS != "linux" || name.contains("SwiftShader") {
        steps.skip("swiftshader");
    } else {
        steps.run("swiftshader", || kernels(&swiftshader::select(repo)?, &[], &[]));
    }
    for (step, bits) in ["subgroups of 4", "subgroups of 16"].into_iter().zip(VECTOR_BITS) {
        if name.contains("llvmpipe") {
            // Compiled code of one width is of no use for another.
            let cache = repo.target.join(format!("mesa-shader-cache-{bits}")).to_string_lossy().into_owned();
            let environment = [("LP_NATIVE_VECTOR_WIDTH", bits), ("MESA_SHADER_CACHE_DIR", &cache)];
            steps.run(step, || kernels(repo, &environment, ONE_INVOCATION_A_ROW));
        } else {
            steps.skip(step);
        }
    }
    steps.run("browser", || browser::run(repo, Some(&log)));

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

/// Prints the adapter that tests open in this environment, and returns the line.
fn adapter(repo: &Repository, environment: &[(&str, &str)]) -> Result<String> {
    let output = repo.output(repo.cargo().args(ADAPTER).envs(environment.iter().copied()))?;
    let Some(line) = output.lines().find(|line| line.starts_with("adapter: ")) else {
        bail!("no test told its adapter");
    };
    println!("{line}");
    Ok(line.to_owned())
}

/// Runs the kernel tests in another environment.
fn kernels(repo: &Repository, environment: &[(&str, &str)], skip: &[&str]) -> Result<()> {
    adapter(repo, environment)?;
    let mut command = repo.cargo();
    announce(command.args(KERNELS).args(skip).envs(environment.iter().copied()));
    let (output, status) = repo.tee(&mut command)?;
    if !status.success() {
        bail!("{} failed ({status})", describe(&command));
    }
    if Count::of(&output).passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Runs all tests; those of the kernels write their pipelines to `log`.
fn tests(repo: &Repository, log: &Path, count: &mut Count) -> Result<()> {
    let mut command = repo.cargo();
    announce(command.args(TESTS).env(browser::LOG, log));
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
