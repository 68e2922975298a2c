//! The encoder and decoder of Locatello et al. (2020), as the experiments of Sutter et al. have them.

use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::Key;
use softurn_kernels::ops::conv::Conv;
use softurn_kernels::ops::matmul::Activation;

use crate::Result;
use crate::data::ImageShape;
use crate::nn::{Conv2d, ConvTranspose2d, Linear, Mlp};

/// Four convolutions halve the sides of an image.
pub(super) const HALVINGS: usize = 16;
const WIDE: ([usize; 2], Conv) = ([4, 4], Conv { stride: [2, 2], padding: [1, 1] });
const NARROW: ([usize; 2], Conv) = ([2, 2], Conv { stride: [2, 2], padding: [0, 0] });
const DENSE: usize = 256;
const SMALLEST: usize = 64;

/// Both halves of a variational autoencoder of images.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) shape: ImageShape,
    encoder: Vec<Conv2d>,
    hidden: Mlp,
    mean: Linear,
    log_variance: Linear,
    dense: Mlp,
    decoder: Vec<ConvTranspose2d>,
}

impl Network {
    pub(super) fn new(parameters: &mut Parameters, shape: ImageShape, latent: usize, key: Key) -> Result<Self> {
        let [encoder_key, hidden_key, mean_key, variance_key, dense_key, decoder_key] = key.split();
        let small = shape.height / HALVINGS * (shape.width / HALVINGS) * SMALLEST;
        let mut encoder = Vec::new();
        let down = [(WIDE, [shape.channels, 32]), (WIDE, [32, 32]), (NARROW, [32, 64]), (NARROW, [64, SMALLEST])];
        for (i, ((kernel, conv), channels)) in down.into_iter().enumerate() {
            let (name, key) = (format!("encoder.convolution.{i}"), encoder_key.child(i as u64));
            encoder.push(Conv2d::new(parameters, &name, kernel, channels, conv, Activation::Relu, key)?);
        }
        let hidden = Mlp::new(parameters, "encoder", &[small, DENSE], Activation::Relu, hidden_key)?;
        let bound = (6.0 / (DENSE + latent) as f32).sqrt();
        let mut head =
            |name: &str, key| Linear::new(parameters, name, [DENSE, latent], bound, 0.0, Activation::None, key);
        let mean = head("encoder.mean", mean_key)?;
        let log_variance = head("encoder.log_variance", variance_key)?;
        let dense = Mlp::new(parameters, "decoder", &[latent, DENSE, small], Activation::Relu, dense_key)?;
        let mut decoder = Vec::new();
        let up = [[SMALLEST, 64], [64, 32], [32, 32], [32, shape.channels]];
        for (i, channels) in up.into_iter().enumerate() {
            let activation = if i + 1 == up.len() { Activation::None } else { Activation::Relu };
            let (name, key) = (format!("decoder.convolution.{i}"), decoder_key.child(i as u64));
            let (kernel, conv) = WIDE;
            decoder.push(ConvTranspose2d::new(parameters, &name, kernel, channels, conv, [0, 0], activation, key)?);
        }
        Ok(Self { shape, encoder, hidden, mean, log_variance, dense, decoder })
    }

    /// Mean and log-variance `[rows, latent]` of images `[rows, pixels]`.
    pub(super) fn encode<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>) -> Result<[Var<'t>; 2]> {
        let ImageShape { height, width, channels } = self.shape;
        let rows = x.shape().dims()[0];
        let mut x = x.reshape([rows, height, width, channels])?;
        for layer in &self.encoder {
            x = layer.forward(tape, parameters, &x, false)?;
        }
        let x = x.reshape([rows, x.shape().len() / rows])?;
        let hidden = self.hidden.forward(tape, parameters, &x, false)?;
        Ok([
            self.mean.forward(tape, parameters, &hidden, false)?,
            self.log_variance.forward(tape, parameters, &hidden, false)?,
        ])
    }

    /// Logits `[rows, pixels]` of latents `[rows, latent]`.
    pub(super) fn decode<'t>(&self, tape: &'t Tape, parameters: &Parameters, z: &Var<'t>) -> Result<Var<'t>> {
        let rows = z.shape().dims()[0];
        let x = self.dense.forward(tape, parameters, z, false)?;
        let mut x = x.reshape([rows, self.shape.height / HALVINGS, self.shape.width / HALVINGS, SMALLEST])?;
        for layer in &self.decoder {
            x = layer.forward(tape, parameters, &x, false)?;
        }
        Ok(x.reshape([rows, self.shape.len()])?)
    }
}
