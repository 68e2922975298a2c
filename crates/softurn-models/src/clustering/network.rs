//! The layers that the deep methods share: from rows to what a network makes of them, and back.

use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::ops::conv::Conv;
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::{Gpu, Key};

use crate::data::{Dataset, ImageShape};
use crate::nn::{Conv2d, ConvTranspose2d, Linear, Mlp};
use crate::{Error, Result};

/// Each convolution halves the sides of what it sees.
const KERNEL: [usize; 2] = [4, 4];
const CONV: Conv = Conv { stride: [2, 2], padding: [1, 1] };
/// Rows that go through a network at once when nothing is learned, at most, and the numbers in its widest layer then.
const BLOCK: usize = 4096;
const BLOCK_NUMBERS: usize = 1 << 24;
/// Keys of convolutions come after those of the other layers.
const CONVOLUTIONS: u64 = 64;

/// What lies between the columns of a data set and a network's last layer: of images, convolutions that `channels` are the
/// widths of, if there are any, and then `hidden` layers.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    pub(super) columns: usize,
    image: Option<ImageShape>,
    channels: Vec<usize>,
    hidden: Vec<usize>,
}

impl Layers {
    pub(super) fn new(columns: usize, image: Option<ImageShape>, channels: &[usize], hidden: &[usize]) -> Self {
        Self { columns, image, channels: channels.to_vec(), hidden: hidden.to_vec() }
    }

    /// The shape of images; nothing of a table.
    pub(super) fn image(&self) -> Option<ImageShape> {
        self.image
    }

    /// The images that the convolutions see, and what the last of them makes; nothing without convolutions.
    fn maps(&self) -> Vec<ImageShape> {
        let Some(image) = self.image.filter(|_| !self.channels.is_empty()) else { return Vec::new() };
        let halved = |map: &mut ImageShape, &channels: &usize| {
            *map = ImageShape { height: map.height / 2, width: map.width / 2, channels };
            Some(*map)
        };
        std::iter::once(image).chain(self.channels.iter().scan(image, halved)).collect()
    }

    /// What the hidden layers see, and what each of them makes.
    fn widths(&self) -> Vec<usize> {
        let first = self.maps().last().map_or(self.columns, ImageShape::len);
        std::iter::once(first).chain(self.hidden.iter().copied()).collect()
    }

    /// Columns after the last of the layers.
    pub(super) fn outputs(&self) -> usize {
        self.widths().last().copied().unwrap_or(self.columns)
    }

    /// Rows that go through at once when nothing is learned: a multiple of 64, as views of rows want.
    pub(super) fn block(&self) -> usize {
        let maps = self.maps().iter().map(ImageShape::len).max().unwrap_or(0);
        let widest = self.widths().into_iter().max().unwrap_or(0).max(maps).max(1);
        (BLOCK_NUMBERS / widest / 64 * 64).clamp(64, BLOCK)
    }

    /// Checks, before anything of that size is made, that layers and what they make of `batch` rows fit the adapter.
    ///
    /// # Errors
    /// Names `channels` or `hidden`.
    pub(super) fn check(&self, gpu: &Gpu, data: &Dataset, batch: usize) -> Result<()> {
        let rows = batch.max(self.block().min(data.rows())) as u128;
        fits(gpu, "data", "a batch of rows", rows * data.cols() as u128)?;
        if !self.channels.is_empty() {
            let Some(image) = self.image else {
                return Err(Error::argument(
                    "channels",
                    format!("convolutions need images; {} is a table", data.name()),
                ));
            };
            let (side, count) = (image.height.min(image.width), self.channels.len());
            if side.checked_shr(count as u32).unwrap_or(0) == 0 {
                let shape = format!("{} x {}", image.height, image.width);
                let message = format!("{count} convolutions halve images of {shape} until nothing is left");
                return Err(Error::argument("channels", message));
            }
        }
        for pair in self.maps().windows(2) {
            let what = format!("a convolution from {} to {} channels", pair[0].channels, pair[1].channels);
            let weights = KERNEL[0] as u128 * KERNEL[1] as u128 * pair[0].channels as u128 * pair[1].channels as u128;
            fits(gpu, "channels", &what, weights)?;
            fits(gpu, "channels", "what a convolution makes of its rows", rows * pair[1].len() as u128)?;
        }
        for pair in self.widths().windows(2) {
            let what = format!("a layer of {} by {} weights", pair[0], pair[1]);
            fits(gpu, "hidden", &what, pair[0] as u128 * pair[1] as u128)?;
            fits(gpu, "hidden", "what a layer makes of its rows", rows * pair[1] as u128)?;
        }
        Ok(())
    }

