//! Bernoulli negative log-likelihood with logits in f64.

/// The loss of each row.
pub fn forward(cols: usize, logits: &[f64], targets: &[f64], rows: usize) -> Vec<f64> {
    let term = |at: usize| logits[at].max(0.0) - logits[at] * targets[at] + (-logits[at].abs()).exp().ln_1p();
    (0..rows).map(|i| (i * cols..(i + 1) * cols).map(term).sum()).collect()
}

/// The gradient of the logits.
pub fn backward(cols: usize, logits: &[f64], targets: &[f64], dloss: &[f64]) -> Vec<f64> {
    (0..logits.len()).map(|at| dloss[at / cols] * (1.0 / (1.0 + (-logits[at]).exp()) - targets[at])).collect()
}
