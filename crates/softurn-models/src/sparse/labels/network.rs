//! The network: features to hidden values, from these the logits of the number of labels and of the labels; and its losses.

use std::collections::BTreeMap;

use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::ops::random;
use softurn_kernels::{Gpu, Key, Tensor};

use super::Shape;
use super::params::{Loss, Params};
use crate::Result;
use crate::data::{LabelSets, MultiLabelData, expanded};
use crate::nn::Linear;
use crate::train::{Batch, Losses, Objective, Phase};

/// What makes a uniform number a 0 or a 1.
const STEEP: f32 = 1e9;
/// Probabilities stay this far from 0 and 1 where their logarithms are taken.
const CLIP: f32 = 1e-6;

/// Layers, and how features are scaled.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) params: Params,
    pub(super) shape: Shape,
    trunk: Vec<Linear>,
    /// None for independent sigmoids.
    counts: Option<Linear>,
    labels: Linear,
}

/// Logits of the labels `[rows, n_labels]`, and of the counts `least ..= bound`.
pub(super) struct Logits<'t> {
    pub(super) labels: Var<'t>,
    pub(super) counts: Option<Var<'t>>,
}

impl Network {
    pub(super) fn new(params: &Params, shape: Shape, parameters: &mut Parameters, key: Key) -> Result<Self> {
        let [trunk_key, labels_key, counts_key] = key.split();
        let mut inputs = shape.n_features;
        let mut trunk = Vec::with_capacity(params.hidden.len());
        for (i, &width) in params.hidden.iter().enumerate() {
            let bound = (6.0 / inputs as f32).sqrt();
            let (name, sizes) = (format!("trunk.{i}"), [inputs, width]);
            trunk.push(Linear::new(parameters, &name, sizes, bound, 0.0, Activation::Relu, trunk_key.child(i as u64))?);
            inputs = width;
        }
        // A tenth of the usual, so that the biases decide at first.
        let mut head = |name: &str, outputs: usize, key: Key| {
            let bound = 0.1 * (6.0 / (inputs + outputs) as f32).sqrt();
            Linear::new(parameters, name, [inputs, outputs], bound, 0.0, Activation::None, key)
        };
        let labels = head("labels", shape.n_labels, labels_key)?;
        let counts = match params.loss {
            Loss::Sigmoids => None,
            Loss::Factored | Loss::Relaxed | Loss::Exact => {
                Some(head("counts", shape.bound + 1 - shape.least, counts_key)?)
            }
        };
        Ok(Self { params: params.clone(), shape, trunk, counts, labels })
    }

    /// Lets the biases say how frequent each label and each number of labels is.
    pub(super) fn set_biases(&self, parameters: &mut Parameters, labels: &LabelSets) -> Result<()> {
        let rows = labels.n_rows() as f32;
        let mut frequencies = vec![0.5; labels.n_labels()];
        labels.rows().flatten().for_each(|&label| frequencies[label as usize] += 1.0);
        let logits: Vec<f32> = frequencies.iter().map(|&count: &f32| (count / (rows + 1.0 - count)).ln()).collect();
        parameters.set(self.labels.bias(), &logits)?;
        if let Some(counts) = &self.counts {
            let mut numbers = vec![0.5; self.shape.bound + 1 - self.shape.least];
            labels.rows().for_each(|set| numbers[set.len().min(self.shape.bound) - self.shape.least] += 1.0);
            let logits: Vec<f32> = numbers.iter().map(|&count: &f32| (count / rows).ln()).collect();
            parameters.set(counts.bias(), &logits)?;
        }
        Ok(())
    }

    /// The scaled features of some rows, `[rows.len(), n_features]`.
    pub(super) fn features(&self, gpu: &Gpu, data: &MultiLabelData, rows: &[u32]) -> Result<Tensor> {
        let mut values = data.expand(rows);
        if !self.shape.scales.is_empty() {
            for row in values.chunks_exact_mut(self.shape.n_features) {
                for (value, [mean, scale]) in row.iter_mut().zip(&self.shape.scales) {
                    *value = ((f64::from(*value) - mean) * scale) as f32;
                }
            }
        }
        Ok(gpu.tensor(&values, [rows.len(), self.shape.n_features])?)
    }

    /// The logits of rows, with some hidden values left out where there is a key.
    pub(super) fn logits<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        features: &Tensor,
        key: Option<Key>,
    ) -> Result<Logits<'t>> {
        let mut x = tape.constant(features);
        for (i, layer) in self.trunk.iter().enumerate() {
            x = layer.forward(tape, parameters, &x, false)?;
            if let Some(key) = key.filter(|_| self.params.dropout > 0.0) {
                let shares = random::uniform(tape.gpu(), x.shape().clone(), key.child(i as u64))?;
                x = (x * kept(tape, &shares, self.params.dropout)?)?;
            }
        }
        Ok(Logits {
            labels: self.labels.forward(tape, parameters, &x, false)?,
            counts: self.counts.as_ref().map(|head| head.forward(tape, parameters, &x, false)).transpose()?,
        })
    }
}

