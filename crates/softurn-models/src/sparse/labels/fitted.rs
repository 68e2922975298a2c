//! A fitted model of label sets: scores, probabilities, predictions, and how good they are.

use std::path::Path;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::{Gpu, Key};

use super::network::{Logits, Network};
use super::params::{Count, Loss, Params};
use super::{LabelModel, Shape};
use crate::data::{LabelSets, MultiLabelData};
use crate::metrics::{LabelSetScores, label_set_scores, precision_at};
use crate::{Error, Result, saved};

/// How saved models are told apart.
const METHOD: &str = "sparse_labels";
/// Rows that go through the network at once when nothing is learned.
const BLOCK: usize = 256;
/// Thresholds that are tried: multiples of one over this.
const THRESHOLDS: usize = 1024;
/// A number of labels that is less probable than this in all rows of a block is left out of probabilities of labels.
const NEGLIGIBLE: f32 = 1e-6;

/// What a fitted model is besides its parameters.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    params: Params,
    shape: Shape,
    threshold: Option<f32>,
}

/// A fitted model of label sets.
#[derive(Debug)]
pub struct FittedLabels {
    pub(super) network: Network,
    pub(super) parameters: Parameters,
    pub(super) threshold: Option<f32>,
}

/// How well label sets are predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Scores of the predicted sets; the count error is the mean absolute error of the number of labels.
    pub sets: LabelSetScores,
    /// The share of right ones among the 1, 3 and 5 labels with the highest scores; only as many as there are labels.
    pub precision_at: Vec<(usize, f64)>,
}

/// What is known of some rows.
struct Block {
    /// `[rows, n_labels]`
    scores: Vec<f32>,
    /// Probabilities of the numbers of labels from the least on, `[rows, counts]`; none of independent sigmoids.
    counts: Option<Vec<f32>>,
    /// Probabilities of the labels, `[rows, n_labels]`, where they are asked for.
    probabilities: Vec<f32>,
}

impl FittedLabels {
    /// Predicts the set of labels of each row: so many as `count` says, those with the highest scores. Of equal scores the label that
    /// comes first is taken.
    ///
    /// # Errors
    /// [`Error::Argument`] of `data` when it has another number of features, of `count` for [`Count::Argmax`] of independent
    /// sigmoids, and for [`Count::Threshold`] when no rows were held out of the fit.
    pub fn predict(&self, data: &MultiLabelData, count: Count) -> Result<LabelSets> {
        let rows: Vec<u32> = (0..data.n_rows() as u32).collect();
        let mut sets = Vec::with_capacity(rows.len());
        for rows in rows.chunks(BLOCK) {
            let block = self.block(data, rows, needs_probabilities(self.network.params.loss, count))?;
            sets.extend(self.sets(&block, count)?);
        }
        LabelSets::new(sets, self.network.shape.n_labels)
    }

    /// The score of each label in each row, `[rows, n_labels]`: the logits that decide which labels come first.
    ///
    /// # Errors
    /// As [`FittedLabels::predict`].
    pub fn scores(&self, data: &MultiLabelData) -> Result<Array2<f32>> {
        self.table(data, false, |block| block.scores)
    }

    /// The probability of each label to be in the set of a row, `[rows, n_labels]`, over all numbers of labels: with [`Loss::Exact`]
    /// that of the law of sets; with [`Loss::Factored`] and [`Loss::Relaxed`] the relaxed mask without noise at temperature 1, which is
    /// the successive choice by expected shares.
    ///
    /// # Errors
    /// As [`FittedLabels::predict`].
    pub fn probabilities(&self, data: &MultiLabelData) -> Result<Array2<f32>> {
        self.table(data, true, |block| block.probabilities)
    }

    /// The probability that [`Count::Threshold`] asks for, where rows were held out of the fit.
    pub fn threshold(&self) -> Option<f32> {
        self.threshold
    }

    /// The highest number of labels that the model predicts.
    pub fn bound(&self) -> usize {
        self.network.shape.bound
    }

