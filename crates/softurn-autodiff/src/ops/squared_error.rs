//! Squared error against constant targets. Saves both operands.

use softurn_kernels::ops::squared_error;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct SquaredError {
    x: Tensor,
    targets: Tensor,
}

impl Rule for SquaredError {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(squared_error::backward(gpu, &self.x, &self.targets, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// Per row, `Σ_j (x - t)²` for `x` and targets `[rows, cols]`; `[rows]`.
    ///
    /// # Errors
    /// When the shapes differ or are not matrices.
    pub fn squared_error(&self, targets: &Tensor) -> Result<Self> {
        let loss = squared_error::forward(self.tape().gpu(), self.value(), targets)?;
        let rule = SquaredError { x: self.value().clone(), targets: targets.clone() };
        let [loss] = self.tape().record("squared_error", &[self], [loss], rule)?;
        Ok(loss)
    }
}
