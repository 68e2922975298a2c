//! Products of rows with the matrix of their group. Saves operands and groups, and the result where an activation follows.

use softurn_kernels::ops::grouped_matmul::{self, Groups, Options};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct GroupedMatMul {
    options: Options,
    groups: Groups,
    a: Tensor,
    b: Tensor,
    c: Option<Tensor>,
    bias: bool,
}

impl Rule for GroupedMatMul {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dc = only(dy)?;
        // Without an activation only the shape of C is looked at, and dC has it too.
        let c = self.c.as_ref().unwrap_or(dc);
        let bias = self.bias && wanted[2];
        let operands = [wanted[0], wanted[1]];
        let gradients =
            grouped_matmul::backward(gpu, self.options, &self.groups, &self.a, &self.b, c, dc, operands, bias)?;
        let mut all = vec![gradients.a, gradients.b];
        if self.bias {
            all.push(gradients.bias);
        }
        Ok(all)
    }
}

impl Var<'_> {
    /// `f(x_r · W_g(r) + b_g(r))`, `[rows, n]`: each row of `[rows, k]` by the matrix of its head, of `weights` `[heads, k, n]` (or
    /// `[heads, n, k]` with `transpose_b`) and `bias` `[heads, n]`.
    ///
    /// # Errors
    /// When a shape does not fit the groups or another operand.
    pub fn grouped_matmul(
        &self,
        weights: &Self,
        bias: Option<&Self>,
        groups: &Groups,
        options: Options,
    ) -> Result<Self> {
        let (a, b) = (self.value(), weights.value());
        let c = grouped_matmul::forward(self.tape().gpu(), options, groups, a, b, bias.map(Self::value))?;
        let saved = (options.activation != Activation::None).then(|| c.clone());
        let (groups, a, b) = (groups.clone(), a.clone(), b.clone());
        let rule = GroupedMatMul { options, groups, a, b, c: saved, bias: bias.is_some() };
        let mut inputs = vec![self, weights];
        inputs.extend(bias);
        let [c] = self.tape().record("grouped_matmul", &inputs, [c], rule)?;
        Ok(c)
    }
}
