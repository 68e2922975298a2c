//! The training of networks, one per start, their losses, and the objective that ranks them.

use ndarray::{Array2, ArrayView1};
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::fisher_hypergeometric::Urn;
use softurn_kernels::ops::self_label::{self, SelfLabels};
use softurn_kernels::ops::{gather, one_hot, reduce, softmax};
use softurn_kernels::{Gpu, Key, Tensor};

use super::network::Network;
use super::{GroupSizes, Loss, Params, Score};
use crate::clustering::contrast::Contrast;
use crate::clustering::network::Layers;
use crate::clustering::start;
use crate::clustering::tally::{group_sizes, inner_share, log_odds, sureness};
use crate::data::ImageShape;
use crate::distributions::MultivariateFisherHypergeometric;
use crate::train::{Batch, Losses, Objective, Phase, Rows};
use crate::{Error, Result};

/// What the phases of each start are called.
pub(super) const STARTS: [[&str; 2]; 10] = [
    ["contrast 1", "start 1"],
    ["contrast 2", "start 2"],
    ["contrast 3", "start 3"],
    ["contrast 4", "start 4"],
    ["contrast 5", "start 5"],
    ["contrast 6", "start 6"],
    ["contrast 7", "start 7"],
    ["contrast 8", "start 8"],
    ["contrast 9", "start 9"],
    ["contrast 10", "start 10"],
];
/// Rows that the first groups are looked for among, at most.
const START_ROWS: usize = 10_000;
/// By how much, on average, the first logits of a group's centre prefer it to another group: sure, and not so sure that weights
/// would have far to come back, which the margin term and the learning rate would not let them.
const START_MARGIN: f64 = 4.0;
/// Rows of a batch whose groups are counted for the law of the sizes, at most.
pub(super) const SIZE_ROWS: usize = 256;
/// By how much a step moves the log-weights of the sizes at the highest learning rate.
const SIZE_STEP: f32 = 0.02;
/// How far learned shares are moved towards even ones before labels are held to them. Without, a group that has most of the
/// rows early takes the others: sizes follow predictions, and predictions sizes. On toys and digits 0.1 was too little.
const EVENNESS: f32 = 0.3;
/// Expectation maximisation ends when no label changes by as much, or after so many iterations.
const TOLERANCE: f32 = 1e-3;
const ITERATIONS: u32 = 50;
/// Those of the collision loss take Newton steps of their own.
const COLLISION_ITERATIONS: u32 = 10;

/// The data that networks are trained on, and one network for each start.
#[derive(Debug)]
pub(super) struct Model {
    params: Params,
    layers: Layers,
    rows: Rows,
    row_count: usize,
    /// What a network is pretrained by.
    contrast: Option<Contrast>,
    batch: usize,
    networks: Vec<Network>,
    /// The log-weights of each start's group sizes, `[1, k]`.
    weights: Vec<Param>,
    /// Shares of the groups where they are not learned.
    shares: Tensor,
    urn: Urn,
    /// The first rows of a batch.
    counted: Tensor,
}

/// What a phase trains, and of which start.
enum Stage {
    /// An encoder, by the contrast.
    Contrast(usize),
    /// Everything.
    Cluster(usize),
}

impl Model {
    pub(super) fn new(
        gpu: &Gpu,
        params: &Params,
        features: &Array2<f32>,
        image: Option<ImageShape>,
        parameters: &mut Parameters,
        key: Key,
    ) -> Result<Self> {
        let k = params.k;
        let layers = Layers::new(features.ncols(), image, &params.channels, &params.hidden);
        let centre = match image {
            Some(_) if params.is_linear() => Some(gpu.tensor(&column_means(features), [1, features.ncols()])?),
            _ => None,
        };
        let (mut networks, mut weights) = (Vec::new(), Vec::new());
        for (start, key) in key.split_forever().take(params.starts).enumerate() {
            let prefix = format!("{start}.");
            networks.push(Network::new(parameters, &prefix, params, &layers, centre.clone(), key)?);
            weights.push(parameters.zeros(format!("{prefix}sizes.log_weights"), [1, k])?);
        }
        let shares = match &params.sizes {
            GroupSizes::Given(shares) => shares.clone(),
            GroupSizes::Uniform | GroupSizes::Learned => vec![1.0 / k as f32; k],
        };
        let batch = params.resolved_batch(features.nrows());
        let counted = batch.min(SIZE_ROWS) as u32;
        let first: Vec<u32> = (0..counted).collect();
        Ok(Self {
            contrast: match params.is_linear() {
                true => None,
                false => Some(Contrast::new(gpu, features, params.neighbours, batch)?),
            },
            rows: Rows::new(gpu, features)?,
            row_count: features.nrows(),
            batch,
            networks,
            weights,
            shares: gpu.tensor(&shares, [k])?,
            urn: Urn::new(gpu, &vec![counted; k], counted)?,
            counted: gpu.tensor(&first, [first.len()])?,
            params: params.clone(),
            layers,
        })
    }

