//! The product on the host, for software adapters: of each head, its rows are gathered and multiplied as in `matmul`. The order of
//! the rows is read where it lies, after all work before it: no other round trip.

use std::borrow::Cow;

use super::{Groups, OP, Options};
use crate::ops::matmul::Gradients;
use crate::ops::matmul::host::{Matrix, activate, activation_backward, multiply};
use crate::{DataType, Gpu, Result, Tensor};

/// The rows of each head, and those of none.
fn rows_of<'a>(order: &'a [f32], starts: &[f32]) -> (Vec<&'a [u32]>, &'a [u32]) {
    // What is mapped comes as floats: these are the bits of `u32`.
    let (order, starts): (&[u32], &[u32]) = (bytemuck::cast_slice(order), bytemuck::cast_slice(starts));
    let mut rows: Vec<&[u32]> = starts.windows(2).map(|ends| &order[ends[0] as usize..ends[1] as usize]).collect();
    let none = rows.pop().unwrap_or_default();
    (rows, none)
}

fn fill_with_nan(cols: usize, rows: &[u32], x: &mut [f32]) {
    rows.iter().for_each(|&row| x[row as usize * cols..][..cols].fill(f32::NAN));
}

/// Rows of a matrix of `cols` columns: where they lie if they follow each other.
fn gathered<'a>(x: &'a [f32], cols: usize, rows: &[u32]) -> Cow<'a, [f32]> {
    let row = |&row: &u32| &x[row as usize * cols..][..cols];
    match rows.windows(2).all(|pair| pair[1] == pair[0] + 1) {
        true => x[rows[0] as usize * cols..][..rows.len() * cols].into(),
        false => rows.iter().map(row).collect::<Vec<_>>().concat().into(),
    }
}

fn scatter(values: &[f32], cols: usize, rows: &[u32], x: &mut [f32]) {
    for (&row, values) in rows.iter().zip(values.chunks_exact(cols)) {
        x[row as usize * cols..][..cols].copy_from_slice(values);
    }
}

/// The matrix of a head, `[k, n]` or stored transposed.
fn matrix(options: Options, [n, k]: [usize; 2], head: usize, b: &[f32]) -> Matrix<'_> {
    let cols = if options.transpose_b { k } else { n };
    Matrix { values: &b[head * n * k..][..n * k], cols, transposed: options.transpose_b }
}

/// As [`super::forward`], of checked and non-empty operands.
pub(super) fn forward(
    gpu: &Gpu,
    options: Options,
    groups: &Groups,
    [_, n, k]: [usize; 3],
    a: &Tensor,
    b: &Tensor,
    bias: Option<&Tensor>,
    c: &Tensor,
) -> Result<()> {
    let inputs: Vec<&Tensor> = [&groups.order, &groups.starts, a, b].into_iter().chain(bias).collect();
    gpu.on_host(&inputs, &[c], |inputs, outputs| {
        let (rows_of_heads, none) = rows_of(inputs[0], inputs[1]);
        fill_with_nan(n, none, outputs[0]);
        let mut product = Vec::new();
        for (head, rows) in rows_of_heads.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            product.resize(rows.len() * n, 0.0);
            let a = Matrix { values: &gathered(inputs[2], k, rows), cols: k, transposed: false };
            multiply([rows.len(), n, k], a, matrix(options, [n, k], head, inputs[3]), &mut product);
            if let Some(&bias) = inputs.get(4) {
                let bias = &bias[head * n..][..n];
                for row in product.chunks_exact_mut(n) {
                    row.iter_mut().zip(bias).for_each(|(c, bias)| *c += bias);
                }
            }
            activate(options.activation, &mut product);
            scatter(&product, n, rows, outputs[0]);
        }
    })
}

/// As [`super::backward`], of checked and non-empty operands: one round trip for all gradients.
pub(super) fn backward(
    gpu: &Gpu,
    options: Options,
    groups: &Groups,
    [_, n, k]: [usize; 3],
    [a, b, c, dc]: [&Tensor; 4],
    wanted: [bool; 2],
    with_bias: bool,
) -> Result<Gradients> {
    let fresh = |wanted: bool, like: &[usize]| -> Result<Option<Tensor>> {
        if !wanted {
            return Ok(None);
        }
        Ok(Some(gpu.uninitialised(OP, like.into(), DataType::F32)?))
    };
    let gradients = Gradients {
        a: fresh(wanted[0], a.shape().dims())?,
        b: fresh(wanted[1], b.shape().dims())?,
        bias: fresh(with_bias, &[groups.heads, n])?,
    };
    let outputs: Vec<&Tensor> = [&gradients.a, &gradients.b, &gradients.bias].into_iter().flatten().collect();
    gpu.on_host(&[&groups.order, &groups.starts, a, b, c, dc], &outputs, |inputs, outputs| {
        let g = &*activation_backward(options.activation, inputs[4], inputs[5]);
        let mut outputs = outputs.iter_mut();
        let mut da = wanted[0].then(|| outputs.next()).flatten();
        let mut db = wanted[1].then(|| outputs.next()).flatten();
        let mut dbias = with_bias.then(|| outputs.next()).flatten();
        let (rows_of_heads, none) = rows_of(inputs[0], inputs[1]);
        if let Some(da) = &mut da {
            fill_with_nan(k, none, da);
        }
        let mut product = Vec::new();
        for (head, rows) in rows_of_heads.into_iter().enumerate() {
            let count = rows.len();
            let mut db = db.as_mut().map(|db| &mut db[head * n * k..][..n * k]);
            let mut dbias = dbias.as_mut().map(|dbias| &mut dbias[head * n..][..n]);
            if rows.is_empty() {
                [&mut db, &mut dbias].into_iter().flatten().for_each(|sums| sums.fill(0.0));
                continue;
            }
            let (a, g) = (gathered(inputs[2], k, rows), gathered(g, n, rows));
            let a = Matrix { values: &a, cols: k, transposed: false };
            let g_matrix = Matrix { values: &g, cols: n, transposed: false };
            if let Some(da) = &mut da {
                product.resize(count * k, 0.0);
                let b = matrix(options, [n, k], head, inputs[3]);
                multiply([count, k, n], g_matrix, b.transpose(), &mut product);
                scatter(&product, k, rows, da);
            }
            if let Some(db) = db {
                match options.transpose_b {
                    false => multiply([k, n, count], a.transpose(), g_matrix, db),
                    true => multiply([n, k, count], g_matrix.transpose(), a, db),
                }
            }
            if let Some(dbias) = dbias {
                dbias.fill(0.0);
                for row in g.chunks_exact(n) {
                    dbias.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
                }
            }
        }
    })?;
    Ok(gradients)
}
