//! Shuffled batches and the rows behind them.

use ndarray::Array2;
use softurn_kernels::ops::gather;
use softurn_kernels::{Error as KernelError, Gpu, Key, Tensor};

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

    /// `[indices.len(), cols]`; the indices must be below the number of rows.
    ///
    /// # Errors
    /// Those of the device, and an adapter that cannot hold the batch.
    pub fn gather(&self, indices: &[u32]) -> Result<Tensor> {
        match self {
            Self::Device(tensor) => {
                let index = tensor.gpu().tensor(indices, [indices.len()])?;
                Ok(gather::forward(tensor.gpu(), tensor, &index)?)
            }
            Self::Host(gpu, data) => {
                let values: Vec<f32> = indices.iter().flat_map(|&i| data.row(i as usize).to_vec()).collect();
                Ok(gpu.tensor(&values, [indices.len(), data.ncols()])?)
            }
        }
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
