//! `random_partition/1`: partitions of `n_items` by `scores` into `n_groups` of weights `exp(log_omega)`: the log-probability
//! of each of `assignment` and of its likeliest order, and of the sizes in `log_n`.

use anyhow::{Context as _, Result};
use softurn_autodiff::Tape;
use softurn_kernels::Gpu;
use softurn_kernels::ops::fisher_hypergeometric::cpu::Law;
use softurn_kernels::ops::plackett_luce;
use softurn_models::distributions::{RandomPartition, log_prob_of_groups};
use softurn_tests::Tolerance;

use crate::case::{Case, wide};
use crate::line::{F64_RELATIVE, Line, Precision};

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for precision in Precision::BOTH {
        let [mut log_p, mut order] = ["logp", "log_max_single_perm"].map(|field| Line::new(field, precision));
        for case in cases {
            let partitions = Partitions::of(case)?;
            let got = match precision {
                Precision::F64 => partitions.twin(),
                Precision::F32 => partitions.kernel(gpu).with_context(|| format!("case {}", case.id))?,
            };
            let tolerance = match precision {
                Precision::F64 => Tolerance::new(1e-14, F64_RELATIVE, "the promise of the golden data"),
                Precision::F32 => Tolerance::new(1.2e-5, 2e-6, "that of log-probabilities"),
            };
            log_p.compare(case, "logp", &got[0], |_| tolerance)?;
            order.compare(case, "log_max_single_perm", &got[1], |_| tolerance)?;
        }
        lines.extend([log_p, order]);
    }
    Ok(lines)
}

struct Partitions {
    log_weights: Vec<f32>,
    scores: Vec<f32>,
    /// Of each partition, the group of each item.
    labels: Vec<u32>,
}

impl Partitions {
    fn of(case: &Case) -> Result<Self> {
        let [log_weights, scores] = [case.inputs("log_omega")?, case.inputs("scores")?];
        Ok(Self { log_weights, scores, labels: case.whole("assignment")? })
    }

    fn counts(&self, labels: &[u32]) -> Vec<u32> {
        (0..self.log_weights.len() as u32).map(|k| labels.iter().filter(|l| **l == k).count() as u32).collect()
    }

    fn twin(&self) -> [Vec<f64>; 2] {
        let (n, groups) = (self.scores.len(), self.log_weights.len());
        let (weights, scores, sizes) = (wide(&self.log_weights), wide(&self.scores), vec![n as u32; groups]);
        let law = Law { sizes: &sizes, draws: n as u32, log_weights: &weights };
        let (mut log_p, mut best) = (Vec::new(), Vec::new());
        for labels in self.labels.chunks(n) {
            let of_sizes = law.log_prob(&self.counts(labels));
            let places: Vec<usize> = labels.iter().map(|&l| l as usize).collect();
            log_p.push(of_sizes + log_prob_of_groups(&scores, &places, groups));
            let mut order: Vec<u32> = (0..n as u32).collect();
            order.sort_by(|&a, &b| {
                let [a, b] = [a as usize, b as usize];
                labels[a].cmp(&labels[b]).then(scores[b].total_cmp(&scores[a]))
            });
            best.push(of_sizes + plackett_luce::cpu::forward(&scores, &order, n, n)[0]);
        }
        [log_p, best]
    }

    fn kernel(&self, gpu: &Gpu) -> Result<[Vec<f64>; 2]> {
        let (n, rows) = (self.scores.len(), self.labels.len() / self.scores.len());
        let tape = Tape::new(gpu);
        let log_weights = tape.constant(&gpu.tensor(&self.log_weights, [1, self.log_weights.len()])?);
        let scores = tape.constant(&gpu.tensor(&self.scores.repeat(rows), [rows, n])?);
        let law = RandomPartition::new(log_weights, scores)?;
        let labels = gpu.tensor(&self.labels, [rows, n])?;
        Ok([law.log_prob(&labels)?, wide(&law.log_prob_bounds(&labels)?.lower.read()?)])
    }
}
