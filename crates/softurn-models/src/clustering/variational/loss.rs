//! The model, its losses in each phase, and what happens between the phases.

use ndarray::Array2;
use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::ops::{Noise, gumbel_softmax, reduce};
use softurn_kernels::{Gpu, Key, Tensor};

use super::network::{Encoding, LOG_VARIANCE, Network, Settings};
use super::{Params, Pretraining, Prior};
use crate::clustering::contrast::Contrast;
use crate::clustering::features::Scaling;
use crate::clustering::start;
use crate::clustering::tally::{inner_share, log_odds, sureness};
use crate::data::Dataset;
use crate::distributions::{MultivariateFisherHypergeometric, Temperature};
use crate::train::{Batch, Losses, Objective, Phase, Rows};
use crate::{Error, Result};

/// The network and what its training needs.
#[derive(Debug)]
pub(in crate::clustering) struct Model {
    pub(in crate::clustering) network: Network,
    rows: Rows,
    row_count: usize,
    /// None where the encoder is pretrained by reconstruction.
    contrast: Option<Contrast>,
    phases: Vec<(Stage, Phase)>,
}

/// What a phase trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::clustering) enum Stage {
    /// The encoder, by the contrast.
    Contrast,
    /// The decoder.
    Decode,
    /// Encoder and decoder.
    Reconstruct,
    /// Everything.
    Cluster,
}

impl Model {
    pub(in crate::clustering) fn new(
        gpu: &Gpu,
        params: &Params,
        data: &Dataset,
        parameters: &mut Parameters,
        key: Key,
    ) -> Result<Self> {
        let batch = params.resolved_batch(data.rows());
        let settings = Settings { params: params.clone(), scaling: Scaling::of(data), image: data.image(), batch };
        let features = &settings.scaling.apply(data)?;
        let [pretrain, epochs] = params.resolved_epochs(data.rows());
        let rate = params.learning_rate;
        let phase =
            |stage, name, epochs, learning_rate, warm_up| (stage, Phase { name, epochs, learning_rate, warm_up });
        let cluster = phase(Stage::Cluster, "cluster", epochs, rate, 20);
        let (contrast, phases) = match params.pretraining {
            Pretraining::Contrast => (
                Some(Contrast::new(gpu, features, params.neighbours, batch)?),
                vec![
                    phase(Stage::Contrast, "contrast", pretrain, 6.0 * rate, 50),
                    phase(Stage::Decode, "decode", pretrain.div_ceil(10), 4.0 * rate, 20),
                    cluster,
                ],
            ),
            Pretraining::Reconstruction => {
                (None, vec![phase(Stage::Reconstruct, "reconstruct", pretrain, 2.0 * rate, 50), cluster])
            }
        };
        Ok(Self {
            network: Network::new(settings, parameters, key)?,
            rows: Rows::new(gpu, features)?,
            row_count: data.rows(),
            contrast,
            phases,
        })
    }

    pub(in crate::clustering) fn stage(&self, phase: usize) -> Stage {
        self.phases[phase].0
    }

