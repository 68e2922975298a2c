//! Sparsemax and 1.5-entmax of rows. Both save their result.

use softurn_kernels::ops::entmax::{self, Alpha};
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct Entmax {
    y: Tensor,
    alpha: Alpha,
}

impl Rule for Entmax {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(entmax::backward(gpu, &self.y, only(dy)?, self.alpha)?)])
    }
}

impl Var<'_> {
    /// Sparsemax of each row of the last axis: the closest law in Euclidean distance, with zeros.
    ///
    /// # Errors
    /// When the rows are longer than a software adapter can take (about 1.7 million).
    pub fn sparsemax(&self) -> Result<Self> {
        self.entmax("sparsemax", Alpha::Two)
    }

    /// 1.5-entmax of each row of the last axis: between softmax and sparsemax, with zeros.
    ///
    /// # Errors
    /// As [`Var::sparsemax`].
    pub fn entmax15(&self) -> Result<Self> {
        self.entmax("entmax15", Alpha::OneAndAHalf)
    }

    fn entmax(&self, name: &'static str, alpha: Alpha) -> Result<Self> {
        let y = entmax::forward(self.tape().gpu(), self.value(), alpha)?;
        let [y] = self.tape().record(name, &[self], [y.clone()], Entmax { y, alpha })?;
        Ok(y)
    }
}