    /// Predicts and scores rows, in memory that does not grow with them.
    ///
    /// # Errors
    /// As [`FittedLabels::predict`], and [`Error::Argument`] of `data` when it is of another number of labels.
    pub fn evaluate(&self, data: &MultiLabelData, count: Count) -> Result<Evaluation> {
        let n_labels = self.network.shape.n_labels;
        if data.labels().n_labels() != n_labels {
            let message = format!("of {} labels, the model of {n_labels}", data.labels().n_labels());
            return Err(Error::argument("data", message));
        }
        let ranks: Vec<usize> = [1, 3, 5].into_iter().filter(|&k| k <= n_labels).collect();
        let mut precision = vec![0.0; ranks.len()];
        let mut predicted = Vec::with_capacity(data.n_rows());
        let rows: Vec<u32> = (0..data.n_rows() as u32).collect();
        for rows in rows.chunks(BLOCK) {
            let block = self.block(data, rows, needs_probabilities(self.network.params.loss, count))?;
            predicted.extend(self.sets(&block, count)?);
            let truth = LabelSets::new(rows.iter().map(|&row| data.labels().row(row as usize)), n_labels)?;
            let scores = ArrayView2::from_shape((rows.len(), n_labels), &block.scores)
                .map_err(|error| Error::argument("data", error.to_string()))?;
            for (sum, &k) in precision.iter_mut().zip(&ranks) {
                *sum += rows.len() as f64 * precision_at(scores, &truth, k)?;
            }
        }
        let rows = data.n_rows() as f64;
        Ok(Evaluation {
            sets: label_set_scores(&LabelSets::new(predicted, n_labels)?, data.labels())?,
            precision_at: ranks.into_iter().zip(precision).map(|(k, sum)| (k, sum / rows)).collect(),
        })
    }

