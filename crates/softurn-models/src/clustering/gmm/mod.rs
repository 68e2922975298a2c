//! Gaussian mixture `p(x) = Σ_c π_c N(x; μ_c, Σ_c)` with diagonal or full covariances, by expectation and maximisation from
//! k-means.
//!
//! Dempster, Laird and Rubin, "Maximum likelihood from incomplete data via the EM algorithm" (1977). The formulas of a step
//! stand in `diagonal.rs` and `full.rs`.

mod diagonal;
mod full;
mod params;
#[cfg(test)]
mod tests;

use std::path::Path;

use ndarray::{Array2, Array3};
use serde::{Deserialize, Serialize};
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::{log_sum_exp, one_hot, softmax};
use softurn_kernels::{Gpu, Key, Tensor};

use super::features::Scaling;
use super::kmeans::rows::{Rows, by_blocks, upload};
use super::kmeans::{FittedKMeans, KMeans};
use super::tally::group_sizes;
use crate::data::Dataset;
use crate::saved::{Reader, Writer};
use crate::{Error, Result};
pub use params::{Covariance, Params};

/// What files call the method.
const METHOD: &str = "gmm";

/// The settings of a file; means are relative to that of the fitted data.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    k: usize,
    covariance: Covariance,
    scaling: Scaling,
    log_likelihood: f64,
    iterations: usize,
    converged: bool,
}

/// A Gaussian mixture with settings that have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMixture {
    params: Params,
    start: KMeans,
}

impl GaussianMixture {
    /// Settings for `k` components: diagonal covariances, k-means of 20 starts, at most 100 iterations, tolerance 10⁻³ nats, regularization 10⁻⁶.
    ///
    /// ```no_run
    /// use ndarray::array;
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::clustering::gmm::{Covariance, GaussianMixture};
    /// use softurn_models::data::Dataset;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let data = Dataset::table("lengths", array![[0.0], [0.1], [5.0], [5.1]])?;
    /// let method = GaussianMixture::params(2).covariance(Covariance::Full).starts(3).check()?;
    /// let fitted = method.fit(&gpu, &data, Key::new(0))?;
    /// assert!((fitted.weights()[0] - 0.5).abs() < 1e-3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(k: usize) -> Params {
        Params::new(k)
    }

    /// Fits the mixture to the rows of `data`; the columns of a table are standardised first, by their own means and
    /// deviations.
    ///
    /// # Errors
    /// When `data` has fewer rows than `k`, or is too large for the adapter.
    pub fn fit(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<FittedGaussianMixture> {
        self.check_rows(data.rows())?;
        let scaling = Scaling::of(data);
        let rows = Rows::upload(gpu, &scaling, data)?;
        self.fit_rows(gpu, scaling, &rows, key)
    }

    /// Fits the mixture to points that lie on the device, `[rows, cols]`, as they are: the step that other methods take
    /// inside.
    ///
    /// # Errors
    /// When `points` is no matrix of finite numbers, or has fewer rows than `k`.
    pub fn fit_points(&self, gpu: &Gpu, points: &Tensor, key: Key) -> Result<FittedGaussianMixture> {
        if let &[rows, _] = points.shape().dims() {
            self.check_rows(rows)?;
        }
        let rows = Rows::centred(gpu, points)?;
        self.fit_rows(gpu, Scaling::none(rows.cols()), &rows, key)
    }

    fn check_rows(&self, rows: usize) -> Result<()> {
        if self.params.k <= rows {
            return Ok(());
        }
        Err(Error::argument("k", format!("{} clusters for {rows} rows", self.params.k)))
    }

    fn fit_rows(&self, gpu: &Gpu, scaling: Scaling, rows: &Rows, key: Key) -> Result<FittedGaussianMixture> {
        let Params { covariance, regularization, max_iterations, tolerance, .. } = self.params;
        let start = self.start.fit_rows(gpu, Scaling::none(rows.cols()), rows, key)?;
        let mut components = Components::of_clusters(gpu, rows, &start, covariance, regularization)?;
        let (mut before, mut iterations, mut converged) = (f64::NEG_INFINITY, 0, false);
        while iterations < max_iterations && !converged {
            let (new, log_likelihood) = components.step(gpu, rows, regularization)?;
            components = new;
            iterations += 1;
            converged = (log_likelihood - before).abs() < tolerance;
            before = log_likelihood;
        }
        let mixture = Mixture::new(gpu, &components)?;
        let (mut labels, mut total) = (Vec::with_capacity(rows.len()), 0.0);
        for block in rows.blocks(components.width())? {
            let joint = mixture.joint(gpu, &block)?;
            labels.extend(reduce::argmax(gpu, &joint)?.read_u32()?);
            total += sum(&log_sum_exp::forward(gpu, &joint)?)?;
        }
        let log_likelihood = total / rows.len() as f64;
        if !log_likelihood.is_finite() {
            let message = format!("the mean log-likelihood is {log_likelihood} at {regularization}");
            return Err(Error::argument("regularization", message));
        }
        FittedGaussianMixture::new(
            scaling,
            rows.mean.clone(),
            components,
            mixture,
            labels,
            log_likelihood,
            iterations,
            converged,
        )
    }
}

