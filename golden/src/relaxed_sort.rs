//! `relaxed_sort/1`: `scores` and `tau` give the matrices `neuralsort` and `softsort`, and their gradients for `cotangent`.

use anyhow::{Context as _, Result};
use softurn_kernels::Gpu;
use softurn_kernels::ops::relaxed_sort::{self, Kind, Relaxation, Wanted, cpu};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

/// In f32, exponents down to -40 are sums of up to 10 gaps of one sign, rounded by 40 · 10 · 2^-24; what lies below is nothing
/// beside 2e-6. In f64 the same of exponents down to -700 is 1e-12.
const MATRIX: [Tolerance; 2] = [
    Tolerance::new(1e-300, F64_RELATIVE, "the promise of the golden data"),
    Tolerance::new(2e-6, 3e-5, "40 · 10 · 2^-24 in exponents"),
];
/// In f32, of the largest gradient of the case: sums of terms 2 (r - i) dz, which cancel in part.
const OF_LARGEST: f64 = 3e-5;
const WHY: &str = "the roundings of exponents, and of a cotangent less its mean, over tau";

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        for (kind, fields) in
            [(Kind::Neural, ["neuralsort", "neuralsort_vjp"]), (Kind::Soft, ["softsort", "softsort_vjp"])]
        {
            let [mut matrix, mut vjp] = fields.map(|field| Line::new(field, precision));
            for case in cases {
                let (scores, tau) = (case.inputs("scores")?, case.input("tau")?);
                let n = scores.len();
                let dp = case.inputs_of("cotangent", n * n)?;
                let relaxation = Relaxation { kind, temperature: tau };
                // In both precisions the kernel runs: it knows which temperatures are none.
                let kernel = kernel(gpu, &scores, relaxation, &dp).with_context(|| format!("case {}", case.id))?;
                let [p, ds] = match precision {
                    Precision::F64 => twin(&wide(&scores), relaxation, &wide(&dp)),
                    Precision::F32 => kernel,
                };
                matrix.compare(case, fields[0], &p, |_| precision.of(MATRIX))?;

                let largest = |x: &[f64]| x.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
                // Where P is almost a permutation, a cotangent less its mean cancels to two roundings, in each of n rows.
                let cancelled = 2.0 * precision.unit() * largest(&wide(&dp)) * n as f64 / f64::from(tau);
                let tolerance = match precision {
                    Precision::F64 => Tolerance::new(cancelled, F64_RELATIVE, WHY),
                    Precision::F32 => {
                        Tolerance::new(OF_LARGEST * largest(&case.numbers(fields[1])?).max(1e-2) + cancelled, 0.0, WHY)
                    }
                };
                vjp.compare(case, fields[1], &ds, |_| tolerance)?;
            }
            lines.extend([matrix, vjp]);
        }
    }
    Ok(lines)
}

fn twin(scores: &[f64], Relaxation { kind, temperature }: Relaxation, dp: &[f64]) -> [Vec<f64>; 2] {
    let t = f64::from(temperature);
    [cpu::matrix(kind, scores, t), cpu::backward(kind, scores, t, dp)]
}

/// `P`, and its gradient as that of `P` times the unit matrix.
fn kernel(gpu: &Gpu, scores: &[f32], relaxation: Relaxation, dp: &[f32]) -> softurn_kernels::Result<[Vec<f64>; 2]> {
    let n = scores.len();
    let sorted = relaxed_sort::prepare(gpu, &gpu.tensor(scores, [1, n])?)?;
    let p = relaxed_sort::matrix(gpu, &sorted, relaxation)?;
    let unit: Vec<f32> = (0..n * n).map(|e| if e % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let [unit, dp] = [gpu.tensor(&unit, [1, n, n])?, gpu.tensor(dp, [1, n, n])?];
    let (y, inverse) = relaxed_sort::forward(gpu, &sorted, relaxation, &unit)?;
    let wanted = Wanted { scores: true, x: false };
    let gradients = relaxed_sort::backward(gpu, &sorted, relaxation, &inverse, &unit, &y, &dp, wanted)?;
    let ds = gradients.scores.map(|ds| ds.read()).transpose()?.unwrap_or_default();
    Ok([wide(&p.read()?), wide(&ds)])
}
