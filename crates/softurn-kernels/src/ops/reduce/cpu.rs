//! Reductions in f64.

use super::{Axis, Reduction};

fn fold(reduction: Reduction, values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    if values.iter().any(|x| x.is_nan()) {
        return f64::NAN;
    }
    match reduction {
        Reduction::Sum => values.iter().sum(),
        Reduction::Mean => values.iter().sum::<f64>() / values.len() as f64,
        Reduction::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduction::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
    }
}

/// The reduction over `axis` of a matrix.
pub fn forward(reduction: Reduction, axis: Axis, [rows, cols]: [usize; 2], x: &[f64]) -> Vec<f64> {
    match axis {
        Axis::Cols => (0..rows).map(|i| fold(reduction, (0..cols).map(|j| x[i * cols + j]))).collect(),
        Axis::Rows => (0..cols).map(|j| fold(reduction, (0..rows).map(|i| x[i * cols + j]))).collect(),
        Axis::All => vec![fold(reduction, x.iter().copied())],
    }
}

/// The first largest (`largest`) or smallest element of each row; the first NaN if there is one.
pub fn find(largest: bool, cols: usize, x: &[f64]) -> Vec<u32> {
    let first = |row: &[f64]| {
        if let Some(at) = row.iter().position(|x| x.is_nan()) {
            return at as u32;
        }
        let key = |x: f64| if largest { x } else { -x };
        (0..row.len()).fold(0, |best, j| if key(row[j]) > key(row[best]) { j } else { best }) as u32
    };
    x.chunks(cols).map(first).collect()
}

/// The gradient of a sum or mean.
pub fn backward(reduction: Reduction, axis: Axis, [rows, cols]: [usize; 2], dy: &[f64]) -> Vec<f64> {
    let (count, from): (usize, fn(usize, usize) -> usize) = match axis {
        Axis::Cols => (cols, |at, cols| at / cols),
        Axis::Rows => (rows, |at, cols| at % cols),
        Axis::All => (rows * cols, |_, _| 0),
    };
    let scale = if reduction == Reduction::Mean { 1.0 / count as f64 } else { 1.0 };
    (0..rows * cols).map(|at| scale * dy[from(at, cols)]).collect()
}
