//! `relaxed_topk/1`: relaxed choices of `k` of `keys` at `tau`, with their gradients for `cotangent`: by sigmoids in
//! `sigmoid_topk`, with their level `sigmoid_lambda`, and one after another in `xie_ermon`.

use anyhow::{Context as _, Result};
use softurn_kernels::Gpu;
use softurn_kernels::ops::Noise;
use softurn_kernels::ops::sigmoid_top_k::{self, cpu};
use softurn_kernels::ops::successive_top_k;
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

/// Exponents `(key - λ) / tau` of up to 4 / tau are rounded twice; sums of up to 10 choices likewise.
const ROUNDINGS: f64 = 17.0;
const WHY: &str = "the roundings of exponents of up to 4 / tau, and of a sum of 10";

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = sigmoid(gpu, cases)?;
    lines.extend(successive(gpu, cases)?);
    Ok(lines)
}

/// Choices one after another: every step rounds exponents of up to 4 / tau and adds the error of the one before; its gradient
/// is steep where an element is nearly sure, so that it is held against the row's largest.
fn successive(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        let [mut choice, mut vjp] = ["xie_ermon", "xie_ermon_vjp"].map(|field| Line::new(field, precision));
        for case in cases {
            let row = Row::of(case)?;
            let (n, k, tau) = (row.keys.len(), row.k, f64::from(row.tau));
            let [y, dx] = match precision {
                Precision::F64 => {
                    let (keys, zeros, dy) = (wide(&row.keys), vec![0.0; n], wide(&row.cotangent));
                    let y = successive_top_k::cpu::forward(&keys, &zeros, n, k, tau);
                    [y, successive_top_k::cpu::backward(&keys, &zeros, n, k, tau, &dy)]
                }
                Precision::F32 => {
                    let [keys, dy] = [gpu.tensor(&row.keys, [1, n])?, gpu.tensor(&row.cotangent, [1, n])?];
                    let y = successive_top_k::forward(gpu, &keys, Noise::None, k, row.tau)?;
                    let dx = successive_top_k::backward(gpu, &keys, Noise::None, k, row.tau, &dy)?;
                    [wide(&y.read()?), wide(&dx.read()?)]
                }
            };
            let largest = case.numbers("xie_ermon_vjp")?.iter().fold(1.0f64, |a, b| a.max(b.abs()));
            let roundings = 2.0 * ROUNDINGS * precision.unit() * (1.0 + 1.0 / tau);
            let rel = roundings.max(if precision == Precision::F64 { F64_RELATIVE } else { 0.0 });
            choice.compare(case, "xie_ermon", &y, |_| Tolerance::new(2.0 * ROUNDINGS * precision.unit(), rel, WHY))?;
            let steep = Tolerance::new(2.0 * rel * largest, 2.0 * rel, WHY);
            vjp.compare(case, "xie_ermon_vjp", &dx, |_| steep)?;
        }
        lines.extend([choice, vjp]);
    }
    Ok(lines)
}

fn sigmoid(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        let [mut choice, mut lambda, mut vjp] =
            ["sigmoid_topk", "sigmoid_lambda", "sigmoid_topk_vjp"].map(|field| Line::new(field, precision));
        // There is none where all are chosen.
        for case in cases.iter().filter(|case| case.has("sigmoid_topk")) {
            let row = Row::of(case)?;
            // In both precisions the kernel runs: it knows which temperatures are none.
            let kernel = row.kernel(gpu).with_context(|| format!("case {}", case.id))?;
            let [y, level, dx] = match precision {
                Precision::F64 => row.twin(),
                Precision::F32 => kernel,
            };
            let (unit, tau) = (precision.unit(), f64::from(row.tau));
            let roundings = ROUNDINGS * unit * (1.0 + 1.0 / tau);
            let rel = match precision {
                Precision::F64 => roundings.max(F64_RELATIVE),
                Precision::F32 => roundings,
            };
            choice.compare(case, "sigmoid_topk", &y, |_| Tolerance::new(ROUNDINGS * unit, rel, WHY))?;
            // The same in y and in 1 - y, over tau, with |dy| below 3.
            let steep = Tolerance::new(3.0 * ROUNDINGS * unit / tau, 2.0 * rel, WHY);
            vjp.compare(case, "sigmoid_topk_vjp", &dx, |_| steep)?;
            if precision == Precision::F32 {
                // λ moves with the keys, and by what the rounding of a sum of n choices hides: it has a slope of Σ y (1 - y) / tau.
                let slope: f64 = case.numbers("sigmoid_topk")?.iter().map(|y| y * (1.0 - y)).sum();
                let hidden = 2.0 * unit * row.keys.len() as f64 * tau / slope;
                lambda.compare(case, "sigmoid_lambda", &level, |_| {
                    Tolerance::new(ROUNDINGS * unit + hidden, ROUNDINGS * unit, WHY)
                })?;
            }
        }
        lines.extend([choice, vjp]);
        // The twin has no level.
        lines.extend(lambda.compared().then_some(lambda));
    }
    Ok(lines)
}

struct Row {
    keys: Vec<f32>,
    k: usize,
    tau: f32,
    cotangent: Vec<f32>,
}

impl Row {
    fn of(case: &Case) -> Result<Self> {
        let keys = case.inputs("keys")?;
        let (k, cotangent) = (case.choice("k", keys.len())?, case.inputs_of("cotangent", keys.len())?);
        Ok(Self { keys, k, tau: case.input("tau")?, cotangent })
    }

    /// Choices, no level, gradient.
    fn twin(&self) -> [Vec<f64>; 3] {
        let (keys, n, tau) = (wide(&self.keys), self.keys.len(), f64::from(self.tau));
        let y = cpu::forward(&keys, &vec![0.0; n], n, self.k as f64, tau);
        let dx = cpu::backward(&y, &wide(&self.cotangent), n, tau);
        [y, Vec::new(), dx]
    }

    fn kernel(&self, gpu: &Gpu) -> softurn_kernels::Result<[Vec<f64>; 3]> {
        let n = self.keys.len();
        let [keys, dy] = [gpu.tensor(&self.keys, [1, n])?, gpu.tensor(&self.cotangent, [1, n])?];
        let [y, level] = sigmoid_top_k::with_level(gpu, &keys, Noise::None, self.k, self.tau)?;
        let dx = sigmoid_top_k::backward(gpu, &y, &dy, self.tau)?;
        Ok([wide(&y.read()?), wide(&level.read()?), wide(&dx.read()?)])
    }
}
