//! Ctrl-C: the first asks the run to stop at the next checkpoint, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::failure::Result;

static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handler (Ctrl-C, and the termination signal where there is one) and returns the flag that it sets.
pub fn install(quiet: bool) -> Result<&'static AtomicBool> {
    ctrlc::set_handler(move || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        if !quiet {
            eprintln!("stopping after this epoch; press Ctrl-C again to stop at once");
        }
    })
    .context("installing the Ctrl-C handler")?;
    Ok(&STOP)
}
