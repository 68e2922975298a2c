//! `plackett_luce/1` and `plackett_luce_big/1`: `logp` of ordered selections of `k` under `scores`, and its gradient `grad`.
//! The first has every selection, so that sums over them are the law of the set that is selected: `subset_logp`, of each
//! item `inclusion`, and the gradients of that, `dinclusion[i][j] = d inclusion_i / d score_j`.

use anyhow::{Context as _, Result, ensure};
use softurn_kernels::Gpu;
use softurn_kernels::ops::plackett_luce::{self, cpu};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

/// Above 1 the roundings of each step are relative to the sum of them; near 0 a logarithm is that of a number near 1.
const LOG: [Tolerance; 2] = [
    Tolerance::new(1e-14, F64_RELATIVE, "the promise of the golden data"),
    Tolerance::new(1e-5, 2e-6, "roundings of k logarithms and of sums built in k steps"),
];
/// Shares below 1 at each of up to 512 steps, relatively off by some 1e-15 (1e-6 in f32) in sums of thousands of terms; what
/// they sum to is of the size of the gradient plus 1.
const GRADIENT: [Tolerance; 2] = [
    Tolerance::new(1e-12, F64_RELATIVE, "relative roundings of k shares that sum up to |d| + 1"),
    Tolerance::new(1e-5, 1e-5, "relative roundings of k shares that sum up to |d| + 1"),
];
const SUMS: &str = "errors of logarithms and gradients as above, weighted with the probabilities they have in the sum";

/// Scores, and selections among them.
struct Question {
    scores: Vec<f32>,
    k: usize,
    orders: Vec<u32>,
}

impl Question {
    fn of(case: &Case, orders: &str) -> Result<Self> {
        let (scores, orders) = (case.inputs("scores")?, case.whole(orders)?);
        let k = case.choice("k", scores.len())?;
        ensure!(orders.len() % k == 0, "case {}: {} indices are no selections of {k}", case.id, orders.len());
        Ok(Self { scores, k, orders })
    }

    fn selections(&self) -> impl Iterator<Item = &[u32]> {
        self.orders.chunks(self.k)
    }

    /// `logp` of each selection, and its gradient.
    fn answer(&self, gpu: &Gpu, precision: Precision) -> softurn_kernels::Result<[Vec<f64>; 2]> {
        let (rows, cols) = (self.orders.len() / self.k, self.scores.len());
        let scores = self.scores.repeat(rows);
        if precision == Precision::F64 {
            let scores = wide(&scores);
            let log_p = cpu::forward(&scores, &self.orders, cols, self.k);
            return Ok([log_p, cpu::backward(&scores, &self.orders, cols, self.k, &vec![1.0; rows])]);
        }
        let (scores, orders) = (gpu.tensor(&scores, [rows, cols])?, gpu.tensor(&self.orders, [rows, self.k])?);
        let (log_p, saved) = plackett_luce::forward(gpu, &scores, &orders)?;
        let gradient = plackett_luce::backward(gpu, &scores, &saved, &gpu.tensor(&vec![1.0f32; rows], [rows])?)?;
        Ok([wide(&log_p.read()?), wide(&gradient.read()?)])
    }
}

pub fn big(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        let mut own = ["logp", "grad"].map(|field| Line::new(field, precision));
        for case in cases {
            each(gpu, case, &Question::of(case, "order")?, precision, &mut own)?;
        }
        lines.extend(own);
    }
    Ok(lines)
}

pub fn all(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        let mut own = ["logp", "grad"].map(|field| Line::new(field, precision));
        let mut sums = ["inclusion", "dinclusion", "subset_logp"].map(|field| Line::new(field, precision));
        for case in cases {
            let question = Question::of(case, "ordered")?;
            let answer = each(gpu, case, &question, precision, &mut own)?;
            together(case, &question, answer, precision, &mut sums)?;
        }
        lines.extend(own);
        lines.extend(sums);
    }
    Ok(lines)
}

/// Compares what the operation gives, and returns it.
fn each(
    gpu: &Gpu,
    case: &Case,
    question: &Question,
    precision: Precision,
    lines: &mut [Line; 2],
) -> Result<[Vec<f64>; 2]> {
    let answer = question.answer(gpu, precision).with_context(|| format!("case {}", case.id))?;
    lines[0].compare(case, "logp", &answer[0], |_| precision.of(LOG))?;
    // Some are too many to be listed.
    if case.has("grad") {
        lines[1].compare(case, "grad", &answer[1], |_| precision.of(GRADIENT))?;
    }
    Ok(answer)
}

/// Compares what sums over all selections give.
fn together(
    case: &Case,
    question: &Question,
    [log_p, gradient]: [Vec<f64>; 2],
    precision: Precision,
    lines: &mut [Line; 3],
) -> Result<()> {
    let (n, k, floor) = (question.scores.len(), question.k, precision.floor());
    // What a selection adds to the error of a sum, for each unit of its probability; a gradient has entries up to k.
    let want = case.numbers("logp")?;
    let logarithm = |t: usize| precision.of(LOG).allowed(want[t]);
    let slope = |t: usize| k as f64 * logarithm(t) + precision.of(GRADIENT).allowed(k as f64);

    // Selections with an item, with the sum of f over them.
    let holds = |item: usize| {
        let with = question.selections().enumerate().filter(move |(_, order)| order.contains(&(item as u32)));
        with.map(|(t, _)| t).collect::<Vec<usize>>()
    };
    let items: Vec<Vec<usize>> = (0..n).map(holds).collect();
    let sum = |i: usize, f: &dyn Fn(usize) -> f64| items[i].iter().map(|&t| f(t)).sum::<f64>();
    let rel = F64_RELATIVE;

    let got: Vec<f64> = (0..n).map(|i| sum(i, &|t| log_p[t].exp())).collect();
    let allowed: Vec<f64> = (0..n).map(|i| sum(i, &|t| want[t].exp() * logarithm(t))).collect();
    lines[0].compare(case, "inclusion", &got, |i| Tolerance::new(floor + allowed[i], rel, SUMS))?;

    let got: Vec<f64> = (0..n * n).map(|e| sum(e / n, &|t| log_p[t].exp() * gradient[t * n + e % n])).collect();
    let allowed: Vec<f64> = (0..n).map(|i| sum(i, &|t| want[t].exp() * slope(t))).collect();
    lines[1].compare(case, "dinclusion", &got, |e| Tolerance::new(floor + allowed[e / n], rel, SUMS))?;

    let sorted = |order: &[u32]| {
        let mut order = order.to_vec();
        order.sort_unstable();
        order
    };
    let sets: Vec<Vec<u32>> = question.selections().map(sorted).collect();
    let (mut got, mut allowed) = (Vec::new(), Vec::new());
    for (set, log_sum) in case.whole("subsets")?.chunks(k).zip(case.numbers("subset_logp")?) {
        let set = sorted(set);
        let of_set: Vec<usize> = (0..sets.len()).filter(|&t| sets[t] == set).collect();
        let top = of_set.iter().map(|&t| log_p[t]).fold(f64::NEG_INFINITY, f64::max);
        got.push(top + of_set.iter().map(|&t| (log_p[t] - top).exp()).sum::<f64>().ln());
        allowed.push(of_set.iter().map(|&t| (want[t] - log_sum).exp() * logarithm(t)).sum::<f64>());
    }
    lines[2].compare(case, "subset_logp", &got, |s| Tolerance::new(allowed[s], 0.0, SUMS))
}
