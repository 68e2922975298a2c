//! Distributions over discrete structure, with the field's names for what can be asked of them.

mod categorical;
mod fisher_hypergeometric;
mod multivariate_fisher_hypergeometric;
mod plackett_luce;
mod random_partition;
mod subset_k;

pub use categorical::{OneHotCategoricalStraightThrough, RelaxedCategorical};
pub use fisher_hypergeometric::FisherHypergeometric;
pub use multivariate_fisher_hypergeometric::MultivariateFisherHypergeometric;
pub use plackett_luce::PlackettLuce;
pub use random_partition::{PartitionBounds, RandomPartition, log_prob_of_groups};
pub use softurn_autodiff::FisherHypergeometricDraw;
pub use softurn_kernels::ops::fisher_hypergeometric::{Law, Noise, Order, Sampling, Urn};
pub use softurn_kernels::ops::relaxed_sort::{Kind, Relaxation};
pub use subset_k::SubsetK;

use crate::{Error, Result};

/// The temperature of a relaxation: positive and finite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Temperature(f32);

impl Temperature {
    /// A temperature.
    ///
    /// # Errors
    /// When it is not positive and finite.
    ///
    /// ```
    /// use softurn_models::distributions::Temperature;
    /// assert!(Temperature::new(0.5).is_ok());
    /// assert!(Temperature::new(0.0).is_err());
    /// ```
    pub fn new(value: f32) -> Result<Self> {
        if value.is_finite() && value > 0.0 {
            return Ok(Self(value));
        }
        Err(Error::argument("temperature", format!("{value} is not a positive number")))
    }

    /// The number.
    pub fn value(self) -> f32 {
        self.0
    }
}
