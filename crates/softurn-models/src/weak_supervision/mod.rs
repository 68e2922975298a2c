//! Weak supervision: pairs of images that share an unknown number of generative factors.
//!
//! A variational autoencoder sees two images that share some factors, and decides for each latent dimension whether the two
//! views share it: shared dimensions have one posterior, the average of both views', the others their own. Then both views
//! are decoded, and `½ Σ_v (E[-log p(x_v | z_v)] + β KL(q(z_v) ‖ N(0, 1)))` is minimised. The models differ in how the number of shared
//! dimensions is found ([`Model`]):
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

mod loss;
mod network;
mod params;
#[cfg(test)]
mod tests;

use ndarray::Array2;
use softurn_autodiff::{Parameters, Tape};
use softurn_kernels::{Gpu, Key};

pub use params::{Averaging, Model, Params};

use self::loss::{Learner, Training};
use crate::data::FactorImages;
use crate::train::{self, Session};
use crate::{Error, Result};

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
        self.params.check_data(images)?;
        let [init_key, key] = key.split();
        let mut parameters = Parameters::new(gpu);
        let learner = Learner::new(gpu, &self.params, images, &mut parameters, init_key)?;
        let pairs = loss::pairs(images, self.params.shared)?;
        let training = Training { learner: &learner, images, pairs };
        // The loop's rows are places of pairs: they are drawn afresh in every step.
        let sizes = [STEPS * self.params.batch, self.params.batch];
        train::run(gpu, &training, &mut parameters, sizes, key, session)?;
        Ok(FittedWeakSupervision { learner, parameters })
    }
}

/// A fitted model.
#[derive(Debug)]
pub struct FittedWeakSupervision {
    learner: Learner,
    parameters: Parameters,
}

impl FittedWeakSupervision {
    /// The share of the latent dimensions that the model takes each pair of rows to share, from 0 to 1: of a law its mean.
    ///
    /// # Errors
    /// Those of the device.
    pub fn shared_share(&self, images: &FactorImages, pairs: &[[u32; 2]]) -> Result<Vec<f64>> {
        let mut shares = Vec::with_capacity(pairs.len());
        self.by_blocks(images, pairs, |learner, tape, views| {
            shares.extend(learner.expected_share(tape, &self.parameters, views)?);
            Ok(())
        })?;
        Ok(shares)
    }

    /// Latent means of the first image of each pair, `[pairs, latent]` twice: of the dimensions that it shares with the second, and
    /// of those that it does not, each with zeros in the places of the others.
    ///
    /// # Errors
    /// Those of the device.
    pub fn parts(&self, images: &FactorImages, pairs: &[[u32; 2]], key: Key) -> Result<[Array2<f32>; 2]> {
        let d = self.learner.params.latent;
        let mut parts = [Vec::with_capacity(pairs.len() * d), Vec::with_capacity(pairs.len() * d)];
        self.by_blocks(images, pairs, |learner, tape, views| {
            let key = key.child(parts[0].len() as u64);
            let ([mean, _], sharing) = learner.aggregate(tape, &self.parameters, views, key)?;
            let (mean, mask) = (mean.read()?, sharing.mask.read()?);
            for (&mask, &mean) in mask.iter().zip(&mean) {
                parts[0].push(if mask > 0.5 { mean } else { 0.0 });
                parts[1].push(if mask > 0.5 { 0.0 } else { mean });
            }
            Ok(())
        })?;
        let [shared, own] = parts.map(|part| Array2::from_shape_vec((pairs.len(), d), part));
        let shape = |error: ndarray::ShapeError| Error::argument("pairs", error.to_string());
        Ok([shared.map_err(shape)?, own.map_err(shape)?])
    }

    /// Hands the means and log-variances of both views of pairs to `f`, block by block.
    fn by_blocks(
        &self,
        images: &FactorImages,
        pairs: &[[u32; 2]],
        mut f: impl for<'t> FnMut(&Learner, &'t Tape, &[softurn_autodiff::Var<'t>; 2]) -> Result<()>,
    ) -> Result<()> {
        let gpu = self.parameters.gpu();
        for pairs in pairs.chunks(BLOCK) {
            let rows = [0, 1].map(|view| pairs.iter().map(|pair| pair[view]).collect::<Vec<u32>>()).concat();
            let x = gpu.tensor(&images.rows(&rows), [rows.len(), images.shape().len()])?;
            let tape = Tape::new(gpu);
            let views = self.learner.network.encode(&tape, &self.parameters, &tape.constant(&x))?;
            f(&self.learner, &tape, &views)?;
        }
        Ok(())
    }
}
