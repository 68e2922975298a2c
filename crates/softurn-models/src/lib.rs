//! Distributions, losses, data sets, metrics and training loops of softurn.

pub mod data;
pub mod metrics;
