//! AdamW with clipping by norm, in place over flat buffers: with `g = s·gradient`,
//! `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`, `x ← x - η(λx + m̂ / (√v̂ + ε))`, `m̂ = m/(1-β₁ᵗ)`, `v̂ = v/(1-β₂ᵗ)`.
//!
//! Kingma and Ba, "Adam" (2015), with the decoupled weight decay of Loshchilov and Hutter (2019).

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use super::{by_fours, floats, same_shape};
use crate::gpu::pipeline::Call;
use crate::{Error, Gpu, Result, Tensor};

/// What an update depends on besides the buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// `η`, not negative.
    pub learning_rate: f32,
    /// `β₁` in `[0, 1)`, the decay of the first moment.
    pub beta1: f32,
    /// `β₂` in `[0, 1)`, the decay of the second moment.
    pub beta2: f32,
    /// `ε > 0`, added to the root of the second moment.
    pub epsilon: f32,
    /// `λ`, not negative: the decoupled decay, multiplied by the learning rate but not by the gradient's scale.
    pub weight_decay: f32,
    /// `t`, the number of this update, from 1.
    pub step: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, step: 1 }
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    length: u32,
    clipped: u32,
    max_norm: f32,
    beta1: f32,
    beta2: f32,
    decay: f32,
    step_size: f32,
    second_factor: f32,
    epsilon: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("length", std::mem::offset_of!(Params, length)),
    ("clipped", std::mem::offset_of!(Params, clipped)),
    ("max_norm", std::mem::offset_of!(Params, max_norm)),
    ("beta1", std::mem::offset_of!(Params, beta1)),
    ("beta2", std::mem::offset_of!(Params, beta2)),
    ("decay", std::mem::offset_of!(Params, decay)),
    ("step_size", std::mem::offset_of!(Params, step_size)),
    ("second_factor", std::mem::offset_of!(Params, second_factor)),
    ("epsilon", std::mem::offset_of!(Params, epsilon)),
];

impl Settings {
    fn check(&self) -> Result<()> {
        let fail = |argument, message: String| Err(Error::argument("adam", argument, message));
        for (argument, value) in [("learning_rate", self.learning_rate), ("weight_decay", self.weight_decay)] {
            if !(value.is_finite() && value >= 0.0) {
                return fail(argument, format!("is {value}, not a finite number from 0"));
            }
        }
        for (argument, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return fail(argument, format!("is {value}, not in [0, 1)"));
            }
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return fail("epsilon", format!("is {}, not a finite number above 0", self.epsilon));
        }
        if self.step == 0 {
            return fail("step", "is 0; updates are numbered from 1".into());
        }
        Ok(())
    }

    /// `η / (1 - β₁ᵗ)` and `1 / (1 - β₂ᵗ)`, in f64: near `β = 1` a power in f32 loses the difference.
    fn corrections(&self) -> (f64, f64) {
        let factor = |beta: f32| 1.0 / (1.0 - f64::from(beta).powf(f64::from(self.step)));
        (f64::from(self.learning_rate) * factor(self.beta1), factor(self.beta2))
    }
}

/// One update of `values` and of both moments, in place, in one dispatch. All four tensors have one shape.
///
/// `clip` is the sum of squares of the whole gradient, a tensor of one element, and the norm to which a longer gradient
/// is scaled down. Where the gradient, the sum of squares or a moment is not finite (a gradient above 1.8e19 has no
/// finite square) the value becomes NaN. Zeros with zero gradients, such as padding, stay zero as long as the sum of
/// squares is finite.
///
/// # Errors
/// When shapes differ, a tensor does not hold floats, two of the four share a buffer, or a setting is out of range.
pub fn step(
    gpu: &Gpu,
    values: &Tensor,
    gradients: &Tensor,
    first: &Tensor,
    second: &Tensor,
    settings: &Settings,
    clip: Option<(&Tensor, f32)>,
) -> Result<()> {
    let all = [("values", values), ("gradients", gradients), ("first", first), ("second", second)];
    floats("adam", &all)?;
    for (i, &(argument, tensor)) in all.iter().enumerate() {
        same_shape("adam", argument, tensor, values)?;
        if all[..i].iter().any(|(_, other)| Arc::ptr_eq(other.buffer(), tensor.buffer())) {
            return Err(Error::argument("adam", argument, "shares its buffer with another argument"));
        }
    }
    settings.check()?;
    if let Some((norm_squared, max_norm)) = clip {
        floats("adam", &[("norm_squared", norm_squared)])?;
        if norm_squared.len() != 1 {
            return Err(Error::shape("adam", "norm_squared", norm_squared.shape(), "one element"));
        }
        if [values, first, second].iter().any(|tensor| Arc::ptr_eq(tensor.buffer(), norm_squared.buffer())) {
            return Err(Error::argument("adam", "norm_squared", "shares its buffer with another argument"));
        }
        if !(max_norm.is_finite() && max_norm > 0.0) {
            return Err(Error::argument("adam", "max_norm", format!("is {max_norm}, not a finite number above 0")));
        }
    }
    if values.is_empty() {
        return Ok(());
    }
    let (step_size, second_factor) = settings.corrections();
    let params = Params {
        length: values.len() as u32,
        clipped: u32::from(clip.is_some()),
        max_norm: clip.map_or(1.0, |(_, max_norm)| max_norm),
        beta1: settings.beta1,
        beta2: settings.beta2,
        decay: (f64::from(settings.learning_rate) * f64::from(settings.weight_decay)) as f32,
        step_size: step_size as f32,
        second_factor: second_factor as f32,
        epsilon: settings.epsilon,
    };
    let (entry, groups) = by_fours(values.len(), "update", "update_fours");
    gpu.dispatch(Call {
        op: "adam",
        entry,
        constants: &[],
        inputs: &[gradients, clip.map_or(gradients, |(norm_squared, _)| norm_squared)],
        outputs: &[values, first, second],
        params: bytemuck::bytes_of(&params),
        groups,
    })
}