/// The parameters on the host; the mean of the data is taken out of the means.
#[derive(Debug, Clone)]
struct Components {
    covariance: Covariance,
    /// `[k]`
    weights: Vec<f64>,
    /// `[k, cols]`
    means: Vec<f64>,
    /// Variances `[k, cols]` or covariances `[k, cols, cols]`.
    spread: Vec<f64>,
}

/// The same on the device.
#[derive(Debug, Clone)]
enum Mixture {
    Diagonal(diagonal::Mixture),
    Full(full::Mixture),
}

impl Mixture {
    fn new(gpu: &Gpu, components: &Components) -> Result<Self> {
        Ok(match components.covariance {
            Covariance::Diagonal => Self::Diagonal(diagonal::Mixture::new(gpu, components)?),
            Covariance::Full => Self::Full(full::Mixture::new(gpu, components)?),
        })
    }

    /// `log π_c + log N(x_i; μ_c, Σ_c)`, `[rows, k]`.
    fn joint(&self, gpu: &Gpu, rows: &Tensor) -> Result<Tensor> {
        match self {
            Self::Diagonal(mixture) => mixture.joint(gpu, rows),
            Self::Full(mixture) => mixture.joint(gpu, rows),
        }
    }
}

/// Sums over the rows, on the host: the shares of each component, `[k]`, and what its kind needs.
struct Statistics {
    counts: Vec<f64>,
    of_kind: OfKind,
}

enum OfKind {
    Diagonal(diagonal::Statistics),
    Full(full::Statistics),
}

impl Statistics {
    fn new(components: &Components) -> Self {
        let of_kind = match components.covariance {
            Covariance::Diagonal => OfKind::Diagonal(diagonal::Statistics::new(components)),
            Covariance::Full => OfKind::Full(full::Statistics::new(components)),
        };
        Self { counts: vec![0.0; components.k()], of_kind }
    }

    /// Adds rows with their shares in the components, `[rows, k]`.
    fn add(&mut self, gpu: &Gpu, mixture: &Mixture, rows: &Tensor, shares: &Tensor) -> Result<()> {
        add_up(&mut self.counts, &reduce::over_rows(gpu, Reduction::Sum, shares)?)?;
        match (&mut self.of_kind, mixture) {
            (OfKind::Diagonal(sums), Mixture::Diagonal(mixture)) => sums.add(gpu, mixture, rows, shares),
            (OfKind::Full(sums), Mixture::Full(mixture)) => sums.add(gpu, mixture, rows, shares),
            // Both are made from the same components.
            _ => Ok(()),
        }
    }
}

impl Components {
    fn k(&self) -> usize {
        self.weights.len()
    }

    fn cols(&self) -> usize {
        self.means.len() / self.k()
    }

    /// Numbers for each row in the largest temporary.
    fn width(&self) -> usize {
        self.k().max(self.cols())
    }

