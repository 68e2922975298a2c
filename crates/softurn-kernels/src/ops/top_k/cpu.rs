//! The k largest scores of rows in f64.

use std::cmp::Ordering;

use crate::ops::gumbel_softmax::cpu::scores;

/// Places of the `k` largest of each row, in descending order, the lower first where two are equal; `cols` where nothing but
/// `-inf` is left. Of a row with NaN the first NaN, then `cols`. Without noise the elements themselves are the scores.
pub fn indices(x: &[f64], noise: Option<&[f64]>, cols: usize, k: usize) -> Vec<usize> {
    let scores = noise.map_or_else(|| x.to_vec(), |noise| scores(x, noise, cols));
    let chosen = |(x, s): (&[f64], &[f64])| -> Vec<usize> {
        let mut order: Vec<usize> = (0..cols).filter(|&c| s[c] > f64::NEG_INFINITY).collect();
        order.sort_by(|&a, &b| s[b].partial_cmp(&s[a]).unwrap_or(Ordering::Equal).then(a.cmp(&b)));
        if let Some(nan) = x.iter().position(|x| x.is_nan()) {
            order = vec![nan];
        }
        order.resize(k.max(order.len()), cols);
        order.truncate(k);
        order
    };
    x.chunks(cols).zip(scores.chunks(cols)).flat_map(chosen).collect()
}

/// `x + noise` at the places; `-inf` where there is none, NaN in a row with NaN.
pub fn values(x: &[f64], noise: Option<&[f64]>, cols: usize, k: usize, indices: &[usize]) -> Vec<f64> {
    let value = |(i, &c): (usize, &usize)| {
        let row = i / k;
        let e = row * cols + c;
        if x[row * cols..(row + 1) * cols].iter().any(|x| x.is_nan()) {
            return f64::NAN;
        }
        if c == cols { f64::NEG_INFINITY } else { x[e] + noise.map_or(0.0, |noise| noise[e]) }
    };
    indices.iter().enumerate().map(value).collect()
}

/// `dvalues` at their places, 0 elsewhere.
pub fn backward(indices: &[usize], rows: usize, cols: usize, dvalues: &[f64]) -> Vec<f64> {
    let mut dx = vec![0.0; rows * cols];
    let k = indices.len() / rows;
    for (i, &c) in indices.iter().enumerate().filter(|(_, c)| **c < cols) {
        dx[i / k * cols + c] = dvalues[i];
    }
    dx
}
