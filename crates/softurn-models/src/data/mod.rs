//! Data sets: what is clustered, and the true groups to score against.
//!
//! [`load`] reads the embedded sets and files by the ending of their names, `.gz` meaning gzip:
//!
//! | ending | contents | becomes |
//! |---|---|---|
//! | `.idx`, `-ubyte`, `-float` (`.gz`) | IDX of `u8` or big-endian `f32`, 1 to 4 dimensions | images from 3 dimensions on, otherwise a table |
//! | `.npy` (`.gz`), `.npz:ARRAY` | NumPy integers and floats in C or Fortran order, 1 to 4 dimensions | images if `u8` of 3 dimensions or more, otherwise a table |
//! | `.csv` (`.gz`) | a header, then finite numbers; labels in one column ([`load_csv`]) | a table |
//!
//! [`FactorImages`] are images that are made from known factors: [`load_factor_images`] and [`load_factor_grid`] read them
//! from the same formats, [`sprites_grid`] draws sprites with the factors of dSprites anew on the device (they are not the
//! images of that data set), and [`Pairs`] picks two images at a time that share some of their factors.
//!
//! [`dictionary_toy`] makes rows with known sparse codes, [`LineClusters`] clusters along lines, [`bit_pairs`] two clusters of bits.
//!
//! Files are untrusted: each malformed one is a [`DataError`] of one line that names the argument at fault, and memory grows
//! with the bytes that are there, never with the sizes that a header claims.

mod array;
mod bit_pairs;
mod dataset;
mod dictionary;
mod embedded;
mod error;
mod factors;
#[cfg(test)]
mod factors_tests;
mod idx;
mod label_sets;
mod line_clusters;
mod multilabel;
mod npy;
mod npz;
mod pairs;
mod sprites;
mod stream;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use bit_pairs::bit_pairs;
pub(crate) use dataset::moments;
pub use dataset::{Dataset, ImageShape, Kind, Labels};
pub use dictionary::{DictionaryRows, DictionaryToy, dictionary_toy};
pub use embedded::{digits, iris, penguins, wine};
pub use error::{Argument, DataError};
pub use factors::{Factor, FactorImages, load_factor_grid, load_factor_images, sprites_grid};
pub use label_sets::LabelSets;
pub use line_clusters::LineClusters;
pub(crate) use multilabel::expanded;
pub use multilabel::{MultiLabelData, MultiLabelSplit, load_multilabel};
pub use pairs::Pairs;
pub use sprites::load_sprites;
use stream::{Origin, Stream, ends_with};

/// Reads the data set that `--data` names: `digits`, `iris`, `penguins`, `wine`, or `FILE[:ARRAY]`.
///
/// With `rows` only the first rows are decoded, and reading stops there where the file's order allows it. The pixels of
/// images from a file are scaled by the largest of those read. A file called `digits` is `./digits`.
///
/// In an `.npz` archive `ARRAY` may be left out when one array alone has two dimensions or more, or when one of several is
/// called `X` or `x`.
///
/// # Errors
/// [`DataError`], naming `--data` or `--rows`.
///
/// ```
/// let data = softurn_models::data::load("digits", Some(100))?;
/// assert_eq!(data.features().dim(), (100, 64));
///
/// let error = softurn_models::data::load("missing.npy", None).unwrap_err();
/// assert!(error.to_string().starts_with("--data: cannot open 'missing.npy'"));
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
pub fn load(spec: &str, rows: Option<usize>) -> Result<Dataset, DataError> {
    if let Some(set) = embedded::by_name(spec) {
        return match rows {
            Some(rows) => set.take_rows(rows),
            None => Ok(set),
        };
    }
    let (path, array) = split(spec);
    let origin = Origin::new(Argument::Data, path);
    let format = format_of(&origin)?;
    if format != Format::Npz {
        no_names(&origin, array)?;
    }
    match format {
        Format::Npz => npz::Archive::open(origin)?.dataset(array, rows),
        Format::Csv => table::read_dataset(Stream::open(origin)?, None, rows),
        Format::Idx | Format::Npy => {
            let mut stream = Stream::open(origin)?;
            let header = read_header(&mut stream, format)?;
            array::read_dataset(&mut stream, &header, path, rows)
        }
    }
}

