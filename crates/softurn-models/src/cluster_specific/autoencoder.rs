//! The tensorised autoencoder (TAE), and with shared outer layers the partially tensorised one (PTAE).

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::Key;
use softurn_kernels::ops::matmul::{self, Activation};
use softurn_kernels::ops::{augment, grouped_matmul};

use super::framework::{Framework, HeadRows, Reconstructs};
use super::{Fitted, Width};
use crate::{Error, Result};

/// An autoencoder without biases; the loss of a row is `‖x̂ - x‖² / columns + penalty · ‖z‖²` with the code `z` and what the decoder makes of
/// it, `x̂`. Errors are averaged over the columns and the penalty is a sum over the code, as in the authors' code: in units of sums its
/// weight is `columns · penalty`, and where that is 1 a tied encoder is close to k-means.
///
/// Untied weights, the authors' and the default, can escape the penalty: a smaller encoder and a larger decoder make the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Autoencoder {
    widths: Vec<usize>,
    shared: usize,
    relu: bool,
    tied: bool,
    centred: bool,
    penalty: f32,
    noise: f32,
}

impl Autoencoder {
    /// An encoder with layers of these widths, of which the last is that of the code; the decoder mirrors it.
    pub fn new(widths: impl Into<Vec<usize>>) -> Self {
        let widths = widths.into();
        Self { widths, shared: 0, relu: false, tied: false, centred: true, penalty: 0.1, noise: 0.0 }
    }

    /// How many outer layers, the encoder's first and the decoder's last ones, all clusters share; by default none.
    pub fn shared(mut self, layers: usize) -> Self {
        self.shared = layers;
        self
    }

    /// Whether every layer of the encoder ends in a ReLU; by default the autoencoder is linear. The decoder always is.
    pub fn relu(mut self, relu: bool) -> Self {
        self.relu = relu;
        self
    }

    /// Whether the decoder's weights are those of the encoder, transposed; by default they are its own.
    pub fn tied(mut self, tied: bool) -> Self {
        self.tied = tied;
        self
    }

    /// Whether rows come less the centre of their cluster; by default they do.
    pub fn centred(mut self, centred: bool) -> Self {
        self.centred = centred;
        self
    }

    /// The weight of `‖z‖²`; by default 0.1.
    pub fn penalty(mut self, weight: f32) -> Self {
        self.penalty = weight;
        self
    }

    /// The standard deviation of noise that is added to what the encoder sees in training, new in every step; the decoder is to make the rows
    /// without it. By default 0.
    pub fn noise(mut self, deviation: f32) -> Self {
        self.noise = deviation;
        self
    }

    fn activation(&self) -> Activation {
        if self.relu { Activation::Relu } else { Activation::None }
    }
}

/// Weights of the layers, from the inputs on.
#[derive(Debug)]
pub struct AutoencoderLayers {
    /// Of the encoder.
    pub encoder: Vec<Weight>,
    /// Of the decoder; none where they are those of the encoder.
    pub decoder: Vec<Weight>,
}

/// The matrix of a layer.
#[derive(Debug)]
pub enum Weight {
    /// `[inputs, outputs]`, of all clusters.
    Shared(Param),
    /// `[k, inputs, outputs]`, one of each cluster.
    Own(Param),
}

impl Weight {
    fn new(
        parameters: &mut Parameters,
        name: String,
        [heads, inputs, outputs]: [usize; 3],
        shared: bool,
        key: Key,
    ) -> Result<Self> {
        let bound = (6.0 / (inputs + outputs) as f32).sqrt();
        Ok(match shared {
            true => Self::Shared(parameters.uniform(name, [inputs, outputs], bound, key)?),
            false => Self::Own(parameters.uniform(name, [heads, inputs, outputs], bound, key)?),
        })
    }

    /// `f(x W)`, or `f(x Wᵀ)`, of each row with the matrix of its head.
    fn apply<'t>(
        &self,
        parameters: &Parameters,
        x: &Var<'t>,
        rows: &HeadRows,
        transpose_b: bool,
        activation: Activation,
    ) -> Result<Var<'t>> {
        let tape = x.tape();
        Ok(match self {
            Self::Shared(weight) => {
                let options = matmul::Options { transpose_b, activation, ..matmul::Options::default() };
                x.matmul_with(&tape.param(parameters, weight)?, None, options)?
            }
            Self::Own(weight) => {
                let options = grouped_matmul::Options { transpose_b, activation };
                x.grouped_matmul(&tape.param(parameters, weight)?, None, &rows.heads, options)?
            }
        })
    }

    /// The matrix of one head, `[inputs, outputs]`.
    fn of_head(&self, parameters: &Parameters, head: usize) -> Result<Array2<f32>> {
        let (param, head) = match self {
            Self::Shared(param) => (param, 0),
            Self::Own(param) => (param, head),
        };
        let (values, dims) = (parameters.read(param)?, param.shape().dims());
        let [inputs, outputs] = [dims[dims.len() - 2], dims[dims.len() - 1]];
        Ok(Array2::from_shape_fn((inputs, outputs), |(i, j)| values[(head * inputs + i) * outputs + j]))
    }
}

