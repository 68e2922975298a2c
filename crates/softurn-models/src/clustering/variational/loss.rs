//! The model, its losses in each phase, and what happens between the phases.

use ndarray::Array2;
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::binary::Binary;
use softurn_kernels::ops::fisher_hypergeometric::Urn;
use softurn_kernels::ops::matmul::{Activation, Options};
use softurn_kernels::ops::{Noise, gaussian_mixture, gumbel_softmax, reduce};
use softurn_kernels::{Gpu, Key, Tensor};

use super::{BLOCK, Params, Prior, start};
use crate::clustering::features;
use crate::data::{Dataset, ImageShape, Kind};
use crate::distributions::{MultivariateFisherHypergeometric, Temperature};
use crate::neighbours::nearest_neighbours;
use crate::nn::{Linear, Mlp};
use crate::train::batches::below;
use crate::train::{Batch, Losses, Objective, Phase, Rows};
use crate::{Error, Result};

/// Similarities of unit vectors are divided by this before their softmax.
const CONTRAST_TEMPERATURE: f32 = 0.5;
/// The encoder's first log-variance.
const LOG_VARIANCE: f32 = -2.0;

/// Networks, mixture and data.
#[derive(Debug)]
pub(super) struct Model {
    params: Params,
    kind: Kind,
    image: Option<ImageShape>,
    columns: usize,
    rows: Rows,
    row_count: usize,
    neighbours: Array2<u32>,
    trunk: Mlp,
    direction: Linear,
    log_variance: Linear,
    decoder: Mlp,
    means: Param,
    log_variances: Param,
    weights: Param,
    urn: Urn,
    /// Constants of the contrast, `[2B, 2B]`: nothing is its own neighbour, and row `a`'s partner is `a ± B`.
    not_itself: Tensor,
    partners: Tensor,
    phases: Vec<Phase>,
}

/// What the encoder says of rows: a unit vector, and mean and log-variance of the latent.
pub(super) struct Encoding<'t> {
    pub(super) unit: Var<'t>,
    pub(super) mean: Var<'t>,
    pub(super) log_variance: Var<'t>,
}

impl Model {
    pub(super) fn new(
        gpu: &Gpu,
        params: &Params,
        data: &Dataset,
        parameters: &mut Parameters,
        key: Key,
    ) -> Result<Self> {
        let (columns, d, k) = (data.cols(), params.latent, params.k);
        let standardized;
        let features = match data.kind() {
            Kind::Images => data.features(),
            Kind::Table => {
                standardized = data.standardized();
                standardized.features()
            }
        };
        let neighbours = nearest_neighbours(features, params.neighbours)?;
        let mut widths = vec![columns];
        widths.extend(&params.hidden);
        let last = params.hidden[params.hidden.len() - 1];
        let mut mirrored: Vec<usize> = widths.iter().rev().copied().collect();
        mirrored.insert(0, d);
        let [trunk_key, direction_key, decoder_key] = key.split();
        let trunk = Mlp::new(parameters, "encoder", &widths, Activation::Relu, trunk_key)?;
        // As if mean and log-variance were one layer of 2d outputs.
        let bound = (6.0 / (last + 2 * d) as f32).sqrt();
        let direction =
            Linear::new(parameters, "encoder.mean", [last, d], bound, 0.0, Activation::None, direction_key)?;
        let log_variance = Linear::new(
            parameters,
            "encoder.log_variance",
            [last, d],
            0.0,
            LOG_VARIANCE,
            Activation::None,
            direction_key,
        )?;
        let decoder = Mlp::new(parameters, "decoder", &mirrored, Activation::None, decoder_key)?;
        let means = parameters.zeros("mixture.means", [k, d])?;
        let log_variances = parameters.zeros("mixture.log_variances", [k, d])?;
        let weights = parameters.zeros("mixture.log_weights", [1, k])?;
        let batch = params.batch.min(data.rows());
        let pairs = 2 * batch;
        let square = |f: fn(usize, usize, usize) -> f32| -> Vec<f32> {
            (0..pairs * pairs).map(|at| f(at / pairs, at % pairs, pairs / 2)).collect()
        };
        let [pretrain, epochs] = params.resolved_epochs(data.rows());
        let phase = |name, epochs, learning_rate, warm_up| Phase { name, epochs, learning_rate, warm_up };
        Ok(Self {
            kind: data.kind(),
            image: data.image(),
            columns,
            rows: Rows::new(gpu, features)?,
            row_count: data.rows(),
            neighbours,
            trunk,
            direction,
            log_variance,
            decoder,
            means,
            log_variances,
            weights,
            urn: Urn::new(gpu, &vec![batch as u32; k], batch as u32)?,
            not_itself: gpu.tensor(&square(|a, b, _| if a == b { -1e9 } else { 0.0 }), [pairs, pairs])?,
            partners: gpu.tensor(&square(|a, b, n| if (a + n) % (2 * n) == b { 1.0 } else { 0.0 }), [pairs, pairs])?,
            phases: vec![
                phase("contrast", pretrain, 6.0 * params.learning_rate, 50),
                phase("decode", pretrain.div_ceil(10), 4.0 * params.learning_rate, 20),
                phase("cluster", epochs, params.learning_rate, 20),
            ],
            params: params.clone(),
        })
    }

