//! Rows with several labels each: features that are dense numbers or few ones among many zeros, label sets, and the rows that
//! were set apart for tests.

use std::path::Path;

use ndarray::{Array2, ArrayView1};
use softurn_kernels::Key;

use super::array::{self, Header};
use super::npz::Archive;
use super::stream::{Origin, Stream};
use super::{Argument, DataError, LabelSets};
use crate::Error;
use crate::train::batches::below;

/// Features with the labels of each row.
///
/// ```
/// use ndarray::array;
/// use softurn_models::data::{LabelSets, MultiLabelData};
///
/// let tags = LabelSets::new([vec![0, 2], vec![1]], 3)?;
/// let dense = MultiLabelData::dense(array![[0.5, 1.0], [2.0, -1.0]], tags.clone())?;
/// assert_eq!((dense.n_rows(), dense.n_features(), dense.expand(&[1])), (2, 2, vec![2.0, -1.0]));
/// // The same rows by the columns that are 1, of four.
/// let words = LabelSets::new([vec![1, 3], vec![0]], 4)?;
/// assert_eq!(MultiLabelData::binary(words, tags)?.expand(&[0]), [0.0, 1.0, 0.0, 1.0]);
/// # Ok::<(), softurn_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MultiLabelData {
    features: Features,
    labels: LabelSets,
}

#[derive(Debug, Clone, PartialEq)]
enum Features {
    Dense(Array2<f32>),
    /// The columns that are 1, by row: as many numbers as there are ones.
    Ones(LabelSets),
}

/// A data set with several labels to a row, as it was split when it was published.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiLabelSplit {
    /// The rows to learn from.
    pub train: MultiLabelData,
    /// The rows to score on.
    pub test: MultiLabelData,
    /// The names of the labels, where the file has a list of them beside it.
    pub label_names: Option<Vec<String>>,
}

impl MultiLabelData {
    /// Rows of numbers `[rows, n_features]`, kept as they are.
    ///
    /// # Errors
    /// [`Error::Argument`] of `features` without rows or columns and for a number that is not finite, of `labels` unless there
    /// is a set for each row.
    pub fn dense(features: Array2<f32>, labels: LabelSets) -> Result<Self, Error> {
        if let Some(((row, column), value)) = features.indexed_iter().find(|(_, value)| !value.is_finite()) {
            let message = format!("row {row}, column {column}: {value} is not a finite number");
            return Err(Error::argument("features", message));
        }
        let features = features.as_standard_layout().into_owned();
        Self::checked(Features::Dense(features), labels)
    }

    /// Rows of zeros and ones, given by the columns that are 1; kept so, and expanded by batches.
    ///
    /// # Errors
    /// As [`MultiLabelData::dense`].
    pub fn binary(ones: LabelSets, labels: LabelSets) -> Result<Self, Error> {
        Self::checked(Features::Ones(ones), labels)
    }

    fn checked(features: Features, labels: LabelSets) -> Result<Self, Error> {
        let data = Self { features, labels };
        let (rows, cols) = (data.features.rows(), data.n_features());
        if rows == 0 || cols == 0 {
            return Err(Error::argument("features", format!("are {rows} rows of {cols} columns")));
        }
        if data.labels.n_rows() != rows {
            let message = format!("{} sets for {rows} rows of features", data.labels.n_rows());
            return Err(Error::argument("labels", message));
        }
        if data.labels.n_labels() == 0 {
            return Err(Error::argument("labels", "there is no label to predict"));
        }
        Ok(data)
    }

