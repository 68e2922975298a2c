//! `log_softmax/1`: `x` gives `softmax`, `log_softmax` and `lse`, of one row and at temperature 1.

use anyhow::{Context as _, Result};
use softurn_kernels::Gpu;
use softurn_kernels::ops::{log_sum_exp, softmax};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

const SOFTMAX: [Tolerance; 2] = [
    Tolerance::new(1e-300, F64_RELATIVE, "the promise of the golden data"),
    Tolerance::new(1e-37, 1e-5, "at most 88 · 2^-24 in the exponent of what f32 holds, and the sum's roundings"),
];
const LOG: [Tolerance; 2] = [
    Tolerance::new(1e-14, F64_RELATIVE, "near 0 a logarithm is a difference of numbers near 1"),
    Tolerance::new(4e-6, 4e-7, "the relative error of the sum, absolute in its logarithm"),
];

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (precision, probability, log) in [(Precision::F64, SOFTMAX[0], LOG[0]), (Precision::F32, SOFTMAX[1], LOG[1])] {
        let [mut p, mut log_p, mut lse] = ["softmax", "log_softmax", "lse"].map(|field| Line::new(field, precision));
        for case in cases {
            let x = case.inputs("x")?;
            let got = match precision {
                Precision::F64 => twin(&wide(&x)),
                Precision::F32 => kernel(gpu, &x).with_context(|| format!("case {}", case.id))?,
            };
            for (line, got, tolerance) in
                [(&mut p, &got[0], probability), (&mut log_p, &got[1], log), (&mut lse, &got[2], log)]
            {
                line.compare(case, line.quantity, got, |_| tolerance)?;
            }
        }
        lines.extend([p, log_p, lse]);
    }
    Ok(lines)
}

fn twin(x: &[f64]) -> [Vec<f64>; 3] {
    let cols = x.len();
    [softmax::cpu::forward(x, cols, 1.0), softmax::cpu::forward_log(x, cols, 1.0), log_sum_exp::cpu::forward(x, cols)]
}

fn kernel(gpu: &Gpu, x: &[f32]) -> softurn_kernels::Result<[Vec<f64>; 3]> {
    let x = gpu.tensor(x, [1, x.len()])?;
    let results =
        [softmax::forward(gpu, &x, 1.0)?, softmax::forward_log(gpu, &x, 1.0)?, log_sum_exp::forward(gpu, &x)?];
    Ok([wide(&results[0].read()?), wide(&results[1].read()?), wide(&results[2].read()?)])
}
