//! Noise: `y[i] = f(Philox4x32-10(counter = i / 4, key)[i mod 4])`, after Salmon et al., "Parallel random numbers: as
//! easy as 1, 2, 3" (2011).
//!
//! The bits depend on the key and the element's index alone. Uniforms are multiples of 2⁻²⁴ in `[0, 1)`; Gumbel noise
//! reaches from -3.13 to 22.9, so that events of probability 10⁻⁹ still happen; normals are made by Box and Muller.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Gpu, Key, Result, Shape, Tensor};

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    length: u32,
    key_low: u32,
    key_high: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("length", std::mem::offset_of!(Params, length)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
];

/// Random 32-bit words.
///
/// # Errors
/// When the tensor is too large for the adapter.
pub fn bits(gpu: &Gpu, shape: impl Into<Shape>, key: Key) -> Result<Tensor> {
    draw(gpu, shape.into(), key, 0, DataType::U32)
}

/// Uniform on `[0, 1)`.
///
/// # Errors
/// When the tensor is too large for the adapter.
pub fn uniform(gpu: &Gpu, shape: impl Into<Shape>, key: Key) -> Result<Tensor> {
    draw(gpu, shape.into(), key, 1, DataType::F32)
}

/// Standard normal.
///
/// # Errors
/// When the tensor is too large for the adapter.
pub fn normal(gpu: &Gpu, shape: impl Into<Shape>, key: Key) -> Result<Tensor> {
    draw(gpu, shape.into(), key, 2, DataType::F32)
}

/// Standard Gumbel, `-log(-log u)`.
///
/// # Errors
/// When the tensor is too large for the adapter.
pub fn gumbel(gpu: &Gpu, shape: impl Into<Shape>, key: Key) -> Result<Tensor> {
    draw(gpu, shape.into(), key, 3, DataType::F32)
}

fn draw(gpu: &Gpu, shape: Shape, key: Key, distribution: u32, data_type: DataType) -> Result<Tensor> {
    let y = gpu.uninitialised("random", shape, data_type)?;
    if !y.is_empty() {
        let [key_low, key_high] = key.words();
        gpu.dispatch(Call {
            op: "random",
            entry: "forward",
            constants: &[("DISTRIBUTION", f64::from(distribution))],
            inputs: &[],
            outputs: &[&y],
            params: bytemuck::bytes_of(&Params { length: y.len() as u32, key_low, key_high }),
            groups: groups_for(y.len().div_ceil(if distribution == 2 { 2 } else { 4 }), 64),
        })?;
    }
    Ok(y)
}
