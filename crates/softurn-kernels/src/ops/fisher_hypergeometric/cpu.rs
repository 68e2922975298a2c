//! The law in f64, straight from the definitions: suffix coefficients by log-space convolution, conditionals over their
//! whole support, the sweep of section 1.7 of the method's page.

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

/// `log [C(m, k+1) ω^{k+1}] - log [C(m, k) ω^k]`
fn log_gain(m: f64, k: f64, log_weight: f64) -> f64 {
    log_weight + ((m - k) / (k + 1.0)).ln()
}

impl Law<'_> {
    /// Sizes, where those of groups of weight zero are zero.
    fn size(&self, p: usize) -> u32 {
        if self.log_weights[p] == f64::NEG_INFINITY { 0 } else { self.sizes[p] }
    }

    /// `log C(m_p, k) + k log ω_p` for k = 0..=min(m_p, n).
    fn own(&self, p: usize) -> Vec<f64> {
        let (m, mut sum) = (self.size(p), 0.0);
        let mut terms = vec![0.0];
        for k in 0..m.min(self.draws) {
            sum += log_gain(f64::from(m), f64::from(k), self.log_weights[p]);
            terms.push(sum);
        }
        terms
    }

    /// `Z_p(s) = log c_p(s)` for p = 1..=K and s = 0..=n; of p = 0, only for s = n.
    pub fn log_suffix(&self) -> Vec<Vec<f64>> {
        let (n, groups) = (self.draws as usize, self.sizes.len());
        let mut z = vec![vec![f64::NEG_INFINITY; n + 1]; groups + 1];
        z[groups][0] = 0.0;
        for p in (0..groups).rev() {
            let own = self.own(p);
            if p + 1 == groups {
                z[p][..own.len()].copy_from_slice(&own);
                continue;
            }
            for s in if p == 0 { n..=n } else { 0..=n } {
                let terms: Vec<f64> = (0..own.len().min(s + 1)).map(|k| own[k] + z[p + 1][s - k]).collect();
                z[p][s] = log_sum_exp(&terms);
            }
        }
        z
    }

    /// The most probable counts, the lower group first where two are as probable.
    pub fn mode(&self) -> Vec<u32> {
        let gain = |p: usize, x: u32| log_gain(f64::from(self.size(p)), f64::from(x), self.log_weights[p]);
        // The steps of largest gain: bisect the gain until n steps are above it, then mend ties one by one.
        let steps = |level: f64| -> Vec<u32> {
            let count = |p: usize| {
                let (mut a, mut b) = (0, self.size(p));
                while a < b {
                    let x = a + (b - a) / 2;
                    if gain(p, x) > level { a = x + 1 } else { b = x }
                }
                a
            };
            (0..self.sizes.len()).map(count).collect()
        };
        let (mut low, mut high) = (-1e6, 1e6);
        for _ in 0..200 {
            let level = 0.5 * (low + high);
            let total: u64 = steps(level).iter().map(|&x| u64::from(x)).sum();
            if total > u64::from(self.draws) { low = level } else { high = level }
        }
        let mut x = steps(high);
        while x.iter().sum::<u32>() < self.draws {
            let open = (0..x.len()).filter(|&p| x[p] < self.size(p));
            let best = open.max_by(|&a, &b| gain(a, x[a]).total_cmp(&gain(b, x[b])).then(b.cmp(&a)));
            x[best.expect("draws fit the sizes")] += 1;
        }
        x
    }

    /// `log P(x)` of the most probable `x`, by its own path: `-Σ_p log(1 + all other values / this one)`.
    fn log_prob_of_mode(&self, z: &[Vec<f64>], mode: &[u32]) -> f64 {
        let groups = self.sizes.len();
        let (mut s, mut log_prob) = (self.draws as usize, 0.0);
        for p in 0..groups.saturating_sub(1) {
            let m = f64::from(self.size(p));
            let last = f64::from(self.size(groups - 1));
            // log P(k + 1 | s) - log P(k | s)
            let step = |k: usize| {
                let left = s - k - 1;
                let rest = if p + 2 == groups {
                    log_gain(last, left as f64, self.log_weights[groups - 1])
                } else {
                    z[p + 1][left + 1] - z[p + 1][left]
                };
                log_gain(m, k as f64, self.log_weights[p]) - rest
            };
            let inside = |k: usize| k <= self.size(p) as usize && k <= s && z[p + 1][s - k] > f64::NEG_INFINITY;
            let mode = mode[p] as usize;
            let mut others = 0.0;
            let (mut k, mut l) = (mode, 0.0);
            while inside(k + 1) && l > -750.0 {
                l += step(k);
                others += l.exp();
                k += 1;
            }
            (k, l) = (mode, 0.0);
            while k > 0 && inside(k - 1) && l > -750.0 {
                k -= 1;
                l -= step(k);
                others += l.exp();
            }
            log_prob -= others.ln_1p();
            s -= mode;
        }
        log_prob
    }

    /// `log P(x)` for each of `rows`.
    pub fn log_probs(&self, rows: &[Vec<u32>]) -> Vec<f64> {
        let z = self.log_suffix();
        let mode = self.mode();
        let base = self.log_prob_of_mode(&z, &mode);
        let score = |x: &Vec<u32>| {
            if x.iter().sum::<u32>() != self.draws || (0..x.len()).any(|p| x[p] > self.size(p)) {
                return f64::NEG_INFINITY;
            }
            let mut sum = 0.0;
            for (p, (&x, &mode)) in x.iter().zip(&mode).enumerate() {
                let gain = |k: u32| log_gain(f64::from(self.size(p)), f64::from(k), self.log_weights[p]);
                sum += (mode..x).map(gain).sum::<f64>() - (x..mode).map(gain).sum::<f64>();
            }
            base + sum
        };
        rows.iter().map(score).collect()
    }

    /// `log P(x)`.
    pub fn log_prob(&self, x: &[u32]) -> f64 {
        self.log_probs(&[x.to_vec()])[0]
    }

    /// `E[x_j | groups p.. draw s]` as `[p][j][s]`; of p = 0, only for s = n.
    pub fn conditional_means(&self, z: &[Vec<f64>]) -> Vec<Vec<Vec<f64>>> {
        let (groups, n) = (self.sizes.len(), self.draws as usize);
        let mut means = vec![vec![vec![0.0; n + 1]; groups]; groups + 1];
        for p in (0..groups).rev() {
            let own = self.own(p);
            for s in if p == 0 { n..=n } else { 0..=n } {
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
        if self.sizes.len() == 2 {
            return (0..2).map(|i| self.drawn_first(i).0).collect();
        }
        let means = self.conditional_means(&self.log_suffix());
        (0..self.sizes.len()).map(|j| means[0][j][self.draws as usize]).collect()
    }

    /// `Cov(x_i, x_j)`, row by row.
    pub fn covariance(&self) -> Vec<f64> {
        (0..self.sizes.len()).flat_map(|i| self.drawn_first(i).1).collect()
    }

    /// `-E[log P(x)]`, in nats.
    pub fn entropy(&self) -> f64 {
        let mode = self.mode();
        let excess: f64 = (0..self.sizes.len()).map(|i| self.drawn_first(i).2).sum();
        -self.log_prob_of_mode(&self.log_suffix(), &mode) - excess
    }

    /// `P(x_i = k)` for k = 0..=min(m_i, n).
    pub fn marginal(&self, i: usize) -> Vec<f64> {
        let n = self.draws as usize;
        let logits: Vec<f64> = if self.sizes.len() == 2 {
            // Sums of log ratios from the mode, which stay small where logarithms of coefficients are millions.
            let (own, other) = (f64::from(self.size(i)), f64::from(self.size(1 - i)));
            let step = |k: usize| {
                let rest = log_gain(other, (n - k - 1) as f64, self.log_weights[1 - i]);
                log_gain(own, k as f64, self.log_weights[i]) - rest
            };
            let (low, high) = (n.saturating_sub(other as usize), n.min(own as usize));
            let mode = self.mode()[i] as usize;
            let mut logits = vec![f64::NEG_INFINITY; high + 1];
            logits[mode] = 0.0;
            (mode..high).for_each(|k| logits[k + 1] = logits[k] + step(k));
            (low..mode).rev().for_each(|k| logits[k] = logits[k + 1] - step(k));
            logits
        } else {
            let order = self.order_from(i);
            let sizes: Vec<u32> = order.iter().map(|&j| self.sizes[j]).collect();
            let weights: Vec<f64> = order.iter().map(|&j| self.log_weights[j]).collect();
            let law = Law { sizes: &sizes, draws: self.draws, log_weights: &weights };
            let (z, own) = (law.log_suffix(), law.own(0));
            (0..own.len()).map(|k| own[k] + z[1][n - k]).collect()
        };
        let total = log_sum_exp(&logits);
        logits.iter().map(|l| (l - total).exp()).collect()
    }

    fn order_from(&self, i: usize) -> Vec<usize> {
        std::iter::once(i).chain((0..self.sizes.len()).filter(|&j| j != i)).collect()
    }

    /// With group `i` drawn first: its mean, its covariance with every group, and the mean of `log C(m, x) ω^x` above its
    /// value at the mode.
    fn drawn_first(&self, i: usize) -> (f64, Vec<f64>, f64) {
        let (groups, n) = (self.sizes.len(), self.draws as usize);
        let order = self.order_from(i);
        let sizes: Vec<u32> = order.iter().map(|&j| self.sizes[j]).collect();
        let weights: Vec<f64> = order.iter().map(|&j| self.log_weights[j]).collect();
        let law = Law { sizes: &sizes, draws: self.draws, log_weights: &weights };
        let (p, mode) = (self.marginal(i), self.mode()[i] as usize);
        let mean: f64 = (0..p.len()).map(|k| p[k] * k as f64).sum();
        let log_gains = |k: usize| {
            let gain = |k: usize| log_gain(f64::from(self.size(i)), k as f64, self.log_weights[i]);
            (mode..k).map(gain).sum::<f64>() - (k..mode).map(gain).sum::<f64>()
        };
        // Two groups need no table of means: it would hold n numbers for each of n totals.
        let means = if groups > 2 { law.conditional_means(&law.log_suffix()) } else { Vec::new() };
        let mut covariance = vec![0.0; groups];
        let mut excess = 0.0;
        for (k, &p) in p.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            let deviation = k as f64 - mean;
            covariance[i] += p * deviation * deviation;
            for (at, &j) in order.iter().enumerate().skip(1) {
                let other =
                    if groups > 2 { means[1][at][n - k] - means[1][at][n - mode] } else { mode as f64 - k as f64 };
                covariance[j] += p * deviation * other;
            }
            if p > 1e-30 {
                excess += p * log_gains(k);
            }
        }
        (mean, covariance, excess)
    }
}

