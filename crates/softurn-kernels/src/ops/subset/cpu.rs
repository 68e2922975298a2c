//! The law of subsets of k elements in f64, by adding one element after another.

/// `ln e_j(w)` for j = 0..=k, of elements whose log weights are not `-inf`.
fn polynomials(log_weights: &[f64], k: usize) -> Vec<f64> {
    let mut e = vec![f64::NEG_INFINITY; k + 1];
    e[0] = 0.0;
    for &l in log_weights.iter().filter(|l| **l > f64::NEG_INFINITY) {
        for j in (1..=k).rev() {
            e[j] = log_add(e[j], e[j - 1] + l);
        }
    }
    e
}

fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// `ln e_k(w)` of one row: the logarithm of the sum over all subsets.
pub fn log_sum(log_weights: &[f64], k: usize) -> f64 {
    polynomials(log_weights, k)[k]
}

/// Everything but element `i`.
fn without(log_weights: &[f64], out: &[usize]) -> Vec<f64> {
    (0..log_weights.len()).filter(|i| !out.contains(i)).map(|i| log_weights[i]).collect()
}

/// How often each element is chosen.
pub fn marginals(log_weights: &[f64], k: usize) -> Vec<f64> {
    let all = log_sum(log_weights, k);
    let of = |i: usize| (log_weights[i] + log_sum(&without(log_weights, &[i]), k - 1) - all).exp();
    (0..log_weights.len()).map(of).collect()
}

/// Covariances of the choices, row by row.
pub fn covariance(log_weights: &[f64], k: usize) -> Vec<f64> {
    let (n, all, p) = (log_weights.len(), log_sum(log_weights, k), marginals(log_weights, k));
    let of = |i: usize, j: usize| {
        if i == j {
            return p[i] * (1.0 - p[i]);
        }
        if k < 2 {
            return -p[i] * p[j];
        }
        let rest = log_sum(&without(log_weights, &[i, j]), k - 2);
        (log_weights[i] + log_weights[j] + rest - all).exp() - p[i] * p[j]
    };
    (0..n * n).map(|e| of(e / n, e % n)).collect()
}

/// The gradient of the log weights of one row.
pub fn backward(log_weights: &[f64], k: usize, dmarginals: &[f64], dlog_sum: f64) -> Vec<f64> {
    let (n, covariance, p) = (log_weights.len(), covariance(log_weights, k), marginals(log_weights, k));
    (0..n).map(|i| (0..n).map(|j| covariance[i * n + j] * dmarginals[j]).sum::<f64>() + p[i] * dlog_sum).collect()
}
