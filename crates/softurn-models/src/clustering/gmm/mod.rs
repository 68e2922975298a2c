//! Diagonal Gaussian mixture `p(x) = Σ_c π_c Π_j N(x_j; μ_cj, v_cj)` by expectation and maximisation from k-means.
//!
//! Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via the EM algorithm" (1977). The maximisation is
//! read off the gradient of the expected log density `Σ_ic r_ic log N(x_i; μ_c, v_c)` at the old components: with
//! `N_c = Σ_i r_ic`,
//!
//! `μ_new = μ + v ∂μ / N`, `v_new = v (1 + 2 ∂log v / N) - (μ_new - μ)² + regularization`,
//!
//! which needs no tensor of `rows · k · cols` and, unlike `E[x²] - E[x]²`, does not cancel where components are narrow.

mod params;
#[cfg(test)]
mod tests;

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::{gaussian_mixture, log_sum_exp, one_hot, softmax};
use softurn_kernels::{Gpu, Key, Tensor};

use super::kmeans::rows::{Rows, upload};
use super::kmeans::{FittedKMeans, KMeans};
use crate::{Error, Result};
pub use params::Params;

/// A Gaussian mixture with settings that have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMixture {
    params: Params,
    start: KMeans,
}

impl GaussianMixture {
    /// Settings for `k` components: k-means of 20 starts, at most 100 iterations, tolerance 10⁻³ nats, regularization 10⁻⁶.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::clustering::gmm::GaussianMixture;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let data = gpu.tensor(&[0.0, 0.1, 5.0, 5.1], [4, 1])?;
    /// let fitted = GaussianMixture::params(2).starts(3).check()?.fit(&gpu, &data, Key::new(0))?;
    /// assert!((fitted.weights()[0] - 0.5).abs() < 1e-3);
    /// # Ok::<(), softurn_models::Error>(())
    /// ```
    pub fn params(k: usize) -> Params {
        Params::new(k)
    }

    /// Fits the mixture to `data`, `[rows, cols]`.
    ///
    /// # Errors
    /// When `data` is no matrix of finite numbers, has fewer rows than `k`, or is too large for the adapter.
    pub fn fit(&self, gpu: &Gpu, data: &Tensor, key: Key) -> Result<FittedGaussianMixture> {
        let start = self.start.fit(gpu, data, key)?;
        let rows = Rows::centred(gpu, data)?;
        let mut components = Components::of_clusters(gpu, &rows, &start, self.params.regularization)?;
        let (mut before, mut iterations, mut converged) = (f64::NEG_INFINITY, 0, false);
        while iterations < self.params.max_iterations && !converged {
            let (new, log_likelihood) = components.step(gpu, &rows, self.params.regularization)?;
            components = new;
            iterations += 1;
            converged = (log_likelihood - before).abs() < self.params.tolerance;
            before = log_likelihood;
        }
        let mixture = Mixture::new(gpu, &components)?;
        let (mut labels, mut total) = (Vec::with_capacity(rows.len()), 0.0);
        for block in rows.blocks(mixture.width())? {
            let joint = mixture.joint(gpu, &block)?;
            labels.extend(reduce::argmax(gpu, &joint)?.read_u32()?);
            total += sum(&log_sum_exp::forward(gpu, &joint)?)?;
        }
        let log_likelihood = total / rows.len() as f64;
        if !log_likelihood.is_finite() {
            let message = format!("the mean log-likelihood is {log_likelihood} at {}", self.params.regularization);
            return Err(Error::argument("regularization", message));
        }
        let shape = [components.k(), rows.cols()];
        Ok(FittedGaussianMixture {
            means: binary::forward(gpu, Binary::Add, &mixture.means, &rows.mean)?,
            variances: upload(gpu, &components.variances, &shape)?,
            weights: components.weights,
            mean: rows.mean,
            mixture,
            labels,
            log_likelihood,
            iterations,
            converged,
        })
    }
}

/// The parameters on the host; the mean of the data is taken out of the means.
struct Components {
    /// `[k]`
    weights: Vec<f64>,
    /// `[k, cols]`
    means: Vec<f64>,
    /// `[k, cols]`
    variances: Vec<f64>,
}

/// The same on the device.
#[derive(Debug, Clone)]
struct Mixture {
    log_weights: Tensor,
    means: Tensor,
    log_variances: Tensor,
}

