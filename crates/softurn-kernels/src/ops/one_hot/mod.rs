//! Labels as rows of zeros with a one: `y_bc = [c = label_b]`. Not differentiable.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::integers;
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Gpu, Result, Tensor};

const OP: &str = "one_hot";

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    count: u32,
    classes: u32,
}

pub(super) const PARAMS: &[(&str, usize)] =
    &[("count", std::mem::offset_of!(Params, count)), ("classes", std::mem::offset_of!(Params, classes))];

/// `[count, classes]` from labels `[count]` of `u32`; a label past the classes gives a row of zeros.
///
/// # Errors
/// When `labels` does not hold `u32`.
pub fn forward(gpu: &Gpu, labels: &Tensor, classes: usize) -> Result<Tensor> {
    integers(OP, &[("labels", labels)])?;
    let y = gpu.uninitialised(OP, [labels.len(), classes].into(), DataType::F32)?;
    if !y.is_empty() {
        let (entry, groups) = match classes.is_multiple_of(4) {
            true => ("forward_fours", groups_for(y.len() / 4, 64)),
            false => ("forward", groups_for(y.len(), 64)),
        };
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[],
            inputs: &[labels],
            outputs: &[&y],
            params: bytemuck::bytes_of(&Params { count: labels.len() as u32, classes: classes as u32 }),
            groups,
        })?;
    }
    Ok(y)
}
