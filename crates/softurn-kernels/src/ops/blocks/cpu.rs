//! Block masks in f64.

/// `C_k` of a row of counts, the last in the place of the sum of all.
fn bounds(counts: &[f64], length: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let mut bounds: Vec<f64> = counts.iter().map(|count| (sum += count, sum).1).collect();
    if let Some(last) = bounds.last_mut().filter(|last| !last.is_nan()) {
        *last = length as f64;
    }
    bounds
}

/// Masks `[rows, length, groups]` of counts `[rows, groups]`.
pub fn forward(counts: &[f64], groups: usize, length: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for counts in counts.chunks(groups) {
        let bounds = bounds(counts, length);
        for i in 0..length {
            let mut below = 0.0;
            for bound in &bounds {
                let up_to = (bound - i as f64).clamp(0.0, 1.0);
                y.push(up_to - below);
                below = up_to;
            }
        }
    }
    y
}

/// The gradient of the counts: central differences of the clamp where a boundary is whole.
pub fn backward(counts: &[f64], groups: usize, length: usize, dy: &[f64]) -> Vec<f64> {
    let mut gradient = Vec::new();
    for (counts, dy) in counts.chunks(groups).zip(dy.chunks(length * groups)) {
        let bounds = bounds(counts, length);
        let by_bound = |k: usize| -> f64 {
            let bound = bounds[k];
            if bound.is_nan() {
                return f64::NAN;
            }
            let near = |i: usize| bound - i as f64;
            let at: Vec<usize> = (0..length).filter(|&i| (0.0..=1.0).contains(&near(i))).collect();
            let rise = |i: &usize| dy[i * groups + k] - dy[i * groups + k + 1];
            at.iter().map(rise).sum::<f64>() / at.len().max(1) as f64
        };
        let last = if bounds[groups - 1].is_nan() { f64::NAN } else { 0.0 };
        let nan_last = if counts[groups - 1].is_nan() { f64::NAN } else { 0.0 };
        let total =
            |k: usize| (k..groups - 1).map(by_bound).sum::<f64>() + if k + 1 == groups { nan_last } else { last };
        gradient.extend((0..groups).map(total));
    }
    gradient
}