impl Mixture {
    fn new(gpu: &Gpu, components: &Components) -> Result<Self> {
        let k = components.k();
        let shape = [k, components.means.len() / k];
        let log = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.ln()).collect() };
        Ok(Self {
            log_weights: upload(gpu, &log(&components.weights), &[k])?,
            means: upload(gpu, &components.means, &shape)?,
            log_variances: upload(gpu, &log(&components.variances), &shape)?,
        })
    }

    /// Numbers for each row in the largest temporary.
    fn width(&self) -> usize {
        let (k, cols) = self.means.shape().rows_cols();
        k.max(cols)
    }

    /// `log π_c + log N(x_i; μ_c, v_c)`, `[rows, k]`.
    fn joint(&self, gpu: &Gpu, rows: &Tensor) -> Result<Tensor> {
        let density = gaussian_mixture::forward(gpu, rows, None, &self.means, &self.log_variances)?;
        Ok(binary::forward(gpu, Binary::Add, &density, &self.log_weights)?)
    }
}

/// Sums over the rows, `[k]` and twice `[k, cols]`.
struct Statistics {
    counts: Vec<f64>,
    means: Vec<f64>,
    log_variances: Vec<f64>,
}

impl Statistics {
    fn new(k: usize, cols: usize) -> Self {
        Self { counts: vec![0.0; k], means: vec![0.0; k * cols], log_variances: vec![0.0; k * cols] }
    }

    /// Adds rows with their shares in the components, `[rows, k]`.
    fn add(&mut self, gpu: &Gpu, mixture: &Mixture, rows: &Tensor, shares: &Tensor) -> Result<()> {
        let counts = reduce::over_rows(gpu, Reduction::Sum, shares)?;
        let gradients = gaussian_mixture::backward(gpu, rows, None, &mixture.means, &mixture.log_variances, shares)?;
        let parts = [
            (&mut self.counts, counts),
            (&mut self.means, gradients.means),
            (&mut self.log_variances, gradients.log_variances),
        ];
        for (total, part) in parts {
            total.iter_mut().zip(part.read()?).for_each(|(total, part)| *total += f64::from(part));
        }
        Ok(())
    }
}

impl Components {
    fn k(&self) -> usize {
        self.weights.len()
    }

    /// One component for each cluster, with its mean, variances and share of the rows.
    fn of_clusters(gpu: &Gpu, rows: &Rows, clusters: &FittedKMeans, regularization: f64) -> Result<Self> {
        let means: Vec<f64> = clusters.centred().read()?.into_iter().map(f64::from).collect();
        let k = means.len() / rows.cols();
        let mut columns = vec![0.0; rows.cols()];
        for block in rows.blocks(rows.cols())? {
            let squares = binary::forward(gpu, Binary::Mul, &block, &block)?;
            let part = reduce::over_rows(gpu, Reduction::Sum, &squares)?.read()?;
            columns.iter_mut().zip(part).for_each(|(sum, part)| *sum += f64::from(part) / rows.len() as f64);
        }
        let variances = columns.iter().map(|variance| variance + regularization).cycle().take(means.len()).collect();
        let rough = Self { weights: vec![1.0 / k as f64; k], means, variances };
        let mixture = Mixture::new(gpu, &rough)?;
        let mut statistics = Statistics::new(k, rows.cols());
        let mut start = 0;
        for block in rows.blocks(mixture.width())? {
            let end = start + block.shape().dims()[0];
            let labels = gpu.tensor(&clusters.labels()[start..end], [end - start])?;
            statistics.add(gpu, &mixture, &block, &one_hot::forward(gpu, &labels, k)?)?;
            start = end;
        }
        Ok(rough.maximise(&statistics, rows.len(), regularization))
    }

    /// One step, and the mean log-likelihood of the rows before it.
    fn step(&self, gpu: &Gpu, rows: &Rows, regularization: f64) -> Result<(Self, f64)> {
        let mixture = Mixture::new(gpu, self)?;
        let mut statistics = Statistics::new(self.k(), rows.cols());
        let mut log_likelihood = 0.0;
        for block in rows.blocks(mixture.width())? {
            let joint = mixture.joint(gpu, &block)?;
            log_likelihood += sum(&log_sum_exp::forward(gpu, &joint)?)?;
            statistics.add(gpu, &mixture, &block, &softmax::forward(gpu, &joint, 1.0)?)?;
        }
        Ok((self.maximise(&statistics, rows.len(), regularization), log_likelihood / rows.len() as f64))
    }

