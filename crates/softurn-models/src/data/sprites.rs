//! Characters of the Liberated Pixel Cup, composed from layers: the full grid of body, bottomwear, topwear, hair and direction.
//!
//! Layers lie over black in the order body, bottomwear, topwear, hair, shoes. Over a canvas `d`, a layer of value `s` and
//! opacity `a` gives `(a s + (255 - a) d) / 255`, rounded to the nearest of the 256 values after each layer.

use ndarray::indices;

use super::factors::grid;
use super::stream::Origin;
use super::{Argument, DataError, Factor, FactorImages, ImageShape, array, npz};

const LAYERS: [&str; 5] = ["body", "bottomwear", "topwear", "hair", "shoes"];

const LAYER: &str = "[values, poses, directions, height, width, 4]";

/// The second pair of shoes, which every character wears.
const SHOES: usize = 1;

/// One layer: 8-bit red, green, blue and opacity, `[values, poses, directions, height, width, 4]`.
struct Layer {
    pixels: Vec<u8>,
    values: usize,
    /// Of all layers the same.
    rest: [usize; 4],
}

impl Layer {
    /// The layer of that value, seen from that direction in the first pose: `[height * width, 4]`.
    fn image(&self, value: usize, direction: usize) -> &[[u8; 4]] {
        let [poses, directions, height, width] = self.rest;
        let (image, pixels) = (value * poses * directions + direction, height * width);
        &self.pixels.as_chunks().0[image * pixels..][..pixels]
    }
}

/// Composes the characters of an `.npz` archive of layers: RGB images of every combination of its arrays `body`, `bottomwear`,
/// `topwear` and `hair` and of the directions, in the first pose and the second of its `shoes`. Each array is 8-bit
/// `[values, poses, directions, height, width, 4]`, red, green, blue and opacity, as cut from the sheets of
/// <https://github.com/YingzhenLi/Sprites>.
///
/// # Errors
/// [`DataError`], naming `--data`.
pub fn load_sprites(path: &str) -> Result<FactorImages, DataError> {
    let origin = Origin::new(Argument::Data, path);
    let mut archive = npz::Archive::open(origin.clone())?;
    let mut layers = Vec::new();
    for name in LAYERS {
        let name = archive.choose(Some(name), &[], |_| true)?;
        layers.push(archive.read(&name, |stream, header| {
            let [values, poses, directions, height, width, 4] = header.shape[..] else {
                return Err(array::dimensions(stream, header, LAYER));
            };
            let pixels = array::read_bytes(stream, header)?;
            // read_bytes has checked that the sizes fit.
            Ok(Layer {
                pixels,
                values: values as usize,
                rest: [poses, directions, height, width].map(|size| size as usize),
            })
        })?);
    }
    let [body, bottomwear, topwear, hair, shoes] = &layers[..] else { unreachable!("five layers were read") };
    let [_, directions, height, width] = body.rest;
    if let Some(place) = layers.iter().position(|layer| layer.rest != body.rest) {
        let (name, shape) = (LAYERS[place], layers[place].rest);
        return Err(
            origin.malformed(format!("'{name}' has poses, directions and sides {shape:?}, 'body' {:?}", body.rest))
        );
    }
    if shoes.values <= SHOES || body.rest[0] == 0 {
        return Err(
            origin.malformed(format!("{} shoes in {} poses, expected 2 in 1 or more", shoes.values, body.rest[0]))
        );
    }
    let sizes = [body.values, bottomwear.values, topwear.values, hair.values, directions];
    let shape = ImageShape { height, width, channels: 3 };
    let too_large =
        || origin.too_large(&[sizes.map(|size| size as u64).as_slice(), &[height as u64, width as u64, 3]].concat());
    let length =
        sizes.iter().try_fold(shape.len(), |product, &size| product.checked_mul(size)).ok_or_else(too_large)?;
    if length == 0 {
        let (rows, cols) = (0, shape.len());
        return Err(DataError::Empty { argument: Argument::Data, source_name: path.to_owned(), rows, cols });
    }
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(length).map_err(|_| too_large())?;
    for (b, w, t) in indices((body.values, bottomwear.values, topwear.values)) {
        let dressed: Vec<Vec<[u8; 3]>> = (0..directions)
            .map(|direction| {
                let mut canvas = vec![[0; 3]; height * width];
                over(&mut canvas, body.image(b, direction));
                over(&mut canvas, bottomwear.image(w, direction));
                over(&mut canvas, topwear.image(t, direction));
                canvas
            })
            .collect();
        for h in 0..hair.values {
            for (direction, dressed) in dressed.iter().enumerate() {
                let mut canvas = dressed.clone();
                over(&mut canvas, hair.image(h, direction));
                over(&mut canvas, shoes.image(SHOES, direction));
                pixels.extend_from_slice(canvas.as_flattened());
            }
        }
    }
    let names = ["body", "bottomwear", "topwear", "hair", "direction"];
    let factors = names.iter().zip(sizes).map(|(&name, size)| Factor { name: name.into(), size }).collect();
    FactorImages::new(path, pixels, shape, factors, grid(&sizes))
}

/// Lays an image over the canvas, pixel by pixel.
fn over(canvas: &mut [[u8; 3]], image: &[[u8; 4]]) {
    for (below, &[red, green, blue, opacity]) in canvas.iter_mut().zip(image) {
        let opacity = u32::from(opacity);
        for (below, above) in below.iter_mut().zip([red, green, blue]) {
            *below = ((opacity * u32::from(above) + (255 - opacity) * u32::from(*below) + 127) / 255) as u8;
        }
    }
}
