//! `fisher_uni/1`, `fisher_multi/1`, `fisher_multi_big/1`: the noncentral hypergeometric law of two and of several groups, and
//! the merged law of the paper in natural order.

use anyhow::{Context as _, Result};
use softurn_kernels::Gpu;
use softurn_kernels::ops::fisher_hypergeometric::cpu::{self, Law as Twin};
use softurn_kernels::ops::fisher_hypergeometric::{self as kernel, Law, Order, Prepared, Urn};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

/// What a case says of one urn, with the exact rows that are scored.
struct Question {
    sizes: Vec<u32>,
    draws: u32,
    log_weights: Vec<f32>,
    rows: Vec<Vec<u32>>,
}

/// log P, mean, covariance, entropy.
type Answer = [Vec<f64>; 4];

impl Question {
    fn uni(case: &Case) -> Result<Self> {
        let sizes = vec![case.whole("m1")?[0], case.whole("m2")?[0]];
        let draws = case.whole("n")?[0];
        let rows = case.whole("x")?.into_iter().map(|x| vec![x, draws - x]).collect();
        Ok(Self { sizes, draws, log_weights: vec![case.input("log_omega")?, 0.0], rows })
    }

    fn multi(case: &Case, rows: &str) -> Result<Self> {
        let sizes = case.whole("m")?;
        let groups = sizes.len();
        let rows = case.whole(rows)?.chunks(groups).map(<[u32]>::to_vec).collect();
        Ok(Self { sizes, draws: case.whole("n")?[0], log_weights: case.inputs("log_omega")?, rows })
    }

    fn twin(&self) -> Answer {
        let weights = wide(&self.log_weights);
        let law = Twin { sizes: &self.sizes, draws: self.draws, log_weights: &weights };
        [law.log_probs(&self.rows), law.mean(), law.covariance(), vec![law.entropy()]]
    }

    fn prepare(&self, gpu: &Gpu, law: &Law) -> softurn_kernels::Result<Prepared> {
        let urn = Urn::new(gpu, &self.sizes, self.draws)?;
        Prepared::new(gpu, &urn, law, &gpu.tensor(&self.log_weights, [1, self.sizes.len()])?)
    }

    fn score(&self, gpu: &Gpu, law: &Prepared) -> softurn_kernels::Result<Vec<f64>> {
        let rows: Vec<f32> = self.rows.iter().flatten().map(|&x| x as f32).collect();
        let rows = gpu.tensor(&rows, [self.rows.len(), self.sizes.len()])?;
        Ok(wide(&kernel::log_prob(gpu, law, &rows)?.log_prob.read()?))
    }

    fn kernel(&self, gpu: &Gpu) -> softurn_kernels::Result<Answer> {
        let law = self.prepare(gpu, &Law::Exact)?;
        let [covariance, entropy] = kernel::covariance_and_entropy(gpu, &law)?;
        let mean = kernel::mean(gpu, &law)?;
        Ok([self.score(gpu, &law)?, wide(&mean.read()?), wide(&covariance.read()?), wide(&entropy.read()?)])
    }

    /// `log P` of the merged law in natural order, whose draws are picked by their noise.
    fn merged_twin(&self) -> Vec<f64> {
        let weights = wide(&self.log_weights);
        let law = Twin { sizes: &self.sizes, draws: self.draws, log_weights: &weights };
        let order: Vec<usize> = (0..self.sizes.len()).collect();
        let score = |x: &Vec<u32>| {
            let pick = |p: usize, k: usize| if x[p] as usize == k { 1e4 } else { 0.0 };
            let draw = cpu::Draw { merged: Some(&order), relaxed: false, temperature: 1.0, noise: &pick };
            law.draw(&draw, f64::from(self.draws)).log_prob
        };
        self.rows.iter().map(score).collect()
    }
}

/// By precision: a floor for numbers near 0, and a relative part.
fn log_prob(precision: Precision, want: f64) -> Tolerance {
    match precision {
        Precision::F64 => Tolerance::new(1e-300, F64_RELATIVE, "the promise of the golden data"),
        Precision::F32 if want.abs() < 1e-5 => Tolerance::new(1e-37, 1e-5, "stated for probabilities near 1"),
        Precision::F32 => Tolerance::new(1e-5, 2e-6, "stated"),
    }
}

/// A moment that log weights in f32 move by `slope` times their rounding of up to 2^-20, made of sums whose terms are up to
/// `largest`: a mean of the last group is what the others leave of the draws, with one rounding for each.
fn moment(precision: Precision, largest: f64, slope: f64) -> Tolerance {
    match precision {
        Precision::F64 => {
            Tolerance::new(1e-13 * largest, F64_RELATIVE, "the promise of the golden data, and sums of terms")
        }
        Precision::F32 => Tolerance::new(1e-6 * slope + 1.5e-7 * largest, 5e-6, "the weights' rounding, and the sums'"),
    }
}