impl Autoencoder {
    fn decode<'t>(
        &self,
        layers: &AutoencoderLayers,
        parameters: &Parameters,
        code: Var<'t>,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        let mut x = code;
        for weight in layers.encoder.iter().rev().filter(|_| self.tied) {
            x = weight.apply(parameters, &x, rows, true, Activation::None)?;
        }
        for weight in &layers.decoder {
            x = weight.apply(parameters, &x, rows, false, Activation::None)?;
        }
        Ok(x)
    }

    fn code<'t>(
        &self,
        layers: &AutoencoderLayers,
        parameters: &Parameters,
        x: Var<'t>,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        layers.encoder.iter().try_fold(x, |x, weight| weight.apply(parameters, &x, rows, false, self.activation()))
    }
}

impl Framework for Autoencoder {
    type Layers = AutoencoderLayers;
    const NAME: &'static str = "cluster_specific.autoencoder";

    fn check(&self) -> Result<()> {
        if self.widths.is_empty() {
            return Err(Error::argument("widths", "an encoder has at least one layer"));
        }
        if let Some(at) = self.widths.iter().position(|&width| width == 0) {
            return Err(Error::argument("widths", format!("layer {at} has width 0")));
        }
        if self.shared > self.widths.len() {
            return Err(Error::argument("shared", format!("{} of {} layers", self.shared, self.widths.len())));
        }
        for (name, value) in [("penalty", self.penalty), ("noise", self.noise)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::argument(name, format!("{value} is not a number from 0 on")));
            }
        }
        Ok(())
    }

    fn widths(&self) -> Vec<Width> {
        let width = |(at, &outputs)| Width { setting: "widths", outputs, own: at >= self.shared };
        self.widths.iter().enumerate().map(width).collect()
    }

    fn layers(&self, parameters: &mut Parameters, [heads, columns]: [usize; 2], key: Key) -> Result<AutoencoderLayers> {
        let [encoder_key, decoder_key] = key.split();
        let widths: Vec<usize> = [columns].into_iter().chain(self.widths.iter().copied()).collect();
        let mut make = |part: &str, i: usize, [inputs, outputs]: [usize; 2], key: Key| {
            Weight::new(
                parameters,
                format!("{part}.{i}"),
                [heads, inputs, outputs],
                i < self.shared,
                key.child(i as u64),
            )
        };
        let pairs = widths.windows(2).enumerate();
        let encoder = pairs
            .clone()
            .map(|(i, pair)| make("encoder", i, [pair[0], pair[1]], encoder_key))
            .collect::<Result<_>>()?;
        let mirrored = pairs.rev().filter(|_| !self.tied);
        let decoder =
            mirrored.map(|(i, pair)| make("decoder", i, [pair[1], pair[0]], decoder_key)).collect::<Result<_>>()?;
        Ok(AutoencoderLayers { encoder, decoder })
    }

    fn centred(&self) -> bool {
        self.centred
    }

    fn losses<'t>(
        &self,
        layers: &AutoencoderLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        key: Option<Key>,
    ) -> Result<Var<'t>> {
        let seen = match key {
            Some(key) if self.noise > 0.0 => augment::corrupt(tape.gpu(), &rows.x, self.noise, 0.0, key)?,
            _ => rows.x.clone(),
        };
        let code = self.code(layers, parameters, tape.constant(&seen), rows)?;
        let size = code.square()?.sum_cols()?;
        let columns = rows.x.shape().dims()[1] as f32;
        let error = self.decode(layers, parameters, code, rows)?.squared_error(&rows.x)?.affine(1.0 / columns, 0.0)?;
        Ok((error + &size.affine(self.penalty, 0.0)?)?)
    }

    fn encode<'t>(
        &self,
        layers: &AutoencoderLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        self.code(layers, parameters, tape.constant(&rows.x), rows)
    }
}

impl Reconstructs for Autoencoder {
    fn reconstruct<'t>(
        &self,
        layers: &AutoencoderLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        let code = self.encode(layers, tape, parameters, rows)?;
        self.decode(layers, parameters, code, rows)
    }
}

impl Fitted<Autoencoder> {
    /// For each cluster what the decoder makes of each dimension of the code, `[code, columns]`, of length 1: where the code is one number,
    /// the cluster's axis.
    ///
    /// # Errors
    /// Those of the device.
    pub fn directions(&self) -> Result<Vec<Array2<f32>>> {
        let (layers, parameters, params) = (self.layers(), self.parameters(), self.params());
        let of_head = |head: usize| -> Result<Array2<f32>> {
            let mut made = Array2::eye(params.framework.widths.last().copied().unwrap_or(0));
            if params.framework.tied {
                for weight in layers.encoder.iter().rev() {
                    made = made.dot(&weight.of_head(parameters, head)?.t());
                }
            }
            for weight in &layers.decoder {
                made = made.dot(&weight.of_head(parameters, head)?);
            }
            for mut direction in made.outer_iter_mut() {
                let length = direction.dot(&direction).sqrt();
                if length > 0.0 {
                    direction /= length;
                }
            }
            Ok(made)
        };
        (0..params.k).map(of_head).collect()
    }
}
