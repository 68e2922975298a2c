//! Element-wise functions in f64, straight from their definitions.

use super::Unary;

/// `f(x)` for every element.
pub fn forward(function: Unary, x: &[f64]) -> Vec<f64> {
    let f = |&x: &f64| match function {
        Unary::Affine { scale, shift } => f64::from(scale) * x + f64::from(shift),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Tanh => x.tanh(),
        Unary::Relu => {
            if x > 0.0 || x.is_nan() {
                x
            } else {
                0.0
            }
        }
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 },
        Unary::Square => x * x,
        Unary::Sqrt => x.sqrt(),
        Unary::Abs => x.abs(),
        Unary::Reciprocal => 1.0 / x,
    };
    x.iter().map(f).collect()
}

/// `dy · f'(x)` for every element.
pub fn backward(function: Unary, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let derivative = |x: f64| match function {
        Unary::Affine { scale, .. } => f64::from(scale),
        Unary::Exp | Unary::Expm1 => x.exp(),
        Unary::Log => 1.0 / x,
        Unary::Log1p => 1.0 / (1.0 + x),
        Unary::Tanh => 1.0 - x.tanh() * x.tanh(),
        Unary::Relu => f64::from(x > 0.0),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()) / (1.0 + x.exp()),
        Unary::Softplus => 1.0 / (1.0 + (-x).exp()),
        Unary::Square => 2.0 * x,
        Unary::Sqrt => 0.5 / x.sqrt(),
        Unary::Abs => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        Unary::Reciprocal => -1.0 / (x * x),
    };
    x.iter().zip(dy).map(|(&x, &dy)| dy * derivative(x)).collect()
}
