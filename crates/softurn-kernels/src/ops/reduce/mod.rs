//! Reductions of rows, columns or everything: sum, mean, largest, smallest, and where a row's largest or smallest is.
//!
//! All run in a fixed order, so two runs have the same bits. Sums of rows longer than a few hundred are made by several
//! invocations or in blocks, which keeps the rounding error near that of pairwise summation.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{RowPlan, by_fours, floats, leading};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Shape, Tensor};

const OP: &str = "reduce";
/// Rows that one invocation folds in a column, and elements that one row of a reduction of everything has.
const BLOCK: usize = 256;

/// What is made of many numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The sum; 0 of nothing.
    Sum,
    /// The sum over the count.
    Mean,
    /// The largest; NaN wins.
    Max,
    /// The smallest; NaN wins.
    Min,
}

/// Which axis a reduction removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Each row became a number.
    Cols,
    /// Each column became a number.
    Rows,
    /// Everything became one number.
    All,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    length: u32,
    block: u32,
    scale: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("length", std::mem::offset_of!(Params, length)),
    ("block", std::mem::offset_of!(Params, block)),
    ("scale", std::mem::offset_of!(Params, scale)),
];

impl Reduction {
    fn kind(self) -> f64 {
        match self {
            Self::Sum | Self::Mean => 0.0,
            Self::Max => 1.0,
            Self::Min => 2.0,
        }
    }

    /// What the sum of `count` numbers is multiplied by.
    fn scale(self, count: usize) -> f32 {
        if self == Self::Mean { 1.0 / count as f32 } else { 1.0 }
    }

    /// A reduction of `count` numbers must have a value.
    fn check(self, x: &Tensor, count: usize) -> Result<()> {
        floats(OP, &[("x", x)])?;
        if count == 0 && self != Self::Sum {
            return Err(Error::shape(OP, "x", x.shape(), format!("something to take the {self:?} of")));
        }
        Ok(())
    }
}

/// Rows of `cols` elements each, the last one perhaps short, to one number each.
fn fold_cols(gpu: &Gpu, kind: f64, x: &Tensor, [rows, cols]: [usize; 2], scale: f32) -> Result<Tensor> {
    let y = gpu.uninitialised(OP, [rows].into(), DataType::F32)?;
    let plan = RowPlan::of(gpu, cols);
    let [lanes, per_group] = plan.constants();
    let length = x.len() as u32;
    gpu.dispatch(Call {
        op: OP,
        entry: if cols.is_multiple_of(4) && x.len().is_multiple_of(4) { "forward_fours" } else { "forward" },
        constants: &[lanes, per_group, ("KIND", kind)],
        inputs: &[x],
        outputs: &[&y],
        params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32, length, block: 0, scale }),
        groups: plan.groups(rows),
    })?;
    Ok(y)
}

/// Each row to one number: `[.., cols]` to `[..]`.
///
/// # Errors
/// When `x` does not hold floats, or there are no columns and the reduction is not a sum.
pub fn over_cols(gpu: &Gpu, reduction: Reduction, x: &Tensor) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    reduction.check(x, cols)?;
    let shape = leading(x.shape());
    if x.is_empty() {
        return gpu.zeros(shape);
    }
    fold_cols(gpu, reduction.kind(), x, [rows, cols], reduction.scale(cols))?.reshape(shape)
}

/// Each column to one number: `[rows, cols]` to `[cols]`.
///
/// # Errors
/// When `x` does not hold floats, or there are no rows and the reduction is not a sum.
pub fn over_rows(gpu: &Gpu, reduction: Reduction, x: &Tensor) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    reduction.check(x, rows)?;
    if x.is_empty() {
        return gpu.zeros([cols]);
    }
    let count = rows;
    let (mut x, mut rows) = (x.clone(), rows);
    loop {
        let blocks = rows.div_ceil(BLOCK);
        let y = gpu.uninitialised(OP, [blocks, cols].into(), DataType::F32)?;
        // The count of a mean enters once, in the last pass.
        let scale = if blocks == 1 { reduction.scale(count) } else { 1.0 };
        let (entry, groups) = match cols.is_multiple_of(4) {
            true => ("fold_rows_fours", groups_for(y.len() / 4, 64)),
            false => ("fold_rows", groups_for(y.len(), 64)),
        };
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[("KIND", reduction.kind())],
            inputs: &[&x],
            outputs: &[&y],
            params: bytemuck::bytes_of(&Params {
                rows: rows as u32,
                cols: cols as u32,
                length: x.len() as u32,
                block: BLOCK as u32,
                scale,
            }),
            groups,
        })?;
        if blocks == 1 {
            return y.reshape([cols]);
        }
        (x, rows) = (y, blocks);
    }
}

