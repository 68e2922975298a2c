//! The one error type of this crate: errors are data, and name the operation or the parameter at fault.

use softurn_kernels::Shape;

/// The result of an operation on variables.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a variable and its gradient.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A kernel refused its arguments, or the device failed.
    #[error(transparent)]
    Kernel(#[from] softurn_kernels::Error),
    /// The backward pass reached an operation that has no gradient.
    #[error("{op}: no gradient exists; detach its input, or use a relaxed or straight-through form")]
    MissingRule {
        /// The operation.
        op: &'static str,
    },
    /// A rule returned no gradient for an input that wants one.
    #[error("{op}: no gradient exists for input {input}; detach it")]
    MissingGradient {
        /// The operation.
        op: &'static str,
        /// The position of the input, from 0.
        input: usize,
    },
    /// A rule returned a gradient of another shape than its input.
    #[error("{op}: the gradient of input {input} has shape {got}, expected {expected}")]
    GradientShape {
        /// The operation.
        op: &'static str,
        /// The position of the input, from 0.
        input: usize,
        /// The gradient's shape.
        got: Shape,
        /// The input's shape.
        expected: Shape,
    },
    /// A rule returned another number of gradients than the operation has inputs.
    #[error("{op}: the rule returned {got} gradients for {expected} inputs")]
    GradientCount {
        /// The operation.
        op: &'static str,
        /// What came back.
        got: usize,
        /// The number of inputs.
        expected: usize,
    },
    /// A gradient holds NaN or an infinity; reported by a tape that checks, and by the training loop.
    #[error("{op}: the gradient of input {input} is not finite: {value} at element {element}")]
    NonFinite {
        /// The operation whose rule returned it.
        op: &'static str,
        /// The position of the input, from 0.
        input: usize,
        /// The first element at fault.
        element: usize,
        /// Its value.
        value: f32,
    },
    /// The backward pass starts from a single number.
    #[error("backward: the loss has shape {shape}, expected one element (take its mean or its sum)")]
    NotScalar {
        /// The loss's shape.
        shape: Shape,
    },
    /// The loss depends on nothing that wants a gradient.
    #[error("backward: the loss depends on no leaf and no parameter")]
    Constant,
    /// The backward pass drops what the tape saved, so it runs once.
    #[error("{op}: the tape was used up by a backward pass; record on a new tape")]
    SpentTape {
        /// The operation that came too late.
        op: &'static str,
    },
    /// Two variables of one operation live on different tapes.
    #[error("{op}: input {input} lives on another tape")]
    OtherTape {
        /// The operation.
        op: &'static str,
        /// The position of the input, from 0.
        input: usize,
    },
    /// Only `f32` tensors have gradients.
    #[error("leaf: a tensor of {0:?} has no gradient")]
    NotDifferentiable(softurn_kernels::DataType),
    /// A parameter of this name exists already.
    #[error("parameter '{name}' exists already")]
    DuplicateParameter {
        /// The name.
        name: String,
    },
    /// The parameter belongs to another store, or a state names one that does not exist.
    #[error("parameter '{name}' does not belong to this store")]
    UnknownParameter {
        /// The name.
        name: String,
    },
    /// A state lacks a parameter.
    #[error("parameter '{name}' is missing from the state")]
    MissingParameter {
        /// The name.
        name: String,
    },
    /// Values do not fill a parameter.
    #[error("parameter '{name}': {got} values in shape {shape}, expected shape {expected}")]
    ParameterShape {
        /// The name.
        name: String,
        /// The number of values given.
        got: usize,
        /// The shape given.
        shape: Shape,
        /// The parameter's shape.
        expected: Shape,
    },
    /// A parameter is larger than the adapter can bind.
    #[error("parameter '{name}': needs {needed} bytes, the adapter's limit is {limit} bytes")]
    TooLarge {
        /// The name.
        name: String,
        /// Its size in bytes.
        needed: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A setting of a parameter's initialiser is out of range.
    #[error("{what}: {setting} is {value}, expected {expected}")]
    Setting {
        /// What it is a setting of.
        what: &'static str,
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        value: f32,
        /// What would have been right, in words.
        expected: &'static str,
    },
    /// A gradient check failed.
    #[error("gradient of {ops} by input {input}, element {element}: the tape says {tape}, differences say {numeric}")]
    WrongGradient {
        /// The operations on the tape, in order.
        ops: String,
        /// The position of the input, from 0.
        input: usize,
        /// The element at fault.
        element: usize,
        /// What the tape says.
        tape: f64,
        /// What central differences say.
        numeric: f64,
    },
}
