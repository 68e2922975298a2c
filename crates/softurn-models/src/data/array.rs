//! Dense arrays as files hold them: a header (shape, element type, order) followed by the elements.
//!
//! The first axis counts rows; the others make up a row. Element `(i, j, k)` of `[rows, a, b]` becomes column `j * b + k`
//! of row `i`, whatever order the file has.

use ndarray::{Array2, ArrayD, IxDyn, ShapeBuilder};

use super::stream::Stream;
use super::{DataError, Dataset, ImageShape, Labels};

/// Number types that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    F32,
    F64,
}

/// What precedes the elements.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub shape: Vec<u64>,
    /// The type as the file writes it.
    pub dtype: String,
    /// None for a type that cannot be read.
    pub element: Option<Element>,
    pub big_endian: bool,
    /// The first index runs fastest.
    pub fortran: bool,
    /// Three or four dimensions mean images.
    pub images: bool,
}

/// Reads the first `rows` rows (all by default) of an array of 1 to 4 dimensions as a data set.
pub(super) fn read_dataset(
    stream: &mut Stream<'_>,
    header: &Header,
    name: &str,
    rows: Option<usize>,
) -> Result<Dataset, DataError> {
    if !(1..=4).contains(&header.shape.len()) {
        return Err(dimensions(stream, header, "1 to 4 dimensions, the first of them the rows"));
    }
    let Some(element) = header.element else {
        return Err(element_type(stream, header, "8 to 64-bit integers or 16 to 64-bit floats"));
    };
    let available = header.shape[0];
    let taken = rows.map_or(available, |rows| rows as u64);
    if rows == Some(0) || taken > available {
        return Err(DataError::Rows { source_name: name.to_owned(), asked: rows.unwrap_or(0), available });
    }
    let values = read_rows(stream, header, element, taken, decode_f32)?;
    // read_rows has checked that the sizes fit.
    let sizes: Vec<usize> = header.shape[1..].iter().map(|&size| size as usize).collect();
    let cols = sizes.iter().product();
    let features = Array2::from_shape_vec((taken as usize, cols), values)
        .map_err(|error| stream.origin.malformed(error.to_string()))?;
    let shape = match sizes[..] {
        [height, width] => Some(ImageShape { height, width, channels: 1 }),
        [height, width, channels] => Some(ImageShape { height, width, channels }),
        _ => None,
    };
    let data = match shape {
        // Pixels below zero have no common scale: keep them as a table.
        Some(shape) if header.images && !features.iter().any(|&value| value < 0.0) => {
            Dataset::images(name, features, shape)?
        }
        _ => Dataset::table(name, features)?,
    };
    Ok(data.first_of(Some(available)))
}

/// Reads an array of integers with one dimension as labels.
pub(super) fn read_labels(stream: &mut Stream<'_>, header: &Header) -> Result<Labels, DataError> {
    if header.shape.len() != 1 {
        return Err(dimensions(stream, header, "one dimension: a label for each row"));
    }
    Ok(Labels::from_integers(&read_integers(stream, header, "integers (one label for each row)")?))
}

/// How many images of 8-bit pixels follow, and their shape.
pub(super) fn image_shape(stream: &Stream<'_>, header: &Header) -> Result<(u64, ImageShape), DataError> {
    let (n_images, sizes) = match header.shape[..] {
        [n_images, height, width] => (n_images, [height, width, 1]),
        [n_images, height, width, channels] => (n_images, [height, width, channels]),
        _ => return Err(dimensions(stream, header, "images [n, height, width] or [n, height, width, channels]")),
    };
    let [Ok(height), Ok(width), Ok(channels)] = sizes.map(usize::try_from) else {
        return Err(stream.origin.too_large(&header.shape));
    };
    Ok((n_images, ImageShape { height, width, channels }))
}

/// Reads an array of 8-bit unsigned integers of any dimensions but none.
pub(super) fn read_bytes(stream: &mut Stream<'_>, header: &Header) -> Result<Vec<u8>, DataError> {
    if header.element != Some(Element::U8) {
        return Err(element_type(stream, header, "8-bit unsigned integers"));
    }
    read_rows(stream, header, Element::U8, header.shape[0], |_, bytes, out| out.extend_from_slice(bytes))
}

/// Reads an array of integers with two dimensions.
pub(super) fn read_table(stream: &mut Stream<'_>, header: &Header) -> Result<Array2<i64>, DataError> {
    let &[rows, cols] = &header.shape[..] else {
        return Err(dimensions(stream, header, "two dimensions: a row of classes for each image"));
    };
    let values = read_integers(stream, header, "integers (a row of classes for each image)")?;
    // read_rows has checked that the sizes fit.
    Array2::from_shape_vec((rows as usize, cols as usize), values)
        .map_err(|error| stream.origin.malformed(error.to_string()))
}

pub(super) fn read_integers(
    stream: &mut Stream<'_>,
    header: &Header,
    expected: &'static str,
) -> Result<Vec<i64>, DataError> {
    let Some(element) = header.element.filter(|element| !element.is_float()) else {
        return Err(element_type(stream, header, expected));
    };
    let values = read_rows(stream, header, element, header.shape[0], decode_i64)?;
    let values: Option<Vec<i64>> = values.into_iter().collect();
    values.ok_or_else(|| stream.origin.malformed("an integer is 2^63 or more"))
}