    /// A problem of any number of labels, such as 10,000, that takes little memory: each label has a code of four binary features,
    /// each row one to `most` labels, frequent ones first (label `⌊n u³⌋` of a uniform `u`), and its features are the
    /// union of their codes. So a row's labels are those whose whole code is there, but for chance.
    ///
    /// The codes depend on the key's first half alone: rows of `key.split()` kept apart come from [`MultiLabelData::select`].
    ///
    /// # Errors
    /// [`Error::Argument`] unless there is a row, a feature and a label, and `most` is from 1 to the number of labels.
    pub fn synthetic([rows, n_features, n_labels]: [usize; 3], most: usize, key: Key) -> Result<Self, Error> {
        if n_features == 0 {
            return Err(Error::argument("features", "there is no feature to tell labels by"));
        }
        if most == 0 || most > n_labels {
            return Err(Error::argument("most", format!("is {most}, not from 1 to {n_labels} labels")));
        }
        let [codes, draws] = key.split();
        let code = |label: u32| (0..4u64).map(move |i| below(codes.child(4 * u64::from(label) + i), n_features) as u32);
        let distinct = |mut values: Vec<u32>| {
            values.sort_unstable();
            values.dedup();
            values
        };
        let sets = (0..rows).map(|row| {
            let mut keys = draws.child(row as u64).split_forever();
            let mut draw = |n: usize| keys.next().map_or(0, |key| below(key, n));
            let count = 1 + draw(most);
            let frequent_first = |u: f64| (n_labels as f64 * u * u * u) as u32;
            distinct((0..count).map(|_| frequent_first(draw(1 << 24) as f64 / f64::from(1 << 24))).collect())
        });
        let sets: Vec<Vec<u32>> = sets.collect();
        let ones = sets.iter().map(|labels| distinct(labels.iter().flat_map(|&label| code(label)).collect()));
        Self::binary(LabelSets::new(ones, n_features)?, LabelSets::new(&sets, n_labels)?)
    }

    /// Observations.
    pub fn n_rows(&self) -> usize {
        self.labels.n_rows()
    }

    /// Values of an observation.
    pub fn n_features(&self) -> usize {
        match &self.features {
            Features::Dense(values) => values.ncols(),
            Features::Ones(ones) => ones.n_labels(),
        }
    }

    /// The labels of each row.
    pub fn labels(&self) -> &LabelSets {
        &self.labels
    }

    /// Whether all features are 0 or 1 and kept as such.
    pub fn is_binary(&self) -> bool {
        matches!(self.features, Features::Ones(_))
    }

    /// These rows, in this order.
    ///
    /// # Errors
    /// [`Error::Argument`] of `rows` without any, or for one that is not there.
    pub fn select(&self, rows: &[usize]) -> Result<Self, Error> {
        if let Some(row) = rows.iter().find(|&&row| row >= self.n_rows()) {
            return Err(Error::argument("rows", format!("{row} is not below {}", self.n_rows())));
        }
        if rows.is_empty() {
            return Err(Error::argument("rows", "are none"));
        }
        let of = |sets: &LabelSets| LabelSets::new(rows.iter().map(|&row| sets.row(row)), sets.n_labels());
        let features = match &self.features {
            Features::Dense(values) => Features::Dense(values.select(ndarray::Axis(0), rows)),
            Features::Ones(ones) => Features::Ones(of(ones)?),
        };
        Ok(Self { features, labels: of(&self.labels)? })
    }

    /// The features of some rows one after another, `rows.len() * n_features` numbers.
    ///
    /// # Panics
    /// For a row that is not there.
    pub fn expand(&self, rows: &[u32]) -> Vec<f32> {
        match &self.features {
            Features::Dense(values) => rows.iter().flat_map(|&row| values.row(row as usize).to_vec()).collect(),
            Features::Ones(ones) => expanded(ones, rows),
        }
    }

    /// The columns of numbers; none of features that are 0 or 1.
    pub(crate) fn columns(&self) -> impl Iterator<Item = ArrayView1<'_, f32>> {
        let dense = match &self.features {
            Features::Dense(values) => Some(values),
            Features::Ones(_) => None,
        };
        dense.into_iter().flat_map(|values| values.columns())
    }
}

impl Features {
    fn rows(&self) -> usize {
        match self {
            Self::Dense(values) => values.nrows(),
            Self::Ones(ones) => ones.n_rows(),
        }
    }
}

/// Some sets one after another as zeros and ones.
pub(crate) fn expanded(sets: &LabelSets, rows: &[u32]) -> Vec<f32> {
    let width = sets.n_labels();
    let mut values = vec![0.0; rows.len() * width];
    for (row, values) in rows.iter().zip(values.chunks_exact_mut(width.max(1))) {
        for &column in sets.row(*row as usize) {
            values[column as usize] = 1.0;
        }
    }
    values
}

