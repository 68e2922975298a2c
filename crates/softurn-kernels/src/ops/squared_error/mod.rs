//! Squared error of each row: `loss_i = Σ_j (x - t)²`.
//!
//! Twice the negative log-density of a unit Gaussian, without its constant.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{RowPlan, floats, same_shape};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "squared_error";

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
}

pub(super) const PARAMS: &[(&str, usize)] =
    &[("rows", std::mem::offset_of!(Params, rows)), ("cols", std::mem::offset_of!(Params, cols))];

fn check(x: &Tensor, targets: &Tensor) -> Result<[usize; 2]> {
    floats(OP, &[("x", x), ("targets", targets)])?;
    if x.shape().dims().len() != 2 {
        return Err(Error::shape(OP, "x", x.shape(), "a matrix [rows, cols]"));
    }
    same_shape(OP, "targets", targets, x)?;
    let (rows, cols) = x.shape().rows_cols();
    Ok([rows, cols])
}

/// The squared error of each row, `[rows]`, for `x` and targets `[rows, cols]`.
///
/// # Errors
/// When `x` is not a matrix of floats or `targets` has another shape.
pub fn forward(gpu: &Gpu, x: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let [rows, cols] = check(x, targets)?;
    if x.is_empty() {
        return gpu.zeros([rows]);
    }
    let loss = gpu.uninitialised(OP, [rows].into(), DataType::F32)?;
    let plan = RowPlan::of(gpu, cols);
    gpu.dispatch(Call {
        op: OP,
        entry: "forward",
        constants: &plan.constants(),
        inputs: &[x, targets],
        outputs: &[&loss],
        params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32 }),
        groups: plan.groups(rows),
    })?;
    Ok(loss)
}

/// `2 dloss_i (x - t)`, `[rows, cols]`; the gradient of the targets is its negative.
///
/// # Errors
/// As [`forward`], and when `dloss` is not `[rows]`.
pub fn backward(gpu: &Gpu, x: &Tensor, targets: &Tensor, dloss: &Tensor) -> Result<Tensor> {
    let [rows, cols] = check(x, targets)?;
    floats(OP, &[("dloss", dloss)])?;
    if dloss.len() != rows {
        return Err(Error::shape(OP, "dloss", dloss.shape(), format!("[{rows}]")));
    }
    let gradient = gpu.uninitialised(OP, x.shape().clone(), DataType::F32)?;
    if !x.is_empty() {
        gpu.dispatch(Call {
            op: OP,
            entry: "backward",
            constants: &[],
            inputs: &[x, targets, dloss],
            outputs: &[&gradient],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32 }),
            groups: groups_for(x.len(), 64),
        })?;
    }
    Ok(gradient)
}
