//! Several labels to a row.

use crate::{Error, Result};

/// The labels of each row as a set, for rows that have few of many labels: `n_labels` may be thousands.
///
/// ```
/// use softurn_models::data::LabelSets;
///
/// let tags = LabelSets::new([vec![4, 0], vec![], vec![2]], 5)?;
/// assert_eq!((tags.n_rows(), tags.n_labels()), (3, 5));
/// assert_eq!(tags.row(0), [0, 4]);
/// assert_eq!(LabelSets::new([[5]], 5).unwrap_err().to_string(), "labels: row 0 holds 5, not below 5");
/// # Ok::<(), softurn_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSets {
    /// Where each row ends among the labels.
    ends: Vec<usize>,
    labels: Vec<u32>,
    n_labels: usize,
}

impl LabelSets {
    /// Rows of different labels from 0 to below `n_labels`, in any order.
    ///
    /// # Errors
    /// [`Error::Argument`] of `labels`, with the row, for a label that is not below `n_labels` or stands twice in a row.
    pub fn new<R: AsRef<[u32]>>(rows: impl IntoIterator<Item = R>, n_labels: usize) -> Result<Self> {
        let mut sets = Self { ends: Vec::new(), labels: Vec::new(), n_labels };
        for (row, labels) in rows.into_iter().enumerate() {
            let start = sets.labels.len();
            sets.labels.extend(labels.as_ref());
            let labels = &mut sets.labels[start..];
            labels.sort_unstable();
            if let Some(&label) = labels.last().filter(|&&label| label as usize >= n_labels) {
                return Err(Error::argument("labels", format!("row {row} holds {label}, not below {n_labels}")));
            }
            if let Some(pair) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Error::argument("labels", format!("row {row} holds {} twice", pair[0])));
            }
            sets.ends.push(sets.labels.len());
        }
        Ok(sets)
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.ends.len()
    }

    /// How many labels there could be.
    pub fn n_labels(&self) -> usize {
        self.n_labels
    }

    /// The labels of a row, ascending.
    ///
    /// # Panics
    /// For a row that is not there.
    pub fn row(&self, row: usize) -> &[u32] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.labels[start..self.ends[row]]
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.n_rows()).map(|row| self.row(row))
    }
}
