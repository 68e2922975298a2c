//! `y[b, a, q, o] = f(Σ_{i, j, c} x[b, a s + i - p, q s + j - p, c] w[i, j, c, o] + bias[o])`, a cross-correlation as in
//! other libraries: patches times weights, with bias and activation in the product.

use super::{Conv, Geometry, Gradients, Joined, add_up, check_bias, images_of, kernel_of, part_of, total};
use crate::ops::floats;
use crate::ops::matmul::{self, Activation, Options};
use crate::{Error, Gpu, Result, Tensor};

/// What both directions are told by the shapes.
struct Sizes {
    geometry: Geometry,
    images: usize,
    channels: usize,
}

impl Sizes {
    fn of(conv: Conv, x: &Tensor, weight: &Tensor) -> Result<Self> {
        let [images, height, width, inputs] = images_of("x", x)?;
        let (kernel, [expected, channels]) = kernel_of(weight)?;
        if expected != inputs {
            let expected = format!("[kernel height, kernel width, {inputs}, channels] for x of shape {}", x.shape());
            return Err(Error::shape(super::OP, "weight", weight.shape(), expected));
        }
        Ok(Self { geometry: Geometry::new(conv, kernel, [height, width], inputs)?, images, channels })
    }

    fn output(&self) -> [usize; 4] {
        [self.images, self.geometry.out[0], self.geometry.out[1], self.channels]
    }
}

/// The convolution of images `x` `[n, height, width, inputs]` with `weight` `[kernel height, kernel width, inputs, outputs]`
/// and a bias `[outputs]`: `[n, out height, out width, outputs]`.
///
/// # Errors
/// When `x` or `weight` has not four axes, does not hold floats, or their channels differ; when the bias does not fit; when
/// an image has no pixel, or the kernel is empty or larger than a padded image; when the stride is 0; when kernel, stride
/// or padding are above 65,536, or a result or an image's patches too large for the adapter.
pub fn forward(
    gpu: &Gpu,
    conv: Conv,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let sizes = Sizes::of(conv, x, weight)?;
    check_bias(bias, sizes.channels)?;
    let geometry = sizes.geometry;
    let matrix = weight.reshape([geometry.entries(), sizes.channels])?;
    let options = Options { activation, ..Options::default() };
    let mut y = Joined::new(sizes.output());
    for block in geometry.blocks(sizes.images, sizes.channels) {
        let patches = geometry.unfold(gpu, &part_of(gpu, x, &block)?)?;
        y.put(gpu, &block, &matmul::forward(gpu, options, &patches, &matrix, bias)?)?;
    }
    y.take(gpu)
}

/// The gradients of what `wanted` names (`[x, weight]`) and of the bias if `with_bias`, from the output `y` and its
/// gradient. Without an activation only the shape of `y` is looked at.
///
/// # Errors
/// As [`forward`], and when `y` or `dy` has not the output's shape.
pub fn backward(
    gpu: &Gpu,
    conv: Conv,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    [y, dy]: [&Tensor; 2],
    wanted: [bool; 2],
    with_bias: bool,
) -> Result<Gradients> {
    let sizes = Sizes::of(conv, x, weight)?;
    floats(super::OP, &[("y", y), ("dy", dy)])?;
    for (argument, tensor) in [("y", y), ("dy", dy)] {
        if tensor.shape().dims() != sizes.output() {
            return Err(Error::shape(super::OP, argument, tensor.shape(), format!("{:?}", sizes.output())));
        }
    }
    let geometry = sizes.geometry;
    let matrix = weight.reshape([geometry.entries(), sizes.channels])?;
    let options = Options { activation, ..Options::default() };
    let mut dx = Joined::new([sizes.images, geometry.image[0], geometry.image[1], geometry.channels]);
    let (mut dweight, mut dbias) = (None, None);
    for block in geometry.blocks(sizes.images, sizes.channels) {
        let patches = geometry.unfold(gpu, &part_of(gpu, x, &block)?)?;
        let rows = [block.len() * geometry.patches(), sizes.channels];
        let [y, dy] = [part_of(gpu, y, &block)?.reshape(rows)?, part_of(gpu, dy, &block)?.reshape(rows)?];
        let parts = matmul::backward(gpu, options, &patches, &matrix, &y, &dy, wanted, with_bias)?;
        drop(patches);
        if let Some(patches) = parts.a {
            dx.put(gpu, &block, &geometry.fold(gpu, block.len(), &patches, None)?)?;
        }
        add_up(gpu, &mut dweight, parts.b)?;
        add_up(gpu, &mut dbias, parts.bias)?;
    }
    Ok(Gradients {
        x: if wanted[0] { Some(dx.take(gpu)?) } else { None },
        weight: total(gpu, wanted[1], dweight, weight.shape().dims())?,
        bias: total(gpu, with_bias, dbias, &[sizes.channels])?,
    })
}
