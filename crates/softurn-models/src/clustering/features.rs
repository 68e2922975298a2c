//! What the deep methods share: features as a network takes them, and random views of them.

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use softurn_kernels::ops::augment::{self, Affine};
use softurn_kernels::{Gpu, Key, Tensor};

use crate::data::{Dataset, ImageShape};
use crate::{Error, Result};

/// What a random view does to an image: degrees turned to radians, and shares of its half side.
const VIEW: Affine =
    Affine { max_rotation: 0.174_532_93, max_scale: 0.1, max_shear: 0.139_626_34, max_shift: 0.12, max_crop: 0.0 };
/// What a random view does to a standardised table: added noise, and the chance that a feature is hidden.
const NOISE: f32 = 0.1;
const DROPOUT: f32 = 0.1;

/// What may be set of random views.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Views {
    /// The largest share of an image's sides that is cut off.
    pub(super) crop: f32,
    /// The standard deviation of added noise; unset: 0 for images, 0.1 for tables.
    pub(super) noise: Option<f32>,
}

impl Views {
    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.crop) {
            return Err(Error::argument("crop", format!("{} is not from 0 to below 1", self.crop)));
        }
        match self.noise {
            Some(noise) if !(noise >= 0.0 && noise.is_finite()) => {
                Err(Error::argument("noise", format!("{noise} is not 0 or a positive number")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_data(&self, data: &Dataset) -> Result<()> {
        if self.crop > 0.0 && data.image().is_none() {
            return Err(Error::argument("crop", format!("crops are of images; {} is a table", data.name())));
        }
        Ok(())
    }

    /// Rows under random views: affine maps and windows of images, hidden features of tables, and noise.
    pub(super) fn of(&self, x: &Tensor, image: Option<ImageShape>, key: Key) -> Result<Tensor> {
        let Some(shape) = image else {
            return Ok(augment::corrupt(x.gpu(), x, self.noise.unwrap_or(NOISE), DROPOUT, key)?);
        };
        let shape = augment::ImageShape { height: shape.height, width: shape.width, channels: shape.channels };
        let seen = augment::affine(x.gpu(), x, shape, &Affine { max_crop: self.crop, ..VIEW }, key)?;
        // Noise is drawn from another part of the key's stream.
        Ok(match self.noise {
            Some(noise) if noise > 0.0 => augment::corrupt(x.gpu(), &seen, noise, 0.0, key)?,
            _ => seen,
        })
    }
}

/// Columns of a table less their mean, over their standard deviation, both of the rows that a model was fitted on; a
/// constant column becomes 0. Columns of an embedding are divided by one number, the root of their mean variance. Images
/// stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Scaling {
    columns: usize,
    /// Mean, and one over the deviation.
    table: Option<Vec<[f64; 2]>>,
}

impl Scaling {
    pub(super) fn of(data: &Dataset) -> Self {
        Self { columns: data.cols(), table: data.scales() }
    }

    /// Columns of the data.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Columns as they are.
    pub(super) fn none(columns: usize) -> Self {
        Self { columns, table: None }
    }

    /// These rows of the data, one after the other, as the model takes them.
    ///
    /// # Errors
    /// When the data has another number of columns.
    pub(super) fn rows(&self, data: &Dataset, rows: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        self.check(data)?;
        let values = data.values();
        let mut taken = Vec::with_capacity(rows.size_hint().0 * self.columns);
        for row in rows {
            let row = &values[row * self.columns..(row + 1) * self.columns];
            match &self.table {
                Some(table) => taken.extend(row.iter().zip(table).map(|(&value, scale)| scaled(value, scale))),
                None => taken.extend_from_slice(row),
            }
        }
        Ok(taken)
    }

    /// # Errors
    /// When the data has another number of columns.
    pub(super) fn apply(&self, data: &Dataset) -> Result<Array2<f32>> {
        self.check(data)?;
        let mut features = data.features().clone();
        if let Some(table) = &self.table {
            for (mut column, scale) in features.columns_mut().into_iter().zip(table) {
                column.mapv_inplace(|value| scaled(value, scale));
            }
        }
        Ok(features)
    }

    fn check(&self, data: &Dataset) -> Result<()> {
        if data.cols() == self.columns {
            return Ok(());
        }
        let message = format!("has {} columns, the model was fitted on {}", data.cols(), self.columns);
        Err(Error::argument("data", message))
    }

    /// The scaled rows of a data set on the device, `size` at a time.
    ///
    /// # Errors
    /// As [`Scaling::apply`], and those of the device.
    pub(super) fn blocks<'a>(
        &'a self,
        gpu: &'a Gpu,
        data: &'a Dataset,
        size: usize,
    ) -> Result<impl Iterator<Item = Result<Tensor>> + 'a> {
        self.check(data)?;
        Ok((0..data.rows()).step_by(size).map(move |start| {
            let end = (start + size).min(data.rows());
            Ok(gpu.tensor(&self.rows(data, start..end)?, [end - start, self.columns])?)
        }))
    }

    /// What `f` makes of these blocks, a row for each row of the data, read back.
    ///
    /// # Errors
    /// As [`Scaling::blocks`], and those of `f`.
    pub(super) fn map(
        &self,
        gpu: &Gpu,
        data: &Dataset,
        size: usize,
        f: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Array2<f32>> {
        let mut values = Vec::new();
        for block in self.blocks(gpu, data, size)? {
            values.extend(f(&block?)?.read()?);
        }
        let cols = values.len() / data.rows().max(1);
        Ok(Array2::from_shape_fn((data.rows(), cols), |(i, j)| values[i * cols + j]))
    }
}

fn scaled(value: f32, [mean, scale]: &[f64; 2]) -> f32 {
    ((f64::from(value) - mean) * scale) as f32
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn tables_are_scaled_by_column_and_embeddings_as_a_whole() {
        let table = Dataset::table("t", array![[1.0, 5.0, 4.0], [3.0, 5.0, 10.0]]).unwrap();
        let scaled = |data: &Dataset| Scaling::of(data).apply(data).unwrap();
        assert_eq!(scaled(&table), array![[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0]]);
        let common = (10.0f32 / 3.0).sqrt();
        let expected = array![[-1.0, 0.0, -3.0], [1.0, 0.0, 3.0]] / common;
        let embedding = table.clone().into_embedding().unwrap();
        assert!(scaled(&embedding).iter().zip(&expected).all(|(a, b): (&f32, &f32)| (a - b).abs() < 1e-6));
        let digits = crate::data::load("digits", Some(3)).unwrap();
        assert_eq!(&scaled(&digits), digits.features());
        assert!(digits.into_embedding().unwrap_err().to_string().starts_with("--kind:"));
    }
}
