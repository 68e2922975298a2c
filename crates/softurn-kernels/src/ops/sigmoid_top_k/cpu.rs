//! The relaxed choice by sigmoids in f64.

use crate::ops::gumbel_softmax::cpu::scores;

/// `sigmoid((s - λ) / T)` that sum to `k`, of elements plus noise, or of the elements where there is none.
pub fn forward(x: &[f64], noise: &[f64], cols: usize, k: f64, temperature: f64) -> Vec<f64> {
    scores(x, noise, cols).chunks(cols).flat_map(|s| row(s, k, temperature)).collect()
}

fn row(s: &[f64], k: f64, temperature: f64) -> Vec<f64> {
    if s.iter().any(|s| s.is_nan()) {
        return vec![f64::NAN; s.len()];
    }
    let z: Vec<f64> = s.iter().map(|s| s / temperature).collect();
    let finite = |z: f64| z > f64::NEG_INFINITY;
    let count = z.iter().filter(|z| finite(**z)).count() as f64;
    if k >= count {
        return z.iter().map(|&z| f64::from(u8::from(finite(z)))).collect();
    }
    let sigmoid = |z: f64| if z < 0.0 { z.exp() / (1.0 + z.exp()) } else { 1.0 / (1.0 + (-z).exp()) };
    // λ as its distance to the k-th largest: they are as far apart as log n.
    let mut sorted: Vec<f64> = z.iter().copied().filter(|z| finite(*z)).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let origin = sorted[k as usize - 1];
    let sum = |mu: f64| z.iter().map(|z| sigmoid(z - origin - mu)).sum::<f64>();
    let (mut low, mut high) = (f64::NEG_INFINITY.max(sorted[k as usize] - origin) - count.ln() - 1.0, count.ln() + 1.0);
    for _ in 0..240 {
        let mu = 0.5 * (low + high);
        if sum(mu) > k { low = mu } else { high = mu }
    }
    z.iter().map(|z| sigmoid(z - origin - 0.5 * (low + high))).collect()
}

/// The gradient of the elements from that of `y`.
pub fn backward(y: &[f64], dy: &[f64], cols: usize, temperature: f64) -> Vec<f64> {
    let row = |(y, dy): (&[f64], &[f64])| -> Vec<f64> {
        let w: Vec<f64> = y.iter().map(|y| y * (1.0 - y)).collect();
        let total: f64 = w.iter().sum();
        let dot: f64 = w.iter().zip(dy).map(|(w, dy)| w * dy).sum();
        let mean = if total == 0.0 { 0.0 } else { dot / total };
        w.iter().zip(dy).map(|(w, dy)| w * (dy - mean) / temperature).collect()
    };
    y.chunks(cols).zip(dy.chunks(cols)).flat_map(row).collect()
}
