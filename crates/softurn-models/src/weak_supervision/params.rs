//! Settings of the models of pairs, and their checks.

use serde::{Deserialize, Serialize};

use super::WeakSupervision;
use crate::data::ImageShape;
use crate::distributions::Temperature;
use crate::{Error, Result};

/// How a model decides which latent dimensions two views share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Model {
    /// It is told how many factors are shared: as large a share of the dimensions, those with the most similar posteriors.
    LabelVae,
    /// Those whose divergence is below the middle between the smallest and the largest (Locatello et al. 2020).
    AdaVae,
    /// As many as a draw from a noncentral hypergeometric law says, whose weights are learned from the divergences; those with
    /// the most similar posteriors (Sutter et al. 2023).
    HypergeometricVae,
    /// A random partition of the dimensions, with sizes of the same law and an order by the divergences.
    PartitionVae,
}

/// What the views agree on in a dimension that they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Averaging {
    /// Means of means and of variances (GVAE: Hosoya 2019).
    #[default]
    Mean,
    /// The product of both Gaussians, at twice its variance (ML-VAE: Bouchacourt et al. 2018): means weighted by precisions.
    Precision,
}

/// How often the divergence of a shared dimension from its prior counts in a pair's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counting {
    /// Once, as both views have one latent there: the evidence lower bound of the pair. To share pays, and the default
    /// of models that learn how much is shared.
    Once,
    /// For both views, as in the published code of AdaVAE: a looser bound, under which to share never pays. The default of
    /// models whose number of shared dimensions has no gradient.
    Twice,
}

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Params {
    pub(super) model: Model,
    pub(super) shared: usize,
    pub(super) averaging: Averaging,
    pub(super) counting: Counting,
    pub(super) latent: usize,
    pub(super) beta: f32,
    pub(super) batch: usize,
    pub(super) steps: usize,
    pub(super) learning_rate: f32,
    pub(super) temperature: f32,
}

impl Params {
    pub(super) fn new(model: Model, shared: usize) -> Self {
        Self {
            model,
            shared,
            averaging: Averaging::default(),
            counting: match model {
                Model::HypergeometricVae | Model::PartitionVae => Counting::Once,
                Model::LabelVae | Model::AdaVae => Counting::Twice,
            },
            latent: 10,
            beta: 1.0,
            batch: 64,
            steps: 300_000,
            learning_rate: 1e-4,
            temperature: 1.0,
        }
    }

    /// What the views agree on in a dimension that they share.
    pub fn averaging(mut self, averaging: Averaging) -> Self {
        self.averaging = averaging;
        self
    }

    /// How often the divergence of a shared dimension counts.
    pub fn counting(mut self, counting: Counting) -> Self {
        self.counting = counting;
        self
    }

    /// Dimensions of the latent space.
    pub fn latent(mut self, dimensions: usize) -> Self {
        self.latent = dimensions;
        self
    }

    /// The weight of the divergence from the standard normal prior; by default 1.
    pub fn beta(mut self, beta: f32) -> Self {
        self.beta = beta;
        self
    }

    /// Pairs of a step.
    pub fn batch(mut self, pairs: usize) -> Self {
        self.batch = pairs;
        self
    }

    /// Steps of training, rounded up to whole epochs of [`STEPS`](super::STEPS).
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// The highest learning rate.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.learning_rate = rate;
        self
    }

    /// The temperature of the gradients through numbers and order.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<WeakSupervision> {
        for (name, value) in [("latent", self.latent), ("batch", self.batch), ("steps", self.steps)] {
            if value == 0 {
                return Err(Error::argument(name, "must be at least 1"));
            }
        }
        if !(self.beta.is_finite() && self.beta >= 0.0) {
            return Err(Error::argument("beta", format!("{} is not a number from 0 on", self.beta)));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::argument("learning_rate", format!("{} is not a positive number", self.learning_rate)));
        }
        Temperature::new(self.temperature)?;
        Ok(WeakSupervision { params: self })
    }

    /// Checks what depends on the images: their shape and the number of their factors.
    pub(super) fn check_data(&self, (shape, factors): (ImageShape, usize)) -> Result<()> {
        for (name, side) in [("height", shape.height), ("width", shape.width)] {
            if side == 0 || !side.is_multiple_of(super::network::HALVINGS) {
                let message =
                    format!("images of {name} {side}: the network needs multiples of {}", super::network::HALVINGS);
                return Err(Error::argument("data", message));
            }
        }
        if self.shared >= factors {
            let message = format!("{} of {factors} factors; at least one differs", self.shared);
            return Err(Error::argument("shared", message));
        }
        Ok(())
    }
}
