//! Images of the data as PNG data URIs, and the choice of which to show.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use softurn::data::ImageShape;

use super::format::escape;

/// Every row of the data as an image of bytes.
#[derive(Debug, Clone)]
pub struct Images {
    /// Pixel rows.
    pub height: usize,
    /// Pixel columns.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[rows, height, width, channels]`.
    pub pixels: Vec<u8>,
}

impl Images {
    /// Scales values from `low..=high` to bytes; what lies outside is clamped.
    pub fn from_values(height: usize, width: usize, channels: usize, values: &[f32], low: f32, high: f32) -> Self {
        let scale = 255.0 / (high - low).max(f32::MIN_POSITIVE);
        let pixels = values.iter().map(|value| ((value - low) * scale).round().clamp(0.0, 255.0) as u8).collect();
        Images { height, width, channels, pixels }
    }

    /// `data:image/png;base64,...` of one row; `None` where the shape does not fit the bytes.
    pub fn data_uri(&self, row: usize) -> Option<String> {
        let size = self.height * self.width * self.channels;
        self.encode(self.pixels.get(row.checked_mul(size)?..(row + 1) * size)?)
    }

    /// The same of the mean of some rows; `None` where there are none.
    pub fn mean_uri(&self, rows: impl Iterator<Item = usize>) -> Option<String> {
        let size = self.height * self.width * self.channels;
        let (mut sums, mut count) = (vec![0u64; size], 0);
        for row in rows {
            let pixels = self.pixels.get(row.checked_mul(size)?..(row + 1) * size)?;
            sums.iter_mut().zip(pixels).for_each(|(sum, &pixel)| *sum += u64::from(pixel));
            count += 1;
        }
        let mean: Vec<u8> = sums.iter().map(|sum| (sum + count / 2).checked_div(count).unwrap_or(0) as u8).collect();
        if count > 0 { self.encode(&mean) } else { None }
    }

    fn encode(&self, pixels: &[u8]) -> Option<String> {
        let colour = match self.channels {
            1 => png::ColorType::Grayscale,
            3 => png::ColorType::Rgb,
            _ => return None,
        };
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(colour);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header().ok()?.write_image_data(pixels).ok()?;
        Some(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
    }
}

/// Signed values as a picture: nothing is white, what adds is blue and what takes away red; of colour images grey is in the middle. `scale` is the value of the full colour.
pub fn signed(shape: ImageShape, values: &[f32], scale: f32) -> Images {
    const NOTHING: [f32; 3] = [250.0, 249.0, 246.0];
    const ADDED: [f32; 3] = [23.0, 64.0, 118.0];
    const TAKEN: [f32; 3] = [178.0, 44.0, 36.0];
    if shape.channels == 3 {
        return Images::from_values(shape.height, shape.width, 3, values, -scale, scale);
    }
    let pixel = |&value: &f32| {
        let (share, end) = ((value.abs() / scale).min(1.0), if value < 0.0 { TAKEN } else { ADDED });
        [0, 1, 2].map(|i| (NOTHING[i] + share * (end[i] - NOTHING[i])).round() as u8)
    };
    let pixels = values.iter().flat_map(pixel).collect();
    Images { height: shape.height, width: shape.width, channels: 3, pixels }
}

/// The value of the full colour for [`signed`] pictures: all but one in a hundred are no larger.
pub fn scale<'a>(values: impl Iterator<Item = &'a f32>) -> f32 {
    let mut sizes: Vec<f32> = values.map(|value| value.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    sizes.get(sizes.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0.0).max(1e-6)
}

/// An image of one row, with a note.
pub fn picture(images: &Images, note: &str) -> String {
    let uri = images.data_uri(0).unwrap_or_default();
    format!("<img src=\"{uri}\" alt=\"{0}\" title=\"{0}\">", escape(note))
}

/// Rows of one group to show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picked {
    /// The most confident rows, best first.
    pub confident: Vec<usize>,
    /// Rows drawn at random, in data order.
    pub random: Vec<usize>,
}

/// Picks up to `count` rows of each kind per group; the same rows for the same seed.
pub fn pick(assignments: &[u32], confidence: &[f32], groups: usize, count: usize, seed: u64) -> Vec<Picked> {
    let mut members = vec![Vec::new(); groups];
    for (row, &group) in assignments.iter().enumerate() {
        if let Some(rows) = members.get_mut(group as usize) {
            rows.push(row);
        }
    }
    members
        .into_iter()
        .map(|rows| {
            let mut confident = rows.clone();
            confident.sort_by(|&a, &b| confidence[b].total_cmp(&confidence[a]).then(a.cmp(&b)));
            confident.truncate(count);
            let mut random = rows;
            random.sort_by_key(|&row| scramble(seed ^ row as u64));
            random.truncate(count);
            random.sort_unstable();
            Picked { confident, random }
        })
        .collect()
}

/// The finaliser of SplitMix64.
fn scramble(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_reads_back() {
        let images = Images::from_values(2, 3, 1, &[0.0, 0.5, 1.0, 2.0, -1.0, 0.25], 0.0, 1.0);
        let uri = images.data_uri(0).expect("one image");
        let bytes = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").expect("prefix")).expect("base64");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("size")];
        let info = reader.next_frame(&mut pixels).expect("frame");
        assert_eq!((info.width, info.height), (3, 2));
        assert_eq!(&pixels[..6], [0, 128, 255, 255, 0, 64]);
        assert_eq!(images.data_uri(1), None);
    }

    #[test]
    fn means_of_rows() {
        let images = Images { height: 1, width: 2, channels: 1, pixels: vec![0, 255, 10, 0, 21, 1] };
        let of = |pixels: [u8; 2]| Images { pixels: pixels.to_vec(), ..images.clone() }.data_uri(0);
        assert_eq!(images.mean_uri([0, 2].into_iter()), of([11, 128]));
        assert_eq!(images.mean_uri([1].into_iter()), of([10, 0]));
        assert_eq!(images.mean_uri(std::iter::empty()), None);
        assert_eq!(images.mean_uri([3].into_iter()), None);
    }

    #[test]
    fn picks_are_ordered_and_repeatable() {
        let picked = pick(&[0, 1, 0, 0], &[0.5, 1.0, 0.9, 0.9], 3, 2, 7);
        assert_eq!(picked[0].confident, [2, 3]);
        assert_eq!(picked[1], Picked { confident: vec![1], random: vec![1] });
        assert_eq!(picked[2], Picked::default());
        assert_eq!(picked, pick(&[0, 1, 0, 0], &[0.5, 1.0, 0.9, 0.9], 3, 2, 7));
    }
}