/// How a draw is made.
#[derive(Clone, Copy)]
pub struct Draw<'a> {
    /// The merged law, with this order of the groups; without it the exact law in natural order.
    pub merged: Option<&'a [usize]>,
    /// Counts are means of the relaxation.
    pub relaxed: bool,
    /// The relaxation's temperature.
    pub temperature: f64,
    /// The noise of (position, value).
    pub noise: &'a dyn Fn(usize, usize) -> f64,
}

impl std::fmt::Debug for Draw<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draw").field("merged", &self.merged).field("relaxed", &self.relaxed).finish_non_exhaustive()
    }
}

/// The noise that the kernel makes for a row.
pub fn noise(row: usize, key: Key) -> impl Fn(usize, usize) -> f64 {
    move |p, k| gumbel_from(philox([row as u32, p as u32, (k / 4) as u32, 5], key.words())[k % 4])
}

/// One position of a draw.
#[derive(Debug, Clone)]
struct Step {
    remaining: f64,
    values: Vec<usize>,
    log_p: Vec<f64>,
    y: Vec<f64>,
    /// Forward weights: `y`, or one at the drawn value.
    weights: Vec<f64>,
}

/// A draw: counts by group, its log-probability `Σ weights · log p`, its steps and its masks.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Counts.
    pub counts: Vec<f64>,
    /// `Σ_p Σ_k ŷ_k log p_k`
    pub log_prob: f64,
    steps: Vec<Step>,
}

