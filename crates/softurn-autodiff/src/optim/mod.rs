//! Optimizers and learning rates.

mod adam;
mod schedule;

pub use adam::Adam;
pub use schedule::Schedule;