    fn maximise(&self, statistics: &Statistics, rows: usize, regularization: f64) -> Self {
        let cols = self.means.len() / self.k();
        // An empty component keeps its place and a weight whose logarithm is finite.
        let least = 1e-30;
        let total: f64 = statistics.counts.iter().map(|count| count.max(least)).sum();
        let weights = statistics.counts.iter().map(|count| count.max(least) / total).collect();
        let (mut means, mut variances) = (self.means.clone(), self.variances.clone());
        for at in 0..means.len() {
            let count = statistics.counts[at / cols];
            if count > least * rows as f64 {
                // The device worked with the rounded values.
                let mean = f64::from(self.means[at] as f32);
                let variance = f64::from(self.variances[at].ln() as f32).exp();
                let shift = variance * statistics.means[at] / count;
                let spread = variance * (1.0 + 2.0 * statistics.log_variances[at] / count) - shift * shift;
                means[at] = mean + shift;
                variances[at] = spread.max(0.0) + regularization;
            }
        }
        Self { weights, means, variances }
    }
}

fn sum(values: &Tensor) -> Result<f64> {
    Ok(values.read()?.into_iter().map(f64::from).sum())
}

/// The mixture that [`GaussianMixture::fit`] found.
#[derive(Debug, Clone)]
pub struct FittedGaussianMixture {
    weights: Vec<f64>,
    means: Tensor,
    variances: Tensor,
    /// Of the data's columns.
    mean: Tensor,
    /// Relative to `mean`.
    mixture: Mixture,
    labels: Vec<u32>,
    log_likelihood: f64,
    iterations: usize,
    converged: bool,
}

impl FittedGaussianMixture {
    /// The components' shares of the rows, `[k]`; they sum to 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The components' means, `[k, cols]`.
    pub fn means(&self) -> &Tensor {
        &self.means
    }

    /// The components' variances, `[k, cols]`, the regularization included.
    pub fn variances(&self) -> &Tensor {
        &self.variances
    }

    /// The most likely component of every row that was fitted.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The mean log-likelihood of the rows that were fitted, in nats.
    pub fn log_likelihood(&self) -> f64 {
        self.log_likelihood
    }

    /// Steps of expectation and maximisation.
    pub fn iterations(&self) -> usize {
        self.iterations
    }

    /// Whether the log-likelihood came to rest within `max_iterations`.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// Rows whose most likely component is each one, `[k]`.
    pub fn group_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.weights.len()];
        self.labels.iter().for_each(|&label| sizes[label as usize] += 1);
        sizes
    }

    /// The most likely component of every row of `data`, `[rows, cols]`.
    ///
    /// # Errors
    /// When `data` is no matrix of finite numbers with the columns of the fit.
    pub fn predict(&self, gpu: &Gpu, data: &Tensor) -> Result<Vec<u32>> {
        let mut labels = Vec::new();
        for block in Rows::like(gpu, data, &self.mean)?.blocks(self.mixture.width())? {
            labels.extend(reduce::argmax(gpu, &self.mixture.joint(gpu, &block)?)?.read_u32()?);
        }
        Ok(labels)
    }

    /// The probability of every component given each row of `data`, `[rows, k]`.
    ///
    /// # Errors
    /// As [`FittedGaussianMixture::predict`].
    pub fn predict_proba(&self, gpu: &Gpu, data: &Tensor) -> Result<Tensor> {
        let rows = Rows::like(gpu, data, &self.mean)?;
        Ok(softmax::forward(gpu, &self.mixture.joint(gpu, &rows.values)?, 1.0)?)
    }

    /// The mean log-likelihood of the rows of `data`, in nats.
    ///
    /// # Errors
    /// As [`FittedGaussianMixture::predict`], and when there are no rows.
    pub fn score(&self, gpu: &Gpu, data: &Tensor) -> Result<f64> {
        let rows = Rows::like(gpu, data, &self.mean)?;
        if rows.len() == 0 {
            return Err(Error::argument("data", "has no rows to score"));
        }
        let mut total = 0.0;
        for block in rows.blocks(self.mixture.width())? {
            total += sum(&log_sum_exp::forward(gpu, &self.mixture.joint(gpu, &block)?)?)?;
        }
        Ok(total / rows.len() as f64)
    }
}
