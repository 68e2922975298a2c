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
//! **Starts.** From random weights a network puts most rows into few groups. So it is pretrained as in
//! [`variational`](super::variational), by contrast of rows and their neighbours, and its last layer starts with the groups
//! that [`Start`](super::Start) finds in the encoder's space. The first of several linear models starts with groups of the
//! rows themselves, the others at random; the objective tells which was better.
//!
//! **Group sizes.** With a uniform `u` ([`GroupSizes::Uniform`]), the method splits large groups to fill small ones as soon
//! as `λ` is more than about 1: it is for groups that are known to be equal. [`GroupSizes::Given`] takes shares.
//! [`GroupSizes::Learned`] (ours, not of the papers) takes the sizes for a draw from a noncentral hypergeometric law: `n` rows
//! of a batch fall into groups of at most `n`, with learned weights. The weights follow the likelihood of the sizes that the
//! model's own predictions have, a little in every step, and `u` is the law's mean, 0.3 of the way to even shares: sizes
//! that only followed predictions, and predictions that only followed sizes, would end in one group. A large group can
//! still swallow a small one that overlaps it. Several starts, ranked by `agreement + fairness - H(u) + γ ‖V‖²`, in which
//! the entropy of `u` is what a merged group loses, are the remedy.

mod loss;
mod network;
mod params;
#[cfg(test)]
mod tests;

use std::path::Path;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use softurn_autodiff::Parameters;
use softurn_kernels::ops::{reduce, softmax};
use softurn_kernels::{Gpu, Key, Tensor};

pub use params::{GroupSizes, Loss, Params};

use self::loss::Model;
use self::network::Network;
use super::features::Scaling;
use super::network::Layers;
use super::tally::group_sizes;
use crate::data::{Dataset, ImageShape};
use crate::saved;
use crate::train::{self, Session};
use crate::{Error, Result};

/// How saved models are told apart, and what their tensors are called besides the parameters.
const METHOD: &str = "entropy";
const CENTRE: &str = "centre";

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
    /// use softurn_models::clustering::entropy::{Entropy, FittedEntropy, GroupSizes};
    /// use softurn_models::data;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let digits = data::load("digits", None)?;
    /// // Equal sizes are known here; without that line they are learned.
    /// let method = Entropy::params(10).sizes(GroupSizes::Uniform).check()?;
    /// let fitted = method.fit(&gpu, &digits, Key::new(0))?;
    /// println!("{:?} {}", fitted.group_sizes(), fitted.score().objective());
    /// fitted.save("digits.safetensors")?;
    /// let again = FittedEntropy::load(&gpu, "digits.safetensors")?;
    /// assert_eq!(again.predict(&digits)?, fitted.labels());
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
        let scaling = Scaling::of(data);
        let features = scaling.apply(data)?;
        let model = Model::new(gpu, &self.params, &features, data.image(), &mut parameters, init_key)?;
        let sizes = [data.rows(), self.params.resolved_batch(data.rows())];
        Ok(Training { params: self.params.clone(), scaling, image: data.image(), model, parameters, sizes, key })
    }

    /// Checks the settings against data and adapter, at no cost; [`Entropy::fit`] does it too.
    ///
    /// # Errors
    /// The first setting that asks for more than there is.
    pub fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        self.params.check_data(gpu, data)
    }

    /// `[pretraining, clustering]` epochs of each start for a data set of so many rows; a linear model is not pretrained.
    pub fn epochs(&self, rows: usize) -> [usize; 2] {
        self.params.resolved_epochs(rows)
    }
}

/// A model that is ready to be trained.
#[derive(Debug)]
pub struct Training {
    params: Params,
    scaling: Scaling,
    image: Option<ImageShape>,
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
        let scores = (0..self.model.starts())
            .map(|start| self.model.score(&self.parameters, start))
            .collect::<Result<Vec<_>>>()?;
        let better = |a: &usize, b: &usize| scores[*a].objective().total_cmp(&scores[*b].objective());
        let best = (0..scores.len()).min_by(better).ok_or_else(|| Error::argument("starts", "must be at least 1"))?;
        let labels = self.model.labels(&self.parameters, best)?;
        let saved = Settings {
            proportions: self.model.proportions(&self.parameters, best)?,
            params: self.params,
            scaling: self.scaling,
            image: self.image,
            scores,
            best,
        };
        // Of the starts, the best alone is kept.
        let mut parameters = Parameters::new(&gpu);
        let network = saved.network(&mut parameters, self.model.network(best).centre().cloned())?;
        for param in parameters.iter().cloned().collect::<Vec<_>>() {
            let name = format!("{best}.{}", param.name());
            let trained = self.parameters.get(&name).ok_or_else(|| Error::argument("starts", format!("no {name}")))?;
            parameters.set(&param, &self.parameters.read(trained)?)?;
        }
        Ok(FittedEntropy { settings: saved, network, parameters, labels })
    }
}

