//! Sparse laws along rows: sparsemax, `p = max(z - t, 0)`, after Martins and Astudillo (2016), and 1.5-entmax,
//! `p = max(z / 2 - t, 0)²`, after Peters, Niculae and Martins (2019), with the `t` that makes the row sum to 1.
//!
//! `dz = s (dy - Σ s dy / Σ s)`, with `s` the indicator of the support for sparsemax and `√p` for 1.5-entmax: an entry
//! outside the support takes no gradient and gives none. The row's largest value is taken out. An entry at `-inf` has no
//! probability; a row of `-inf` gives zeros and gradients of zero; `+inf` entries share the row equally; a row that
//! holds NaN gives NaN throughout.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{RowPlan, floats, same_shape};
use crate::gpu::pipeline::Call;
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "entmax";
/// Newton's steps at most: sums of parabolas on a million elements take less than twenty.
const ROUNDS: usize = 60;
/// With fewer a row might stop short of its threshold.
const LEAST_ROUNDS: usize = 24;
/// Rounds' worth of loop turns besides.
const PASSES: usize = 14;
/// A little below the loop turns that software adapters grant an invocation.
const TURNS: usize = 65_000;

/// Which law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpha {
    /// Sparsemax: the Euclidean projection onto the simplex.
    Two,
    /// 1.5-entmax, between softmax and sparsemax.
    OneAndAHalf,
}

impl Alpha {
    fn constant(self) -> (&'static str, f64) {
        ("SQUARED", f64::from(self == Self::OneAndAHalf))
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    rounds: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("rounds", std::mem::offset_of!(Params, rounds)),
];

/// The law of each row of the last axis of `x`, in the shape of `x`.
///
/// # Errors
/// When `x` does not hold floats, or its rows are longer than the loops of a software adapter (about 1.7 million).
pub fn forward(gpu: &Gpu, x: &Tensor, alpha: Alpha) -> Result<Tensor> {
    run(gpu, "forward", alpha, &[("x", x)])
}

/// The gradient of the scores, given the result `y` of [`forward`] and its gradient.
///
/// # Errors
/// As [`forward`], and when the shapes differ.
pub fn backward(gpu: &Gpu, y: &Tensor, dy: &Tensor, alpha: Alpha) -> Result<Tensor> {
    run(gpu, "backward", alpha, &[("y", y), ("dy", dy)])
}

/// Newton's steps that a row of `cols` elements may take.
fn rounds(gpu: &Gpu, cols: usize, lanes: usize) -> Result<usize> {
    // A round walks all elements at worst. So do packing and dropping, in five turns each, two sums and the result.
    let turns = cols.div_ceil(4 * lanes) + 1;
    let rounds = (TURNS / turns).saturating_sub(PASSES).min(ROUNDS);
    if !gpu.is_software() {
        return Ok(ROUNDS);
    }
    if rounds < LEAST_ROUNDS {
        return Err(Error::TooLarge {
            what: format!("{OP} of rows of {cols} on a software adapter"),
            unit: "loop turns",
            needed: ((LEAST_ROUNDS + PASSES) * turns) as u64,
            limit: TURNS as u64,
        });
    }
    Ok(rounds)
}

fn run(gpu: &Gpu, entry: &'static str, alpha: Alpha, arguments: &[(&'static str, &Tensor)]) -> Result<Tensor> {
    floats(OP, arguments)?;
    let x = arguments[0].1;
    for (argument, tensor) in &arguments[1..] {
        same_shape(OP, argument, tensor, x)?;
    }
    let (rows, cols) = x.shape().rows_cols();
    let plan = RowPlan::of(gpu, cols);
    let rounds = rounds(gpu, cols, plan.lanes)? as u32;
    let result = gpu.uninitialised(OP, x.shape().clone(), DataType::F32)?;
    if !x.is_empty() {
        let [lanes, rows_per_group] = plan.constants();
        let inputs: Vec<&Tensor> = arguments.iter().map(|&(_, tensor)| tensor).collect();
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[lanes, rows_per_group, alpha.constant()],
            inputs: &inputs,
            outputs: &[&result],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32, rounds }),
            groups: plan.groups(rows),
        })?;
    }
    Ok(result)
}
