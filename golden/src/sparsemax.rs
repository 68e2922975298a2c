//! `sparsemax/1`: `z` gives the laws `sparsemax` and `entmax15` of one row, and their gradients for `cotangent`.

use anyhow::{Context as _, Result};
use softurn_kernels::Gpu;
use softurn_kernels::ops::entmax::{self, Alpha, cpu};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

/// In f32: differences from the largest score are above -2 where they count, and the threshold above -1; each is rounded once,
/// by 6e-8, and the sum of the row by 1e-6 at most. In f64 the same roundings are 1e-16.
const LAW: [Tolerance; 2] = [
    Tolerance::new(1e-15, F64_RELATIVE, "the promise of the golden data; what is near the threshold is a difference"),
    Tolerance::new(5e-7, 4e-6, "roundings of score and threshold, and of the sum of the row"),
];
/// `s (dy - Σ s dy / Σ s)` with |dy| below 5 and `s` up to 1; in f32, `s = √p` carries the roundings of `p`.
const GRADIENT: [Tolerance; 2] = [
    Tolerance::new(1e-14, F64_RELATIVE, "|dy| = 5 less a mean, which cancel to roundings of 5"),
    Tolerance::new(1e-5, 1e-5, "|dy| = 5 times the roundings of a mean and of √p"),
];

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        for (alpha, fields) in
            [(Alpha::Two, ["sparsemax", "sparsemax_vjp"]), (Alpha::OneAndAHalf, ["entmax15", "entmax15_vjp"])]
        {
            let [mut law, mut vjp] = fields.map(|field| Line::new(field, precision));
            for case in cases {
                let z = case.inputs("z")?;
                let dy = case.inputs_of("cotangent", z.len())?;
                let [p, dz] = match precision {
                    Precision::F64 => twin(&wide(&z), &wide(&dy), alpha),
                    Precision::F32 => kernel(gpu, &z, &dy, alpha).with_context(|| format!("case {}", case.id))?,
                };
                law.compare(case, fields[0], &p, |_| precision.of(LAW))?;
                vjp.compare(case, fields[1], &dz, |_| precision.of(GRADIENT))?;
            }
            lines.extend([law, vjp]);
        }
    }
    Ok(lines)
}

fn twin(z: &[f64], dy: &[f64], alpha: Alpha) -> [Vec<f64>; 2] {
    let p = cpu::forward(z, z.len(), alpha);
    let dz = cpu::backward(&p, dy, z.len(), alpha);
    [p, dz]
}

fn kernel(gpu: &Gpu, z: &[f32], dy: &[f32], alpha: Alpha) -> softurn_kernels::Result<[Vec<f64>; 2]> {
    let p = entmax::forward(gpu, &gpu.tensor(z, [1, z.len()])?, alpha)?;
    let dz = entmax::backward(gpu, &p, &gpu.tensor(dy, [1, z.len()])?, alpha)?;
    Ok([wide(&p.read()?), wide(&dz.read()?)])
}
