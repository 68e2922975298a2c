//! Log-probabilities of ordered selections. Saves the scores and what the kernel left for its backward.

use softurn_kernels::ops::plackett_luce::{self, Saved};
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct PlackettLuce {
    scores: Tensor,
    saved: Saved,
}

impl Rule for PlackettLuce {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(plackett_luce::backward(gpu, &self.scores, &self.saved, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// With this as log-scores `[.., n]`: the log-probabilities `[..]` of the ordered selections `order` `[.., k]` of `u32`,
    /// without replacement.
    ///
    /// # Errors
    /// When `order` does not hold `u32`, has other leading axes, or more indices than a row has scores.
    pub fn plackett_luce_log_prob(&self, order: &Tensor) -> Result<Self> {
        let (log_p, saved) = plackett_luce::forward(self.tape().gpu(), self.value(), order)?;
        let rule = PlackettLuce { scores: self.value().clone(), saved };
        let [log_p] = self.tape().record("plackett_luce_log_prob", &[self], [log_p], rule)?;
        Ok(log_p)
    }
}
