//! NumPy's `.npy` format: `\x93NUMPY`, a version, the length of a header, and the header, which is a Python dictionary such as
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`; then the elements.
//!
//! Source: NumPy Enhancement Proposal 1, <https://numpy.org/neps/nep-0001-npy-format.html>. The header is parsed here because
//! it comes from anyone: no recursion, no arithmetic that can overflow, no allocation above [`LONGEST_HEADER`].

use super::DataError;
use super::array::{Element, Header};
use super::stream::Stream;

const LONGEST_HEADER: usize = 1 << 16;

/// Reads the header, which leaves the stream at the first element.
pub(super) fn read_header(stream: &mut Stream<'_>) -> Result<Header, DataError> {
    let mut start = [0; 8];
    stream.fill(&mut start)?;
    if !start.starts_with(b"\x93NUMPY") {
        return Err(stream.origin.malformed("does not start as an npy file"));
    }
    let length = match start[6] {
        1 => {
            let mut length = [0; 2];
            stream.fill(&mut length)?;
            usize::from(u16::from_le_bytes(length))
        }
        2 | 3 => {
            let mut length = [0; 4];
            stream.fill(&mut length)?;
            u32::from_le_bytes(length) as usize
        }
        version => return Err(stream.origin.malformed(format!("npy version {version}, expected 1 to 3"))),
    };
    if length > LONGEST_HEADER {
        return Err(stream
            .origin
            .malformed(format!("npy header of {length} bytes, at most {LONGEST_HEADER} expected")));
    }
    let mut text = vec![0; length];
    stream.fill(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    parse(&text).ok_or_else(|| stream.origin.malformed(format!("npy header {:?} is not understood", text.trim())))
}

/// The three entries of the dictionary, in any order.
fn parse(text: &str) -> Option<Header> {
    let (mut dtype, mut fortran, mut shape) = (None, None, None);
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => {
                let after;
                (dtype, after) = match quoted(value) {
                    Some((dtype, after)) => (Some(dtype.to_owned()), after),
                    // A list describes records.
                    None => {
                        let end = value.rfind(']')? + 1;
                        (Some(value[..end].to_owned()), &value[end..])
                    }
                };
                after
            }
            "fortran_order" => {
                let yes = value.strip_prefix("True");
                fortran = Some(yes.is_some());
                yes.or_else(|| value.strip_prefix("False"))?
            }
            "shape" => {
                let (sizes, after) = value.strip_prefix('(')?.split_once(')')?;
                let sizes = sizes.trim().strip_suffix(',').unwrap_or(sizes).trim();
                shape = Some(match sizes {
                    "" => Vec::new(),
                    _ => sizes.split(',').map(|size| size.trim().parse().ok()).collect::<Option<Vec<u64>>>()?,
                });
                after
            }
            _ => return None,
        };
        rest = rest.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    let dtype = dtype?;
    let (big_endian, element) = element(&dtype);
    Some(Header { shape: shape?, fortran: fortran?, element, big_endian, images: element == Some(Element::U8), dtype })
}

/// A Python string without escapes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|&quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// Whether the bytes run from the most significant, and the type.
fn element(dtype: &str) -> (bool, Option<Element>) {
    let (big_endian, kind) = match dtype.split_at_checked(1) {
        Some((">", kind)) => (true, kind),
        Some(("<" | "|", kind)) => (false, kind),
        Some(("=", kind)) => (cfg!(target_endian = "big"), kind),
        _ => (cfg!(target_endian = "big"), dtype),
    };
    let element = match kind {
        "b1" => Element::Bool,
        "u1" => Element::U8,
        "u2" => Element::U16,
        "u4" => Element::U32,
        "u8" => Element::U64,
        "i1" => Element::I8,
        "i2" => Element::I16,
        "i4" => Element::I32,
        "i8" => Element::I64,
        "f2" => Element::F16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => return (big_endian, None),
    };
    (big_endian, Some(element))
}
