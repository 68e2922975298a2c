//! `gumbel_softmax_expect/1`: expectations over the Gumbel noise of a choice between two, of logits `logit_diff` and 0:
//! of the first entry `E_y0` of the relaxed choice, of its square and of its gradient, and of the exact choice. Means of many
//! draws from a fixed key stand for them, so that every run is the same.

use anyhow::{Context as _, Result};
use softurn_kernels::ops::Noise;
use softurn_kernels::ops::gumbel_softmax;
use softurn_kernels::{Gpu, Key};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{Line, Precision};

const DRAWS: usize = 1 << 18;
const SEED: u64 = 1;
/// Of the means of 25 cases, 5 quantities each: by chance one file in 10^4 has one farther off.
const ERRORS: f64 = 5.0;
/// A relaxed choice of f32 is off by some 1e-6, over tau in its gradient, on average by less.
const ROUNDING: f64 = 1e-6;
/// A gradient is large, 1 / (4 tau), where the two are closer than tau, and else nothing: below this temperature, too few of
/// the draws make its mean for their variance to be known.
const COLDEST: f32 = 1e-3;
const WHY: &str = "5 standard errors of the mean of 2^18 draws";

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let fields = ["E_y0", "E_y0_sq", "dE_y0_dlogit0", "p_hard0", "dp_hard0_dlogit0"];
    let mut lines = fields.map(|field| Line::new(field, Precision::F32));
    for (at, case) in cases.iter().enumerate() {
        let tau = case.input("tau")?;
        let key = Key::new(SEED).child(at as u64);
        let [y, dy, hard] =
            draw(gpu, case.input("logit_diff")?, tau, key).with_context(|| format!("case {}", case.id))?;
        // The score function of the exact choice: h d log P(h) / d logit0.
        let p = case.numbers("p_hard0")?;
        let score = hard.iter().map(|h| h * (h - p[0])).collect();
        let square = y.iter().map(|y| y * y).collect();
        for (line, values) in lines.iter_mut().zip([y, square, dy, hard, score]) {
            if line.quantity == "dE_y0_dlogit0" && tau < COLDEST {
                line.skipped += 1;
                continue;
            }
            let [mean, error] = mean_and_error(&values);
            let abs = ERRORS * error + ROUNDING * (1.0 + 1.0 / f64::from(tau));
            line.compare(case, line.quantity, &[mean], |_| Tolerance::new(abs, 0.0, WHY))?;
        }
    }
    Ok(lines.into())
}

/// The first entries of relaxed draws, their gradients by the first logit, and the first entries of exact draws.
fn draw(gpu: &Gpu, logit: f32, tau: f32, key: Key) -> softurn_kernels::Result<[Vec<f64>; 3]> {
    let rows = |row: [f32; 2]| gpu.tensor(&row.repeat(DRAWS), [DRAWS, 2]);
    let (logits, noise) = (rows([logit, 0.0])?, Noise::Key(key));
    let y = gumbel_softmax::forward(gpu, &logits, noise, tau)?;
    let dx = gumbel_softmax::backward(gpu, &logits, noise, tau, &rows([1.0, 0.0])?)?;
    let hard = gumbel_softmax::hard(gpu, &logits, noise)?;
    let first = |x: &[f32]| wide(x).into_iter().step_by(2).collect();
    Ok([first(&y.read()?), first(&dx.read()?), first(&hard.read()?)])
}

/// The mean of a sample, and its standard error by the variance of the sample.
fn mean_and_error(values: &[f64]) -> [f64; 2] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    [mean, (variance / n).sqrt()]
}
