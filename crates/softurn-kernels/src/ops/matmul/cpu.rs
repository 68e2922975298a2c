//! The product in f64, as three loops.

use super::{Activation, Options};

/// `f(op(A) · op(B) + bias)`; `sizes` is `[m, n, k]`.
pub fn forward(options: Options, sizes: [usize; 3], a: &[f64], b: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    let [m, n, k] = sizes;
    let mut c = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let mut sum = bias.map_or(0.0, |bias| bias[j]);
            for l in 0..k {
                let x = if options.transpose_a { a[l * m + i] } else { a[i * k + l] };
                let y = if options.transpose_b { b[j * k + l] } else { b[l * n + j] };
                sum += x * y;
            }
            c.push(activate(options.activation, sum));
        }
    }
    c
}

/// `f(x)`
pub(crate) fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

/// `f'` where `f` is `y`.
pub(crate) fn slope(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::None => 1.0,
        Activation::Relu => f64::from(y > 0.0),
        Activation::Tanh => 1.0 - y * y,
        Activation::Sigmoid => y * (1.0 - y),
    }
}

/// The gradients of `A`, `B` (as stored) and the bias, from the output `c` and its gradient.
pub fn backward(
    options: Options,
    sizes: [usize; 3],
    a: &[f64],
    b: &[f64],
    c: &[f64],
    dc: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let [m, n, k] = sizes;
    let (mut da, mut db, mut dbias) = (vec![0.0; m * k], vec![0.0; k * n], vec![0.0; n]);
    for i in 0..m {
        for j in 0..n {
            let g = dc[i * n + j] * slope(options.activation, c[i * n + j]);
            dbias[j] += g;
            for l in 0..k {
                let at_a = if options.transpose_a { l * m + i } else { i * k + l };
                let at_b = if options.transpose_b { j * k + l } else { l * n + j };
                da[at_a] += g * b[at_b];
                db[at_b] += g * a[at_a];
            }
        }
    }
    (da, db, dbias)
}
