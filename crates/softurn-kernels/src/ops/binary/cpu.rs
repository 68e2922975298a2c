//! Element-wise functions of two numbers in f64; `b` is given in full length.

use super::Binary;

/// `f(a, b)` for every pair.
pub fn forward(function: Binary, a: &[f64], b: &[f64]) -> Vec<f64> {
    let f = |(&a, &b): (&f64, &f64)| match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
    };
    a.iter().zip(b).map(f).collect()
}

/// The gradients of `a` and of each copy of `b`.
pub fn backward(function: Binary, a: &[f64], b: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let slopes = |a: f64, b: f64| match function {
        Binary::Add => (1.0, 1.0),
        Binary::Sub => (1.0, -1.0),
        Binary::Mul => (b, a),
        Binary::Div => (1.0 / b, -a / (b * b)),
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => (f64::NAN, f64::NAN),
        Binary::Max => (f64::from(a >= b), f64::from(a < b)),
        Binary::Min => (f64::from(a <= b), f64::from(a > b)),
    };
    (0..a.len())
        .map(|i| {
            let (da, db) = slopes(a[i], b[i]);
            (dy[i] * da, dy[i] * db)
        })
        .unzip()
}