    pub(super) fn k(&self) -> usize {
        self.params.k
    }

    pub(super) fn latent(&self) -> usize {
        self.params.latent
    }

    pub(super) fn prior(&self) -> Prior {
        self.params.prior
    }

    pub(super) fn weights(&self) -> &Param {
        &self.weights
    }

    pub(super) fn urn(&self) -> &Urn {
        &self.urn
    }

    /// The rows of a data set in blocks on the device, scaled as the model was trained.
    pub(super) fn blocks<'a>(&'a self, data: &'a Dataset) -> Result<impl Iterator<Item = Result<Tensor>> + 'a> {
        if data.cols() != self.columns {
            let message = format!("has {} columns, the model was fitted on {}", data.cols(), self.columns);
            return Err(Error::argument("data", message));
        }
        let data = if data.kind() == Kind::Table { data.standardized() } else { data.clone() };
        Ok((0..data.rows()).step_by(BLOCK).map(move |start| {
            let end = (start + BLOCK).min(data.rows());
            let values = &data.values()[start * self.columns..end * self.columns];
            Ok(self.not_itself.gpu().tensor(values, [end - start, self.columns])?)
        }))
    }

    pub(super) fn encoding<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Var<'t>,
        frozen: bool,
    ) -> Result<Encoding<'t>> {
        let hidden = self.trunk.forward(tape, parameters, x, frozen)?;
        let direction = self.direction.forward(tape, parameters, &hidden, frozen)?;
        let norm = direction.square()?.sum_cols()?.affine(1.0, 1e-8)?.sqrt()?;
        let rows = x.shape().dims()[0];
        let unit = (&direction / &norm.reshape([rows, 1])?)?;
        let bound = |value: f32| -> Result<Var<'t>> { Ok(tape.constant(&tape.gpu().constant(value)?)) };
        let log_variance = self.log_variance.forward(tape, parameters, &hidden, frozen)?;
        let log_variance = log_variance.binary(Binary::Max, &bound(-8.0)?)?.binary(Binary::Min, &bound(2.0)?)?;
        let mean = unit.affine((self.params.latent as f32).sqrt(), 0.0)?;
        Ok(Encoding { unit, mean, log_variance })
    }

    /// `log π_c + log N(z; μ_c, σ_c²)`, `[rows, k]`, without a history.
    pub(super) fn group_logits(&self, parameters: &Parameters, z: &Tensor) -> Result<Tensor> {
        let (means, log_variances) = (parameters.tensor(&self.means)?, parameters.tensor(&self.log_variances)?);
        let density = gaussian_mixture::forward(z.gpu(), z, None, &means, &log_variances)?;
        let proportions = self.log_proportions(parameters)?;
        Ok(softurn_kernels::ops::binary::forward(z.gpu(), Binary::Add, &density, &proportions)?)
    }

    /// A batch under a random view of each row: `[rows, columns]`.
    fn view(&self, batch: &Batch, key: Key) -> Result<Tensor> {
        features::view(&self.rows.batch(batch)?, self.image, key)
    }

    /// Mean cross-entropy of finding each row's partner among all other rows by the cosine of their encodings
    /// (InfoNCE: van den Oord et al. 2018; Chen et al. 2020).
    fn contrast<'t>(&self, unit: &Var<'t>) -> Result<Var<'t>> {
        let similarity = unit.matmul_with(unit, None, Options { transpose_b: true, ..Options::default() })?;
        let logits = (similarity.affine(1.0 / CONTRAST_TEMPERATURE, 0.0)? + &self.not_itself)?;
        Ok(logits.cross_entropy(&self.partners)?.mean()?)
    }

    /// `-log p(x | z)` per row: Bernoulli for images, unit Gaussian (without its constant) for tables.
    fn reconstruction<'t>(&self, tape: &'t Tape, parameters: &Parameters, z: &Var<'t>, x: &Tensor) -> Result<Var<'t>> {
        let decoded = self.decoder.forward(tape, parameters, z, false)?;
        Ok(match self.kind {
            Kind::Images => decoded.bernoulli_loss(x)?,
            Kind::Table => decoded.squared_error(x)?.affine(0.5, 0.0)?,
        })
    }

    /// `log π` of a batch, `[1, k]` or one number for all, with its gradient if there is one.
    fn batch_log_proportions<'t>(&self, tape: &'t Tape, law: &Law<'t>, key: Key) -> Result<Var<'t>> {
        match law {
            // One number for all groups.
            Law::Uniform => Ok(tape.constant(&tape.gpu().constant(-(self.params.k as f32).ln())?)),
            Law::Categorical(weights) => Ok(weights.log_softmax(1.0)?),
            Law::SizeRatio(sizes) => {
                let sizes = sizes.rsample(key, Temperature::new(self.params.temperature)?)?;
                let total = self.urn.draws(0) as f32 + self.params.k as f32;
                Ok(sizes.affine(1.0 / total, 1.0 / total)?.log()?)
            }
            Law::Exchangeable(sizes) => {
                let mean = tape.constant(&sizes.mean()?);
                Ok(mean.affine(1.0 / self.urn.draws(0) as f32, 1e-6)?.log()?)
            }
        }
    }

    fn law<'t>(&self, tape: &'t Tape, parameters: &Parameters) -> Result<Law<'t>> {
        let weights = || tape.param(parameters, &self.weights);
        let sizes = || MultivariateFisherHypergeometric::with_urn(weights()?, &self.urn);
        Ok(match self.params.prior {
            Prior::Uniform => Law::Uniform,
            Prior::Categorical => Law::Categorical(weights()?),
            Prior::Hypergeometric => Law::SizeRatio(sizes()?),
            Prior::Exchangeable => Law::Exchangeable(sizes()?),
        })
    }
}

