//! Squared error of each row in f64.

/// The loss of each row.
pub fn forward(cols: usize, x: &[f64], targets: &[f64], rows: usize) -> Vec<f64> {
    (0..rows).map(|i| (i * cols..(i + 1) * cols).map(|at| (x[at] - targets[at]).powi(2)).sum()).collect()
}

/// The gradient of `x`.
pub fn backward(cols: usize, x: &[f64], targets: &[f64], dloss: &[f64]) -> Vec<f64> {
    (0..x.len()).map(|at| 2.0 * dloss[at / cols] * (x[at] - targets[at])).collect()
}
