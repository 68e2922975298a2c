//! The product of each row with the matrix of its head in f64, as loops.

use super::Options;
use crate::ops::matmul::cpu::{activate, slope};

/// Where element `(l, j)` of a head's matrix is stored.
fn place(options: Options, [n, k]: [usize; 2], head: usize, l: usize, j: usize) -> usize {
    head * k * n + if options.transpose_b { j * k + l } else { l * n + j }
}

/// `f(A_r · B_g(r) + bias_g(r))` with `sizes` `[heads, n, k]`; NaN for a row of no head.
pub fn forward(
    options: Options,
    [heads, n, k]: [usize; 3],
    assignment: &[u32],
    a: &[f64],
    b: &[f64],
    bias: Option<&[f64]>,
) -> Vec<f64> {
    let mut c = Vec::with_capacity(assignment.len() * n);
    for (row, &head) in assignment.iter().enumerate() {
        let head = head as usize;
        for j in 0..n {
            if head >= heads {
                c.push(f64::NAN);
                continue;
            }
            let product: f64 = (0..k).map(|l| a[row * k + l] * b[place(options, [n, k], head, l, j)]).sum();
            c.push(activate(options.activation, product + bias.map_or(0.0, |bias| bias[head * n + j])));
        }
    }
    c
}

/// The gradients of `A`, `B` (as stored) and the bias, from the output `c` and its gradient.
pub fn backward(
    options: Options,
    [heads, n, k]: [usize; 3],
    assignment: &[u32],
    a: &[f64],
    b: &[f64],
    c: &[f64],
    dc: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mut da, mut db, mut dbias) = (vec![0.0; a.len()], vec![0.0; heads * k * n], vec![0.0; heads * n]);
    for (row, &head) in assignment.iter().enumerate() {
        let head = head as usize;
        if head >= heads {
            da[row * k..(row + 1) * k].fill(f64::NAN);
            continue;
        }
        for j in 0..n {
            let g = dc[row * n + j] * slope(options.activation, c[row * n + j]);
            dbias[head * n + j] += g;
            for l in 0..k {
                let at = place(options, [n, k], head, l, j);
                da[row * k + l] += g * b[at];
                db[at] += g * a[row * k + l];
            }
        }
    }
    (da, db, dbias)
}
