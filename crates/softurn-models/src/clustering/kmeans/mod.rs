//! k-means: centres `c` that minimise the inertia `Σ_i min_j ‖x_i - c_j‖²`.
//!
//! Lloyd, "Least squares quantization in PCM" (1982), from several starts of greedy k-means++; the start of the lowest
//! inertia wins. On the device nothing is larger than the data, `rows · k` or a block of 64 MiB; data beyond the
//! adapter's binding limit lies there in parts. With [`Params::batch`] the rows stay on the host, and batches of them go to the
//! device (Sculley 2010). The same key and adapter give the same bits.

mod lloyd;
mod minibatch;
#[cfg(test)]
mod minibatch_tests;
mod params;
pub(crate) mod rows;
mod seeding;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::matmul::{self, Options};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::{Gpu, Key, Tensor};

use super::features::Scaling;
use super::tally::group_sizes;
use crate::data::Dataset;
use crate::saved::{Reader, Writer};
use crate::{Error, Result};
use lloyd::{Centres, Stop};
pub use params::Params;
use rows::{Rows, squared_lengths};

/// What files call the method.
const METHOD: &str = "kmeans";

/// The settings of a file; centres are relative to the mean of the fitted data.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    k: usize,
    scaling: Scaling,
    inertia: f64,
    iterations: usize,
    converged: bool,
}

/// k-means with settings that have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    params: Params,
}

