//! The autoencoder with its centres, its losses in both phases, and the targets.

use std::sync::{Mutex, MutexGuard, PoisonError};

use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::{gather, softmax};
use softurn_kernels::{Gpu, Key, Tensor};

use super::Params;
use crate::clustering::features::Scaling;
use crate::clustering::kmeans::KMeans;
use crate::clustering::network::{Decoder, Encoder, Layers};
use crate::data::{Dataset, ImageShape};
use crate::train::{Batch, Losses, Objective, Phase, Rows};
use crate::{Error, Result};

/// `log 2π`
const LN_TAU: f32 = 1.837_877_1;

/// Networks, centres and data.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) params: Params,
    pub(super) scaling: Scaling,
    pub(super) layers: Layers,
    pub(super) gpu: Gpu,
    rows: Option<Rows>,
    row_count: usize,
    encoder: Encoder,
    decoder: Decoder,
    centres: Param,
    /// Log-variances of 0, `[k, latent]`.
    unit: Tensor,
    phases: Vec<Phase>,
    /// What an epoch of clustering carries from step to step: nothing of it outlives the epoch.
    targets: Mutex<Option<Targets>>,
}

/// `p` of all rows.
#[derive(Debug)]
struct Targets {
    /// `[rows, k]`
    p: Tensor,
    /// `Σ p log p` of every row, `[rows, 1]`.
    negative_entropy: Tensor,
    /// The groups when the epoch began.
    labels: Vec<u32>,
    /// Steps since `p` was computed.
    steps: usize,
}

impl Model {
    /// A model with the rows it is to learn from, or without them.
    pub(super) fn new(
        gpu: &Gpu,
        params: &Params,
        scaling: Scaling,
        image: Option<ImageShape>,
        data: Option<&Dataset>,
        parameters: &mut Parameters,
        key: Key,
    ) -> Result<Self> {
        let rows = match data {
            Some(data) => Some(Rows::new(gpu, &scaling.apply(data)?)?),
            None => None,
        };
        let row_count = data.map_or(0, Dataset::rows);
        let layers = Layers::new(scaling.columns(), image, &params.channels, &params.hidden);
        let [encoder_key, decoder_key] = key.split();
        let encoder = layers.encoder(parameters, "encoder", Some(params.latent), encoder_key)?;
        let decoder = layers.decoder(parameters, "decoder", params.latent, decoder_key)?;
        let centres = parameters.zeros("centres", [params.k, params.latent])?;
        let [pretrain, epochs] = params.resolved_epochs(row_count);
        let phase = |name, epochs| Phase { name, epochs, learning_rate: params.learning_rate, warm_up: 20 };
        Ok(Self {
            params: params.clone(),
            scaling,
            layers,
            gpu: gpu.clone(),
            rows,
            row_count,
            encoder,
            decoder,
            centres,
            unit: gpu.zeros([params.k, params.latent])?,
            phases: vec![phase("pretrain", pretrain), phase("cluster", epochs)],
            targets: Mutex::new(None),
        })
    }

    fn rows(&self) -> Result<&Rows> {
        self.rows.as_ref().ok_or_else(|| Error::argument("data", "the model was loaded without its rows"))
    }

    /// `log q` up to a constant of the row, `-log(1 + ‖z - μ_c‖²)`, `[rows, k]`.
    pub(super) fn logits<'t>(&self, tape: &'t Tape, parameters: &Parameters, z: &Var<'t>) -> Result<Var<'t>> {
        let centres = tape.param(parameters, &self.centres)?;
        // The log density of a unit Gaussian is -½ ‖z - μ‖² less a constant.
        let density = z.gaussian_mixture(None, &centres, &tape.constant(&self.unit))?;
        Ok(density.affine(-2.0, 1.0 - self.params.latent as f32 * LN_TAU)?.log()?.affine(-1.0, 0.0)?)
    }

    /// Latent places of a block of rows, without a history.
    pub(super) fn encode(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        let tape = Tape::new(&self.gpu);
        Ok(self.encoder.forward(&tape, parameters, &tape.constant(x), true)?.value().clone())
    }

    /// `q` of a block of rows, `[rows, k]`, without a history.
    pub(super) fn assignments(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        let tape = Tape::new(&self.gpu);
        let z = self.encoder.forward(&tape, parameters, &tape.constant(x), true)?;
        Ok(softmax::forward(&self.gpu, self.logits(&tape, parameters, &z.detach())?.value(), 1.0)?)
    }

    /// `q` of the rows that are learned from, on the host.
    fn all_assignments(&self, parameters: &Parameters) -> Result<Vec<f32>> {
        let mut q = Vec::with_capacity(self.row_count * self.params.k);
        for block in self.rows()?.blocks(self.layers.block()) {
            q.extend(self.assignments(parameters, &block?)?.read()?);
        }
        Ok(q)
    }

    /// The groups of the rows that were learned from.
    pub(super) fn labels(&self, parameters: &Parameters) -> Result<Vec<u32>> {
        Ok(likeliest(&self.all_assignments(parameters)?, self.params.k))
    }

