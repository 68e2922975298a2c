//! A relaxed choice of k of a row's elements: `y = sigmoid((x + g - λ) / T)` with `λ` such that each row sums to `k`, with
//! Gumbel noise or without. Every entry is inside \[0, 1\], and as `T` falls the k largest go to 1 and the rest to 0.
//!
//! With `w = y (1 - y)`, `dx = w (dy - Σ w dy / Σ w) / T`: the backward pass needs the result alone. Entries at `-inf` are 0;
//! where `k` or fewer are left, they are 1. NaN in a row makes it NaN. A temperature below 1e-30 counts as that. Ahle 2022, "Differentiable top-k"; the same map is
//! `LapSum` and the entropic projection on the capped simplex with the logistic entropy.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{Noise, RowPlan, floats, same_shape, valid_temperature};
use crate::gpu::pipeline::Call;
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "sigmoid_top_k";
/// Below, scores over the temperature leave the range of f32.
const SMALLEST: f32 = 1e-30;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    k: f32,
    temperature: f32,
    key_low: u32,
    key_high: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("k", std::mem::offset_of!(Params, k)),
    ("temperature", std::mem::offset_of!(Params, temperature)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
];

/// Relaxed choices in the shape of `x`, each row of the last axis summing to `k`.
///
/// # Errors
/// When `x` does not hold floats, `k` is 0 or more than a row has, the temperature is not positive, or given noise has
/// another shape.
pub fn forward(gpu: &Gpu, x: &Tensor, noise: Noise<'_>, k: usize, temperature: f32) -> Result<Tensor> {
    let [y, _] = with_level(gpu, x, noise, k, temperature)?;
    Ok(y)
}

/// As [`forward`], and `λ` of each row, `-inf` where all are chosen.
///
/// # Errors
/// As [`forward`].
pub fn with_level(gpu: &Gpu, x: &Tensor, noise: Noise<'_>, k: usize, temperature: f32) -> Result<[Tensor; 2]> {
    floats(OP, &[("x", x)])?;
    noise.check(OP, x)?;
    valid_temperature(OP, temperature)?;
    let cols = x.shape().rows_cols().1;
    if k == 0 || k > cols {
        return Err(Error::argument(OP, "k", format!("is {k}, not from 1 to the {cols} elements of a row")));
    }
    let level = gpu.uninitialised(OP, [x.shape().rows_cols().0].into(), DataType::F32)?;
    let y = run(gpu, "forward", Some(noise), k, temperature, &[x, noise.tensor(x)], Some(&level))?;
    Ok([y, level])
}

/// The gradient of `x` from the result `y` of [`forward`] and its gradient.
///
/// # Errors
/// When the shapes differ or the temperature is not positive.
pub fn backward(gpu: &Gpu, y: &Tensor, dy: &Tensor, temperature: f32) -> Result<Tensor> {
    floats(OP, &[("y", y), ("dy", dy)])?;
    same_shape(OP, "dy", dy, y)?;
    valid_temperature(OP, temperature)?;
    run(gpu, "backward", None, 0, temperature, &[y, dy], None)
}

fn run(
    gpu: &Gpu,
    entry: &'static str,
    noise: Option<Noise<'_>>,
    k: usize,
    temperature: f32,
    inputs: &[&Tensor],
    level: Option<&Tensor>,
) -> Result<Tensor> {
    let result = gpu.uninitialised(OP, inputs[0].shape().clone(), DataType::F32)?;
    if result.is_empty() {
        return Ok(result);
    }
    let (rows, cols) = result.shape().rows_cols();
    let plan = RowPlan::of(gpu, cols);
    let mut constants = plan.constants().to_vec();
    constants.extend(noise.map(|noise| ("NOISE", noise.mode())));
    let [key_low, key_high] = noise.map_or([0, 0], Noise::words);
    let [rows_word, cols_word] = [rows, cols].map(|n| n as u32);
    gpu.dispatch(Call {
        op: OP,
        entry,
        constants: &constants,
        inputs,
        outputs: &std::iter::once(&result).chain(level).collect::<Vec<_>>(),
        params: bytemuck::bytes_of(&Params {
            rows: rows_word,
            cols: cols_word,
            k: k as f32,
            temperature: temperature.max(SMALLEST),
            key_low,
            key_high,
        }),
        groups: plan.groups(rows),
    })?;
    Ok(result)
}
