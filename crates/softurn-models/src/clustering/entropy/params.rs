//! Settings of discriminative entropy clustering and their checks.

use serde::{Deserialize, Serialize};
use softurn_kernels::Gpu;

use super::{Entropy, loss};
use crate::clustering::Start;
use crate::clustering::features::Views;
use crate::clustering::network::{Layers, countable, fits, table_fits};
use crate::data::Dataset;
use crate::{Error, Result};

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Loss {
    /// The mutual information of rows and groups, by gradient descent alone.
    MutualInformation,
    /// Reverse cross-entropy with soft labels in closed form.
    #[default]
    SelfLabel,
    /// Collision cross-entropy with soft labels, which come closer to hard ones.
    Collision,
}

/// What is known of the group sizes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum GroupSizes {
    /// All groups have the same size.
    Uniform,
    /// Each group's share of the rows; they sum to 1.
    Given(Vec<f32>),
    /// Nothing: shares are learned with the groups.
    #[default]
    Learned,
}

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Params {
    pub(super) k: usize,
    pub(super) loss: Loss,
    pub(super) sizes: GroupSizes,
    pub(super) lambda: Option<f32>,
    pub(super) gamma: f32,
    pub(super) start: Start,
    pub(super) channels: Vec<usize>,
    pub(super) hidden: Vec<usize>,
    pub(super) latent: usize,
    pub(super) neighbours: usize,
    pub(super) views: Views,
    pub(super) batch: Option<usize>,
    pub(super) pretrain_epochs: Option<usize>,
    pub(super) epochs: Option<usize>,
    pub(super) learning_rate: Option<f32>,
    pub(super) consistency: Option<f32>,
    pub(super) starts: usize,
}

