//! Cross-entropy of logits with soft targets: `loss_i = Σ_j t_j (log Σ_k e^{l_k} - l_j)`.
//!
//! Rows of targets need not sum to 1; a target of 0 contributes nothing even where its logit is `-inf`.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::row_loss::RowLoss;
use crate::{Gpu, Result, Tensor};

const LOSS: RowLoss = RowLoss { op: "cross_entropy", argument: "logits", backward_by_rows: true };

/// The loss of each row in nats, `[rows]`, for logits and targets `[rows, cols]`.
///
/// # Errors
/// When `logits` is not a matrix of floats or `targets` has another shape.
pub fn forward(gpu: &Gpu, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    LOSS.forward(gpu, logits, targets)
}

/// `dloss_i (softmax(l) Σ_j t_j - t)`, `[rows, cols]`; targets get no gradient.
///
/// # Errors
/// As [`forward`], and when `dloss` is not `[rows]`.
pub fn backward(gpu: &Gpu, logits: &Tensor, targets: &Tensor, dloss: &Tensor) -> Result<Tensor> {
    LOSS.backward(gpu, logits, targets, dloss)
}
