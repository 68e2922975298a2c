//! Softmax with a temperature along rows, `y = exp(x / T) / Σ exp(x / T)`, and its logarithm.
//!
//! `dx = y (dy - Σ y dy) / T`; for the logarithm `dx = (dy - exp(y) Σ dy) / T`, where an entry at `-inf` is a constant:
//! it takes no gradient and gives none. The row's largest value is taken out. A row of `-inf` gives zeros (`-inf` for
//! the logarithm) and gradients of zero; `+inf` entries share the probability equally; a row that holds NaN gives NaN
//! throughout.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{RowPlan, floats, same_shape, valid_temperature};
use crate::gpu::pipeline::Call;
use crate::{DataType, Gpu, Result, Tensor};

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    temperature: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("temperature", std::mem::offset_of!(Params, temperature)),
];

/// Probabilities along the last axis of the logits `x`; the shape is that of `x`.
///
/// # Errors
/// When `x` does not hold floats, or `temperature` is not positive and finite.
pub fn forward(gpu: &Gpu, x: &Tensor, temperature: f32) -> Result<Tensor> {
    run(gpu, "forward", false, &[("x", x)], temperature)
}

/// Logarithms of the probabilities, in nats, without the underflow of `log(softmax(x))`.
///
/// # Errors
/// As [`forward`].
pub fn forward_log(gpu: &Gpu, x: &Tensor, temperature: f32) -> Result<Tensor> {
    run(gpu, "forward", true, &[("x", x)], temperature)
}

/// The gradient of the logits, given the result `y` of [`forward`] and its gradient.
///
/// # Errors
/// As [`forward`], and when the shapes differ.
pub fn backward(gpu: &Gpu, y: &Tensor, dy: &Tensor, temperature: f32) -> Result<Tensor> {
    run(gpu, "backward", false, &[("y", y), ("dy", dy)], temperature)
}

/// The gradient of the logits, given the result `log_y` of [`forward_log`] and its gradient.
///
/// # Errors
/// As [`forward`], and when the shapes differ.
pub fn backward_log(gpu: &Gpu, log_y: &Tensor, dy: &Tensor, temperature: f32) -> Result<Tensor> {
    run(gpu, "backward", true, &[("log_y", log_y), ("dy", dy)], temperature)
}

fn run(
    gpu: &Gpu,
    entry: &'static str,
    log: bool,
    arguments: &[(&'static str, &Tensor)],
    temperature: f32,
) -> Result<Tensor> {
    floats("softmax", arguments)?;
    let x = arguments[0].1;
    for (argument, tensor) in &arguments[1..] {
        same_shape("softmax", argument, tensor, x)?;
    }
    valid_temperature("softmax", temperature)?;
    let (rows, cols) = x.shape().rows_cols();
    let result = gpu.uninitialised("softmax", x.shape().clone(), DataType::F32)?;
    if !x.is_empty() {
        let (entry, plan) = match entry {
            "forward" if cols.is_multiple_of(4) => ("forward_fours", RowPlan::with_elements(gpu, cols, 16)),
            "forward" => (entry, RowPlan::with_elements(gpu, cols, 16)),
            _ => (entry, RowPlan::of(gpu, cols)),
        };
        let [lanes, rows_per_group] = plan.constants();
        let inputs: Vec<&Tensor> = arguments.iter().map(|&(_, tensor)| tensor).collect();
        gpu.dispatch(Call {
            op: "softmax",
            entry,
            constants: &[lanes, rows_per_group, ("LOG", f64::from(log))],
            inputs: &inputs,
            outputs: &[&result],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32, temperature }),
            groups: plan.groups(rows),
        })?;
    }
    Ok(result)
}