/// Reads a `.csv` or `.csv.gz` file of numbers; the column that `--label-column` names becomes the labels instead of a
/// feature, and may hold numbers or text.
///
/// # Errors
/// [`DataError`], naming `--data`, `--label-column` or `--rows`; [`DataError::NotCsv`] where `path` is another kind of data.
///
/// ```
/// use std::io::Write;
///
/// let mut file = tempfile::Builder::new().suffix(".csv").tempfile()?;
/// file.write_all(b"width,species,height\n1,b,2\n3,a,4\n")?;
/// let data = softurn_models::data::load_csv(&file.path().to_string_lossy(), Some("species"), None)?;
/// assert_eq!(data.values(), [1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(data.labels().map(|labels| labels.ids()), Some(&[1, 0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_csv(path: &str, label_column: Option<&str>, rows: Option<usize>) -> Result<Dataset, DataError> {
    let origin = Origin::new(Argument::Data, path);
    if embedded::by_name(path).is_some() || format_of(&origin)? != Format::Csv {
        let argument = if label_column.is_some() { Argument::LabelColumn } else { Argument::Data };
        return Err(DataError::NotCsv { argument, source_name: path.to_owned() });
    }
    table::read_dataset(Stream::open(origin)?, label_column, rows)
}

/// Reads the labels that `--labels` names: `FILE[:ARRAY]`, or an embedded set for its labels.
///
/// The file holds integers in one dimension (IDX, npy, npz) or is a csv file, where `ARRAY` is the column; the column may be
/// left out when there is one, the array when one alone suits or one of several is called `y`, `Y` or `labels`.
/// [`Dataset::with_labels`] joins the labels to their rows.
///
/// # Errors
/// [`DataError`], naming `--labels`.
pub fn load_labels(spec: &str) -> Result<Labels, DataError> {
    if let Some(labels) = embedded::by_name(spec).and_then(|set| set.labels().cloned()) {
        return Ok(labels);
    }
    let (path, array) = split(spec);
    let origin = Origin::new(Argument::Labels, path);
    let format = format_of(&origin)?;
    match format {
        Format::Npz => npz::Archive::open(origin)?.labels(array),
        Format::Csv => table::read_labels(Stream::open(origin)?, array),
        Format::Idx | Format::Npy => {
            no_names(&origin, array)?;
            let mut stream = Stream::open(origin)?;
            let header = read_header(&mut stream, format)?;
            array::read_labels(&mut stream, &header)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Idx,
    Npy,
    Npz,
    Csv,
}

fn format_by_name(path: &str) -> Option<Format> {
    let endings = [
        (".npz", Format::Npz),
        (".npy", Format::Npy),
        (".npy.gz", Format::Npy),
        (".csv", Format::Csv),
        (".csv.gz", Format::Csv),
        (".idx", Format::Idx),
        (".idx.gz", Format::Idx),
        ("-ubyte", Format::Idx),
        ("-ubyte.gz", Format::Idx),
        ("-float", Format::Idx),
        ("-float.gz", Format::Idx),
    ];
    endings.into_iter().find(|(ending, _)| ends_with(path, ending)).map(|(_, format)| format)
}

/// A file that is not there is reported as such, whatever its name.
fn format_of(origin: &Origin) -> Result<Format, DataError> {
    match format_by_name(&origin.source_name) {
        Some(format) => Ok(format),
        None => {
            origin.open()?;
            Err(DataError::UnknownFormat { argument: origin.argument, source_name: origin.source_name.clone() })
        }
    }
}

/// Takes `FILE:ARRAY` apart; a colon in a path that exists belongs to the path.
fn split(spec: &str) -> (&str, Option<&str>) {
    if Path::new(spec).exists() {
        return (spec, None);
    }
    let apart = || spec.match_indices(':').map(|(at, _)| (&spec[..at], Some(&spec[at + 1..])));
    apart()
        .find(|(path, _)| Path::new(path).is_file())
        .or_else(|| apart().find(|(path, _)| format_by_name(path).is_some()))
        .unwrap_or((spec, None))
}

fn read_header(stream: &mut Stream<'_>, format: Format) -> Result<array::Header, DataError> {
    if format == Format::Npy { npy::read_header(stream) } else { idx::read_header(stream) }
}

fn no_names(origin: &Origin, array: Option<&str>) -> Result<(), DataError> {
    match array {
        Some(array) => Err(DataError::NoNames {
            argument: origin.argument,
            source_name: origin.source_name.clone(),
            asked: array.to_owned(),
        }),
        None => Ok(()),
    }
}
