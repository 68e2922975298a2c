//! Successive softmaxes in f64, straight from the recursion.

use crate::ops::gumbel_softmax::cpu::scores;

/// `p` and `1 - p` of a step.
type Step = (Vec<f64>, Vec<f64>);

/// Every step, and the sum of their `p`, of one row of scores.
fn walk(s: &[f64], k: usize, temperature: f64) -> (Vec<Step>, Vec<f64>) {
    let mut a = s.to_vec();
    let (mut steps, mut y) = (Vec::new(), vec![0.0; s.len()]);
    for _ in 0..k {
        let top = a.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if top == f64::NEG_INFINITY {
            steps.push((vec![0.0; s.len()], vec![1.0; s.len()]));
            continue;
        }
        let w: Vec<f64> = a.iter().map(|a| ((a - top) / temperature).exp()).collect();
        let first = a.iter().position(|a| *a == top).expect("a row is not empty");
        let others: f64 = w.iter().enumerate().filter(|(i, _)| *i != first).map(|(_, w)| w).sum();
        let p: Vec<f64> = w.iter().map(|w| w / (1.0 + others)).collect();
        let q: Vec<f64> = (0..p.len()).map(|i| if i == first { others / (1.0 + others) } else { 1.0 - p[i] }).collect();
        for i in 0..p.len() {
            y[i] += p[i];
            a[i] += q[i].ln();
        }
        steps.push((p, q));
    }
    (steps, y)
}

/// Relaxed choices.
pub fn forward(x: &[f64], noise: &[f64], cols: usize, k: usize, temperature: f64) -> Vec<f64> {
    let row = |s: &[f64]| {
        if s.iter().any(|s| s.is_nan()) { vec![f64::NAN; cols] } else { walk(s, k, temperature).1 }
    };
    scores(x, noise, cols).chunks(cols).flat_map(row).collect()
}

/// The gradient of the elements, backwards through the steps.
pub fn backward(x: &[f64], noise: &[f64], cols: usize, k: usize, temperature: f64, dy: &[f64]) -> Vec<f64> {
    let row = |(s, g): (&[f64], &[f64])| -> Vec<f64> {
        let mut l = vec![0.0; cols];
        for (p, q) in walk(s, k, temperature).0.iter().rev() {
            let odds = |i: usize| if p[i] == 0.0 { 0.0 } else { p[i] / q[i].max(1e-300) };
            let dp: Vec<f64> = (0..cols).map(|i| p[i] * g[i] - l[i] * odds(i)).collect();
            let mean: f64 = dp.iter().sum();
            (0..cols).for_each(|i| l[i] += (dp[i] - p[i] * mean) / temperature);
        }
        l
    };
    scores(x, noise, cols).chunks(cols).zip(dy.chunks(cols)).flat_map(row).collect()
}
