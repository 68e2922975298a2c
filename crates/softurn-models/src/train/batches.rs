//! Shuffled batches and the rows behind them.

use ndarray::Array2;
use softurn_kernels::ops::gather;
use softurn_kernels::{Error as KernelError, Gpu, Key, Tensor};

use super::Batch;
use crate::Result;

/// The row numbers of an epoch in random order, in batches of `batch`; an incomplete last batch is dropped unless it is the
/// only one.
pub fn shuffled(rows: usize, batch: usize, key: Key) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    for i in (1..rows).rev() {
        order.swap(i, below(key.child(i as u64), i + 1));
    }
    if rows <= batch {
        return vec![order];
    }
    order.chunks_exact(batch).map(<[u32]>::to_vec).collect()
}

/// The batches of an epoch with their row numbers on the device, uploaded at once; `done` are the shares of the phase that are
/// done before and after it.
///
/// # Errors
/// Those of the device.
pub(super) fn upload(gpu: &Gpu, batches: Vec<Vec<u32>>, [first, last]: [f64; 2]) -> Result<Vec<Batch>> {
    // Views start at multiples of 64 elements.
    let starts: Vec<usize> = batches
        .iter()
        .scan(0, |end: &mut usize, rows| Some(std::mem::replace(end, *end + rows.len().next_multiple_of(64))))
        .collect();
    let padded = batches.iter().flat_map(|rows| {
        let padding = rows.len().next_multiple_of(64) - rows.len();
        rows.iter().copied().chain(std::iter::repeat_n(0, padding))
    });
    let all: Vec<u32> = padded.collect();
    let all = gpu.tensor(&all, [all.len()])?;
    let step = (last - first) / batches.len() as f64;
    let with_view = |(i, (rows, start)): (usize, (Vec<u32>, usize))| {
        let done = first + step * i as f64;
        Ok(Batch { index: all.view(start, [rows.len()])?, rows, done })
    };
    batches.into_iter().zip(starts).enumerate().map(with_view).collect()
}

/// A number in `0..n`; the bias of the remainder is below n / 2⁶⁴.
pub fn below(key: Key, n: usize) -> usize {
    (key.bits() % n as u64) as usize
}

/// A data set that hands out rows on the device: it lives there if it fits, and is uploaded by batches if not.
#[derive(Debug, Clone)]
pub enum Rows {
    /// All rows in one tensor.
    Device(Tensor),
    /// More than the adapter can bind at once.
    Host(Gpu, Array2<f32>),
}

impl Rows {
    /// Uploads the rows if the adapter can hold them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(gpu: &Gpu, data: &Array2<f32>) -> Result<Self> {
        let standard = data.as_standard_layout();
        let values = standard.as_slice().unwrap_or_default();
        match gpu.tensor(values, [data.nrows(), data.ncols()]) {
            Ok(tensor) => Ok(Self::Device(tensor)),
            Err(KernelError::TooLarge { .. }) => Ok(Self::Host(gpu.clone(), data.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// The rows of a batch, `[batch.rows.len(), cols]`.
    ///
    /// # Errors
    /// Those of the device, and an adapter that cannot hold the batch.
    pub fn batch(&self, batch: &Batch) -> Result<Tensor> {
        match self {
            Self::Device(tensor) => Ok(gather::forward(tensor.gpu(), tensor, &batch.index)?),
            Self::Host(gpu, data) => {
                let values: Vec<f32> = batch.rows.iter().flat_map(|&i| data.row(i as usize).to_vec()).collect();
                Ok(gpu.tensor(&values, [batch.rows.len(), data.ncols()])?)
            }
        }
    }

    /// All rows in order, `size` at a time, a multiple of 64: views where they live on the device.
    pub fn blocks(&self, size: usize) -> impl Iterator<Item = Result<Tensor>> + '_ {
        let rows = match self {
            Self::Device(tensor) => tensor.shape().rows_cols().0,
            Self::Host(_, data) => data.nrows(),
        };
        (0..rows).step_by(size).map(move |start| {
            let end = (start + size).min(rows);
            match self {
                Self::Device(tensor) => {
                    let cols = tensor.shape().rows_cols().1;
                    Ok(tensor.view(start * cols, [end - start, cols])?)
                }
                Self::Host(gpu, data) => {
                    let block = data.slice(ndarray::s![start..end, ..]);
                    let values: Vec<f32> = block.iter().copied().collect();
                    Ok(gpu.tensor(&values, [end - start, data.ncols()])?)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::shuffled;
    use softurn_kernels::Key;

    #[test]
    fn batches_cover_each_row_once_and_depend_on_the_key_alone() {
        let batches = shuffled(1797, 256, Key::new(3));
        assert_eq!(batches.len(), 7);
        let mut rows: Vec<u32> = batches.concat();
        assert_eq!(shuffled(1797, 256, Key::new(3)).concat(), rows);
        assert_ne!(shuffled(1797, 256, Key::new(4)).concat(), rows);
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 1792);
        assert_eq!(shuffled(5, 256, Key::new(0))[0].len(), 5);
    }
}
