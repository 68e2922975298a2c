//! Soft labels that balance two wishes, for discriminative clustering: to agree with predictions `σ` row by row, and to
//! fall into groups of given proportions `u`. With `ȳ` the mean of the labels `y` over the rows, they minimise
//!
//! `mean_i H(σ_i, y_i) + λ KL(u ‖ ȳ)`  or  `mean_i -log(σ_i · y_i) + λ KL(u ‖ ȳ)`
//!
//! over the simplex ([`Loss`]; Zhang and Boykov, arXiv 2301.11405 and 2303.07321), by expectation maximisation. With
//! factors `r_k = u_k / ȳ_k` of the last labels, one iteration is
//!
//! * reverse cross-entropy: `y_k ← (σ_k + λ r_k y_k) / Σ_c (σ_c + λ r_c y_c)`, in closed form;
//! * collision cross-entropy: `y_k ← a_k / (1 + A - σ_k / x)` with `a_k = λ r_k y_k`, `A = Σ a`, and the `x` in
//!   `(max σ / (1 + A), max σ]` at which they sum to 1. The kernel looks for `d = 1 + A - max σ / x` instead, which loses
//!   nothing to cancellation, with Newton's method.
//!
//! It starts from `y = σ` and ends once no label changes by `tolerance` or more, which the device decides: nothing is read
//! back, and what is still to come does nothing. Predictions and means count as 1e-8 at least, and labels in `a` as 1e-10.
//! There is no gradient through the iterations: labels are constants of a training step.
//!
//! Small batches run all iterations in one dispatch, larger ones one iteration per dispatch.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{RowPlan, floats};
use crate::gpu::pipeline::Call;
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "self_label";
/// Elements that one workgroup owns at least, if there are as many.
const ELEMENTS: usize = 8192;
/// More workgroups than this would add up each other's columns for too long.
const GROUPS: usize = 256;
/// A little below the loop turns that software adapters grant an invocation.
const TURNS: usize = 60_000;
/// Walks along a row in one iteration of the collision loss, at most: 24 Newton steps and five more.
const COLLISION_WALKS: usize = 29;

/// How labels are told to agree with predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loss {
    /// `H(σ, y) = -Σ_k σ_k log y_k`: the labels stay soft.
    #[default]
    ReverseCrossEntropy,
    /// `-log Σ_k σ_k y_k`: the labels often end at a corner of the simplex.
    Collision,
}

/// What the labels are to be like, and when to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How labels are told to agree with predictions.
    pub loss: Loss,
    /// `λ`, the weight of the proportions, from 0 to 10,000.
    pub lambda: f32,
    /// Iterations at most.
    pub iterations: u32,
    /// It ends after an iteration that changed no label by as much; 0 runs all iterations.
    pub tolerance: f32,
}

/// Labels, and how they came about.
#[derive(Debug, Clone)]
pub struct SelfLabels {
    /// `y`, `[rows, groups]`.
    pub labels: Tensor,
    /// Their means `ȳ`, `[groups]`.
    pub means: Tensor,
    state: Tensor,
}

impl SelfLabels {
    /// How many iterations were taken; waits for the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn iterations(&self) -> Result<u32> {
        Ok(self.state.read_u32()?[0])
    }

    /// By how much the last iteration changed a label at most; waits for the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn last_change(&self) -> Result<f32> {
        Ok(f32::from_bits(self.state.read_u32()?[1]))
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    block: u32,
    groups: u32,
    first: u32,
    count: u32,
    iterations: u32,
    lambda: f32,
    tolerance: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("block", std::mem::offset_of!(Params, block)),
    ("groups", std::mem::offset_of!(Params, groups)),
    ("first", std::mem::offset_of!(Params, first)),
    ("count", std::mem::offset_of!(Params, count)),
    ("iterations", std::mem::offset_of!(Params, iterations)),
    ("lambda", std::mem::offset_of!(Params, lambda)),
    ("tolerance", std::mem::offset_of!(Params, tolerance)),
];

