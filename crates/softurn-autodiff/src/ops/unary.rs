//! Element-wise functions: `dx = dy · f'(x)`. Saves `x`; an affine function saves nothing.

use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct Function {
    function: Unary,
    x: Tensor,
}

impl Rule for Function {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(unary::backward(gpu, self.function, &self.x, only(dy)?)?)])
    }
}

struct Scale(f32);

impl Rule for Scale {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = only(dy)?;
        if self.0 == 1.0 {
            return Ok(vec![Some(dy.clone())]);
        }
        Ok(vec![Some(unary::forward(gpu, Unary::Affine { scale: self.0, shift: 0.0 }, dy)?)])
    }
}

fn name(function: Unary) -> &'static str {
    match function {
        Unary::Affine { .. } => "affine",
        Unary::Exp => "exp",
        Unary::Log => "log",
        Unary::Log1p => "log1p",
        Unary::Expm1 => "expm1",
        Unary::Tanh => "tanh",
        Unary::Relu => "relu",
        Unary::Sigmoid => "sigmoid",
        Unary::Softplus => "softplus",
        Unary::Square => "square",
        Unary::Sqrt => "sqrt",
        Unary::Abs => "abs",
        Unary::Reciprocal => "reciprocal",
    }
}

/// Element-wise functions. Every result has the variable's shape; see [`Unary`] for values at the edges.
///
/// # Errors
/// When the variable does not hold floats.
impl<'t> Var<'t> {
    /// `f(x)` for every element.
    pub fn unary(&self, function: Unary) -> Result<Self> {
        let y = unary::forward(self.tape().gpu(), function, self.value())?;
        let [y] = match function {
            Unary::Affine { scale, .. } => self.tape().record(name(function), &[self], [y], Scale(scale))?,
            _ => {
                let rule = Function { function, x: self.value().clone() };
                self.tape().record(name(function), &[self], [y], rule)?
            }
        };
        Ok(y)
    }

    /// `scale · x + shift`
    pub fn affine(&self, scale: f32, shift: f32) -> Result<Self> {
        self.unary(Unary::Affine { scale, shift })
    }

    /// `e^x`
    pub fn exp(&self) -> Result<Self> {
        self.unary(Unary::Exp)
    }

    /// The natural logarithm.
    pub fn log(&self) -> Result<Self> {
        self.unary(Unary::Log)
    }

    /// `log(1 + x)`
    pub fn log1p(&self) -> Result<Self> {
        self.unary(Unary::Log1p)
    }

    /// `e^x - 1`
    pub fn expm1(&self) -> Result<Self> {
        self.unary(Unary::Expm1)
    }

    /// The hyperbolic tangent.
    pub fn tanh(&self) -> Result<Self> {
        self.unary(Unary::Tanh)
    }

    /// `max(x, 0)`
    pub fn relu(&self) -> Result<Self> {
        self.unary(Unary::Relu)
    }

    /// `1 / (1 + e^-x)`
    pub fn sigmoid(&self) -> Result<Self> {
        self.unary(Unary::Sigmoid)
    }

    /// `log(1 + e^x)`
    pub fn softplus(&self) -> Result<Self> {
        self.unary(Unary::Softplus)
    }

    /// `x²`
    pub fn square(&self) -> Result<Self> {
        self.unary(Unary::Square)
    }

    /// The square root.
    pub fn sqrt(&self) -> Result<Self> {
        self.unary(Unary::Sqrt)
    }

    /// The absolute value.
    pub fn abs(&self) -> Result<Self> {
        self.unary(Unary::Abs)
    }

    /// `1 / x`
    pub fn reciprocal(&self) -> Result<Self> {
        self.unary(Unary::Reciprocal)
    }
}
