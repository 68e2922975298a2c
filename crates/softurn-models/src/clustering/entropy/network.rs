//! The network from a row to the logits of its groups.

use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::{Key, Tensor};

use super::Params;
use crate::Result;
use crate::nn::{Linear, Mlp};

/// Hidden layers, where there are any, and a linear one of `k` logits. Of images the mean image is taken off first: what
/// all rows share would push all logits the same way, and all rows into one group.
#[derive(Debug)]
pub(super) struct Network {
    /// The mean of images, `[1, columns]`.
    centre: Option<Tensor>,
    trunk: Option<Mlp>,
    head: Linear,
}

impl Network {
    /// A network whose parameters' names start with `prefix`.
    pub(super) fn new(
        parameters: &mut Parameters,
        prefix: &str,
        params: &Params,
        columns: usize,
        centre: Option<Tensor>,
        key: Key,
    ) -> Result<Self> {
        let mut widths = vec![columns];
        widths.extend(&params.hidden);
        let last = widths[widths.len() - 1];
        let [trunk_key, head_key] = key.split();
        let trunk = match params.hidden.len() {
            0 => None,
            _ => Some(Mlp::new(parameters, &format!("{prefix}trunk"), &widths, Activation::Relu, trunk_key)?),
        };
        // Not zero: predictions that are all alike have no gradient.
        let bound = (6.0 / (last + params.k) as f32).sqrt();
        let shape = [last, params.k];
        let head = Linear::new(parameters, &format!("{prefix}head"), shape, bound, 0.0, Activation::None, head_key)?;
        Ok(Self { centre, trunk, head })
    }

    pub(super) fn centre(&self) -> Option<&Tensor> {
        self.centre.as_ref()
    }

    /// The weights of the last layer.
    pub(super) fn head_weight(&self) -> &Param {
        self.head.weight()
    }

    fn hidden<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>) -> Result<Var<'t>> {
        let x = match &self.centre {
            Some(centre) => (x - &tape.constant(centre))?,
            None => x.clone(),
        };
        match &self.trunk {
            Some(trunk) => trunk.forward(tape, parameters, &x, false),
            None => Ok(x),
        }
    }

    pub(super) fn logits<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>) -> Result<Var<'t>> {
        self.head.forward(tape, parameters, &self.hidden(tape, parameters, x)?, false)
    }

    /// Logits of rows, without a history.
    pub(super) fn logits_of(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        let tape = Tape::new(parameters.gpu());
        Ok(self.logits(&tape, parameters, &tape.constant(x))?.value().clone())
    }

    /// What the last layer sees of rows.
    pub(super) fn hidden_of(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        let tape = Tape::new(parameters.gpu());
        Ok(self.hidden(&tape, parameters, &tape.constant(x))?.value().clone())
    }
}
