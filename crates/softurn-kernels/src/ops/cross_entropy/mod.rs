//! Cross-entropy of logits with soft targets: `loss_i = Σ_j t_j (log Σ_k e^{l_k} - l_j)`.
//!
//! Rows of targets need not sum to 1; a target of 0 contributes nothing even where its logit is `-inf`.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{RowPlan, floats, same_shape};
use crate::gpu::pipeline::Call;
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "cross_entropy";

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
}

pub(super) const PARAMS: &[(&str, usize)] =
    &[("rows", std::mem::offset_of!(Params, rows)), ("cols", std::mem::offset_of!(Params, cols))];

fn check(logits: &Tensor, targets: &Tensor) -> Result<[usize; 2]> {
    floats(OP, &[("logits", logits), ("targets", targets)])?;
    if logits.shape().dims().len() != 2 {
        return Err(Error::shape(OP, "logits", logits.shape(), "a matrix [rows, cols]"));
    }
    same_shape(OP, "targets", targets, logits)?;
    let (rows, cols) = logits.shape().rows_cols();
    Ok([rows, cols])
}

/// The loss of each row in nats, `[rows]`, for logits and targets `[rows, cols]`.
///
/// # Errors
/// When `logits` is not a matrix of floats or `targets` has another shape.
pub fn forward(gpu: &Gpu, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let [rows, cols] = check(logits, targets)?;
    if logits.is_empty() {
        return gpu.zeros([rows]);
    }
    let loss = gpu.uninitialised(OP, [rows].into(), DataType::F32)?;
    let plan = RowPlan::of(gpu, cols);
    gpu.dispatch(Call {
        op: OP,
        entry: "forward",
        constants: &plan.constants(),
        inputs: &[logits, targets],
        outputs: &[&loss],
        params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32 }),
        groups: plan.groups(rows),
    })?;
    Ok(loss)
}

/// `dloss_i (softmax(l) Σ_j t_j - t)`, `[rows, cols]`; targets get no gradient.
///
/// # Errors
/// As [`forward`], and when `dloss` is not `[rows]`.
pub fn backward(gpu: &Gpu, logits: &Tensor, targets: &Tensor, dloss: &Tensor) -> Result<Tensor> {
    let [rows, cols] = check(logits, targets)?;
    floats(OP, &[("dloss", dloss)])?;
    if dloss.len() != rows {
        return Err(Error::shape(OP, "dloss", dloss.shape(), format!("[{rows}]")));
    }
    let gradient = gpu.uninitialised(OP, logits.shape().clone(), DataType::F32)?;
    if !logits.is_empty() {
        let plan = RowPlan::of(gpu, cols);
        gpu.dispatch(Call {
            op: OP,
            entry: "backward",
            constants: &plan.constants(),
            inputs: &[logits, targets, dloss],
            outputs: &[&gradient],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32 }),
            groups: plan.groups(rows),
        })?;
    }
    Ok(gradient)
}
