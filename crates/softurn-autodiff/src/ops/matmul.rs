//! Matrix product with bias and activation. Saves the operands, and the result where an activation follows.

use softurn_kernels::ops::matmul::{self, Activation, Options};
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct MatMul {
    options: Options,
    a: Tensor,
    b: Tensor,
    c: Option<Tensor>,
    bias: bool,
}

impl Rule for MatMul {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dc = only(dy)?;
        // Without an activation only the shape of C is looked at, and dC has it too.
        let c = self.c.as_ref().unwrap_or(dc);
        let bias = self.bias && wanted[2];
        let gradients = matmul::backward(gpu, self.options, &self.a, &self.b, c, dc, [wanted[0], wanted[1]], bias)?;
        let mut all = vec![gradients.a, gradients.b];
        if self.bias {
            all.push(gradients.bias);
        }
        Ok(all)
    }
}

impl<'t> Var<'t> {
    /// `f(op(A) · op(B) + bias)`, `[m, n]`, for matrices whose products are `[m, k]` by `[k, n]` after `op`, which
    /// transposes what is stored transposed; the bias is `[n]`.
    ///
    /// # Errors
    /// When the inner sizes differ, an operand is not a matrix, or the bias does not fit.
    pub fn matmul_with(&self, other: &Self, bias: Option<&Self>, options: Options) -> Result<Self> {
        let (a, b) = (self.value(), other.value());
        let c = matmul::forward(self.tape().gpu(), options, a, b, bias.map(Self::value))?;
        let saved = (options.activation != Activation::None).then(|| c.clone());
        let rule = MatMul { options, a: a.clone(), b: b.clone(), c: saved, bias: bias.is_some() };
        let mut inputs = vec![self, other];
        inputs.extend(bias);
        let [c] = self.tape().record("matmul", &inputs, [c], rule)?;
        Ok(c)
    }

    /// `A · B` for matrices `[m, k]` and `[k, n]`.
    ///
    /// # Errors
    /// As [`Var::matmul_with`].
    pub fn matmul(&self, other: &Self) -> Result<Self> {
        self.matmul_with(other, None, Options::default())
    }

    /// A layer: `f(x W + b)` for `x` `[rows, inputs]`, `W` `[inputs, outputs]` and `b` `[outputs]`.
    ///
    /// # Errors
    /// As [`Var::matmul_with`].
    pub fn linear(&self, weight: &Self, bias: Option<&Self>, activation: Activation) -> Result<Self> {
        self.matmul_with(weight, bias, Options { activation, ..Options::default() })
    }
}