/// The elements of the first `rows` rows, row after row.
///
/// Memory grows with the bytes that are really there, never with what the header claims.
fn read_rows<T: Clone>(
    stream: &mut Stream<'_>,
    header: &Header,
    element: Element,
    rows: u64,
    decode: fn(Element, &[u8], &mut Vec<T>),
) -> Result<Vec<T>, DataError> {
    const CHUNK: u64 = 1 << 16;
    let too_large = |stream: &Stream<'_>| stream.origin.too_large(&header.shape);
    let size = element.size() as u64;
    // An empty axis must not hide one that no machine can hold.
    let elements = header.shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size.max(1)));
    if elements.and_then(|elements| elements.checked_mul(size)).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(too_large(stream));
    }
    let row = header.shape[1..].iter().product::<u64>();
    let (available, fortran) = (header.shape[0], header.fortran && header.shape.len() > 1);
    // In Fortran order the rows wanted are spread over the whole file.
    let wanted = if fortran { row * available } else { row * rows };

    let mut values = Vec::new();
    let mut chunk = Vec::new();
    let mut bytes = vec![0; (CHUNK * size) as usize];
    let mut position = 0;
    while position < wanted {
        let length = CHUNK.min(wanted - position);
        let bytes = &mut bytes[..(length * size) as usize];
        stream.fill(bytes)?;
        if header.big_endian && size > 1 {
            bytes.chunks_exact_mut(size as usize).for_each(<[u8]>::reverse);
        }
        if values.try_reserve(length as usize).is_err() {
            return Err(too_large(stream));
        }
        if fortran && rows < available {
            chunk.clear();
            decode(element, bytes, &mut chunk);
            let kept = (position..).zip(chunk.drain(..)).filter(|(index, _)| index % available < rows);
            values.extend(kept.map(|(_, value)| value));
        } else {
            decode(element, bytes, &mut values);
        }
        position += length;
    }
    if wanted == row * available {
        stream.expect_end()?;
    }
    if !fortran {
        return Ok(values);
    }
    let mut shape: Vec<usize> = header.shape.iter().map(|&size| size as usize).collect();
    shape[0] = rows as usize;
    let array = ArrayD::from_shape_vec(IxDyn(&shape).f(), values)
        .map_err(|error| stream.origin.malformed(error.to_string()))?;
    Ok(array.iter().cloned().collect())
}

impl Element {
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// Appends little-endian elements; integers and doubles are rounded to the nearest `f32`.
fn decode_f32(element: Element, bytes: &[u8], out: &mut Vec<f32>) {
    match element {
        Element::Bool => each(bytes, out, |[byte]| f32::from(u8::from(byte != 0))),
        Element::U8 => each(bytes, out, |[byte]| f32::from(byte)),
        Element::U16 => each(bytes, out, |b| f32::from(u16::from_le_bytes(b))),
        Element::U32 => each(bytes, out, |b| u32::from_le_bytes(b) as f32),
        Element::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f32),
        Element::I8 => each(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
        Element::I16 => each(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
        Element::I32 => each(bytes, out, |b| i32::from_le_bytes(b) as f32),
        Element::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f32),
        Element::F16 => each(bytes, out, |b| half_to_f32(u16::from_le_bytes(b))),
        Element::F32 => each(bytes, out, f32::from_le_bytes),
        Element::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
    }
}

/// Appends little-endian elements; `None` for what is no integer below 2^63.
fn decode_i64(element: Element, bytes: &[u8], out: &mut Vec<Option<i64>>) {
    match element {
        Element::Bool => each(bytes, out, |[byte]| Some(i64::from(byte != 0))),
        Element::U8 => each(bytes, out, |[byte]| Some(i64::from(byte))),
        Element::U16 => each(bytes, out, |b| Some(i64::from(u16::from_le_bytes(b)))),
        Element::U32 => each(bytes, out, |b| Some(i64::from(u32::from_le_bytes(b)))),
        Element::U64 => each(bytes, out, |b| i64::try_from(u64::from_le_bytes(b)).ok()),
        Element::I8 => each(bytes, out, |b| Some(i64::from(i8::from_le_bytes(b)))),
        Element::I16 => each(bytes, out, |b| Some(i64::from(i16::from_le_bytes(b)))),
        Element::I32 => each(bytes, out, |b| Some(i64::from(i32::from_le_bytes(b)))),
        Element::I64 => each(bytes, out, |b| Some(i64::from_le_bytes(b))),
        Element::F16 => each(bytes, out, |_: [u8; 2]| None),
        Element::F32 => each(bytes, out, |_: [u8; 4]| None),
        Element::F64 => each(bytes, out, |_: [u8; 8]| None),
    }
}

fn each<const SIZE: usize, T>(bytes: &[u8], out: &mut Vec<T>, convert: impl Fn([u8; SIZE]) -> T) {
    out.extend(bytes.as_chunks().0.iter().map(|&element| convert(element)));
}

/// IEEE 754 binary16 to binary32, exactly.
pub(super) fn half_to_f32(bits: u16) -> f32 {
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => fraction as f32 / 16_777_216.0, // a subnormal counts units of 2^-24
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        _ => f32::from_bits((exponent + 127 - 15) << 23 | fraction << 13),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

pub(super) fn dimensions(stream: &Stream<'_>, header: &Header, expected: &'static str) -> DataError {
    DataError::Dimensions {
        argument: stream.origin.argument,
        source_name: stream.origin.source_name.clone(),
        shape: header.shape.clone(),
        expected,
    }
}

fn element_type(stream: &Stream<'_>, header: &Header, expected: &'static str) -> DataError {
    DataError::ElementType {
        argument: stream.origin.argument,
        source_name: stream.origin.source_name.clone(),
        dtype: header.dtype.clone(),
        expected,
    }
}
