//! A relaxed choice of k by k softmaxes, each taking weight from what the ones before chose: Xie and Ermon (2019),
//! "Reparameterizable subset sampling via continuous relaxations", in the convention `p = softmax(a / T)`, `y += p`,
//! `a += log(1 - p)`.
//!
//! Rows sum to k, but entries leave \[0, 1\]: elements that are much likelier than others are chosen more than once, at any
//! temperature. This is the published form; [`sigmoid_top_k`](super::sigmoid_top_k) stays inside, costs less and should be
//! the first choice. Work is O(n k); a backward pass makes the steps again, in scratch memory of bounded size. Entries at `-inf`
//! are 0; a row that has fewer than k others ends with their number. NaN in a row makes it NaN. An element
//! so sure that the others keep less than 10^-38 to the power of T is not chosen a second time.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{Noise, RowPlan, floats, same_shape, valid_temperature};
use crate::gpu::pipeline::Call;
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "successive_top_k";
/// Steps of one part of a batch, in bytes.
const SCRATCH: usize = 32 << 20;
/// Software adapters end all loops of an invocation after 65,536 turns, without an error.
const TURNS: usize = 60_000;
/// A temperature below counts as this one.
const SMALLEST: f32 = 1e-30;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    k: u32,
    inverse: f32,
    key_low: u32,
    key_high: u32,
    row_offset: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("k", std::mem::offset_of!(Params, k)),
    ("inverse", std::mem::offset_of!(Params, inverse)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
    ("row_offset", std::mem::offset_of!(Params, row_offset)),
];

/// Relaxed choices in the shape of `x`, each row of the last axis summing to `k`.
///
/// # Errors
/// When `x` does not hold floats, `k` is 0 or more than a row has, the temperature is not positive, given noise has another
/// shape, or `k` times the row is too long for a software adapter.
pub fn forward(gpu: &Gpu, x: &Tensor, noise: Noise<'_>, k: usize, temperature: f32) -> Result<Tensor> {
    let plan = plan(gpu, x, noise, k, temperature)?;
    let rows = x.shape().rows_cols().0;
    let y = gpu.uninitialised(OP, x.shape().clone(), DataType::F32)?;
    if !x.is_empty() {
        let path = gpu.uninitialised(OP, [1].into(), DataType::F32)?;
        walk(gpu, plan, x, noise, k, temperature, 0..rows, &y, &path, false)?;
    }
    Ok(y)
}

/// The gradient of `x` from that of the choice; noise, `k` and temperature must be those of the forward pass.
///
/// # Errors
/// As [`forward`], and when `dy` has another shape.
pub fn backward(gpu: &Gpu, x: &Tensor, noise: Noise<'_>, k: usize, temperature: f32, dy: &Tensor) -> Result<Tensor> {
    let plan = plan(gpu, x, noise, k, temperature)?;
    floats(OP, &[("dy", dy)])?;
    same_shape(OP, "dy", dy, x)?;
    let dx = gpu.uninitialised(OP, x.shape().clone(), DataType::F32)?;
    let (rows, cols) = x.shape().rows_cols();
    let part = (SCRATCH / (4 * (k * cols).max(1))).max(1);
    for start in (0..rows).step_by(part) {
        let end = rows.min(start + part);
        let y = gpu.uninitialised(OP, [end - start, cols].into(), DataType::F32)?;
        let path = gpu.uninitialised(OP, [k, end - start, cols].into(), DataType::F32)?;
        let steps = walk(gpu, plan, x, noise, k, temperature, start..end, &y, &path, true)?;
        gpu.dispatch(Call {
            op: OP,
            entry: "backward",
            constants: &plan.constants(),
            inputs: &[&path, &steps, dy],
            outputs: &[&dx],
            params: bytemuck::bytes_of(&params(x, noise, k, temperature, &(start..end))),
            groups: plan.groups(end - start),
        })?;
    }
    Ok(dx)
}

