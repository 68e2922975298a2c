//! Views in f64, straight from the formulas, with the kernel's random bits.

use super::{Affine, ImageShape};
use crate::Key;
use crate::ops::random::cpu::{normal_from, philox, uniform_from};

const STREAM: u32 = 7;

/// What was drawn for one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// θ, in radians.
    pub rotation: f64,
    /// `s_x` and `s_y`.
    pub scale: [f64; 2],
    /// φ, in radians.
    pub shear: f64,
    /// `t_x` and `t_y`, in halves of the image's side.
    pub shift: [f64; 2],
    /// c, the share of the sides that is cut off.
    pub crop: f64,
    /// `o_x` and `o_y`, the window's centre.
    pub window: [f64; 2],
}

impl View {
    /// What the kernel draws for the image of this row.
    pub fn draw(row: usize, affine: &Affine, key: Key) -> Self {
        let symmetric = |bits, bound: f32| f64::from(bound) * (2.0 * uniform_from(bits) - 1.0);
        let first = philox([row as u32, 0, 0, STREAM], key.words());
        let second = philox([row as u32, 1, 0, STREAM], key.words());
        let third = philox([row as u32, 2, 0, STREAM], key.words());
        let crop = f64::from(affine.max_crop) * uniform_from(second[2]);
        Self {
            rotation: symmetric(first[0], affine.max_rotation),
            scale: [1.0 + symmetric(first[1], affine.max_scale), 1.0 + symmetric(first[2], affine.max_scale)],
            shear: symmetric(first[3], affine.max_shear),
            shift: [symmetric(second[0], affine.max_shift), symmetric(second[1], affine.max_shift)],
            crop,
            window: [second[3], third[0]].map(|bits| crop * (2.0 * uniform_from(bits) - 1.0)),
        }
    }

    /// Where the value at `(u, v)` comes from.
    pub fn source(&self, u: f64, v: f64) -> (f64, f64) {
        let (x, y) = (u / self.scale[0], v / self.scale[1]);
        let x = x + self.shear.tan() * y;
        let (sin, cos) = self.rotation.sin_cos();
        let place = (cos * x - sin * y + self.shift[0], sin * x + cos * y + self.shift[1]);
        let seen = 1.0 - self.crop;
        (seen * place.0 + self.window[0], seen * place.1 + self.window[1])
    }
}

/// The view of every image.
pub fn affine(images: &[f64], shape: ImageShape, affine: &Affine, key: Key) -> Vec<f64> {
    let ImageShape { height, width, channels } = shape;
    let (h, w) = (height as f64, width as f64);
    let mut y = Vec::with_capacity(images.len());
    for (index, image) in images.chunks(height * width * channels).enumerate() {
        let view = View::draw(index, affine, key);
        for (r, q) in (0..height).flat_map(|r| (0..width).map(move |q| (r, q))) {
            let (u, v) = view.source((2.0 * q as f64 + 1.0) / w - 1.0, (2.0 * r as f64 + 1.0) / h - 1.0);
            let (col, row) = (((u + 1.0) * w - 1.0) / 2.0, ((v + 1.0) * h - 1.0) / 2.0);
            for channel in 0..channels {
                let mut value = 0.0;
                for (top, left) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
                    let (top, left) = (row.floor() + top, col.floor() + left);
                    let weight = (1.0 - (row - top).abs()) * (1.0 - (col - left).abs());
                    if weight != 0.0 && (0.0..h).contains(&top) && (0.0..w).contains(&left) {
                        value += weight * image[(top as usize * width + left as usize) * channels + channel];
                    }
                }
                y.push(value);
            }
        }
    }
    y
}

/// Noise and dropout for every feature of rows of `cols`.
pub fn corrupt(x: &[f64], cols: usize, noise: f32, dropout: f32, key: Key) -> Vec<f64> {
    let value = |(i, &x): (usize, &f64)| {
        let words = philox([(i / cols) as u32, (i % cols) as u32, 1, STREAM], key.words());
        if uniform_from(words[2]) < f64::from(dropout) && !x.is_nan() {
            0.0
        } else {
            x + f64::from(noise) * normal_from(words[0], words[1])
        }
    };
    x.iter().enumerate().map(value).collect()
}
