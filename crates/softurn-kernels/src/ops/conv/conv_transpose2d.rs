//! The transpose of [`super::conv2d`] as a linear map of images: `y[b, a s + i - p, q s + j - p, o] += Σ_c x[b, a, q, c]
//! w[i, j, o, c]`, plus a bias. Images times weights are the patches of the result, which are folded.

use super::{Conv, Geometry, Gradients, Joined, OP, add_up, check_bias, images_of, kernel_of, part_of, total};
use crate::ops::floats;
use crate::ops::matmul::{self, Options};
use crate::ops::reduce::{self, Reduction};
use crate::{Error, Gpu, Result, Tensor};

/// `W` is stored as the convolution from the result to `x` would have it.
const PRODUCT: Options = Options { transpose_a: false, transpose_b: true, activation: matmul::Activation::None };

/// What both directions are told by the shapes.
struct Sizes {
    /// Of the result and its patches, one for each pixel of `x`.
    geometry: Geometry,
    images: usize,
    inputs: usize,
}

impl Sizes {
    fn of(conv: Conv, output_padding: [usize; 2], x: &Tensor, weight: &Tensor) -> Result<Self> {
        let [images, height, width, inputs] = images_of("x", x)?;
        let (kernel, [channels, expected]) = kernel_of(weight)?;
        if expected != inputs {
            let expected = format!("[kernel height, kernel width, channels, {inputs}] for x of shape {}", x.shape());
            return Err(Error::shape(OP, "weight", weight.shape(), expected));
        }
        if height == 0 || width == 0 {
            return Err(Error::argument(OP, "x", format!("has images of {:?} pixels", [height, width])));
        }
        // With a stride of 0, which is refused below, this would hide it.
        if (0..2).any(|axis| output_padding[axis] >= conv.stride[axis].max(1)) {
            let message = format!("is {output_padding:?}, not below the stride {:?}", conv.stride);
            return Err(Error::argument(OP, "output_padding", message));
        }
        let mut image = [height, width];
        for axis in 0..2 {
            let longest = (image[axis] - 1).saturating_mul(conv.stride[axis]).saturating_add(kernel[axis]);
            let length = longest.saturating_add(output_padding[axis]);
            let Some(length) = length.checked_sub(conv.padding[axis].saturating_mul(2)).filter(|&length| length > 0)
            else {
                let message = format!("is {:?}: nothing would be left of {length} pixels", conv.padding);
                return Err(Error::argument(OP, "padding", message));
            };
            image[axis] = length.min(1 << 32);
        }
        Ok(Self { geometry: Geometry::new(conv, kernel, image, channels)?, images, inputs })
    }

    fn output(&self) -> [usize; 4] {
        [self.images, self.geometry.image[0], self.geometry.image[1], self.geometry.channels]
    }
}

/// The transposed convolution of images `x` `[n, height, width, inputs]` with `weight`
/// `[kernel height, kernel width, outputs, inputs]`, which is that of a convolution from outputs to inputs, and a bias
/// `[outputs]`: `[n, out height, out width, outputs]`, where an axis of length `l` gives
/// `(l - 1) stride - 2 padding + kernel + output_padding`.
///
/// # Errors
/// As [`super::conv2d::forward`]; when `output_padding` is not below the stride, and when the padding leaves nothing.
pub fn forward(
    gpu: &Gpu,
    conv: Conv,
    output_padding: [usize; 2],
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let sizes = Sizes::of(conv, output_padding, x, weight)?;
    let geometry = sizes.geometry;
    check_bias(bias, geometry.channels)?;
    let matrix = weight.reshape([geometry.entries(), sizes.inputs])?;
    let mut y = Joined::new(sizes.output());
    for block in geometry.blocks(sizes.images, sizes.inputs) {
        let rows = part_of(gpu, x, &block)?.reshape([block.len() * geometry.patches(), sizes.inputs])?;
        let patches = matmul::forward(gpu, PRODUCT, &rows, &matrix, None)?;
        y.put(gpu, &block, &geometry.fold(gpu, block.len(), &patches, bias)?)?;
    }
    y.take(gpu)
}

/// The gradients of what `wanted` names (`[x, weight]`) and of the bias if `with_bias`, from that of the output.
///
/// # Errors
/// As [`forward`], and when `dy` has not the output's shape.
pub fn backward(
    gpu: &Gpu,
    conv: Conv,
    output_padding: [usize; 2],
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    wanted: [bool; 2],
    with_bias: bool,
) -> Result<Gradients> {
    let sizes = Sizes::of(conv, output_padding, x, weight)?;
    floats(OP, &[("dy", dy)])?;
    if dy.shape().dims() != sizes.output() {
        return Err(Error::shape(OP, "dy", dy.shape(), format!("{:?}", sizes.output())));
    }
    let geometry = sizes.geometry;
    let matrix = weight.reshape([geometry.entries(), sizes.inputs])?;
    let mut dx = Joined::new([sizes.images, geometry.out[0], geometry.out[1], sizes.inputs]);
    let (mut dweight, mut dbias) = (None, None);
    for block in geometry.blocks(sizes.images, sizes.inputs) {
        let dy = part_of(gpu, dy, &block)?;
        if wanted != [false, false] {
            let rows = part_of(gpu, x, &block)?.reshape([block.len() * geometry.patches(), sizes.inputs])?;
            let patches = geometry.unfold(gpu, &dy)?;
            let parts = matmul::backward(gpu, PRODUCT, &rows, &matrix, &patches, &patches, wanted, false)?;
            if let Some(part) = parts.a {
                dx.put(gpu, &block, &part)?;
            }
            add_up(gpu, &mut dweight, parts.b)?;
        }
        if with_bias {
            let pixels = dy.reshape([block.len() * geometry.image[0] * geometry.image[1], geometry.channels])?;
            add_up(gpu, &mut dbias, Some(reduce::over_rows(gpu, Reduction::Sum, &pixels)?))?;
        }
    }
    Ok(Gradients {
        x: if wanted[0] { Some(dx.take(gpu)?) } else { None },
        weight: total(gpu, wanted[1], dweight, weight.shape().dims())?,
        bias: total(gpu, with_bias, dbias, &[geometry.channels])?,
    })
}
