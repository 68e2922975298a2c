//! `gumbel_softmax/1`: `y = softmax((logits + gumbel) / tau)` of one row, `jac[i][j] = dy_i / dlogits_j` and
//! `vjp = jacᵀ cotangent`. No operation gives `log_y` or `dy_dtau`.

use anyhow::{Context as _, Result, ensure};
use softurn_kernels::Gpu;
use softurn_kernels::ops::Noise;
use softurn_kernels::ops::gumbel_softmax::{self, cpu};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

/// Where the bound on the relative error is larger, f32 does not hold the exponents and a comparison says nothing.
const LARGEST_RELATIVE: f64 = 0.02;
/// Roundings besides those of the exponent: exponential, sum and quotient (2e-6 in f32).
const ROUNDINGS: f64 = 34.0;

const WHY: &str = "the roundings of the exponents over tau, of the sum and of dy - Σ y dy";

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        let [mut y, mut vjp, mut jac] = ["y", "vjp", "jac"].map(|field| Line::new(field, precision));
        for case in cases {
            let row = Row::of(case)?;
            let relative = row.relative(precision);
            let (cols, floor) = (row.logits.len(), precision.floor());
            let rel = match precision {
                Precision::F64 => relative.max(F64_RELATIVE),
                Precision::F32 => relative,
            };
            let draws = row.forward(gpu, precision).with_context(|| format!("case {}", case.id))?;
            if precision == Precision::F32 && relative > LARGEST_RELATIVE {
                [&mut y, &mut vjp, &mut jac].into_iter().for_each(|line| line.skipped += 1);
                continue;
            }
            y.compare(case, "y", &draws, |_| Tolerance::new(floor, rel, WHY))?;

            let want = case.numbers("y")?;
            let unit_vectors: Vec<f32> =
                (0..cols * cols).map(|e| if e % (cols + 1) == 0 { 1.0 } else { 0.0 }).collect();
            for (line, dy) in [(&mut vjp, case.inputs("cotangent")?), (&mut jac, unit_vectors)] {
                ensure!(dy.len() % cols == 0, "case {}: field `cotangent` is not as long as `logits`", case.id);
                let dx = row.backward(gpu, precision, &dy).with_context(|| format!("case {}", case.id))?;
                // dy - Σ y dy cancels: an absolute error of the size of its terms, times y / tau.
                let steepest = dy.iter().fold(0.0, |a: f64, &b| a.max(f64::from(b).abs())) / f64::from(row.tau);
                let abs = |i: usize| floor.max(2.0 * steepest * (floor + relative * want[i % cols]));
                line.compare(case, line.quantity, &dx, |i| Tolerance::new(abs(i), rel, WHY))?;
            }
        }
        lines.extend([y, vjp, jac]);
    }
    lines.extend(["log_y", "dy_dtau"].map(Line::without_operation));
    Ok(lines)
}

struct Row {
    logits: Vec<f32>,
    gumbel: Vec<f32>,
    tau: f32,
}

impl Row {
    fn of(case: &Case) -> Result<Self> {
        let (logits, gumbel) = (case.inputs("logits")?, case.inputs("gumbel")?);
        ensure!(logits.len() == gumbel.len(), "case {}: field `gumbel` is not as long as `logits`", case.id);
        Ok(Self { logits, gumbel, tau: case.input("tau")? })
    }

    /// Bounds the relative error of `y`: `x - max x`, the score and its distance from the largest are rounded once each,
    /// over tau, in the elements whose weight is not below the floor anyway.
    fn relative(&self, precision: Precision) -> f64 {
        let x = wide(&self.logits);
        let largest = |x: &[f64]| x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let scores = cpu::scores(&x, &wide(&self.gumbel), x.len());
        let (high, top, tau) = (largest(&x), largest(&scores), f64::from(self.tau));
        let size = |i: usize| (x[i] - high).abs() + scores[i].abs() + (top - scores[i]);
        let counts = |i: &usize| (top - scores[*i]) / tau < -precision.floor().ln();
        let size = (0..x.len()).filter(counts).map(size).fold(0.0, f64::max);
        precision.unit() * (2.0 * (size + top.abs()) / tau + ROUNDINGS)
    }

    fn forward(&self, gpu: &Gpu, precision: Precision) -> softurn_kernels::Result<Vec<f64>> {
        let cols = self.logits.len();
        if precision == Precision::F64 {
            return Ok(cpu::forward(&wide(&self.logits), &wide(&self.gumbel), cols, f64::from(self.tau)));
        }
        let (x, noise) = (gpu.tensor(&self.logits, [1, cols])?, gpu.tensor(&self.gumbel, [1, cols])?);
        Ok(wide(&gumbel_softmax::forward(gpu, &x, Noise::Given(&noise), self.tau)?.read()?))
    }

    /// Gradients for each row of `dy`.
    fn backward(&self, gpu: &Gpu, precision: Precision, dy: &[f32]) -> softurn_kernels::Result<Vec<f64>> {
        let cols = self.logits.len();
        let rows = dy.len() / cols;
        let (x, noise) = (self.logits.repeat(rows), self.gumbel.repeat(rows));
        if precision == Precision::F64 {
            return Ok(cpu::backward(&wide(&x), &wide(&noise), cols, f64::from(self.tau), &wide(dy)));
        }
        let tensor = |x: &[f32]| gpu.tensor(x, [rows, cols]);
        let (x, noise, dy) = (tensor(&x)?, tensor(&noise)?, tensor(dy)?);
        Ok(wide(&gumbel_softmax::backward(gpu, &x, Noise::Given(&noise), self.tau, &dy)?.read()?))
    }
}
