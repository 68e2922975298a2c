//! The rules: one file per kernel, with the methods of [`crate::Var`] that record it, what it saves and what its
//! backward returns.

mod bernoulli_loss;
mod binary;
mod blocks;
mod conv;
mod cross_entropy;
mod entmax;
mod fisher_hypergeometric;
mod gather;
mod gaussian;
mod gaussian_mixture;
mod grouped_matmul;
mod gumbel_softmax;
mod label_loss;
mod log_sum_exp;
mod matmul;
mod nested_subset;
mod plackett_luce;
mod reduce;
mod relaxed_sort;
mod sigmoid_top_k;
mod softmax;
mod squared_error;
mod subset;
mod successive_top_k;
mod top_k;
mod unary;

pub use fisher_hypergeometric::FisherHypergeometricDraw;
use softurn_kernels::{Error as KernelError, Tensor};

use crate::Result;

/// The gradient of the only output.
pub(crate) fn only(dy: &[Option<Tensor>]) -> Result<&Tensor> {
    match dy {
        [Some(dy)] => Ok(dy),
        _ => Err(KernelError::argument("backward", "dy", "is not one gradient").into()),
    }
}
