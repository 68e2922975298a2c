//! Block masks of counts. Saves the counts.

use softurn_kernels::ops::blocks;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct Blocks {
    counts: Tensor,
}

impl Rule for Blocks {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(blocks::backward(gpu, &self.counts, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// Of counts `[.., groups]` that sum to `length`, whole or not: masks `[.., length, groups]` of consecutive positions.
    ///
    /// # Errors
    /// When there are positions but no groups, or more groups than the adapter can walk.
    pub fn blocks(&self, length: usize) -> Result<Self> {
        let y = blocks::forward(self.tape().gpu(), self.value(), length)?;
        let rule = Blocks { counts: self.value().clone() };
        let [y] = self.tape().record("blocks", &[self], [y], rule)?;
        Ok(y)
    }
}