    /// One component for each cluster, with its mean, covariance and share of the rows.
    fn of_clusters(
        gpu: &Gpu,
        rows: &Rows,
        clusters: &FittedKMeans,
        covariance: Covariance,
        regularization: f64,
    ) -> Result<Self> {
        let means: Vec<f64> = clusters.centred().read()?.into_iter().map(f64::from).collect();
        let (cols, k) = (rows.cols(), means.len() / rows.cols());
        let mut columns = vec![0.0; cols];
        for block in rows.blocks(cols)? {
            let squares = binary::forward(gpu, Binary::Mul, &block, &block)?;
            add_up(&mut columns, &reduce::over_rows(gpu, Reduction::Sum, &squares)?)?;
        }
        let variances = columns.iter().map(|sum| sum / rows.len() as f64 + regularization);
        let of_one: Vec<f64> = match covariance {
            Covariance::Diagonal => variances.collect(),
            Covariance::Full => {
                let variances: Vec<f64> = variances.collect();
                (0..cols * cols).map(|at| if at / cols == at % cols { variances[at % cols] } else { 0.0 }).collect()
            }
        };
        let rough = Self { covariance, weights: vec![1.0 / k as f64; k], means, spread: of_one.repeat(k) };
        let mixture = Mixture::new(gpu, &rough)?;
        let mut statistics = Statistics::new(&rough);
        let mut start = 0;
        for block in rows.blocks(rough.width())? {
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
        let mut statistics = Statistics::new(self);
        let mut log_likelihood = 0.0;
        for block in rows.blocks(self.width())? {
            let joint = mixture.joint(gpu, &block)?;
            log_likelihood += sum(&log_sum_exp::forward(gpu, &joint)?)?;
            statistics.add(gpu, &mixture, &block, &softmax::forward(gpu, &joint, 1.0)?)?;
        }
        Ok((self.maximise(&statistics, rows.len(), regularization), log_likelihood / rows.len() as f64))
    }

    fn maximise(&self, statistics: &Statistics, rows: usize, regularization: f64) -> Self {
        // An empty component keeps its place and a weight whose logarithm is finite.
        let least = 1e-30;
        let counts = &statistics.counts;
        let total: f64 = counts.iter().map(|count| count.max(least)).sum();
        let mut new = self.clone();
        new.weights = counts.iter().map(|count| count.max(least) / total).collect();
        for (c, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > least * rows as f64) {
            match &statistics.of_kind {
                OfKind::Diagonal(sums) => sums.maximise(&mut new, c, count, regularization),
                OfKind::Full(sums) => sums.maximise(&mut new, c, count, regularization),
            }
        }
        new
    }
}

/// Adds numbers of the device to those of the host.
fn add_up(total: &mut [f64], part: &Tensor) -> Result<()> {
    total.iter_mut().zip(part.read()?).for_each(|(total, part)| *total += f64::from(part));
    Ok(())
}

fn sum(values: &Tensor) -> Result<f64> {
    Ok(values.read()?.into_iter().map(f64::from).sum())
}

/// The mixture that [`GaussianMixture::fit`] found. Means, covariances and likelihoods are in the units that the fit worked
/// in: deviations of the columns of a table, pixels of images as they are.
#[derive(Debug, Clone)]
pub struct FittedGaussianMixture {
    scaling: Scaling,
    /// Of the data's columns.
    mean: Tensor,
    /// Relative to `mean`.
    components: Components,
    mixture: Mixture,
    means: Tensor,
    labels: Vec<u32>,
    log_likelihood: f64,
    iterations: usize,
    converged: bool,
}

impl FittedGaussianMixture {
    fn new(
        scaling: Scaling,
        mean: Tensor,
        components: Components,
        mixture: Mixture,
        labels: Vec<u32>,
        log_likelihood: f64,
        iterations: usize,
        converged: bool,
    ) -> Result<Self> {
        let gpu = mean.gpu();
        let centred = upload(gpu, &components.means, &[components.k(), components.cols()])?;
        let means = binary::forward(gpu, Binary::Add, &centred, &mean)?;
        Ok(Self { scaling, mean, components, mixture, means, labels, log_likelihood, iterations, converged })
    }

    /// The components' shares of the rows, `[k]`; they sum to 1.
    pub fn weights(&self) -> &[f64] {
        &self.components.weights
    }

    /// The components' means, `[k, cols]`.
    pub fn means(&self) -> &Tensor {
        &self.means
    }

    /// The components' covariances, `[k, cols, cols]`, the regularization included; diagonal ones are 0 elsewhere.
    pub fn covariances(&self) -> Array3<f64> {
        let (k, cols) = (self.components.k(), self.components.cols());
        let spread = &self.components.spread;
        Array3::from_shape_fn((k, cols, cols), |(c, i, j)| match self.components.covariance {
            Covariance::Full => spread[(c * cols + i) * cols + j],
            Covariance::Diagonal if i == j => spread[c * cols + i],
            Covariance::Diagonal => 0.0,
        })
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
        group_sizes(&self.labels, self.components.k())
    }