/// Everything to one number, of shape `[]`.
///
/// # Errors
/// When `x` does not hold floats, or is empty and the reduction is not a sum.
pub fn all(gpu: &Gpu, reduction: Reduction, x: &Tensor) -> Result<Tensor> {
    reduction.check(x, x.len())?;
    if x.is_empty() {
        return gpu.zeros([]);
    }
    let count = x.len();
    let mut x = x.clone();
    while x.len() > BLOCK {
        x = fold_cols(gpu, reduction.kind(), &x, [x.len().div_ceil(BLOCK), BLOCK], 1.0)?;
    }
    fold_cols(gpu, reduction.kind(), &x, [1, x.len()], reduction.scale(count))?.reshape([])
}

/// Where each row's largest element is, `[..]` of `u32`; the first of equals, and the first NaN if there is one.
///
/// # Errors
/// When `x` does not hold floats or has no columns.
pub fn argmax(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    find(gpu, Reduction::Max, x)
}

/// Where each row's smallest element is, `[..]` of `u32`; the first of equals, and the first NaN if there is one.
///
/// # Errors
/// When `x` does not hold floats or has no columns.
pub fn argmin(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    find(gpu, Reduction::Min, x)
}

fn find(gpu: &Gpu, reduction: Reduction, x: &Tensor) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    reduction.check(x, cols)?;
    let shape = leading(x.shape());
    let index = gpu.uninitialised(OP, shape, DataType::U32)?;
    if !index.is_empty() {
        let plan = RowPlan::of(gpu, cols);
        let [lanes, per_group] = plan.constants();
        let length = x.len() as u32;
        gpu.dispatch(Call {
            op: OP,
            entry: "find",
            constants: &[lanes, per_group, ("KIND", reduction.kind())],
            inputs: &[x],
            outputs: &[&index],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, cols: cols as u32, length, block: 0, scale: 1.0 }),
            groups: plan.groups(rows),
        })?;
    }
    Ok(index)
}

/// The gradient of a sum or mean over `axis` with respect to its input of `shape`: `dy` spread over what was summed.
///
/// # Errors
/// When the reduction has no gradient here (largest, smallest) or `dy` does not have the reduced shape.
pub fn backward(gpu: &Gpu, reduction: Reduction, axis: Axis, shape: &Shape, dy: &Tensor) -> Result<Tensor> {
    floats(OP, &[("dy", dy)])?;
    if !matches!(reduction, Reduction::Sum | Reduction::Mean) {
        return Err(Error::argument(OP, "reduction", format!("{reduction:?} has no gradient")));
    }
    let (rows, cols) = shape.rows_cols();
    let (expected, count, spread) = match axis {
        Axis::Cols => (rows, cols, 0.0),
        Axis::Rows => (cols, rows, 1.0),
        Axis::All => (1, rows * cols, 2.0),
    };
    if dy.len() != expected {
        return Err(Error::shape(OP, "dy", dy.shape(), format!("{expected} elements")));
    }
    let dx = gpu.uninitialised(OP, shape.clone(), DataType::F32)?;
    if !dx.is_empty() {
        let (entry, groups) = match axis {
            Axis::Rows | Axis::Cols if !cols.is_multiple_of(4) => ("backward", groups_for(dx.len(), 64)),
            Axis::Rows => by_fours(dx.len(), "backward", "backward_fours"),
            Axis::Cols | Axis::All => by_fours(dx.len(), "backward", "backward_fours_from_one"),
        };
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[("SPREAD", spread)],
            inputs: &[dy],
            outputs: &[&dx],
            params: bytemuck::bytes_of(&Params {
                rows: rows as u32,
                cols: cols as u32,
                length: dx.len() as u32,
                block: 0,
                scale: reduction.scale(count),
            }),
            groups,
        })?;
    }
    Ok(dx)
}
