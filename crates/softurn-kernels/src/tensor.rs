//! A tensor: a shared buffer, an offset, a shape and an element type; contiguous, row-major.

use std::fmt;
use std::sync::Arc;

use crate::gpu::pool::PooledBuffer;
use crate::{Error, Gpu, Result};

/// The sizes of a tensor's axes, outermost first. A scalar is `[]` and holds one element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The number of elements; `usize::MAX` where it does not fit.
    pub fn len(&self) -> usize {
        count(&self.0)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The axes.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The tensor seen as a matrix: all axes but the last are rows. A scalar is one row of one column.
    pub fn rows_cols(&self) -> (usize, usize) {
        match self.0.split_last() {
            Some((&cols, rows)) => (count(rows), cols),
            None => (1, 1),
        }
    }
}

/// The product of the sizes, which are a user's: no overflow, and 0 if any is 0.
fn count(dims: &[usize]) -> usize {
    if dims.contains(&0) { 0 } else { dims.iter().fold(1, |n, &d| n.saturating_mul(d)) }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self(dims)
    }
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// 32-bit floats: everything that has a gradient.
    F32,
    /// 32-bit unsigned integers: draws, sizes, indices, labels.
    U32,
}

/// A host type that a tensor can hold.
pub trait Element: bytemuck::Pod {
    /// The matching tensor type.
    const DATA_TYPE: DataType;
}

impl Element for f32 {
    const DATA_TYPE: DataType = DataType::F32;
}

impl Element for u32 {
    const DATA_TYPE: DataType = DataType::U32;
}

/// A contiguous array on a [`Gpu`]. Cloning shares the buffer.
#[derive(Clone)]
pub struct Tensor {
    gpu: Gpu,
    buffer: Arc<PooledBuffer>,
    /// In bytes, a multiple of 256 but for [`Tensor::part`].
    offset: u64,
    shape: Shape,
    data_type: DataType,
}

impl Tensor {
    pub(crate) fn new(gpu: Gpu, buffer: Arc<PooledBuffer>, offset: u64, shape: Shape, data_type: DataType) -> Self {
        Self { gpu, buffer, offset, shape, data_type }
    }

    /// The device that the tensor lives on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.is_empty()
    }

    /// The element type.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    pub(crate) fn buffer(&self) -> &Arc<PooledBuffer> {
        &self.buffer
    }

    pub(crate) fn offset(&self) -> u64 {
        self.buffer.start() + self.offset
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.len() as u64 * 4
    }

    /// The same elements under another shape; shares the buffer.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.len() != self.len() {
            return Err(Error::shape(
                "reshape",
                "shape",
                &shape,
                format!("{} elements as in {}", self.len(), self.shape),
            ));
        }
        Ok(Self { shape, ..self.clone() })
    }

    /// A view of `shape` that starts at element `start`, which must be a multiple of 64 (256 bytes).
    ///
    /// # Errors
    /// When the start is not aligned or the view reaches past the end.
    pub fn view(&self, start: usize, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if !start.is_multiple_of(64) || start.saturating_add(shape.len()) > self.len() {
            return Err(Error::argument(
                "view",
                "start",
                format!("{start} does not fit a view of {shape} into {}", self.shape),
            ));
        }
        Ok(Self { offset: self.offset + start as u64 * 4, shape, ..self.clone() })
    }

    /// Elements from `start` on, at any place: for [`Gpu::copy`] only, as kernels bind multiples of 256 bytes.
    pub(crate) fn part(&self, start: usize, shape: Shape) -> Self {
        assert!(start + shape.len() <= self.len(), "{start} and {shape} in {}", self.shape);
        Self { offset: self.offset + start as u64 * 4, shape, ..self.clone() }
    }

    /// Copies the elements to the host. Waits for all recorded work.
    ///
    /// # Errors
    /// The first failure of the device, if there was any; a different element type than `f32`.
    pub fn read(&self) -> Result<Vec<f32>> {
        pollster::block_on(self.read_async())
    }

    /// Copies `u32` elements to the host. Waits for all recorded work.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub fn read_u32(&self) -> Result<Vec<u32>> {
        self.expect("read_u32", DataType::U32)?;
        pollster::block_on(self.gpu.read_back(self))
    }

    /// The asynchronous form of [`Tensor::read`].
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub async fn read_async(&self) -> Result<Vec<f32>> {
        self.expect("read", DataType::F32)?;
        self.gpu.read_back(self).await
    }

    /// The single element of a tensor that has one.
    ///
    /// # Errors
    /// As [`Tensor::read`], and when there is not exactly one element.
    pub fn item(&self) -> Result<f32> {
        if self.len() != 1 {
            return Err(Error::shape("item", "tensor", &self.shape, "one element"));
        }
        Ok(self.read()?[0])
    }

    fn expect(&self, op: &'static str, data_type: DataType) -> Result<()> {
        if self.data_type == data_type {
            return Ok(());
        }
        Err(Error::argument(op, "tensor", format!("holds {:?}, not {data_type:?}", self.data_type)))
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?}, {})", self.data_type, self.shape)
    }
}
