//! Squared error of each row: `loss_i = Σ_j (x - t)²`.
//!
//! Twice the negative log-density of a unit Gaussian, without its constant.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::row_loss::RowLoss;
use crate::{Gpu, Result, Tensor};

const LOSS: RowLoss = RowLoss { op: "squared_error", argument: "x", backward_by_rows: false };

/// The squared error of each row, `[rows]`, for `x` and targets `[rows, cols]`.
///
/// # Errors
/// When `x` is not a matrix of floats or `targets` has another shape.
pub fn forward(gpu: &Gpu, x: &Tensor, targets: &Tensor) -> Result<Tensor> {
    LOSS.forward(gpu, x, targets)
}

/// `2 dloss_i (x - t)`, `[rows, cols]`; the gradient of the targets is its negative.
///
/// # Errors
/// As [`forward`], and when `dloss` is not `[rows]`.
pub fn backward(gpu: &Gpu, x: &Tensor, targets: &Tensor, dloss: &Tensor) -> Result<Tensor> {
    LOSS.backward(gpu, x, targets, dloss)
}
