//! Relaxed sorting in f64, by the formulas, with whole matrices.

use super::Kind;

/// Places of the scores of a row in descending order: of equal ones the first comes first. As they are where one is NaN.
pub fn order(s: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..s.len()).collect();
    if !s.iter().any(|s| s.is_nan()) {
        order.sort_by(|&a, &b| s[b].partial_cmp(&s[a]).unwrap().then(a.cmp(&b)));
    }
    order
}

/// `P` of a row of scores, row by row. Infinite scores share the first or last positions among them.
pub fn matrix(kind: Kind, s: &[f64], temperature: f64) -> Vec<f64> {
    let n = s.len();
    if s.iter().any(|s| s.is_nan()) {
        return vec![f64::NAN; n * n];
    }
    let mut p = vec![0.0; n * n];
    let mut first = 0;
    let parts: [fn(f64) -> bool; 3] = [|s| s == f64::INFINITY, f64::is_finite, |s| s == f64::NEG_INFINITY];
    for part in parts {
        let at: Vec<usize> = (0..n).filter(|&j| part(s[j])).collect();
        let s: Vec<f64> = at.iter().map(|&j| if s[j].is_finite() { s[j] } else { 0.0 }).collect();
        for (i, row) in finite(kind, &s, temperature).chunks(at.len().max(1)).enumerate() {
            at.iter().zip(row).for_each(|(j, value)| p[(first + i) * n + j] = *value);
        }
        first += at.len();
    }
    p
}

fn finite(kind: Kind, s: &[f64], temperature: f64) -> Vec<f64> {
    let n = s.len();
    let order = order(s);
    let spread: Vec<f64> = s.iter().map(|a| s.iter().map(|b| (a - b).abs()).sum()).collect();
    let row = |i: usize| -> Vec<f64> {
        let logit = |j: usize| match kind {
            Kind::Neural => (n as f64 - 1.0 - 2.0 * i as f64) * s[j] - spread[j],
            Kind::Soft => -(s[order[i]] - s[j]).abs(),
        };
        let logits: Vec<f64> = (0..n).map(logit).collect();
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|z| ((z - top) / temperature).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| w / sum).collect()
    };
    (0..n).flat_map(row).collect()
}

/// `P x` of `x` `[n, columns]`, or `Pᵀ x`.
pub fn product(p: &[f64], n: usize, x: &[f64], transpose: bool) -> Vec<f64> {
    let columns = x.len() / n;
    let mut y = vec![0.0; n * columns];
    for (i, j, c) in (0..n * n * columns).map(|e| (e / columns / n, e / columns % n, e % columns)) {
        let (to, from) = if transpose { (j, i) } else { (i, j) };
        y[to * columns + c] += p[i * n + j] * x[from * columns + c];
    }
    y
}

/// The gradient of the scores of a row, which are finite, from that of `P`.
pub fn backward(kind: Kind, s: &[f64], temperature: f64, dp: &[f64]) -> Vec<f64> {
    let (n, p, order) = (s.len(), matrix(kind, s, temperature), order(s));
    if s.iter().any(|s| s.is_nan()) {
        return vec![f64::NAN; n];
    }
    let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
    let mut ds = vec![0.0; n];
    let mut dspread = vec![0.0; n];
    for i in 0..n {
        let (p, dp) = (&p[i * n..][..n], &dp[i * n..][..n]);
        let dot: f64 = p.iter().zip(dp).map(|(p, dp)| p * dp).sum();
        for j in 0..n {
            let dlogit = p[j] * (dp[j] - dot) / temperature;
            match kind {
                Kind::Neural => {
                    ds[j] += dlogit * (n as f64 - 1.0 - 2.0 * i as f64);
                    dspread[j] -= dlogit;
                }
                Kind::Soft => {
                    ds[j] += dlogit * sign(s[order[i]] - s[j]);
                    ds[order[i]] -= dlogit * sign(s[order[i]] - s[j]);
                }
            }
        }
    }
    for j in 0..n {
        for l in 0..n {
            ds[j] += sign(s[j] - s[l]) * (dspread[j] + dspread[l]);
        }
    }
    ds
}
