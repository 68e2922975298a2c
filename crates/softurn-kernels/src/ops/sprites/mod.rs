//! Pictures from known factors: a square, an ellipse or a heart, of six sizes, at forty angles, at 32 × 32 places.
//!
//! The grid of factors is that of dSprites (Matthey, Higgins, Hassabis and Lerchner, 2017) without its single colour; the
//! pictures are drawn anew, with smooth edges, and are not those of that data set. Its 40 angles have the first twice,
//! ours do not.
//!
//! A sprite lies in a circle of radius `R = 0.15 (0.5 + 0.1 scale)` about `(0.2, 0.2) + 0.6 (column, row) / 31`, in sides
//! of the picture, turned by `angle / 40` of a full turn, clockwise on the screen. With `v` the place of a pixel's centre in the
//! sprite's frame, in units of `R`, and `d(v)` the distance from its outline (of ellipse and heart `f / ‖∇f‖` of the
//! implicit curve `f`), the pixel is `clamp(1/2 - d R side, 0, 1)`. No gradient: factors are classes.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::integers;
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "sprites";

/// What the factors are called, in order.
pub const FACTORS: [&str; 5] = ["shape", "scale", "angle", "column", "row"];
/// How many classes each has.
pub const SIZES: [usize; 5] = [3, 6, 40, 32, 32];
/// The smallest side: with less, a sprite is smaller than a pixel.
pub const LEAST_SIDE: usize = 8;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    side: u32,
}

pub(super) const PARAMS: &[(&str, usize)] =
    &[("rows", std::mem::offset_of!(Params, rows)), ("side", std::mem::offset_of!(Params, side))];

/// The pictures `[b, side · side]`, from 0 to 1, of factors `[b, 5]` of `u32`, see [`FACTORS`] and [`SIZES`]. A class that
/// does not exist gives a picture of NaN.
///
/// # Errors
/// When `factors` does not hold `u32` in rows of five, or `side` is below [`LEAST_SIDE`].
pub fn forward(gpu: &Gpu, factors: &Tensor, side: usize) -> Result<Tensor> {
    integers(OP, &[("factors", factors)])?;
    let (rows, cols) = factors.shape().rows_cols();
    if cols != FACTORS.len() {
        return Err(Error::shape(OP, "factors", factors.shape(), "[b, 5]".to_owned()));
    }
    if side < LEAST_SIDE {
        return Err(Error::argument(OP, "side", format!("is {side}, expected at least {LEAST_SIDE}")));
    }
    let y = gpu.uninitialised(OP, [rows, side * side].into(), DataType::F32)?;
    if !y.is_empty() {
        let (entry, groups) = match side.is_multiple_of(4) {
            true => ("forward_fours", groups_for(y.len() / 4, 64)),
            false => ("forward", groups_for(y.len(), 64)),
        };
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[],
            inputs: &[factors],
            outputs: &[&y],
            params: bytemuck::bytes_of(&Params { rows: rows as u32, side: side as u32 }),
            groups,
        })?;
    }
    Ok(y)
}
