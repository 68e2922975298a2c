//! A variable: a tensor and its place on a tape. What can be done with one is in [`crate::ops`]; the operators
//! `+ - * /` are here.

use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Sub};

use softurn_kernels::ops::binary::Binary;
use softurn_kernels::{Shape, Tensor};

use crate::tape::VarId;
use crate::{Result, Tape};

/// A tensor whose history is on a [`Tape`]. Cloning shares the buffer and the history.
///
/// `+`, `-`, `*` and `/` take variables, `&Tensor` (a constant) and `f32`, and return a `Result`, because shapes are
/// known at run time only: `(a - &b)?.square()?.mean()?`.
#[derive(Clone)]
pub struct Var<'t> {
    tape: &'t Tape,
    value: Tensor,
    id: Option<VarId>,
}

impl<'t> Var<'t> {
    pub(crate) fn new(tape: &'t Tape, value: Tensor, id: Option<VarId>) -> Self {
        Self { tape, value, id }
    }

    pub(crate) fn id(&self) -> Option<VarId> {
        self.id
    }

    /// The tape that records its history.
    pub fn tape(&self) -> &'t Tape {
        self.tape
    }

    /// The value, without its history.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// Whether a leaf or a parameter lies behind it.
    pub fn wants_gradient(&self) -> bool {
        self.id.is_some()
    }

    /// The same value without its history: no gradient flows back through it.
    pub fn detach(&self) -> Self {
        Self { id: None, ..self.clone() }
    }

    /// Copies the elements to the host. Waits for all recorded work.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub fn read(&self) -> Result<Vec<f32>> {
        Ok(self.value.read()?)
    }

    /// The single element of a variable that has one.
    ///
    /// # Errors
    /// As [`Tensor::item`].
    pub fn item(&self) -> Result<f32> {
        Ok(self.value.item()?)
    }
}

impl fmt::Debug for Var<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Var({}{})", self.shape(), if self.wants_gradient() { ", wants a gradient" } else { "" })
    }
}

// Four operators by eight pairs of operands: the standard library does not derive one from the other.
macro_rules! between_variables {
    ($operator:ident, $method:ident, $binary:expr, $($left:ty, $right:ty);+) => {$(
        impl<'t> $operator<$right> for $left {
            type Output = Result<Var<'t>>;

            fn $method(self, other: $right) -> Self::Output {
                self.binary($binary, &other)
            }
        }
    )+};
}

macro_rules! operator {
    ($operator:ident, $method:ident, |$x:ident, $number:ident| $right_number:expr, $left_number:expr) => {
        between_variables!($operator, $method, Binary::$operator, Var<'t>, Var<'t>; Var<'t>, &Var<'t>; &Var<'t>, Var<'t>; &Var<'t>, &Var<'t>);

        impl<'t> $operator<&Tensor> for Var<'t> {
            type Output = Result<Self>;

            fn $method(self, other: &Tensor) -> Self::Output {
                self.binary(Binary::$operator, &self.tape.constant(other))
            }
        }

        impl<'t> $operator<&Tensor> for &Var<'t> {
            type Output = Result<Var<'t>>;

            fn $method(self, other: &Tensor) -> Self::Output {
                self.binary(Binary::$operator, &self.tape.constant(other))
            }
        }

        impl<'t> $operator<f32> for Var<'t> {
            type Output = Result<Self>;

            fn $method(self, number: f32) -> Self::Output {
                (&self).$method(number)
            }
        }

        impl<'t> $operator<f32> for &Var<'t> {
            type Output = Result<Var<'t>>;

            fn $method(self, $number: f32) -> Self::Output {
                let $x = self;
                $right_number
            }
        }

        impl<'t> $operator<Var<'t>> for f32 {
            type Output = Result<Var<'t>>;

            fn $method(self, x: Var<'t>) -> Self::Output {
                self.$method(&x)
            }
        }

        impl<'t> $operator<&Var<'t>> for f32 {
            type Output = Result<Var<'t>>;

            fn $method(self, $x: &Var<'t>) -> Self::Output {
                let $number = self;
                $left_number
            }
        }
    };
}

operator!(Add, add, |x, number| x.affine(1.0, number), x.affine(1.0, number));
operator!(Sub, sub, |x, number| x.affine(1.0, -number), x.affine(-1.0, number));
operator!(Mul, mul, |x, number| x.affine(number, 0.0), x.affine(number, 0.0));
operator!(Div, div, |x, number| x.affine(1.0 / number, 0.0), x.reciprocal()?.affine(number, 0.0));

impl<'t> Neg for Var<'t> {
    type Output = Result<Self>;

    fn neg(self) -> Self::Output {
        self.affine(-1.0, 0.0)
    }
}

impl<'t> Neg for &Var<'t> {
    type Output = Result<Var<'t>>;

    fn neg(self) -> Self::Output {
        self.affine(-1.0, 0.0)
    }
}
