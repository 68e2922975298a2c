//! The training of networks, one per start, their losses, and the objective that ranks them.

use ndarray::Array2;
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::fisher_hypergeometric::Urn;
use softurn_kernels::ops::self_label::{self, SelfLabels};
use softurn_kernels::ops::{gather, one_hot, reduce, softmax};
use softurn_kernels::{Gpu, Key, Tensor};

use super::network::Network;
use super::{BLOCK, GroupSizes, Loss, Params, Score};
use crate::Result;
use crate::clustering::features;
use crate::clustering::tally::sureness;
use crate::data::ImageShape;
use crate::distributions::MultivariateFisherHypergeometric;
use crate::train::{Batch, Losses, Objective, Phase, Rows};

/// What the starts are called.
pub(super) const STARTS: [&str; 10] =
    ["start 1", "start 2", "start 3", "start 4", "start 5", "start 6", "start 7", "start 8", "start 9", "start 10"];
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
    image: Option<ImageShape>,
    rows: Rows,
    row_count: usize,
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
        let centre = match image {
            Some(_) => Some(gpu.tensor(&column_means(features), [1, features.ncols()])?),
            None => None,
        };
        let (mut networks, mut weights) = (Vec::new(), Vec::new());
        for (start, key) in key.split_forever().take(params.resolved_starts()).enumerate() {
            let prefix = format!("{start}.");
            networks.push(Network::new(parameters, &prefix, params, features.ncols(), centre.clone(), key)?);
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
            image,
            rows: Rows::new(gpu, features)?,
            row_count: features.nrows(),
            batch,
            networks,
            weights,
            shares: gpu.tensor(&shares, [k])?,
            urn: Urn::new(gpu, &vec![counted; k], counted)?,
            counted: gpu.tensor(&first, [first.len()])?,
            params: params.clone(),
        })
    }

    pub(super) fn network(&self, start: usize) -> &Network {
        &self.networks[start]
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
        let scale = SIZE_STEP / self.params.resolved_rate();
        let weights = tape.param(parameters, &self.weights[start])?.affine(scale, 0.0)?;
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
        for block in self.rows.blocks(BLOCK) {
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
        for block in self.rows.blocks(BLOCK) {
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
        let epochs = self.params.resolved_epochs(self.row_count);
        let phase = |name| Phase { name, epochs, learning_rate: self.params.resolved_rate(), warm_up: 20 };
        STARTS.iter().take(self.networks.len()).map(|name| phase(*name)).collect()
    }

    fn begin(&self, _: usize, _: &mut Parameters, _: Key) -> Result<()> {
        Ok(())
    }

    fn losses<'t>(
        &self,
        start: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        let network = &self.networks[start];
        let x = self.rows.batch(batch)?;
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
            let seen = tape.constant(&features::view(&x, self.image, key)?);
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

    fn metrics(&self, start: usize, parameters: &Parameters) -> Result<Vec<(&'static str, f64)>> {
        // A batch of all rows has told everything.
        if self.batch == self.row_count {
            return Ok(Vec::new());
        }
        let network = &self.networks[start];
        sureness(self.params.k, self.rows.blocks(BLOCK).map(|block| network.logits_of(parameters, &block?)))
    }
}

fn column_means(features: &Array2<f32>) -> Vec<f32> {
    let mean = |column: ndarray::ArrayView1<'_, f32>| {
        (column.iter().map(|&value| f64::from(value)).sum::<f64>() / column.len() as f64) as f32
    };
    features.columns().into_iter().map(mean).collect()
}
