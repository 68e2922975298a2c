//! Distributions, losses, data sets, metrics and training loops of softurn.

pub mod cluster_specific;
pub mod clustering;
pub mod data;
pub mod distributions;
mod error;
pub mod metrics;
pub mod neighbours;
pub mod nn;
mod saved;
pub mod sparse;
pub mod train;
pub mod weak_supervision;

pub use error::{Error, Result};
