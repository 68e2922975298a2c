//! Settings of variational deep clustering and their checks.

use serde::{Deserialize, Serialize};
use softurn_kernels::Gpu;

use super::Variational;
use crate::clustering::Start;
use crate::clustering::features::Views;
use crate::clustering::network::{Layers, countable, fits, table_fits};
use crate::data::Dataset;
use crate::distributions::Temperature;
use crate::{Error, Result};

/// The law of the group sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Prior {
    /// All groups are equally likely, for good.
    Uniform,
    /// Learned proportions; rows are independent.
    Categorical,
    /// Learned weights of a noncentral hypergeometric law: the sizes of a batch are drawn together, and their shares are
    /// its proportions.
    #[default]
    Hypergeometric,
    /// The same law as the probability of the assignments themselves: that of their sizes, all assignments with these
    /// sizes being equally likely.
    Exchangeable,
}

/// What the encoder learns before there are groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Pretraining {
    /// To tell a row and its neighbours, under random views, from other rows; the contrast stays on afterwards.
    #[default]
    Contrast,
    /// To be decoded, with the decoder. Neither neighbours nor views are used: for rows that have none worth the name, and
    /// for more rows than can be compared with each other.
    Reconstruction,
}

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Params {
    pub(super) k: usize,
    pub(super) prior: Prior,
    pub(super) pretraining: Pretraining,
    pub(super) start: Start,
    pub(super) channels: Vec<usize>,
    pub(super) hidden: Vec<usize>,
    pub(super) latent: usize,
    pub(super) batch: usize,
    pub(super) pretrain_epochs: Option<usize>,
    pub(super) epochs: Option<usize>,
    pub(super) learning_rate: f32,
    pub(super) temperature: f32,
    pub(super) neighbours: usize,
    pub(super) views: Views,
}

impl Params {
    pub(in crate::clustering) fn new(k: usize) -> Self {
        Self {
            k,
            prior: Prior::default(),
            pretraining: Pretraining::default(),
            start: Start::default(),
            channels: Vec::new(),
            hidden: vec![256, 128],
            latent: 16,
            batch: 256,
            pretrain_epochs: None,
            epochs: None,
            learning_rate: 5e-4,
            temperature: 1.0,
            neighbours: 10,
            views: Views::default(),
        }
    }

    /// The law of the group sizes.
    pub fn prior(mut self, prior: Prior) -> Self {
        self.prior = prior;
        self
    }

    /// What the encoder learns first.
    pub fn pretraining(mut self, pretraining: Pretraining) -> Self {
        self.pretraining = pretraining;
        self
    }

    /// Where the first groups come from.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Widths of convolutional layers before the hidden ones, for images: each halves their sides. None by default.
    pub fn channels(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.channels = widths.into();
        self
    }

    /// Widths of the encoder's hidden layers; the decoder mirrors them.
    pub fn hidden(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.hidden = widths.into();
        self
    }

    /// Dimensions of the latent space.
    pub fn latent(mut self, dimensions: usize) -> Self {
        self.latent = dimensions;
        self
    }

    /// Rows of a minibatch; each brings a neighbour along.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows;
        self
    }

    /// Epochs of pretraining; unset: enough for 1,400 steps, and no fewer than 20.
    pub fn pretrain_epochs(mut self, epochs: usize) -> Self {
        self.pretrain_epochs = Some(epochs);
        self
    }

    /// Epochs of clustering; unset: enough for 280 steps, and no fewer than 8.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// The highest learning rate of clustering; pretraining takes six times as much.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.learning_rate = rate;
        self
    }

    /// The temperature of the hypergeometric prior's straight-through gradient.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
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

    /// How many nearest rows count as alike in pretraining.
    pub fn neighbours(mut self, count: usize) -> Self {
        self.neighbours = count;
        self
    }

    pub(in crate::clustering) fn resolved_batch(&self, rows: usize) -> usize {
        self.batch.min(rows)
    }

    /// `[pretraining, clustering]` epochs for a data set of so many rows, with what was not set filled in.
    pub fn resolved_epochs(&self, rows: usize) -> [usize; 2] {
        let steps = (rows / self.batch.max(1)).max(1);
        let fill = |set: Option<usize>, wanted: usize, least: usize| set.unwrap_or(wanted.div_ceil(steps).max(least));
        [fill(self.pretrain_epochs, 1400, 20), fill(self.epochs, 280, 8)]
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<Variational> {
        let positive = [("k", self.k), ("latent", self.latent), ("batch", self.batch), ("neighbours", self.neighbours)];
        if let Some((name, _)) = positive.into_iter().find(|&(_, value)| value == 0) {
            return Err(Error::argument(name, "must be at least 1"));
        }
        if self.batch < 2 {
            return Err(Error::argument("batch", "must be at least 2"));
        }
        if self.batch as u128 * self.k as u128 >= 1 << 24 {
            return Err(Error::argument("batch", "times k must be below 2^24"));
        }
        if self.channels.contains(&0) {
            return Err(Error::argument("channels", "has a layer of width 0"));
        }
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return Err(Error::argument("hidden", "needs at least one layer, and no layer of width 0"));
        }
        self.views.check()?;
        if self.pretraining == Pretraining::Reconstruction && self.views != Views::default() {
            let name = if self.views.crop > 0.0 { "crop" } else { "noise" };
            return Err(Error::argument(name, "pretraining by reconstruction has no random views"));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::argument("learning_rate", format!("{} is not a positive number", self.learning_rate)));
        }
        Temperature::new(self.temperature)?;
        Ok(Variational { params: self })
    }

    /// Checks what depends on the data.
    pub(in crate::clustering) fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        if self.k > data.rows() {
            return Err(Error::argument("k", format!("{} clusters for {} rows", self.k, data.rows())));
        }
        self.views.check_data(data)?;
        let contrast = self.pretraining == Pretraining::Contrast;
        if contrast && self.neighbours >= data.rows() {
            let message =
                format!("{} rows, more than the {} neighbours of each are needed", data.rows(), self.neighbours);
            return Err(Error::argument("data", message));
        }
        let steps = (data.rows() / self.batch).max(1);
        let [pretrain, epochs] = self.resolved_epochs(data.rows());
        countable("pretrain_epochs", pretrain, steps)?;
        countable("epochs", epochs, steps)?;
        let pairs = self.batch.min(data.rows()) * if contrast { 2 } else { 1 };
        if contrast {
            fits(gpu, "batch", "the table of all pairs of a batch", (pairs as u128).pow(2))?;
        }
        let layers = Layers::new(data.cols(), data.image(), &self.channels, &self.hidden);
        layers.check(gpu, data, pairs)?;
        // Outside of training, rows go through in blocks.
        let rows = pairs.max(layers.block().min(data.rows()));
        table_fits(gpu, "latent", "the layer of latent means", [layers.outputs(), self.latent])?;
        table_fits(gpu, "latent", "the latent means of all rows", [pairs.max(data.rows()), self.latent])?;
        table_fits(gpu, "k", "the mixture", [self.k, self.latent])?;
        table_fits(gpu, "k", "the groups' probabilities", [rows, self.k])?;
        if self.prior == Prior::Hypergeometric {
            let draws = self.batch.min(data.rows()) as u128 + 1;
            fits(gpu, "k", "the table of the group sizes' law", (self.k as u128).pow(2) * draws)?;
        }
        Ok(())
    }
}
