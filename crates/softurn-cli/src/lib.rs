//! The parts of the `softurn` program: arguments, configuration, run directory, progress, report.
//!
//! A library only so that the tests and `examples/report_demo.rs` reach the parts; use the crate `softurn` instead.

pub mod args;
pub mod config;
pub mod devices;
pub mod disentangle;
pub mod failure;
pub mod fit;
pub mod interrupt;
pub mod methods;
pub mod predict;
pub mod progress;
pub mod report;
pub mod represent;
pub mod run;
pub mod rundir;
pub mod select;
pub mod settings;
pub mod sparsify;
pub mod summary;
pub mod training;