/// Upstream gradients of a draw.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a> {
    /// Of the counts.
    pub counts: &'a [f64],
    /// Of the log-probability.
    pub log_prob: f64,
    /// Of the masks, `[groups][0..=widest size]`.
    pub masks: Option<&'a [Vec<f64>]>,
}

/// The weight of a total within one unit of `low..=high`, and the derivative of its logarithm: 1 inside, smoothly 0 a unit
/// outside.
fn fade(low: i64, high: i64, x: f64) -> (f64, f64) {
    let (u, sign) = if x < low as f64 { (x - low as f64 + 1.0, 1.0) } else { (1.0 - (x - high as f64).max(0.0), -1.0) };
    (u * u * (3.0 - 2.0 * u), sign * 6.0 * (1.0 - u) / (u * (3.0 - 2.0 * u)))
}

/// Catmull and Rom's cubic through `f(i)` at the integers, at `i + t`: value and derivative. Straight beyond `low..=high`.
fn interpolate(f: &dyn Fn(i64) -> f64, low: i64, high: i64, x: f64) -> (f64, f64) {
    let (i, t) = (x.floor() as i64, x - x.floor());
    let difference = |i: i64| {
        if high <= low {
            return 0.0;
        }
        let i = i.clamp(low, high - 1);
        f(i + 1) - f(i)
    };
    let slope = |i: i64| 0.5 * (difference(i - 1) + difference(i));
    let inside = i.clamp(low, high);
    let value = f(inside) + (i - inside) as f64 * difference(i);
    let (d, a, b) = (difference(i), slope(i), slope(i + 1));
    let (c2, c3) = (3.0 * d - 2.0 * a - b, a + b - 2.0 * d);
    (value + t * (a + t * (c2 + t * c3)), a + t * (2.0 * c2 + 3.0 * t * c3))
}

