//! `P(x) = Π C(m_i, x_i) ω_i^{x_i} / P₀` on `Σ x_i = n`: how many of `n` draws fall to each of several groups.
//!
//! The exact law, and the straight-through gradient of Sutter et al. (ICLR 2023) with exact conditionals.

use softurn_autodiff::Var;
use softurn_kernels::ops::fisher_hypergeometric::{self, Tables, Urn};
use softurn_kernels::{Key, Tensor};

use super::Temperature;
use crate::Result;

/// Fisher's noncentral hypergeometric distribution of several groups.
///
/// The log weights are a variable `[1, groups]`, shared by all rows of a batch, or `[rows, groups]`.
#[derive(Debug, Clone)]
pub struct MultivariateFisherHypergeometric<'t> {
    log_weights: Var<'t>,
    tables: Tables,
}

impl<'t> MultivariateFisherHypergeometric<'t> {
    /// The law of `draws` elements taken from groups of `sizes[i]` elements with these log weights.
    ///
    /// # Errors
    /// When the weights have another number of columns than there are groups, there are more draws than elements, or
    /// the tables exceed the adapter's limit.
    pub fn new(log_weights: Var<'t>, sizes: &[u32], draws: u32) -> Result<Self> {
        let urn = Urn::new(log_weights.tape().gpu(), sizes, draws)?;
        Self::with_urn(log_weights, &urn)
    }

    /// As [`Self::new`], for an urn that is already on the device: training loops upload it once.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_urn(log_weights: Var<'t>, urn: &Urn) -> Result<Self> {
        let tables = fisher_hypergeometric::tabulate(log_weights.tape().gpu(), urn, log_weights.value())?;
        Ok(Self { log_weights, tables })
    }

    /// The shape of one draw: `[groups]`.
    pub fn event_shape(&self) -> [usize; 1] {
        [self.tables.urn().groups()]
    }

    /// The rows of weights: `[1]` when they are shared.
    pub fn batch_shape(&self) -> [usize; 1] {
        [self.tables.weight_rows()]
    }

    /// `rows` exact draws `[rows, groups]`: counts as floats, no gradient. With weights per row, `rows` must be their number.
    ///
    /// # Errors
    /// When `rows` does not fit.
    pub fn sample(&self, rows: usize, key: Key) -> Result<Tensor> {
        Ok(fisher_hypergeometric::forward(self.log_weights.tape().gpu(), &self.tables, rows, key)?)
    }

    /// One exact draw per row of weights, `[weight rows, groups]`, with the straight-through gradient of the relaxation at
    /// `temperature`: the mean of the gradient is close to the exact covariance, its spread falls with the temperature.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rsample(&self, key: Key, temperature: Temperature) -> Result<Var<'t>> {
        self.rsample_rows(self.tables.weight_rows(), key, temperature)
    }

    /// As [`Self::rsample`], with `rows` draws from shared weights.
    ///
    /// # Errors
    /// When `rows` does not fit weights per row.
    pub fn rsample_rows(&self, rows: usize, key: Key, temperature: Temperature) -> Result<Var<'t>> {
        Ok(self.log_weights.fisher_hypergeometric_rsample(&self.tables, rows, key, temperature.value())?)
    }

    /// `log P(counts)` in nats, `[rows]`, for counts `[rows, groups]`; `-inf` outside the support. A pure score: its gradient
    /// is `counts - E[x]` for the log weights and nothing for the counts.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn log_prob(&self, counts: &Tensor) -> Result<Var<'t>> {
        Ok(self.log_weights.fisher_hypergeometric_log_prob(&self.tables, counts)?)
    }

    /// `E[x]`, `[weight rows, groups]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn mean(&self) -> Result<Tensor> {
        Ok(fisher_hypergeometric::mean(self.log_weights.tape().gpu(), &self.tables)?)
    }
}
