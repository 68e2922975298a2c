//! Draws from a categorical law given by logits, exact and relaxed: with Gumbel noise `g`, `argmax (x + g)` has the law
//! `softmax(x)`, and `y = softmax((x + g) / T)` is its relaxation, after Jang, Gu and Poole (2017) and Maddison, Mnih and
//! Teh (2017).
//!
//! `dx = y (dy - Σ y dy) / T`. The noise is made again in the backward pass instead of stored; the row's largest logit is
//! taken out before it is added. An entry at `-inf` is never chosen; a row of `-inf` gives zeros, gradients of zero and
//! the index `cols`. `+inf` entries share the row by their noise. A row that holds NaN gives NaN, and the index of its
//! first NaN. A temperature below 1e-30 counts as that.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{Noise, RowPlan, floats, leading, same_shape, valid_temperature};
use crate::gpu::pipeline::Call;
use crate::{DataType, Gpu, Result, Tensor};

const OP: &str = "gumbel_softmax";
/// From this temperature on, exponentials of scores (the largest between -4 and 23) stay far inside the range of f32.
const BOUNDED: f32 = 0.4;
/// Below, the temperature or its inverse leaves the range of f32.
const SMALLEST: f32 = 1e-30;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    temperature: f32,
    key_low: u32,
    key_high: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("temperature", std::mem::offset_of!(Params, temperature)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
];

/// Relaxed draws `y` in the shape of `logits`, a law along each row of the last axis.
///
/// # Errors
/// When an argument does not hold floats, given noise has another shape than the logits, or `temperature` is not positive
/// and finite.
pub fn forward(gpu: &Gpu, logits: &Tensor, noise: Noise<'_>, temperature: f32) -> Result<Tensor> {
    let y = like(gpu, logits)?;
    run(gpu, "forward", logits, noise, temperature, None, &y)?;
    Ok(y)
}

/// What draws compare, `x - max x + g` in the shape of `logits`; a row that holds NaN has it where it was, and zeros.
///
/// # Errors
/// As [`forward`].
pub fn scores(gpu: &Gpu, logits: &Tensor, noise: Noise<'_>) -> Result<Tensor> {
    let y = like(gpu, logits)?;
    run(gpu, "perturb", logits, noise, 1.0, None, &y)?;
    Ok(y)
}

/// Exact draws as rows of zeros with a one, in the shape of `logits`: of equal scores the first wins.
///
/// # Errors
/// As [`forward`].
pub fn hard(gpu: &Gpu, logits: &Tensor, noise: Noise<'_>) -> Result<Tensor> {
    let y = like(gpu, logits)?;
    run(gpu, "hard", logits, noise, 1.0, None, &y)?;
    Ok(y)
}

/// Exact draws as `u32` indices, one per row; `cols` where the row has no finite entry.
///
/// # Errors
/// As [`forward`].
pub fn sample(gpu: &Gpu, logits: &Tensor, noise: Noise<'_>) -> Result<Tensor> {
    let shape = leading(logits.shape());
    let index = match logits.is_empty() {
        true => gpu.tensor(&vec![0u32; shape.len()], shape)?,
        false => gpu.uninitialised(OP, shape, DataType::U32)?,
    };
    run(gpu, "sample", logits, noise, 1.0, None, &index)?;
    Ok(index)
}

/// The gradient of the logits from that of the relaxed draws; noise and temperature must be those of the forward pass.
///
/// # Errors
/// As [`forward`], and when `dy` has another shape than the logits.
pub fn backward(gpu: &Gpu, logits: &Tensor, noise: Noise<'_>, temperature: f32, dy: &Tensor) -> Result<Tensor> {
    let dx = like(gpu, logits)?;
    run(gpu, "backward", logits, noise, temperature, Some(dy), &dx)?;
    Ok(dx)
}

fn like(gpu: &Gpu, logits: &Tensor) -> Result<Tensor> {
    gpu.uninitialised(OP, logits.shape().clone(), DataType::F32)
}

fn run(
    gpu: &Gpu,
    entry: &'static str,
    logits: &Tensor,
    noise: Noise<'_>,
    temperature: f32,
    dy: Option<&Tensor>,
    result: &Tensor,
) -> Result<()> {
    floats(OP, &[("logits", logits)])?;
    noise.check(OP, logits)?;
    valid_temperature(OP, temperature)?;
    let mut inputs = vec![logits, noise.tensor(logits)];
    if let Some(dy) = dy {
        floats(OP, &[("dy", dy)])?;
        same_shape(OP, "dy", dy, logits)?;
        inputs.push(dy);
    }
    if logits.is_empty() {
        return Ok(());
    }
    let (rows, cols) = logits.shape().rows_cols();
    let plan = RowPlan::of(gpu, cols);
    let [lanes, per_group] = plan.constants();
    let [key_low, key_high] = noise.words();
    let bounded = temperature >= BOUNDED && !matches!(noise, Noise::Given(_));
    let mut constants = vec![lanes, per_group, ("NOISE", noise.mode())];
    if matches!(entry, "forward" | "backward") {
        constants.push(("BOUNDED", f64::from(bounded)));
    }
    let temperature = temperature.max(SMALLEST);
    gpu.dispatch(Call {
        op: OP,
        entry,
        constants: &constants,
        inputs: &inputs,
        outputs: &[result],
        params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32, temperature, key_low, key_high }),
        groups: plan.groups(rows),
    })
}