    pub(super) fn network(&self, start: usize) -> &Network {
        &self.networks[start]
    }

    fn stage(&self, phase: usize) -> Stage {
        match self.contrast {
            None => Stage::Cluster(phase),
            Some(_) if phase.is_multiple_of(2) => Stage::Contrast(phase / 2),
            Some(_) => Stage::Cluster(phase / 2),
        }
    }

    /// The last layer, and sizes that are learned, from groups of what that layer sees.
    fn set_groups(&self, parameters: &mut Parameters, start: usize, key: Key) -> Result<()> {
        let (gpu, network, k) = (parameters.gpu().clone(), &self.networks[start], self.params.k);
        let rows: Vec<u32> = (0..self.row_count as u32).step_by(self.row_count.div_ceil(START_ROWS)).collect();
        let mut seen = Vec::new();
        for rows in rows.chunks(self.layers.block()) {
            let batch = Batch { rows: rows.to_vec(), index: gpu.tensor(rows, [rows.len()])?, done: 1.0 };
            seen.extend(network.hidden_of(parameters, &self.rows.batch(&batch)?)?.read()?);
        }
        let points = Array2::from_shape_vec((rows.len(), seen.len() / rows.len()), seen)
            .map_err(|error| Error::argument("data", error.to_string()))?;
        let labels = start::groups(&gpu, &points, k, self.params.start, key)?;
        let sizes = group_sizes(&labels, k);
        let mut centres = Array2::<f64>::zeros((k, points.ncols()));
        for (point, &label) in points.outer_iter().zip(&labels) {
            let size = sizes[label as usize] as f64;
            centres.row_mut(label as usize).zip_mut_with(&point, |centre, &x| *centre += f64::from(x) / size);
        }
        let taken: Vec<usize> = (0..k).filter(|&group| sizes[group] > 0).collect();
        let apart = taken.iter().flat_map(|&a| taken.iter().map(move |&b| (a, b))).filter(|(a, b)| a < b);
        let apart: Vec<f64> = apart.map(|(a, b)| (&centres.row(a) - &centres.row(b)).mapv(|x| x * x).sum()).collect();
        let mean = apart.iter().sum::<f64>() / apart.len().max(1) as f64;
        let variance = if mean > 0.0 { mean / (2.0 * START_MARGIN) } else { 1.0 };
        // log N(x; μ, v) = x · μ / v - ‖μ‖² / 2v, but for what all groups share.
        let weight: Vec<f32> = centres.t().iter().map(|&centre| (centre / variance) as f32).collect();
        let bias = |centre: ArrayView1<'_, f64>| (-0.5 * centre.dot(&centre) / variance) as f32;
        parameters.set(network.head().weight(), &weight)?;
        parameters.set(network.head().bias(), &centres.outer_iter().map(bias).collect::<Vec<_>>())?;
        let weight = |&size: &usize| log_odds(inner_share(size, rows.len())) / self.size_scale();
        parameters.set(&self.weights[start], &sizes.iter().map(weight).collect::<Vec<_>>())?;
        Ok(())
    }

    /// What the stored log-weights of the sizes are multiplied by.
    fn size_scale(&self) -> f32 {
        SIZE_STEP / self.params.resolved_rate()
    }

    fn learns_sizes(&self) -> bool {
        self.params.sizes == GroupSizes::Learned
    }

