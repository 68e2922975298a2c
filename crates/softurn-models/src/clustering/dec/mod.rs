//! Deep embedded clustering (DEC: Xie, Girshick, Farhadi, ICML 2016) and its form that goes on reconstructing (IDEC: Guo, Gao,
//! Liu, Yin, IJCAI 2017).
//!
//! An autoencoder is trained by reconstruction, and k-means in its latent space gives the first centres `μ`. Then a row's
//! groups are those of a Student kernel, `q_c ∝ (1 + ‖z - μ_c‖²)⁻¹`, targets `p_c ∝ q_c² / Σ_rows q_c` are surer of what
//! `q` says, and encoder and centres minimise `KL(p ‖ q) + w · ‖x - decoder(z)‖²`: [`Params::reconstruction`] is `w`, 0 for
//! DEC. Targets come from all rows and stay for a while; training ends when the groups hardly change any more.

mod loss;
mod params;
#[cfg(test)]
mod tests;

use std::path::Path;

use ndarray::Array2;
use softurn_autodiff::Parameters;
use softurn_kernels::{Gpu, Key, Tensor};

pub use params::Params;

use self::loss::Model;
use super::features::Scaling;
use super::tally::group_sizes;
use crate::Result;
use crate::data::{Dataset, ImageShape};
use crate::saved::{Reader, Writer};
use crate::train::{self, Session};

/// The weight of reconstruction in [`Dec::idec`].
const RECONSTRUCTION: f32 = 0.1;

/// DEC or IDEC with settings that have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Dec {
    params: Params,
}

impl Dec {
    /// Settings of DEC for `k` clusters, to be changed one by one and then checked.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::clustering::dec::Dec;
    /// use softurn_models::data;
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let digits = data::load("digits", None)?;
    /// let fitted = Dec::idec(10).check()?.fit(&gpu, &digits, Key::new(0))?;
    /// println!("{:?}", fitted.group_sizes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(k: usize) -> Params {
        Params::new(k, 0.0)
    }

    /// Settings of IDEC for `k` clusters: those of DEC, and reconstruction of weight 0.1.
    pub fn idec(k: usize) -> Params {
        Params::new(k, RECONSTRUCTION)
    }

    /// Learns the clusters of a data set; its labels are not looked at. Tables are standardised.
    ///
    /// # Errors
    /// When `k` exceeds the rows, the model does not fit the adapter, or training diverges.
    pub fn fit(&self, gpu: &Gpu, data: &Dataset, key: Key) -> Result<FittedDec> {
        self.fit_with(gpu, data, key, &mut Session::default())
    }

    /// As [`Dec::fit`], watched and kept by a session.
    ///
    /// # Errors
    /// As [`Dec::fit`], and what happens to the checkpoint.
    pub fn fit_with(&self, gpu: &Gpu, data: &Dataset, key: Key, session: &mut Session<'_>) -> Result<FittedDec> {
        self.start(gpu, data, key)?.run(session)
    }

    /// Checks the settings against data and adapter, at no cost; [`Dec::start`] does it too.
    ///
    /// # Errors
    /// The first setting that asks for more than there is.
    pub fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        self.params.check_data(gpu, data)
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
        let model = Model::new(gpu, &self.params, scaling, data.image(), Some(data), &mut parameters, init_key)?;
        Ok(Training { model, parameters, sizes: [data.rows(), self.params.batch.min(data.rows())], key })
    }

    /// `[pretraining, clustering]` epochs for a data set of so many rows, at most.
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
    pub fn run(mut self, session: &mut Session<'_>) -> Result<FittedDec> {
        let gpu = self.parameters.gpu().clone();
        train::run(&gpu, &self.model, &mut self.parameters, self.sizes, self.key, session)?;
        let objective = train::evaluate(&gpu, &self.model, &self.parameters, self.sizes, self.key)?;
        let labels = self.model.labels(&self.parameters)?;
        Ok(FittedDec { model: self.model, parameters: self.parameters, labels, objective })
    }
}

/// A fitted model.
#[derive(Debug)]
pub struct FittedDec {
    model: Model,
    parameters: Parameters,
    labels: Vec<u32>,
    objective: f64,
}

impl FittedDec {
    /// The group of every row that was fitted, each less than `k`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The loss of the last phase over all rows: the lower of two fits with the same settings is the better.
    pub fn objective(&self) -> f64 {
        self.objective
    }

    /// Rows in every group, `[k]`.
    pub fn group_sizes(&self) -> Vec<usize> {
        group_sizes(&self.labels, self.model.params.k)
    }

    /// `q`, the probabilities of each row's groups, `[rows, k]`.
    ///
    /// # Errors
    /// When the data has another number of columns than the model was fitted on.
    pub fn predict_proba(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, |x| self.model.assignments(&self.parameters, x))
    }

    /// The most likely group of each row.
    ///
    /// # Errors
    /// As [`FittedDec::predict_proba`].
    pub fn predict(&self, data: &Dataset) -> Result<Vec<u32>> {
        let q = self.predict_proba(data)?;
        Ok(loss::likeliest(q.as_slice().unwrap_or_default(), self.model.params.k))
    }

    /// The latent places, `[rows, latent]`.
    ///
    /// # Errors
    /// As [`FittedDec::predict_proba`].
    pub fn transform(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.by_blocks(data, |x| self.model.encode(&self.parameters, x))
    }

    fn by_blocks(&self, data: &Dataset, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Array2<f32>> {
        self.model.scaling.map(&self.model.gpu, data, self.model.layers.block(), f)
    }

    /// Writes the model to a safetensors file, in the place of one that may be there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut writer = Writer::default();
        writer.parameters(&self.parameters)?;
        writer.labels(&self.labels);
        writer.write(
            path.as_ref(),
            METHOD,
            &(&self.model.params, &self.model.scaling, self.model.layers.image(), self.objective),
        )
    }

    /// Reads a model that [`FittedDec::save`] wrote; it predicts with the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, of another method, or its model does not fit the adapter.
    pub fn load(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Self> {
        let (reader, (params, scaling, image, objective)): (_, Settings) = Reader::open(path.as_ref(), METHOD)?;
        let params = params.check()?.params;
        let mut parameters = Parameters::new(gpu);
        let model = Model::new(gpu, &params, scaling, image, None, &mut parameters, Key::new(0))?;
        reader.parameters(&mut parameters)?;
        let labels = reader.labels(params.k)?;
        Ok(Self { model, parameters, labels, objective })
    }
}

/// What files call it, with or without reconstruction.
const METHOD: &str = "dec";
/// What they hold besides parameters and labels.
type Settings = (Params, Scaling, Option<ImageShape>, f64);
