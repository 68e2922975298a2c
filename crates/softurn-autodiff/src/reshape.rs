//! Another shape for the same elements: the gradient gets the old shape back. Saves that shape; no kernel runs.

use softurn_kernels::{Gpu, Shape, Tensor};

use crate::ops::only;
use crate::{Result, Rule, Var};

struct Reshape(Shape);

impl Rule for Reshape {
    fn backward(&self, _: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(only(dy)?.reshape(self.0.clone())?)])
    }
}

impl<'t> Var<'t> {
    /// The same elements under another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let y = self.value().reshape(shape)?;
        let [y] = self.tape().record("reshape", &[self], [y], Reshape(self.shape().clone()))?;
        Ok(y)
    }
}
