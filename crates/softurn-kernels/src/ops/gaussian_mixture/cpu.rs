//! Expected log densities in f64. Points are rows with log-variance `-inf`.

/// `out_ic`, for `dims` columns.
pub fn forward(dims: usize, mean: &[f64], log_variance: &[f64], means: &[f64], log_variances: &[f64]) -> Vec<f64> {
    let mut density = Vec::new();
    for (m, s) in mean.chunks(dims).zip(log_variance.chunks(dims)) {
        for (mu, v) in means.chunks(dims).zip(log_variances.chunks(dims)) {
            let term =
                |j: usize| std::f64::consts::TAU.ln() + v[j] + (s[j].exp() + (m[j] - mu[j]).powi(2)) / v[j].exp();
            density.push(-0.5 * (0..dims).map(term).sum::<f64>());
        }
    }
    density
}

/// The gradients of mean, log-variance, means and log-variances.
pub fn backward(
    dims: usize,
    mean: &[f64],
    log_variance: &[f64],
    means: &[f64],
    log_variances: &[f64],
    ddensity: &[f64],
) -> [Vec<f64>; 4] {
    let components = means.len() / dims;
    let mut gradients = [mean, log_variance, means, log_variances].map(|x| vec![0.0; x.len()]);
    for (at, g) in ddensity.iter().enumerate() {
        let (i, c) = (at / components, at % components);
        for j in 0..dims {
            let (r, p) = (i * dims + j, c * dims + j);
            let (d, precision) = (mean[r] - means[p], (-log_variances[p]).exp());
            gradients[0][r] -= g * d * precision;
            gradients[1][r] -= 0.5 * g * log_variance[r].exp() * precision;
            gradients[2][p] += g * d * precision;
            gradients[3][p] -= 0.5 * g * (1.0 - (log_variance[r].exp() + d * d) * precision);
        }
    }
    gradients
}