    /// An encoder that ends with the hidden layers, or, with `outputs`, with a linear layer after them.
    pub(super) fn encoder(
        &self,
        parameters: &mut Parameters,
        name: &str,
        outputs: Option<usize>,
        key: Key,
    ) -> Result<Encoder> {
        let maps = self.maps();
        let mut convolutions = Vec::with_capacity(self.channels.len());
        for (i, pair) in maps.windows(2).enumerate() {
            let (name, channels) = (format!("{name}.convolution.{i}"), [pair[0].channels, pair[1].channels]);
            let key = key.child(CONVOLUTIONS + i as u64);
            convolutions.push(Conv2d::new(parameters, &name, KERNEL, channels, CONV, Activation::Relu, key)?);
        }
        let widths: Vec<usize> = self.widths().into_iter().chain(outputs).collect();
        let last = if outputs.is_some() { Activation::None } else { Activation::Relu };
        Ok(Encoder { maps, convolutions, dense: Mlp::new(parameters, name, &widths, last, key)? })
    }

    /// The mirror image of an encoder, from `inputs` columns to those of the data.
    pub(super) fn decoder(&self, parameters: &mut Parameters, name: &str, inputs: usize, key: Key) -> Result<Decoder> {
        let mut maps = self.maps();
        maps.reverse();
        let widths: Vec<usize> = std::iter::once(inputs).chain(self.widths().into_iter().rev()).collect();
        let last = if maps.is_empty() { Activation::None } else { Activation::Relu };
        let dense = Mlp::new(parameters, name, &widths, last, key)?;
        let mut convolutions = Vec::with_capacity(self.channels.len());
        for (i, pair) in maps.windows(2).enumerate() {
            let (name, channels) = (format!("{name}.convolution.{i}"), [pair[0].channels, pair[1].channels]);
            let last = i + 2 == maps.len();
            let activation = if last { Activation::None } else { Activation::Relu };
            // What halving rounded off.
            let odd = [pair[1].height % 2, pair[1].width % 2];
            let key = key.child(CONVOLUTIONS + i as u64);
            convolutions.push(ConvTranspose2d::new(parameters, &name, KERNEL, channels, CONV, odd, activation, key)?);
        }
        Ok(Decoder { maps, convolutions, dense })
    }
}

/// Convolutions and hidden layers.
#[derive(Debug)]
pub(super) struct Encoder {
    maps: Vec<ImageShape>,
    convolutions: Vec<Conv2d>,
    dense: Mlp,
}

impl Encoder {
    /// `[rows, columns]` to `[rows, outputs]`. With `frozen`, no gradient reaches the layers' own parameters.
    pub(super) fn forward<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Var<'t>,
        frozen: bool,
    ) -> Result<Var<'t>> {
        let x = as_images(&self.maps, x, &self.convolutions, |layer, x| layer.forward(tape, parameters, x, frozen))?;
        self.dense.forward(tape, parameters, &x, frozen)
    }
}

/// Hidden layers and transposed convolutions.
#[derive(Debug)]
pub(super) struct Decoder {
    /// From the smallest to the image.
    maps: Vec<ImageShape>,
    convolutions: Vec<ConvTranspose2d>,
    dense: Mlp,
}

impl Decoder {
    /// `[rows, inputs]` to `[rows, columns]`.
    pub(super) fn forward<'t>(&self, tape: &'t Tape, parameters: &Parameters, z: &Var<'t>) -> Result<Var<'t>> {
        let x = self.dense.forward(tape, parameters, z, false)?;
        as_images(&self.maps, &x, &self.convolutions, |layer, x| layer.forward(tape, parameters, x, false))
    }
}

/// Rows as images of the first of `maps`, through all layers, and as rows again; as they are without any.
fn as_images<'t, L>(
    maps: &[ImageShape],
    x: &Var<'t>,
    layers: &[L],
    forward: impl Fn(&L, &Var<'t>) -> Result<Var<'t>>,
) -> Result<Var<'t>> {
    let &[first, .., last] = maps else { return Ok(x.clone()) };
    let rows = x.shape().dims()[0];
    let mut x = x.reshape([rows, first.height, first.width, first.channels])?;
    for layer in layers {
        x = forward(layer, &x)?;
    }
    Ok(x.reshape([rows, last.len()])?)
}

/// An encoder onto the unit sphere, where the contrast compares rows.
#[derive(Debug)]
pub(super) struct SphereEncoder {
    trunk: Encoder,
    direction: Linear,
}

impl SphereEncoder {
    /// Layers and a linear one to `dimensions`.
    pub(super) fn new(
        parameters: &mut Parameters,
        name: &str,
        layers: &Layers,
        dimensions: usize,
        [trunk_key, direction_key]: [Key; 2],
    ) -> Result<Self> {
        let trunk = layers.encoder(parameters, name, None, trunk_key)?;
        // As if mean and log-variance of a latent were one layer.
        let (shape, bound) =
            ([layers.outputs(), dimensions], (6.0 / (layers.outputs() + 2 * dimensions) as f32).sqrt());
        let name = format!("{name}.mean");
        let direction = Linear::new(parameters, &name, shape, bound, 0.0, Activation::None, direction_key)?;
        Ok(Self { trunk, direction })
    }

