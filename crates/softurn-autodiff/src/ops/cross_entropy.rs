//! Cross-entropy with constant soft targets. Saves both operands.

use softurn_kernels::ops::cross_entropy;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct CrossEntropy {
    x: Tensor,
    targets: Tensor,
}

impl Rule for CrossEntropy {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(cross_entropy::backward(gpu, &self.x, &self.targets, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// Per row, `Σ_j t_j (log Σ_k e^{l_k} - l_j)` for logits and targets `[rows, cols]`; `[rows]`, in nats.
    ///
    /// # Errors
    /// When the shapes differ or are not matrices.
    pub fn cross_entropy(&self, targets: &Tensor) -> Result<Self> {
        let loss = cross_entropy::forward(self.tape().gpu(), self.value(), targets)?;
        let rule = CrossEntropy { x: self.value().clone(), targets: targets.clone() };
        let [loss] = self.tape().record("cross_entropy", &[self], [loss], rule)?;
        Ok(loss)
    }
}
