//! Losses of logits against soft labels `y`, with `p = softmax(l)`, for discriminative clustering (Zhang and Boykov, arXiv
//! 2301.11405 and 2303.07321):
//!
//! * reverse cross-entropy `H(p, y) = -Σ_j p_j log y_j`, with gradient `p (c - p · c)`, `c = -log y`;
//! * collision cross-entropy `-log Σ_j p_j y_j`, with gradient `p (1 - y / (p · y))`.
//!
//! Uniform labels pull neither way: both gradients are zero. Labels count as 1e-8 at least and get no gradient.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::row_loss::RowLoss;
pub use super::self_label::Loss;
use crate::{Gpu, Result, Tensor};

const LOSS: RowLoss = RowLoss { op: "label_loss", argument: "logits", backward_by_rows: true };

fn kind(loss: Loss) -> [(&'static str, f64); 1] {
    [("KIND", if loss == Loss::Collision { 1.0 } else { 0.0 })]
}

/// The loss of each row in nats, `[rows]`, for logits and labels `[rows, cols]`.
///
/// # Errors
/// When `logits` is not a matrix of floats or `targets` has another shape.
pub fn forward(gpu: &Gpu, loss: Loss, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    LOSS.forward_with(gpu, &kind(loss), logits, targets)
}

/// The gradient of the logits, `[rows, cols]`, from that of the losses, `[rows]`.
///
/// # Errors
/// As [`forward`], and when `dloss` is not `[rows]`.
pub fn backward(gpu: &Gpu, loss: Loss, logits: &Tensor, targets: &Tensor, dloss: &Tensor) -> Result<Tensor> {
    LOSS.backward_with(gpu, &kind(loss), logits, targets, dloss)
}