    /// The law of the sizes; its log-weights are stored so that Adam moves them as fast whatever the learning rate.
    fn law<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        start: usize,
    ) -> Result<MultivariateFisherHypergeometric<'t>> {
        let weights = tape.param(parameters, &self.weights[start])?.affine(self.size_scale(), 0.0)?;
        MultivariateFisherHypergeometric::with_urn(weights, &self.urn)
    }

    /// The mean shares of the groups by the law, `[k]`.
    fn mean_shares<'t>(&self, tape: &'t Tape, law: &MultivariateFisherHypergeometric<'_>) -> Result<Var<'t>> {
        let mean = tape.constant(&law.mean()?.reshape([self.params.k])?);
        Ok(mean.affine(1.0 / self.urn.draws(0) as f32, 0.0)?)
    }

    /// `u`, `[k]`, which labels are held to: of a learned law its mean shares, a part of the way to even ones.
    fn target(&self, tape: &Tape, law: Option<&MultivariateFisherHypergeometric<'_>>) -> Result<Tensor> {
        let Some(law) = law else { return Ok(self.shares.clone()) };
        let towards_even = self.mean_shares(tape, law)?.affine(1.0 - EVENNESS, EVENNESS / self.params.k as f32)?;
        Ok(towards_even.value().clone())
    }

    /// Equal, given or learned shares of the groups.
    pub(super) fn proportions(&self, parameters: &Parameters, start: usize) -> Result<Vec<f32>> {
        if !self.learns_sizes() {
            return Ok(self.shares.read()?);
        }
        let tape = Tape::new(parameters.gpu());
        let law = self.law(&tape, parameters, start)?;
        Ok(self.mean_shares(&tape, &law)?.value().read()?)
    }

    fn settings(&self, loss: self_label::Loss) -> self_label::Settings {
        let iterations = if loss == self_label::Loss::Collision { COLLISION_ITERATIONS } else { ITERATIONS };
        self_label::Settings { loss, lambda: self.params.resolved_lambda(), iterations, tolerance: TOLERANCE }
    }

    fn label_loss(&self) -> Option<self_label::Loss> {
        match self.params.loss {
            Loss::MutualInformation => None,
            Loss::SelfLabel => Some(self_label::Loss::ReverseCrossEntropy),
            Loss::Collision => Some(self_label::Loss::Collision),
        }
    }

    /// How unsure the predictions are or how far from the labels, and `λ` times the divergence of the group sizes.
    fn agreement_and_fairness<'t>(
        &self,
        tape: &'t Tape,
        logits: &Var<'t>,
        shares: &Tensor,
    ) -> Result<(Var<'t>, Var<'t>)> {
        let gpu = tape.gpu();
        let divergence = |a: &Var<'t>, b: &Var<'t>| -> Result<Var<'t>> {
            let a = a.affine(1.0, 1e-12)?;
            let ratio = (a.log()? - &b.affine(1.0, 1e-12)?.log()?)?;
            Ok((&a * &ratio)?.sum()?.affine(self.params.resolved_lambda(), 0.0)?)
        };
        let u = tape.constant(shares);
        match self.label_loss() {
            None => {
                let log = logits.log_softmax(1.0)?;
                let sigma = log.exp()?;
                let entropy = (&sigma * &log)?.sum_cols()?.mean()?.affine(-1.0, 0.0)?;
                Ok((entropy, divergence(&sigma.mean_rows()?, &u)?))
            }
            Some(loss) => {
                let sigma = softmax::forward(gpu, logits.value(), 1.0)?;
                let SelfLabels { labels, means, .. } = self_label::forward(gpu, &sigma, shares, &self.settings(loss))?;
                let agreement = logits.label_loss(loss, &labels)?.mean()?;
                Ok((agreement, divergence(&u, &tape.constant(&means))?))
            }
        }
    }

    /// `γ ‖V‖²` of the last layer.
    fn margin<'t>(&self, tape: &'t Tape, parameters: &Parameters, start: usize) -> Result<Var<'t>> {
        let weight = tape.param(parameters, self.networks[start].head_weight())?;
        Ok(weight.square()?.sum()?.affine(self.params.gamma, 0.0)?)
    }

    /// The objective of a start on all rows.
    pub(super) fn score(&self, parameters: &Parameters, start: usize) -> Result<Score> {
        let gpu = parameters.gpu();
        let mut logits = Vec::with_capacity(self.row_count * self.params.k);
        for block in self.rows.blocks(self.layers.block()) {
            logits.extend(self.networks[start].logits_of(parameters, &block?)?.read()?);
        }
        let tape = Tape::new(gpu);
        let logits = tape.constant(&gpu.tensor(&logits, [self.row_count, self.params.k])?);
        let law = if self.learns_sizes() { Some(self.law(&tape, parameters, start)?) } else { None };
        let target = self.target(&tape, law.as_ref())?;
        let (agreement, fairness) = self.agreement_and_fairness(&tape, &logits, &target)?;
        let entropy: f64 = target.read()?.iter().map(|&u| -f64::from(u) * f64::from(u).ln()).sum();
        Ok(Score {
            agreement: f64::from(agreement.item()?),
            fairness: f64::from(fairness.item()?),
            entropy,
            margin: f64::from(self.margin(&tape, parameters, start)?.item()?),
        })
    }

    /// The most likely groups of the rows of the fit.
    pub(super) fn labels(&self, parameters: &Parameters, start: usize) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(self.row_count);
        for block in self.rows.blocks(self.layers.block()) {
            let logits = self.networks[start].logits_of(parameters, &block?)?;
            labels.extend(reduce::argmax(logits.gpu(), &logits)?.read_u32()?);
        }
        Ok(labels)
    }

    pub(super) fn starts(&self) -> usize {
        self.networks.len()
    }

    /// `-log P` of the group sizes among the first rows of a batch, per row: it moves the law of the sizes only.
    fn size_loss<'t>(&self, law: &MultivariateFisherHypergeometric<'t>, logits: &Tensor) -> Result<Var<'t>> {
        let gpu = logits.gpu();
        let counted =
            if self.counted.len() < self.batch { gather::forward(gpu, logits, &self.counted)? } else { logits.clone() };
        let groups = one_hot::forward(gpu, &reduce::argmax(gpu, &counted)?, self.params.k)?;
        let counts = reduce::over_rows(gpu, reduce::Reduction::Sum, &groups)?.reshape([1, self.params.k])?;
        Ok(law.log_prob(&counts)?.mean()?.affine(-1.0 / self.counted.len() as f32, 0.0)?)
    }
}

