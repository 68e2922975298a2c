//! Settings of sparse representations, and their checks.

use serde::{Deserialize, Serialize};
use softurn_kernels::Gpu;
use softurn_kernels::ops::top_k::MAX_K;

use super::Sparse;
use crate::clustering::{countable, fits};
use crate::data::Dataset;
use crate::{Error, Result};

/// What the code of a row is: the model of this module, or one that it is compared with. All share encoder, decoder, optimizer
/// and evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Code {
    /// As many features as the row needs, up to the bound: their number is drawn first, and then which they are.
    #[default]
    Sparse,
    /// An autoencoder with as many features as the bound in every row. Without magnitudes a feature is 0 or 1, and which are chosen
    /// is drawn without replacement and learned straight-through, as of [`Code::Sparse`]; with magnitudes the largest outputs
    /// of the encoder are kept with their values (k-sparse autoencoder, Makhzani and Frey 2013).
    TopL,
    /// A variational autoencoder whose features are all active: Gaussian, with a standard normal prior (Kingma and Welling 2014).
    Dense,
    /// An autoencoder with features that are not negative and whose sum, each times the length of its row of the decoder's first
    /// weights, is penalised. The lengths keep the decoder from undoing the penalty.
    L1,
}

/// How the gradient reaches counts and choices of [`Code::Sparse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Trainer {
    /// The sum over all counts, exact: the decoder sees every row with its first, its first two .. features, hard, with a
    /// straight-through gradient. Costs as many decoder calls as the bound.
    #[default]
    Marginal,
    /// One draw of the count and one of the features, hard, straight-through in each factor.
    StraightThrough,
    /// One relaxed draw of both.
    Relaxed,
}

/// The mean of a row, from its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DecoderKind {
    /// A dictionary with a row, an atom, for each feature: the mean is the sum of the active ones, each times its value.
    #[default]
    Linear,
    /// The encoder's hidden layers in reverse order.
    Mlp,
}

/// The law of a row around what the decoder makes of its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Likelihood {
    /// Normal with standard deviation [`SparseParams::noise`] in every column.
    #[default]
    Gaussian,
    /// Bernoulli, for columns from 0 to 1; the decoder gives the logits.
    Bernoulli,
}

/// The prior of the number of active features, from 1 to the bound.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum CountPrior {
    /// All alike.
    #[default]
    Uniform,
    /// Proportional to `rho^count`, `rho` above 0: fewer features are preferred where it is below 1.
    Geometric(f32),
}

/// How the divergence of the choice of features from a uniform one is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ChoiceDivergence {
    /// By the chain rule along a drawn order, without replacement.
    #[default]
    ChainRule,
    /// As if features were drawn with replacement: the mean count times the divergence of one draw.
    WithReplacement,
}

/// Settings; [`SparseParams::check`] turns them into a method that can be fitted. The defaults are this project's choice, not those
/// of a paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SparseParams {
    pub(super) size: usize,
    pub(super) bound: usize,
    pub(super) code: Code,
    pub(super) trainer: Trainer,
    pub(super) magnitudes: bool,
    pub(super) decoder: DecoderKind,
    pub(super) atom_scale: f32,
    pub(super) hidden: Vec<usize>,
    pub(super) likelihood: Likelihood,
    pub(super) noise: f32,
    pub(super) prior: CountPrior,
    pub(super) choice: ChoiceDivergence,
    pub(super) ramp: f64,
    pub(super) boost: f32,
    pub(super) temperatures: [f32; 2],
    pub(super) annealing: f64,
    pub(super) penalty: f32,
    pub(super) batch: usize,
    pub(super) epochs: usize,
    pub(super) learning_rate: f32,
}

impl SparseParams {
    pub(super) fn new(size: usize, bound: usize) -> Self {
        Self {
            size,
            bound,
            code: Code::default(),
            trainer: Trainer::default(),
            magnitudes: false,
            decoder: DecoderKind::default(),
            atom_scale: 0.1,
            hidden: vec![128, 128],
            likelihood: Likelihood::default(),
            noise: 0.1,
            prior: CountPrior::default(),
            choice: ChoiceDivergence::default(),
            ramp: 1.0 / 3.0,
            boost: 10.0,
            temperatures: [1.0, 0.5],
            annealing: 0.35,
            penalty: 1.0,
            batch: 100,
            epochs: 120,
            learning_rate: 2e-3,
        }
    }

