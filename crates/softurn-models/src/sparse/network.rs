//! The network of a fitted model: encoder, what the code of each row is made of, and decoder.

use serde::{Deserialize, Serialize};
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::Key;
use softurn_kernels::Tensor;
use softurn_kernels::ops::matmul::Activation;

use super::params::{Code, DecoderKind, Likelihood, SparseParams};
use crate::Result;
use crate::nn::{Linear, Mlp};

/// Logits begin near 0, so that all counts and features are drawn.
const LOGITS: f32 = 0.1;
/// First log-variances of Gaussian features.
const LOG_VARIANCE: f32 = -2.0;
/// Log-variances stay within these.
const LOG_VARIANCES: [f32; 2] = [-8.0, 2.0];

/// What a network is made of besides its parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) params: SparseParams,
    /// Of the data.
    pub(super) columns: usize,
}

/// What the encoder ends in: layers, or what they make of rows.
#[derive(Debug)]
pub(super) enum Heads<T> {
    /// Logits of the counts `[rows, bound]` and of the elements `[rows, size]`, and mean and log-variance of magnitudes.
    Sparse { counts: T, elements: T, magnitudes: Option<[T; 2]> },
    /// Scores.
    TopL(T),
    /// Mean and log-variance.
    Dense([T; 2]),
    /// Values before those below 0 are cut off.
    L1(T),
}

/// Encoder and decoder.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) settings: Settings,
    trunk: Mlp,
    heads: Heads<Linear>,
    decoder: Decoder,
}

/// From codes to rows.
#[derive(Debug)]
enum Decoder {
    /// Atoms `[size, columns]`. Without a bias: with one, sums of few atoms could be read as the bias less others.
    Dictionary(Param),
    Mlp(Mlp),
}

impl Network {
    pub(super) fn new(settings: Settings, parameters: &mut Parameters, key: Key) -> Result<Self> {
        let Settings { params, columns } = &settings;
        let [trunk_key, decoder_key, heads_key] = key.split();
        let mut widths = vec![*columns];
        widths.extend(&params.hidden);
        let inputs = *widths.last().unwrap_or(columns);
        let trunk = Mlp::new(parameters, "encoder", &widths, Activation::Relu, trunk_key)?;
        let mut head = |name: &str, outputs: usize, scale: f32, bias: f32, index: u64| {
            let bound = scale * (6.0 / (inputs + outputs) as f32).sqrt();
            let (name, key) = (format!("encoder.{name}"), heads_key.child(index));
            Linear::new(parameters, &name, [inputs, outputs], bound, bias, Activation::None, key)
        };
        let size = params.size;
        let heads = match params.code {
            Code::Sparse => {
                let counts = head("counts", params.bound, LOGITS, 0.0, 0)?;
                let elements = head("elements", size, LOGITS, 0.0, 1)?;
                let magnitudes = if params.magnitudes {
                    // As if there were none, at first.
                    let mean = head("mean", size, LOGITS, 1.0, 2)?;
                    Some([mean, head("log_variance", size, 0.0, LOG_VARIANCE, 3)?])
                } else {
                    None
                };
                Heads::Sparse { counts, elements, magnitudes }
            }
            Code::TopL => Heads::TopL(head("elements", size, if params.magnitudes { 1.0 } else { LOGITS }, 0.0, 1)?),
            Code::Dense => {
                Heads::Dense([head("mean", size, 1.0, 0.0, 2)?, head("log_variance", size, 0.0, LOG_VARIANCE, 3)?])
            }
            Code::L1 => Heads::L1(head("elements", size, 1.0, 0.0, 1)?),
        };
        let decoder = match params.decoder {
            DecoderKind::Linear => {
                let bound = params.atom_scale * (6.0 / (size + columns) as f32).sqrt();
                Decoder::Dictionary(parameters.uniform("decoder.atoms", [size, *columns], bound, decoder_key)?)
            }
            DecoderKind::Mlp => {
                let widths: Vec<usize> =
                    [size].into_iter().chain(params.hidden.iter().rev().copied()).chain([*columns]).collect();
                Decoder::Mlp(Mlp::new(parameters, "decoder", &widths, Activation::None, decoder_key)?)
            }
        };
        Ok(Self { settings, trunk, heads, decoder })
    }

    /// What the encoder says of rows `[rows, columns]`.
    pub(super) fn encode<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Var<'t>,
        frozen: bool,
    ) -> Result<Heads<Var<'t>>> {
        let hidden = self.trunk.forward(tape, parameters, x, frozen)?;
        let of = |layer: &Linear| layer.forward(tape, parameters, &hidden, frozen);
        let gaussian = |[mean, log_variance]: &[Linear; 2]| -> Result<[Var<'t>; 2]> {
            let [low, high] = LOG_VARIANCES;
            Ok([of(mean)?, of(log_variance)?.clamp(low, high)?])
        };
        Ok(match &self.heads {
            Heads::Sparse { counts, elements, magnitudes } => Heads::Sparse {
                counts: of(counts)?,
                elements: of(elements)?,
                magnitudes: magnitudes.as_ref().map(gaussian).transpose()?,
            },
            Heads::TopL(scores) => Heads::TopL(of(scores)?),
            Heads::Dense(layers) => Heads::Dense(gaussian(layers)?),
            Heads::L1(values) => Heads::L1(of(values)?),
        })
    }

    /// What the decoder makes of codes `[rows, size]`: means, or of a Bernoulli likelihood logits, `[rows, columns]`.
    pub(super) fn decode<'t>(&self, tape: &'t Tape, parameters: &Parameters, code: &Var<'t>) -> Result<Var<'t>> {
        match &self.decoder {
            Decoder::Dictionary(atoms) => Ok(code.matmul(&tape.param(parameters, atoms)?)?),
            Decoder::Mlp(layers) => layers.forward(tape, parameters, code, false),
        }
    }

    /// `-log p(x | code)` per row, in nats, without the constant of a Gaussian.
    pub(super) fn reconstruction<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        code: &Var<'t>,
        x: &Tensor,
    ) -> Result<Var<'t>> {
        let decoded = self.decode(tape, parameters, code)?;
        let SparseParams { likelihood, noise, .. } = self.settings.params;
        Ok(match likelihood {
            Likelihood::Gaussian => decoded.squared_error(x)?.affine(0.5 / (noise * noise), 0.0)?,
            Likelihood::Bernoulli => decoded.bernoulli_loss(x)?,
        })
    }

    /// The decoder's first weights, a row for each feature.
    pub(super) fn atoms(&self) -> &Param {
        match &self.decoder {
            Decoder::Dictionary(atoms) => atoms,
            Decoder::Mlp(layers) => layers.layers()[0].weight(),
        }
    }

    /// Rows that go through at once when nothing is learned: a multiple of 64, as views of rows want.
    pub(super) fn block(&self) -> usize {
        let Settings { params, columns } = &self.settings;
        let widest = params.hidden.iter().copied().chain([*columns, params.size]).max().unwrap_or(1);
        ((1 << 24) / widest / 64 * 64).clamp(64, 4096)
    }
}
