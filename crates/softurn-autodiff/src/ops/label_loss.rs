//! Reverse and collision cross-entropy with constant soft labels. Saves both operands.

use softurn_kernels::ops::label_loss::{self, Loss};
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct LabelLoss {
    loss: Loss,
    logits: Tensor,
    labels: Tensor,
}

impl Rule for LabelLoss {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(label_loss::backward(gpu, self.loss, &self.logits, &self.labels, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// Per row of logits `[rows, cols]`, with `p` their softmax and labels `y` `[rows, cols]`: `-Σ_j p_j log y_j`, or
    /// `-log Σ_j p_j y_j`; `[rows]`, in nats. Labels get no gradient.
    ///
    /// # Errors
    /// When the shapes differ or are not matrices.
    pub fn label_loss(&self, loss: Loss, labels: &Tensor) -> Result<Self> {
        let value = label_loss::forward(self.tape().gpu(), loss, self.value(), labels)?;
        let rule = LabelLoss { loss, logits: self.value().clone(), labels: labels.clone() };
        let [value] = self.tape().record("label_loss", &[self], [value], rule)?;
        Ok(value)
    }
}
