//! Orders of a row's elements.

use softurn_autodiff::Var;
use softurn_kernels::ops::relaxed_sort::Relaxation;
use softurn_kernels::ops::{Noise, gumbel_softmax, relaxed_sort, top_k};
use softurn_kernels::{Key, Tensor};

use super::categorical::matrix;
use crate::{Error, Result};

/// The law of Plackett and Luce by scores `[rows, n]`: elements are drawn one after another without replacement, each with a
/// probability proportional to `exp(score)`. Draws are the first `k` elements in their order, or permutations.
///
/// ```
/// use softurn_autodiff::Tape;
/// use softurn_kernels::{Gpu, GpuConfig, Key};
/// use softurn_models::distributions::PlackettLuce;
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let tape = Tape::new(&gpu);
/// let law = PlackettLuce::new(tape.leaf(&gpu.tensor(&[0.0f32, 2f32.ln(), 0.0], [1, 3])?)?)?;
/// // The second of three first (2 of 4), then the first (1 of 2).
/// let log_prob = law.log_prob(&gpu.tensor(&[1u32, 0], [1, 2])?)?;
/// assert!((log_prob.item()? - 0.25f32.ln()).abs() < 1e-6);
/// assert_eq!(law.mode(1)?.read_u32()?, [1]);
/// assert_eq!(law.sample(3, Key::new(0))?.shape().dims(), [1, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PlackettLuce<'t> {
    scores: Var<'t>,
}

impl<'t> PlackettLuce<'t> {
    /// A law per row.
    ///
    /// # Errors
    /// When the scores are not `[rows, n]`.
    pub fn new(scores: Var<'t>) -> Result<Self> {
        Ok(Self { scores: matrix("scores", scores)? })
    }

    /// The shape of a permutation: `[n]`.
    pub fn event_shape(&self) -> [usize; 1] {
        [self.scores.shape().rows_cols().1]
    }

    /// The rows of the law.
    pub fn batch_shape(&self) -> [usize; 1] {
        [self.scores.shape().rows_cols().0]
    }

    /// The first `k` elements of an order, drawn exactly, as `u32` `[rows, k]`; `n` where fewer scores are finite.
    ///
    /// # Errors
    /// When `k` is 0, more than `n`, or more than 4,096.
    pub fn sample(&self, k: usize, key: Key) -> Result<Tensor> {
        Ok(top_k::forward(self.scores.tape().gpu(), self.scores.value(), Noise::Key(key), k)?.indices)
    }

    /// The first `k` elements of the likeliest order, `[rows, k]`.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn mode(&self, k: usize) -> Result<Tensor> {
        Ok(top_k::forward(self.scores.tape().gpu(), self.scores.value(), Noise::None, k)?.indices)
    }

    /// `log P(order)` in nats, `[rows]`, of the first k elements in their order, `u32` `[rows, k]`; NaN where an element occurs
    /// twice or does not exist.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn log_prob(&self, order: &Tensor) -> Result<Var<'t>> {
        Ok(self.scores.plackett_luce_log_prob(order)?)
    }

    /// `x` `[rows, n, columns]` in the order of a draw, exactly, with the gradient of a relaxed sort of the drawn scores in
    /// its place. No `[n, n]` matrix is made.
    ///
    /// # Errors
    /// When `x` has another shape.
    pub fn rsample(&self, x: &Var<'t>, key: Key, relaxation: Relaxation) -> Result<Var<'t>> {
        Ok(self.drawn_scores(key)?.sort_straight_through(x, relaxation)?)
    }

    /// `x` `[rows, n, columns]` sorted by the relaxation along a draw.
    ///
    /// # Errors
    /// When `x` has another shape.
    pub fn rsample_relaxed(&self, x: &Var<'t>, key: Key, relaxation: Relaxation) -> Result<Var<'t>> {
        Ok(self.drawn_scores(key)?.relaxed_sort(x, relaxation)?)
    }

    /// The relaxed permutation matrix of a draw, `[rows, n, n]`, for those who want to look at one; its rows sum to 1. Without
    /// a gradient.
    ///
    /// # Errors
    /// When it does not fit the adapter.
    pub fn permutation(&self, key: Key, relaxation: Relaxation) -> Result<Tensor> {
        let gpu = self.scores.tape().gpu();
        let sorted = relaxed_sort::prepare(gpu, self.drawn_scores(key)?.value())?;
        Ok(relaxed_sort::matrix(gpu, &sorted, relaxation)?)
    }

    /// The scores less their row's largest, with their Gumbel noise: in descending order, the order that [`Self::sample`] draws
    /// with the same key.
    ///
    /// # Errors
    /// Those of the device.
    pub fn drawn_scores(&self, key: Key) -> Result<Var<'t>> {
        let drawn = gumbel_softmax::scores(self.scores.tape().gpu(), self.scores.value(), Noise::Key(key))?;
        Ok(self.scores.straight_through(&drawn)?)
    }

    pub(super) fn scores(&self) -> &Var<'t> {
        &self.scores
    }

    /// Places and groups must be those of these rows.
    pub(super) fn check_rows(&self, argument: &'static str, rows: usize) -> Result<()> {
        if rows == self.batch_shape()[0] {
            return Ok(());
        }
        Err(Error::argument(argument, format!("has {rows} rows for {} rows of scores", self.batch_shape()[0])))
    }
}
