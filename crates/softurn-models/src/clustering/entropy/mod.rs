//! Discriminative entropy clustering: a linear model or a network `σ(x) = softmax(f(x))` that is sure of each row's group
//! and keeps to group sizes `u`.
//!
//! With a mean over the rows of a batch, it minimises one of
//!
//! * `mean H(σ) + λ KL(mean σ ‖ u)`: mutual information (Bridle et al. 1991; Krause et al. 2010);
//! * `mean H(σ, y) + λ KL(u ‖ mean y)`: reverse cross-entropy with soft labels `y` that are found by expectation
//!   maximisation for every batch (Zhang and Boykov, arXiv 2301.11405);
//! * `mean -log(σ · y) + λ KL(u ‖ mean y)`: collision cross-entropy (the same authors, arXiv 2303.07321);
//!
//! plus `γ ‖V‖²`, `V` the weights of the last layer, which asks for a margin between the groups, and for networks plus
//! `KL(σ(x) ‖ σ(random view of x))`, without gradient through the former (Hu et al., IMSAT, 2017).
//!
//! **Group sizes.** With a uniform `u` ([`GroupSizes::Uniform`]), the method splits large groups to fill small ones as soon
//! as `λ` is more than about 1: it is for groups that are known to be equal. [`GroupSizes::Given`] takes shares.
//! [`GroupSizes::Learned`] (ours, not of the papers) takes the sizes for a draw from a noncentral hypergeometric law: `n` rows
//! of a batch fall into groups of at most `n`, with learned weights. The weights follow the likelihood of the sizes that the
//! model's own predictions have, a little in every step, and `u` is the law's mean, no share below a tenth of an even one.
//! It assumes that groups show in the data before sizes are learned: it starts from equal sizes, which splits what belongs
//! together, and lets go of them as predictions settle. Nothing in it prefers equal sizes later: of groups that overlap
//! much, a large one can swallow a small one. Several starts, ranked by
//! `agreement + fairness - H(u) + γ ‖V‖²`, in which the entropy of `u` is what a merged group loses, are the remedy.

mod loss;
mod params;
#[cfg(test)]
mod tests;

use ndarray::Array2;
use softurn_autodiff::Parameters;
use softurn_kernels::ops::{reduce, softmax};
use softurn_kernels::{Gpu, Key, Tensor};

pub use params::{GroupSizes, Loss, Params};

use self::loss::Model;
use super::features::Scaling;
use crate::data::Dataset;
use crate::train::{self, Session};
use crate::{Error, Result};

/// Rows that go through a network at once when nothing is learned.
const BLOCK: usize = 4096;

/// Checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Entropy {
    params: Params,
}

impl Entropy {
    /// Settings for `k` clusters, to be changed one by one and then checked.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::clustering::entropy::{Entropy, GroupSizes};
    /// use softurn_models::data;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let digits = data::load("digits", None)?;
    /// let fitted = Entropy::params(10).sizes(GroupSizes::Uniform).lambda(10.0).check()?.fit(&gpu, &digits, Key::new(0))?;
    /// println!("{:?} {}", fitted.group_sizes(), fitted.score().objective());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(k: usize) -> Params {
        Params::new(k)
    }

    /// Learns the clusters of a data set; its labels are not looked at. Tables are standardised.
    ///
    /// # Errors
    /// When `k` exceeds the rows, the model does not fit the adapter, or training diverges.
    pub fn fit(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<FittedEntropy> {
        self.fit_with(gpu, data, key, &mut Session::default())
    }

    /// As [`Entropy::fit`], watched and kept by a session.
    ///
    /// # Errors
    /// As [`Entropy::fit`], and what happens to the checkpoint.
    pub fn fit_with(&self, gpu: &Gpu, data: &Dataset, key: Key, session: &mut Session<'_>) -> Result<FittedEntropy> {
        self.start(gpu, data, key)?.run(session)
    }

    /// Builds the model and checks it against data and adapter, so that bad input shows before anything is written.
    ///
    /// # Errors
    /// When `k` exceeds the rows, or the model does not fit the adapter.
    pub fn start(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<Training> {
        self.check_data(gpu, data)?;
        let [init_key, key] = key.split();
        let mut parameters = Parameters::new(gpu);
        let model = Model::new(gpu, &self.params, data, Scaling::of(data), &mut parameters, init_key)?;
        let sizes = [data.rows(), self.params.resolved_batch(data.rows())];
        Ok(Training { model, parameters, sizes, key })
    }

    /// Checks the settings against data and adapter, at no cost; [`Entropy::fit`] does it too.
    ///
    /// # Errors
    /// The first setting that asks for more than there is.
    pub fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        self.params.check_data(gpu, data)
    }

    /// Epochs of each start for a data set of so many rows.
    pub fn epochs(&self, rows: usize) -> usize {
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
    pub fn run(mut self, session: &mut Session<'_>) -> Result<FittedEntropy> {
        let gpu = self.parameters.gpu().clone();
        train::run(&gpu, &self.model, &mut self.parameters, self.sizes, self.key, session)?;
        FittedEntropy::new(self.model, self.parameters)
    }
}

/// What a fitted model reaches on all rows, in nats; lower is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// `mean H(σ)`, `mean H(σ, y)` or `mean -log(σ · y)`.
    pub agreement: f64,
    /// `λ` times the divergence of the group sizes from `u`.
    pub fairness: f64,
    /// `H(u)`.
    pub entropy: f64,
    /// `γ ‖V‖²`.
    pub margin: f64,
}

