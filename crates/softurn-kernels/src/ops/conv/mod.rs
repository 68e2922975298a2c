//! Convolutions of images `[n, height, width, channels]` as products of matrices: the patches of the images, one a row
//! (`unfold`, im2col), times the weights; backwards, the gradient of the patches is summed into the image (`fold`,
//! col2im), each element of it by one invocation in a fixed order. [`conv2d`] and [`conv_transpose2d`] put them together
//! with [`super::matmul`].
//!
//! With kernel `k`, stride `s` and padding `p` an axis of length `l` gives `o = ⌊(l + 2p - k) / s⌋ + 1` patches, and
//! patch `a` holds the elements `a s + i - p`, `i < k`, with zeros outside the image. No dilation, no groups.
//!
//! Images are taken in blocks whose patches fill at most 32 MiB (an image at least); sums over blocks go in their order.
//! Patches are made again in the backward pass, not kept.

pub mod conv2d;
pub mod conv_transpose2d;
pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;

use super::binary::{self, Binary};
use super::{RowPlan, filled, floats};
use crate::gpu::pipeline::Call;
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "conv";
/// Floats in the patches of a block, or in what they are multiplied to. Few in unit tests, so that those have blocks.
const BLOCK: usize = if cfg!(test) { 1 << 12 } else { 32 << 20 >> 2 };
/// Software adapters end all loops of an invocation after 65,536 turns in total, without an error.
const TURNS: usize = 60_000;
/// The largest kernel, stride and padding.
const LARGEST: usize = 1 << 16;

/// How a kernel moves over an image, `[down, across]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Pixels from one patch to the next, 1 to 65,536.
    pub stride: [usize; 2],
    /// Zeros around the image, at either end of an axis, up to 65,536.
    pub padding: [usize; 2],
}

impl Default for Conv {
    /// Stride 1 without padding.
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0] }
    }
}

/// The gradients of a convolution.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Of the images; `None` when it was not asked for.
    pub x: Option<Tensor>,
    /// Of the weights; `None` when it was not asked for.
    pub weight: Option<Tensor>,
    /// Of the bias; `None` when it was not asked for.
    pub bias: Option<Tensor>,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    images: u32,
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_height: u32,
    stride_width: u32,
    padding_height: u32,
    padding_width: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("images", std::mem::offset_of!(Params, images)),
    ("height", std::mem::offset_of!(Params, height)),
    ("width", std::mem::offset_of!(Params, width)),
    ("channels", std::mem::offset_of!(Params, channels)),
    ("out_height", std::mem::offset_of!(Params, out_height)),
    ("out_width", std::mem::offset_of!(Params, out_width)),
    ("kernel_height", std::mem::offset_of!(Params, kernel_height)),
    ("kernel_width", std::mem::offset_of!(Params, kernel_width)),
    ("stride_height", std::mem::offset_of!(Params, stride_height)),
    ("stride_width", std::mem::offset_of!(Params, stride_width)),
    ("padding_height", std::mem::offset_of!(Params, padding_height)),
    ("padding_width", std::mem::offset_of!(Params, padding_width)),
];

/// The sizes of an image and of its patches.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    conv: Conv,
    kernel: [usize; 2],
    image: [usize; 2],
    channels: usize,
    /// Patches down and across.
    out: [usize; 2],
}

impl Geometry {
    /// Of images of which every axis has a pixel at least and is, padded, no shorter than the kernel.
    fn new(conv: Conv, kernel: [usize; 2], image: [usize; 2], channels: usize) -> Result<Self> {
        for (argument, sizes, least) in
            [("kernel", kernel, 1), ("stride", conv.stride, 1), ("padding", conv.padding, 0)]
        {
            if sizes.iter().any(|size| !(least..=LARGEST).contains(size)) {
                return Err(Error::argument(OP, argument, format!("is {sizes:?}, not {least} to {LARGEST}")));
            }
        }
        let padded = [0, 1].map(|axis| image[axis] + 2 * conv.padding[axis]);
        if image.contains(&0) {
            return Err(Error::argument(OP, "x", format!("has images of {image:?} pixels")));
        }
        if (0..2).any(|axis| padded[axis] < kernel[axis]) {
            let message = format!("is {kernel:?}, larger than a padded image of {padded:?} pixels");
            return Err(Error::argument(OP, "kernel", message));
        }
        // Shaders compute places in the padded image as i32.
        let needed = padded[0].max(padded[1].saturating_mul(channels)) as u64;
        if needed > i32::MAX as u64 {
            let what = format!("{OP} of images of {image:?} pixels");
            return Err(Error::TooLarge { what, unit: "elements in a padded row", needed, limit: i32::MAX as u64 });
        }
        let out = [0, 1].map(|axis| (padded[axis] - kernel[axis]) / conv.stride[axis] + 1);
        Ok(Self { conv, kernel, image, channels, out })
    }

