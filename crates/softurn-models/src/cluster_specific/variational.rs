//! The tensorised variational autoencoder (TVAE): trunks are shared, the posterior's layers and the decoder's first one are not.

use serde::{Deserialize, Serialize};
use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::ops::augment;
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::{Key, Tensor};

use super::Width;
use super::framework::{Framework, HeadRows, Reconstructs};
use crate::nn::{GroupedLinear, Mlp};
use crate::{Error, Result};

/// The child of a step's key for the noise in what the encoder sees; the posterior is drawn with the key itself.
const CORRUPTION: u64 = 0x636f_7272;
/// Log-variances stay within these.
const LOG_VARIANCES: [f32; 2] = [-8.0, 2.0];

/// A variational autoencoder with a Gaussian likelihood of rows less their centre; the loss of a row is its negative bound,
/// `E[‖x̂ - x‖² / (2 noise²)] + beta · KL(q(z | x) ‖ N(0, 1))`, in nats and without the likelihood's constant. Rows choose heads by the loss of
/// the posterior's mean.
///
/// The authors' code differs: it takes log-variances for deviations, and compares with `sigmoid(x - c)`, whose entropy of nearly
/// `log 2` a column no model gets below.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariationalAutoencoder {
    latent: usize,
    hidden: Vec<usize>,
    noise: f32,
    beta: f32,
    corruption: f32,
}

impl VariationalAutoencoder {
    /// A posterior of so many dimensions.
    pub fn new(latent: usize) -> Self {
        Self { latent, hidden: vec![400, 200], noise: 0.3, beta: 1.0, corruption: 0.0 }
    }

    /// Widths of the encoder's hidden layers, which all clusters share but the decoder's first; by default 400 and 200.
    pub fn hidden(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.hidden = widths.into();
        self
    }

    /// The standard deviation of the likelihood, in the units of the data; by default 0.3.
    pub fn noise(mut self, deviation: f32) -> Self {
        self.noise = deviation;
        self
    }

    /// The weight of the divergence; by default 1, which makes the loss a bound. The authors' settings from 0.1 to 0.5 are 0.2 to 1.
    pub fn beta(mut self, weight: f32) -> Self {
        self.beta = weight;
        self
    }

    /// The standard deviation of noise that is added to what the encoder sees in training, new in every step; the decoder is to make the rows
    /// without it. By default 0.
    pub fn corruption(mut self, deviation: f32) -> Self {
        self.corruption = deviation;
        self
    }
}

/// Layers of encoder and decoder.
#[derive(Debug)]
pub struct VariationalLayers {
    trunk: Mlp,
    mean: GroupedLinear,
    log_variance: GroupedLinear,
    decoder_head: GroupedLinear,
    decoder: Mlp,
}

impl VariationalAutoencoder {
    fn posterior<'t>(
        layers: &VariationalLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Tensor,
        rows: &HeadRows,
    ) -> Result<[Var<'t>; 2]> {
        let hidden = layers.trunk.forward(tape, parameters, &tape.constant(x), false)?;
        let of = |layer: &GroupedLinear| layer.forward(tape, parameters, &hidden, &rows.heads, false);
        let [low, high] = LOG_VARIANCES;
        Ok([of(&layers.mean)?, of(&layers.log_variance)?.clamp(low, high)?])
    }

    fn decode<'t>(
        layers: &VariationalLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        code: &Var<'t>,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        let hidden = layers.decoder_head.forward(tape, parameters, code, &rows.heads, false)?;
        layers.decoder.forward(tape, parameters, &hidden, false)
    }
}

impl Framework for VariationalAutoencoder {
    type Layers = VariationalLayers;
    const NAME: &'static str = "cluster_specific.variational";

    fn check(&self, _heads: usize) -> Result<()> {
        if self.latent == 0 {
            return Err(Error::argument("latent", "must be at least 1"));
        }
        if let Some(at) = self.hidden.iter().position(|&width| width == 0) {
            return Err(Error::argument("hidden", format!("layer {at} has width 0")));
        }
        if !(self.noise.is_finite() && self.noise > 0.0) {
            return Err(Error::argument("noise", format!("{} is not a positive number", self.noise)));
        }
        for (name, value) in [("beta", self.beta), ("corruption", self.corruption)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::argument(name, format!("{value} is not a number from 0 on")));
            }
        }
        Ok(())
    }

    fn widths(&self) -> Vec<Width> {
        let hidden = self.hidden.iter().map(|&outputs| Width { setting: "hidden", outputs, own: false });
        hidden.chain([Width { setting: "latent", outputs: self.latent, own: true }]).collect()
    }

    fn layers(&self, parameters: &mut Parameters, [heads, columns]: [usize; 2], key: Key) -> Result<VariationalLayers> {
        let [trunk_key, mean_key, decoder_head_key, decoder_key] = key.split();
        let widths: Vec<usize> = [columns].into_iter().chain(self.hidden.iter().copied()).collect();
        let (inputs, latent) = (*widths.last().unwrap_or(&columns), self.latent);
        let mirrored: Vec<usize> = widths.iter().rev().copied().collect();
        let bound = (6.0 / (inputs + latent) as f32).sqrt();
        let mut head = |name: &str, shape: [usize; 2], bound: f32, activation: Activation, key: Key| {
            let [inputs, outputs] = shape;
            GroupedLinear::new(parameters, name, [heads, inputs, outputs], bound, 0.0, activation, key)
        };
        let last = if self.hidden.is_empty() { Activation::None } else { Activation::Relu };
        Ok(VariationalLayers {
            mean: head("encoder.mean", [inputs, latent], bound, Activation::None, mean_key)?,
            // Variances begin at 1, those of the prior.
            log_variance: head("encoder.log_variance", [inputs, latent], 0.0, Activation::None, mean_key)?,
            decoder_head: head("decoder.head", [latent, inputs], bound, last, decoder_head_key)?,
            trunk: Mlp::new(parameters, "encoder", &widths, Activation::Relu, trunk_key)?,
            decoder: Mlp::new(parameters, "decoder", &mirrored, Activation::None, decoder_key)?,
        })
    }

    fn losses<'t>(
        &self,
        layers: &VariationalLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        key: Option<Key>,
    ) -> Result<Var<'t>> {
        let seen = match key {
            Some(key) if self.corruption > 0.0 => {
                augment::corrupt(tape.gpu(), &rows.x, self.corruption, 0.0, key.child(CORRUPTION))?
            }
            _ => rows.x.clone(),
        };
        let [mean, log_variance] = Self::posterior(layers, tape, parameters, &seen, rows)?;
        let [drawn, divergence] = mean.gaussian(&log_variance, key.unwrap_or(Key::new(0)))?;
        let code = if key.is_some() { drawn } else { mean };
        let error = Self::decode(layers, tape, parameters, &code, rows)?.squared_error(&rows.x)?;
        Ok((error.affine(0.5 / (self.noise * self.noise), 0.0)? + &divergence.affine(self.beta, 0.0)?)?)
    }

    fn encode<'t>(
        &self,
        layers: &VariationalLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        let [mean, _] = Self::posterior(layers, tape, parameters, &rows.x, rows)?;
        Ok(mean)
    }
}

impl Reconstructs for VariationalAutoencoder {
    fn reconstruct<'t>(
        &self,
        layers: &VariationalLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        let mean = self.encode(layers, tape, parameters, rows)?;
        Self::decode(layers, tape, parameters, &mean, rows)
    }
}
