//! A data set in memory: a matrix of finite `f32` features, one row an observation, and the true groups where known.
//!
//! Images are scaled to `[0, 1]`, `x / max(x)`; tables keep their values, and [`Dataset::standardized`] gives
//! `(x - mean) / deviation` of each column.

use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};
use softurn_kernels::Key;

use super::{Argument, DataError};

/// Height, width and channels of the image that each row holds, in that order of axes, the channel running fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Values of a pixel: 1 for grey, 3 for red, green, blue.
    pub channels: usize,
}

impl ImageShape {
    /// Values of one image.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether an image has no pixels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the features are, which decides the likelihood and the scaling that suit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Pixels in `[0, 1]`.
    Images,
    /// Columns of any unit and range: models scale each by its own deviation.
    Table,
    /// Coordinates of one space, such as principal components or a network's features, whose scales say how much they
    /// matter: models scale all columns by one deviation.
    Embedding,
}

/// The true group of every row: `names[ids[row]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    ids: Vec<u32>,
    names: Vec<String>,
}

impl Labels {
    /// Labels from ids, each less than the number of names.
    ///
    /// # Errors
    /// [`DataError::LabelId`] for an id without a name.
    pub fn new(ids: Vec<u32>, names: Vec<String>) -> Result<Self, DataError> {
        match ids.iter().enumerate().find(|&(_, &id)| id as usize >= names.len()) {
            Some((row, &id)) => Err(DataError::LabelId { argument: Argument::Labels, row, id, names: names.len() }),
            None => Ok(Self { ids, names }),
        }
    }

    /// Labels from any integers: the ids number the distinct values in ascending order, the names are the values.
    ///
    /// ```
    /// let labels = softurn_models::data::Labels::from_integers(&[7, -1, 7, 12]);
    /// assert_eq!(labels.ids(), [1, 0, 1, 2]);
    /// assert_eq!(labels.names(), ["-1", "7", "12"]);
    /// ```
    pub fn from_integers(values: &[i64]) -> Self {
        Self::numbered(values)
    }

    /// Labels from texts: the ids number the distinct texts, in ascending order as integers when all of them are, and
    /// otherwise as texts.
    pub fn from_texts(texts: &[String]) -> Self {
        match texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<i64>>>() {
            Some(integers) => Self::from_integers(&integers),
            None => Self::numbered(texts),
        }
    }

    /// The group of every row, `[rows]`, each less than [`Labels::classes`].
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The name of every group, `[classes]`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Groups, those without a row included.
    pub fn classes(&self) -> usize {
        self.names.len()
    }

    /// Rows in every group, `[classes]`.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        for &id in &self.ids {
            counts[id as usize] += 1;
        }
        counts
    }

    fn numbered<T: Ord + ToString>(values: &[T]) -> Self {
        let mut distinct: Vec<&T> = values.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        // Every value is among the distinct ones, so both arms of the search are its place.
        let ids =
            values.iter().map(|value| distinct.binary_search(&value).unwrap_or_else(|place| place) as u32).collect();
        Self { ids, names: distinct.into_iter().map(T::to_string).collect() }
    }
}

/// Features `[rows, cols]`, all of them finite and at least one, with their labels where known.
///
/// ```
/// use ndarray::array;
/// use softurn_models::data::{Dataset, Labels};
///
/// let data = Dataset::table("heights", array![[1.0, 5.0], [3.0, 5.0]])?.with_labels(Labels::from_integers(&[0, 1]))?;
/// assert_eq!((data.rows(), data.cols()), (2, 2));
/// assert_eq!(data.standardized().values(), [-1.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    name: String,
    /// In standard layout.
    features: Array2<f32>,
    image: Option<ImageShape>,
    kind: Kind,
    labels: Option<Labels>,
    /// Rows of the file or set that these are the first of; unknown when reading stopped before the end of a csv file.
    source_rows: Option<u64>,
}

impl Dataset {
    /// A table of features `[rows, cols]`, kept as they are.
    ///
    /// # Errors
    /// [`DataError::Empty`] without rows or columns, [`DataError::NonFinite`] for a NaN or an infinity.
    pub fn table(name: impl Into<String>, features: Array2<f32>) -> Result<Self, DataError> {
        Self::checked(name.into(), features, None)
    }

    /// Images `[rows, height * width * channels]`, not negative, scaled to `[0, 1]` by the largest value of all.
    ///
    /// # Errors
    /// As [`Dataset::table`], and [`DataError::Malformed`] for a negative pixel or a row that is not as long as an image.
    pub fn images(name: impl Into<String>, pixels: Array2<f32>, shape: ImageShape) -> Result<Self, DataError> {
        let name = name.into();
        let malformed = |reason| DataError::Malformed { argument: Argument::Data, source_name: name.clone(), reason };
        if pixels.ncols() != shape.len() {
            return Err(malformed(format!("rows of {} values for images of {shape:?}", pixels.ncols())));
        }
        if let Some(((row, column), value)) = pixels.indexed_iter().find(|&(_, &value)| value < 0.0) {
            return Err(malformed(format!("pixel {column} of image {row} is negative: {value}")));
        }
        let mut data = Self::checked(name, pixels, Some(shape))?;
        let largest = data.features.iter().copied().fold(0.0, f32::max);
        if largest > 0.0 {
            data.features.mapv_inplace(|value| value / largest);
        }
        Ok(data)
    }

