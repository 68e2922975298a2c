//! The network of a fitted model: encoder, decoder, and the groups of the latent.

use serde::{Deserialize, Serialize};
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::fisher_hypergeometric::{self, Law, Urn};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::ops::{gaussian_mixture, reduce, softmax};
use softurn_kernels::{Key, Tensor};

use super::{Params, Prior};
use crate::Result;
use crate::clustering::features::Scaling;
use crate::clustering::network::{Decoder, Layers, SphereEncoder};
use crate::data::ImageShape;
use crate::nn::Linear;

/// The encoder's first log-variance.
pub(in crate::clustering) const LOG_VARIANCE: f32 = -2.0;
/// `log 2π`
const LN_TAU: f32 = 1.837_877_1;

/// What a network is made of besides its parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::clustering) struct Settings {
    pub(in crate::clustering) params: Params,
    pub(in crate::clustering) scaling: Scaling,
    pub(in crate::clustering) image: Option<ImageShape>,
    /// Rows of a batch, which the law of the group sizes is of.
    pub(in crate::clustering) batch: usize,
}

/// Encoder, decoder and mixture.
#[derive(Debug)]
pub(in crate::clustering) struct Network {
    pub(in crate::clustering) settings: Settings,
    layers: Layers,
    encoder: SphereEncoder,
    log_variance: Linear,
    decoder: Decoder,
    pub(in crate::clustering) means: Param,
    pub(in crate::clustering) log_variances: Param,
    pub(in crate::clustering) weights: Param,
    pub(in crate::clustering) urn: Urn,
}

/// What the encoder says of rows: a unit vector, and mean and log-variance of the latent.
pub(in crate::clustering) struct Encoding<'t> {
    pub(in crate::clustering) unit: Var<'t>,
    pub(in crate::clustering) mean: Var<'t>,
    pub(in crate::clustering) log_variance: Var<'t>,
}

impl Network {
    pub(in crate::clustering) fn new(settings: Settings, parameters: &mut Parameters, key: Key) -> Result<Self> {
        let Params { k, latent: d, ref channels, ref hidden, .. } = settings.params;
        let layers = Layers::new(settings.scaling.columns(), settings.image, channels, hidden);
        let [trunk_key, direction_key, decoder_key] = key.split();
        let encoder = SphereEncoder::new(parameters, "encoder", &layers, d, [trunk_key, direction_key])?;
        let (name, shape) = ("encoder.log_variance", [layers.outputs(), d]);
        let log_variance = Linear::new(parameters, name, shape, 0.0, LOG_VARIANCE, Activation::None, direction_key)?;
        let decoder = layers.decoder(parameters, "decoder", d, decoder_key)?;
        Ok(Self {
            layers,
            encoder,
            log_variance,
            decoder,
            means: parameters.zeros("mixture.means", [k, d])?,
            log_variances: parameters.zeros("mixture.log_variances", [k, d])?,
            weights: parameters.zeros("mixture.log_weights", [1, k])?,
            urn: Urn::new(parameters.gpu(), &vec![settings.batch as u32; k], settings.batch as u32)?,
            settings,
        })
    }

    pub(in crate::clustering) fn k(&self) -> usize {
        self.settings.params.k
    }

    /// Rows that go through at once when nothing is learned.
    pub(in crate::clustering) fn block(&self) -> usize {
        self.layers.block()
    }

    pub(in crate::clustering) fn prior(&self) -> Prior {
        self.settings.params.prior
    }

