//! The rows to cluster, checked, centred and in parts within the adapter's limits: the mean of the columns is taken out once, so that `‖x‖² - 2 x·c + ‖c‖²` and
//! sums of squares do not cancel where the data lie far from the origin.

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::gather;
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::{DataType, Gpu, Tensor};

use crate::clustering::features::Scaling;
use crate::data::Dataset;
use crate::{Error, Result};

/// Numbers in the largest temporary tensor: 64 MiB.
const BUDGET: usize = 16 << 20;
/// Rows of the largest part or block; well below 2²⁴, so that counts are exact.
const MOST_ROWS: usize = 1 << 20;
/// Beyond it squares of differences, added up, could leave the range of `f32`.
const LARGEST: f32 = 1e15;

/// Centred rows `[rows, cols]`, in parts that the adapter can bind.
pub(crate) struct Rows {
    /// In order; all but the last have the same number of rows, a multiple of 64.
    parts: Vec<Tensor>,
    len: usize,
    /// What was taken out of every column.
    pub(crate) mean: Tensor,
    /// Numbers in the largest temporary tensor.
    budget: usize,
}

impl Rows {
    /// Takes the mean of the columns out of `data`, `[rows, cols]` with at least one row.
    ///
    /// # Errors
    /// When `data` is no matrix of finite numbers.
    pub(crate) fn centred(gpu: &Gpu, data: &Tensor) -> Result<Self> {
        let (len, cols) = shape(data)?;
        let parts = (0..len).step_by(MOST_ROWS).map(|start| {
            let rows = MOST_ROWS.min(len - start);
            Ok(data.view(start * cols, [rows, cols])?)
        });
        Self::centre(gpu, parts.collect::<Result<_>>()?, cols)
    }

    /// The same for rows of a data set on the host, which go to the device in as many parts as its limits ask for.
    ///
    /// # Errors
    /// When a part does not fit, or a number is out of range.
    pub(in crate::clustering) fn upload(gpu: &Gpu, scaling: &Scaling, data: &Dataset) -> Result<Self> {
        Self::centre(gpu, host_parts(gpu, scaling, data, usize::MAX)?.collect::<Result<_>>()?, data.cols())
    }

    /// Other rows with the same mean taken out; the first is row `start` of the caller's data.
    ///
    /// # Errors
    /// When `data` is no matrix of finite numbers with as many columns as `mean`.
    pub(crate) fn like(gpu: &Gpu, data: &Tensor, mean: &Tensor, start: usize) -> Result<Self> {
        check(gpu, data, start)?;
        Self::of(gpu, data, mean)
    }

    /// Checks the parts and takes their mean out.
    fn centre(gpu: &Gpu, mut parts: Vec<Tensor>, cols: usize) -> Result<Self> {
        let mut len = 0;
        for part in &parts {
            check(gpu, part, len)?;
            len += part.shape().dims()[0];
        }
        let mut mean = vec![0.0; cols];
        let mut taken = upload(gpu, &mean, &[cols])?;
        // The second pass takes out what the first one's rounding left.
        for _ in 0..2 {
            for part in &parts {
                let rest = without(gpu, part, &taken)?;
                for (mean, sum) in mean.iter_mut().zip(reduce::over_rows(gpu, Reduction::Sum, &rest)?.read()?) {
                    *mean += f64::from(sum) / len as f64;
                }
            }
            taken = upload(gpu, &mean, &[cols])?;
        }
        for part in &mut parts {
            *part = without(gpu, part, &taken)?;
        }
        Ok(Self { parts, len, mean: taken, budget: budget(gpu) })
    }

    /// Rows that are known to be finite, of a mean that is known.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(crate) fn of(gpu: &Gpu, data: &Tensor, mean: &Tensor) -> Result<Self> {
        let values = without(gpu, data, mean)?;
        Ok(Self { len: values.shape().dims()[0], parts: vec![values], mean: mean.clone(), budget: budget(gpu) })
    }

    /// The same with temporaries of no more than so many numbers.
    #[cfg(test)]
    pub(crate) fn with_budget(self, budget: usize) -> Self {
        Self { budget, ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn cols(&self) -> usize {
        self.mean.len()
    }

    /// The rows in order, in parts.
    pub(crate) fn parts(&self) -> &[Tensor] {
        &self.parts
    }

    /// Views of consecutive rows such that `width` numbers for each row stay within the budget.
    ///
    /// # Errors
    /// None in practice: the starts are aligned.
    pub(crate) fn blocks(&self, width: usize) -> Result<Vec<Tensor>> {
        // A view starts at a multiple of 64 elements: so does a row whose number is one.
        let most = (self.budget / width.max(1)).clamp(64, MOST_ROWS) / 64 * 64;
        let mut blocks = Vec::new();
        for part in &self.parts {
            let len = part.shape().dims()[0];
            for start in (0..len).step_by(most) {
                blocks.push(part.view(start * self.cols(), [most.min(len - start), self.cols()])?);
            }
        }
        Ok(blocks)
    }

    /// `‖x‖²` of the centred rows, `[rows]`.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(crate) fn squared_norms(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        let mut norms = Vec::with_capacity(self.len());
        for block in self.blocks(self.cols())? {
            norms.extend(squared_lengths(gpu, &block)?.read()?);
        }
        Ok(norms)
    }

    /// The values of these rows, on the host.
    ///
    /// # Errors
    /// Those of the kernels.
    pub(crate) fn pick(&self, gpu: &Gpu, rows: &[u32]) -> Result<Vec<f32>> {
        let cols = self.cols();
        let mut values = vec![0.0; rows.len() * cols];
        let mut start = 0;
        for part in &self.parts {
            let end = start + part.shape().dims()[0];
            let here: Vec<usize> = (0..rows.len()).filter(|&at| (start..end).contains(&(rows[at] as usize))).collect();
            if !here.is_empty() {
                let index: Vec<u32> = here.iter().map(|&at| rows[at] - start as u32).collect();
                let picked = gather::forward(gpu, part, &gpu.tensor(&index, [index.len()])?)?.read()?;
                for (&at, row) in here.iter().zip(picked.chunks(cols)) {
                    values[at * cols..(at + 1) * cols].copy_from_slice(row);
                }
            }
            start = end;
        }
        Ok(values)
    }

    /// The budget in starts that are worked on together, when each needs `width` numbers per row.
    pub(crate) fn together(&self, width: usize) -> usize {
        (self.budget / (self.len().max(1) * width)).max(1)
    }
}

