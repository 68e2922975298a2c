//! The one error type of this crate: errors are data (operation, argument, shapes, limit).

use crate::Shape;

/// The result of a kernel call.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a call and its result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter fits the request.
    #[error("adapter: no adapter matches '{wanted}' (available: {available})")]
    NoAdapter {
        /// What was asked for: a part of a name, an index, or `any`.
        wanted: String,
        /// The adapters that exist, one after the other.
        available: String,
    },
    /// The adapter is there but no device could be opened on it.
    #[error("adapter: cannot open '{adapter}': {message}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// What the driver said.
        message: String,
    },
    /// An argument has a shape that the operation cannot take.
    #[error("{op}: {argument} has shape {got}, expected {expected}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// Its shape.
        got: Shape,
        /// What would have been right, in words.
        expected: String,
    },
    /// An argument has a value that the operation cannot take.
    #[error("{op}: {argument} {message}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// Something is larger than the adapter can do: a tensor than it can bind, a loop than it runs to the end.
    #[error("{what}: needs {needed} {unit}, the adapter's limit is {limit} {unit}")]
    TooLarge {
        /// What was to be made.
        what: String,
        /// Of both numbers: bytes, or loop turns.
        unit: &'static str,
        /// How much it needs.
        needed: u64,
        /// How much there is.
        limit: u64,
    },
    /// The device was lost or reported an error. The first failure sticks: every later read returns it.
    #[error("device: {0}")]
    Device(String),
    /// A shader does not compose, parse or validate.
    #[error("shader {shader}: {message}")]
    Shader {
        /// The shader's name.
        shader: String,
        /// What is wrong, with the line in its own file.
        message: String,
    },
}

impl Error {
    /// A shape error.
    pub fn shape(op: &'static str, argument: &'static str, got: &Shape, expected: impl Into<String>) -> Self {
        Self::Shape { op, argument, got: got.clone(), expected: expected.into() }
    }

    /// A value error.
    pub fn argument(op: &'static str, argument: &'static str, message: impl Into<String>) -> Self {
        Self::Argument { op, argument, message: message.into() }
    }
}
