//! Rows by index. Saves the index and the number of rows.

use softurn_kernels::ops::gather;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct Gather {
    rows: usize,
    index: Tensor,
}

impl Rule for Gather {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(gather::backward(gpu, self.rows, &self.index, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// Rows of `[rows, cols]` by an index `[count]` of `u32`: `[count, cols]`.
    ///
    /// # Errors
    /// When this is not a matrix or `index` does not hold `u32`.
    pub fn gather(&self, index: &Tensor) -> Result<Self> {
        let y = gather::forward(self.tape().gpu(), self.value(), index)?;
        let rule = Gather { rows: self.shape().rows_cols().0, index: index.clone() };
        let [y] = self.tape().record("gather", &[self], [y], rule)?;
        Ok(y)
    }
}
