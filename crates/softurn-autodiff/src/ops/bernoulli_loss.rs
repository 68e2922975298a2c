//! Bernoulli negative log-likelihood of constant targets. Saves both operands.

use softurn_kernels::ops::bernoulli_loss;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct BernoulliLoss {
    x: Tensor,
    targets: Tensor,
}

impl Rule for BernoulliLoss {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(bernoulli_loss::backward(gpu, &self.x, &self.targets, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// Per row, `Σ_j -t log σ(l) - (1 - t) log(1 - σ(l))` for logits and targets `[rows, cols]`; `[rows]`, in nats.
    ///
    /// # Errors
    /// When the shapes differ or are not matrices.
    pub fn bernoulli_loss(&self, targets: &Tensor) -> Result<Self> {
        let loss = bernoulli_loss::forward(self.tape().gpu(), self.value(), targets)?;
        let rule = BernoulliLoss { x: self.value().clone(), targets: targets.clone() };
        let [loss] = self.tape().record("bernoulli_loss", &[self], [loss], rule)?;
        Ok(loss)
    }
}
