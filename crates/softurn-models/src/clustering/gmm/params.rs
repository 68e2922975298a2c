//! Settings of a Gaussian mixture and their checks.

use serde::{Deserialize, Serialize};

use super::GaussianMixture;
use crate::clustering::kmeans::KMeans;
use crate::{Error, Result};

/// What a component may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Covariance {
    /// A variance for each column, and no correlations.
    #[default]
    Diagonal,
    /// Any covariance matrix: `cols (cols + 1) / 2` numbers for each component.
    Full,
}

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    pub(super) k: usize,
    pub(super) covariance: Covariance,
    pub(super) starts: usize,
    pub(super) max_iterations: usize,
    pub(super) tolerance: f64,
    pub(super) regularization: f64,
}

impl Params {
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            covariance: Covariance::Diagonal,
            starts: 20,
            max_iterations: 100,
            tolerance: 1e-3,
            regularization: 1e-6,
        }
    }

    /// What a component may look like.
    pub fn covariance(mut self, covariance: Covariance) -> Self {
        self.covariance = covariance;
        self
    }

    /// Starts of the k-means that the mixture begins with.
    pub fn starts(mut self, starts: usize) -> Self {
        self.starts = starts;
        self
    }

    /// The most steps of expectation and maximisation.
    pub fn max_iterations(mut self, iterations: usize) -> Self {
        self.max_iterations = iterations;
        self
    }

    /// The fit has converged when a step changes the mean log-likelihood of a row by less than this, in nats.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// What is added to every variance, in squared units that the fit works in: it keeps components from collapsing onto a
    /// point. A full covariance that rounding leaves without a Cholesky factor gets ten times as much, until it has one.
    pub fn regularization(mut self, variance: f64) -> Self {
        self.regularization = variance;
        self
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<GaussianMixture> {
        if self.max_iterations == 0 {
            return Err(Error::argument("max_iterations", "must be at least 1"));
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            return Err(Error::argument("tolerance", format!("must be 0 or more and finite, not {}", self.tolerance)));
        }
        // Smaller ones have no reciprocal among the floats of a device.
        if !(self.regularization >= 1e-30 && self.regularization <= 1e30) {
            let message = format!("must be between 1e-30 and 1e30, not {}", self.regularization);
            return Err(Error::argument("regularization", message));
        }
        let start = KMeans::params(self.k).starts(self.starts).check()?;
        Ok(GaussianMixture { params: self, start })
    }
}
