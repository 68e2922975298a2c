//! Settings of deep embedded clustering and their checks.

use serde::{Deserialize, Serialize};
use softurn_kernels::Gpu;

use super::Dec;
use crate::clustering::network::{Layers, countable, table_fits};
use crate::data::Dataset;
use crate::{Error, Result};

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Params {
    pub(super) k: usize,
    pub(super) channels: Vec<usize>,
    pub(super) hidden: Vec<usize>,
    pub(super) latent: usize,
    pub(super) batch: usize,
    pub(super) pretrain_epochs: Option<usize>,
    pub(super) epochs: Option<usize>,
    pub(super) learning_rate: f32,
    pub(super) reconstruction: f32,
    pub(super) refresh: usize,
    pub(super) tolerance: f64,
}

impl Params {
    pub(super) fn new(k: usize, reconstruction: f32) -> Self {
        Self {
            k,
            channels: Vec::new(),
            hidden: vec![256, 128],
            latent: 10,
            batch: 256,
            pretrain_epochs: None,
            epochs: None,
            learning_rate: 1e-3,
            reconstruction,
            refresh: 140,
            tolerance: 1e-3,
        }
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

    /// Rows of a minibatch.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows;
        self
    }

    /// Epochs of pretraining as an autoencoder; unset: enough for 3,500 steps, and no fewer than 20.
    pub fn pretrain_epochs(mut self, epochs: usize) -> Self {
        self.pretrain_epochs = Some(epochs);
        self
    }

    /// The most epochs of clustering; unset: enough for 1,400 steps, and no fewer than 20.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// The highest learning rate of both phases.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.learning_rate = rate;
        self
    }

    /// The weight, beside the clustering loss, of a row's squared error of reconstruction summed over the columns. 0 is DEC,
    /// which forgets the decoder. Guo et al. weigh the clustering loss by 0.1 and take the mean over the columns: that is a
    /// weight of `10 / columns` here.
    pub fn reconstruction(mut self, weight: f32) -> Self {
        self.reconstruction = weight;
        self
    }

    /// After how many steps the targets are computed afresh from all rows; they also are when an epoch begins.
    pub fn refresh(mut self, steps: usize) -> Self {
        self.refresh = steps;
        self
    }

    /// Training ends when an epoch changes the groups of no more than this share of the rows.
    pub fn tolerance(mut self, share: f64) -> Self {
        self.tolerance = share;
        self
    }

    /// `[pretraining, clustering]` epochs for a data set of so many rows, with what was not set filled in.
    pub(super) fn resolved_epochs(&self, rows: usize) -> [usize; 2] {
        let steps = (rows / self.batch.max(1)).max(1);
        let fill = |set: Option<usize>, wanted: usize| set.unwrap_or(wanted.div_ceil(steps).max(20));
        [fill(self.pretrain_epochs, 3500), fill(self.epochs, 1400)]
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<Dec> {
        let positive = [
            ("k", Some(self.k)),
            ("latent", Some(self.latent)),
            ("batch", Some(self.batch)),
            ("refresh", Some(self.refresh)),
            ("pretrain_epochs", self.pretrain_epochs),
            ("epochs", self.epochs),
        ];
        if let Some((name, _)) = positive.into_iter().find(|&(_, value)| value == Some(0)) {
            return Err(Error::argument(name, "must be at least 1"));
        }
        if self.channels.contains(&0) {
            return Err(Error::argument("channels", "has a layer of width 0"));
        }
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return Err(Error::argument("hidden", "needs at least one layer, and no layer of width 0"));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::argument("learning_rate", format!("{} is not a positive number", self.learning_rate)));
        }
        if !(self.reconstruction.is_finite() && self.reconstruction >= 0.0) {
            let message = format!("{} is not 0 or a positive number", self.reconstruction);
            return Err(Error::argument("reconstruction", message));
        }
        if !(0.0..=1.0).contains(&self.tolerance) {
            return Err(Error::argument("tolerance", format!("{} is not a share in 0..=1", self.tolerance)));
        }
        Ok(Dec { params: self })
    }

    /// Checks what depends on the data.
    pub(super) fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        if self.k > data.rows() {
            return Err(Error::argument("k", format!("{} clusters for {} rows", self.k, data.rows())));
        }
        let steps = (data.rows() / self.batch).max(1);
        let [pretrain, epochs] = self.resolved_epochs(data.rows());
        countable("pretrain_epochs", pretrain, steps)?;
        countable("epochs", epochs, steps)?;
        let layers = Layers::new(data.cols(), data.image(), &self.channels, &self.hidden);
        layers.check(gpu, data, self.batch.min(data.rows()))?;
        table_fits(gpu, "latent", "the layer of the latent space", [layers.outputs(), self.latent])?;
        table_fits(gpu, "latent", "the latent places of all rows", [data.rows(), self.latent])?;
        table_fits(gpu, "k", "the targets of all rows", [data.rows(), self.k])
    }
}
