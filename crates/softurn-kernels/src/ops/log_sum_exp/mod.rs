//! The logarithm of a sum of exponentials along rows: `lse[r] = log Σ_c exp(x[r, c])`, `dx = dlse · exp(x - lse)`.
//!
//! The row's largest value is taken out, so that nothing overflows. A row of `-inf` gives `-inf` and a gradient of
//! zero; a row that holds `+inf` gives `+inf`, and a gradient of `dlse` to each `+inf` and zero to the rest; a row that
//! holds NaN gives NaN throughout.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{RowPlan, filled, floats, leading};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Tensor};

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
}

pub(super) const PARAMS: &[(&str, usize)] =
    &[("rows", std::mem::offset_of!(Params, rows)), ("cols", std::mem::offset_of!(Params, cols))];

/// `log Σ exp` along the last axis: `[.., cols]` to `[..]`, in nats. A row without columns gives `-inf`.
///
/// # Errors
/// When `x` does not hold floats.
pub fn forward(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    floats("log_sum_exp", &[("x", x)])?;
    let (rows, cols) = x.shape().rows_cols();
    let shape = leading(x.shape());
    if x.is_empty() {
        return filled(gpu, f32::NEG_INFINITY, shape);
    }
    let lse = gpu.uninitialised("log_sum_exp", shape, DataType::F32)?;
    let plan = RowPlan::with_elements(gpu, cols, 16);
    gpu.dispatch(Call {
        op: "log_sum_exp",
        entry: if cols.is_multiple_of(4) { "forward_fours" } else { "forward" },
        constants: &plan.constants(),
        inputs: &[x],
        outputs: &[&lse],
        params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32 }),
        groups: plan.groups(rows),
    })?;
    Ok(lse)
}

/// The gradient of `x`, given the result `lse` and its gradient `dlse`, both of the leading axes of `x`.
///
/// # Errors
/// When the shapes do not fit.
pub fn backward(gpu: &Gpu, x: &Tensor, lse: &Tensor, dlse: &Tensor) -> Result<Tensor> {
    floats("log_sum_exp", &[("x", x), ("lse", lse), ("dlse", dlse)])?;
    let shape = leading(x.shape());
    for (argument, tensor) in [("lse", lse), ("dlse", dlse)] {
        if *tensor.shape() != shape {
            return Err(Error::shape("log_sum_exp", argument, tensor.shape(), shape.to_string()));
        }
    }
    let (rows, cols) = x.shape().rows_cols();
    let dx = gpu.uninitialised("log_sum_exp", x.shape().clone(), DataType::F32)?;
    if !x.is_empty() {
        gpu.dispatch(Call {
            op: "log_sum_exp",
            entry: "backward",
            constants: &[],
            inputs: &[x, lse, dlse],
            outputs: &[&dx],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32 }),
            groups: groups_for(x.len(), 64),
        })?;
    }
    Ok(dx)
}
