//! The rules: one file per kernel, with the methods of [`crate::Var`] that record it, what it saves and what its
//! backward returns.

mod bernoulli_loss;
mod binary;
mod cross_entropy;
mod fisher_hypergeometric;
mod gather;
mod gaussian;
mod gaussian_mixture;
mod gumbel_softmax;
mod log_sum_exp;
mod matmul;
mod reduce;
mod softmax;
mod squared_error;
mod unary;

use softurn_kernels::{Error as KernelError, Tensor};

use crate::Result;

/// The gradient of the only output.
pub(crate) fn only(dy: &[Option<Tensor>]) -> Result<&Tensor> {
    match dy {
        [Some(dy)] => Ok(dy),
        _ => Err(KernelError::argument("backward", "dy", "is not one gradient").into()),
    }
}

/// Straight-through draws do not depend on their temperature, so their kernels would find a bad one in the backward pass
/// only.
fn valid_temperature(op: &'static str, temperature: f32) -> Result<()> {
    if temperature.is_finite() && temperature > 0.0 {
        return Ok(());
    }
    Err(KernelError::argument(op, "temperature", format!("is {temperature}, not a positive number")).into())
}
