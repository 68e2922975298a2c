//! The pictures in f64, straight from the formulas.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use super::SIZES;

/// The pictures of `factors`, five a row.
pub fn forward(factors: &[u32], side: usize) -> Vec<f64> {
    let mut y = Vec::with_capacity(factors.len() / 5 * side * side);
    for row in factors.chunks(5) {
        let exists = row.iter().zip(SIZES).all(|(&class, size)| (class as usize) < size);
        let [shape, scale, angle, column, line] = [0, 1, 2, 3, 4].map(|factor| f64::from(row[factor]));
        let radius = 0.15 * (0.5 + 0.1 * scale);
        let (sin, cos) = (TAU * angle / 40.0).sin_cos();
        for at in 0..side * side {
            if !exists {
                y.push(f64::NAN);
                continue;
            }
            let offset =
                |pixel: usize, place: f64| ((pixel as f64 + 0.5) / side as f64 - (0.2 + 0.6 * place / 31.0)) / radius;
            let (right, below) = (offset(at % side, column), offset(at / side, line));
            let v = [cos * right + sin * below, cos * below - sin * right].map(|v| v.clamp(-2.0, 2.0));
            let distance = match shape as u32 {
                0 => square(v),
                1 => ellipse(v),
                _ => heart(v),
            };
            y.push((0.5 - distance * radius * side as f64).clamp(0.0, 1.0));
        }
    }
    y
}

/// With a diagonal of 2.
fn square(v: [f64; 2]) -> f64 {
    let [x, y] = v.map(|v| v.abs() - FRAC_1_SQRT_2);
    x.max(0.0).hypot(y.max(0.0)) + x.max(y).min(0.0)
}

/// `x² + 4 y² = 1`.
fn ellipse([x, y]: [f64; 2]) -> f64 {
    (x * x + 4.0 * y * y - 1.0) / (2.0 * x).hypot(8.0 * y).max(0.5)
}

/// `(x² + y² - 1)³ = x² y³` in units of 4/5, y upwards.
fn heart([x, y]: [f64; 2]) -> f64 {
    let (x, y) = (1.25 * x, -1.25 * y);
    let u = x * x + y * y - 1.0;
    let gradient = (6.0 * x * u * u - 2.0 * x * y.powi(3)).hypot(6.0 * y * u * u - 3.0 * (x * y).powi(2));
    0.8 * (u.powi(3) - x * x * y.powi(3)) / gradient.max(0.5)
}