/// Reads a data set with several labels to a row from an `.npz` archive.
///
/// Its arrays: features as numbers `x` `[rows, n_features]`, or as bits `x_packed` `[rows, ⌈n_features / 8⌉]` of `u8` whose most
/// significant bit comes first (`numpy.packbits`) with the true width `n_features` `[1]`; labels `y_packed` and `n_labels` in the same way;
/// and `is_test` `[rows]`, 1 for the rows to score on. The names of the labels are read from `STEM.label_names.txt` beside the
/// archive where it exists, one a line.
///
/// # Errors
/// [`DataError`], naming `--data` or `--labels`: an array that is missing or of a wrong type, arrays of different numbers of rows, bits
/// beyond the width, a split without rows to learn from or to score on, and as many names as there are not labels.
pub fn load_multilabel(path: impl AsRef<Path>) -> Result<MultiLabelSplit, DataError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let mut features = Archive::open(Origin::new(Argument::Data, &name))?;
    let mut labels = Archive::open(Origin::new(Argument::Labels, &name))?;
    let sets = bits(&mut labels, "y_packed", "n_labels")?;
    let features = if features.names().iter().any(|name| name == "x") {
        Features::Dense(features.dataset(Some("x"), None)?.features().clone())
    } else {
        Features::Ones(bits(&mut features, "x_packed", "n_features")?)
    };
    let origin = Origin::new(Argument::Labels, &name);
    let is_test = integers(&mut labels, "is_test")?;
    for (array, rows) in [("y_packed", sets.n_rows()), ("is_test", is_test.len())] {
        if rows != features.rows() {
            return Err(origin.malformed(format!("{array} has {rows} rows, the features {}", features.rows())));
        }
    }
    if let Some(row) = is_test.iter().position(|value| !(0..=1).contains(value)) {
        return Err(origin.malformed(format!("is_test of row {row} is {}, neither 0 nor 1", is_test[row])));
    }
    let n_labels = sets.n_labels();
    let fault = |error: Error| origin.malformed(error.to_string());
    let all = MultiLabelData::checked(features, sets).map_err(fault)?;
    let rows_of = |test: i64| -> Vec<usize> { (0..is_test.len()).filter(|&row| is_test[row] == test).collect() };
    Ok(MultiLabelSplit {
        train: all.select(&rows_of(0)).map_err(|error| fault(Error::argument("is_test = 0", error.to_string())))?,
        test: all.select(&rows_of(1)).map_err(|error| fault(Error::argument("is_test = 1", error.to_string())))?,
        label_names: label_names(&path.with_extension("label_names.txt"), n_labels)?,
    })
}

/// Rows of bits as the sets of the columns that are 1.
fn bits(archive: &mut Archive, array: &str, width: &str) -> Result<LabelSets, DataError> {
    let width = match integers(archive, width)?[..] {
        [width] if u32::try_from(width).is_ok() => width as usize,
        ref other => return Err(archive.malformed(format!("{width} is {other:?}, not one number from 0 on"))),
    };
    let name = archive.choose(Some(array), &[], |_| true)?;
    archive.read(&name, |stream: &mut Stream<'_>, header: &Header| {
        let &[rows, cols] = &header.shape[..] else {
            return Err(array::dimensions(stream, header, "two dimensions: a row of bits for each row"));
        };
        if cols != width.div_ceil(8) as u64 {
            return Err(stream.origin.malformed(format!("has {cols} bytes a row for {width} bits")));
        }
        let bytes = array::read_bytes(stream, header)?;
        let mut sets: Vec<Vec<u32>> = Vec::new();
        for row in 0..rows as usize {
            let bytes = &bytes[row * cols as usize..(row + 1) * cols as usize];
            let set: Vec<u32> =
                (0..8 * bytes.len()).filter(|i| bytes[i / 8] >> (7 - i % 8) & 1 == 1).map(|i| i as u32).collect();
            sets.push(set);
        }
        LabelSets::new(sets, width).map_err(|error| stream.origin.malformed(error.to_string()))
    })
}

/// An array of integers, by a name that must be there.
fn integers(archive: &mut Archive, array: &str) -> Result<Vec<i64>, DataError> {
    let name = archive.choose(Some(array), &[], |_| true)?;
    archive.read(&name, |stream, header| match header.shape[..] {
        [_] => array::read_integers(stream, header, "integers"),
        _ => Err(array::dimensions(stream, header, "one dimension")),
    })
}

fn label_names(path: &Path, n_labels: usize) -> Result<Option<Vec<String>>, DataError> {
    if !path.is_file() {
        return Ok(None);
    }
    let origin = Origin::new(Argument::Labels, &path.display().to_string());
    let text = std::fs::read_to_string(path).map_err(|error| origin.unreadable(error.to_string()))?;
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    if names.len() != n_labels {
        return Err(origin.malformed(format!("{} names for {n_labels} labels", names.len())));
    }
    Ok(Some(names))
}
