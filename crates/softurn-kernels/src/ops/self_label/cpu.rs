//! Soft labels by expectation maximisation in f64.

use super::{Loss, Settings};

/// Labels `[rows, cols]`, their means, and the iterations taken.
#[derive(Debug, Clone)]
pub struct Labels {
    /// `y`, `[rows, cols]`.
    pub labels: Vec<f64>,
    /// `ȳ`, `[cols]`.
    pub means: Vec<f64>,
    /// Iterations taken.
    pub iterations: u32,
}

fn column_means(cols: usize, y: &[f64]) -> Vec<f64> {
    let rows = (y.len() / cols) as f64;
    (0..cols).map(|k| y.iter().skip(k).step_by(cols).sum::<f64>() / rows).collect()
}

/// The labels of predictions `sigma` `[rows, cols]`, from `y = sigma`.
pub fn forward(cols: usize, sigma: &[f64], proportions: &[f64], settings: &Settings) -> Labels {
    let lambda = f64::from(settings.lambda);
    let sigma: Vec<f64> = sigma.iter().map(|s| s.max(1e-8)).collect();
    let mut labels = sigma.clone();
    let mut iterations = 0;
    while iterations < settings.iterations && !labels.is_empty() {
        let means = column_means(cols, &labels);
        let factors: Vec<f64> = means.iter().zip(proportions).map(|(m, u)| lambda * u / m.max(1e-8)).collect();
        let mut change: f64 = 0.0;
        for (y, s) in labels.chunks_mut(cols).zip(sigma.chunks(cols)) {
            let new = match settings.loss {
                Loss::ReverseCrossEntropy => reverse(y, s, &factors),
                Loss::Collision => collision(y, s, &factors),
            };
            for (y, new) in y.iter_mut().zip(new) {
                change = change.max((*y - new).abs());
                *y = new;
            }
        }
        iterations += 1;
        if change < f64::from(settings.tolerance) {
            break;
        }
    }
    let means = if labels.is_empty() { vec![0.0; cols] } else { column_means(cols, &labels) };
    Labels { labels, means, iterations }
}

fn reverse(y: &[f64], sigma: &[f64], factors: &[f64]) -> Vec<f64> {
    let new: Vec<f64> = (0..y.len()).map(|k| sigma[k] + factors[k] * y[k]).collect();
    normalised(new)
}

/// The root `x` of `Σ_k a_k x / ((1 + A) x - σ_k) = 1` by bisection, which falls from infinity to at most 1.
fn collision(y: &[f64], sigma: &[f64], factors: &[f64]) -> Vec<f64> {
    let a: Vec<f64> = (0..y.len()).map(|k| (factors[k] * y[k].max(1e-10)).max(1e-30)).collect();
    let mass = 1.0 + a.iter().sum::<f64>();
    let highest = sigma.iter().copied().fold(0.0, f64::max);
    let labels = |x: f64| -> Vec<f64> { (0..y.len()).map(|k| a[k] / (mass - sigma[k] / x)).collect() };
    let [mut low, mut high] = [highest / mass, highest];
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        let sum: f64 = labels(middle).iter().sum();
        if sum > 1.0 || middle * mass <= highest { low = middle } else { high = middle }
    }
    normalised(labels(high))
}

fn normalised(y: Vec<f64>) -> Vec<f64> {
    let total: f64 = y.iter().sum();
    y.into_iter().map(|y| y / total).collect()
}

/// `mean_i loss(σ_i, y_i) + λ KL(u ‖ ȳ)`, what the labels minimise.
pub fn objective(cols: usize, sigma: &[f64], proportions: &[f64], settings: &Settings, labels: &[f64]) -> f64 {
    let rows = sigma.len() / cols;
    let agreement: f64 = sigma
        .chunks(cols)
        .zip(labels.chunks(cols))
        .map(|(s, y)| match settings.loss {
            Loss::ReverseCrossEntropy => -s.iter().zip(y).map(|(s, y)| s * y.ln()).sum::<f64>(),
            Loss::Collision => -s.iter().zip(y).map(|(s, y)| s * y).sum::<f64>().ln(),
        })
        .sum();
    let means = column_means(cols, labels);
    let divergence: f64 =
        means.iter().zip(proportions).map(|(m, u)| if *u > 0.0 { u * (u / m).ln() } else { 0.0 }).sum();
    agreement / rows as f64 + f64::from(settings.lambda) * divergence
}