/// What a fitted model reaches on all rows, in nats; lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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

/// What a fitted model is besides its tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Settings {
    params: Params,
    scaling: Scaling,
    image: Option<ImageShape>,
    proportions: Vec<f32>,
    scores: Vec<Score>,
    best: usize,
}

impl Settings {
    /// The network that they ask for, with parameters that are yet to be set.
    fn network(&self, parameters: &mut Parameters, centre: Option<Tensor>) -> Result<Network> {
        Network::new(parameters, "", &self.params, &self.layers(), centre, Key::new(0))
    }

    fn layers(&self) -> Layers {
        Layers::new(self.scaling.columns(), self.image, &self.params.channels, &self.params.hidden)
    }
}

/// A fitted model.
#[derive(Debug)]
pub struct FittedEntropy {
    settings: Settings,
    network: Network,
    parameters: Parameters,
    labels: Vec<u32>,
}

impl FittedEntropy {
    /// Writes the model, as a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut file = saved::Writer::default();
        file.parameters(&self.parameters)?;
        if let Some(centre) = self.network.centre() {
            file.floats(CENTRE, centre.shape().dims(), &centre.read()?);
        }
        file.labels(&self.labels);
        file.write(path.as_ref(), METHOD, &self.settings)
    }

    /// Reads a model that [`FittedEntropy::save`] wrote: on the same adapter, it predicts with the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, or of another method.
    pub fn load(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Self> {
        let (file, settings): (_, Settings) = saved::Reader::open(path.as_ref(), METHOD)?;
        let k = settings.params.k;
        settings.params.clone().check().map_err(|error| file.fail(error))?;
        if settings.best >= settings.scores.len() || settings.proportions.len() != k {
            return Err(file.fail("its settings contradict each other"));
        }
        let shape = [1, settings.scaling.columns()];
        let centre = match file.has(CENTRE) {
            true => Some(gpu.tensor(&file.floats(CENTRE, &shape)?, shape)?),
            false => None,
        };
        let labels = file.labels(k)?;
        let mut parameters = Parameters::new(gpu);
        let network = settings.network(&mut parameters, centre)?;
        file.parameters(&mut parameters)?;
        Ok(Self { settings, network, parameters, labels })
    }

    /// The group of every row that was fitted, each less than `k`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Rows in every group, `[k]`.
    pub fn group_sizes(&self) -> Vec<usize> {
        group_sizes(&self.labels, self.settings.params.k)
    }

    /// Equal, given or learned shares of the groups, `[k]`, which sum to 1.
    ///
    /// # Errors
    /// None: the signature is that of all methods.
    pub fn group_proportions(&self) -> Result<Vec<f32>> {
        Ok(self.settings.proportions.clone())
    }

    /// What the winning start reaches.
    pub fn score(&self) -> Score {
        self.settings.scores[self.settings.best]
    }

    /// What every start reaches.
    pub fn scores(&self) -> &[Score] {
        &self.settings.scores
    }

    /// The probabilities of each row's groups, `[rows, k]`.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on.
    pub fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, |x| {
            let logits = self.network.logits_of(&self.parameters, x)?;
            Ok(softmax::forward(x.gpu(), &logits, 1.0)?)
        })
    }

    /// The most likely group of each row.
    ///
    /// # Errors
    /// As [`FittedEntropy::predict_proba`].
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(data.rows());
        for block in self.settings.scaling.blocks(self.parameters.gpu(), data, self.settings.layers().block())? {
            let logits = self.network.logits_of(&self.parameters, &block?)?;
            labels.extend(reduce::argmax(logits.gpu(), &logits)?.read_u32()?);
        }
        Ok(labels)
    }

    /// What the last layer sees, `[rows, width]`: unit vectors times `√latent`, of a linear model the scaled rows themselves,
    /// images less their mean.
    ///
    /// # Errors
    /// As [`FittedEntropy::predict_proba`].
    pub fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, |x| self.network.hidden_of(&self.parameters, x))
    }

    fn by_blocks(&self, data: &Dataset, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Array2<f32>> {
        self.settings.scaling.map(self.parameters.gpu(), data, self.settings.layers().block(), f)
    }
}
