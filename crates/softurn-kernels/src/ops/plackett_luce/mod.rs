//! Log-probability of an ordered selection without replacement under log-scores: item `j` is next with probability
//! `exp s_j / Σ exp s` over what remains, so that `log p = Σ_i (s_{o_i} - R_i)` with `R_i` the log of that sum, after
//! Plackett (1975) and Luce (1959).
//!
//! `ds_j = dlog_p (1[j selected] - Σ_i exp(s_j - R_i))` over the steps `i` at which `j` was still there. Sums are built
//! from the last step to the first, of positive terms, beside the largest score that remains: scores may lie far apart.
//! An entry at `-inf` takes no gradient, and selecting one has the logarithm `-inf`. A row that holds NaN gives NaN, in
//! its gradient as well, and so does an order with an index past the end or the same one twice. Choosing nothing has the
//! logarithm 0.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{RowPlan, filled, floats, integers, leading};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "plackett_luce";
/// A little below the loop turns that software adapters grant an invocation.
const TURNS: usize = 65_000;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    picks: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("picks", std::mem::offset_of!(Params, picks)),
];

/// What [`forward`] leaves for [`backward`].
#[derive(Debug, Clone)]
pub struct Saved {
    /// `u32` in the shape of the scores: 0 for what was never selected, otherwise the step, from 1.
    ranks: Tensor,
    /// `[rows, k]`: the largest score that remains at each step.
    peaks: Tensor,
    /// `[rows, k]`: `exp(R_i - peak_i)`.
    sums: Tensor,
}

/// Log-probabilities `[..]`, in nats, of the selections `order` `[.., k]` of `u32` under `scores` `[.., n]`, and what the
/// backward pass needs.
///
/// # Errors
/// When `scores` does not hold floats or `order` no `u32`, their leading axes differ, `k` is larger than `n`, or one of
/// the two is longer than the loops of a software adapter (65,000 steps).
pub fn forward(gpu: &Gpu, scores: &Tensor, order: &Tensor) -> Result<(Tensor, Saved)> {
    floats(OP, &[("scores", scores)])?;
    integers(OP, &[("order", order)])?;
    let (rows, cols) = scores.shape().rows_cols();
    let picks = order.shape().rows_cols().1;
    let shape = leading(scores.shape());
    let fits = order.shape().dims().len() == scores.shape().dims().len() && leading(order.shape()) == shape;
    if !fits || picks > cols {
        let expected = format!("{shape} and an axis of at most {cols}");
        return Err(Error::shape(OP, "order", order.shape(), expected));
    }
    let plan = RowPlan::of(gpu, cols);
    let needed = picks.max(cols.div_ceil(4 * plan.lanes));
    if gpu.is_software() && needed > TURNS {
        return Err(Error::TooLarge {
            what: format!("{OP} of {picks} steps among {cols} on a software adapter"),
            unit: "loop turns",
            needed: needed as u64,
            limit: TURNS as u64,
        });
    }
    let float = |shape| gpu.uninitialised(OP, shape, DataType::F32);
    let saved = Saved {
        ranks: gpu.zeros_of(OP, scores.shape().clone(), DataType::U32)?,
        peaks: float(order.shape().clone())?,
        sums: float(order.shape().clone())?,
    };
    if order.is_empty() {
        return Ok((filled(gpu, 0.0, shape)?, saved));
    }
    let (rest, log_p) = (float([rows, 2].into())?, float(shape)?);
    let params = Params { rows: rows as u32, cols: cols as u32, picks: picks as u32 };
    let call = Call {
        op: OP,
        entry: "mark",
        constants: &[],
        inputs: &[order],
        outputs: &[&saved.ranks],
        params: bytemuck::bytes_of(&params),
        groups: groups_for(order.len(), 64),
    };
    gpu.dispatch(Call { ..call })?;
    gpu.dispatch(Call {
        entry: "unselected",
        constants: &plan.constants(),
        inputs: &[scores, &saved.ranks],
        outputs: &[&rest],
        groups: plan.groups(rows),
        ..call
    })?;
    gpu.dispatch(Call {
        entry: "chain",
        inputs: &[scores, &saved.ranks, order, &rest],
        outputs: &[&log_p, &saved.peaks, &saved.sums],
        groups: groups_for(rows, 64),
        ..call
    })?;
    Ok((log_p, saved))
}

/// The gradient of `scores`, in their shape, from that of the log-probabilities and what [`forward`] saved.
///
/// # Errors
/// When `dlog_p` does not hold floats, or it or `scores` has another shape than in the forward pass.
pub fn backward(gpu: &Gpu, scores: &Tensor, saved: &Saved, dlog_p: &Tensor) -> Result<Tensor> {
    floats(OP, &[("scores", scores), ("dlog_p", dlog_p)])?;
    super::same_shape(OP, "scores", scores, &saved.ranks)?;
    if *dlog_p.shape() != leading(scores.shape()) {
        return Err(Error::shape(OP, "dlog_p", dlog_p.shape(), leading(scores.shape()).to_string()));
    }
    if saved.peaks.is_empty() {
        return gpu.zeros(scores.shape().clone());
    }
    let (rows, cols) = scores.shape().rows_cols();
    let picks = saved.peaks.shape().rows_cols().1;
    let plan = RowPlan::of(gpu, cols);
    let weights = gpu.uninitialised(OP, saved.peaks.shape().clone(), DataType::F32)?;
    let dx = gpu.uninitialised(OP, scores.shape().clone(), DataType::F32)?;
    let params = Params { rows: rows as u32, cols: cols as u32, picks: picks as u32 };
    let call = Call {
        op: OP,
        entry: "accumulate",
        constants: &[],
        inputs: &[&saved.peaks, &saved.sums],
        outputs: &[&weights],
        params: bytemuck::bytes_of(&params),
        groups: groups_for(rows, 64),
    };
    gpu.dispatch(Call { ..call })?;
    gpu.dispatch(Call {
        entry: "backward",
        inputs: &[scores, &saved.ranks, &saved.peaks, &weights, dlog_p],
        outputs: &[&dx],
        constants: &plan.constants(),
        groups: plan.groups(rows),
        ..call
    })?;
    Ok(dx)
}