    pub(in crate::clustering) fn encoding<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Var<'t>,
        frozen: bool,
    ) -> Result<Encoding<'t>> {
        let [hidden, unit] = self.encoder.forward(tape, parameters, x, frozen)?;
        let log_variance = self.log_variance.forward(tape, parameters, &hidden, frozen)?;
        let log_variance = log_variance.clamp(-8.0, 2.0)?;
        let mean = unit.affine((self.settings.params.latent as f32).sqrt(), 0.0)?;
        Ok(Encoding { unit, mean, log_variance })
    }

    /// `log π_c + log N(z; μ_c, σ_c²)`, `[rows, k]`, without a history.
    pub(in crate::clustering) fn group_logits(&self, parameters: &Parameters, z: &Tensor) -> Result<Tensor> {
        let (means, log_variances) = (parameters.tensor(&self.means)?, parameters.tensor(&self.log_variances)?);
        let density = gaussian_mixture::forward(z.gpu(), z, None, &means, &log_variances)?;
        let proportions = self.log_proportions(parameters)?;
        Ok(binary::forward(z.gpu(), Binary::Add, &density, &proportions)?)
    }

    /// Means and log-variances of the groups, `[k, latent]` each.
    pub(in crate::clustering) fn mixture<'t>(&self, tape: &'t Tape, parameters: &Parameters) -> Result<[Var<'t>; 2]> {
        Ok([tape.param(parameters, &self.means)?, tape.param(parameters, &self.log_variances)?])
    }

    /// `-log p(x | z)` per row: Bernoulli for images, unit Gaussian (without its constant) for tables.
    pub(in crate::clustering) fn reconstruction<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        z: &Var<'t>,
        x: &Tensor,
    ) -> Result<Var<'t>> {
        let decoded = self.decoder.forward(tape, parameters, z)?;
        Ok(match self.settings.image {
            Some(_) => decoded.bernoulli_loss(x)?,
            None => decoded.squared_error(x)?.affine(0.5, 0.0)?,
        })
    }

    /// `E[log N(z; μ_c, σ_c²)]` under `q(z | x)`, `[rows, k]`.
    pub(in crate::clustering) fn densities<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        code: &Encoding<'t>,
    ) -> Result<Var<'t>> {
        let [means, log_variances] = self.mixture(tape, parameters)?;
        Ok(code.mean.gaussian_mixture(Some(&code.log_variance), &means, &log_variances)?)
    }

    /// The mean entropy of `q(z | x)`.
    pub(in crate::clustering) fn entropy<'t>(&self, code: &Encoding<'t>) -> Result<Var<'t>> {
        let rows = code.mean.shape().dims()[0] as f32;
        Ok(code.log_variance.sum()?.affine(0.5 / rows, 0.5 * (1.0 + LN_TAU) * self.settings.params.latent as f32)?)
    }

    /// `log π`, `[1, k]`: of the hypergeometric prior, the logarithm of its mean proportions.
    pub(in crate::clustering) fn log_proportions(&self, parameters: &Parameters) -> Result<Tensor> {
        let gpu = parameters.gpu();
        match self.prior() {
            Prior::Uniform => {
                let k = self.k();
                Ok(gpu.tensor(&vec![-(k as f32).ln(); k], [1, k])?)
            }
            Prior::Categorical => Ok(softmax::forward_log(gpu, &parameters.tensor(&self.weights)?, 1.0)?),
            Prior::Hypergeometric | Prior::Exchangeable => {
                let weights = parameters.tensor(&self.weights)?;
                let law = fisher_hypergeometric::Prepared::new(gpu, &self.urn, &Law::Exact, &weights)?;
                let mean = fisher_hypergeometric::mean(gpu, &law)?.read()?;
                let total: f32 = mean.iter().sum();
                let log: Vec<f32> = mean.iter().map(|x| (x / total).max(1e-12).ln()).collect();
                Ok(gpu.tensor(&log, [1, self.k()])?)
            }
        }
    }

    /// Latent means of a block of rows, without a tape's history.
    pub(in crate::clustering) fn encode(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        let tape = Tape::new(parameters.gpu());
        Ok(self.encoding(&tape, parameters, &tape.constant(x), true)?.mean.value().clone())
    }

    /// The likeliest group of each row of a block.
    pub(in crate::clustering) fn labels(&self, parameters: &Parameters, x: &Tensor) -> Result<Vec<u32>> {
        let logits = self.group_logits(parameters, &self.encode(parameters, x)?)?;
        Ok(reduce::argmax(x.gpu(), &logits)?.read_u32()?)
    }
}
