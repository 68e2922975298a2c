//! Divergences of counts and choices from their priors, in closed form on the discrete laws.
//!
//! With `q = softmax(count logits)` and the prior `π`: `KL_L = Σ_m q_m (log q_m - log π_m)`. With the elements `o_1, o_2 ..` in the
//! order in which they were drawn without replacement, `q^l` the softmax of the element logits over those that are left before
//! draw `l`, and `n_l` their number: `KL_z = Σ_l P(L ≥ l) (Σ_k q^l_k log q^l_k + log n_l)`, whose mean over orders is the
//! divergence from uniform choices.

use softurn_autodiff::{Tape, Var};
use softurn_kernels::ops::one_hot;
use softurn_kernels::{Gpu, Tensor};

use crate::Result;

/// Added to logits of what is gone: its share is 0 exactly, and 0 times its logarithm too.
const GONE: f32 = -1e9;

/// What the formulas need on the device.
#[derive(Debug)]
pub(super) struct Divergences {
    bound: usize,
    size: usize,
    /// `log π`, `[1, bound]`.
    log_prior: Tensor,
    /// 1 where a count, the row, is at least the column's, `[bound, bound]`: sums of positive terms, never differences from 1.
    at_least: Tensor,
    /// `log n_l`, `[1, bound]`.
    log_left: Tensor,
}

/// The law of the counts 1, 2 .. bound of each row.
pub(super) struct Counts<'t> {
    /// `q`, `[rows, bound]`.
    pub(super) shares: Var<'t>,
    log: Var<'t>,
    /// `P(L ≥ l)`, `[rows, bound]`.
    pub(super) at_least: Var<'t>,
}

impl Divergences {
    pub(super) fn new(gpu: &Gpu, size: usize, log_prior: &[f64]) -> Result<Self> {
        let bound = log_prior.len();
        let triangle: Vec<f32> = (0..bound * bound).map(|i| f32::from(u8::from(i / bound >= i % bound))).collect();
        let log_left: Vec<f32> = (0..bound).map(|taken| ((size - taken) as f64).ln() as f32).collect();
        let log_prior: Vec<f32> = log_prior.iter().map(|&log| log as f32).collect();
        Ok(Self {
            bound,
            size,
            log_prior: gpu.tensor(&log_prior, [1, bound])?,
            at_least: gpu.tensor(&triangle, [bound, bound])?,
            log_left: gpu.tensor(&log_left, [1, bound])?,
        })
    }

    /// From count logits `[rows, bound]`.
    pub(super) fn law<'t>(&self, tape: &'t Tape, logits: &Var<'t>) -> Result<Counts<'t>> {
        let log = logits.log_softmax(1.0)?;
        let shares = log.exp()?;
        let at_least = shares.matmul(&tape.constant(&self.at_least))?;
        Ok(Counts { shares, log, at_least })
    }

    /// `KL_L` from the prior, `[rows]`.
    pub(super) fn of_counts<'t>(&self, counts: &Counts<'t>) -> Result<Var<'t>> {
        Ok((&counts.shares * &(&counts.log - &self.log_prior)?)?.sum_cols()?)
    }

    /// `KL_L` from uniform counts, `[rows]`.
    pub(super) fn of_counts_from_uniform<'t>(&self, counts: &Counts<'t>) -> Result<Var<'t>> {
        Ok((&counts.shares * &counts.log.affine(1.0, (self.bound as f32).ln())?)?.sum_cols()?)
    }

    /// `KL_z`, `[rows]`, from element logits `[rows, size]`, the order in which elements were drawn `[rows, bound]`, masks
    /// `[rows * bound, size]` of the first one, two .. of them, and the row of each mask.
    pub(super) fn of_choice<'t>(
        &self,
        elements: &Var<'t>,
        order: &Tensor,
        masks: &Tensor,
        rows_of_masks: &Tensor,
        counts: &Counts<'t>,
    ) -> Result<Var<'t>> {
        let rows = rows_of_masks.len() / self.bound;
        let tape = elements.tape();
        let last = one_hot::forward(tape.gpu(), &order.reshape([rows * self.bound])?, self.size)?;
        // Before each draw: without the element of the draw itself.
        let gone = (tape.constant(masks) - &last)?.affine(GONE, 0.0)?;
        let log = (elements.gather(rows_of_masks)? + &gone)?.log_softmax(1.0)?;
        let negative_entropy = (&log.exp()? * &log)?.sum_cols()?.reshape([rows, self.bound])?;
        Ok((&(negative_entropy + &self.log_left)? * &counts.at_least)?.sum_cols()?)
    }

    /// `E[L] KL(softmax(elements) ‖ uniform)`, `[rows]`: the divergence of choices with replacement.
    pub(super) fn of_choice_with_replacement<'t>(&self, elements: &Var<'t>, counts: &Counts<'t>) -> Result<Var<'t>> {
        let log = elements.log_softmax(1.0)?;
        let once = (&log.exp()? * &log)?.sum_cols()?.affine(1.0, (self.size as f32).ln())?;
        Ok((&once * &counts.at_least.sum_cols()?)?)
    }
}
