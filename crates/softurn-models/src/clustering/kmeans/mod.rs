//! k-means: centres `c` that minimise the inertia `Σ_i min_j ‖x_i - c_j‖²`.
//!
//! Lloyd, "Least squares quantization in PCM" (1982), from several starts of greedy k-means++; the start of the lowest
//! inertia wins. On the device nothing is larger than the data, `rows · k` or a block of 64 MiB. The same key and adapter
//! give the same bits.

mod lloyd;
mod params;
pub(crate) mod rows;
mod seeding;
#[cfg(test)]
pub(crate) mod tests;

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::matmul::{self, Options};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::{Gpu, Key, Tensor};

use crate::{Error, Result};
use lloyd::{Centres, Stop};
pub use params::Params;
use rows::{Rows, squared_lengths};

/// k-means with settings that have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    params: Params,
}

impl KMeans {
    /// Settings for `k` clusters: 20 starts, at most 300 iterations, tolerance 10⁻⁴.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::clustering::kmeans::KMeans;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let data = gpu.tensor(&[0.0, 0.1, 5.0, 5.1], [4, 1])?;
    /// let fitted = KMeans::params(2).starts(3).check()?.fit(&gpu, &data, Key::new(0))?;
    /// assert_eq!(fitted.group_sizes(), [2, 2]);
    /// assert!((fitted.inertia() - 0.01).abs() < 1e-6);
    /// # Ok::<(), softurn_models::Error>(())
    /// ```
    pub fn params(k: usize) -> Params {
        Params::new(k)
    }

    /// Clusters `data`, `[rows, cols]`.
    ///
    /// Where there are fewer distinct rows than clusters, some clusters stay empty and their centres repeat others.
    ///
    /// # Errors
    /// When `data` is no matrix of finite numbers, has fewer rows than `k`, or is too large for the adapter.
    pub fn fit(&self, gpu: &Gpu, data: &Tensor, key: Key) -> Result<FittedKMeans> {
        let Params { k, starts, max_iterations, tolerance } = self.params;
        if let &[rows, _] = data.shape().dims()
            && k > rows
        {
            return Err(Error::argument("k", format!("{k} clusters for {rows} rows")));
        }
        let rows = Rows::centred(gpu, data)?;
        let squared_norms = rows.squared_norms(gpu)?;
        let total: f64 = squared_norms.iter().copied().map(f64::from).sum();
        let variance = total / (rows.len() * rows.cols()) as f64;
        let stop = Stop { iterations: max_iterations, movement: tolerance * variance };

        let keys: Vec<Key> = key.split_forever().take(starts).collect();
        let mut best: Option<FittedKMeans> = None;
        for keys in keys.chunks(rows.together(k.max(seeding::candidates(k)))) {
            let seeds = seeding::seed(gpu, &rows, &squared_norms, k, keys)?;
            let seeds = seeds.iter().map(|seeds| rows.pick(gpu, seeds)).collect::<Result<Vec<_>>>()?;
            for mut run in lloyd::run(gpu, &rows, &squared_norms, k, seeds, stop)? {
                let (labels, inertia) = lloyd::finish(gpu, &rows, k, &mut run.centres)?;
                if best.as_ref().is_none_or(|best| inertia < best.inertia) {
                    best = Some(FittedKMeans::new(gpu, &rows, &run, labels, inertia)?);
                }
            }
        }
        best.ok_or_else(|| Error::argument("starts", "must be at least 1"))
    }
}

/// The clusters that [`KMeans::fit`] found.
#[derive(Debug, Clone)]
pub struct FittedKMeans {
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
    fn new(gpu: &Gpu, rows: &Rows, run: &lloyd::Run, labels: Vec<u32>, inertia: f64) -> Result<Self> {
        let centred = Centres::new(gpu, &run.centres, rows.cols())?;
        Ok(Self {
            centers: binary::forward(gpu, Binary::Add, &centred.values, &rows.mean)?,
            mean: rows.mean.clone(),
            centred,
            labels,
            inertia,
            iterations: run.iterations,
            converged: run.converged,
        })
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
        let mut sizes = vec![0; self.centred.bias.len()];
        self.labels.iter().for_each(|&label| sizes[label as usize] += 1);
        sizes
    }

    /// The nearest centre of every row of `data`, `[rows, cols]`; the lowest of those at the same distance.
    ///
    /// # Errors
    /// When `data` is no matrix of finite numbers with the columns of the fit.
    pub fn predict(&self, gpu: &Gpu, data: &Tensor) -> Result<Vec<u32>> {
        lloyd::labels(gpu, &Rows::like(gpu, data, &self.mean)?, &self.centred)
    }

    /// The distance of every row of `data` to every centre, `[rows, k]`. Its square carries a rounding error of about
    /// 10⁻⁶ of the squared distance to the mean of the fitted data.
    ///
    /// # Errors
    /// As [`FittedKMeans::predict`].
    pub fn transform(&self, gpu: &Gpu, data: &Tensor) -> Result<Tensor> {
        let rows = Rows::like(gpu, data, &self.mean)?;
        let options = Options { transpose_b: true, ..Options::default() };
        let scores = matmul::forward(gpu, options, &rows.values, &self.centred.values, Some(&self.centred.bias))?;
        let scores = unary::forward(gpu, Unary::Affine { scale: -2.0, shift: 0.0 }, &scores)?;
        let norms = squared_lengths(gpu, &rows.values)?.reshape([rows.len(), 1])?;
        let squares = binary::forward(gpu, Binary::Add, &scores, &norms)?;
        Ok(unary::forward(gpu, Unary::Sqrt, &unary::forward(gpu, Unary::Relu, &squares)?)?)
    }
}
