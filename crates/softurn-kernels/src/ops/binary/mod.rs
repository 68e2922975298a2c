//! Element-wise functions of two tensors: `y = f(a, b)`, where `b` has the shape of `a` or is repeated along it.
//!
//! The gradient of a repeated `b` is summed over what it was repeated along.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::reduce::{self, Reduction};
use super::{by_fours, floats, same_shape};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "binary";

/// A function of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a b`
    Mul,
    /// `a / b`
    Div,
    /// The larger; NaN wins, and the gradient of equals goes to `a`.
    Max,
    /// The smaller; NaN wins, and the gradient of equals goes to `a`.
    Min,
}

/// How `b` is laid along `a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broadcast {
    Same,
    Row,
    Column,
    Scalar,
}

impl Broadcast {
    /// By these rules, the first that fits: the same shape; one element; `[cols]` or `[1, cols]`; `[.., 1]` with the rows
    /// of `a`.
    fn of(a: &Tensor, b: &Tensor) -> Result<Self> {
        let ((rows, cols), (b_rows, b_cols)) = (a.shape().rows_cols(), b.shape().rows_cols());
        if a.shape() == b.shape() {
            Ok(Self::Same)
        } else if b.len() == 1 {
            Ok(Self::Scalar)
        } else if b_rows == 1 && b_cols == cols {
            Ok(Self::Row)
        } else if b_rows == rows && b_cols == 1 && b.shape().dims().len() >= 2 {
            Ok(Self::Column)
        } else {
            let expected = format!("{}, [{cols}], [{rows}, 1] or one element", a.shape());
            Err(Error::shape(OP, "b", b.shape(), expected))
        }
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    length: u32,
    cols: u32,
}

pub(super) const PARAMS: &[(&str, usize)] =
    &[("length", std::mem::offset_of!(Params, length)), ("cols", std::mem::offset_of!(Params, cols))];

/// The entry point, of those for one element, four, and four with one partner, and its workgroups.
fn entry(broadcast: Broadcast, a: &Tensor, [one, four, four_with_one]: [&'static str; 3]) -> (&'static str, [u32; 3]) {
    match broadcast {
        Broadcast::Row | Broadcast::Column if !a.shape().rows_cols().1.is_multiple_of(4) => {
            (one, groups_for(a.len(), 64))
        }
        Broadcast::Same | Broadcast::Row => by_fours(a.len(), one, four),
        Broadcast::Column | Broadcast::Scalar => by_fours(a.len(), one, four_with_one),
    }
}

fn constants(function: Binary, broadcast: Broadcast) -> [(&'static str, f64); 2] {
    [("FUNCTION", f64::from(function as u8)), ("BROADCAST", f64::from(broadcast as u8))]
}

/// `f(a, b)` in the shape of `a`; `b` has that shape, or is a row `[cols]`, a column `[rows, 1]` or a scalar.
///
/// # Errors
/// When `b` has another shape.
pub fn forward(gpu: &Gpu, function: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    floats(OP, &[("a", a), ("b", b)])?;
    let broadcast = Broadcast::of(a, b)?;
    let y = gpu.uninitialised(OP, a.shape().clone(), DataType::F32)?;
    if !a.is_empty() {
        let (entry, groups) = entry(broadcast, a, ["forward", "forward_fours", "forward_fours_with_one"]);
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &constants(function, broadcast),
            inputs: &[a, b],
            outputs: &[&y],
            params: bytemuck::bytes_of(&Params { length: a.len() as u32, cols: a.shape().rows_cols().1 as u32 }),
            groups,
        })?;
    }
    Ok(y)
}

/// The gradients of `a` and `b`, in their own shapes.
///
/// # Errors
/// As [`forward`], and when `dy` has another shape than `a`.
pub fn backward(gpu: &Gpu, function: Binary, a: &Tensor, b: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    floats(OP, &[("a", a), ("b", b), ("dy", dy)])?;
    let broadcast = Broadcast::of(a, b)?;
    same_shape(OP, "dy", dy, a)?;
    if a.is_empty() {
        return Ok((gpu.zeros(a.shape().clone())?, gpu.zeros(b.shape().clone())?));
    }
    let da = gpu.uninitialised(OP, a.shape().clone(), DataType::F32)?;
    let db = gpu.uninitialised(OP, a.shape().clone(), DataType::F32)?;
    let (entry, groups) = entry(broadcast, a, ["backward", "backward_fours", "backward_fours_with_one"]);
    gpu.dispatch(Call {
        op: OP,
        entry,
        constants: &constants(function, broadcast),
        inputs: &[a, b, dy],
        outputs: &[&da, &db],
        params: bytemuck::bytes_of(&Params { length: a.len() as u32, cols: a.shape().rows_cols().1 as u32 }),
        groups,
    })?;
    let db = match broadcast {
        Broadcast::Same => db,
        Broadcast::Row => reduce::over_rows(gpu, Reduction::Sum, &db)?,
        Broadcast::Column => reduce::over_cols(gpu, Reduction::Sum, &db)?,
        Broadcast::Scalar => reduce::all(gpu, Reduction::Sum, &db)?,
    };
    Ok((da, db.reshape(b.shape().clone())?))
}
