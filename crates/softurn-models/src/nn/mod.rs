//! Layers: a linear layer, one whose rows go to heads, the multilayer perceptron made of linear layers, and convolutions.

mod conv;
mod grouped;

use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::Key;
use softurn_kernels::ops::matmul::Activation;

use crate::Result;

pub use conv::{Conv2d, ConvTranspose2d};
pub use grouped::GroupedLinear;

/// `y = f(x W + b)` with `W` of shape `[inputs, outputs]`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Param,
    bias: Param,
    activation: Activation,
}

impl Linear {
    /// A layer with weights uniform on `±bound` and bias `bias`; the parameters are called `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// When the name is taken or the layer is too large for the adapter.
    pub fn new(
        parameters: &mut Parameters,
        name: &str,
        [inputs, outputs]: [usize; 2],
        bound: f32,
        bias: f32,
        activation: Activation,
        key: Key,
    ) -> Result<Self> {
        let weight = parameters.uniform(format!("{name}.weight"), [inputs, outputs], bound, key)?;
        let bias = parameters.constant(format!("{name}.bias"), [outputs], bias)?;
        Ok(Self { weight, bias, activation })
    }

    /// `W`, `[inputs, outputs]`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// `b`, `[outputs]`.
    pub fn bias(&self) -> &Param {
        &self.bias
    }

    /// `[rows, inputs]` to `[rows, outputs]`. With `frozen`, no gradient reaches the layer's own parameters.
    ///
    /// # Errors
    /// When `x` has another number of columns.
    pub fn forward<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>, frozen: bool) -> Result<Var<'t>> {
        let weight = variable(tape, parameters, &self.weight, frozen)?;
        let bias = variable(tape, parameters, &self.bias, frozen)?;
        Ok(x.linear(&weight, Some(&bias), self.activation)?)
    }
}

/// A parameter on the tape, as a constant with `frozen`.
fn variable<'t>(tape: &'t Tape, parameters: &Parameters, param: &Param, frozen: bool) -> Result<Var<'t>> {
    let var = tape.param(parameters, param)?;
    Ok(if frozen { var.detach() } else { var })
}

/// Hidden layers with ReLU and a linear last one: `widths = [inputs, hidden.., outputs]`.
///
/// Hidden weights are uniform on `±√(6 / inputs)` (He et al. 2015), the last layer's on `±√(6 / (inputs + outputs))`
/// (Glorot and Bengio 2010); biases are 0.
#[derive(Debug, Clone)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// A network whose parameters are called `NAME.0.weight`, `NAME.0.bias`, ...
    ///
    /// # Errors
    /// When a name is taken or a layer is too large for the adapter.
    pub fn new(parameters: &mut Parameters, name: &str, widths: &[usize], last: Activation, key: Key) -> Result<Self> {
        let count = widths.len().saturating_sub(1);
        let mut layers = Vec::with_capacity(count);
        for (i, pair) in widths.windows(2).enumerate() {
            let [inputs, outputs] = [pair[0], pair[1]];
            let is_last = i + 1 == count;
            // A last layer that is followed by a ReLU is initialised as a hidden one.
            let hidden = !is_last || last == Activation::Relu;
            let fan = if hidden { inputs } else { inputs + outputs };
            let activation = if is_last { last } else { Activation::Relu };
            let bound = (6.0 / fan as f32).sqrt();
            let name = format!("{name}.{i}");
            layers.push(Linear::new(
                parameters,
                &name,
                [inputs, outputs],
                bound,
                0.0,
                activation,
                key.child(i as u64),
            )?);
        }
        Ok(Self { layers })
    }

    /// From the inputs to the outputs.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    /// `[rows, inputs]` to `[rows, outputs]`.
    ///
    /// # Errors
    /// When `x` has another number of columns.
    pub fn forward<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>, frozen: bool) -> Result<Var<'t>> {
        let mut x = x.clone();
        for layer in &self.layers {
            x = layer.forward(tape, parameters, &x, frozen)?;
        }
        Ok(x)
    }
}