/// What [`forward`] refuses.
///
/// # Errors
/// As [`forward`].
pub fn check(gpu: &Gpu, x: &Tensor, noise: Noise<'_>, k: usize, temperature: f32) -> Result<()> {
    plan(gpu, x, noise, k, temperature).map(drop)
}

fn plan(gpu: &Gpu, x: &Tensor, noise: Noise<'_>, k: usize, temperature: f32) -> Result<RowPlan> {
    floats(OP, &[("x", x)])?;
    noise.check(OP, x)?;
    valid_temperature(OP, temperature)?;
    let cols = x.shape().rows_cols().1;
    if k == 0 || k > cols {
        return Err(Error::argument(OP, "k", format!("is {k}, not from 1 to the {cols} elements of a row")));
    }
    let mut plan = RowPlan::of(gpu, cols);
    if gpu.is_software() {
        // A step walks a row in fours, up to three times, and where powers are logarithms up to eight steps again each time;
        // then there are the loops of reductions.
        let per_four = if power(temperature) > 0.0 { 3 } else { 30 };
        let turns = |lanes: usize| k * (per_four * cols.div_ceil(4 * lanes) + if lanes == 1 { 16 } else { 80 });
        let mut lanes = plan.lanes;
        while turns(lanes) > TURNS && lanes < 256 {
            lanes *= 2;
        }
        if turns(lanes) > TURNS {
            let what = format!("{k} steps along {cols} elements on a software adapter");
            return Err(Error::TooLarge { what, unit: "loop turns", needed: turns(lanes) as u64, limit: TURNS as u64 });
        }
        plan = RowPlan { lanes, rows: (64 / lanes).max(1) };
    }
    Ok(plan)
}

fn params(x: &Tensor, noise: Noise<'_>, k: usize, temperature: f32, rows: &std::ops::Range<usize>) -> Params {
    let [key_low, key_high] = noise.words();
    let cols = x.shape().rows_cols().1;
    let [count, cols, k, row_offset] = [rows.len(), cols, k, rows.start].map(|n| n as u32);
    Params { rows: count, cols, k, inverse: 1.0 / temperature.max(SMALLEST), key_low, key_high, row_offset }
}

/// `1 / T` where it is a whole number that products make, 0 elsewhere.
fn power(temperature: f32) -> f64 {
    let inverse = 1.0 / temperature.max(SMALLEST);
    if inverse.fract() == 0.0 && (1.0..=15.0).contains(&inverse) { f64::from(inverse) } else { 0.0 }
}

/// The steps of some rows: the choices into `y`, every softmax into `path` if asked for. Two numbers a step.
#[expect(clippy::too_many_arguments, reason = "one pass over part of a batch")]
fn walk(
    gpu: &Gpu,
    plan: RowPlan,
    x: &Tensor,
    noise: Noise<'_>,
    k: usize,
    temperature: f32,
    rows: std::ops::Range<usize>,
    y: &Tensor,
    path: &Tensor,
    traced: bool,
) -> Result<Tensor> {
    let scratch = || gpu.uninitialised(OP, [rows.len(), x.shape().rows_cols().1].into(), DataType::F32);
    let (weights, decay) = (scratch()?, scratch()?);
    let steps = gpu.uninitialised(OP, [rows.len(), k, 2].into(), DataType::F32)?;
    let mut constants = plan.constants().to_vec();
    let flag = |on: bool| f64::from(u8::from(on));
    constants.extend([("NOISE", noise.mode()), ("POWER", power(temperature)), ("PATH", flag(traced))]);
    gpu.dispatch(Call {
        op: OP,
        entry: "forward",
        constants: &constants,
        inputs: &[x, noise.tensor(x)],
        outputs: &[y, &weights, &decay, &steps, path],
        params: bytemuck::bytes_of(&params(x, noise, k, temperature, &rows)),
        groups: plan.groups(rows.len()),
    })?;
    Ok(steps)
}
