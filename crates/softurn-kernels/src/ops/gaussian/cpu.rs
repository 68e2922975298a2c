//! Reparameterisation and divergence in f64.

use crate::Key;
use crate::ops::random::cpu::{normal_from, philox};

/// The noise of the first `length` elements.
pub fn noise(length: usize, key: Key) -> Vec<f64> {
    let value = |e: usize| {
        let words = philox([(e / 2) as u32, 0, 0, 4], key.words());
        normal_from(words[2 * (e % 2)], words[2 * (e % 2) + 1])
    };
    (0..length).map(value).collect()
}

/// `z` and the divergence of each row.
pub fn forward(cols: usize, mean: &[f64], log_variance: &[f64], noise: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let z = (0..mean.len()).map(|i| mean[i] + (0.5 * log_variance[i]).exp() * noise[i]).collect();
    let term = |(m, s): (&f64, &f64)| 0.5 * (s.exp_m1() + m * m - s);
    let rows = mean.chunks(cols).zip(log_variance.chunks(cols));
    (z, rows.map(|(m, s)| m.iter().zip(s).map(term).sum()).collect())
}

/// The gradients of mean and log-variance.
pub fn backward(
    cols: usize,
    mean: &[f64],
    log_variance: &[f64],
    noise: &[f64],
    dz: &[f64],
    ddivergence: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    (0..mean.len())
        .map(|i| {
            let (s, h) = (log_variance[i], ddivergence[i / cols]);
            (dz[i] + h * mean[i], 0.5 * dz[i] * noise[i] * (0.5 * s).exp() + 0.5 * h * s.exp_m1())
        })
        .unzip()
}
