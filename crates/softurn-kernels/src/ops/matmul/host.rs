//! The product on the host, for software adapters: a tuned GEMM (crate `gemm`) over mapped tensors.

use std::borrow::Cow;

use super::{Activation, Gradients, Options};
use crate::{DataType, Gpu, Result, Tensor};

/// A stored matrix `[rows, cols]` or, transposed, its columns as rows.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) cols: usize,
    pub(crate) transposed: bool,
}

impl Matrix<'_> {
    /// Elements between neighbours in a column and in a row.
    fn strides(&self) -> [isize; 2] {
        if self.transposed { [1, self.cols as isize] } else { [self.cols as isize, 1] }
    }

    pub(crate) fn transpose(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }
}

/// `C = A B`, with `sizes` `[m, n, k]` and `C` dense.
#[allow(unsafe_code)]
pub(crate) fn multiply([m, n, k]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32]) {
    assert!(a.values.len() == m * k && b.values.len() == k * n && c.len() == m * n && !c.is_empty() && k > 0);
    let ([row_a, col_a], [row_b, col_b]) = (a.strides(), b.strides());
    let threads = gemm::Parallelism::Rayon(0);
    // SAFETY: the strides of each matrix reach every element of its slice once and none outside, by the lengths above;
    // C is borrowed alone and not read (`read_dst` is false).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.values.as_ptr(),
            col_a,
            row_a,
            b.values.as_ptr(),
            col_b,
            row_b,
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

fn operands<'a>(options: Options, [m, n, k]: [usize; 3], a: &'a [f32], b: &'a [f32]) -> [Matrix<'a>; 2] {
    [
        Matrix { values: a, cols: if options.transpose_a { m } else { k }, transposed: options.transpose_a },
        Matrix { values: b, cols: if options.transpose_b { k } else { n }, transposed: options.transpose_b },
    ]
}

/// As [`super::forward`], of checked and non-empty operands.
pub(super) fn forward(
    gpu: &Gpu,
    options: Options,
    sizes @ [_, n, _]: [usize; 3],
    a: &Tensor,
    b: &Tensor,
    bias: Option<&Tensor>,
    c: &Tensor,
) -> Result<()> {
    let inputs: Vec<&Tensor> = [a, b].into_iter().chain(bias).collect();
    gpu.on_host(&inputs, &[c], |inputs, outputs| {
        let [a, b] = operands(options, sizes, inputs[0], inputs[1]);
        multiply(sizes, a, b, outputs[0]);
        if let Some(&bias) = inputs.get(2) {
            for row in outputs[0].chunks_exact_mut(n) {
                row.iter_mut().zip(bias).for_each(|(c, bias)| *c += bias);
            }
        }
        activate(options.activation, outputs[0]);
    })
}

/// `f` of every element.
pub(crate) fn activate(activation: Activation, c: &mut [f32]) {
    let apply: fn(f32) -> f32 = match activation {
        Activation::None => return,
        Activation::Relu => |x| if x < 0.0 { 0.0 } else { x },
        Activation::Tanh => f32::tanh,
        Activation::Sigmoid => |x| 1.0 / (1.0 + (-x).exp()),
    };
    c.iter_mut().for_each(|c| *c = apply(*c));
}

/// `dc f'`, the gradient before the activation, from the output `c`.
pub(crate) fn activation_backward<'a>(activation: Activation, c: &[f32], dc: &'a [f32]) -> Cow<'a, [f32]> {
    let slope: fn(f32) -> f32 = match activation {
        Activation::None => return dc.into(),
        Activation::Relu => |y| if y > 0.0 { 1.0 } else { 0.0 },
        Activation::Tanh => |y| 1.0 - y * y,
        Activation::Sigmoid => |y| y * (1.0 - y),
    };
    dc.iter().zip(c).map(|(dc, &c)| dc * slope(c)).collect::<Vec<_>>().into()
}

/// As [`super::backward`], of checked and non-empty operands: one round trip for all gradients.
pub(super) fn backward(
    gpu: &Gpu,
    options: Options,
    sizes @ [m, n, k]: [usize; 3],
    [a, b, c, dc]: [&Tensor; 4],
    wanted: [bool; 2],
    with_bias: bool,
) -> Result<Gradients> {
    let fresh = |wanted: bool, like: &[usize]| -> Result<Option<Tensor>> {
        if !wanted {
            return Ok(None);
        }
        Ok(Some(gpu.uninitialised("matmul", like.into(), DataType::F32)?))
    };
    let gradients = Gradients {
        a: fresh(wanted[0], a.shape().dims())?,
        b: fresh(wanted[1], b.shape().dims())?,
        bias: fresh(with_bias, &[n])?,
    };
    let outputs: Vec<&Tensor> = [&gradients.a, &gradients.b, &gradients.bias].into_iter().flatten().collect();
    gpu.on_host(&[a, b, c, dc], &outputs, |inputs, outputs| {
        let g = &*activation_backward(options.activation, inputs[2], inputs[3]);
        let [a, b] = operands(options, sizes, inputs[0], inputs[1]);
        let g_matrix = Matrix { values: g, cols: n, transposed: false };
        let mut outputs = outputs.iter_mut();
        // As stored, A' is A or its transpose: d(A') = G B', or the transpose of that product.
        if wanted[0]
            && let Some(da) = outputs.next()
        {
            match options.transpose_a {
                false => multiply([m, k, n], g_matrix, b.transpose(), da),
                true => multiply([k, m, n], b, g_matrix.transpose(), da),
            }
        }
        if wanted[1]
            && let Some(db) = outputs.next()
        {
            match options.transpose_b {
                false => multiply([k, n, m], a.transpose(), g_matrix, db),
                true => multiply([n, k, m], g_matrix.transpose(), a, db),
            }
        }
        if let Some(bias) = outputs.next() {
            bias.fill(0.0);
            for row in g.chunks_exact(n) {
                bias.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
        }
    })?;
    Ok(gradients)
}