impl Objective for Model {
    fn phases(&self) -> Vec<Phase> {
        let [pretrain, epochs] = self.params.resolved_epochs(self.row_count);
        let rate = self.params.resolved_rate();
        let phase = |name, epochs, learning_rate, warm_up| Phase { name, epochs, learning_rate, warm_up };
        let names = STARTS.iter().take(self.networks.len());
        if self.contrast.is_none() {
            return names.map(|&[_, name]| phase(name, epochs, rate, 20)).collect();
        }
        let both =
            |&[contrast, name]: &[_; 2]| [phase(contrast, pretrain, 6.0 * rate, 50), phase(name, epochs, rate, 20)];
        names.flat_map(both).collect()
    }

    fn begin(&self, phase: usize, parameters: &mut Parameters, key: Key) -> Result<()> {
        match self.stage(phase) {
            Stage::Cluster(start) if self.contrast.is_some() || start == 0 => self.set_groups(parameters, start, key),
            _ => Ok(()),
        }
    }

    /// In pretraining, each row of the batch brings a random neighbour along.
    fn rows(&self, phase: usize, shuffled: Vec<u32>, key: Key) -> Vec<u32> {
        match (self.stage(phase), &self.contrast) {
            (Stage::Contrast(_), Some(contrast)) => {
                let [pairs_key, _] = key.split();
                contrast.pairs(shuffled, pairs_key)
            }
            _ => shuffled,
        }
    }

    fn losses<'t>(
        &self,
        phase: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        let x = self.rows.batch(batch)?;
        let start = match self.stage(phase) {
            Stage::Contrast(start) => {
                let [_, view_key] = key.split();
                let seen = tape.constant(&self.params.views.of(&x, self.layers.image(), view_key)?);
                let unit = self.networks[start].unit(tape, parameters, &seen)?;
                let contrast = self.contrast.as_ref().zip(unit).map(|(contrast, unit)| contrast.loss(&unit));
                return contrast.into_iter().map(|loss| Ok(("contrast", loss?))).collect();
            }
            Stage::Cluster(start) => start,
        };
        let network = &self.networks[start];
        let logits = network.logits(tape, parameters, &tape.constant(&x))?;
        let law = if self.learns_sizes() { Some(self.law(tape, parameters, start)?) } else { None };
        let target = self.target(tape, law.as_ref())?;
        let (agreement, fairness) = self.agreement_and_fairness(tape, &logits, &target)?;
        let mut loss = (&(&agreement + &fairness)? + &self.margin(tape, parameters, start)?)?;
        let mut parts = vec![("agreement", agreement), ("fairness", fairness)];
        let weight = self.params.resolved_consistency();
        if weight > 0.0 {
            // Its entropy, which has no gradient, taken off the cross-entropy leaves the divergence.
            let log = logits.detach().log_softmax(1.0)?;
            let sigma = log.exp()?;
            let entropy = (&sigma * &log)?.sum_cols()?.mean()?;
            let seen = tape.constant(&self.params.views.of(&x, self.layers.image(), key)?);
            let cross = network.logits(tape, parameters, &seen)?.cross_entropy(sigma.value())?.mean()?;
            let consistency = (cross + &entropy)?;
            loss = (loss + &consistency.affine(weight, 0.0)?)?;
            parts.push(("consistency", consistency));
        }
        if let Some(law) = &law {
            let sizes = self.size_loss(law, logits.value())?;
            loss = (loss + &sizes)?;
            parts.push(("sizes", sizes));
        }
        parts.insert(0, ("loss", loss));
        Ok(parts)
    }

    fn metrics(&self, phase: usize, parameters: &Parameters) -> Result<Vec<(&'static str, f64)>> {
        let start = match self.stage(phase) {
            // A batch of all rows has told everything.
            Stage::Cluster(start) if self.batch < self.row_count => start,
            _ => return Ok(Vec::new()),
        };
        let network = &self.networks[start];
        sureness(
            self.params.k,
            self.rows.blocks(self.layers.block()).map(|block| network.logits_of(parameters, &block?)),
        )
    }
}

fn column_means(features: &Array2<f32>) -> Vec<f32> {
    let mean = |column: ArrayView1<'_, f32>| {
        (column.iter().map(|&value| f64::from(value)).sum::<f64>() / column.len() as f64) as f32
    };
    features.columns().into_iter().map(mean).collect()
}
