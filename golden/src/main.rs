//! `softurn-golden DIR`: compares softurn's f64 twins and f32 kernels with files of reference values.
//!
//! A checker belongs to a schema: it computes the quantities of all cases and returns a [`Line`] for each quantity and
//! precision. Add one as a module and a row of [`SCHEMAS`].

mod case;
mod fisher;
mod gumbel_expect;
mod gumbel_softmax;
mod gumbel_transform;
mod ksubset;
mod line;
mod log_softmax;
mod plackett_luce;
mod random_partition;
mod relaxed_sort;
mod relaxed_topk;
mod report;
mod sparsemax;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use softurn_kernels::{Gpu, GpuConfig};

use crate::case::Case;
use crate::line::Line;

type Checker = fn(&Gpu, &[Case]) -> Result<Vec<Line>>;

const SCHEMAS: &[(&str, Checker)] = &[
    ("fisher_multi/1", fisher::multi),
    ("fisher_multi_big/1", fisher::multi_big),
    ("fisher_uni/1", fisher::uni),
    ("gumbel_softmax/1", gumbel_softmax::check),
    ("gumbel_softmax_expect/1", gumbel_expect::check),
    ("gumbel_transform/1", gumbel_transform::check),
    ("ksubset/1", ksubset::check),
    ("log_softmax/1", log_softmax::check),
    ("plackett_luce/1", plackett_luce::all),
    ("plackett_luce_big/1", plackett_luce::big),
    ("random_partition/1", random_partition::check),
    ("relaxed_sort/1", relaxed_sort::check),
    ("relaxed_topk/1", relaxed_topk::check),
    ("sparsemax/1", sparsemax::check),
];

/// Compare softurn with every golden file of a folder
#[derive(Parser)]
struct Cli {
    /// Folder of `*.json` files
    dir: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints everything before it says whether all agreed.
fn run(cli: &Cli) -> Result<bool> {
    let files = report::files(&cli.dir)?;
    let gpu = Gpu::new(GpuConfig::default())?;
    println!("f32 on {}, {:?} plan", gpu.capabilities().name, gpu.plan());
    let report = report::check(&gpu, &files);
    print!("\n{report}");
    Ok(report.agrees())
}
