//! Softmax and log-softmax of rows in f64.

/// Probabilities of each row of `cols` logits.
pub fn forward(x: &[f64], cols: usize, temperature: f64) -> Vec<f64> {
    by_rows(x, cols, |row| {
        let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let nan = row.iter().any(|x| x.is_nan());
        let weights = row.iter().map(|&x| match high {
            _ if nan => f64::NAN,
            f64::NEG_INFINITY => 0.0,
            f64::INFINITY => f64::from(x == high),
            _ => ((x - high) / temperature).exp(),
        });
        let weights: Vec<f64> = weights.collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| if *w == 0.0 { 0.0 } else { w / sum }).collect()
    })
}

/// Logarithms of the probabilities.
pub fn forward_log(x: &[f64], cols: usize, temperature: f64) -> Vec<f64> {
    by_rows(x, cols, |row| {
        let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if high.is_infinite() || row.iter().any(|x| x.is_nan()) {
            return forward(row, row.len(), temperature).iter().map(|y| y.ln()).collect();
        }
        let total = row.iter().map(|x| ((x - high) / temperature).exp()).sum::<f64>().ln();
        row.iter().map(|x| (x - high) / temperature - total).collect()
    })
}

/// `y (dy - Σ y dy) / T`
pub fn backward(y: &[f64], dy: &[f64], cols: usize, temperature: f64) -> Vec<f64> {
    let dot = |from: usize| (from..from + cols).map(|i| y[i] * dy[i]).sum::<f64>();
    (0..y.len()).map(|i| y[i] * (dy[i] - dot(i / cols * cols)) / temperature).collect()
}

/// `(dy - exp(y) Σ dy) / T`, over the entries that are not `-inf`.
pub fn backward_log(log_y: &[f64], dy: &[f64], cols: usize, temperature: f64) -> Vec<f64> {
    let masked = |i: usize| log_y[i] == f64::NEG_INFINITY;
    let sum = |from: usize| (from..from + cols).filter(|&i| !masked(i)).map(|i| dy[i]).sum::<f64>();
    let element =
        |i: usize| if masked(i) { 0.0 } else { (dy[i] - log_y[i].exp() * sum(i / cols * cols)) / temperature };
    (0..dy.len()).map(element).collect()
}

fn by_rows(x: &[f64], cols: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    x.chunks(cols).flat_map(f).collect()
}