    /// What the code is; by default [`Code::Sparse`].
    pub fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// How [`Code::Sparse`] is trained; by default [`Trainer::Marginal`].
    pub fn trainer(mut self, trainer: Trainer) -> Self {
        self.trainer = trainer;
        self
    }

    /// Whether active features of [`Code::Sparse`] and [`Code::TopL`] have a value, or are 1; by default they are 1. Of
    /// [`Code::Sparse`] the value is Gaussian with a standard normal prior, of which active features alone have a divergence.
    pub fn magnitudes(mut self, magnitudes: bool) -> Self {
        self.magnitudes = magnitudes;
        self
    }

    /// From a code to a row; by default [`DecoderKind::Linear`].
    pub fn decoder(mut self, decoder: DecoderKind) -> Self {
        self.decoder = decoder;
        self
    }

    /// How large the atoms of [`DecoderKind::Linear`] are at first, as a multiple of Glorot and Bengio's weights (2010); by default 0.1.
    /// While atoms are small, one more costs a row nothing. From 1 on, and without [`SparseParams::boost`], rows learn to do with the fewest
    /// before atoms mean anything, and high counts die out.
    pub fn atom_scale(mut self, scale: f32) -> Self {
        self.atom_scale = scale;
        self
    }

    /// Widths of the encoder's hidden layers; by default 128 twice. None: the encoder is linear.
    pub fn hidden(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.hidden = widths.into();
        self
    }

    /// The law of a row given its code; by default [`Likelihood::Gaussian`].
    pub fn likelihood(mut self, likelihood: Likelihood) -> Self {
        self.likelihood = likelihood;
        self
    }

    /// The standard deviation of [`Likelihood::Gaussian`], in the units of the data; by default 0.1. It decides how many features
    /// pay: an atom of length 1 that is missing costs `1 / (2 noise²)` nats, and another feature up to
    /// `log size + log bound`.
    pub fn noise(mut self, deviation: f32) -> Self {
        self.noise = deviation;
        self
    }

    /// The prior of the counts; by default [`CountPrior::Uniform`].
    pub fn prior(mut self, prior: CountPrior) -> Self {
        self.prior = prior;
        self
    }

    /// How the divergence of the choice is measured; by default [`ChoiceDivergence::ChainRule`].
    pub fn choice(mut self, choice: ChoiceDivergence) -> Self {
        self.choice = choice;
        self
    }

    /// The first share of training, from 0 to 1, in which the weight of all divergences rises from 0 to 1; by default a third.
    pub fn ramp(mut self, share: f64) -> Self {
        self.ramp = share;
        self
    }

    /// What the weights of the divergences of counts and of choices from uniform ones are raised by at the start; it falls to 0
    /// over the ramp. By default 10. Without it, high counts often die in the first steps and do not come back, and rows
    /// settle on features before these mean anything.
    pub fn boost(mut self, weight: f32) -> Self {
        self.boost = weight;
        self
    }

    /// The temperatures of relaxed draws at the start and at the end, and the first share of training, from 0 to 1, in which they go
    /// from one to the other in equal ratios; by default 1, 0.5 and 0.35.
    pub fn temperatures(mut self, start: f32, end: f32, share: f64) -> Self {
        (self.temperatures, self.annealing) = ([start, end], share);
        self
    }

    /// The weight of the penalty of [`Code::L1`], in nats; by default 1.
    pub fn penalty(mut self, weight: f32) -> Self {
        self.penalty = weight;
        self
    }