    /// The same rows, taken for coordinates of one space.
    ///
    /// # Errors
    /// [`DataError::Malformed`] when they are images.
    pub fn into_embedding(mut self) -> Result<Self, DataError> {
        if self.kind == Kind::Images {
            let reason = "images are no embedding".into();
            return Err(DataError::Malformed { argument: Argument::Kind, source_name: self.name, reason });
        }
        self.kind = Kind::Embedding;
        Ok(self)
    }

    /// The same data with the true groups of the rows.
    ///
    /// Where these rows are the first of a longer source, labels for the whole of it serve as well.
    ///
    /// # Errors
    /// [`DataError::LabelCount`] unless there is one label for each row.
    pub fn with_labels(mut self, mut labels: Labels) -> Result<Self, DataError> {
        let fits = match self.source_rows {
            Some(source_rows) => labels.len() == self.rows() || labels.len() as u64 == source_rows,
            None => labels.len() >= self.rows(),
        };
        if !fits {
            return Err(DataError::LabelCount { argument: Argument::Labels, labels: labels.len(), rows: self.rows() });
        }
        labels.ids.truncate(self.rows());
        self.labels = Some(labels);
        Ok(self)
    }

    /// An unbalanced data set for a study: of each class a share of its rows, at least one, chosen by the key; the order stays.
    /// This is the one place that looks at labels, before anything is learned.
    ///
    /// # Errors
    /// [`DataError::Keep`] without labels, and unless there is one share in `(0, 1]` for each class.
    pub fn keep_shares(mut self, shares: &[f64], key: Key) -> Result<Self, DataError> {
        let Some(labels) = &mut self.labels else {
            return Err(DataError::Keep { message: "there are no labels to tell the classes".into() });
        };
        if shares.len() != labels.classes() {
            let message = format!("{} shares for {} classes", shares.len(), labels.classes());
            return Err(DataError::Keep { message });
        }
        if let Some(share) = shares.iter().find(|&&share| !(share > 0.0 && share <= 1.0)) {
            return Err(DataError::Keep { message: format!("{share} is not a share above 0 and up to 1") });
        }
        let mut kept = Vec::new();
        for (class, &share) in shares.iter().enumerate() {
            let rows = labels.ids.iter().enumerate().filter(|(_, id)| **id as usize == class);
            let mut rows: Vec<(u64, usize)> = rows.map(|(row, _)| (key.child(row as u64).bits(), row)).collect();
            rows.sort_unstable();
            rows.truncate(((share * rows.len() as f64).round() as usize).max(1));
            kept.extend(rows.into_iter().map(|(_, row)| row));
        }
        kept.sort_unstable();
        labels.ids = kept.iter().map(|&row| labels.ids[row]).collect();
        self.features = self.features.select(ndarray::Axis(0), &kept);
        Ok(self)
    }

    /// The first `rows` rows and their labels.
    ///
    /// Images keep the scale they have, that of all the rows.
    ///
    /// # Errors
    /// [`DataError::Rows`], which names `--rows`, when `rows` is 0 or more than there are.
    pub fn take_rows(mut self, rows: usize) -> Result<Self, DataError> {
        let available = self.rows();
        if rows == 0 || rows > available {
            return Err(DataError::Rows { source_name: self.name, asked: rows, available: available as u64 });
        }
        self.features = self.features.slice_move(ndarray::s![..rows, ..]);
        if let Some(labels) = &mut self.labels {
            labels.ids.truncate(rows);
        }
        Ok(self)
    }

    /// These rows and their labels, in this order.
    ///
    /// # Errors
    /// [`DataError::Rows`] without rows, or for one that there is not.
    pub fn select_rows(&self, rows: &[usize]) -> Result<Self, DataError> {
        let available = self.rows();
        if rows.is_empty() || rows.iter().any(|&row| row >= available) {
            let asked = rows.iter().max().map_or(0, |row| row + 1);
            return Err(DataError::Rows { source_name: self.name.clone(), asked, available: available as u64 });
        }
        let labels = self.labels.as_ref().map(|labels| Labels {
            ids: rows.iter().map(|&row| labels.ids[row]).collect(),
            names: labels.names.clone(),
        });
        let features = self.features.select(ndarray::Axis(0), rows);
        let source_rows = Some(rows.len() as u64);
        Ok(Self { name: self.name.clone(), features, image: self.image, kind: self.kind, labels, source_rows })
    }

    /// Every column less the first of its numbers, over the second.
    pub fn rescaled(&self, columns: &[[f64; 2]]) -> Self {
        let mut scaled = self.clone();
        for (mut column, [less, over]) in scaled.features.columns_mut().into_iter().zip(columns) {
            column.mapv_inplace(|value| ((f64::from(value) - less) / over) as f32);
        }
        scaled
    }

