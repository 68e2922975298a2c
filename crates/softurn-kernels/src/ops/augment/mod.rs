//! Random views of rows, each a function of the key, the row's index and the row: nothing is stored, and a row's view does
//! not depend on how many rows follow it.
//!
//! [`affine`] moves images: with `(u, v) = ((2q + 1) / W - 1, (2r + 1) / H - 1)` the place of output pixel (row `r`, column
//! `q`), the value is taken at `A (u, v) + (t_x, t_y)`,
//! `A = R(θ) [[1, tan φ], [0, 1]] diag(1 / s_x, 1 / s_y)`, by bilinear interpolation; outside the image everything is 0.
//! θ, φ, t are uniform on `±max`, s on `1 ± max`, drawn for each image. With a crop, that place `p` is one in a window of the
//! image: the value is taken at `(1 - c) p + o`, c uniform on `0..crop`, each coordinate of o on `±c`. [`corrupt`] is for tables:
//! `y = x + noise · N(0, 1)`, or 0 with probability `dropout`, drawn for each feature.
//!
//! No gradient: a view is an input.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use std::f32::consts::FRAC_PI_4;

use super::{RowPlan, floats};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Key, Result, Tensor};

/// How a row holds an image: row by row, pixel by pixel, channels innermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
}

impl ImageShape {
    /// The number of values, `None` where it overflows.
    fn len(self) -> Option<usize> {
        self.height.checked_mul(self.width)?.checked_mul(self.channels)
    }
}

/// How far an image may be moved; all zero is the identity.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Affine {
    /// Largest rotation to either side, in radians, at most π/4. On images that are not square it acts on the square that
    /// they are stretched to.
    pub max_rotation: f32,
    /// Largest relative growth or shrinkage of either axis, below 1.
    pub max_scale: f32,
    /// Largest angle of shear to either side, in radians, at most π/4.
    pub max_shear: f32,
    /// Largest shift along either axis, in halves of the image's side.
    pub max_shift: f32,
    /// Largest share of both sides that is cut off, below 1: a window anywhere in the image fills the view.
    pub max_crop: f32,
}

#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    height: u32,
    width: u32,
    channels: u32,
    key_low: u32,
    key_high: u32,
    max_rotation: f32,
    max_scale: f32,
    max_shear: f32,
    max_shift: f32,
    max_crop: f32,
    noise: f32,
    dropout: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("height", std::mem::offset_of!(Params, height)),
    ("width", std::mem::offset_of!(Params, width)),
    ("channels", std::mem::offset_of!(Params, channels)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
    ("max_rotation", std::mem::offset_of!(Params, max_rotation)),
    ("max_scale", std::mem::offset_of!(Params, max_scale)),
    ("max_shear", std::mem::offset_of!(Params, max_shear)),
    ("max_shift", std::mem::offset_of!(Params, max_shift)),
    ("max_crop", std::mem::offset_of!(Params, max_crop)),
    ("noise", std::mem::offset_of!(Params, noise)),
    ("dropout", std::mem::offset_of!(Params, dropout)),
];

/// A random affine view of every image of `images`, `[b, height · width · channels]`.
///
/// A pixel that is NaN or infinite spreads to what it is interpolated into, and no further.
///
/// # Errors
/// When `images` does not hold floats or its rows are not of `shape`, when `shape` has an axis of length 0, when a maximum is
/// negative, not finite or above its limit.
pub fn affine(gpu: &Gpu, images: &Tensor, shape: ImageShape, affine: &Affine, key: Key) -> Result<Tensor> {
    floats("augment", &[("images", images)])?;
    let (rows, cols) = images.shape().rows_cols();
    let Some(values) = shape.len().filter(|&values| values > 0) else {
        return Err(Error::argument("augment", "shape", format!("is {shape:?}: every axis must have a length")));
    };
    if values != cols {
        let expected = format!("[b, {values}] for images of {shape:?}");
        return Err(Error::shape("augment", "images", images.shape(), expected));
    }
    within("max_rotation", affine.max_rotation, 0.0..=FRAC_PI_4, "0 to pi/4 radians")?;
    within("max_scale", affine.max_scale, 0.0..=1.0f32.next_down(), "0 to below 1")?;
    within("max_shear", affine.max_shear, 0.0..=FRAC_PI_4, "0 to pi/4 radians")?;
    within("max_shift", affine.max_shift, 0.0..=f32::MAX, "0 or more")?;
    within("max_crop", affine.max_crop, 0.0..=1.0f32.next_down(), "0 to below 1")?;
    let y = gpu.uninitialised("augment", images.shape().clone(), DataType::F32)?;
    if !y.is_empty() {
        // At least the width of a CPU's vector: neighbours in it then read neighbouring pixels, not images 3 KiB apart, which is
        // six times faster; there are no barriers to pay for.
        let lanes = RowPlan::of(gpu, shape.height * shape.width).lanes.max(8);
        let plan = RowPlan { lanes, rows: (64 / lanes).max(1) };
        let [key_low, key_high] = key.words();
        let params = Params {
            rows: rows as u32,
            height: shape.height as u32,
            width: shape.width as u32,
            channels: shape.channels as u32,
            key_low,
            key_high,
            max_rotation: affine.max_rotation,
            max_scale: affine.max_scale,
            max_shear: affine.max_shear,
            max_shift: affine.max_shift,
            max_crop: affine.max_crop,
            ..Params::default()
        };
        gpu.dispatch(Call {
            op: "augment",
            entry: "forward",
            constants: &plan.constants(),
            inputs: &[images],
            outputs: &[&y],
            params: bytemuck::bytes_of(&params),
            groups: plan.groups(rows),
        })?;
    }
    Ok(y)
}

/// Every feature of `x`, `[b, d]`, plus normal noise of standard deviation `noise`, or 0 with probability `dropout`.
///
/// NaN stays NaN, zeroed or not; what is zeroed of an infinity is 0.
///
/// # Errors
/// When `x` does not hold floats, `noise` is negative or not finite, `dropout` is not a probability.
pub fn corrupt(gpu: &Gpu, x: &Tensor, noise: f32, dropout: f32, key: Key) -> Result<Tensor> {
    floats("augment", &[("x", x)])?;
    within("noise", noise, 0.0..=f32::MAX, "0 or more")?;
    within("dropout", dropout, 0.0..=1.0, "0 to 1")?;
    let y = gpu.uninitialised("augment", x.shape().clone(), DataType::F32)?;
    if !y.is_empty() {
        let (rows, cols) = x.shape().rows_cols();
        let [key_low, key_high] = key.words();
        let params = Params {
            rows: rows as u32,
            height: 1,
            width: cols as u32,
            channels: 1,
            key_low,
            key_high,
            noise,
            dropout,
            ..Params::default()
        };
        gpu.dispatch(Call {
            op: "augment",
            entry: "corrupt",
            constants: &[],
            inputs: &[x],
            outputs: &[&y],
            params: bytemuck::bytes_of(&params),
            groups: groups_for(x.len(), 64),
        })?;
    }
    Ok(y)
}

/// `value` must lie in `range`, which no NaN does.
fn within(argument: &'static str, value: f32, range: std::ops::RangeInclusive<f32>, words: &str) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::argument("augment", argument, format!("is {value}, expected a finite number, {words}")))
}
