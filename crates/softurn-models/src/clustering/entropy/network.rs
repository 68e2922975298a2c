//! The network from a row to the logits of its groups.

use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::{Key, Tensor};

use super::Params;
use crate::Result;
use crate::clustering::network::{Layers, SphereEncoder};
use crate::nn::Linear;

/// What stands before the last layer.
#[derive(Debug)]
enum Body {
    /// A linear model takes rows as they are; of images the mean image, `[1, columns]`, is taken off: what all rows share
    /// would push all logits the same way, and all rows into one group.
    Linear(Option<Tensor>),
    /// Others take unit vectors times `√latent`.
    Deep(SphereEncoder),
}

/// A linear layer of `k` logits, and what stands before it.
#[derive(Debug)]
pub(super) struct Network {
    body: Body,
    latent: usize,
    head: Linear,
}

impl Network {
    /// A network whose parameters' names start with `prefix`.
    pub(super) fn new(
        parameters: &mut Parameters,
        prefix: &str,
        params: &Params,
        layers: &Layers,
        centre: Option<Tensor>,
        key: Key,
    ) -> Result<Self> {
        let [trunk_key, head_key, direction_key] = key.split();
        let (body, last) = if params.is_linear() {
            (Body::Linear(centre), layers.columns)
        } else {
            let (name, keys) = (format!("{prefix}encoder"), [trunk_key, direction_key]);
            (Body::Deep(SphereEncoder::new(parameters, &name, layers, params.latent, keys)?), params.latent)
        };
        // Not zero: predictions that are all alike have no gradient.
        let bound = (6.0 / (last + params.k) as f32).sqrt();
        let shape = [last, params.k];
        let head = Linear::new(parameters, &format!("{prefix}head"), shape, bound, 0.0, Activation::None, head_key)?;
        Ok(Self { body, latent: params.latent, head })
    }

    /// The mean image of a linear model of images.
    pub(super) fn centre(&self) -> Option<&Tensor> {
        match &self.body {
            Body::Linear(centre) => centre.as_ref(),
            Body::Deep(_) => None,
        }
    }

    /// The last layer.
    pub(super) fn head(&self) -> &Linear {
        &self.head
    }

    /// The weights of the last layer.
    pub(super) fn head_weight(&self) -> &Param {
        self.head.weight()
    }

    /// Unit vectors, `[rows, latent]`, of a network that has an encoder.
    pub(super) fn unit<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>) -> Result<Option<Var<'t>>> {
        match &self.body {
            Body::Linear(_) => Ok(None),
            Body::Deep(encoder) => {
                let [_, unit] = encoder.forward(tape, parameters, x, false)?;
                Ok(Some(unit))
            }
        }
    }

    /// What the last layer sees.
    fn hidden<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>) -> Result<Var<'t>> {
        match (&self.body, self.unit(tape, parameters, x)?) {
            (_, Some(unit)) => Ok(unit.affine((self.latent as f32).sqrt(), 0.0)?),
            (Body::Linear(Some(centre)), None) => Ok((x - &tape.constant(centre))?),
            (_, None) => Ok(x.clone()),
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
