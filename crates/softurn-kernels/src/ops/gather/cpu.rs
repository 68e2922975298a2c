//! Rows by index in f64.

/// The rows; NaN for an index past the end.
pub fn forward(cols: usize, x: &[f64], index: &[u32]) -> Vec<f64> {
    let row = |&i: &u32| {
        let start = i as usize * cols;
        x.get(start..start + cols).map_or(vec![f64::NAN; cols], <[f64]>::to_vec)
    };
    index.iter().flat_map(row).collect()
}

/// The labels; `u32::MAX` for an index past the end.
pub fn labels(labels: &[u32], index: &[u32]) -> Vec<u32> {
    index.iter().map(|&i| labels.get(i as usize).copied().unwrap_or(u32::MAX)).collect()
}

/// The sum of the gradients of each row's copies.
pub fn backward(rows: usize, cols: usize, index: &[u32], dy: &[f64]) -> Vec<f64> {
    let mut dx = vec![0.0; rows * cols];
    for (b, &row) in index.iter().enumerate().filter(|(_, row)| (**row as usize) < rows) {
        for j in 0..cols {
            dx[row as usize * cols + j] += dy[b * cols + j];
        }
    }
    dx
}
