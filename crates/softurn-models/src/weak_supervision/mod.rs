//! Weak supervision: pairs of images that share an unknown number of generative factors.
//!
//! A variational autoencoder sees two images that share some factors, and decides for each latent dimension whether the two
//! views share it: shared dimensions have one posterior, the average of both views', the others their own. Then both views
//! are decoded, and `½ Σ_v (E[-log p(x_v | z_v)] + β KL(q(z_v) ‖ N(0, 1)))` is minimised, in which the divergence of a shared
//! dimension may count once instead of for both views ([`Counting`]). The models differ in how the number of shared dimensions is found
//! ([`Model`]):
//!
//! * [`Model::LabelVae`] is told;
//! * [`Model::AdaVae`] takes the dimensions whose divergence between both posteriors is below the middle of its range (Locatello et
//!   al., "Weakly-supervised disentanglement without compromises", ICML 2020);
//! * [`Model::HypergeometricVae`] draws it from Fisher's noncentral hypergeometric law, with log-weights that a linear layer makes of
//!   the divergences, and shares the dimensions with the smallest ones; the straight-through gradient of the
//!   number reaches the weights (Sutter et al., "Learning group importance using the differentiable hypergeometric distribution",
//!   ICLR 2023). With two groups the law is univariate and exact;
//! * [`Model::PartitionVae`] draws a random partition, whose order, by the divergences, is learned too.
//!
//! The divergence of a dimension is `(KL(q₁ ‖ q₂) + KL(q₂ ‖ q₁)) / 2`, of which weights and order see `log(1 + ·)`.

mod evaluation;
mod loss;
mod network;
mod params;
#[cfg(test)]
mod tests;

use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis, Zip};
use serde::{Deserialize, Serialize};
use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::{Gpu, Key};

pub use evaluation::{Evaluation, FactorScore};
pub use params::{Averaging, Counting, Model, Params};

use self::loss::{Learner, Training, views};
use crate::data::{FactorImages, ImageShape};
use crate::train::{self, Session};
use crate::{Error, Result, saved};

/// How saved models are told apart.
const METHOD: &str = "weak_supervision";

/// Steps of an epoch: what is reported and may be resumed from.
pub const STEPS: usize = 100;
/// Pairs that go through the network at once when nothing is learned.
const BLOCK: usize = 256;

/// Checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct WeakSupervision {
    params: Params,
}

impl WeakSupervision {
    /// Settings of a model of pairs that share `shared` of the factors, to be changed one by one and then checked. The number
    /// serves to draw pairs; [`Model::LabelVae`] alone is told.
    ///
    /// ```no_run
    /// use softurn_kernels::{Gpu, GpuConfig, Key};
    /// use softurn_models::data::{Pairs, load_factor_images};
    /// use softurn_models::weak_supervision::{Model, WeakSupervision};
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let images = load_factor_images("images-idx4-ubyte.gz", "factors-idx2-ubyte.gz")?.reduced(2)?;
    /// let method = WeakSupervision::params(Model::HypergeometricVae, 3).steps(1500).check()?;
    /// let fitted = method.fit(&gpu, &images, Key::new(0))?;
    /// let pairs = Pairs::new(&images, 3)?.sample(100, Key::new(1));
    /// println!("{:?}", fitted.shared_share(&images, &pairs)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn params(model: Model, shared: usize) -> Params {
        Params::new(model, shared)
    }

    /// Whether the model can learn from these images, without doing so.
    ///
    /// # Errors
    /// When no pair shares so many factors, the grid of factors is not full, or the images do not suit the network.
    pub fn check_data(&self, images: &FactorImages) -> Result<()> {
        self.params.check_data((images.shape(), images.factors().len()))?;
        loss::pairs(images, self.params.shared).map(drop)
    }

    /// Learns from pairs of a full grid of images.
    ///
    /// # Errors
    /// When no pair shares so many factors, the images do not suit the network, or training diverges.
    pub fn fit(&self, gpu: &Gpu, images: &FactorImages, key: Key) -> Result<FittedWeakSupervision> {
        self.fit_with(gpu, images, key, &mut Session::default())
    }

    /// As [`WeakSupervision::fit`], watched and kept by a session.
    ///
    /// # Errors
    /// As [`WeakSupervision::fit`], and what happens to the checkpoint.
    pub fn fit_with(
        &self,
        gpu: &Gpu,
        images: &FactorImages,
        key: Key,
        session: &mut Session<'_>,
    ) -> Result<FittedWeakSupervision> {
        let of_images = (images.shape(), images.factors().len());
        self.params.check_data(of_images)?;
        let [init_key, key] = key.split();
        let mut parameters = Parameters::new(gpu);
        let learner = Learner::new(gpu, &self.params, of_images, &mut parameters, init_key)?;
        let pairs = loss::pairs(images, self.params.shared)?;
        let training = Training { learner: &learner, images, pairs };
        // The loop's rows are places of pairs: they are drawn afresh in every step.
        let sizes = [STEPS * self.params.batch, self.params.batch];
        train::run(gpu, &training, &mut parameters, sizes, key, session)?;
        Ok(FittedWeakSupervision { learner, parameters })
    }
}

