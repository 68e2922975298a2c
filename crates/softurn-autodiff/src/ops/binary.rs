//! Element-wise functions of two variables. `+` and `-` save shapes alone; `*` and `/` save both operands, or only the
//! second when only the first wants a gradient; the larger and the smaller save both.

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::{Gpu, Shape, Tensor};

use super::only;
use crate::{Result, Rule, Var};

/// `a ± b`: the gradient passes, summed over what `b` was repeated along.
struct Sum {
    minus: bool,
    b: Shape,
}

impl Rule for Sum {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = only(dy)?;
        let db = if wanted[1] { Some(self.second(gpu, dy)?) } else { None };
        Ok(vec![wanted[0].then(|| dy.clone()), db])
    }
}

impl Sum {
    fn second(&self, gpu: &Gpu, dy: &Tensor) -> Result<Tensor> {
        let db = if self.b == *dy.shape() {
            dy.clone()
        } else if self.b.len() == 1 {
            reduce::all(gpu, Reduction::Sum, dy)?
        } else if self.b.rows_cols().0 == 1 {
            reduce::over_rows(gpu, Reduction::Sum, dy)?
        } else {
            reduce::over_cols(gpu, Reduction::Sum, dy)?
        };
        let db = if self.minus { unary::forward(gpu, NEGATE, &db)? } else { db };
        Ok(db.reshape(self.b.clone())?)
    }
}

const NEGATE: Unary = Unary::Affine { scale: -1.0, shift: 0.0 };

/// `a · b` and `a / b` where only `a` wants a gradient: the same function of `dy`.
struct First {
    function: Binary,
    b: Tensor,
}

impl Rule for First {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(binary::forward(gpu, self.function, only(dy)?, &self.b)?), None])
    }
}

struct Both {
    function: Binary,
    a: Tensor,
    b: Tensor,
}

impl Rule for Both {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (da, db) = binary::backward(gpu, self.function, &self.a, &self.b, only(dy)?)?;
        Ok(vec![wanted[0].then_some(da), wanted[1].then_some(db)])
    }
}

fn name(function: Binary) -> &'static str {
    match function {
        Binary::Add => "add",
        Binary::Sub => "sub",
        Binary::Mul => "mul",
        Binary::Div => "div",
        Binary::Max => "maximum",
        Binary::Min => "minimum",
    }
}

impl<'t> Var<'t> {
    /// `f(a, b)` for every element. The shapes are equal, or the smaller operand is repeated along the larger: one
    /// element, a row `[cols]` or `[1, cols]`, or a column `[.., 1]`. The result has the larger shape, and the gradient
    /// of a repeated operand is summed over what it was repeated along.
    ///
    /// # Errors
    /// When neither operand fits the other.
    pub fn binary(&self, function: Binary, other: &Self) -> Result<Self> {
        if self.value().len() < other.value().len() {
            return match function {
                Binary::Add | Binary::Mul | Binary::Max | Binary::Min => other.binary(function, self),
                Binary::Sub => other.affine(-1.0, 0.0)?.binary(Binary::Add, self),
                Binary::Div => other.reciprocal()?.binary(Binary::Mul, self),
            };
        }
        let (a, b) = (self.value(), other.value());
        let y = [binary::forward(self.tape().gpu(), function, a, b)?];
        let (tape, op, inputs) = (self.tape(), name(function), [self, other]);
        let [y] = match function {
            Binary::Add | Binary::Sub => {
                tape.record(op, &inputs, y, Sum { minus: function == Binary::Sub, b: b.shape().clone() })?
            }
            Binary::Mul | Binary::Div if !other.wants_gradient() => {
                tape.record(op, &inputs, y, First { function, b: b.clone() })?
            }
            _ => tape.record(op, &inputs, y, Both { function, a: a.clone(), b: b.clone() })?,
        };
        Ok(y)
    }

    /// The larger of two, element by element; the gradient of equals goes to the first, or to the one that is not
    /// repeated. Shapes as in [`Var::binary`].
    ///
    /// # Errors
    /// As [`Var::binary`].
    pub fn maximum(&self, other: &Self) -> Result<Self> {
        self.binary(Binary::Max, other)
    }

    /// The smaller of two; see [`Var::maximum`].
    ///
    /// # Errors
    /// As [`Var::binary`].
    pub fn minimum(&self, other: &Self) -> Result<Self> {
        self.binary(Binary::Min, other)
    }

    /// Values kept from `low` to `high`; those outside have no gradient.
    ///
    /// # Errors
    /// When the device cannot make the two numbers.
    pub fn clamp(&self, low: f32, high: f32) -> Result<Self> {
        let tape = self.tape();
        let number = |value: f32| Ok::<_, crate::Error>(tape.constant(&tape.gpu().constant(value)?));
        self.maximum(&number(low)?)?.minimum(&number(high)?)
    }
}