    fn targets(&self) -> MutexGuard<'_, Option<Targets>> {
        // A thread that panicked left whole targets behind, or none.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refreshed(&self, parameters: &Parameters, labels: Option<Vec<u32>>) -> Result<Targets> {
        let (rows, k) = (self.row_count, self.params.k);
        let q = self.all_assignments(parameters)?;
        let p = sharpened(&q, k);
        let entropy = |row: &[f32]| -> f32 { row.iter().filter(|&&p| p > 0.0).map(|&p| p * p.ln()).sum() };
        let negative_entropy: Vec<f32> = p.chunks(k).map(entropy).collect();
        Ok(Targets {
            p: self.gpu.tensor(&p, [rows, k])?,
            negative_entropy: self.gpu.tensor(&negative_entropy, [rows, 1])?,
            labels: labels.unwrap_or_else(|| likeliest(&q, k)),
            steps: 0,
        })
    }
}

/// `p_ic = (q_ic² / f_c) / Σ_c' (q_ic'² / f_c')` with `f_c = Σ_i q_ic`: `q`, made surer, with no group at an advantage for its
/// size.
pub(super) fn sharpened(q: &[f32], k: usize) -> Vec<f32> {
    let mut sizes = vec![0.0f64; k];
    q.iter().enumerate().for_each(|(at, &q)| sizes[at % k] += f64::from(q));
    let row = |row: &[f32]| {
        let weights: Vec<f64> =
            row.iter().zip(&sizes).map(|(&q, size)| f64::from(q).powi(2) / size.max(1e-30)).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(move |weight| (weight / total.max(1e-300)) as f32)
    };
    q.chunks(k).flat_map(row).collect()
}

/// The column of the largest number of each row.
pub(super) fn likeliest(q: &[f32], k: usize) -> Vec<u32> {
    let best = |row: &[f32]| (0..k).fold(0, |best, c| if row[c] > row[best] { c } else { best }) as u32;
    q.chunks(k).map(best).collect()
}

impl Objective for Model {
    fn phases(&self) -> Vec<Phase> {
        self.phases.clone()
    }

    /// Clustering starts from the centres that k-means finds in the latent space.
    fn begin(&self, phase: usize, parameters: &mut Parameters, key: Key) -> Result<()> {
        if phase == 0 {
            return Ok(());
        }
        let mut places = Vec::with_capacity(self.row_count * self.params.latent);
        for block in self.rows()?.blocks(self.layers.block()) {
            places.extend(self.encode(parameters, &block?)?.read()?);
        }
        let places = self.gpu.tensor(&places, [self.row_count, self.params.latent])?;
        let clusters = KMeans::params(self.params.k).check()?.fit_points(&self.gpu, &places, key)?;
        parameters.set_tensor(&self.centres, clusters.centers())?;
        Ok(())
    }

    fn losses<'t>(
        &self,
        phase: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        _key: Key,
    ) -> Result<Losses<'t>> {
        let x = self.rows()?.batch(batch)?;
        let z = self.encoder.forward(tape, parameters, &tape.constant(&x), false)?;
        let reconstruction = |weight: f32| -> Result<Var<'t>> {
            Ok(self.decoder.forward(tape, parameters, &z)?.squared_error(&x)?.mean()?.affine(weight, 0.0)?)
        };
        if phase == 0 {
            // The mean over the columns, so that one learning rate suits data of any width.
            return Ok(vec![("reconstruction", reconstruction(1.0 / x.shape().dims()[1] as f32)?)]);
        }
        let mut targets = self.targets();
        let fresh = match targets.take() {
            Some(old) if old.steps < self.params.refresh => old,
            Some(old) => self.refreshed(parameters, Some(old.labels))?,
            None => self.refreshed(parameters, None)?,
        };
        let now = targets.insert(fresh);
        now.steps += 1;
        let p = gather::forward(&self.gpu, &now.p, &batch.index)?;
        let entropy = tape.constant(&gather::forward(&self.gpu, &now.negative_entropy, &batch.index)?).mean()?;
        // KL(p ‖ q) = Σ p log p - Σ p log q.
        let divergence = (self.logits(tape, parameters, &z)?.cross_entropy(&p)?.mean()? + &entropy)?;
        if self.params.reconstruction == 0.0 {
            return Ok(vec![("divergence", divergence)]);
        }
        let reconstruction = reconstruction(self.params.reconstruction)?;
        Ok(vec![
            ("loss", (&divergence + &reconstruction)?),
            ("divergence", divergence),
            ("reconstruction", reconstruction),
        ])
    }

    /// `changed`: the share of rows whose group is another than when the epoch began.
    fn metrics(&self, phase: usize, parameters: &Parameters) -> Result<Vec<(&'static str, f64)>> {
        let Some(before) = self.targets().take() else { return Ok(Vec::new()) };
        if phase == 0 {
            return Ok(Vec::new());
        }
        let labels = self.labels(parameters)?;
        let changed = labels.iter().zip(&before.labels).filter(|(now, before)| now != before).count();
        Ok(vec![("changed", changed as f64 / self.row_count as f64)])
    }

    fn finished(&self, phase: usize, metrics: &[(&'static str, f64)]) -> bool {
        phase == 1 && metrics.iter().any(|&(name, value)| name == "changed" && value <= self.params.tolerance)
    }
}
