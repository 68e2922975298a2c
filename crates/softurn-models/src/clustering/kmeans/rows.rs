//! The rows to cluster, checked and centred: the mean of the columns is taken out once, so that `‖x‖² - 2 x·c + ‖c‖²` and
//! sums of squares do not cancel where the data lie far from the origin.

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::gather;
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::{DataType, Gpu, Tensor};

use crate::{Error, Result};

/// Numbers in the largest temporary tensor: 64 MiB.
const BUDGET: usize = 16 << 20;
/// Rows of the largest block; well below 2²⁴, so that counts are exact.
const MOST_ROWS: usize = 1 << 20;
/// Beyond it squares of differences, added up, could leave the range of `f32`.
const LARGEST: f32 = 1e15;

/// Centred rows `[rows, cols]`.
pub(crate) struct Rows {
    pub(crate) values: Tensor,
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
        let (rows, cols) = check(gpu, data, None)?;
        // The second pass takes out what the first one's rounding left.
        let mut mean = vec![0.0; cols];
        let mut values = data.clone();
        for _ in 0..2 {
            let sum = reduce::over_rows(gpu, Reduction::Sum, &values)?.read()?;
            for (mean, sum) in mean.iter_mut().zip(sum) {
                *mean += f64::from(sum) / rows as f64;
            }
            values = without(gpu, data, &upload(gpu, &mean, &[cols])?)?;
        }
        Ok(Self { values, mean: upload(gpu, &mean, &[cols])?, budget: BUDGET })
    }

    /// Other rows with the same mean taken out.
    ///
    /// # Errors
    /// When `data` is no matrix of finite numbers with as many columns as `mean`.
    pub(crate) fn like(gpu: &Gpu, data: &Tensor, mean: &Tensor) -> Result<Self> {
        check(gpu, data, Some(mean.len()))?;
        Ok(Self { values: without(gpu, data, mean)?, mean: mean.clone(), budget: BUDGET })
    }

    /// The same with temporaries of no more than so many numbers.
    #[cfg(test)]
    pub(crate) fn with_budget(self, budget: usize) -> Self {
        Self { budget, ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.shape().dims()[0]
    }

    pub(crate) fn cols(&self) -> usize {
        self.values.shape().dims()[1]
    }

    /// Views of consecutive rows such that `width` numbers for each row stay within the budget.
    ///
    /// # Errors
    /// None in practice: the starts are aligned.
    pub(crate) fn blocks(&self, width: usize) -> Result<Vec<Tensor>> {
        // A view starts at a multiple of 64 elements: so does a row whose number is one.
        let most = (self.budget / width.max(1)).clamp(64, MOST_ROWS) / 64 * 64;
        let block = |start: usize| {
            let rows = most.min(self.len() - start);
            Ok(self.values.view(start * self.cols(), [rows, self.cols()])?)
        };
        (0..self.len()).step_by(most).map(block).collect()
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
        Ok(gather::forward(gpu, &self.values, &gpu.tensor(rows, [rows.len()])?)?.read()?)
    }

    /// The budget in starts that are worked on together, when each needs `width` numbers per row.
    pub(crate) fn together(&self, width: usize) -> usize {
        (self.budget / (self.len().max(1) * width)).max(1)
    }
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

fn check(gpu: &Gpu, data: &Tensor, cols: Option<usize>) -> Result<(usize, usize)> {
    let &[rows, found] = data.shape().dims() else {
        return Err(Error::argument("data", format!("has shape {}, expected [rows, columns]", data.shape())));
    };
    if data.data_type() != DataType::F32 {
        return Err(Error::argument("data", format!("holds {:?}, not F32", data.data_type())));
    }
    match cols {
        Some(cols) if cols != found => {
            return Err(Error::argument("data", format!("has {found} columns, the model was fitted to {cols}")));
        }
        _ if found == 0 => return Err(Error::argument("data", "has no columns")),
        _ => {}
    }
    let sizes = unary::forward(gpu, Unary::Abs, data)?;
    let largest = reduce::over_cols(gpu, Reduction::Max, &sizes)?.read()?;
    match largest.iter().position(|&size| !(size <= LARGEST)) {
        None => Ok((rows, found)),
        Some(row) => Err(Error::argument(
            "data",
            match largest[row] {
                size if size.is_nan() => format!("row {row} holds NaN"),
                size if size.is_infinite() => format!("row {row} holds an infinite number"),
                size => format!("row {row} holds {size:e}; numbers above {LARGEST:e} have no squares in 32 bits"),
            },
        )),
    }
}