/// The prior over groups.
enum Law<'t> {
    Uniform,
    Categorical(Var<'t>),
    SizeRatio(MultivariateFisherHypergeometric<'t>),
    Exchangeable(MultivariateFisherHypergeometric<'t>),
}

impl Objective for Model {
    fn phases(&self) -> Vec<Phase> {
        self.phases.clone()
    }

    fn begin(&self, phase: usize, parameters: &mut Parameters, key: Key) -> Result<()> {
        if phase != 2 {
            return Ok(());
        }
        // Groups of the unit vectors; the mixture starts from them, half of each variance shared.
        let (k, d) = (self.params.k, self.params.latent);
        let gpu = parameters.gpu().clone();
        let mut units = Vec::with_capacity(self.row_count * d);
        for block in self.rows.blocks(BLOCK) {
            let tape = Tape::new(&gpu);
            let x = tape.constant(&block?);
            units.extend(self.encoding(&tape, parameters, &x, true)?.unit.read()?);
        }
        let points = Array2::from_shape_vec((self.row_count, d), units.clone())
            .map_err(|error| Error::argument("data", error.to_string()))?;
        let start = start::groups(&gpu, &points, k, self.params.start, key)?;
        let scale = (d as f64).sqrt();
        let mut sums = vec![[0.0f64; 2]; k * d];
        let mut counts = vec![0usize; k];
        for (unit, &label) in units.chunks(d).zip(&start) {
            counts[label as usize] += 1;
            for (j, &u) in unit.iter().enumerate() {
                let m = f64::from(u) * scale;
                sums[label as usize * d + j][0] += m;
                sums[label as usize * d + j][1] += m * m;
            }
        }
        let mut means = vec![0.0f32; k * d];
        let mut variances = vec![0.0f64; k * d];
        for (i, [sum, square]) in sums.iter().enumerate() {
            let count = counts[i / d].max(1) as f64;
            means[i] = (sum / count) as f32;
            variances[i] = (square / count - (sum / count).powi(2)).max(0.0);
        }
        let shared = (0..k * d).map(|i| variances[i] * counts[i / d] as f64).sum::<f64>() / (self.row_count * d) as f64;
        let spread = f64::from(LOG_VARIANCE).exp();
        let log_variances: Vec<f32> =
            variances.iter().map(|v| ((0.5 * v + 0.5 * shared).max(0.01) + spread).ln() as f32).collect();
        let weights: Vec<f32> = counts
            .iter()
            .map(|&count| {
                let share = (count.max(1) as f64 / self.row_count as f64).min(1.0 - 1e-6);
                match self.params.prior {
                    Prior::Uniform | Prior::Categorical => share.ln() as f32,
                    // Sizes m_c = n: the mean is B times a sigmoid, so the weight is the share's logit.
                    Prior::Hypergeometric | Prior::Exchangeable => (share / (1.0 - share)).ln() as f32,
                }
            })
            .collect();
        parameters.set(&self.means, &means)?;
        parameters.set(&self.log_variances, &log_variances)?;
        parameters.set(&self.weights, &weights)?;
        Ok(())
    }

    /// In all phases but the decoder's, each row of the batch brings a random neighbour along.
    fn rows(&self, phase: usize, shuffled: Vec<u32>, key: Key) -> Vec<u32> {
        if phase == 1 {
            return shuffled;
        }
        let [view_key, _, _] = key.split();
        let [key, _] = view_key.split();
        let count = self.neighbours.ncols();
        let neighbour = |(i, &row): (usize, &u32)| self.neighbours[[row as usize, below(key.child(i as u64), count)]];
        let neighbours: Vec<u32> = shuffled.iter().enumerate().map(neighbour).collect();
        [shuffled, neighbours].concat()
    }

    fn losses<'t>(
        &self,
        phase: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        let [view_key, latent_key, prior_key] = key.split();
        // The first half chose the neighbours.
        let [_, pairs_key] = view_key.split();
        if phase == 0 {
            let x = tape.constant(&self.view(batch, pairs_key)?);
            return Ok(vec![("contrast", self.contrast(&self.encoding(tape, parameters, &x, false)?.unit)?)]);
        }
        if phase == 1 {
            let x = self.view(batch, view_key)?;
            let code = self.encoding(tape, parameters, &tape.constant(&x), true)?;
            let [z, _] = code.mean.gaussian(&code.log_variance, latent_key)?;
            let loss = self.reconstruction(tape, parameters, &z, &x)?.mean()?;
            return Ok(vec![("reconstruction", loss)]);
        }
        let x = self.view(batch, pairs_key)?;
        let code = self.encoding(tape, parameters, &tape.constant(&x), false)?;
        let [z, _] = code.mean.gaussian(&code.log_variance, latent_key)?;
        let reconstruction = self.reconstruction(tape, parameters, &z, &x)?.mean()?;
        let (means, log_variances) =
            (tape.param(parameters, &self.means)?, tape.param(parameters, &self.log_variances)?);
        let law = self.law(tape, parameters)?;
        let log_proportions = self.batch_log_proportions(tape, &law, prior_key)?;
        // Responsibilities are the optimum for given parameters: no gradient through them.
        let logits =
            (z.detach().gaussian_mixture(None, &means.detach(), &log_variances.detach())? + &log_proportions.detach())?;
        let log_responsibilities = logits.log_softmax(1.0)?;
        let responsibilities = log_responsibilities.exp()?;
        // KL(q(c) q(z) || p(c) p(z | c)): the entropy of q(z) loses its constant to log N's.
        let density = code.mean.gaussian_mixture(Some(&code.log_variance), &means, &log_variances)?;
        let groups = match &law {
            Law::Exchangeable(sizes) => {
                let bracket = (&log_responsibilities - &density)?;
                // The rows of the batch without the neighbours that they brought along.
                let drawn = logits.value().view(0, [self.urn.draws(0) as usize, self.params.k])?;
                let drawn = gumbel_softmax::hard(tape.gpu(), &drawn, Noise::Key(prior_key))?;
                let counts =
                    reduce::over_rows(tape.gpu(), reduce::Reduction::Sum, &drawn)?.reshape([1, self.params.k])?;
                let assignments = sizes.log_prob(&counts)?.mean()?.affine(-1.0 / self.urn.draws(0) as f32, 0.0)?;
                ((&bracket * &responsibilities)?.sum_cols()?.mean()? + &assignments)?
            }
            _ => {
                let bracket = (&log_responsibilities - &(density + &log_proportions)?)?;
                (&bracket * &responsibilities)?.sum_cols()?.mean()?
            }
        };
        let rows = x.shape().dims()[0] as f32;
        let entropy = code.log_variance.sum()?.affine(0.5 / rows, 0.5 * (1.0 + LN_TAU) * self.params.latent as f32)?;
        let divergence = (groups - &entropy)?;
        let contrast = self.contrast(&code.unit)?;
        let weighted = contrast.affine(self.columns as f32 / 8.0, 0.0)?;
        let loss = ((&reconstruction + &divergence)? + &weighted)?;
        Ok(vec![("loss", loss), ("reconstruction", reconstruction), ("divergence", divergence), ("contrast", contrast)])
    }

    fn metrics(&self, phase: usize, parameters: &Parameters) -> Result<Vec<(&'static str, f64)>> {
        if phase != 2 {
            return Ok(Vec::new());
        }
        // How sure the model is on the whole data set, and how evenly it is split; neither needs labels.
        let gpu = parameters.gpu();
        let mut counts = vec![0usize; self.params.k];
        let mut sure = 0.0;
        for block in self.rows.blocks(BLOCK) {
            let latent = self.encode(parameters, &block?)?;
            let logits = self.group_logits(parameters, &latent)?;
            let probabilities = softurn_kernels::ops::softmax::forward(gpu, &logits, 1.0)?;
            let largest = reduce::over_cols(gpu, reduce::Reduction::Max, &probabilities)?;
            sure += largest.read()?.iter().map(|&p| f64::from(p)).sum::<f64>();
            for label in reduce::argmax(gpu, &logits)?.read_u32()? {
                if let Some(count) = counts.get_mut(label as usize) {
                    *count += 1;
                }
            }
        }
        let n = self.row_count as f64;
        let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| -(c as f64 / n) * (c as f64 / n).ln()).sum();
        let evenness = if self.params.k > 1 { entropy / (self.params.k as f64).ln() } else { 1.0 };
        Ok(vec![("confidence", sure / n), ("evenness", evenness)])
    }
}

/// `log 2π`
const LN_TAU: f32 = 1.837_877_1;