    /// Writes the model, as a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut file = saved::Writer::default();
        file.parameters(&self.parameters)?;
        let Network { params, shape, .. } = &self.network;
        let settings = Settings { params: params.clone(), shape: shape.clone(), threshold: self.threshold };
        file.write(path, METHOD, &settings)
    }

    /// Reads a model that [`FittedLabels::save`] wrote: on the same adapter, it computes the same bits.
    ///
    /// # Errors
    /// When the file is missing, broken, or of another method; the message names it.
    pub fn load(gpu: &Gpu, path: &Path) -> Result<Self> {
        let (file, Settings { params, shape, threshold }): (_, Settings) = saved::Reader::open(path, METHOD)?;
        let LabelModel { params } = params.check().map_err(|error| file.fail(error))?;
        let scaled = shape.scales.is_empty() || shape.scales.len() == shape.n_features;
        if !scaled || shape.least > 1 || shape.bound == 0 || shape.bound > shape.n_labels || shape.n_features == 0 {
            return Err(file.fail("its sizes do not fit together"));
        }
        let mut parameters = Parameters::new(gpu);
        let network = Network::new(&params, shape, &mut parameters, Key::new(0))?;
        file.parameters(&mut parameters)?;
        Ok(Self { network, parameters, threshold })
    }

    /// Chooses the threshold with the best micro-F1 on some rows; of equal ones the highest.
    pub(super) fn choose_threshold(&mut self, data: &MultiLabelData, rows: &[u32]) -> Result<()> {
        // Labels by probability: all of them, and those that are right.
        let mut found = vec![[0u64; 2]; THRESHOLDS + 1];
        let Shape { n_labels, least, .. } = self.network.shape;
        for rows in rows.chunks(BLOCK) {
            let block = self.block(data, rows, true)?;
            let of_rows = block.scores.chunks_exact(n_labels).zip(block.probabilities.chunks_exact(n_labels));
            for (row, (scores, probabilities)) in rows.iter().zip(of_rows) {
                let truth = data.labels().row(*row as usize);
                // Without a zero class the first label is in every set, whatever the threshold.
                let always = highest(scores, least);
                for (label, &probability) in probabilities.iter().enumerate() {
                    let bin = match always.contains(&(label as u32)) {
                        true => THRESHOLDS,
                        false => ((probability * THRESHOLDS as f32) as usize).min(THRESHOLDS),
                    };
                    found[bin][0] += 1;
                    found[bin][1] += u64::from(truth.binary_search(&(label as u32)).is_ok());
                }
            }
        }
        let all: u64 = found.iter().map(|[_, right]| right).sum();
        let (mut best, mut predicted, mut right) = ((0.0, THRESHOLDS), 0, 0);
        for bin in (1..=THRESHOLDS).rev() {
            predicted += found[bin][0];
            right += found[bin][1];
            let f1 = 2.0 * right as f64 / (predicted + all).max(1) as f64;
            if f1 > best.0 {
                best = (f1, bin);
            }
        }
        self.threshold = Some(best.1 as f32 / THRESHOLDS as f32);
        Ok(())
    }

    fn table(&self, data: &MultiLabelData, probabilities: bool, of: impl Fn(Block) -> Vec<f32>) -> Result<Array2<f32>> {
        let rows: Vec<u32> = (0..data.n_rows() as u32).collect();
        let mut values = Vec::with_capacity(rows.len() * self.network.shape.n_labels);
        for rows in rows.chunks(BLOCK) {
            values.extend(of(self.block(data, rows, probabilities)?));
        }
        Array2::from_shape_vec((rows.len(), self.network.shape.n_labels), values)
            .map_err(|error| Error::argument("data", error.to_string()))
    }

    fn block(&self, data: &MultiLabelData, rows: &[u32], probabilities: bool) -> Result<Block> {
        let Network { shape, params, .. } = &self.network;
        if data.n_features() != shape.n_features {
            let message = format!("has {} features, the model {}", data.n_features(), shape.n_features);
            return Err(Error::argument("data", message));
        }
        let gpu = self.parameters.gpu();
        let tape = Tape::new(gpu);
        let features = self.network.features(gpu, data, rows)?;
        let Logits { labels, counts } = self.network.logits(&tape, &self.parameters, &features, None)?;
        let (labels, counts) = (labels.detach(), counts.map(|counts| counts.detach()));
        let of_counts = match &counts {
            Some(counts) => Some(counts.softmax(1.0)?.read()?),
            None => None,
        };
        let probabilities = match (&counts, &of_counts) {
            _ if !probabilities => Vec::new(),
            (Some(_), Some(of_counts)) if params.loss == Loss::Exact => {
                self.exact_probabilities(&labels, of_counts, rows.len())?
            }
            (Some(counts), _) => labels.nested_subset(counts, shape.least, [1.0; 2], None)?.read()?,
            (None, _) => labels.sigmoid()?.read()?,
        };
        Ok(Block { scores: labels.read()?, counts: of_counts, probabilities })
    }

    /// `Σ_m P(m) P(k in S | |S| = m)`.
    fn exact_probabilities(&self, labels: &Var<'_>, counts: &[f32], rows: usize) -> Result<Vec<f32>> {
        let (tape, gpu) = (labels.tape(), labels.tape().gpu());
        let (least, classes) = (self.network.shape.least, counts.len() / rows);
        let mut sum = tape.constant(&gpu.zeros(labels.shape().clone())?);
        for number in least.max(1)..least + classes {
            let shares: Vec<f32> = counts.chunks_exact(classes).map(|row| row[number - least]).collect();
            if shares.iter().any(|&share| share > NEGLIGIBLE) {
                let shares = tape.constant(&gpu.tensor(&shares, [rows, 1])?);
                let [marginals, _] = labels.subset_marginals(number)?;
                sum = (sum + (marginals * shares)?)?;
            }
        }
        Ok(sum.read()?)
    }

    /// The sets of a block.
    fn sets(&self, block: &Block, count: Count) -> Result<Vec<Vec<u32>>> {
        let shape = &self.network.shape;
        let rows = block.scores.chunks_exact(shape.n_labels);
        let sizes: Vec<usize> = match (count, &block.counts) {
            (Count::Argmax, Some(counts)) => {
                let width = counts.len() / rows.len();
                counts.chunks_exact(width).map(|row| shape.least + first_largest(row)).collect()
            }
            (Count::Argmax, None) => {
                return Err(Error::argument(
                    "count",
                    "independent sigmoids know no probabilities of numbers of labels",
                ));
            }
            (Count::Mean, Some(counts)) => {
                let width = counts.len() / rows.len();
                let mean =
                    |row: &[f32]| row.iter().zip(shape.least..).map(|(p, number)| p * number as f32).sum::<f32>();
                counts.chunks_exact(width).map(|row| mean(row).round() as usize).collect()
            }
            (Count::Mean, None) => {
                let rows = block.probabilities.chunks_exact(shape.n_labels);
                rows.map(|row| row.iter().sum::<f32>().round() as usize).collect()
            }
            (Count::Fixed, _) => vec![shape.mean_count.round() as usize; rows.len()],
            (Count::Threshold, _) => {
                let Some(threshold) = self.threshold else {
                    return Err(Error::argument("count", "no rows were held out of the fit to choose a threshold by"));
                };
                let rows = block.probabilities.chunks_exact(shape.n_labels);
                let above = |row: &[f32]| row.iter().filter(|&&probability| probability >= threshold).count();
                rows.map(|row| above(row).max(shape.least)).collect()
            }
        };
        // Sigmoids are under no bound.
        let most = if block.counts.is_some() { shape.bound } else { shape.n_labels };
        Ok(rows.zip(sizes).map(|(scores, size)| highest(scores, size.min(most))).collect())
    }
}

/// Whether the number of labels depends on the probabilities of labels.
fn needs_probabilities(loss: Loss, count: Count) -> bool {
    count == Count::Threshold || (count == Count::Mean && loss == Loss::Sigmoids)
}

fn first_largest(values: &[f32]) -> usize {
    (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0)
}

/// The labels of the `size` highest scores, of equal ones the first.
fn highest(scores: &[f32], size: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    if (1..order.len()).contains(&size) {
        let score = |label: u32| scores[label as usize];
        order.select_nth_unstable_by(size - 1, |&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
    }
    order.truncate(size);
    order
}
