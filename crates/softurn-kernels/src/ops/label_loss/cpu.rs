//! Reverse and collision cross-entropy of logits with soft labels in f64.

use super::Loss;

fn softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = row.iter().map(|l| (l - largest).exp()).sum();
    row.iter().map(|l| (l - largest).exp() / total).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What a softmax is weighed with: the labels, or their negative logarithms.
fn weights(loss: Loss, labels: &[f64]) -> Vec<f64> {
    let floored = labels.iter().map(|y| y.max(1e-8));
    match loss {
        Loss::ReverseCrossEntropy => floored.map(|y| -y.ln()).collect(),
        Loss::Collision => floored.collect(),
    }
}

/// The loss of each row.
pub fn forward(loss: Loss, cols: usize, logits: &[f64], labels: &[f64], rows: usize) -> Vec<f64> {
    (0..rows)
        .map(|i| {
            let row = i * cols..(i + 1) * cols;
            if cols == 0 {
                return 0.0;
            }
            let mean = dot(&softmax(&logits[row.clone()]), &weights(loss, &labels[row]));
            if loss == Loss::Collision { -mean.ln() } else { mean }
        })
        .collect()
}

/// The gradient of the logits.
pub fn backward(loss: Loss, cols: usize, logits: &[f64], labels: &[f64], dloss: &[f64]) -> Vec<f64> {
    let mut gradient = Vec::with_capacity(logits.len());
    for (i, dloss) in dloss.iter().enumerate().take(logits.len() / cols.max(1)) {
        let row = i * cols..(i + 1) * cols;
        let (p, w) = (softmax(&logits[row.clone()]), weights(loss, &labels[row]));
        let mean = dot(&p, &w);
        gradient.extend(p.iter().zip(&w).map(|(p, w)| match loss {
            Loss::ReverseCrossEntropy => dloss * p * (w - mean),
            Loss::Collision => dloss * p * (1.0 - w / mean),
        }));
    }
    gradient
}
