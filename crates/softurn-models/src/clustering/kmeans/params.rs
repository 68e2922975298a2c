//! Settings of k-means and their checks.

use super::KMeans;
use crate::{Error, Result};

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    pub(super) k: usize,
    pub(super) starts: usize,
    pub(super) max_iterations: usize,
    pub(super) tolerance: f64,
}

impl Params {
    pub(super) fn new(k: usize) -> Self {
        Self { k, starts: 20, max_iterations: 300, tolerance: 1e-4 }
    }

    /// Seedings to start from; the fit of the lowest inertia wins. Every start has its own key, whatever their number.
    pub fn starts(mut self, starts: usize) -> Self {
        self.starts = starts;
        self
    }

    /// The most moves of the centres in each start.
    pub fn max_iterations(mut self, iterations: usize) -> Self {
        self.max_iterations = iterations;
        self
    }

    /// A start has converged when its centres move by a total squared distance of at most `tolerance` times the mean
    /// variance of the columns; 0 waits until no row changes its cluster.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<KMeans> {
        let counts = [("k", self.k), ("starts", self.starts), ("max_iterations", self.max_iterations)];
        if let Some((name, _)) = counts.into_iter().find(|&(_, value)| value == 0) {
            return Err(Error::argument(name, "must be at least 1"));
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            return Err(Error::argument("tolerance", format!("must be 0 or more and finite, not {}", self.tolerance)));
        }
        Ok(KMeans { params: self })
    }
}