    /// What the last hidden layer makes of rows, and unit vectors `[rows, dimensions]`.
    pub(super) fn forward<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Var<'t>,
        frozen: bool,
    ) -> Result<[Var<'t>; 2]> {
        let hidden = self.trunk.forward(tape, parameters, x, frozen)?;
        let direction = self.direction.forward(tape, parameters, &hidden, frozen)?;
        let norm = direction.square()?.sum_cols()?.affine(1.0, 1e-8)?.sqrt()?;
        let rows = x.shape().dims()[0];
        let unit = (&direction / &norm.reshape([rows, 1])?)?;
        Ok([hidden, unit])
    }
}

/// Checks that so many numbers fit the adapter.
///
/// # Errors
/// Names the argument that asks for them, and the limit.
pub(crate) fn fits(gpu: &Gpu, argument: &'static str, what: &str, elements: u128) -> Result<()> {
    let (needed, limit) = (4 * elements, gpu.capabilities().max_binding_bytes);
    if needed <= u128::from(limit) {
        return Ok(());
    }
    Err(Error::argument(argument, format!("{what} needs {needed} bytes, the adapter's limit is {limit} bytes")))
}

/// As [`fits`], for a table of rows and columns.
pub(super) fn table_fits(gpu: &Gpu, argument: &'static str, what: &str, [rows, cols]: [usize; 2]) -> Result<()> {
    fits(gpu, argument, what, rows as u128 * cols as u128)
}

/// Checks that steps can be counted in 32 bits, as the schedule does.
///
/// # Errors
/// Names the argument that asks for so many epochs.
pub(crate) fn countable(argument: &'static str, epochs: usize, steps: usize) -> Result<()> {
    if epochs as u128 * steps as u128 <= u128::from(u32::MAX) {
        return Ok(());
    }
    Err(Error::argument(argument, format!("{epochs} of {steps} steps are more than {}", u32::MAX)))
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use softurn_kernels::GpuConfig;
    use softurn_kernels::ops::random;

    use super::*;
    use crate::clustering::variational::Params;

    fn images(height: usize, width: usize, rows: usize) -> Dataset {
        let shape = ImageShape { height, width, channels: 3 };
        let pixels = Array2::from_shape_fn((rows, shape.len()), |(i, j)| ((7 * i + 3 * j) % 11) as f32);
        Dataset::images("some images", pixels, shape).unwrap()
    }

    #[test]
    fn decoders_mirror_encoders_of_odd_images() {
        let gpu =
            Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap_or_else(|error| panic!("{error}"));
        let data = images(13, 10, 4);
        let layers = Layers::new(data.cols(), data.image(), &[4, 8], &[12]);
        layers.check(&gpu, &data, 4).unwrap();
        let sizes: Vec<usize> = layers.maps().iter().map(ImageShape::len).collect();
        assert_eq!(sizes, [13 * 10 * 3, 6 * 5 * 4, 3 * 2 * 8]);
        assert_eq!((layers.outputs(), layers.block()), (12, 4096));
        let mut parameters = Parameters::new(&gpu);
        let encoder = layers.encoder(&mut parameters, "encoder", Some(5), Key::new(1)).unwrap();
        let decoder = layers.decoder(&mut parameters, "decoder", 5, Key::new(2)).unwrap();
        let tape = Tape::new(&gpu);
        let x = tape.constant(&random::normal(&gpu, [4, data.cols()], Key::new(3)).unwrap());
        let code = encoder.forward(&tape, &parameters, &x, false).unwrap();
        let again = decoder.forward(&tape, &parameters, &code).unwrap();
        assert_eq!((code.shape().dims(), again.shape().dims()), (&[4, 5][..], &[4, data.cols()][..]));
        // All layers take part.
        let gradients = tape.backward(&again.square().unwrap().mean().unwrap()).unwrap();
        for param in parameters.iter() {
            let gradient = gradients.param(param).unwrap_or_else(|| panic!("no gradient of {}", param.name()));
            assert!(gradient.read().unwrap().iter().any(|&g| g != 0.0), "{}", param.name());
        }
    }

    #[test]
    fn layers_that_do_not_suit_the_data_are_named() {
        let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let table = Dataset::table("a table", Array2::from_shape_fn((40, 6), |(i, j)| (i * j) as f32)).unwrap();
        for (params, data, name, part) in [
            (Params::new(2).channels([4]), &table, "channels", "a table"),
            (Params::new(2).channels([4; 4]), &images(8, 30, 40), "channels", "8 x 30"),
            (Params::new(2).channels([4, 0]), &images(8, 8, 40), "channels", "width 0"),
            (Params::new(2).channels([1 << 20]), &images(8, 8, 40), "channels", "limit"),
            (Params::new(2).hidden([1 << 28]), &table, "hidden", "limit"),
        ] {
            let checked = params.check().and_then(|method| method.check_data(&gpu, data));
            let message = checked.unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}:")) && message.contains(part), "{message}");
        }
    }
}