impl KMeans {
    /// Settings for `k` clusters: all rows at once, 20 starts, at most 300 iterations, tolerance 10⁻⁴.
    ///
    /// ```no_run
    /// use ndarray::array;
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::clustering::kmeans::KMeans;
    /// use softurn_models::data::Dataset;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let data = Dataset::table("lengths", array![[0.0], [0.1], [5.0], [5.1]])?;
    /// let fitted = KMeans::params(2).starts(3).check()?.fit(&gpu, &data, Key::new(0))?;
    /// assert_eq!(fitted.group_sizes(), [2, 2]);
    /// assert_eq!(fitted.predict(&data)?, fitted.labels());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(k: usize) -> Params {
        Params::new(k)
    }

    /// Clusters the rows of `data`; the columns of a table are standardised first, by their own means and deviations.
    ///
    /// Where there are fewer distinct rows than clusters, some clusters stay empty and their centres repeat others.
    ///
    /// # Errors
    /// When `data` has fewer rows than `k`, or is too large for the adapter; then [`Params::batch`] helps.
    pub fn fit(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<FittedKMeans> {
        self.check_rows(data.rows())?;
        let scaling = Scaling::of(data);
        let Some(batch) = self.params.batch else {
            let rows = Rows::upload(gpu, &scaling, data)?;
            return self.fit_rows(gpu, scaling, &rows, key);
        };
        let settings = minibatch::Settings {
            k: self.params.k,
            starts: self.params.starts.unwrap_or(3),
            batch,
            steps: self.params.max_iterations.unwrap_or((10 * data.rows()).div_ceil(batch).max(300)),
        };
        minibatch::fit(gpu, scaling, data, settings, key)
    }

    /// Clusters points that lie on the device, `[rows, cols]`, as they are: the step that other methods take inside.
    ///
    /// # Errors
    /// When `points` is no matrix of finite numbers or has fewer rows than `k`, and when the settings ask for batches.
    pub fn fit_points(&self, gpu: &Gpu, points: &Tensor, key: Key) -> Result<FittedKMeans> {
        if self.params.batch.is_some() {
            return Err(Error::argument("batch", "points that lie on the device are clustered all at once"));
        }
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

    /// Lloyd's iterations over all rows.
    pub(in crate::clustering) fn fit_rows(
        &self,
        gpu: &Gpu,
        scaling: Scaling,
        rows: &Rows,
        key: Key,
    ) -> Result<FittedKMeans> {
        let k = self.params.k;
        let squared_norms = rows.squared_norms(gpu)?;
        let total: f64 = squared_norms.iter().copied().map(f64::from).sum();
        let variance = total / (rows.len() * rows.cols()) as f64;
        let iterations = self.params.max_iterations.unwrap_or(300);
        let stop = Stop { iterations, movement: self.params.tolerance * variance };

        let keys: Vec<Key> = key.split_forever().take(self.params.starts.unwrap_or(20)).collect();
        let mut best: Option<(f64, Vec<u32>, lloyd::Run)> = None;
        for keys in keys.chunks(rows.together(k.max(seeding::candidates(k)))) {
            let seeds = seeding::seed(gpu, rows, &squared_norms, k, keys)?;
            let seeds = seeds.iter().map(|seeds| rows.pick(gpu, seeds)).collect::<Result<Vec<_>>>()?;
            for mut run in lloyd::run(gpu, rows, &squared_norms, k, seeds, stop)? {
                let (labels, inertia) = lloyd::finish(gpu, rows, k, &mut run.centres)?;
                if best.as_ref().is_none_or(|(least, ..)| inertia < *least) {
                    best = Some((inertia, labels, run));
                }
            }
        }
        let (inertia, labels, run) = best.ok_or_else(|| Error::argument("starts", "must be at least 1"))?;
        let centred = Centres::new(gpu, &run.centres, rows.cols())?;
        FittedKMeans::new(scaling, rows.mean.clone(), centred, labels, inertia, run.iterations, run.converged)
    }
}

/// For each key the row numbers of `k` seeds, drawn by greedy k-means++ from points on the device, `[rows, cols]`.
///
/// # Errors
/// When `points` is no matrix of finite numbers.
pub(crate) fn seeds(gpu: &Gpu, points: &Tensor, k: usize, keys: &[Key]) -> Result<Vec<Vec<u32>>> {
    let rows = Rows::centred(gpu, points)?;
    let squared_norms = rows.squared_norms(gpu)?;
    let mut seeds = Vec::with_capacity(keys.len());
    for keys in keys.chunks(rows.together(k.max(seeding::candidates(k)))) {
        seeds.extend(seeding::seed(gpu, &rows, &squared_norms, k, keys)?);
    }
    Ok(seeds)
}

/// The clusters that [`KMeans::fit`] found. Centres and distances are in the units that the fit worked in: deviations of
/// the columns of a table, pixels of images as they are.
#[derive(Debug, Clone)]
pub struct FittedKMeans {
    scaling: Scaling,
    centers: Tensor,
    mean: Tensor,
    /// Relative to `mean`.
    centred: Centres,
    labels: Vec<u32>,
    inertia: f64,
    iterations: usize,
    converged: bool,
}

impl FittedKMeans {
    fn new(
        scaling: Scaling,
        mean: Tensor,
        centred: Centres,
        labels: Vec<u32>,
        inertia: f64,
        iterations: usize,
        converged: bool,
    ) -> Result<Self> {
        let centers = binary::forward(mean.gpu(), Binary::Add, &centred.values, &mean)?;
        Ok(Self { scaling, centers, mean, centred, labels, inertia, iterations, converged })
    }

    /// The clusters' centres, `[k, cols]`.
    pub fn centers(&self) -> &Tensor {
        &self.centers
    }

    /// The centres with the mean of the fitted data taken out, `[k, cols]`.
    pub(crate) fn centred(&self) -> &Tensor {
        &self.centred.values
    }

    /// The cluster of every row that was fitted, each less than `k`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The total squared distance of the rows to their centres.
    pub fn inertia(&self) -> f64 {
        self.inertia
    }

    /// How often the centres of the winning start moved.
    pub fn iterations(&self) -> usize {
        self.iterations
    }

    /// Whether the winning start came to rest within `max_iterations`.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// Rows in every cluster, `[k]`.
    pub fn group_sizes(&self) -> Vec<usize> {
        group_sizes(&self.labels, self.centred.bias.len())
    }

    /// The nearest centre of every row of `data`; the lowest of those at the same distance.
    ///
    /// # Errors
    /// When `data` has other columns than the fit, or a number that is beyond the range of squares in 32 bits.
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(data.rows());
        self.by_blocks(data, |rows| {
            labels.extend(lloyd::labels(self.mean.gpu(), rows, &self.centred)?);
            Ok(())
        })?;
        Ok(labels)
    }

    /// `[rows, k]`: 1 at the nearest centre and 0 elsewhere, because k-means has no other probabilities.
    ///
    /// # Errors
    /// As [`FittedKMeans::predict`].
    pub fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
        let mut probabilities = Array2::zeros((data.rows(), self.centred.bias.len()));
        for (row, label) in self.predict(data)?.into_iter().enumerate() {
            probabilities[[row, label as usize]] = 1.0;
        }
        Ok(probabilities)
    }

    /// The rows of `data` in the units that the fit works in, `[rows, cols]`.
    ///
    /// # Errors
    /// When `data` has other columns than the fit.
    pub fn scaled(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.scaling.apply(data)
    }

    /// The distance of every row of `data` to every centre, `[rows, k]`. Its square carries a rounding error of about
    /// 10⁻⁶ of the squared distance to the mean of the fitted data.
    ///
    /// # Errors
    /// As [`FittedKMeans::predict`].
    pub fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
        let (gpu, k) = (self.mean.gpu(), self.centred.bias.len());
        let options = Options { transpose_b: true, ..Options::default() };
        let mut distances = Vec::with_capacity(data.rows() * k);
        self.by_blocks(data, |rows| {
            let rows = &rows.parts()[0];
            let scores = matmul::forward(gpu, options, rows, &self.centred.values, Some(&self.centred.bias))?;
            let scores = unary::forward(gpu, Unary::Affine { scale: -2.0, shift: 0.0 }, &scores)?;
            let norms = squared_lengths(gpu, rows)?;
            let squares = binary::forward(gpu, Binary::Add, &scores, &norms.reshape([norms.len(), 1])?)?;
            distances.extend(unary::forward(gpu, Unary::Sqrt, &unary::forward(gpu, Unary::Relu, &squares)?)?.read()?);
            Ok(())
        })?;
        Ok(Array2::from_shape_fn((data.rows(), k), |(i, j)| distances[i * k + j]))
    }

    /// Writes the model to a safetensors file, in the place of one that may be there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let cols = self.mean.len();
        let mut writer = Writer::default();
        writer.floats("mean", &[cols], &self.mean.read()?);
        writer.floats("centres", &[self.centred.bias.len(), cols], &self.centred.values.read()?);
        writer.labels(&self.labels);
        let settings = Saved {
            k: self.centred.bias.len(),
            scaling: self.scaling.clone(),
            inertia: self.inertia,
            iterations: self.iterations,
            converged: self.converged,
        };
        writer.write(path.as_ref(), METHOD, &settings)
    }

    /// Reads a model that [`FittedKMeans::save`] wrote; it predicts with the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, of another method, or its model does not fit the adapter.
    pub fn load(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Self> {
        let (reader, saved): (_, Saved) = Reader::open(path.as_ref(), METHOD)?;
        let Saved { k, scaling, inertia, iterations, converged } = saved;
        let cols = scaling.columns();
        let mean = gpu.tensor(&reader.floats("mean", &[cols])?, [cols])?;
        let centred = Centres::new(gpu, &reader.floats("centres", &[k, cols])?, cols)?;
        let labels = reader.labels(k)?;
        Self::new(scaling, mean, centred, labels, inertia, iterations, converged)
    }

    /// The rows of a data set as the fit took them, block by block.
    fn by_blocks(&self, data: &Dataset, f: impl FnMut(&Rows) -> Result<()>) -> Result<()> {
        let width = self.centred.bias.len().max(data.cols());
        rows::by_blocks(&self.scaling, data, &self.mean, width, f)
    }
}
