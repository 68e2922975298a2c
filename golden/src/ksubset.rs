//! `ksubset/1`: `log_w` and `k` give `log_esp`, the logarithm of the sum over subsets of `k`, the same of all smaller sizes
//! in `log_esp_all`, how often each element is chosen in `inclusion`, and `cov`, the gradients of that.

use anyhow::{Context as _, Result};
use softurn_kernels::Gpu;
use softurn_kernels::ops::subset::{self, cpu};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

const LOG: [Tolerance; 2] = [
    Tolerance::new(1e-12, F64_RELATIVE, "a sum of logarithms of up to 140 for each of 256 elements"),
    Tolerance::new(1e-5, 2e-6, "the tolerance of log-probabilities"),
];
/// In f32 a product of n factors is good to 2^-23 sqrt(n), and the tilt is rounded by 2^-24 of log weights up to 7.
const INCLUSION: [Tolerance; 2] = [
    Tolerance::new(1e-300, F64_RELATIVE, "the promise of the golden data"),
    Tolerance::new(1e-6, 2e-5, "2^-23 sqrt(n), and the tilt's rounding"),
];
const COVARIANCE: [Tolerance; 2] = [
    Tolerance::new(1e-12, F64_RELATIVE, "a difference of probabilities that are good to 1e-12"),
    Tolerance::new(1e-5, 1e-4, "differences of the probabilities above"),
];

/// `log_esp_all`, inclusion of each element, covariance.
type Answer = [Vec<f64>; 3];

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        let [mut one, mut all, mut inclusion, mut covariance] =
            ["log_esp", "log_esp_all", "inclusion", "cov"].map(|field| Line::new(field, precision));
        for case in cases {
            let log_w = case.inputs("log_w")?;
            let k = case.choice("k", log_w.len())?;
            let second = case.has("cov");
            let [log_sums, chosen, moments] = match precision {
                Precision::F64 => twin(&wide(&log_w), k, second),
                Precision::F32 => kernel(gpu, &log_w, k, second).with_context(|| format!("case {}", case.id))?,
            };
            one.compare(case, "log_esp", &log_sums[k - 1..], |_| precision.of(LOG))?;
            all.compare(case, "log_esp_all", &log_sums, |_| precision.of(LOG))?;
            let (places, known): (Vec<usize>, Vec<f64>) = case.known("inclusion")?.into_iter().unzip();
            let chosen: Vec<f64> = places.iter().filter_map(|&i| chosen.get(i).copied()).collect();
            inclusion.compare_with(case, &chosen, &known, |_| precision.of(INCLUSION))?;
            if second {
                covariance.compare(case, "cov", &moments, |_| precision.of(COVARIANCE))?;
            }
        }
        lines.extend([one, all, inclusion, covariance]);
    }
    Ok(lines)
}

fn twin(log_w: &[f64], k: usize, second: bool) -> Answer {
    let log_sums = (1..=k).map(|k| cpu::log_sum(log_w, k)).collect();
    let covariance = if second { cpu::covariance(log_w, k) } else { Vec::new() };
    [log_sums, cpu::marginals(log_w, k), covariance]
}

/// The covariance as the gradient of each inclusion, a row of the batch for each.
fn kernel(gpu: &Gpu, log_w: &[f32], k: usize, second: bool) -> softurn_kernels::Result<Answer> {
    let n = log_w.len();
    let row = gpu.tensor(log_w, [1, n])?;
    let mut log_sums = Vec::new();
    for k in 1..=k {
        log_sums.extend(wide(&subset::forward(gpu, &row, k)?.log_sum.read()?));
    }
    let chosen = wide(&subset::forward(gpu, &row, k)?.marginals.read()?);
    let mut covariance = Vec::new();
    if second {
        let subsets = subset::forward(gpu, &gpu.tensor(&log_w.repeat(n), [n, n])?, k)?;
        let unit_vectors: Vec<f32> = (0..n * n).map(|e| if e % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let gradients = subset::backward(gpu, &subsets, &gpu.tensor(&unit_vectors, [n, n])?, &gpu.zeros([n])?)?;
        covariance = wide(&gradients.read()?);
    }
    Ok([log_sums, chosen, covariance])
}
