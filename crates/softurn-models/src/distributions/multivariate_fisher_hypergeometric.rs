//! `P(x) = Π C(m_i, x_i) ω_i^{x_i} / P₀` on `Σ x_i = n`: how many of `n` draws fall to each of several groups.

use softurn_autodiff::{FisherHypergeometricDraw, Var};
use softurn_kernels::ops::fisher_hypergeometric::{self as kernel, Law, Noise, Prepared, Sampling, Urn};
use softurn_kernels::{Gpu, Key, Tensor};

use super::Temperature;
use crate::{Error, Result};

/// Fisher's noncentral hypergeometric distribution of several groups: the exact law, or the paper's merged one.
///
/// Log weights are a variable `[1, groups]`, shared by all rows of a batch, or `[rows, groups]`; sizes and draws are
/// shared or per row ([`Urn`]). A group of log weight `-inf` or of size 0 is never drawn. The law does not change when all
/// weights of a row are multiplied by a number: gradients of log weights sum to 0.
///
/// ```
/// use softurn_autodiff::Tape;
/// use softurn_kernels::{Gpu, GpuConfig, Key};
/// use softurn_models::distributions::{MultivariateFisherHypergeometric, Temperature};
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let tape = Tape::new(&gpu);
/// let log_weights = tape.leaf(&gpu.tensor(&[0.0f32, 0.7, -0.7], [1, 3])?)?;
/// // 6 draws from 3, 4 and 5 elements.
/// let law = MultivariateFisherHypergeometric::new(log_weights.clone(), &[3, 4, 5], 6)?;
/// let counts = law.rsample_rows(8, Key::new(0), Temperature::new(1.0)?)?;
/// assert!(counts.read()?.chunks(3).all(|row| row.iter().sum::<f32>() == 6.0));
/// let gradients = tape.backward(&counts.square()?.sum()?)?;
/// let gradient = gradients.of(&log_weights).unwrap().read()?;
/// assert!(gradient.iter().sum::<f32>().abs() < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MultivariateFisherHypergeometric<'t> {
    log_weights: Var<'t>,
    /// Where the number of draws is a variable.
    draws: Option<Var<'t>>,
    prepared: Prepared,
}

impl<'t> MultivariateFisherHypergeometric<'t> {
    /// The exact law of `draws` elements taken from groups of `sizes[i]` elements with these log weights.
    ///
    /// # Errors
    /// When the weights have another number of columns than there are groups, there are more draws than elements (of groups
    /// with positive weight; the row is named), or a weight is NaN or `+inf`. Reads the weights.
    pub fn new(log_weights: Var<'t>, sizes: &[u32], draws: u32) -> Result<Self> {
        let urn = Urn::new(log_weights.tape().gpu(), sizes, draws)?;
        let this = Self::with_urn(log_weights, &urn)?;
        this.prepared.check()?;
        Ok(this)
    }

    /// As [`Self::new`], for an urn that is already on the device, with sizes and draws shared or per row. Weights are not
    /// read, so that training loops do not wait: rows that cannot be drawn give NaN, and [`Self::check`] names them.
    ///
    /// # Errors
    /// When numbers of groups or rows differ.
    pub fn with_urn(log_weights: Var<'t>, urn: &Urn) -> Result<Self> {
        Self::with_law(log_weights, urn, &Law::Exact)
    }

    /// As [`Self::with_urn`] with a choice of the law. With a random order and shared weights all rows share the order: see
    /// [`Self::with_batch`].
    ///
    /// # Errors
    /// As [`Self::with_urn`], and when an order is not one.
    pub fn with_law(log_weights: Var<'t>, urn: &Urn, law: &Law) -> Result<Self> {
        Self::with_batch(log_weights, urn, law, 1)
    }

    /// As [`Self::with_law`] for a batch of at least `rows` rows, though weights, sizes and draws may be shared.
    ///
    /// # Errors
    /// As [`Self::with_law`].
    pub fn with_batch(log_weights: Var<'t>, urn: &Urn, law: &Law, rows: usize) -> Result<Self> {
        let prepared = Prepared::with_rows(log_weights.tape().gpu(), urn, law, log_weights.value(), rows)?;
        Ok(Self { log_weights, draws: None, prepared })
    }

    /// As [`Self::with_law`], with real numbers of draws `[1]` or `[rows]` that have a gradient, each less than one from the
    /// urn's (other rows give NaN; [`Self::check`] names them): for [`Self::rsample_relaxed`], whose counts sum to them.
    ///
    /// # Errors
    /// As [`Self::with_law`].
    pub fn with_real_draws(log_weights: Var<'t>, draws: Var<'t>, urn: &Urn, law: &Law) -> Result<Self> {
        let gpu = log_weights.tape().gpu();
        let prepared = Prepared::with_draws(gpu, urn, law, log_weights.value(), draws.value())?;
        Ok(Self { log_weights, draws: Some(draws), prepared })
    }

    /// Reads log weights and draws and names a row that cannot be drawn.
    ///
    /// # Errors
    /// When a weight is NaN or `+inf`, groups of positive weight hold fewer elements than are drawn, or real draws are not
    /// within one of the urn's.
    pub fn check(&self) -> Result<()> {
        Ok(self.prepared.check()?)
    }

