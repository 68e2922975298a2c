//! The IDX format of the MNIST files: bytes `00 00 TYPE NDIM`, `NDIM` big-endian `u32` sizes, then the elements in row-major
//! order. Read are the types `08` (`u8`) and `0d` (big-endian `f32`), with 1 to 4 dimensions.
//!
//! Source: <http://yann.lecun.com/exdb/mnist/>, "The IDX file format".

use super::DataError;
use super::array::{Element, Header};
use super::stream::Stream;

/// Reads the header, which leaves the stream at the first element.
pub(super) fn read_header(stream: &mut Stream<'_>) -> Result<Header, DataError> {
    let mut magic = [0; 4];
    stream.fill(&mut magic)?;
    let [0, 0, code, ndim] = magic else {
        return Err(stream.origin.malformed(format!("starts with {magic:02x?}, an IDX file with two zero bytes")));
    };
    if !(1..=4).contains(&ndim) {
        return Err(stream.origin.malformed(format!("has {ndim} dimensions, expected 1 to 4")));
    }
    let mut sizes = [0; 4 * 4];
    let sizes = &mut sizes[..4 * usize::from(ndim)];
    stream.fill(sizes)?;
    Ok(Header {
        shape: sizes.as_chunks().0.iter().map(|&size| u64::from(u32::from_be_bytes(size))).collect(),
        dtype: match code {
            0x09 => "i8".to_owned(),
            0x0b => "i16".to_owned(),
            0x0c => "i32".to_owned(),
            0x0e => "f64".to_owned(),
            _ => format!("{code:#04x}"),
        },
        element: match code {
            0x08 => Some(Element::U8),
            0x0d => Some(Element::F32),
            _ => None,
        },
        big_endian: true,
        fortran: false,
        images: true,
    })
}
