//! What the losses share: `[rows, cols]` of predictions and targets to a number per row, and the gradient of the predictions.

use super::{RowPlan, floats, same_shape};
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

/// Constants of a shader besides those of the row plan.
type Constants<'a> = &'a [(&'static str, f64)];

/// A loss: its op, what its first argument is called, and whether the gradient of an element needs its whole row.
pub(super) struct RowLoss {
    pub(super) op: &'static str,
    pub(super) argument: &'static str,
    pub(super) backward_by_rows: bool,
}

impl RowLoss {
    fn check(&self, x: &Tensor, targets: &Tensor) -> Result<[usize; 2]> {
        floats(self.op, &[(self.argument, x), ("targets", targets)])?;
        if x.shape().dims().len() != 2 {
            return Err(Error::shape(self.op, self.argument, x.shape(), "a matrix [rows, cols]"));
        }
        same_shape(self.op, "targets", targets, x)?;
        let (rows, cols) = x.shape().rows_cols();
        Ok([rows, cols])
    }

    pub(super) fn forward(&self, gpu: &Gpu, x: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.forward_with(gpu, &[], x, targets)
    }

    /// As [`RowLoss::forward`], for an op of several losses that a constant tells apart.
    pub(super) fn forward_with(&self, gpu: &Gpu, kind: Constants<'_>, x: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let [rows, cols] = self.check(x, targets)?;
        if x.is_empty() {
            return gpu.zeros([rows]);
        }
        let loss = gpu.uninitialised(self.op, [rows].into(), DataType::F32)?;
        let plan = RowPlan::of(gpu, cols);
        gpu.dispatch(Call {
            op: self.op,
            entry: if cols.is_multiple_of(4) { "forward_fours" } else { "forward" },
            constants: &[kind, &plan.constants()].concat(),
            inputs: &[x, targets],
            outputs: &[&loss],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32 }),
            groups: plan.groups(rows),
        })?;
        Ok(loss)
    }

    pub(super) fn backward(&self, gpu: &Gpu, x: &Tensor, targets: &Tensor, dloss: &Tensor) -> Result<Tensor> {
        self.backward_with(gpu, &[], x, targets, dloss)
    }

    /// As [`RowLoss::backward`], for an op of several losses that a constant tells apart.
    pub(super) fn backward_with(
        &self,
        gpu: &Gpu,
        kind: Constants<'_>,
        x: &Tensor,
        targets: &Tensor,
        dloss: &Tensor,
    ) -> Result<Tensor> {
        let [rows, cols] = self.check(x, targets)?;
        floats(self.op, &[("dloss", dloss)])?;
        if dloss.len() != rows {
            return Err(Error::shape(self.op, "dloss", dloss.shape(), format!("[{rows}]")));
        }
        let gradient = gpu.uninitialised(self.op, x.shape().clone(), DataType::F32)?;
        if x.is_empty() {
            return Ok(gradient);
        }
        let plan = RowPlan::of(gpu, cols);
        let fours = cols.is_multiple_of(4);
        let (constants, groups) = match self.backward_by_rows {
            true => ([kind, &plan.constants()].concat(), plan.groups(rows)),
            false => (kind.to_vec(), groups_for(if fours { x.len() / 4 } else { x.len() }, 64)),
        };
        gpu.dispatch(Call {
            op: self.op,
            entry: if fours { "backward_fours" } else { "backward" },
            constants: &constants,
            inputs: &[x, targets, dloss],
            outputs: &[&gradient],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32 }),
            groups,
        })?;
        Ok(gradient)
    }
}