    fn gpu(&self) -> &'t Gpu {
        self.log_weights.tape().gpu()
    }

    fn whole(&self, asked: &'static str) -> Result<()> {
        if self.draws.is_none() {
            return Ok(());
        }
        Err(Error::argument("draws", format!("are real numbers, of which there is no {asked}: relaxed counts only")))
    }

    pub(crate) fn log_weights(&self) -> &Var<'t> {
        &self.log_weights
    }

    /// The shape of one draw: `[groups]`.
    pub fn event_shape(&self) -> [usize; 1] {
        [self.prepared.groups()]
    }

    /// The rows of the law: `[1]` when everything is shared.
    pub fn batch_shape(&self) -> [usize; 1] {
        [self.prepared.law_rows()]
    }

    /// The fewest and the most of each group that a row can draw with positive weights.
    ///
    /// # Panics
    /// When there is no such row; where everything is shared, there is only one and any number stands for it.
    pub fn support(&self, row: usize) -> Vec<(u32, u32)> {
        self.prepared.urn().support(row)
    }

    /// `rows` exact draws `[rows, groups]`: counts as floats, no gradient. With weights, sizes or draws per row, `rows` must be
    /// their number.
    ///
    /// # Errors
    /// When `rows` does not fit.
    pub fn sample(&self, rows: usize, key: Key) -> Result<Tensor> {
        self.whole("exact count")?;
        Ok(kernel::forward(self.gpu(), &self.prepared, rows, &Sampling::straight_through(key, 1.0))?.counts)
    }

    /// One exact draw per row of the law, `[law rows, groups]`, with the straight-through gradient of the relaxation at
    /// `temperature`: the mean of the gradient is close to the exact covariance, its spread falls with the temperature.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rsample(&self, key: Key, temperature: Temperature) -> Result<Var<'t>> {
        self.rsample_rows(self.prepared.law_rows(), key, temperature)
    }

    /// As [`Self::rsample`], with `rows` draws from a shared law.
    ///
    /// # Errors
    /// When `rows` does not fit a law per row.
    pub fn rsample_rows(&self, rows: usize, key: Key, temperature: Temperature) -> Result<Var<'t>> {
        Ok(self.rsample_with(rows, &Sampling::straight_through(key, temperature.value()), false)?.counts)
    }

    /// `rows` relaxed draws `[rows, groups]`: means of the relaxation, real numbers that sum to the draws, with their own
    /// gradient. The last group takes what the others leave, which may miss its support by less than one.
    ///
    /// # Errors
    /// When `rows` does not fit.
    pub fn rsample_relaxed(&self, rows: usize, key: Key, temperature: Temperature) -> Result<Var<'t>> {
        let sampling =
            Sampling { noise: Noise::Key(key), temperature: temperature.value(), relaxed: true, scored: false };
        Ok(self.rsample_with(rows, &sampling, false)?.counts)
    }

    /// Draws with all choices: noise or none, exact or relaxed counts, the draw's log-probability with its path through the
    /// counts (`sampled_log_prob`), and cumulative masks.
    ///
    /// # Errors
    /// When `rows` does not fit, or exact counts of a real number of draws are asked for.
    pub fn rsample_with(
        &self,
        rows: usize,
        sampling: &Sampling<'_>,
        masks: bool,
    ) -> Result<FisherHypergeometricDraw<'t>> {
        if !sampling.relaxed {
            self.whole("exact count")?;
        }
        let draws = self.draws.as_ref();
        Ok(self.log_weights.fisher_hypergeometric_rsample(&self.prepared, draws, rows, sampling, masks)?)
    }

    /// `log P(counts)` in nats, `[rows]`, for counts `[rows, groups]`; `-inf` outside the support. A pure score: its gradient
    /// is `counts - E[x]` for the log weights of the exact law, and nothing for the counts.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn log_prob(&self, counts: &Tensor) -> Result<Var<'t>> {
        self.whole("log-probability")?;
        Ok(self.log_weights.fisher_hypergeometric_log_prob(&self.prepared, counts)?)
    }

    /// `E[x]`, `[law rows, groups]`, of the exact law.
    ///
    /// # Errors
    /// Of the merged law, whose moments have no short form.
    pub fn mean(&self) -> Result<Tensor> {
        self.whole("mean")?;
        Ok(kernel::mean(self.gpu(), &self.prepared)?)
    }

    /// `Cov(x_i, x_j)`, `[law rows, groups, groups]`, of the exact law: also `∂E[x_i] / ∂ log ω_j`.
    ///
    /// # Errors
    /// As [`Self::mean`].
    pub fn covariance(&self) -> Result<Tensor> {
        self.whole("covariance")?;
        let [covariance, _] = kernel::covariance_and_entropy(self.gpu(), &self.prepared)?;
        Ok(covariance)
    }

    /// `Var(x_i)`, `[law rows, groups]`, of the exact law.
    ///
    /// # Errors
    /// As [`Self::mean`].
    pub fn variance(&self) -> Result<Tensor> {
        let groups = self.prepared.groups();
        let covariance = self.covariance()?.read()?;
        let variance: Vec<f32> = (0..covariance.len() / groups).map(|i| covariance[i * groups + i % groups]).collect();
        Ok(self.gpu().tensor(&variance, [variance.len() / groups, groups])?)
    }

    /// `-E[log P(x)]` in nats, `[law rows]`, of the exact law.
    ///
    /// # Errors
    /// As [`Self::mean`].
    pub fn entropy(&self) -> Result<Tensor> {
        self.whole("entropy")?;
        let [_, entropy] = kernel::covariance_and_entropy(self.gpu(), &self.prepared)?;
        Ok(entropy)
    }

    /// The most probable counts, `[law rows, groups]`, of the exact law; the lower group first where two are as probable.
    ///
    /// # Errors
    /// As [`Self::mean`].
    pub fn mode(&self) -> Result<Tensor> {
        self.whole("mode")?;
        Ok(kernel::mode(self.gpu(), &self.prepared)?)
    }
}