impl Score {
    /// `agreement + fairness - entropy + margin`, by which starts are ranked. With uniform `u` and the mutual-information
    /// loss at `λ = 1` it is `mean H(σ) - H(mean σ) + γ ‖V‖²`.
    pub fn objective(&self) -> f64 {
        self.agreement + self.fairness - self.entropy + self.margin
    }
}

/// A fitted model.
#[derive(Debug)]
pub struct FittedEntropy {
    model: Model,
    parameters: Parameters,
    start: usize,
    scores: Vec<Score>,
    labels: Vec<u32>,
}

impl FittedEntropy {
    fn new(model: Model, parameters: Parameters) -> Result<Self> {
        let scores = (0..model.starts()).map(|start| model.score(&parameters, start)).collect::<Result<Vec<_>>>()?;
        let best = |a: &usize, b: &usize| scores[*a].objective().total_cmp(&scores[*b].objective());
        let start = (0..scores.len()).min_by(best).ok_or_else(|| Error::argument("starts", "must be at least 1"))?;
        let labels = model.labels(&parameters, start)?;
        Ok(Self { model, parameters, start, scores, labels })
    }

    /// The group of every row that was fitted, each less than `k`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Rows in every group, `[k]`.
    pub fn group_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.model.k()];
        self.labels.iter().for_each(|&label| sizes[label as usize] += 1);
        sizes
    }

    /// `u`: equal, given or learned shares of the groups, `[k]`, which sum to 1.
    ///
    /// # Errors
    /// Those of the device.
    pub fn group_proportions(&self) -> Result<Vec<f32>> {
        Ok(self.model.shares(&self.parameters, self.start)?.read()?)
    }

    /// What the winning start reaches.
    pub fn score(&self) -> Score {
        self.scores[self.start]
    }

    /// What every start reaches.
    pub fn scores(&self) -> &[Score] {
        &self.scores
    }

    /// The probabilities of each row's groups, `[rows, k]`.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on.
    pub fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, |x| {
            let logits = self.model.logits_of(&self.parameters, self.start, x)?;
            Ok(softmax::forward(x.gpu(), &logits, 1.0)?)
        })
    }

    /// The most likely group of each row.
    ///
    /// # Errors
    /// As [`FittedEntropy::predict_proba`].
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(data.rows());
        for block in self.model.blocks(data)? {
            let logits = self.model.logits_of(&self.parameters, self.start, &block?)?;
            labels.extend(reduce::argmax(logits.gpu(), &logits)?.read_u32()?);
        }
        Ok(labels)
    }

    /// What the last layer sees, `[rows, width]`: the scaled rows themselves for a linear model.
    ///
    /// # Errors
    /// As [`FittedEntropy::predict_proba`].
    pub fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, |x| self.model.hidden_of(&self.parameters, self.start, x))
    }

    fn by_blocks(&self, data: &Dataset, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Array2<f32>> {
        let mut values = Vec::new();
        for block in self.model.blocks(data)? {
            values.extend(f(&block?)?.read()?);
        }
        let cols = values.len() / data.rows().max(1);
        Ok(Array2::from_shape_fn((data.rows(), cols), |(i, j)| values[i * cols + j]))
    }
}
