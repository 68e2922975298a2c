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

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;

    use super::super::tests::{Folder, npy};
    use super::*;

    type Members = Vec<(&'static str, Vec<u8>)>;

    /// An array as NumPy writes it.
    fn member(dtype: &str, shape: &str, payload: &[u8]) -> Vec<u8> {
        npy(&format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n"), payload)
    }

    fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// Three rows of ten binary features and five labels, of which the last row is for tests.
    fn members() -> Members {
        vec![
            // numpy.packbits of the columns {0, 9}, {}, {1, 7, 8}.
            ("x_packed", member("|u1", "(3, 2)", &[0b1000_0000, 0b0100_0000, 0, 0, 0b0100_0001, 0b1000_0000])),
            ("n_features", member("<i4", "(1,)", &10i32.to_le_bytes())),
            ("y_packed", member("|u1", "(3, 1)", &[0b0000_1000, 0b1100_0000, 0])),
            ("n_labels", member("<i4", "(1,)", &5i32.to_le_bytes())),
            ("is_test", member("|u1", "(3,)", &[0, 0, 1])),
        ]
    }

    #[test]
    fn bits_are_read_with_the_most_significant_first_and_split_as_published() {
        let folder = Folder::new();
        let path = folder.write("a.npz", npz(&members()));
        let split = load_multilabel(&path).unwrap();
        assert_eq!((split.train.n_rows(), split.train.n_features(), split.test.n_rows()), (2, 10, 1));
        assert!(split.train.is_binary() && split.label_names.is_none());
        assert_eq!(split.train.expand(&[1, 0])[10..], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(split.test.expand(&[0]), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!([split.train.labels().row(0), split.train.labels().row(1)], [&[4][..], &[0, 1][..]]);
        assert!(split.test.labels().row(0).is_empty());

        folder.write("a.label_names.txt", "one\ntwo\nthree\nfour\nfive\n");
        assert_eq!(load_multilabel(&path).unwrap().label_names.unwrap()[4], "five");

        let mut dense = members();
        let values: Vec<u8> = [0.5f32, 1.0, -1.0, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        dense.splice(0..2, [("x", member("<f4", "(3, 2)", &values))]);
        let split = load_multilabel(folder.write("dense.npz", npz(&dense))).unwrap();
        assert_eq!((split.train.expand(&[0, 1]), split.test.expand(&[0])), (vec![0.5, 1.0, -1.0, 2.0], vec![3.0, 4.0]));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let folder = Folder::new();
        let says = |name: &str, change: &dyn Fn(&mut Members), words: &[&str]| {
            let mut members = members();
            change(&mut members);
            let error = load_multilabel(folder.write(&format!("{name}.npz"), npz(&members))).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)) && !error.contains('\n'), "{error}: {words:?}");
        };
        for missing in ["x_packed", "n_features", "y_packed", "n_labels", "is_test"] {
            says("missing", &|members| members.retain(|(name, _)| *name != missing), &["has no array", missing]);
        }
        let set = |members: &mut Members, name: &str, bytes: Vec<u8>| {
            members.iter_mut().find(|(other, _)| *other == name).unwrap().1 = bytes;
        };
        says("short", &|m| set(m, "is_test", member("|u1", "(2,)", &[0, 1])), &["--labels", "is_test has 2 rows", "3"]);
        says("rows", &|m| set(m, "y_packed", member("|u1", "(2, 1)", &[0, 0])), &["--labels", "y_packed has 2 rows"]);
        says(
            "bytes",
            &|m| set(m, "n_labels", member("<i4", "(1,)", &9i32.to_le_bytes())),
            &["1 bytes a row for 9 bits"],
        );
        says("beyond", &|m| set(m, "y_packed", member("|u1", "(3, 1)", &[1, 0, 0])), &["row 0 holds 7, not below 5"]);
        says("none", &|m| set(m, "is_test", member("|u1", "(3,)", &[0, 0, 0])), &["is_test = 1"]);
        says("two", &|m| set(m, "is_test", member("|u1", "(3,)", &[0, 2, 1])), &["is_test of row 1 is 2"]);
        says("wide", &|m| set(m, "n_labels", member("<i4", "(2,)", &[0; 8])), &["n_labels", "one number"]);
        says("floats", &|m| set(m, "x_packed", member("<f4", "(3, 2)", &[0; 24])), &["--data", "8-bit"]);
        let path = folder.write("names.npz", npz(&members()));
        folder.write("names.label_names.txt", "one\n");
        assert!(load_multilabel(path).unwrap_err().to_string().contains("1 names for 5 labels"));
        assert!(load_multilabel("none.npz").unwrap_err().to_string().contains("cannot open 'none.npz'"));

        let sets = |rows: &[&[u32]]| LabelSets::new(rows, 3).unwrap();
        let says = |data: Result<MultiLabelData, Error>, words: &[&str]| {
            let error = data.unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}: {words:?}");
        };
        says(MultiLabelData::dense(Array2::zeros((2, 2)), sets(&[&[0]])), &["labels", "1 sets for 2 rows"]);
        says(MultiLabelData::dense(Array2::from_elem((1, 2), f32::NAN), sets(&[&[0]])), &["features", "row 0"]);
        says(MultiLabelData::dense(Array2::zeros((1, 0)), sets(&[&[0]])), &["features", "0 columns"]);
        says(MultiLabelData::synthetic([3, 4, 5], 6, Key::new(0)), &["most", "6"]);
        says(MultiLabelData::synthetic([3, 0, 5], 1, Key::new(0)), &["features"]);
        let data = MultiLabelData::synthetic([3, 4, 5], 1, Key::new(0)).unwrap();
        says(data.select(&[3]), &["rows", "3 is not below 3"]);
        says(data.select(&[]), &["rows"]);
    }

    /// Codes of labels are there, frequent labels come first, and memory is that of the ones.
    #[test]
    fn a_synthetic_problem_tells_labels_by_their_codes() {
        let data = MultiLabelData::synthetic([2000, 300, 10_000], 5, Key::new(1)).unwrap();
        assert_eq!((data.n_rows(), data.n_features(), data.labels().n_labels()), (2000, 300, 10_000));
        assert!(data.labels().rows().all(|set| (1..=5).contains(&set.len())));
        let all: Vec<u32> = data.labels().rows().flatten().copied().collect();
        // P(label < n/8) = P(u < 1/2).
        let frequent = all.iter().filter(|&&label| label < 1250).count() as f64 / all.len() as f64;
        assert!((frequent - 0.5).abs() < 0.03, "{frequent}");
        // Rows of the same single label have the same features.
        let rows: Vec<u32> = (0..2000).filter(|&row| data.labels().row(row as usize) == [0]).collect();
        assert!(rows.len() > 2, "{rows:?}");
        assert!(rows.iter().all(|&row| data.expand(&[row]) == data.expand(&rows[..1])));
        assert!((1.0..=4.0).contains(&data.expand(&rows[..1]).iter().sum::<f32>()));
        assert_eq!(data, MultiLabelData::synthetic([2000, 300, 10_000], 5, Key::new(1)).unwrap());
    }
}
