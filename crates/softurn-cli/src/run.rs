//! `softurn cluster`: everything that can be wrong with the input comes before the first byte is written.

use std::sync::atomic::AtomicBool;

use crate::args::ClusterArgs;
use crate::config::Config;
use crate::failure::Result;
use crate::rundir;
use crate::summary::Summary;

/// The configuration that `args` ask for: of the run to resume, or flags over file over defaults.
///
/// # Errors
/// `--out` exists, or `--resume` finds no run there or another configuration than is asked for.
pub fn configure(args: &ClusterArgs) -> Result<Config> {
    if !args.resume {
        rundir::check_free(&args.out)?;
        return Config::resolve(&args.settings, args.config.as_deref());
    }
    let stored = rundir::check_resumable(&args.out)?;
    let config = Config::resolve(&args.settings, Some(args.config.as_deref().unwrap_or(&stored)))?;
    config.check_same(&Config::read(&stored)?)?;
    Ok(config)
}

/// Runs the clustering and writes the run directory; `stop` asks for an early, resumable end.
pub fn cluster(args: &ClusterArgs, stop: &AtomicBool) -> Result<Summary> {
    let config = configure(args)?;
    // TODO, in this order:
    //  1. read data and labels (Source::parse; bad files are Failure::bad_input("--data", ..)), config.check_data(..)
    //  2. open the adapter (Failure::bad_input("--adapter", ..)), upload the data, build the model: typed limit errors
    //  3. RunDir::create(&args.out, &config), or RunDir::open and cut_back of METRICS and TIMING when resuming
    //  4. train: Progress::{begin, epoch}, RunDir::append per epoch, checkpoint; when `stop` is set, checkpoint and
    //     return Failure::Interrupted
    //  5. write_assignments, ReportData -> report::render -> RunDir::write(REPORT, ..), Summary
    let _ = (config, stop);
    Err(anyhow::anyhow!("this build has no training loop yet").into())
}