/// The rows of a data set on the device, scaled, part by part: each of at most `most` rows, and within the adapter's
/// binding limit.
///
/// # Errors
/// When the data has other columns than `scaling`, or 64 rows are more than the adapter binds.
pub(in crate::clustering) fn host_parts<'a>(
    gpu: &'a Gpu,
    scaling: &'a Scaling,
    data: &'a Dataset,
    most: usize,
) -> Result<impl Iterator<Item = Result<Tensor>> + 'a> {
    let cols = data.cols();
    let limit = most_rows(gpu, cols);
    if limit < 64 {
        let message = format!("64 rows of {cols} columns are more than the adapter can bind at once");
        return Err(Error::argument("data", message));
    }
    let most = most.clamp(64, limit) / 64 * 64;
    Ok((0..data.rows()).step_by(most).map(move |start| {
        let rows = start..(start + most).min(data.rows());
        let shape = [rows.len(), cols];
        Ok(gpu.tensor(&scaling.rows(data, rows)?, shape)?)
    }))
}

/// The rows of a data set, scaled and less `mean`, in blocks for which `width` numbers a row stay within the budget.
///
/// # Errors
/// As [`host_parts`], when a number is out of range, and those of `f`.
pub(in crate::clustering) fn by_blocks(
    scaling: &Scaling,
    data: &Dataset,
    mean: &Tensor,
    width: usize,
    mut f: impl FnMut(&Rows) -> Result<()>,
) -> Result<()> {
    let (gpu, mut start) = (mean.gpu(), 0);
    for part in host_parts(gpu, scaling, data, rows_at_once(gpu, width))? {
        let rows = Rows::like(gpu, &part?, mean, start)?;
        f(&rows)?;
        start += rows.len();
    }
    Ok(())
}

/// Rows of so many columns that one tensor takes.
pub(crate) fn most_rows(gpu: &Gpu, cols: usize) -> usize {
    rows_at_once(gpu, cols).min(MOST_ROWS)
}

/// Rows for which `width` numbers each stay within the size of a temporary.
pub(crate) fn rows_at_once(gpu: &Gpu, width: usize) -> usize {
    budget(gpu) / width.max(1)
}

fn budget(gpu: &Gpu) -> usize {
    BUDGET.min((gpu.capabilities().max_binding_bytes / 4) as usize)
}

/// `‖v‖²` of every row of `vectors`, `[rows]`.
pub(crate) fn squared_lengths(gpu: &Gpu, vectors: &Tensor) -> Result<Tensor> {
    Ok(reduce::over_cols(gpu, Reduction::Sum, &unary::forward(gpu, Unary::Square, vectors)?)?)
}

/// Doubles as a tensor of floats.
pub(crate) fn upload(gpu: &Gpu, values: &[f64], shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Ok(gpu.tensor(&values, shape)?)
}

fn without(gpu: &Gpu, data: &Tensor, mean: &Tensor) -> Result<Tensor> {
    Ok(binary::forward(gpu, Binary::Sub, data, mean)?)
}

/// Rows and columns of a matrix of floats.
fn shape(data: &Tensor) -> Result<(usize, usize)> {
    let &[rows, cols] = data.shape().dims() else {
        return Err(Error::argument("data", format!("has shape {}, expected [rows, columns]", data.shape())));
    };
    if data.data_type() != DataType::F32 {
        return Err(Error::argument("data", format!("holds {:?}, not F32", data.data_type())));
    }
    if cols == 0 {
        return Err(Error::argument("data", "has no columns"));
    }
    Ok((rows, cols))
}

/// Checks the numbers of rows, the first of which is row `start` of the data.
fn check(gpu: &Gpu, data: &Tensor, start: usize) -> Result<()> {
    let sizes = unary::forward(gpu, Unary::Abs, data)?;
    let largest = reduce::over_cols(gpu, Reduction::Max, &sizes)?.read()?;
    match largest.iter().position(|&size| !(size <= LARGEST)) {
        None => Ok(()),
        Some(row) => Err(Error::argument(
            "data",
            match (start + row, largest[row]) {
                (row, size) if size.is_nan() => format!("row {row} holds NaN"),
                (row, size) if size.is_infinite() => format!("row {row} holds an infinite number"),
                (row, size) => {
                    format!("row {row} holds {size:e}; numbers above {LARGEST:e} have no squares in 32 bits")
                }
            },
        )),
    }
}
