//! The tensorised autoencoder (TAE), and with shared outer layers the partially tensorised one (PTAE).

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::Key;
use softurn_kernels::ops::grouped_matmul::Groups;
use softurn_kernels::ops::matmul::{self, Activation};
use softurn_kernels::ops::{augment, grouped_matmul};

use super::framework::{Framework, HeadRows, Reconstructs};
use super::{Fitted, Undecided, Width};
use crate::{Error, Result};

/// Below so many numbers, copies of the rows for all heads cost less than the dispatches that do without them.
const COPIES: usize = 1 << 18;

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
        heads: &Groups,
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
                x.grouped_matmul(&tape.param(parameters, weight)?, None, heads, options)?
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
    /// Through the transposed weights of the encoder, backwards.
    fn transposed<'t>(
        layers: &AutoencoderLayers,
        parameters: &Parameters,
        code: Var<'t>,
        heads: &Groups,
    ) -> Result<Var<'t>> {
        let mut weights = layers.encoder.iter().rev();
        weights.try_fold(code, |x, weight| weight.apply(parameters, &x, heads, true, Activation::None))
    }

    fn decode<'t>(
        &self,
        layers: &AutoencoderLayers,
        parameters: &Parameters,
        code: Var<'t>,
        heads: &Groups,
    ) -> Result<Var<'t>> {
        if self.tied {
            return Self::transposed(layers, parameters, code, heads);
        }
        let mut weights = layers.decoder.iter();
        weights.try_fold(code, |x, weight| weight.apply(parameters, &x, heads, false, Activation::None))
    }

    /// What layers of the encoder make of rows.
    fn code<'t>(&self, layers: &[Weight], parameters: &Parameters, x: Var<'t>, heads: &Groups) -> Result<Var<'t>> {
        layers.iter().try_fold(x, |x, weight| weight.apply(parameters, &x, heads, false, self.activation()))
    }
}

impl Autoencoder {
    /// The losses of all pairs of a row and a head, with nothing as wide as a row for each.
    ///
    /// Head `j` makes `z M_j` of a code `z`, as the decoder is linear, and with `x̃ = x - c_j`
    ///
    /// `‖z M_j - x̃‖² = ‖x̃‖² + z · (z M_j M_jᵀ - 2 x̃ M_jᵀ)`,
    ///
    /// where `x̃ M_jᵀ = x M_jᵀ - c_j M_jᵀ`, and `x M_jᵀ` of all heads is one product. So is what a linear encoder makes.
    pub(super) fn losses_without_copies<'t>(
        &self,
        layers: &AutoencoderLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &Undecided<'_>,
    ) -> Result<Var<'t>> {
        let [heads, columns] = [rows.groups().heads(), rows.x.shape().dims()[1]];
        let (pairs, size) = (rows.by_rows().len(), self.widths.last().copied().unwrap_or(0));
        let [x, centres, origin, squares] =
            [&rows.x, &rows.centres, &rows.origin, &rows.squares].map(|tensor| tape.constant(tensor));
        let transposed = matmul::Options { transpose_b: true, ..matmul::Options::default() };
        let of_heads = grouped_matmul::Options { transpose_b: true, ..grouped_matmul::Options::default() };
        let one = Groups::every(tape.gpu(), 1, heads)?;
        let less_centres = |of_rows: Var<'t>, of_centres: Var<'t>| of_rows - &of_centres.gather(rows.heads())?;
        // x̃ Mᵀ of all pairs for the maps M of all heads, [heads · size, columns].
        let project = |maps: &Var<'t>| {
            let of_rows = x.matmul_with(maps, None, transposed)?.reshape([pairs, size])?.gather(rows.by_rows())?;
            let maps = maps.reshape([heads, size, columns])?;
            less_centres(of_rows, centres.grouped_matmul(&maps, None, &one, of_heads)?)
        };

        // What maps make of each unit code is their matrix.
        let units: Vec<f32> = (0..heads).flat_map(|_| Array2::<f32>::eye(size)).collect();
        let units = tape.constant(&tape.gpu().tensor(&units, [heads * size, size])?);
        let of_units = Groups::every(tape.gpu(), size, heads)?;
        let makes = self.decode(layers, parameters, units.clone(), &of_units)?;
        let shares = project(&makes)?;
        let code = match (self.relu, layers.encoder.first()) {
            (false, _) if self.tied => shares.clone(),
            (false, _) => project(&Self::transposed(layers, parameters, units, &of_units)?)?,
            (true, Some(Weight::Shared(first))) => {
                let first = tape.param(parameters, first)?;
                let hidden = less_centres(x.matmul(&first)?.gather(rows.rows())?, centres.matmul(&first)?)?.relu()?;
                self.code(&layers.encoder[1..], parameters, hidden, rows.groups())?
            }
            (true, _) => self.encode(layers, tape, parameters, &rows.under_all()?)?,
        };
        let products = makes.grouped_matmul(&makes.reshape([heads, size, columns])?, None, &of_units, of_heads)?;
        let products = products.reshape([heads, size, size])?;
        let change = code.grouped_matmul(&products, None, rows.groups(), grouped_matmul::Options::default())?;
        let change = (&code * &(change - &shares.affine(2.0, 0.0)?)?)?.sum_cols()?;

        // ‖x̃‖² = ‖x - o‖² - 2 x · (c - o) + (c + o) · (c - o).
        let from_origin = (&centres - &origin)?;
        let of_centres = ((centres + &origin)? * &from_origin)?.sum_cols()?.reshape([heads, 1])?;
        let distances = from_origin.affine(-2.0, 0.0)?.matmul_with(&x, None, transposed)?;
        let distances = ((distances + &squares)? + &of_centres)?.reshape([pairs])?;
        let error = (distances + &change)?.relu()?.affine(1.0 / columns as f32, 0.0)?;
        Ok((error + &code.square()?.sum_cols()?.affine(self.penalty, 0.0)?)?)
    }
}

impl Framework for Autoencoder {
    type Layers = AutoencoderLayers;
    const NAME: &'static str = "cluster_specific.autoencoder";

    fn check(&self, _heads: usize) -> Result<()> {
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
        let code = self.code(&layers.encoder, parameters, tape.constant(&seen), &rows.heads)?;
        let size = code.square()?.sum_cols()?;
        let columns = rows.x.shape().dims()[1] as f32;
        let error =
            self.decode(layers, parameters, code, &rows.heads)?.squared_error(&rows.x)?.affine(1.0 / columns, 0.0)?;
        Ok((error + &size.affine(self.penalty, 0.0)?)?)
    }

    fn losses_of_all_heads<'t>(
        &self,
        layers: &AutoencoderLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &Undecided<'_>,
        _key: Key,
    ) -> Result<Var<'t>> {
        match rows.by_rows().len() * rows.x.shape().dims()[1] {
            COPIES.. if rows.near_zero => self.losses_without_copies(layers, tape, parameters, rows),
            _ => self.losses(layers, tape, parameters, &rows.under_all()?, None),
        }
    }

    fn encode<'t>(
        &self,
        layers: &AutoencoderLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        self.code(&layers.encoder, parameters, tape.constant(&rows.x), &rows.heads)
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
        self.decode(layers, parameters, code, &rows.heads)
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