impl Params {
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            loss: Loss::default(),
            sizes: GroupSizes::default(),
            lambda: None,
            gamma: 1e-3,
            start: Start::default(),
            channels: Vec::new(),
            hidden: Vec::new(),
            latent: 16,
            neighbours: 10,
            views: Views::default(),
            batch: None,
            pretrain_epochs: None,
            epochs: None,
            learning_rate: None,
            consistency: None,
            starts: 1,
        }
    }

    /// What is minimised.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// What is known of the group sizes.
    pub fn sizes(mut self, sizes: GroupSizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// `λ`, how much the group sizes weigh: from 0 to 10,000; unset: 1 for [`Loss::MutualInformation`], else 10. Uniform
    /// sizes of groups that are not call for 1 or less.
    pub fn lambda(mut self, lambda: f32) -> Self {
        self.lambda = Some(lambda);
        self
    }

    /// `γ`, the weight of the margin term, the squared weights of the last layer; by default 0.001.
    pub fn gamma(mut self, gamma: f32) -> Self {
        self.gamma = gamma;
        self
    }

    /// Where the groups come from that the first model starts with. Further linear models start at random.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Widths of convolutional layers before the hidden ones, for images: each halves their sides. None by default.
    pub fn channels(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.channels = widths.into();
        self
    }

    /// Widths of hidden layers. Without them and without convolutions, the default, the model is linear.
    pub fn hidden(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.hidden = widths.into();
        self
    }

    /// Dimensions of the space that a network ends in before its last layer; a linear model has none.
    pub fn latent(mut self, dimensions: usize) -> Self {
        self.latent = dimensions;
        self
    }

    /// The largest share of an image's sides that random views cut off, from 0 to below 1; by default 0.
    pub fn crop(mut self, share: f32) -> Self {
        self.views.crop = share;
        self
    }

    /// The standard deviation of the noise in random views; unset: 0 for images, 0.1 for tables, which are standardised.
    pub fn noise(mut self, deviation: f32) -> Self {
        self.views.noise = Some(deviation);
        self
    }

    /// How many nearest rows count as alike in a network's pretraining.
    pub fn neighbours(mut self, count: usize) -> Self {
        self.neighbours = count;
        self
    }

    /// Rows of a minibatch, over which group sizes are weighed: at least ten per group are wise. Unset: 2,048 for a
    /// linear model, else 256.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = Some(rows);
        self
    }

    /// Epochs of a network's contrastive pretraining; unset: enough for 1,400 steps, and no fewer than 20.
    pub fn pretrain_epochs(mut self, epochs: usize) -> Self {
        self.pretrain_epochs = Some(epochs);
        self
    }

    /// Epochs of each start; unset: enough for 600 steps of a linear model, else for 280 and no fewer than 8.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// The highest learning rate; unset: 0.05 for a linear model, else 0.0005, and six times as much in pretraining.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.learning_rate = Some(rate);
        self
    }

    /// The weight of `KL(σ(x) ‖ σ(view of x))`, which asks for the same groups under random views; unset: 0 for a linear
    /// model, else 1.
    pub fn consistency(mut self, weight: f32) -> Self {
        self.consistency = Some(weight);
        self
    }

    /// Models that are trained one after another, of which the lowest objective wins, from 1 to 10; by default 1.
    pub fn starts(mut self, starts: usize) -> Self {
        self.starts = starts;
        self
    }

    /// Whether the model has no layer but the last.
    pub(super) fn is_linear(&self) -> bool {
        self.hidden.is_empty() && self.channels.is_empty()
    }

    fn linear_or<T>(&self, set: Option<T>, linear: T, deep: T) -> T {
        set.unwrap_or(if self.is_linear() { linear } else { deep })
    }

    pub(super) fn resolved_batch(&self, rows: usize) -> usize {
        self.linear_or(self.batch, 2048, 256).min(rows)
    }

    pub(super) fn resolved_lambda(&self) -> f32 {
        self.lambda.unwrap_or(if self.loss == Loss::MutualInformation { 1.0 } else { 10.0 })
    }

    pub(super) fn resolved_rate(&self) -> f32 {
        self.linear_or(self.learning_rate, 0.05, 5e-4)
    }

    pub(super) fn resolved_consistency(&self) -> f32 {
        self.linear_or(self.consistency, 0.0, 1.0)
    }

    /// `[pretraining, clustering]` epochs of each start for a data set of so many rows, with what was not set filled in; a
    /// linear model is not pretrained.
    pub fn resolved_epochs(&self, rows: usize) -> [usize; 2] {
        let steps = (rows / self.resolved_batch(rows).max(1)).max(1);
        let fill = |set: Option<usize>, wanted: usize, least: usize| set.unwrap_or(wanted.div_ceil(steps).max(least));
        match self.is_linear() {
            true => [0, fill(self.epochs, 600, 1)],
            false => [fill(self.pretrain_epochs, 1400, 20), fill(self.epochs, 280, 8)],
        }
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<Entropy> {
        let positive = [
            ("k", Some(self.k)),
            ("batch", self.batch),
            ("epochs", self.epochs),
            ("pretrain_epochs", self.pretrain_epochs),
            ("latent", Some(self.latent)),
            ("neighbours", Some(self.neighbours)),
        ];
        for (name, value) in positive {
            if value == Some(0) {
                return Err(Error::argument(name, "must be at least 1"));
            }
        }
        let lambda = self.resolved_lambda();
        if !(0.0..=1e4).contains(&lambda) {
            return Err(Error::argument("lambda", format!("{lambda} is not in 0..=10000")));
        }
        for (name, value) in [("gamma", self.gamma), ("consistency", self.resolved_consistency())] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::argument(name, format!("{value} is not 0 or a positive number")));
            }
        }
        self.views.check()?;
        let rate = self.resolved_rate();
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Error::argument("learning_rate", format!("{rate} is not a positive number")));
        }
        for (name, widths) in [("channels", &self.channels), ("hidden", &self.hidden)] {
            if widths.contains(&0) {
                return Err(Error::argument(name, "has a layer of width 0"));
            }
        }
        if !(1..=loss::STARTS.len()).contains(&self.starts) {
            return Err(Error::argument("starts", format!("must be 1 to {}", loss::STARTS.len())));
        }
        if let GroupSizes::Given(shares) = &self.sizes {
            let total: f32 = shares.iter().sum();
            if shares.len() != self.k {
                return Err(Error::argument("sizes", format!("{} shares for {} groups", shares.len(), self.k)));
            }
            if !(shares.iter().all(|&share| share > 0.0) && (total - 1.0).abs() < 1e-3) {
                return Err(Error::argument("sizes", "must be positive shares that sum to 1"));
            }
        }
        Ok(Entropy { params: self })
    }

    /// Checks what depends on the data.
    pub(super) fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        if self.k > data.rows() {
            return Err(Error::argument("k", format!("{} clusters for {} rows", self.k, data.rows())));
        }
        self.views.check_data(data)?;
        if !self.is_linear() && self.neighbours >= data.rows() {
            let message =
                format!("{} rows, more than the {} neighbours of each are needed", data.rows(), self.neighbours);
            return Err(Error::argument("data", message));
        }
        let batch = self.resolved_batch(data.rows());
        let [pretrain, epochs] = self.resolved_epochs(data.rows());
        countable("pretrain_epochs", pretrain, (data.rows() / batch).max(1))?;
        countable("epochs", epochs, (data.rows() / batch).max(1))?;
        let layers = Layers::new(data.cols(), data.image(), &self.channels, &self.hidden);
        // Pretraining takes a neighbour of each row along.
        let taken = if self.is_linear() { batch } else { 2 * batch };
        layers.check(gpu, data, taken)?;
        let last = if self.is_linear() { data.cols() } else { self.latent };
        if !self.is_linear() {
            table_fits(gpu, "batch", "the table of all pairs of a batch", [taken, taken])?;
            table_fits(gpu, "latent", "the layer of unit vectors", [layers.outputs(), self.latent])?;
            table_fits(gpu, "latent", "the unit vectors of all rows", [data.rows(), self.latent])?;
        }
        table_fits(gpu, "k", "the last layer", [last, self.k])?;
        table_fits(gpu, "k", "the groups' probabilities of all rows", [data.rows(), self.k])?;
        if self.sizes == GroupSizes::Learned {
            let draws = batch.min(loss::SIZE_ROWS) as u128 + 1;
            fits(gpu, "k", "the table of the group sizes' law", (self.k as u128).pow(2) * draws)?;
        }
        Ok(())
    }
}
