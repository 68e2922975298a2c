//! Clustering by random partitions of batches.
//!
//! As in [`variational`](super::variational), an encoder gives `q(z | x)`, groups are Gaussians `N_k` of the latent, and
//! training has the phases `contrast`, `decode` and, here, `partition`. But the groups of a batch of `n` rows are one random
//! partition `Y` (Sutter, Ryser, Liebeskind and Vogt, "Differentiable random partition models", NeurIPS 2023): sizes
//! `n_1, .., n_k` by Fisher's noncentral hypergeometric law, and which rows by an order of Plackett and Luce, of which the
//! first group takes the first `n_1`, and so on. Per row, the loss is
//!
//! `E[-log p(x | z)] + β Σ_ik Y_ik KL(q(z_i) ‖ N_k) / n + γ (log q(n_1..) - log p(n_1..)) / n + δ (log q(π*) + log n!) / n²`
//!
//! with one straight-through draw `Y`, and the contrast. Scores are `10^a` times `k - c`, where `c` is the row's nearest
//! group, and `a` is learned. The posterior's sizes have the mean responsibilities of the batch as their means, without a
//! gradient ([`Weights::Responsibilities`], as in the paper), or learned weights, whose gradient goes through the sampler
//! ([`Weights::Learned`], which the paper avoids). The prior's size weights are learned, its scores are equal.
//!
//! Differences from the authors' program: weights are odds of mean responsibilities, not the responsibilities, so that the sizes'
//! means agree with them; one draw of sizes and order a step, not 100 of the order at fixed sizes; the encoder is not frozen;
//! `Σ_k log n_k!`, which has no gradient, is left out, and with it their `relu`, which it keeps open.

mod loss;
mod params;
#[cfg(test)]
mod tests;

use std::path::Path;

use ndarray::Array2;
use softurn_autodiff::Parameters;
use softurn_kernels::{Gpu, Key};

pub use params::{Params, Weights};

use self::loss::Model;
use super::variational::FittedVariational;
use crate::Result;
use crate::data::Dataset;
use crate::train::{self, Session};

/// How saved models are told apart.
const METHOD: &str = "partition";

/// Checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    params: Params,
}

impl Partition {
    /// Settings for `k` clusters, to be changed one by one and then checked.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::clustering::partition::{Partition, Weights};
    /// use softurn_models::data;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let digits = data::load("digits", None)?;
    /// let fitted = Partition::params(10).weights(Weights::Learned).check()?.fit(&gpu, &digits, Key::new(0))?;
    /// println!("{:?}", fitted.group_proportions()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(k: usize) -> Params {
        Params::new(k)
    }

    /// Learns the clusters of a data set; its labels are not looked at.
    ///
    /// # Errors
    /// When `k` or the neighbours exceed the rows, the model does not fit the adapter, or training diverges.
    pub fn fit(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<FittedPartition> {
        self.fit_with(gpu, data, key, &mut Session::default())
    }

    /// As [`Partition::fit`], watched and kept by a session.
    ///
    /// # Errors
    /// As [`Partition::fit`], and what happens to the checkpoint.
    pub fn fit_with(&self, gpu: &Gpu, data: &Dataset, key: Key, session: &mut Session<'_>) -> Result<FittedPartition> {
        self.start(gpu, data, key)?.run(session)
    }

    /// Checks the settings against data and adapter, at no cost; [`Partition::start`] does it too.
    ///
    /// # Errors
    /// The first setting that asks for more than there is.
    pub fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        self.params.check_data(gpu, data)
    }

    /// Builds the model and checks it against data and adapter, so that bad input shows before anything is written.
    ///
    /// # Errors
    /// When `k` or the neighbours exceed the rows, or the model does not fit the adapter.
    pub fn start(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<Training> {
        self.params.check_data(gpu, data)?;
        let [init_key, key] = key.split();
        let mut parameters = Parameters::new(gpu);
        let model = Model::new(gpu, &self.params, data, &mut parameters, init_key)?;
        let sizes = [data.rows(), self.params.base.resolved_batch(data.rows())];
        Ok(Training { model, parameters, sizes, key })
    }

    /// Epochs of pretraining and of clustering for a data set of so many rows.
    pub fn epochs(&self, rows: usize) -> [usize; 2] {
        self.params.base.resolved_epochs(rows)
    }
}

/// A model that is ready to be trained.
#[derive(Debug)]
pub struct Training {
    model: Model,
    parameters: Parameters,
    /// Rows of the data and of a batch.
    sizes: [usize; 2],
    key: Key,
}

impl Training {
    /// Trains it.
    ///
    /// # Errors
    /// When training diverges, is interrupted, or its checkpoint does not fit.
    pub fn run(mut self, session: &mut Session<'_>) -> Result<FittedPartition> {
        let gpu = self.parameters.gpu().clone();
        train::run(&gpu, &self.model, &mut self.parameters, self.sizes, self.key, session)?;
        let objective = train::evaluate(&gpu, &self.model, &self.parameters, self.sizes, self.key)?;
        Ok(FittedPartition { fitted: FittedVariational::new(self.model.base, self.parameters, objective)? })
    }
}

/// A fitted model: encoder, groups, and the prior of their sizes. New rows are assigned one by one.
#[derive(Debug)]
pub struct FittedPartition {
    fitted: FittedVariational,
}

impl FittedPartition {
    /// Writes the model to a file in the safetensors format.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.fitted.save_as(path.as_ref(), METHOD)
    }

    /// Reads a model that [`FittedPartition::save`] wrote: on the same adapter, it predicts with the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, or of another method.
    pub fn load(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { fitted: FittedVariational::load_as(gpu, path.as_ref(), METHOD)? })
    }

    /// The group of every row that was fitted, each less than `k`.
    pub fn labels(&self) -> &[u32] {
        self.fitted.labels()
    }

    /// The loss of the last phase over all rows: the lower of two fits with the same settings is the better.
    pub fn objective(&self) -> f64 {
        self.fitted.objective()
    }

    /// Rows in every group, `[k]`, of those that were fitted.
    pub fn group_sizes(&self) -> Vec<usize> {
        self.fitted.group_sizes()
    }

    /// The probabilities of each row's groups, `[rows, k]`.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on.
    pub fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.fitted.predict_proba(data)
    }

    /// The most likely group of each row.
    ///
    /// # Errors
    /// As [`FittedPartition::predict_proba`].
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        self.fitted.predict(data)
    }

    /// The latent means, `[rows, latent]`: points on a sphere.
    ///
    /// # Errors
    /// As [`FittedPartition::predict_proba`].
    pub fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.fitted.transform(data)
    }

    /// The learned proportions of the groups, which sum to 1: those of the prior, not of the assignments.
    ///
    /// # Errors
    /// Those of the device.
    pub fn group_proportions(&self) -> Result<Vec<f32>> {
        self.fitted.group_proportions()
    }
}