/// From uniform numbers: 0 for a share of them, what keeps the mean for the others.
fn kept<'t>(tape: &'t Tape, uniform: &Tensor, dropout: f32) -> Result<Var<'t>> {
    Ok(tape.constant(uniform).affine(STEEP, -STEEP * dropout)?.clamp(0.0, 1.0 / (1.0 - dropout))?)
}

/// Learning from all rows of data.
pub(super) struct Training<'a> {
    pub(super) network: &'a Network,
    pub(super) data: &'a MultiLabelData,
}

impl Objective for Training<'_> {
    fn phases(&self) -> Vec<Phase> {
        let Params { epochs, learning_rate, .. } = self.network.params;
        vec![Phase { name: "train", epochs, learning_rate, warm_up: 0 }]
    }

    fn losses<'t>(
        &self,
        _: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        let rows = &batch.rows;
        let [dropout, draw] = key.split();
        let features = self.network.features(tape.gpu(), self.data, rows)?;
        let logits = self.network.logits(tape, parameters, &features, Some(dropout))?;
        losses(&self.network.params, self.network.shape.least, &logits, self.data.labels(), rows, draw)
    }
}

/// The mean losses over some rows of label sets: what is minimised, and where there is a number of labels its part and that of the sets.
pub(super) fn losses<'t>(
    params: &Params,
    least: usize,
    logits: &Logits<'t>,
    sets: &LabelSets,
    rows: &[u32],
    key: Key,
) -> Result<Losses<'t>> {
    let Logits { labels, counts } = logits;
    let gpu = labels.tape().gpu();
    let targets = gpu.tensor(&expanded(sets, rows), labels.shape().clone())?;
    let Some(counts) = counts else {
        return Ok(vec![("loss", labels.bernoulli_loss(&targets)?.mean()?)]);
    };
    let sizes: Vec<usize> = rows.iter().map(|&row| sets.row(row as usize).len()).collect();
    let of_sets = match params.loss {
        Loss::Factored => factored(labels, &targets, &sizes)?,
        Loss::Relaxed => {
            let mask = labels.nested_subset(counts, least, params.temperatures, Some(key))?;
            relaxed(&mask, &targets)?
        }
        Loss::Exact | Loss::Sigmoids => exact(labels, &targets, &sizes)?,
    };
    let classes = counts.shape().rows_cols().1;
    let mut numbers = vec![0.0; rows.len() * classes];
    for (size, number) in sizes.iter().zip(numbers.chunks_exact_mut(classes)) {
        number[(size - least).min(classes - 1)] = 1.0;
    }
    let of_counts = counts.cross_entropy(&gpu.tensor(&numbers, counts.shape().clone())?)?.mean()?;
    Ok(vec![("loss", (&of_sets + &of_counts)?), ("sets", of_sets), ("counts", of_counts)])
}

/// `-1/|S| Σ_{k in S} log softmax(α)_k`, 0 for an empty set, mean over rows.
pub(super) fn factored<'t>(labels: &Var<'t>, targets: &Tensor, sizes: &[usize]) -> Result<Var<'t>> {
    let tape = labels.tape();
    let shares: Vec<f32> = sizes.iter().map(|&size| 1.0 / size.max(1) as f32).collect();
    let shares = tape.constant(&tape.gpu().tensor(&shares, [sizes.len(), 1])?);
    let targets = (tape.constant(targets) * shares)?;
    Ok(labels.cross_entropy(targets.value())?.mean()?)
}

/// `-Σ_k y_k log m_k + (1 - y_k) log(1 - m_k)` of a relaxed mask, mean over rows.
pub(super) fn relaxed<'t>(mask: &Var<'t>, targets: &Tensor) -> Result<Var<'t>> {
    let tape = mask.tape();
    let targets = tape.constant(targets);
    // Of a 1 the mask, of a 0 what is left: clipped as it stands, since f32 is coarse near 1.
    let right = ((1.0 - &targets)? + (((targets * 2.0)? - 1.0)? * mask)?)?;
    Ok((right.clamp(CLIP, 1.0 - CLIP)?.log()?.sum_cols()? * -1.0)?.mean()?)
}

/// `ln e_{|S|}(e^α) - Σ_{k in S} α_k`, mean over rows. Rows of one size go through the law together.
pub(super) fn exact<'t>(labels: &Var<'t>, targets: &Tensor, sizes: &[usize]) -> Result<Var<'t>> {
    let tape = labels.tape();
    let mut by_size: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (row, &size) in sizes.iter().enumerate().filter(|(_, size)| **size > 0) {
        by_size.entry(size).or_default().push(row as u32);
    }
    let mut total = ((labels * tape.constant(targets))?.sum()? * -1.0)?;
    for (size, rows) in by_size {
        let of_size = labels.gather(&tape.gpu().tensor(&rows, [rows.len()])?)?;
        let [_, log_sum] = of_size.subset_marginals(size)?;
        total = (total + log_sum.sum()?)?;
    }
    Ok((total * (1.0 / sizes.len() as f32))?)
}
