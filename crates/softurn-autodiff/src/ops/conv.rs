//! Convolutions. Saves the images and the weights, and the result where an activation follows; patches are made again.

use softurn_kernels::ops::conv::{Conv, Gradients, conv_transpose2d, conv2d};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct Convolution {
    conv: Conv,
    activation: Activation,
    x: Tensor,
    weight: Tensor,
    y: Option<Tensor>,
    bias: bool,
}

impl Rule for Convolution {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = only(dy)?;
        // Without an activation only the shape of y is looked at, and dy has it too.
        let results = [self.y.as_ref().unwrap_or(dy), dy];
        let (bias, wanted) = (self.bias && wanted[2], [wanted[0], wanted[1]]);
        let gradients =
            conv2d::backward(gpu, self.conv, self.activation, &self.x, &self.weight, results, wanted, bias)?;
        Ok(listed(gradients, self.bias))
    }
}

struct Transposed {
    conv: Conv,
    output_padding: [usize; 2],
    x: Tensor,
    weight: Tensor,
    bias: bool,
}

impl Rule for Transposed {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (bias, wanted) = (self.bias && wanted[2], [wanted[0], wanted[1]]);
        let (x, weight) = (&self.x, &self.weight);
        let gradients =
            conv_transpose2d::backward(gpu, self.conv, self.output_padding, x, weight, only(dy)?, wanted, bias)?;
        Ok(listed(gradients, self.bias))
    }
}

/// By input.
fn listed(gradients: Gradients, bias: bool) -> Vec<Option<Tensor>> {
    let mut all = vec![gradients.x, gradients.weight];
    if bias {
        all.push(gradients.bias);
    }
    all
}

impl<'t> Var<'t> {
    /// The convolution `f(x * W + b)` of images `[n, height, width, inputs]` with `W` `[kernel height, kernel width, inputs,
    /// outputs]` and a bias `[outputs]`: `[n, out height, out width, outputs]`, where an axis of length `l` gives
    /// `⌊(l + 2 padding - kernel) / stride⌋ + 1`.
    ///
    /// # Errors
    /// As [`conv2d::forward`].
    pub fn conv2d(&self, weight: &Self, bias: Option<&Self>, conv: Conv, activation: Activation) -> Result<Self> {
        let (x, w) = (self.value(), weight.value());
        let y = conv2d::forward(self.tape().gpu(), conv, activation, x, w, bias.map(Self::value))?;
        let saved = (activation != Activation::None).then(|| y.clone());
        let rule = Convolution { conv, activation, x: x.clone(), weight: w.clone(), y: saved, bias: bias.is_some() };
        let mut inputs = vec![self, weight];
        inputs.extend(bias);
        let [y] = self.tape().record("conv2d", &inputs, [y], rule)?;
        Ok(y)
    }

    /// The transposed convolution of images `[n, height, width, inputs]` with `W` `[kernel height, kernel width, outputs,
    /// inputs]`, as a convolution from outputs to inputs has it, and a bias `[outputs]`: an axis of length `l` gives
    /// `(l - 1) stride - 2 padding + kernel + output_padding`.
    ///
    /// # Errors
    /// As [`conv_transpose2d::forward`].
    pub fn conv_transpose2d(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        conv: Conv,
        output_padding: [usize; 2],
    ) -> Result<Self> {
        let (x, w) = (self.value(), weight.value());
        let y = conv_transpose2d::forward(self.tape().gpu(), conv, output_padding, x, w, bias.map(Self::value))?;
        let rule = Transposed { conv, output_padding, x: x.clone(), weight: w.clone(), bias: bias.is_some() };
        let mut inputs = vec![self, weight];
        inputs.extend(bias);
        let [y] = self.tape().record("conv_transpose2d", &inputs, [y], rule)?;
        Ok(y)
    }
}
