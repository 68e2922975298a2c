//! `log Σ exp` of rows in f64.

/// One number per row of `cols` values.
pub fn forward(x: &[f64], cols: usize) -> Vec<f64> {
    let row = |row: &[f64]| {
        if row.iter().any(|x| x.is_nan()) {
            return f64::NAN;
        }
        let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if high.is_infinite() { high } else { high + row.iter().map(|x| (x - high).exp()).sum::<f64>().ln() }
    };
    x.chunks(cols).map(row).collect()
}

/// `dlse · exp(x - lse)`.
pub fn backward(x: &[f64], lse: &[f64], dlse: &[f64], cols: usize) -> Vec<f64> {
    let element = |i: usize| {
        let (x, lse) = (x[i], lse[i / cols]);
        let share = match lse {
            f64::NEG_INFINITY => 0.0,
            f64::INFINITY => f64::from(x == lse),
            _ => (x - lse).exp(),
        };
        dlse[i / cols] * share
    };
    (0..x.len()).map(element).collect()
}