    /// Patches of an image.
    fn patches(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Elements of a patch.
    fn entries(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// `0..images` in blocks, for patches that are multiplied to `others` columns, or made of them.
    fn blocks(&self, images: usize, others: usize) -> Vec<Range<usize>> {
        // Four at least: a dispatch takes no more than four million rows.
        let block = (BLOCK / (self.patches() * self.entries().max(others).max(4))).max(1);
        (0..images).step_by(block).map(|first| first..(first + block).min(images)).collect()
    }

    fn params(&self, images: usize, channels: usize) -> Params {
        let [images, channels] = [images, channels].map(|size| size as u32);
        let pair = |sizes: [usize; 2]| sizes.map(|size| size as u32);
        let [height, width] = pair(self.image);
        let [out_height, out_width] = pair(self.out);
        let [kernel_height, kernel_width] = pair(self.kernel);
        let [stride_height, stride_width] = pair(self.conv.stride);
        let [padding_height, padding_width] = pair(self.conv.padding);
        Params {
            images,
            height,
            width,
            channels,
            out_height,
            out_width,
            kernel_height,
            kernel_width,
            stride_height,
            stride_width,
            padding_height,
            padding_width,
        }
    }

    /// The patches of images, `[images · patches, entries]`: the shader's `forward`.
    fn unfold(&self, gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
        let images = x.shape().dims()[0];
        let y = gpu.uninitialised(OP, [images * self.patches(), self.entries()].into(), DataType::F32)?;
        if y.is_empty() {
            return Ok(y);
        }
        let row = self.kernel[1] * self.channels;
        // The entry point, and what it counts channels and entries in.
        let (entry, channel, four) = match (self.channels.is_multiple_of(4), row.is_multiple_of(4)) {
            (true, _) => ("forward_fours", 4, 4),
            (false, true) => ("forward_to_fours", 1, 4),
            (false, false) => ("forward", 1, 1),
        };
        let plan = plan(gpu, self.entries() / four, 1)?;
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &plan.constants(),
            inputs: &[x],
            outputs: &[&y],
            params: bytemuck::bytes_of(&self.params(images, self.channels / channel)),
            groups: plan.groups(images * self.patches()),
        })?;
        Ok(y)
    }

    /// Images `[images, height, width, channels]` of sums over patches `[images · patches, entries]`, plus a bias: the
    /// shader's `backward`.
    fn fold(&self, gpu: &Gpu, images: usize, patches: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let [height, width] = self.image;
        let x = gpu.uninitialised(OP, [images, height, width, self.channels].into(), DataType::F32)?;
        if x.is_empty() {
            return Ok(x);
        }
        let (entry, four) = if self.channels.is_multiple_of(4) { ("backward_fours", 4) } else { ("backward", 1) };
        let reach = [0, 1].map(|axis| self.kernel[axis].div_ceil(self.conv.stride[axis]));
        let plan = plan(gpu, self.channels / four, 1 + reach[0] * (1 + reach[1]))?;
        let [lanes, rows] = plan.constants();
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[lanes, rows, ("BIAS", f64::from(bias.is_some()))],
            // Without a bias nothing reads the second binding; any buffer may stand there.
            inputs: &[patches, bias.unwrap_or(patches)],
            outputs: &[&x],
            params: bytemuck::bytes_of(&self.params(images, self.channels / four)),
            groups: plan.groups(images * height * width),
        })?;
        Ok(x)
    }
}

