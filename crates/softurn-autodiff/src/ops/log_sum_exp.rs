//! Logarithm of the sum of exponentials of rows. Saves its input and its result.

use softurn_kernels::ops::log_sum_exp;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct LogSumExp {
    x: Tensor,
    y: Tensor,
}

impl Rule for LogSumExp {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(log_sum_exp::backward(gpu, &self.x, &self.y, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// `log Σ_j e^{x_j}` of each row: `[.., cols]` to `[..]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn log_sum_exp(&self) -> Result<Self> {
        let y = log_sum_exp::forward(self.tape().gpu(), self.value())?;
        let rule = LogSumExp { x: self.value().clone(), y: y.clone() };
        let [y] = self.tape().record("log_sum_exp", &[self], [y], rule)?;
        Ok(y)
    }
}