pub fn uni(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    check(gpu, cases, |case| {
        let question = Question::uni(case)?;
        let [mean, variance] = [case.numbers("mean")?[0], case.numbers("var")?[0]];
        let n = f64::from(question.draws);
        let covariance = vec![variance, -variance, -variance, variance];
        Ok((question, case.numbers("logpmf")?, vec![mean, n - mean], covariance, case.numbers("entropy")?))
    })
}

pub fn multi(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = check(gpu, cases, |case| {
        let question = Question::multi(case, "support")?;
        let fields = ["logpmf", "mean", "cov", "entropy"].map(|field| case.numbers(field));
        let [log_p, mean, covariance, entropy] = fields;
        Ok((question, log_p?, mean?, covariance?, entropy?))
    })?;
    for precision in [Precision::F64, Precision::F32] {
        let mut log_p = Line::new("merged logpmf", precision);
        let mut mean = Line::new("merged mean", precision);
        for case in cases {
            let question = Question::multi(case, "support")?;
            let merged = case.inner("merged")?;
            let got = match precision {
                Precision::F64 => question.merged_twin(),
                Precision::F32 => {
                    let run = || question.score(gpu, &question.prepare(gpu, &Law::Merged(Order::Natural))?);
                    run().with_context(|| format!("case {}", case.id))?
                }
            };
            let want = merged.numbers("logpmf")?;
            // A logarithm of a weight's mean: good to some 1e-16, times counts.
            let floor = if precision == Precision::F64 { 1e-14 } else { 0.0 };
            log_p.compare(&merged, "logpmf", &got, |i| {
                let tolerance = log_prob(precision, want[i]);
                Tolerance::new(tolerance.abs + floor, tolerance.rel, tolerance.why)
            })?;
            let groups = question.sizes.len();
            let average = |j: usize| got.iter().zip(&question.rows).map(|(l, x)| l.exp() * f64::from(x[j])).sum();
            let got: Vec<f64> = (0..groups).map(average).collect();
            let scale = f64::from(question.draws);
            mean.compare(&merged, "mean", &got, |_| moment(precision, scale, 2.0 * scale))?;
        }
        lines.extend([log_p, mean]);
    }
    Ok(lines)
}

pub fn multi_big(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    check(gpu, cases, |case| {
        let question = Question::multi(case, "x")?;
        Ok((question, case.numbers("logpmf")?, case.numbers("mean")?, case.numbers("cov")?, Vec::new()))
    })
}

/// The question of a case, and its log P, mean, covariance and entropy; no entropy where the file has none.
type Wanted = (Question, Vec<f64>, Vec<f64>, Vec<f64>, Vec<f64>);

fn check(gpu: &Gpu, cases: &[Case], ask: impl Fn(&Case) -> Result<Wanted>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in [Precision::F64, Precision::F32] {
        let [mut log_p, mut mean, mut covariance, mut entropy] =
            ["logpmf", "mean", "cov", "entropy"].map(|quantity| Line::new(quantity, precision));
        for case in cases {
            let (question, want_log_p, want_mean, want_covariance, want_entropy) = ask(case)?;
            let [got_log_p, got_mean, got_covariance, got_entropy] = match precision {
                Precision::F64 => question.twin(),
                Precision::F32 => question.kernel(gpu).with_context(|| format!("case {}", case.id))?,
            };
            log_p.compare_with(case, &got_log_p, &want_log_p, |i| log_prob(precision, want_log_p[i]))?;
            let groups = question.sizes.len();
            let variance = |i: usize| want_covariance[i * groups + i];
            let draws = f64::from(question.draws);
            mean.compare_with(case, &got_mean, &want_mean, |i| {
                moment(precision, draws * groups as f64 / 2.0, variance(i))
            })?;
            let widest = (0..groups).map(variance).fold(0.0, f64::max);
            covariance.compare_with(case, &got_covariance, &want_covariance, |at| {
                // Third moments of a sum of Bernoulli variables are at most its variance.
                let size = (variance(at / groups) * variance(at % groups)).sqrt();
                // In f64, what logarithms of coefficients of size 10^4 leave of totals that cancel.
                let terms = if precision == Precision::F64 { 10.0 * draws } else { 30.0 * widest };
                moment(precision, terms, size)
            })?;
            if !want_entropy.is_empty() {
                let spread: f64 = (0..groups).map(variance).sum();
                let scale = want_entropy[0].abs() + spread.min(1.0);
                entropy.compare_with(case, &got_entropy, &want_entropy, |_| moment(precision, scale, 5.0 * scale))?;
            }
        }
        lines.extend([log_p, mean, covariance]);
        if entropy.compared() {
            lines.push(entropy);
        }
    }
    Ok(lines)
}
