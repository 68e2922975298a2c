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
//! Training has three phases, none of which sees a label: `contrast` (the encoder learns to tell a row and its nearest
//! neighbours, all under random views, from other rows), `decode` (the decoder learns alone), and `cluster` (everything,
//! from groups in the encoder's space, see [`Start`]; the contrast stays on).

mod loss;
mod params;
mod start;
#[cfg(test)]
mod tests;

use ndarray::Array2;
use softurn_autodiff::{Parameters, Tape};
use softurn_kernels::ops::fisher_hypergeometric::{self, Law};
use softurn_kernels::ops::{reduce, softmax};
use softurn_kernels::{Gpu, Key, Tensor};

pub use params::{Params, Prior, Start};

use self::loss::Model;
use crate::Result;
use crate::data::Dataset;
use crate::train::{self, Session};

/// Rows that are encoded at once when nothing is learned.
const BLOCK: usize = 4096;

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
        Ok(Training { model, parameters, sizes: [data.rows(), self.params.batch.min(data.rows())], key })
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
        Ok(FittedVariational { model: self.model, parameters: self.parameters })
    }
}

/// A fitted model.
#[derive(Debug)]
pub struct FittedVariational {
    model: Model,
    parameters: Parameters,
}

impl FittedVariational {
    /// The probabilities of each row's groups, `[rows, k]`.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on.
    pub fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, self.model.k(), |latent| {
            let logits = self.model.group_logits(&self.parameters, latent)?;
            Ok(softmax::forward(latent.gpu(), &logits, 1.0)?)
        })
    }

    /// The most likely group of each row.
    ///
    /// # Errors
    /// As [`FittedVariational::predict_proba`].
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(data.rows());
        for block in self.model.blocks(data)? {
            let latent = self.model.encode(&self.parameters, &block?)?;
            let logits = self.model.group_logits(&self.parameters, &latent)?;
            labels.extend(reduce::argmax(latent.gpu(), &logits)?.read_u32()?);
        }
        Ok(labels)
    }

    /// The latent means, `[rows, latent]`: points on a sphere.
    ///
    /// # Errors
    /// As [`FittedVariational::predict_proba`].
    pub fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, self.model.latent(), |latent| Ok(latent.clone()))
    }

    /// The learned proportions of the groups, which sum to 1: those of the prior, not of the assignments.
    ///
    /// # Errors
    /// Those of the device.
    pub fn group_proportions(&self) -> Result<Vec<f32>> {
        Ok(self.model.log_proportions(&self.parameters)?.read()?.iter().map(|log| log.exp()).collect())
    }

    fn by_blocks(&self, data: &Dataset, cols: usize, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Array2<f32>> {
        let mut values = Vec::with_capacity(data.rows() * cols);
        for block in self.model.blocks(data)? {
            values.extend(f(&self.model.encode(&self.parameters, &block?)?)?.read()?);
        }
        Ok(Array2::from_shape_fn((data.rows(), cols), |(i, j)| values[i * cols + j]))
    }
}

impl Model {
    /// `log π`, `[1, k]`: of the hypergeometric prior, the logarithm of its mean proportions.
    fn log_proportions(&self, parameters: &Parameters) -> Result<Tensor> {
        let gpu = parameters.gpu();
        match self.prior() {
            Prior::Uniform => {
                let k = self.k();
                Ok(gpu.tensor(&vec![-(k as f32).ln(); k], [1, k])?)
            }
            Prior::Categorical => Ok(softmax::forward_log(gpu, &parameters.tensor(self.weights())?, 1.0)?),
            Prior::Hypergeometric | Prior::Exchangeable => {
                let weights = parameters.tensor(self.weights())?;
                let law = fisher_hypergeometric::Prepared::new(gpu, self.urn(), &Law::Exact, &weights)?;
                let mean = fisher_hypergeometric::mean(gpu, &law)?.read()?;
                let total: f32 = mean.iter().sum();
                let log: Vec<f32> = mean.iter().map(|x| (x / total).max(1e-12).ln()).collect();
                Ok(gpu.tensor(&log, [1, self.k()])?)
            }
        }
    }

    /// Latent means of a block of rows, without a tape's history.
    fn encode(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        let tape = Tape::new(parameters.gpu());
        Ok(self.encoding(&tape, parameters, &tape.constant(x), true)?.mean.value().clone())
    }
}
