//! WGSL kernels with a forward, a hand-written backward and an f64 CPU twin each.
//!
//! [`Gpu`] is a cheap handle to a device, its buffer pool and its recorder. A [`Tensor`] is a contiguous array on that
//! device. Each module of [`ops`] is one operation: `forward` checks shapes, allocates the output and records a
//! command; `backward` turns the gradient of the output into fresh gradients of the inputs; `cpu` holds the same
//! functions in `f64`, written from the formula.
//!
//! ```no_run
//! use softurn_kernels::{Gpu, GpuConfig, ops::softmax};
//!
//! let gpu = Gpu::new(GpuConfig::default())?;
//! let logits = gpu.tensor(&[0.0, 1.0, 2.0, 3.0], [2, 2])?;
//! let probabilities = softmax::forward(&gpu, &logits, 1.0)?.read()?;
//! assert!((probabilities[0] + probabilities[1] - 1.0).abs() < 1e-6);
//! # Ok::<(), softurn_kernels::Error>(())
//! ```

mod error;
pub mod gpu;
mod key;
#[cfg(test)]
mod mutation;
pub mod ops;
pub mod shader;
mod tensor;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use gpu::{Gpu, GpuConfig, Plan, available_adapters};
pub use key::Key;
pub use tensor::{DataType, Element, Shape, Tensor};
