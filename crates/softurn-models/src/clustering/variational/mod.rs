//! Variational deep clustering with learned group sizes.
//!
//! A row `x` has a group `c`, a latent `z | c ~ N(μ_c, diag σ_c²)` and pixels or features `x | z`. An encoder gives
//! `q(z | x)`, and the bound of Jiang et al., "Variational deep embedding" (IJCAI 2017), is minimised:
//!
//! `L = E[-log p(x | z)] + KL(q(z | x) q(c | x) ‖ p(z | c) p(c))`.
//!
//! Only `p(c)` differs between the priors (Sutter et al., ICLR 2023, their third experiment): uniform; learned proportions
//! `π`; or, with the sizes `x ~ Hypergeometric(m_c = B, n = B, ω)` of a batch's groups drawn together,
//!
//! * the *size-ratio* form `π_c = (x_c + 1) / (B + K)`, with a straight-through gradient to `ω`, or
//! * the *exchangeable* form `p(c) = P(x(c); ω) Π_c x_c! / B!`, exact and without a draw of sizes: assignments drawn from
//!   `q(c | x)` have sizes `x(c)`, and the gradient to `log ω` is `x(c) - E[x]`. `Π_c x_c! / B!`, which has none, is left out
//!   of the loss; `q(c | x)` takes the mean sizes, whose ratios are the odds of one more row.
//!
//! Training has three phases, none of which sees a label (with [`Pretraining::Reconstruction`] two: `reconstruct`, in which
//! encoder and decoder learn together, and `cluster` without the contrast): `contrast` (the encoder learns to tell a row and its nearest
//! neighbours, all under random views, from other rows), `decode` (the decoder learns alone), and `cluster` (everything,
//! from groups in the encoder's space, see [`Start`]; the contrast stays on).

mod loss;
mod network;
mod params;
#[cfg(test)]
mod tests;

use std::path::Path;

use ndarray::Array2;
use softurn_autodiff::Parameters;
use softurn_kernels::ops::softmax;
use softurn_kernels::{Gpu, Key, Tensor};

pub use super::start::Start;
pub use params::{Params, Pretraining, Prior};

pub(in crate::clustering) use self::loss::{Model, Stage};
use self::network::{Network, Settings};
use super::tally::group_sizes;
use crate::Result;
use crate::data::Dataset;
use crate::saved;
use crate::train::{self, Session};

/// How saved models are told apart.
const METHOD: &str = "variational";

/// Checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Variational {
    params: Params,
}

impl Variational {
    /// Settings for `k` clusters, to be changed one by one and then checked.
    pub fn params(k: usize) -> Params {
        Params::new(k)
    }

    /// Learns the clusters of a data set; its labels are not looked at.
    ///
    /// # Errors
    /// When `k` or the neighbours exceed the rows, the model does not fit the adapter, or training diverges.
    pub fn fit(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<FittedVariational> {
        self.fit_with(gpu, data, key, &mut Session::default())
    }

    /// As [`Variational::fit`], watched and kept by a session.
    ///
    /// # Errors
    /// As [`Variational::fit`], and what happens to the checkpoint.
    pub fn fit_with(
        &self,
        gpu: &Gpu,
        data: &Dataset,
        key: Key,
        session: &mut Session<'_>,
    ) -> Result<FittedVariational> {
        self.start(gpu, data, key)?.run(session)
    }

    /// Checks the settings against data and adapter, at no cost; [`Variational::start`] does it too.
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
        Ok(Training { model, parameters, sizes: [data.rows(), self.params.resolved_batch(data.rows())], key })
    }

    /// Epochs of each phase for a data set of so many rows.
    pub fn epochs(&self, rows: usize) -> [usize; 2] {
        self.params.resolved_epochs(rows)
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
    pub fn run(mut self, session: &mut Session<'_>) -> Result<FittedVariational> {
        let gpu = self.parameters.gpu().clone();
        train::run(&gpu, &self.model, &mut self.parameters, self.sizes, self.key, session)?;
        let objective = train::evaluate(&gpu, &self.model, &self.parameters, self.sizes, self.key)?;
        FittedVariational::new(self.model, self.parameters, objective)
    }
}

/// A fitted model.
#[derive(Debug)]
pub struct FittedVariational {
    network: Network,
    parameters: Parameters,
    labels: Vec<u32>,
    objective: f64,
}

impl FittedVariational {
    pub(in crate::clustering) fn new(model: Model, parameters: Parameters, objective: f64) -> Result<Self> {
        let labels = model.labels(&parameters)?;
        Ok(Self { network: model.network, parameters, labels, objective })
    }

    /// Writes the model to a file in the safetensors format.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_as(path.as_ref(), METHOD)
    }

    pub(in crate::clustering) fn save_as(&self, path: &Path, method: &str) -> Result<()> {
        let mut file = saved::Writer::default();
        file.parameters(&self.parameters)?;
        file.labels(&self.labels);
        file.write(path, method, &(&self.network.settings, self.objective))
    }

    /// Reads a model that [`FittedVariational::save`] wrote: on the same adapter, it predicts with the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, or of another method.
    pub fn load(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Self> {
        Self::load_as(gpu, path.as_ref(), METHOD)
    }

    pub(in crate::clustering) fn load_as(gpu: &Gpu, path: &Path, method: &str) -> Result<Self> {
        let (file, (settings, objective)): (_, (Settings, f64)) = saved::Reader::open(path, method)?;
        settings.params.clone().check().map_err(|error| file.fail(error))?;
        let labels = file.labels(settings.params.k)?;
        let mut parameters = Parameters::new(gpu);
        let network = Network::new(settings, &mut parameters, Key::new(0))?;
        file.parameters(&mut parameters)?;
        Ok(Self { network, parameters, labels, objective })
    }

    /// The group of every row that was fitted, each less than `k`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The loss of the last phase over all rows: the lower of two fits with the same settings is the better.
    pub fn objective(&self) -> f64 {
        self.objective
    }

    /// Rows in every group, `[k]`, of those that were fitted.
    pub fn group_sizes(&self) -> Vec<usize> {
        group_sizes(&self.labels, self.network.k())
    }

    /// The probabilities of each row's groups, `[rows, k]`.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on.
    pub fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, |latent| {
            let logits = self.network.group_logits(&self.parameters, latent)?;
            Ok(softmax::forward(latent.gpu(), &logits, 1.0)?)
        })
    }

    /// The most likely group of each row.
    ///
    /// # Errors
    /// As [`FittedVariational::predict_proba`].
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(data.rows());
        for block in self.network.settings.scaling.blocks(self.parameters.gpu(), data, self.network.block())? {
            labels.extend(self.network.labels(&self.parameters, &block?)?);
        }
        Ok(labels)
    }

    /// The latent means, `[rows, latent]`: points on a sphere.
    ///
    /// # Errors
    /// As [`FittedVariational::predict_proba`].
    pub fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, |latent| Ok(latent.clone()))
    }

    /// The learned proportions of the groups, which sum to 1: those of the prior, not of the assignments.
    ///
    /// # Errors
    /// Those of the device.
    pub fn group_proportions(&self) -> Result<Vec<f32>> {
        Ok(self.network.log_proportions(&self.parameters)?.read()?.iter().map(|log| log.exp()).collect())
    }

    fn by_blocks(&self, data: &Dataset, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Array2<f32>> {
        let scaling = &self.network.settings.scaling;
        scaling
            .map(self.parameters.gpu(), data, self.network.block(), |x| f(&self.network.encode(&self.parameters, x)?))
    }
}
