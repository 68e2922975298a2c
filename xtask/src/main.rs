//! Repository tasks: `cargo xtask help`.
//!
//! Depends on none of softurn's crates and not on wgpu, so that it builds in seconds on a bare machine.

mod bench;
mod browser;
mod demo;
mod figures;
mod peers;
mod shell;
mod studies;
mod study;
mod suite;
mod swiftshader;
mod table;
mod tidy;
mod vulkan;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::shell::Repository;

/// Repository tasks of softurn.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,

    /// Adapter to run on, by name or index (sets SOFTURN_ADAPTER); `swiftshader` is fetched where it is not installed
    #[arg(long, global = true, value_name = "NAME")]
    adapter: Option<String>,
}

#[derive(Subcommand)]
enum Task {
    /// Cluster the embedded digits in a release build, beside k-means and GMM
    Demo {
        /// Seed of every random number
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Everything that must hold: format, tidy, lints, docs, shader checks, tests, doc-tests, each bench once; kernels on
    /// SwiftShader and with other subgroups as well, and in a browser's compiler
    Test,
    /// Check every shader: bindings, parameter structs, workgroup memory, barriers
    Shaders {
        /// Compile every pipeline in Chromium's WebGPU as well, whose compiler checks barriers
        #[arg(long)]
        browser: bool,
    },
    /// Check what no compiler checks: the five places of every op, file sizes, links, leftovers
    Tidy,
    /// Run a long study cell by cell; finished cells are kept and skipped the next time
    Verify {
        /// Name of the study
        #[arg(required_unless_present = "list")]
        name: Option<String>,
        /// List the studies and their cells
        #[arg(long)]
        list: bool,
        /// Forget the finished cells first
        #[arg(long)]
        fresh: bool,
    },
    /// Compare softurn with reference values: every golden file of a folder, quantity by quantity
    Golden {
        /// Folder of `*.json` files; tests/golden if not given
        dir: Option<PathBuf>,
    },
    /// Time and count every op and a training step, against ceilings of the same run and beside PyTorch and JAX
    Bench(bench::Options),
    /// Time the hypergeometric law, selections and clustering beside what PyTorch users would write, in one run
    Peers {
        /// A Python that has torch, and jax for more columns; for clustering also clustpy and umap-learn
        #[arg(long, default_value = "python3")]
        python: String,
        /// What to time, separated by commas; `clustering` takes an hour and is run only where it is named
        #[arg(long, default_value = peers::OPS)]
        ops: String,
        /// Rows of the hypergeometric law, separated by commas
        #[arg(long, default_value = "1,64,1024,16384")]
        batches: String,
        /// groups x size of each x draws of the hypergeometric law, separated by commas
        #[arg(long, default_value = "3x200x180,10x256x256,10x1000x256,4x4096x1024")]
        shapes: String,
    },
    /// List the adapters of this machine
    AdapterInfo,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line of causes; nobody wants a backtrace of "tests failed".
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let mut repo = Repository::locate(cli.adapter)?;
    if repo.adapter().is_some_and(|name| name.eq_ignore_ascii_case(swiftshader::NAME)) {
        repo = swiftshader::select(&repo)?;
    }
    match cli.task {
        Task::Demo { seed } => demo::run(&repo, seed),
        Task::Test => suite::run(&repo),
        Task::Shaders { browser } => {
            suite::shaders(&repo)?;
            if browser { browser::run(&repo, None) } else { Ok(()) }
        }
        Task::Tidy => tidy::run(&repo),
        Task::Verify { name: Some(name), list: false, fresh } => study::run(&repo, &name, fresh),
        Task::Verify { .. } => {
            study::list();
            Ok(())
        }
        Task::Golden { dir } => {
            vulkan::ensure(&repo)?;
            // Commands start in the root; the caller may stand elsewhere.
            let dir = std::path::absolute(dir.unwrap_or_else(|| repo.root.join(suite::GOLDEN)))?;
            repo.run(repo.cargo().args(["run", "--quiet", "--release", "-p", "softurn-golden", "--"]).arg(dir))
        }
        Task::Bench(options) => bench::run(&repo, &options),
        Task::Peers { python, ops, batches, shapes } => peers::run(&repo, &python, &ops, &shapes, &batches),
        Task::AdapterInfo => {
            vulkan::ensure(&repo)?;
            repo.run(repo.cargo().args(["run", "--quiet", "-p", "softurn-cli", "--", "devices"]))
        }
    }
}
