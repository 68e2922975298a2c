//! Bernoulli negative log-likelihood with logits: `loss_i = Σ_j max(l, 0) - l t + log(1 + e^-|l|)`.
//!
//! The stable form of `-t log σ(l) - (1 - t) log(1 - σ(l))`; targets may be any numbers in `[0, 1]`.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::row_loss::RowLoss;
use crate::{Gpu, Result, Tensor};

const LOSS: RowLoss = RowLoss { op: "bernoulli_loss", argument: "logits", backward_by_rows: false };

/// The loss of each row in nats, `[rows]`, for logits and targets `[rows, cols]`.
///
/// # Errors
/// When `logits` is not a matrix of floats or `targets` has another shape.
pub fn forward(gpu: &Gpu, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    LOSS.forward(gpu, logits, targets)
}

/// `dloss_i (σ(l) - t)`, `[rows, cols]`; targets get no gradient.
///
/// # Errors
/// As [`forward`], and when `dloss` is not `[rows]`.
pub fn backward(gpu: &Gpu, logits: &Tensor, targets: &Tensor, dloss: &Tensor) -> Result<Tensor> {
    LOSS.backward(gpu, logits, targets, dloss)
}
