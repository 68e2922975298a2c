//! Rows by index: `y_b = x_{index_b}`, and back: `dx_{index_b} += dy_b`.
//!
//! A minibatch of a data set that lives on the device is one call. Indices come from the host, where they are checked; one
//! that is past the end all the same gives NaN, never another row.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{floats, integers};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "gather";
/// Indices that one dispatch of `backward` walks: software adapters end a loop after 65,536 turns, without an error.
const SLICE: usize = 1 << 15;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    count: u32,
    first: u32,
    last: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("count", std::mem::offset_of!(Params, count)),
    ("first", std::mem::offset_of!(Params, first)),
    ("last", std::mem::offset_of!(Params, last)),
];

/// Rows `[count, cols]` of `x` `[rows, cols]` by `index` `[count]` of `u32`. An index past the end gives a row of NaN.
///
/// # Errors
/// When `x` is not a matrix of floats or `index` does not hold `u32`.
pub fn forward(gpu: &Gpu, x: &Tensor, index: &Tensor) -> Result<Tensor> {
    floats(OP, &[("x", x)])?;
    integers(OP, &[("index", index)])?;
    if x.shape().dims().len() != 2 {
        return Err(Error::shape(OP, "x", x.shape(), "a matrix [rows, cols]"));
    }
    let (rows, cols) = x.shape().rows_cols();
    let y = gpu.uninitialised(OP, [index.len(), cols].into(), DataType::F32)?;
    if y.is_empty() {
        return Ok(y);
    }
    if rows == 0 {
        return super::filled(gpu, f32::NAN, y.shape().clone());
    }
    let (entry, groups) = match cols.is_multiple_of(4) {
        true => ("forward_fours", groups_for(y.len() / 4, 64)),
        false => ("forward", groups_for(y.len(), 64)),
    };
    gpu.dispatch(Call {
        op: OP,
        entry,
        constants: &[],
        inputs: &[x, index],
        outputs: &[&y],
        params: bytemuck::bytes_of(&Params {
            rows: rows as u32,
            cols: cols as u32,
            count: index.len() as u32,
            first: 0,
            last: 0,
        }),
        groups,
    })?;
    Ok(y)
}

/// Labels `[count]` out of `labels` `[rows]` by `index` `[count]`, all of `u32`. An index past the end gives `u32::MAX`, which is
/// no label.
///
/// # Errors
/// When `labels` is not a vector, or one of the two does not hold `u32`.
pub fn labels(gpu: &Gpu, labels: &Tensor, index: &Tensor) -> Result<Tensor> {
    integers(OP, &[("labels", labels), ("index", index)])?;
    if labels.shape().dims().len() != 1 {
        return Err(Error::shape(OP, "labels", labels.shape(), "a vector [rows]"));
    }
    if labels.is_empty() {
        return gpu.tensor(&vec![u32::MAX; index.len()], [index.len()]);
    }
    let picked = gpu.uninitialised(OP, [index.len()].into(), DataType::U32)?;
    if !picked.is_empty() {
        gpu.dispatch(Call {
            op: OP,
            entry: "pick",
            constants: &[],
            inputs: &[labels, index],
            outputs: &[&picked],
            params: bytemuck::bytes_of(&Params {
                rows: labels.len() as u32,
                cols: 1,
                count: index.len() as u32,
                first: 0,
                last: 0,
            }),
            groups: groups_for(index.len(), 64),
        })?;
    }
    Ok(picked)
}

/// The gradient of `x` with `rows` rows, from that of the gathered rows `[count, cols]`; rows that were taken twice get both
/// gradients, in the order of the index.
///
/// # Errors
/// When `dy` is not a matrix of floats with as many rows as `index` has elements.
pub fn backward(gpu: &Gpu, rows: usize, index: &Tensor, dy: &Tensor) -> Result<Tensor> {
    floats(OP, &[("dy", dy)])?;
    integers(OP, &[("index", index)])?;
    let (count, cols) = dy.shape().rows_cols();
    if dy.shape().dims().len() != 2 || count != index.len() {
        return Err(Error::shape(OP, "dy", dy.shape(), format!("[{}, cols]", index.len())));
    }
    let dx = gpu.zeros([rows, cols])?;
    if dy.is_empty() || rows == 0 {
        return Ok(dx);
    }
    for first in (0..count).step_by(SLICE) {
        let last = (first + SLICE).min(count);
        gpu.dispatch(Call {
            op: OP,
            entry: "backward",
            constants: &[],
            inputs: &[index, dy],
            outputs: &[&dx],
            params: bytemuck::bytes_of(&Params {
                rows: rows as u32,
                cols: cols as u32,
                count: count as u32,
                first: first as u32,
                last: last as u32,
            }),
            groups: groups_for(cols, 64),
        })?;
    }
    Ok(dx)
}