/// What a fitted model is besides its parameters.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    params: Params,
    image: ImageShape,
    factors: usize,
}

/// A fitted model.
#[derive(Debug)]
pub struct FittedWeakSupervision {
    learner: Learner,
    parameters: Parameters,
}

impl FittedWeakSupervision {
    /// Writes the model, as a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut file = saved::Writer::default();
        file.parameters(&self.parameters)?;
        let Learner { params, factors, .. } = &self.learner;
        file.write(path, METHOD, &Settings { params: params.clone(), image: self.image_shape(), factors: *factors })
    }

    /// Reads a model that [`FittedWeakSupervision::save`] wrote: on the same adapter, it computes the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, or of another method; the message names it.
    pub fn load(gpu: &Gpu, path: &Path) -> Result<Self> {
        let (file, Settings { params, image, factors }): (_, Settings) = saved::Reader::open(path, METHOD)?;
        params.check_data((image, factors)).map_err(|error| file.fail(error))?;
        let WeakSupervision { params } = params.check().map_err(|error| file.fail(error))?;
        let mut parameters = Parameters::new(gpu);
        let learner = Learner::new(gpu, &params, (image, factors), &mut parameters, Key::new(0))?;
        file.parameters(&mut parameters)?;
        Ok(Self { learner, parameters })
    }

    /// The shape of the images that the model was fitted on; it takes no others.
    pub fn image_shape(&self) -> ImageShape {
        self.learner.network.shape
    }

    /// The share of the latent dimensions that the model takes each pair of rows to share, from 0 to 1: of a law its mean.
    ///
    /// # Errors
    /// When the images have another shape than those of the fit, naming `data`, or a row is not there, naming `rows`; those
    /// of the device.
    pub fn shared_share(&self, images: &FactorImages, pairs: &[[u32; 2]]) -> Result<Vec<f64>> {
        let mut shares = Vec::with_capacity(pairs.len());
        for pairs in pairs.chunks(BLOCK) {
            let tape = Tape::new(self.parameters.gpu());
            let posteriors = self.encode(&tape, images, &views(pairs))?;
            shares.extend(self.learner.expected_share(&tape, &self.parameters, &posteriors)?);
        }
        Ok(shares)
    }

    /// Latent means of the first image of each pair, `[pairs, latent]` twice: of the dimensions that it shares with the second, and
    /// of those that it does not, each with zeros in the places of the others.
    ///
    /// # Errors
    /// As [`FittedWeakSupervision::shared_share`].
    pub fn parts(&self, images: &FactorImages, pairs: &[[u32; 2]], key: Key) -> Result<[Array2<f32>; 2]> {
        let [means, masks] = self.first_views(images, pairs, key)?;
        Ok(parts(&means, &masks))
    }

    /// Which latent dimensions the model takes each pair to share, `[pairs, latent]`: a draw by the key where it is one. A pair
    /// turned around shares the same.
    ///
    /// # Errors
    /// As [`FittedWeakSupervision::shared_share`].
    pub fn shared_dimensions(&self, images: &FactorImages, pairs: &[[u32; 2]], key: Key) -> Result<Array2<bool>> {
        let [_, masks] = self.first_views(images, pairs, key)?;
        Ok(masks.mapv(|mask| mask > 0.5))
    }

    /// Latent means of the first image of each pair, and 1 for each dimension that is shared, `[pairs, latent]` each.
    fn first_views(&self, images: &FactorImages, pairs: &[[u32; 2]], key: Key) -> Result<[Array2<f32>; 2]> {
        let mut first = [Vec::new(), Vec::new()];
        for pairs in pairs.chunks(BLOCK) {
            let tape = Tape::new(self.parameters.gpu());
            let posteriors = self.encode(&tape, images, &views(pairs))?;
            let key = key.child(first[0].len() as u64);
            let block = self.learner.first_views(&tape, &self.parameters, &posteriors, key)?;
            first.iter_mut().zip(block).for_each(|(all, block)| all.extend(block));
        }
        let [means, masks] = first.map(|values| table("pairs", pairs.len(), self.learner.params.latent, values));
        Ok([means?, masks?])
    }

    /// Posterior means of single images, `[rows, latent]`.
    ///
    /// # Errors
    /// As [`FittedWeakSupervision::shared_share`].
    pub fn transform(&self, images: &FactorImages, rows: &[u32]) -> Result<Array2<f32>> {
        let mut means = Vec::new();
        for rows in rows.chunks(2 * BLOCK) {
            let tape = Tape::new(self.parameters.gpu());
            means.extend(self.encode(&tape, images, rows)?[0].read()?);
        }
        table("rows", rows.len(), self.learner.params.latent, means)
    }

    /// The images that latents `[rows, latent]` stand for: `[rows, pixels]` of the decoder's means, each from 0 to 1.
    ///
    /// # Errors
    /// When `latents` has another number of columns than the model has latent dimensions; those of the device.
    pub fn decode(&self, latents: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        let ((rows, cols), wanted) = (latents.dim(), self.learner.params.latent);
        if cols != wanted {
            return Err(Error::argument(
                "latents",
                format!("{cols} columns; the model has {wanted} latent dimensions"),
            ));
        }
        let gpu = self.parameters.gpu();
        let mut pixels = Vec::new();
        for latents in latents.axis_chunks_iter(Axis(0), 2 * BLOCK) {
            let tape = Tape::new(gpu);
            let z = gpu.tensor(&latents.iter().copied().collect::<Vec<f32>>(), [latents.nrows(), cols])?;
            let logits = self.learner.network.decode(&tape, &self.parameters, &tape.constant(&z))?;
            pixels.extend(logits.sigmoid()?.read()?);
        }
        table("latents", rows, self.image_shape().len(), pixels)
    }

    /// Means and log-variances `[rows, latent]` of images.
    fn encode<'t>(&self, tape: &'t Tape, images: &FactorImages, rows: &[u32]) -> Result<[Var<'t>; 2]> {
        let (found, wanted) = (images.shape(), self.image_shape());
        if found != wanted {
            return Err(Error::argument("data", format!("images of {found:?}; the model was fitted on {wanted:?}")));
        }
        if let Some(row) = rows.iter().find(|&&row| row as usize >= images.n_images()) {
            return Err(Error::argument("rows", format!("row {row} of {} images", images.n_images())));
        }
        let x = images.tensor(tape.gpu(), rows)?;
        self.learner.network.encode(tape, &self.parameters, &tape.constant(&x))
    }
}

/// Means with zeros in the places of dimensions that are not shared, and with zeros in the places of those that are.
fn parts(means: &Array2<f32>, masks: &Array2<f32>) -> [Array2<f32>; 2] {
    [true, false].map(|of_shared| {
        Zip::from(means).and(masks).map_collect(|&mean, &mask| if (mask > 0.5) == of_shared { mean } else { 0.0 })
    })
}

/// Values row after row as a table.
fn table(argument: &'static str, rows: usize, cols: usize, values: Vec<f32>) -> Result<Array2<f32>> {
    Array2::from_shape_vec((rows, cols), values).map_err(|error| Error::argument(argument, error.to_string()))
}