/// Labels for predictions `sigma` `[rows, groups]`, rows of a softmax, and proportions `[groups]` that sum to 1.
///
/// # Errors
/// When shapes do not fit, `lambda` is not in `0..=10000`, `tolerance` is negative, or rows are too wide for a software
/// adapter.
pub fn forward(gpu: &Gpu, sigma: &Tensor, proportions: &Tensor, settings: &Settings) -> Result<SelfLabels> {
    floats(OP, &[("sigma", sigma), ("proportions", proportions)])?;
    if sigma.shape().dims().len() != 2 {
        return Err(Error::shape(OP, "sigma", sigma.shape(), "a matrix [rows, groups]"));
    }
    let (rows, cols) = sigma.shape().rows_cols();
    if proportions.len() != cols {
        return Err(Error::shape(OP, "proportions", proportions.shape(), format!("[{cols}]")));
    }
    if !(0.0..=1e4).contains(&settings.lambda) {
        return Err(Error::argument(OP, "lambda", format!("is {}, not in 0..=10000", settings.lambda)));
    }
    if !(settings.tolerance >= 0.0) {
        return Err(Error::argument(OP, "tolerance", format!("is {}, not 0 or more", settings.tolerance)));
    }
    if sigma.is_empty() {
        let (labels, means) = (gpu.zeros(sigma.shape().clone())?, gpu.zeros([cols])?);
        return Ok(SelfLabels { labels, means, state: gpu.tensor(&[0u32, 0], [2])? });
    }
    let plan = RowPlan::of(gpu, cols);
    let block = (rows * cols).div_ceil(GROUPS).max(ELEMENTS).div_ceil(cols).min(rows);
    let groups = rows.div_ceil(block);
    let passes = settings.iterations as usize + 2;
    // One workgroup takes all passes in one dispatch, but for what software adapters refuse.
    let turns = pass_turns(plan, settings.loss, [block, cols], groups);
    if turns > TURNS {
        return Err(Error::TooLarge {
            what: format!("{OP} of rows of {cols}"),
            unit: "loop turns",
            needed: turns as u64,
            limit: TURNS as u64,
        });
    }
    let count = if groups == 1 { (TURNS / turns).min(passes) } else { 1 };
    let labels = gpu.uninitialised(OP, sigma.shape().clone(), DataType::F32)?;
    let means = gpu.uninitialised(OP, [cols].into(), DataType::F32)?;
    let state = gpu.uninitialised(OP, [2].into(), DataType::U32)?;
    let work = gpu.uninitialised(OP, [groups * (3 * cols + 2)].into(), DataType::F32)?;
    let [lanes, per_group] = plan.constants();
    let kind = if settings.loss == Loss::Collision { 1.0 } else { 0.0 };
    for first in (0..passes).step_by(count) {
        gpu.dispatch(Call {
            op: OP,
            entry: "iterate",
            constants: &[lanes, per_group, ("KIND", kind)],
            inputs: &[sigma, proportions],
            outputs: &[&labels, &work, &means, &state],
            params: bytemuck::bytes_of(&Params {
                rows: rows as u32,
                cols: cols as u32,
                block: block as u32,
                groups: groups as u32,
                first: first as u32,
                count: count.min(passes - first) as u32,
                iterations: settings.iterations,
                lambda: settings.lambda,
                tolerance: settings.tolerance,
            }),
            groups: [groups as u32, 1, 1],
        })?;
    }
    Ok(SelfLabels { labels, means, state })
}

/// Loop turns of an invocation in one pass, from above.
fn pass_turns(plan: RowPlan, loss: Loss, [block, cols]: [usize; 2], groups: usize) -> usize {
    let size = plan.lanes * plan.rows;
    let walk = cols.div_ceil(4 * plan.lanes) + 1;
    let walks = if loss == Loss::Collision { COLLISION_WALKS } else { 2 };
    let rows = block.div_ceil(plan.rows) * (walk * walks + 1);
    let width = cols.min(size);
    let columns = cols.div_ceil(width) * (block.div_ceil(4 * (size / width)) + size / width + 2);
    rows + columns + cols.div_ceil(size) * (groups.div_ceil(4) + 1) + groups + size
}
