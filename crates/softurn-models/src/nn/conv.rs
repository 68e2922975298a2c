//! Convolutional layers of images `[n, height, width, channels]`.
//!
//! Weights are uniform with variance `2 / fan`, where `fan` products are summed in an element of the output (He et al. 2015):
//! `height · width · inputs` of the kernel, and of a transposed convolution that divided by the strides, on average.
//! Biases are 0.

use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::Key;
use softurn_kernels::ops::conv::Conv;
use softurn_kernels::ops::matmul::Activation;

use crate::Result;

/// `y = f(x * W + b)` with `W` of shape `[kernel height, kernel width, inputs, outputs]`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Param,
    bias: Param,
    conv: Conv,
    activation: Activation,
}

impl Conv2d {
    /// A layer whose parameters are called `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// When the name is taken, the kernel or the inputs are 0, or the layer is too large for the adapter.
    pub fn new(
        parameters: &mut Parameters,
        name: &str,
        kernel: [usize; 2],
        [inputs, outputs]: [usize; 2],
        conv: Conv,
        activation: Activation,
        key: Key,
    ) -> Result<Self> {
        let bound = (6.0 / (kernel[0] * kernel[1] * inputs) as f32).sqrt();
        let shape = [kernel[0], kernel[1], inputs, outputs];
        let weight = parameters.uniform(format!("{name}.weight"), shape, bound, key)?;
        let bias = parameters.constant(format!("{name}.bias"), [outputs], 0.0)?;
        Ok(Self { weight, bias, conv, activation })
    }

    /// `[n, height, width, inputs]` to `[n, out height, out width, outputs]`. With `frozen`, no gradient reaches the layer's
    /// own parameters.
    ///
    /// # Errors
    /// As [`Var::conv2d`].
    pub fn forward<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>, frozen: bool) -> Result<Var<'t>> {
        let weight = super::variable(tape, parameters, &self.weight, frozen)?;
        let bias = super::variable(tape, parameters, &self.bias, frozen)?;
        Ok(x.conv2d(&weight, Some(&bias), self.conv, self.activation)?)
    }
}

/// The transposed convolution, which makes images larger, and an activation; `W` has the shape `[kernel height, kernel
/// width, outputs, inputs]`.
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    weight: Param,
    bias: Param,
    conv: Conv,
    output_padding: [usize; 2],
    activation: Activation,
}

impl ConvTranspose2d {
    /// A layer whose parameters are called `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// As [`Conv2d::new`], and when a stride is 0.
    pub fn new(
        parameters: &mut Parameters,
        name: &str,
        kernel: [usize; 2],
        [inputs, outputs]: [usize; 2],
        conv: Conv,
        output_padding: [usize; 2],
        activation: Activation,
        key: Key,
    ) -> Result<Self> {
        let fan = (kernel[0] * kernel[1] * inputs) as f32 / (conv.stride[0] * conv.stride[1]) as f32;
        let shape = [kernel[0], kernel[1], outputs, inputs];
        let weight = parameters.uniform(format!("{name}.weight"), shape, (6.0 / fan).sqrt(), key)?;
        let bias = parameters.constant(format!("{name}.bias"), [outputs], 0.0)?;
        Ok(Self { weight, bias, conv, output_padding, activation })
    }

    /// `[n, height, width, inputs]` to `[n, out height, out width, outputs]`. With `frozen`, no gradient reaches the layer's
    /// own parameters.
    ///
    /// # Errors
    /// As [`Var::conv_transpose2d`].
    pub fn forward<'t>(&self, tape: &'t Tape, parameters: &Parameters, x: &Var<'t>, frozen: bool) -> Result<Var<'t>> {
        let weight = super::variable(tape, parameters, &self.weight, frozen)?;
        let bias = super::variable(tape, parameters, &self.bias, frozen)?;
        let y = x.conv_transpose2d(&weight, Some(&bias), self.conv, self.output_padding)?;
        Ok(match self.activation {
            Activation::None => y,
            Activation::Relu => y.relu()?,
            Activation::Tanh => y.tanh()?,
            Activation::Sigmoid => y.sigmoid()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use softurn_kernels::ops::random;
    use softurn_kernels::{Gpu, GpuConfig, Tensor};

    #[test]
    fn layers_keep_the_scale_of_their_input_and_learn() {
        let gpu =
            Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap_or_else(|error| panic!("{error}"));
        let mut parameters = Parameters::new(&gpu);
        let (kernel, conv) = ([4, 4], Conv { stride: [2, 2], padding: [1, 1] });
        let [there, back, images] = Key::new(1).split();
        let encoder = Conv2d::new(&mut parameters, "encoder", kernel, [3, 32], conv, Activation::Relu, there).unwrap();
        let relu = Activation::Relu;
        let decoder =
            ConvTranspose2d::new(&mut parameters, "decoder", kernel, [32, 3], conv, [0, 0], relu, back).unwrap();
        let names: Vec<&str> = parameters.iter().map(Param::name).collect();
        assert_eq!(names, ["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"]);
        let x = random::normal(&gpu, [8, 16, 16, 3], images).unwrap();
        let tape = Tape::new(&gpu);
        let code = encoder.forward(&tape, &parameters, &tape.constant(&x), false).unwrap();
        let y = decoder.forward(&tape, &parameters, &code, false).unwrap();
        assert_eq!((code.shape().dims(), y.shape()), (&[8, 8, 8, 32][..], x.shape()));
        let square = |x: &Tensor| x.read().unwrap().iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        // A ReLU halves the mean square of what is symmetric, and the weights double it; padding takes some away.
        for (what, size) in [("encoder", square(code.value())), ("decoder", square(y.value()))] {
            assert!((0.5..2.0).contains(&size), "{what}: {size}");
        }
        let frozen = decoder.forward(&tape, &parameters, &code.detach(), true).unwrap();
        assert!(!frozen.wants_gradient());
        let gradients = tape.backward(&y.square().unwrap().mean().unwrap()).unwrap();
        for param in parameters.iter() {
            let gradient = gradients.param(param).unwrap_or_else(|| panic!("no gradient of {}", param.name()));
            assert!(square(gradient) > 0.0, "{}", param.name());
        }
    }
}
