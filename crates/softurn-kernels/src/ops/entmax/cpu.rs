//! Sparsemax and 1.5-entmax of rows in f64, exactly, by sorting.

use super::Alpha;

/// The law of each row of `cols` scores.
pub fn forward(x: &[f64], cols: usize, alpha: Alpha) -> Vec<f64> {
    x.chunks(cols).flat_map(|row| of_row(row, alpha)).collect()
}

fn of_row(row: &[f64], alpha: Alpha) -> Vec<f64> {
    let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if row.iter().any(|x| x.is_nan()) {
        return vec![f64::NAN; row.len()];
    }
    if high == f64::NEG_INFINITY {
        return vec![0.0; row.len()];
    }
    let scale = if alpha == Alpha::Two { 1.0 } else { 0.5 };
    let v: Vec<f64> = row.iter().map(|&x| if x == high { 0.0 } else { scale * (x - high) }).collect();
    let mut sorted: Vec<f64> = v.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    // The threshold that the first n elements would have is theirs while it lies below the nth.
    let (mut sum, mut squares, mut t) = (0.0, 0.0, -1.0);
    for (i, &v) in sorted.iter().enumerate() {
        let n = (i + 1) as f64;
        sum += v;
        squares += v * v;
        let candidate = match alpha {
            Alpha::Two => (sum - 1.0) / n,
            Alpha::OneAndAHalf => {
                let mean = sum / n;
                mean - ((1.0 - (squares - sum * mean)) / n).max(0.0).sqrt()
            }
        };
        if candidate > v {
            break;
        }
        t = candidate;
    }
    let p = |v: f64| (v - t).max(0.0);
    v.iter().map(|&v| if alpha == Alpha::Two { p(v) } else { p(v) * p(v) }).collect()
}

/// `s (dy - Σ s dy / Σ s)` over the support of the law `y`.
pub fn backward(y: &[f64], dy: &[f64], cols: usize, alpha: Alpha) -> Vec<f64> {
    let of_row = |(y, dy): (&[f64], &[f64])| -> Vec<f64> {
        let weight = |p: f64| match alpha {
            _ if p.is_nan() => p,
            Alpha::Two => f64::from(p > 0.0),
            Alpha::OneAndAHalf => p.sqrt(),
        };
        let s: Vec<f64> = y.iter().map(|&p| weight(p)).collect();
        let on = || s.iter().zip(dy).filter(|(s, _)| **s != 0.0);
        let mean = on().map(|(s, dy)| s * dy).sum::<f64>() / s.iter().sum::<f64>();
        s.iter().zip(dy).map(|(&s, dy)| if s == 0.0 { 0.0 } else { s * (dy - mean) }).collect()
    };
    y.chunks(cols).zip(dy.chunks(cols)).flat_map(of_row).collect()
}
