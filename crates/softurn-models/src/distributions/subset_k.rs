//! Subsets of k of a row's elements.

use softurn_autodiff::Var;
use softurn_kernels::ops::{Noise, subset, top_k};
use softurn_kernels::{Key, Tensor};

use super::categorical::{matrix, same};
use crate::{Error, Result};

/// Subsets of exactly `k` of `n` elements, `P(S) = Π_{i in S} w_i / e_k(w)`, by log weights `[rows, n]`: conditional Bernoulli.
/// Draws are rows of zeros with k ones.
///
/// ```
/// use softurn_autodiff::Tape;
/// use softurn_kernels::{Gpu, GpuConfig, Key};
/// use softurn_models::distributions::SubsetK;
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let tape = Tape::new(&gpu);
/// let log_weights = tape.leaf(&gpu.tensor(&[0.0f32, 0.0, 0.0, 2f32.ln()], [1, 4])?)?;
/// let law = SubsetK::new(log_weights, 2)?;
/// // Six pairs: three of weight 1, three of weight 2.
/// let pair = gpu.tensor(&[1.0f32, 0.0, 0.0, 1.0], [1, 4])?;
/// assert!((law.log_prob(&pair)?.item()? - (2.0f32 / 9.0).ln()).abs() < 1e-5);
/// assert!((law.marginals().read()?[3] - 2.0 / 3.0).abs() < 1e-5);
/// assert_eq!(law.sample(Key::new(1))?.read()?.iter().sum::<f32>(), 2.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SubsetK<'t> {
    log_weights: Var<'t>,
    marginals: Var<'t>,
    log_sum: Var<'t>,
    k: usize,
}

impl<'t> SubsetK<'t> {
    /// The law of subsets of `k` elements; those of log weight `-inf` are never in one.
    ///
    /// # Errors
    /// When the weights are not `[rows, n]`, or `k` is 0 or more than `n`.
    pub fn new(log_weights: Var<'t>, k: usize) -> Result<Self> {
        let log_weights = matrix("log_weights", log_weights)?;
        let [marginals, log_sum] = log_weights.subset_marginals(k)?;
        Ok(Self { log_weights, marginals, log_sum, k })
    }

    /// The shape of a draw: `[n]`.
    pub fn event_shape(&self) -> [usize; 1] {
        [self.log_weights.shape().rows_cols().1]
    }

    /// The rows of the law.
    pub fn batch_shape(&self) -> [usize; 1] {
        [self.log_weights.shape().rows_cols().0]
    }

    /// How often each element is chosen, `[rows, n]`; its gradient is the covariance of the choices. Also the mean of draws.
    pub fn marginals(&self) -> &Var<'t> {
        &self.marginals
    }

    /// `ln e_k(w)`, `[rows]`.
    pub fn log_normaliser(&self) -> &Var<'t> {
        &self.log_sum
    }

    /// An exact draw of each row `[rows, n]`, without a gradient.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sample(&self, key: Key) -> Result<Tensor> {
        let gpu = self.log_weights.tape().gpu();
        Ok(subset::sample(gpu, &subset::forward(gpu, self.log_weights.value(), self.k)?, key)?)
    }

    /// An exact draw of each row with the gradient of the marginals in its place.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rsample(&self, key: Key) -> Result<Var<'t>> {
        Ok(self.log_weights.subset_straight_through(self.k, key)?)
    }

    /// `log P(S)` in nats, `[rows]`, of rows of zeros with k ones; some -3e38 where the law has no mass. A pure score. Reads
    /// the draws.
    ///
    /// # Errors
    /// When a row is not zeros with k ones; the row is named.
    pub fn log_prob(&self, draws: &Tensor) -> Result<Var<'t>> {
        same("draws", draws, &self.log_weights)?;
        let n = self.event_shape()[0];
        for (row, draw) in draws.read()?.chunks(n).enumerate() {
            let ones = draw.iter().filter(|x| **x == 1.0).count();
            if ones != self.k || draw.iter().any(|x| *x != 0.0 && *x != 1.0) {
                return Err(Error::argument("draws", format!("of row {row} are not zeros with {} ones", self.k)));
            }
        }
        let chosen = self.log_weights.tape().constant(draws);
        Ok((self.weigh(&chosen)? - &self.log_sum)?)
    }

    /// `-E[log P]` in nats, `[rows]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn entropy(&self) -> Result<Var<'t>> {
        Ok((&self.log_sum - &self.weigh(&self.marginals)?)?)
    }

    /// The k largest weights of each row as zeros with k ones.
    ///
    /// # Errors
    /// When `k` is more than 4,096.
    pub fn mode(&self) -> Result<Tensor> {
        let gpu = self.log_weights.tape().gpu();
        let indices = top_k::forward(gpu, self.log_weights.value(), Noise::None, self.k)?.indices;
        Ok(top_k::k_hot(gpu, &indices, self.event_shape()[0])?)
    }

    /// `Σ shares · log w` by row; elements of weight zero count nothing where their share is 0.
    fn weigh(&self, shares: &Var<'t>) -> Result<Var<'t>> {
        let tape = self.log_weights.tape();
        let floor = tape.constant(&tape.gpu().constant(-3e38)?);
        Ok((self.log_weights.maximum(&floor)? * shares)?.sum_cols()?)
    }
}
