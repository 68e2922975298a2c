//! Settings of k-means and their checks.

use super::KMeans;
use crate::{Error, Result};

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    pub(super) k: usize,
    pub(super) starts: Option<usize>,
    pub(super) max_iterations: Option<usize>,
    pub(super) tolerance: f64,
    pub(super) batch: Option<usize>,
}

impl Params {
    pub(super) fn new(k: usize) -> Self {
        Self { k, starts: None, max_iterations: None, tolerance: 1e-4, batch: None }
    }

    /// Seedings to start from; the fit of the lowest inertia wins. Every start has its own key, whatever their number.
    /// Unset: 20, by mini-batches 3.
    pub fn starts(mut self, starts: usize) -> Self {
        self.starts = Some(starts);
        self
    }

    /// The most moves of the centres in each start. Unset: 300, by mini-batches as many as ten passes over the rows take,
    /// and no fewer than 300.
    pub fn max_iterations(mut self, iterations: usize) -> Self {
        self.max_iterations = Some(iterations);
        self
    }

    /// A start has converged when its centres move by a total squared distance of at most `tolerance` times the mean
    /// variance of the columns; 0 waits until no row changes its cluster. Mini-batches stop by their inertia instead.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Learns from so many random rows at a time, which alone go to the device: for data that is large beside its memory.
    /// Unset: all rows at once.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = Some(rows);
        self
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<KMeans> {
        let counts = [
            ("k", Some(self.k)),
            ("starts", self.starts),
            ("max_iterations", self.max_iterations),
            ("batch", self.batch),
        ];
        if let Some((name, _)) = counts.into_iter().find(|&(_, value)| value == Some(0)) {
            return Err(Error::argument(name, "must be at least 1"));
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            return Err(Error::argument("tolerance", format!("must be 0 or more and finite, not {}", self.tolerance)));
        }
        Ok(KMeans { params: self })
    }
}
