//! Categorical draws and their relaxation in f64.

use crate::Key;
use crate::ops::random::cpu::{gumbel_from, philox};

/// The noise of `rows` rows.
pub fn noise(rows: usize, cols: usize, key: Key) -> Vec<f64> {
    let of = |row: usize, c: usize| gumbel_from(philox([(c / 4) as u32, row as u32, 0, 3], key.words())[c % 4]);
    (0..rows * cols).map(|e| of(e / cols, e % cols)).collect()
}

/// `x - max x + noise` of each row: `-inf` where the law has no mass, NaN where the row holds NaN at all.
pub fn scores(x: &[f64], noise: &[f64], cols: usize) -> Vec<f64> {
    let row = |(x, noise): (&[f64], &[f64])| -> Vec<f64> {
        let high = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let score = |(&x, &noise): (&f64, &f64)| match x - high {
            _ if x == f64::NEG_INFINITY => x,
            _ if x == high => noise,
            f64::NEG_INFINITY => f64::NEG_INFINITY,
            below => below + noise,
        };
        let scores: Vec<f64> = x.iter().zip(noise).map(score).collect();
        if scores.iter().any(|s| s.is_nan()) { vec![f64::NAN; x.len()] } else { scores }
    };
    x.chunks(cols).zip(noise.chunks(cols)).flat_map(row).collect()
}

/// Relaxed draws.
pub fn forward(x: &[f64], noise: &[f64], cols: usize, temperature: f64) -> Vec<f64> {
    let softmax = |s: &[f64]| -> Vec<f64> {
        let top = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if top == f64::NEG_INFINITY && !s.iter().any(|s| s.is_nan()) {
            return vec![0.0; s.len()];
        }
        let weights: Vec<f64> =
            s.iter().map(|&s| if s == top { 1.0 } else { ((s - top) / temperature).exp() }).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| w / sum).collect()
    };
    scores(x, noise, cols).chunks(cols).flat_map(softmax).collect()
}

/// The first of the largest scores of each row: the first NaN of logits where the row holds NaN, `cols` where it has
/// nothing to choose.
pub fn sample(x: &[f64], noise: &[f64], cols: usize) -> Vec<usize> {
    let first = |(x, s): (&[f64], &[f64])| {
        if let Some(nan) = x.iter().position(|x| x.is_nan()) {
            return nan;
        }
        let top = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        s.iter().position(|&s| s == top && s > f64::NEG_INFINITY).unwrap_or(cols)
    };
    x.chunks(cols).zip(scores(x, noise, cols).chunks(cols)).map(first).collect()
}

/// `y (dy - Σ y dy) / T`, zero for rows of zeros.
pub fn backward(x: &[f64], noise: &[f64], cols: usize, temperature: f64, dy: &[f64]) -> Vec<f64> {
    let y = forward(x, noise, cols, temperature);
    let dot = |(y, dy): (&[f64], &[f64])| y.iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>();
    let dots: Vec<f64> = y.chunks(cols).zip(dy.chunks(cols)).map(dot).collect();
    (0..y.len()).map(|i| y[i] * (dy[i] - dots[i / cols]) / temperature).collect()
}
