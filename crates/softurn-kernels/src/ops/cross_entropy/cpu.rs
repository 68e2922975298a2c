//! Cross-entropy of logits with soft targets in f64.

fn log_sum_exp(row: &[f64]) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + row.iter().map(|l| (l - largest).exp()).sum::<f64>().ln()
}

/// The loss of each row.
pub fn forward(cols: usize, logits: &[f64], targets: &[f64], rows: usize) -> Vec<f64> {
    (0..rows)
        .map(|i| {
            let (l, t) = (&logits[i * cols..(i + 1) * cols], &targets[i * cols..(i + 1) * cols]);
            let total = log_sum_exp(l);
            l.iter().zip(t).filter(|(_, t)| **t != 0.0).map(|(l, t)| t * (total - l)).sum()
        })
        .collect()
}

/// The gradient of the logits.
pub fn backward(cols: usize, logits: &[f64], targets: &[f64], dloss: &[f64]) -> Vec<f64> {
    let mut gradient = Vec::with_capacity(logits.len());
    for (i, dloss) in dloss.iter().enumerate().take(logits.len() / cols.max(1)) {
        let (l, t) = (&logits[i * cols..(i + 1) * cols], &targets[i * cols..(i + 1) * cols]);
        let (total, mass) = (log_sum_exp(l), t.iter().sum::<f64>());
        gradient.extend(l.iter().zip(t).map(|(l, t)| dloss * ((l - total).exp() * mass - t)));
    }
    gradient
}