    /// The most likely component of every row of `data`.
    ///
    /// # Errors
    /// When `data` has other columns than the fit, or a number that is beyond the range of squares in 32 bits.
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(data.rows());
        self.by_blocks(data, |joint| {
            labels.extend(reduce::argmax(joint.gpu(), joint)?.read_u32()?);
            Ok(())
        })?;
        Ok(labels)
    }

    /// The probability of every component given each row of `data`, `[rows, k]`.
    ///
    /// # Errors
    /// As [`FittedGaussianMixture::predict`].
    pub fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
        let mut shares = Vec::with_capacity(data.rows() * self.components.k());
        self.by_blocks(data, |joint| {
            shares.extend(softmax::forward(joint.gpu(), joint, 1.0)?.read()?);
            Ok(())
        })?;
        Ok(self.table(data.rows(), &shares))
    }

    /// The rows of `data` in the units that the fit works in, `[rows, cols]`.
    ///
    /// # Errors
    /// When `data` has other columns than the fit.
    pub fn scaled(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.scaling.apply(data)
    }

    /// `log π_c + log N(x; μ_c, Σ_c)` of every row of `data` and every component, `[rows, k]`, in nats.
    ///
    /// # Errors
    /// As [`FittedGaussianMixture::predict`].
    pub fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
        let mut values = Vec::with_capacity(data.rows() * self.components.k());
        self.by_blocks(data, |joint| {
            values.extend(joint.read()?);
            Ok(())
        })?;
        Ok(self.table(data.rows(), &values))
    }

    /// The mean log-likelihood of the rows of `data`, in nats.
    ///
    /// # Errors
    /// As [`FittedGaussianMixture::predict`].
    pub fn score(&self, data: &Dataset) -> Result<f64> {
        let mut total = 0.0;
        self.by_blocks(data, |joint| {
            total += sum(&log_sum_exp::forward(joint.gpu(), joint)?)?;
            Ok(())
        })?;
        Ok(total / data.rows() as f64)
    }

    /// Writes the model to a safetensors file, in the place of one that may be there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let components = &self.components;
        let mut writer = Writer::default();
        writer.floats("mean", &[components.cols()], &self.mean.read()?);
        writer.doubles("weights", &components.weights);
        writer.doubles("means", &components.means);
        writer.doubles("spread", &components.spread);
        writer.labels(&self.labels);
        let settings = Saved {
            k: components.k(),
            covariance: components.covariance,
            scaling: self.scaling.clone(),
            log_likelihood: self.log_likelihood,
            iterations: self.iterations,
            converged: self.converged,
        };
        writer.write(path.as_ref(), METHOD, &settings)
    }

    /// Reads a model that [`FittedGaussianMixture::save`] wrote; it predicts with the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, of another method, or its model does not fit the adapter.
    pub fn load(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Self> {
        let (reader, saved): (_, Saved) = Reader::open(path.as_ref(), METHOD)?;
        let Saved { k, covariance, scaling, log_likelihood, iterations, converged } = saved;
        let cols = scaling.columns();
        let spread = match covariance {
            Covariance::Diagonal => k * cols,
            Covariance::Full => k * cols * cols,
        };
        let components = Components {
            covariance,
            weights: reader.doubles("weights", k)?,
            means: reader.doubles("means", k * cols)?,
            spread: reader.doubles("spread", spread)?,
        };
        let mean = gpu.tensor(&reader.floats("mean", &[cols])?, [cols])?;
        let mixture = Mixture::new(gpu, &components)?;
        let labels = reader.labels(k)?;
        Self::new(scaling, mean, components, mixture, labels, log_likelihood, iterations, converged)
    }

    fn table(&self, rows: usize, values: &[f32]) -> Array2<f32> {
        let k = self.components.k();
        Array2::from_shape_fn((rows, k), |(i, c)| values[i * k + c])
    }

    /// `log π_c + log N(x; μ_c, Σ_c)` of the rows of a data set, block by block.
    fn by_blocks(&self, data: &Dataset, mut f: impl FnMut(&Tensor) -> Result<()>) -> Result<()> {
        by_blocks(&self.scaling, data, &self.mean, self.components.width(), |rows| {
            f(&self.mixture.joint(self.mean.gpu(), &rows.parts()[0])?)
        })
    }
}
