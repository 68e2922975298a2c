//! Element-wise functions of one tensor: `y = f(x)`, `dx = dy · f'(x)`.
//!
//! `exp`, `log`, `log1p`, `expm1` and `tanh` are our own (`shaders/shared/math.wgsl`): drivers' builtins are only
//! absolutely accurate in places.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{by_fours, floats, same_shape};
use crate::gpu::pipeline::Call;
use crate::{DataType, Gpu, Result, Tensor};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// `scale · x + shift`
    Affine {
        /// The factor.
        scale: f32,
        /// What is added.
        shift: f32,
    },
    /// `e^x`
    Exp,
    /// The natural logarithm; `-inf` at 0, NaN below.
    Log,
    /// `log(1 + x)`
    Log1p,
    /// `e^x - 1`
    Expm1,
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`; its gradient at 0 is 0.
    Relu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `log(1 + e^x)`
    Softplus,
    /// `x²`
    Square,
    /// The square root.
    Sqrt,
    /// The absolute value; its gradient at 0 is 0.
    Abs,
    /// `1 / x`
    Reciprocal,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    length: u32,
    scale: f32,
    shift: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("length", std::mem::offset_of!(Params, length)),
    ("scale", std::mem::offset_of!(Params, scale)),
    ("shift", std::mem::offset_of!(Params, shift)),
];

impl Unary {
    /// The number under which the shader knows the function.
    fn code(self) -> u32 {
        match self {
            Self::Affine { .. } => 0,
            Self::Exp => 1,
            Self::Log => 2,
            Self::Log1p => 3,
            Self::Expm1 => 4,
            Self::Tanh => 5,
            Self::Relu => 6,
            Self::Sigmoid => 7,
            Self::Softplus => 8,
            Self::Square => 9,
            Self::Sqrt => 10,
            Self::Abs => 11,
            Self::Reciprocal => 12,
        }
    }

    fn params(self, length: usize) -> Params {
        let (scale, shift) = match self {
            Self::Affine { scale, shift } => (scale, shift),
            _ => (0.0, 0.0),
        };
        Params { length: length as u32, scale, shift }
    }
}

/// `f(x)` for every element; any shape.
///
/// # Errors
/// When `x` does not hold floats.
pub fn forward(gpu: &Gpu, function: Unary, x: &Tensor) -> Result<Tensor> {
    floats("unary", &[("x", x)])?;
    let y = gpu.uninitialised("unary", x.shape().clone(), DataType::F32)?;
    if !x.is_empty() {
        let (entry, groups) = by_fours(x.len(), "forward", "forward_fours");
        gpu.dispatch(Call {
            op: "unary",
            entry,
            constants: &[("FUNCTION", f64::from(function.code()))],
            inputs: &[x],
            outputs: &[&y],
            params: bytemuck::bytes_of(&function.params(x.len())),
            groups,
        })?;
    }
    Ok(y)
}

/// `dy · f'(x)` for every element.
///
/// # Errors
/// When the shapes differ.
pub fn backward(gpu: &Gpu, function: Unary, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    floats("unary", &[("x", x), ("dy", dy)])?;
    same_shape("unary", "dy", dy, x)?;
    let dx = gpu.uninitialised("unary", x.shape().clone(), DataType::F32)?;
    if !x.is_empty() {
        let (entry, groups) = by_fours(x.len(), "backward", "backward_fours");
        gpu.dispatch(Call {
            op: "unary",
            entry,
            constants: &[("FUNCTION", f64::from(function.code()))],
            inputs: &[x, dy],
            outputs: &[&dx],
            params: bytemuck::bytes_of(&function.params(x.len())),
            groups,
        })?;
    }
    Ok(dx)
}
