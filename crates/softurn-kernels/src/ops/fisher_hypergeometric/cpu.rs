//! The law in f64, straight from the definition: suffix coefficients by log-space convolution.

use crate::Key;
use crate::ops::random::cpu::{gumbel_from, philox};

/// An urn with one row of log weights.
#[derive(Debug, Clone, Copy)]
pub struct Law<'a> {
    /// Group sizes.
    pub sizes: &'a [u32],
    /// Draws.
    pub draws: u32,
    /// Log weights.
    pub log_weights: &'a [f64],
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + x.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
}

/// `log C(m, k)` as a sum of logarithms.
fn log_choose(m: u32, k: u32) -> f64 {
    (1..=k).map(|i| (f64::from(m - k + i) / f64::from(i)).ln()).sum()
}

impl Law<'_> {
    /// `log C(m_p, k) + k log ω_p` for k = 0..=min(m_p, n).
    fn own(&self, p: usize) -> Vec<f64> {
        let top = self.sizes[p].min(self.draws);
        (0..=top).map(|k| log_choose(self.sizes[p], k) + f64::from(k) * self.log_weights[p]).collect()
    }

    /// `Z_p(s) = log c_p(s)` for p = 0..=K and s = 0..=n.
    pub fn log_suffix(&self) -> Vec<Vec<f64>> {
        let n = self.draws as usize;
        let mut z = vec![vec![f64::NEG_INFINITY; n + 1]; self.sizes.len() + 1];
        z[self.sizes.len()][0] = 0.0;
        for p in (0..self.sizes.len()).rev() {
            let own = self.own(p);
            for s in 0..=n {
                let terms: Vec<f64> = (0..own.len().min(s + 1)).map(|k| own[k] + z[p + 1][s - k]).collect();
                z[p][s] = log_sum_exp(&terms);
            }
        }
        z
    }

    /// `E[x_j | groups p.. draw s]` as `[p][j][s]`.
    pub fn conditional_means(&self, z: &[Vec<f64>]) -> Vec<Vec<Vec<f64>>> {
        let (groups, n) = (self.sizes.len(), self.draws as usize);
        let mut means = vec![vec![vec![0.0; n + 1]; groups]; groups + 1];
        for p in (0..groups).rev() {
            let own = self.own(p);
            for s in 0..=n {
                if z[p][s] == f64::NEG_INFINITY {
                    continue;
                }
                for k in 0..own.len().min(s + 1) {
                    let probability = (own[k] + z[p + 1][s - k] - z[p][s]).exp();
                    means[p][p][s] += k as f64 * probability;
                    for j in p + 1..groups {
                        means[p][j][s] += probability * means[p + 1][j][s - k];
                    }
                }
            }
        }
        means
    }

    /// `E[x]`.
    pub fn mean(&self) -> Vec<f64> {
        let means = self.conditional_means(&self.log_suffix());
        (0..self.sizes.len()).map(|j| means[0][j][self.draws as usize]).collect()
    }

    /// `log P(x)`.
    pub fn log_prob(&self, x: &[u32]) -> f64 {
        if x.iter().sum::<u32>() != self.draws || x.iter().zip(self.sizes).any(|(x, m)| x > m) {
            return f64::NEG_INFINITY;
        }
        let terms =
            x.iter().enumerate().map(|(p, &k)| log_choose(self.sizes[p], k) + f64::from(k) * self.log_weights[p]);
        terms.sum::<f64>() - self.log_suffix()[0][self.draws as usize]
    }

    /// The conditional's support and its log probabilities, given that groups `p..` draw `s`.
    fn conditional(&self, z: &[Vec<f64>], own: &[f64], p: usize, s: usize) -> Vec<(usize, f64)> {
        (0..own.len().min(s + 1))
            .map(|k| (k, own[k] + z[p + 1][s - k] - z[p][s]))
            .filter(|(_, log_p)| *log_p > f64::NEG_INFINITY)
            .collect()
    }

    fn noise(row: usize, p: usize, k: usize, key: Key) -> f64 {
        let words = philox([row as u32, p as u32, (k / 4) as u32, 5], key.words());
        gumbel_from(words[k % 4])
    }

    /// The draw of row `row`.
    pub fn forward(&self, row: usize, key: Key) -> Vec<u32> {
        let (z, mut s) = (self.log_suffix(), self.draws as usize);
        let mut x = Vec::new();
        for p in 0..self.sizes.len() {
            let noisy =
                self.conditional(&z, &self.own(p), p, s).into_iter().map(|(k, l)| (k, l + Self::noise(row, p, k, key)));
            let drawn = noisy.fold((0, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best }).0;
            x.push(drawn as u32);
            s -= drawn;
        }
        x
    }

    /// The straight-through gradient of row `row` (section 1.7 of the method's page: δ, the sensitivity to the remaining
    /// draws, and the later groups' means).
    pub fn backward(&self, row: usize, x: &[u32], dx: &[f64], key: Key, temperature: f64) -> Vec<f64> {
        let (groups, n) = (self.sizes.len(), self.draws as usize);
        let z = self.log_suffix();
        let means = self.conditional_means(&z);
        let mut gradient = vec![0.0; groups];
        let mut a = dx[groups - 1];
        let mut s = x[groups - 1] as usize;
        for p in (0..groups - 1).rev() {
            s += x[p] as usize;
            let conditional = self.conditional(&z, &self.own(p), p, s);
            let logits: Vec<f64> =
                conditional.iter().map(|&(k, l)| (l + Self::noise(row, p, k, key)) / temperature).collect();
            let total = log_sum_exp(&logits);
            let y: Vec<f64> = logits.iter().map(|l| (l - total).exp()).collect();
            let center: f64 = conditional.iter().zip(&y).map(|(&(k, _), y)| k as f64 * y).sum();
            let rest: u32 = self.sizes[p + 1..].iter().sum();
            let last = n.min(rest as usize);
            let mut remaining = 0.0;
            for (&(k, _), y) in conditional.iter().zip(&y) {
                let delta = y / temperature * (k as f64 - center) * (dx[p] - a);
                gradient[p] += k as f64 * delta;
                for j in p + 1..groups {
                    gradient[j] += delta * means[p + 1][j][s - k];
                }
                let (at, next) = (s - k, &z[p + 1]);
                let (low, high) = (at.saturating_sub(1), (at + 1).min(last));
                if high > low {
                    remaining += delta * (next[high] - next[low]) / (high - low) as f64;
                }
            }
            a += remaining;
        }
        gradient
    }
}