impl Law<'_> {
    fn order(&self, draw: &Draw<'_>) -> Vec<usize> {
        draw.merged.map_or_else(|| (0..self.sizes.len()).collect(), <[usize]>::to_vec)
    }

    /// log weight and size of the positions from `p` on as one group.
    fn merged_rest(&self, order: &[usize], p: usize) -> (f64, f64) {
        let rest: f64 = order[p..].iter().map(|&j| f64::from(self.size(j))).sum();
        let terms: Vec<f64> = order[p..]
            .iter()
            .filter(|&&j| self.size(j) > 0)
            .map(|&j| self.log_weights[j] + f64::from(self.size(j)).ln())
            .collect();
        (if rest > 0.0 { log_sum_exp(&terms) - rest.ln() } else { 0.0 }, rest)
    }

    /// Draws from `draws` elements, which may be no whole number where the draw is relaxed.
    pub fn draw(&self, draw: &Draw<'_>, draws: f64) -> Drawn {
        let order = self.order(draw);
        let groups = order.len();
        let z = if draw.merged.is_some() { Vec::new() } else { self.wide_suffix(draws) };
        let (mut remaining, mut log_prob) = (draws, 0.0);
        let mut counts = vec![0.0; groups];
        let mut steps = Vec::new();
        for p in 0..groups - 1 {
            let group = order[p];
            let m = f64::from(self.size(group));
            let (rest_weight, rest) = self.merged_rest(&order, p + 1);
            let span = if draw.merged.is_some() { (0, rest as i64) } else { self.span(p + 1, draws) };
            let inside = |k: usize| {
                let left = remaining - k as f64;
                let slack = if draw.relaxed { 1.0 } else { 1e-9 };
                left > span.0 as f64 - slack && left < span.1 as f64 + slack
            };
            let values: Vec<usize> = (0..=m as usize).filter(|&k| inside(k)).collect();
            let logits: Vec<f64> = if draw.merged.is_some() {
                let mut sum = 0.0;
                let mut logits = vec![0.0];
                for &k in &values[..values.len() - 1] {
                    let (k, left) = (k as f64, remaining - k as f64);
                    sum += log_gain(m, k, self.log_weights[group]) - rest_weight + (left / (rest - left + 1.0)).ln();
                    logits.push(sum);
                }
                logits
            } else {
                let own = self.own(group);
                let own = |k: usize| own.get(k).copied().unwrap_or_else(|| self.wide_own(group, k));
                values.iter().map(|&k| own(k) + self.suffix(&z, p + 1, remaining - k as f64, draws).0).collect()
            };
            let total = log_sum_exp(&logits);
            let log_p: Vec<f64> = logits.iter().map(|l| l - total).collect();
            let noisy: Vec<f64> = values.iter().zip(&log_p).map(|(&k, l)| l + (draw.noise)(p, k)).collect();
            let scaled: Vec<f64> = noisy.iter().map(|v| v / draw.temperature).collect();
            let sum = log_sum_exp(&scaled);
            let y: Vec<f64> = scaled.iter().map(|v| (v - sum).exp()).collect();
            let best = (0..noisy.len()).fold(0, |best, i| if noisy[i] > noisy[best] { i } else { best });
            let weights: Vec<f64> =
                if draw.relaxed { y.clone() } else { (0..y.len()).map(|i| f64::from(u8::from(i == best))).collect() };
            let count: f64 = values.iter().zip(&weights).map(|(&k, w)| k as f64 * w).sum();
            log_prob += weights.iter().zip(&log_p).map(|(w, l)| if *w > 0.0 { w * l } else { 0.0 }).sum::<f64>();
            counts[group] = count;
            steps.push(Step { remaining, values, log_p, y, weights });
            remaining -= count;
        }
        counts[order[groups - 1]] = remaining;
        Drawn { counts, log_prob, steps }
    }

    /// The fewest that positions `q..` can draw of `floor(draws)`, less one for the slopes there.
    fn least(&self, order: &[usize], q: usize, draws: f64) -> f64 {
        let before: f64 = order[..q].iter().map(|&j| f64::from(self.size(j))).sum();
        (draws.floor() - before - 1.0).max(0.0)
    }

    fn wide_own(&self, group: usize, k: usize) -> f64 {
        let m = f64::from(self.size(group));
        (0..k).map(|i| log_gain(m, i as f64, self.log_weights[group])).sum()
    }

    fn wide_suffix(&self, draws: f64) -> Vec<Vec<f64>> {
        Law { draws: draws.ceil() as u32 + 1, ..*self }.log_suffix()
    }

    /// `Z_q` at a real total: value and derivative.
    fn suffix(&self, z: &[Vec<f64>], q: usize, s: f64, draws: f64) -> (f64, f64) {
        let (low, high) = self.span(q, draws);
        let (value, slope) = interpolate(&|i| z[q][i as usize], low, high, s);
        let (weight, log_slope) = fade(low, high, s);
        (value + weight.ln(), slope + log_slope)
    }

    fn span(&self, q: usize, draws: f64) -> (i64, i64) {
        let order: Vec<usize> = (0..self.sizes.len()).collect();
        let rest: f64 = (q..order.len()).map(|j| f64::from(self.size(j))).sum();
        (self.least(&order, q, draws) as i64, rest.min(draws.ceil() + 1.0) as i64)
    }

    /// The masks of a draw, `[groups][0..=widest size]`.
    pub fn masks(&self, draw: &Draw<'_>, drawn: &Drawn) -> Vec<Vec<f64>> {
        let widest = self.sizes.iter().copied().max().unwrap_or(0) as usize;
        let order = self.order(draw);
        let mut masks = vec![vec![0.0; widest + 1]; order.len()];
        for (p, &group) in order.iter().enumerate() {
            for (k, entry) in masks[group].iter_mut().enumerate().take(self.size(group) as usize + 1) {
                *entry = match drawn.steps.get(p) {
                    Some(step) => step.values.iter().zip(&step.weights).filter(|(v, _)| **v >= k).map(|(_, w)| w).sum(),
                    None => (drawn.counts[group] - k as f64 + 1.0).clamp(0.0, 1.0),
                };
            }
        }
        masks
    }

    /// Gradients of the log weights and of the draws.
    pub fn backward(&self, draw: &Draw<'_>, draws: f64, drawn: &Drawn, up: &Upstream<'_>) -> (Vec<f64>, f64) {
        let order = self.order(draw);
        let groups = order.len();
        let z = if draw.merged.is_some() { Vec::new() } else { self.wide_suffix(draws) };
        let means = if draw.merged.is_some() {
            Vec::new()
        } else {
            Law { draws: draws.ceil() as u32 + 1, ..*self }.conditional_means(&z)
        };
        let mut gradient = vec![0.0; groups];
        let last = order[groups - 1];
        let mut a = up.counts[last];
        if let Some(masks) = up.masks {
            a += self.last_mask(draw, &masks[last], drawn.counts[last], last);
        }
        for p in (0..groups - 1).rev() {
            let (group, step) = (order[p], &drawn.steps[p]);
            let mask = |k: usize| -> f64 { up.masks.map_or(0.0, |masks| masks[group][..=k].iter().sum::<f64>()) };
            let upstream: Vec<f64> = (0..step.values.len())
                .map(|i| {
                    let k = step.values[i];
                    k as f64 * (up.counts[group] - a) + mask(k) + up.log_prob * step.log_p[i]
                })
                .collect();
            let mean: f64 = upstream.iter().zip(&step.y).map(|(g, y)| g * y).sum();
            let (rest_weight, rest) = self.merged_rest(&order, p + 1);
            let mut into_rest = 0.0;
            let mut harmonic = 0.0;
            for (i, &k) in step.values.iter().enumerate() {
                let delta = step.y[i] / draw.temperature * (upstream[i] - mean)
                    + up.log_prob * (step.weights[i] - step.log_p[i].exp());
                gradient[group] += k as f64 * delta;
                let left = step.remaining - k as f64;
                if draw.merged.is_some() {
                    into_rest += delta * harmonic;
                    harmonic += 1.0 / (rest - left + 1.0) + 1.0 / left;
                    for &j in order[p + 1..].iter().filter(|&&j| self.size(j) > 0) {
                        let share = f64::from(self.size(j)) * (self.log_weights[j] - rest_weight).exp() / rest;
                        gradient[j] -= k as f64 * delta * share;
                    }
                } else {
                    into_rest += delta * self.suffix(&z, p + 1, left, draws).1;
                    let (low, high) = self.span(p + 1, draws);
                    for j in p + 1..groups {
                        gradient[j] += delta * interpolate(&|i| means[p + 1][j][i as usize], low, high, left).0;
                    }
                }
            }
            a += into_rest;
        }
        (gradient, a)
    }

    /// The gradient of the last position's masks with respect to its count.
    fn last_mask(&self, draw: &Draw<'_>, mask: &[f64], count: f64, group: usize) -> f64 {
        let size = self.size(group) as usize;
        if draw.relaxed {
            let k = count.ceil() as usize;
            return if count > 0.0 && k <= size { mask[k] } else { 0.0 };
        }
        let k = count as usize;
        let sides: Vec<f64> = [k, k + 1].iter().filter(|&&k| k > 0 && k <= size).map(|&k| mask[k]).collect();
        if sides.is_empty() { 0.0 } else { sides.iter().sum::<f64>() / sides.len() as f64 }
    }
}