    /// The mean and the standard deviation of every column (that of the rows as a population), infinity for a constant column.
    pub fn deviations(&self) -> Vec<[f64; 2]> {
        self.features.columns().into_iter().map(deviation).collect()
    }

    /// 0 and the largest absolute value of every column, 1 for a column of zeros.
    pub fn maxima(&self) -> Vec<[f64; 2]> {
        let largest =
            |column: ArrayView1<'_, f32>| column.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let columns = self.features.columns().into_iter().map(largest);
        columns.map(|largest| [0.0, if largest > 0.0 { f64::from(largest) } else { 1.0 }]).collect()
    }

    /// The data as a table of z-scores, [`Dataset::rescaled`] by [`Dataset::deviations`]. A constant column becomes 0.
    pub fn standardized(&self) -> Self {
        Self { image: None, kind: Kind::Table, ..self.rescaled(&self.deviations()) }
    }

    /// The data with each column divided by its largest absolute value; a column of zeros stays.
    pub fn over_maxima(&self) -> Self {
        self.rescaled(&self.maxima())
    }

    /// These data as models of columns take them, by the scales of the rows of `fitted_on`, which has as many columns: images as
    /// they are, columns of a table as z-scores, and those of an embedding less their means over one deviation for all. Constant
    /// columns of a table become 0.
    pub fn scaled_like(&self, fitted_on: &Self) -> Self {
        let mut scaled = self.clone();
        for (mut column, [mean, scale]) in
            scaled.features.columns_mut().into_iter().zip(fitted_on.scales().into_iter().flatten())
        {
            column.mapv_inplace(|value| ((f64::from(value) - mean) * scale) as f32);
        }
        scaled
    }

    /// The mean of each column and one over the deviation that it is divided by; none of images, which stay as they are.
    pub(crate) fn scales(&self) -> Option<Vec<[f64; 2]>> {
        if self.kind == Kind::Images {
            return None;
        }
        let mut columns: Vec<[f64; 2]> = self.features.columns().into_iter().map(moments).collect();
        if self.kind == Kind::Embedding {
            let variance = |&[_, scale]: &[f64; 2]| if scale > 0.0 { scale.powi(-2) } else { 0.0 };
            let mean = columns.iter().map(variance).sum::<f64>() / columns.len() as f64;
            let common = if mean > 0.0 { mean.sqrt().recip() } else { 0.0 };
            columns.iter_mut().for_each(|[_, scale]| *scale = common);
        }
        Some(columns)
    }

    /// The embedded set's name or the file's path, with `:ARRAY` where one was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Observations.
    pub fn rows(&self) -> usize {
        self.features.nrows()
    }

    /// Values of an observation.
    pub fn cols(&self) -> usize {
        self.features.ncols()
    }

    /// The features, `[rows, cols]`.
    pub fn features(&self) -> &Array2<f32> {
        &self.features
    }

    /// The features row after row, `rows * cols` values: what an upload wants.
    pub fn values(&self) -> &[f32] {
        // The constructor brings the matrix into standard layout and every method keeps it.
        self.features.as_slice().expect("features are in standard layout")
    }

    /// The shape of the images that the rows are, if they are.
    pub fn image(&self) -> Option<ImageShape> {
        self.image
    }

    /// Images, a table or an embedding.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The true groups, where known.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// Says that these rows are the first of `source_rows`, or of an unknown number.
    pub(super) fn first_of(mut self, source_rows: Option<u64>) -> Self {
        self.source_rows = source_rows;
        self
    }

    fn checked(name: String, features: Array2<f32>, image: Option<ImageShape>) -> Result<Self, DataError> {
        let argument = Argument::Data;
        let (rows, cols) = features.dim();
        if rows == 0 || cols == 0 {
            return Err(DataError::Empty { argument, source_name: name, rows, cols });
        }
        if let Some(((row, column), &value)) = features.indexed_iter().find(|(_, value)| !value.is_finite()) {
            return Err(DataError::NonFinite { argument, source_name: name, row, column, value });
        }
        let features =
            if features.is_standard_layout() { features } else { features.as_standard_layout().into_owned() };
        let kind = if image.is_some() { Kind::Images } else { Kind::Table };
        Ok(Self { name, features, image, kind, labels: None, source_rows: Some(rows as u64) })
    }
}

/// The mean of a column and its standard deviation (that of the rows as a population), infinity for a constant column.
fn deviation(column: ArrayView1<'_, f32>) -> [f64; 2] {
    let first = column[0];
    if column.iter().all(|&value| value == first) {
        return [f64::from(first), f64::INFINITY];
    }
    let rows = column.len() as f64;
    let mean = column.iter().map(|&value| f64::from(value)).sum::<f64>() / rows;
    let variance = column.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / rows;
    [mean, variance.sqrt()]
}

/// The mean of a column and one over its standard deviation, 0 for a constant column.
pub(crate) fn moments(column: ArrayView1<'_, f32>) -> [f64; 2] {
    let [mean, deviation] = deviation(column);
    [mean, deviation.recip()]
}
