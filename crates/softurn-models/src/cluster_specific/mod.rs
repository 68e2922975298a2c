//! A representation for each cluster, learned together with the clusters.
//!
//! Data with clusters are badly served by one representation for all rows. Here each of `k` clusters has a head, a copy of what a
//! [`Framework`] learns, and each row `x_i` belongs to one of them. With the loss `ℓ_ji` of row `i` in head `j`,
//!
//! `(1/n) Σ_i ℓ_{s_i i}`
//!
//! is minimised over all heads and the assignment `s`, in turns: steps of gradient descent on the heads, then a Lloyd step, in which each
//! row chooses the head with its lowest loss and the centres move to the means of their rows. Frameworks for which distances
//! mean something get `x_i - c_j`. What a framework does not copy for each head is shared (partial tensorisation).
//!
//! Sabanayagam, Al-Dabooni and Esser, "Cluster specific representation learning" (arXiv 2412.03471), and, of autoencoders alone,
//! Esser, Mukherjee, Sabanayagam and Ghoshdastidar, "Improved representation learning through tensorized autoencoders" (AISTATS
//! 2023). Where their code differs from what is written here, what is written is meant: losses are compared on one scale, rows keep
//! their heads when they are shuffled, and in training heads without rows get one; in the end a head may be left without. Of several
//! starts the lowest objective wins, never labels.
//!
//! With `k = 1` a framework is the plain method.

mod assignment;
mod autoencoder;
mod boltzmann;
mod contrastive;
pub mod exact;
mod fitted;
mod framework;
mod params;
#[cfg(test)]
mod tests;
mod training;
mod undecided;
mod variational;
mod widths;

use softurn_autodiff::Parameters;
use softurn_kernels::{Gpu, Key};

pub use autoencoder::{Autoencoder, AutoencoderLayers, Weight};
pub use boltzmann::{BoltzmannLayers, BoltzmannMachine, Rule};
pub use contrastive::{Contrastive, ContrastiveLayers, Positives};
pub use fitted::{Encoding, Fitted};
pub use framework::{Blocks, Framework, HeadRows, Members, Reconstructs};
pub use params::{Params, Reassignment};
pub use undecided::Undecided;
pub use variational::{VariationalAutoencoder, VariationalLayers};
pub use widths::Width;

use self::assignment::lowest;
use self::training::Training;
use crate::clustering::selection::best_by;
use crate::data::Dataset;
use crate::train::{self, Session};
use crate::{Error, Result};

/// Checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSpecific<F> {
    params: Params<F>,
}

impl<F: Framework> ClusterSpecific<F> {
    /// Settings of `k` clusters and a framework, to be changed one by one and then checked.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::cluster_specific::{Autoencoder, ClusterSpecific};
    /// use softurn_models::data::LineClusters;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let data = LineClusters::ParallelLine.dataset()?;
    /// let method = ClusterSpecific::params(2, Autoencoder::new([1])).starts(10).check()?;
    /// let fitted = method.fit(&gpu, &data, Key::new(0))?;
    /// println!("{:?}", fitted.encode(&data)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(k: usize, framework: F) -> Params<F> {
        Params::new(k, framework)
    }

    /// Whether the model can learn from these data on this adapter, without doing so.
    ///
    /// # Errors
    /// When the values do not suit the framework, there are fewer rows than clusters, or something does not fit the adapter; names the
    /// setting.
    pub fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        self.params.check_data(gpu, data)
    }

    /// Learns from the rows of a data set, [`Params::starts`] times; labels are not looked at, unless the framework says so.
    ///
    /// # Errors
    /// As [`ClusterSpecific::check_data`], and when training diverges.
    pub fn fit(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<Fitted<F>> {
        Ok(self.fit_starts(gpu, data, key)?.0)
    }

    /// As [`ClusterSpecific::fit`], with the objectives of all starts.
    ///
    /// # Errors
    /// As [`ClusterSpecific::fit`].
    pub fn fit_starts(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<(Fitted<F>, Vec<f64>)> {
        let fit = |key| self.fit_with(gpu, data, key, &mut Session::default());
        best_by(self.params.starts, key, Fitted::objective, fit)
    }

    /// A single start, watched and kept by a session.
    ///
    /// # Errors
    /// As [`ClusterSpecific::fit`], and what happens to the checkpoint.
    pub fn fit_with(&self, gpu: &Gpu, data: &Dataset, key: Key, session: &mut Session<'_>) -> Result<Fitted<F>> {
        self.run(gpu, data, None, key, session)
    }

    /// A single start in which row `i` begins in head `start[i]`, instead of that of the nearest of `k` seeds.
    ///
    /// # Errors
    /// As [`ClusterSpecific::fit_with`], and when `start` is not a head for each row.
    pub fn fit_from(
        &self,
        gpu: &Gpu,
        data: &Dataset,
        start: &[u32],
        key: Key,
        session: &mut Session<'_>,
    ) -> Result<Fitted<F>> {
        if start.len() != data.rows() {
            return Err(Error::argument("start", format!("{} heads for {} rows", start.len(), data.rows())));
        }
        if let Some(head) = start.iter().find(|&&head| head as usize >= self.params.k) {
            return Err(Error::argument("start", format!("head {head} of {}", self.params.k)));
        }
        self.run(gpu, data, Some(start), key, session)
    }

    fn run(
        &self,
        gpu: &Gpu,
        data: &Dataset,
        start: Option<&[u32]>,
        key: Key,
        session: &mut Session<'_>,
    ) -> Result<Fitted<F>> {
        self.check_data(gpu, data)?;
        let [init_key, key] = key.split();
        let mut parameters = Parameters::new(gpu);
        let training = Training::new(gpu, &self.params, data, start, &mut parameters, init_key)?;
        let sizes = [data.rows(), self.params.rows_of_step(data.rows())];
        train::run(gpu, &training, &mut parameters, sizes, key, session)?;
        training.settle(&mut parameters)?;
        let losses = training.model.assignment_losses(&parameters, &training.blocks, Key::new(0))?;
        let labels = lowest(losses.view());
        let own = labels.iter().enumerate().map(|(row, &head)| f64::from(losses[[head as usize, row]]));
        let objective = training.objective(&parameters)?.unwrap_or_else(|| own.sum::<f64>() / data.rows() as f64);
        Ok(Fitted { labels, objective, model: training.model, parameters })
    }
}