    /// The likeliest group of every row.
    pub(in crate::clustering) fn labels(&self, parameters: &Parameters) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(self.row_count);
        for block in self.rows.blocks(self.network.block()) {
            labels.extend(self.network.labels(parameters, &block?)?);
        }
        Ok(labels)
    }

    pub(in crate::clustering) fn params(&self) -> &Params {
        &self.network.settings.params
    }

    /// A batch, `[rows, columns]`, where there is a contrast under a random view of each row.
    pub(in crate::clustering) fn view(&self, batch: &Batch, key: Key) -> Result<Tensor> {
        let x = self.rows.batch(batch)?;
        match self.contrast {
            Some(_) => self.params().views.of(&x, self.network.settings.image, key),
            None => Ok(x),
        }
    }

    /// Rows that go through the network in a step of clustering, for each of the batch.
    pub(in crate::clustering) fn rows_per_row(&self) -> usize {
        if self.contrast.is_some() { 2 } else { 1 }
    }

    /// A loss and its parts with the contrast, where there is one: its weight grows with the columns, as the bound does.
    pub(in crate::clustering) fn with_contrast<'t>(
        &self,
        loss: Var<'t>,
        mut parts: Losses<'t>,
        code: &Encoding<'t>,
    ) -> Result<Losses<'t>> {
        let mut loss = loss;
        if let Some(contrast) = &self.contrast {
            let contrast = contrast.loss(&code.unit)?;
            let weight = self.network.settings.scaling.columns() as f32 / 8.0;
            loss = (loss + &contrast.affine(weight, 0.0)?)?;
            parts.push(("contrast", contrast));
        }
        parts.insert(0, ("loss", loss));
        Ok(parts)
    }

    /// `log π` of a batch, `[1, k]` or one number for all, with its gradient if there is one.
    fn batch_log_proportions<'t>(&self, tape: &'t Tape, law: &Law<'t>, key: Key) -> Result<Var<'t>> {
        match law {
            // One number for all groups.
            Law::Uniform => Ok(tape.constant(&tape.gpu().constant(-(self.params().k as f32).ln())?)),
            Law::Categorical(weights) => Ok(weights.log_softmax(1.0)?),
            Law::SizeRatio(sizes) => {
                let sizes = sizes.rsample(key, Temperature::new(self.params().temperature)?)?;
                let total = self.network.urn.draws(0) as f32 + self.params().k as f32;
                Ok(sizes.affine(1.0 / total, 1.0 / total)?.log()?)
            }
            Law::Exchangeable(sizes) => {
                let mean = tape.constant(&sizes.mean()?);
                Ok(mean.affine(1.0 / self.network.urn.draws(0) as f32, 1e-6)?.log()?)
            }
        }
    }

    fn law<'t>(&self, tape: &'t Tape, parameters: &Parameters) -> Result<Law<'t>> {
        let weights = || tape.param(parameters, &self.network.weights);
        let sizes = || MultivariateFisherHypergeometric::with_urn(weights()?, &self.network.urn);
        Ok(match self.params().prior {
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
        self.phases.iter().map(|(_, phase)| phase.clone()).collect()
    }

    fn begin(&self, phase: usize, parameters: &mut Parameters, key: Key) -> Result<()> {
        if self.stage(phase) != Stage::Cluster {
            return Ok(());
        }
        // Groups of the unit vectors; the mixture starts from them, half of each variance shared.
        let (k, d) = (self.params().k, self.params().latent);
        let gpu = parameters.gpu().clone();
        let mut units = Vec::with_capacity(self.row_count * d);
        for block in self.rows.blocks(self.network.block()) {
            let tape = Tape::new(&gpu);
            let x = tape.constant(&block?);
            units.extend(self.network.encoding(&tape, parameters, &x, true)?.unit.read()?);
        }
        let points = Array2::from_shape_vec((self.row_count, d), units.clone())
            .map_err(|error| Error::argument("data", error.to_string()))?;
        let start = start::groups(&gpu, &points, k, self.params().start, key)?;
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
                let share = inner_share(count, self.row_count);
                match self.params().prior {
                    Prior::Uniform | Prior::Categorical => share.ln() as f32,
                    Prior::Hypergeometric | Prior::Exchangeable => log_odds(share),
                }
            })
            .collect();
        parameters.set(&self.network.means, &means)?;
        parameters.set(&self.network.log_variances, &log_variances)?;
        parameters.set(&self.network.weights, &weights)?;
        Ok(())
    }

    /// Where there is a contrast, each row of the batch brings a random neighbour along, but for the decoder alone.
    fn rows(&self, phase: usize, shuffled: Vec<u32>, key: Key) -> Vec<u32> {
        match (self.stage(phase), &self.contrast) {
            (Stage::Contrast | Stage::Cluster, Some(contrast)) => {
                let [view_key, _, _] = key.split();
                let [key, _] = view_key.split();
                contrast.pairs(shuffled, key)
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
        let [view_key, latent_key, prior_key] = key.split();
        // The first half chose the neighbours.
        let [_, pairs_key] = view_key.split();
        match (self.stage(phase), &self.contrast) {
            (Stage::Contrast, Some(contrast)) => {
                let x = tape.constant(&self.view(batch, pairs_key)?);
                let unit = self.network.encoding(tape, parameters, &x, false)?.unit;
                return Ok(vec![("contrast", contrast.loss(&unit)?)]);
            }
            (stage @ (Stage::Decode | Stage::Reconstruct), _) => {
                let x = self.view(batch, view_key)?;
                let code = self.network.encoding(tape, parameters, &tape.constant(&x), stage == Stage::Decode)?;
                let [z, _] = code.mean.gaussian(&code.log_variance, latent_key)?;
                let loss = self.network.reconstruction(tape, parameters, &z, &x)?.mean()?;
                return Ok(vec![("reconstruction", loss)]);
            }
            _ => {}
        }
        let x = self.view(batch, pairs_key)?;
        let code = self.network.encoding(tape, parameters, &tape.constant(&x), false)?;
        let [z, _] = code.mean.gaussian(&code.log_variance, latent_key)?;
        let reconstruction = self.network.reconstruction(tape, parameters, &z, &x)?.mean()?;
        let [means, log_variances] = self.network.mixture(tape, parameters)?;
        let law = self.law(tape, parameters)?;
        let log_proportions = self.batch_log_proportions(tape, &law, prior_key)?;
        // Responsibilities are the optimum for given parameters: no gradient through them.
        let logits =
            (z.detach().gaussian_mixture(None, &means.detach(), &log_variances.detach())? + &log_proportions.detach())?;
        let log_responsibilities = logits.log_softmax(1.0)?;
        let responsibilities = log_responsibilities.exp()?;
        // KL(q(c) q(z) || p(c) p(z | c)): the entropy of q(z) loses its constant to log N's.
        let density = self.network.densities(tape, parameters, &code)?;
        let groups = match &law {
            Law::Exchangeable(sizes) => {
                let bracket = (&log_responsibilities - &density)?;
                // The rows of the batch without the neighbours that they brought along.
                let drawn = logits.value().view(0, [self.network.urn.draws(0) as usize, self.params().k])?;
                let drawn = gumbel_softmax::hard(tape.gpu(), &drawn, Noise::Key(prior_key))?;
                let counts =
                    reduce::over_rows(tape.gpu(), reduce::Reduction::Sum, &drawn)?.reshape([1, self.params().k])?;
                let assignments =
                    sizes.log_prob(&counts)?.mean()?.affine(-1.0 / self.network.urn.draws(0) as f32, 0.0)?;
                ((&bracket * &responsibilities)?.sum_cols()?.mean()? + &assignments)?
            }
            _ => {
                let bracket = (&log_responsibilities - &(density + &log_proportions)?)?;
                (&bracket * &responsibilities)?.sum_cols()?.mean()?
            }
        };
        let divergence = (groups - &self.network.entropy(&code)?)?;
        let loss = (&reconstruction + &divergence)?;
        self.with_contrast(loss, vec![("reconstruction", reconstruction), ("divergence", divergence)], &code)
    }

    fn metrics(&self, phase: usize, parameters: &Parameters) -> Result<Vec<(&'static str, f64)>> {
        if self.stage(phase) != Stage::Cluster {
            return Ok(Vec::new());
        }
        let logits = self.rows.blocks(self.network.block()).map(|block| {
            let latent = self.network.encode(parameters, &block?)?;
            self.network.group_logits(parameters, &latent)
        });
        sureness(self.params().k, logits)
    }
}
