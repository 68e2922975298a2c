//! Softmax and log-softmax of rows. Both save their result.

use softurn_kernels::ops::softmax;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

pub(super) struct Softmax {
    pub(super) y: Tensor,
    pub(super) log: bool,
    pub(super) temperature: f32,
}

impl Rule for Softmax {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let backward = if self.log { softmax::backward_log } else { softmax::backward };
        Ok(vec![Some(backward(gpu, &self.y, only(dy)?, self.temperature)?)])
    }
}

impl Var<'_> {
    /// `softmax(x / temperature)` of each row.
    ///
    /// # Errors
    /// When the temperature is not positive.
    pub fn softmax(&self, temperature: f32) -> Result<Self> {
        let y = softmax::forward(self.tape().gpu(), self.value(), temperature)?;
        let [y] = self.tape().record("softmax", &[self], [y.clone()], Softmax { y, log: false, temperature })?;
        Ok(y)
    }

    /// `log softmax(x / temperature)` of each row, in nats.
    ///
    /// # Errors
    /// When the temperature is not positive.
    pub fn log_softmax(&self, temperature: f32) -> Result<Self> {
        let y = softmax::forward_log(self.tape().gpu(), self.value(), temperature)?;
        let [y] = self.tape().record("log_softmax", &[self], [y.clone()], Softmax { y, log: true, temperature })?;
        Ok(y)
    }
}
