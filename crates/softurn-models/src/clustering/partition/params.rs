//! Settings of random-partition clustering and their checks.

use softurn_kernels::Gpu;

use super::Partition;
use crate::clustering::Start;
use crate::clustering::variational::{self, Pretraining};
use crate::data::Dataset;
use crate::distributions::Temperature;
use crate::{Error, Result};

/// Where the weights of a batch's partition come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// From the mean responsibilities of the batch, without a gradient, as in the paper.
    #[default]
    Responsibilities,
    /// Learned, by a gradient through the sampler.
    Learned,
}

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Encoder, mixture, phases and epochs are those of `variational`.
    pub(super) base: variational::Params,
    pub(super) weights: Weights,
    pub(super) beta: f32,
    pub(super) gamma: f32,
    pub(super) delta: f32,
    pub(super) temperature: f32,
}

impl Params {
    pub(super) fn new(k: usize) -> Self {
        Self {
            base: variational::Params::new(k),
            weights: Weights::default(),
            beta: 1.0,
            gamma: 1.0,
            delta: 0.01,
            temperature: 1.0,
        }
    }

    /// Where the weights of a batch's partition come from.
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// `β`, how much the divergence of the latents from their group's Gaussian counts; by default 1.
    pub fn beta(mut self, beta: f32) -> Self {
        self.beta = beta;
        self
    }

    /// `γ`, how much the group sizes' divergence from the prior counts; by default 1.
    pub fn gamma(mut self, gamma: f32) -> Self {
        self.gamma = gamma;
        self
    }

    /// `δ`, how much the order's log-probability counts; by default 0.01.
    pub fn delta(mut self, delta: f32) -> Self {
        self.delta = delta;
        self
    }

    /// The temperature of the gradients through sizes and order.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// What the encoder learns first.
    pub fn pretraining(mut self, pretraining: Pretraining) -> Self {
        self.base = self.base.pretraining(pretraining);
        self
    }

    /// Where the first groups come from.
    pub fn start(mut self, start: Start) -> Self {
        self.base = self.base.start(start);
        self
    }

    /// Widths of convolutional layers before the hidden ones, for images: each halves their sides. None by default.
    pub fn channels(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.base = self.base.channels(widths);
        self
    }

    /// Widths of the encoder's hidden layers; the decoder mirrors them.
    pub fn hidden(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.base = self.base.hidden(widths);
        self
    }

    /// Dimensions of the latent space.
    pub fn latent(mut self, dimensions: usize) -> Self {
        self.base = self.base.latent(dimensions);
        self
    }

    /// Rows of a minibatch; each brings a neighbour along, and all of them are partitioned together.
    pub fn batch(mut self, rows: usize) -> Self {
        self.base = self.base.batch(rows);
        self
    }

    /// Epochs of pretraining; unset: enough for 1,400 steps, and no fewer than 20.
    pub fn pretrain_epochs(mut self, epochs: usize) -> Self {
        self.base = self.base.pretrain_epochs(epochs);
        self
    }

    /// Epochs of clustering; unset: enough for 280 steps, and no fewer than 8.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.base = self.base.epochs(epochs);
        self
    }

    /// The highest learning rate of clustering; pretraining takes six times as much.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.base = self.base.learning_rate(rate);
        self
    }

    /// The largest share of an image's sides that random views cut off, from 0 to below 1; by default 0.
    pub fn crop(mut self, share: f32) -> Self {
        self.base = self.base.crop(share);
        self
    }

    /// The standard deviation of the noise in random views; unset: 0 for images, 0.1 for tables, which are standardised.
    pub fn noise(mut self, deviation: f32) -> Self {
        self.base = self.base.noise(deviation);
        self
    }

    /// How many nearest rows count as alike in pretraining.
    pub fn neighbours(mut self, count: usize) -> Self {
        self.base = self.base.neighbours(count);
        self
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<Partition> {
        for (name, value) in [("beta", self.beta), ("gamma", self.gamma), ("delta", self.delta)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::argument(name, format!("{value} is not a number from 0 on")));
            }
        }
        Temperature::new(self.temperature)?;
        self.base.clone().check()?;
        Ok(Partition { params: self })
    }

    /// Checks what depends on the data.
    pub(super) fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        self.base.check_data(gpu, data)
    }
}