    /// Rows of a step; by default 100.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows;
        self
    }

    /// Passes over the data; by default 120.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// The highest learning rate; by default 2e-3.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.learning_rate = rate;
        self
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<Sparse> {
        let counted = [("size", self.size), ("bound", self.bound), ("batch", self.batch), ("epochs", self.epochs)];
        if let Some((name, _)) = counted.into_iter().find(|&(_, value)| value == 0) {
            return Err(Error::argument(name, "must be at least 1"));
        }
        if self.bound > self.size {
            let message = format!("{} active features of {} that there are", self.bound, self.size);
            return Err(Error::argument("bound", message));
        }
        if self.bound > MAX_K {
            return Err(Error::argument("bound", format!("{} is more than {MAX_K}", self.bound)));
        }
        if let Some(at) = self.hidden.iter().position(|&width| width == 0) {
            return Err(Error::argument("hidden", format!("layer {at} has width 0")));
        }
        let mut positive =
            vec![("noise", self.noise), ("atom_scale", self.atom_scale), ("learning_rate", self.learning_rate)];
        positive.extend(self.temperatures.map(|temperature| ("temperatures", temperature)));
        if let CountPrior::Geometric(rho) = self.prior {
            positive.push(("prior", rho));
        }
        if let Some((name, value)) = positive.into_iter().find(|&(_, value)| !(value.is_finite() && value > 0.0)) {
            return Err(Error::argument(name, format!("{value} is not a positive number")));
        }
        for (name, weight) in [("boost", self.boost), ("penalty", self.penalty)] {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(Error::argument(name, format!("{weight} is not a number from 0 on")));
            }
        }
        for (name, share) in [("ramp", self.ramp), ("temperatures", self.annealing)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::argument(name, format!("{share} is not a share of training from 0 to 1")));
            }
        }
        Ok(Sparse { params: self })
    }

    /// Checks, before anything of that size is made, that model and data fit the adapter.
    pub(super) fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        let outside = data.values().iter().find(|value| !(0.0..=1.0).contains(*value));
        if let (Likelihood::Bernoulli, Some(value)) = (self.likelihood, outside) {
            let message = format!("a Bernoulli likelihood needs values from 0 to 1; {} has {value}", data.name());
            return Err(Error::argument("likelihood", message));
        }
        let (size, cols) = (self.size as u128, data.cols() as u128);
        let widths: Vec<u128> = std::iter::once(cols).chain(self.hidden.iter().map(|&width| width as u128)).collect();
        for pair in widths.windows(2) {
            fits(gpu, "hidden", &format!("a layer of {} by {} weights", pair[0], pair[1]), pair[0] * pair[1])?;
        }
        fits(gpu, "size", "a layer between the last hidden one and features", widths[widths.len() - 1] * size)?;
        if self.decoder == DecoderKind::Linear {
            fits(gpu, "size", "the dictionary", size * cols)?;
        }
        let rows = self.batch.min(data.rows()) as u128;
        let decoded = rows * if self.code == Code::Sparse { self.bound as u128 } else { 1 };
        fits(gpu, "bound", "the masks of a batch", decoded * size)?;
        let widest = widths.into_iter().max().unwrap_or(cols);
        fits(gpu, "batch", "what the decoder makes of a batch", decoded * widest)?;
        countable("epochs", self.epochs, (data.rows() / self.batch).max(1))
    }

    /// The weight of the divergences after a share of training.
    pub(super) fn weight(&self, done: f64) -> f32 {
        if done < self.ramp { (done / self.ramp) as f32 } else { 1.0 }
    }

    /// The boost of the divergences from uniform counts and choices after a share of training.
    pub(super) fn boost_at(&self, done: f64) -> f32 {
        self.boost * (1.0 - self.weight(done))
    }

    /// The temperature of relaxed draws.
    pub(super) fn temperature(&self, done: f64) -> f32 {
        let [start, end] = self.temperatures.map(f64::from);
        let share = if done < self.annealing { done / self.annealing } else { 1.0 };
        (start * (end / start).powf(share)) as f32
    }

    /// `log π` of the counts 1, 2 .. bound.
    pub(super) fn log_prior(&self) -> Vec<f64> {
        let ratio = match self.prior {
            CountPrior::Uniform => 0.0,
            CountPrior::Geometric(rho) => f64::from(rho).ln(),
        };
        let logits: Vec<f64> = (0..self.bound).map(|count| count as f64 * ratio).collect();
        let largest = logits.iter().copied().fold(f64::MIN, f64::max);
        let total = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
        logits.iter().map(|logit| logit - total).collect()
    }
}
