//! Convolutions in f64, as loops over the pixels, the kernel and the channels.

use super::Conv;
use crate::ops::matmul::Activation;
use crate::ops::matmul::cpu::{activate, slope};

/// The sizes of a convolution: of the side with patches (`small`, `[height, width]`) and of the image that they lie on.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// How the kernel moves.
    pub conv: Conv,
    /// Images.
    pub images: usize,
    /// Height, width and channels of an image: the input of a convolution, the output of a transposed one.
    pub image: [usize; 3],
    /// Height, width and channels of the other side.
    pub small: [usize; 3],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
}

impl Sizes {
    /// Calls `f` with the elements of the image, of the weights and of the small side that belong together.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [height, width, channels] = self.image;
        let [small_height, small_width, outputs] = self.small;
        for b in 0..self.images {
            for a in 0..small_height {
                for q in 0..small_width {
                    for i in 0..self.kernel[0] {
                        for j in 0..self.kernel[1] {
                            let row = (a * self.conv.stride[0] + i).checked_sub(self.conv.padding[0]);
                            let column = (q * self.conv.stride[1] + j).checked_sub(self.conv.padding[1]);
                            let (Some(row), Some(column)) = (row, column) else { continue };
                            if row >= height || column >= width {
                                continue;
                            }
                            for c in 0..channels {
                                for o in 0..outputs {
                                    f(
                                        ((b * height + row) * width + column) * channels + c,
                                        ((i * self.kernel[1] + j) * channels + c) * outputs + o,
                                        ((b * small_height + a) * small_width + q) * outputs + o,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn image_len(&self) -> usize {
        self.images * self.image.iter().product::<usize>()
    }

    fn small_len(&self) -> usize {
        self.images * self.small.iter().product::<usize>()
    }

    fn weight_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.image[2] * self.small[2]
    }
}

/// `n` zeros plus the bias of each channel.
fn start(n: usize, channels: usize, bias: Option<&[f64]>) -> Vec<f64> {
    (0..n).map(|i| bias.map_or(0.0, |bias| bias[i % channels])).collect()
}

/// Sums by channel.
fn by_channel(g: &[f64], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    g.iter().enumerate().for_each(|(i, g)| sums[i % channels] += g);
    sums
}

/// The convolution of images.
pub fn conv2d(sizes: Sizes, activation: Activation, x: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let mut y = start(sizes.small_len(), sizes.small[2], bias);
    sizes.each(|image, w, small| y[small] += x[image] * weight[w]);
    y.into_iter().map(|y| activate(activation, y)).collect()
}

/// The gradients of images, weights and bias, from the output `y` and its gradient.
pub fn conv2d_backward(
    sizes: Sizes,
    activation: Activation,
    x: &[f64],
    weight: &[f64],
    [y, dy]: [&[f64]; 2],
) -> [Vec<f64>; 3] {
    let g: Vec<f64> = y.iter().zip(dy).map(|(&y, dy)| dy * slope(activation, y)).collect();
    let (mut dx, mut dweight) = (vec![0.0; sizes.image_len()], vec![0.0; sizes.weight_len()]);
    sizes.each(|image, w, small| {
        dx[image] += g[small] * weight[w];
        dweight[w] += g[small] * x[image];
    });
    [dx, dweight, by_channel(&g, sizes.small[2])]
}

/// The transposed convolution.
pub fn conv_transpose2d(sizes: Sizes, x: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let mut y = start(sizes.image_len(), sizes.image[2], bias);
    sizes.each(|image, w, small| y[image] += x[small] * weight[w]);
    y
}

/// The gradients of `x`, weights and bias, from that of the output.
pub fn conv_transpose2d_backward(sizes: Sizes, x: &[f64], weight: &[f64], dy: &[f64]) -> [Vec<f64>; 3] {
    let (mut dx, mut dweight) = (vec![0.0; sizes.small_len()], vec![0.0; sizes.weight_len()]);
    sizes.each(|image, w, small| {
        dx[small] += dy[image] * weight[w];
        dweight[w] += dy[image] * x[small];
    });
    [dx, dweight, by_channel(dy, sizes.image[2])]
}