/// How patches or pixels of `units` elements (or fours), each with `turns` turns of loops, are laid on invocations.
fn plan(gpu: &Gpu, units: usize, turns: usize) -> Result<RowPlan> {
    let plan = RowPlan::of(gpu, units);
    let needed = units.div_ceil(plan.lanes).saturating_mul(turns);
    if gpu.is_software() && needed > TURNS {
        let what = format!("{OP} with so large a kernel");
        return Err(Error::TooLarge { what, unit: "loop turns", needed: needed as u64, limit: TURNS as u64 });
    }
    Ok(plan)
}

/// The sizes of images, `[n, height, width, channels]`.
fn images_of(argument: &'static str, x: &Tensor) -> Result<[usize; 4]> {
    floats(OP, &[(argument, x)])?;
    <[usize; 4]>::try_from(x.shape().dims())
        .map_err(|_| Error::shape(OP, argument, x.shape(), "[n, height, width, channels]"))
}

/// The sizes of a kernel and its two numbers of channels.
fn kernel_of(weight: &Tensor) -> Result<([usize; 2], [usize; 2])> {
    floats(OP, &[("weight", weight)])?;
    match *weight.shape().dims() {
        [height, width, a, b] => Ok(([height, width], [a, b])),
        _ => Err(Error::shape(OP, "weight", weight.shape(), "[kernel height, kernel width, channels, channels]")),
    }
}

fn check_bias(bias: Option<&Tensor>, channels: usize) -> Result<()> {
    let Some(bias) = bias else { return Ok(()) };
    floats(OP, &[("bias", bias)])?;
    if bias.shape().dims() != [channels] {
        return Err(Error::shape(OP, "bias", bias.shape(), format!("[{channels}]")));
    }
    Ok(())
}

/// Some of the images of a tensor: a view where alignment allows, else a copy.
fn part_of(gpu: &Gpu, x: &Tensor, images: &Range<usize>) -> Result<Tensor> {
    let mut dims = x.shape().dims().to_vec();
    if *images == (0..dims[0]) {
        return Ok(x.clone());
    }
    dims[0] = images.len();
    let start = x.len() / x.shape().dims()[0] * images.start;
    if start.is_multiple_of(64) {
        return x.view(start, dims);
    }
    let copy = gpu.uninitialised(OP, dims.into(), DataType::F32)?;
    gpu.copy(&x.part(start, copy.shape().clone()), &copy)?;
    Ok(copy)
}

/// Results of blocks of images, one after the other, as images of `sizes` `[n, height, width, channels]`.
struct Joined {
    sizes: [usize; 4],
    all: Option<Tensor>,
}

impl Joined {
    fn new(sizes: [usize; 4]) -> Self {
        Self { sizes, all: None }
    }

    fn put(&mut self, gpu: &Gpu, images: &Range<usize>, part: &Tensor) -> Result<()> {
        if *images == (0..self.sizes[0]) {
            self.all = Some(part.reshape(self.sizes)?);
            return Ok(());
        }
        if self.all.is_none() {
            self.all = Some(gpu.uninitialised(OP, self.sizes.into(), DataType::F32)?);
        }
        if let Some(all) = self.all.as_ref().filter(|_| !part.is_empty()) {
            let start = part.len() / images.len() * images.start;
            gpu.copy(part, &all.part(start, part.shape().clone()))?;
        }
        Ok(())
    }

    /// What was put, zeros if nothing was.
    fn take(self, gpu: &Gpu) -> Result<Tensor> {
        self.all.map_or_else(|| filled(gpu, 0.0, self.sizes.into()), Ok)
    }
}

/// Adds a block's part to a sum over blocks.
fn add_up(gpu: &Gpu, sum: &mut Option<Tensor>, part: Option<Tensor>) -> Result<()> {
    *sum = match (sum.take(), part) {
        (Some(sum), Some(part)) => Some(binary::forward(gpu, Binary::Add, &sum, &part)?),
        (sum, part) => sum.or(part),
    };
    Ok(())
}

/// A sum over blocks in the shape of `like`, zeros if there were none; `None` if it is not wanted.
fn total(gpu: &Gpu, wanted: bool, sum: Option<Tensor>, like: &[usize]) -> Result<Option<Tensor>> {
    match sum {
        _ if !wanted => Ok(None),
        Some(sum) => Ok(Some(sum.reshape(like)?)),
        None => Ok(Some(filled(gpu, 0.0, like.into())?)),
    }
}
