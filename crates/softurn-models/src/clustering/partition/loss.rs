//! The bound of a batch's random partition.

use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::fisher_hypergeometric::Urn;
use softurn_kernels::ops::relaxed_sort::{Kind, Relaxation};
use softurn_kernels::ops::{one_hot, reduce};
use softurn_kernels::{Gpu, Key, Tensor};

use super::{Params, Weights};
use crate::Result;
use crate::clustering::variational::{self, Stage};
use crate::data::Dataset;
use crate::distributions::{MultivariateFisherHypergeometric, RandomPartition, Temperature};
use crate::train::{Batch, Losses, Objective, Phase};

/// The variational model and what a partition adds.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) base: variational::Model,
    params: Params,
    /// `log ω` of the posterior, `[1, k]`, where it is learned.
    weights: Param,
    /// `a`: scores are `10^a` apart from group to group.
    scale: Param,
    /// What the prior draws sizes from: as many of each group as there are rows.
    urn: Urn,
    /// `k, k - 1, .., 1`, `[k, 1]`: the first group has the highest score.
    ranks: Tensor,
}

impl Model {
    pub(super) fn new(
        gpu: &Gpu,
        params: &Params,
        data: &Dataset,
        parameters: &mut Parameters,
        key: Key,
    ) -> Result<Self> {
        let base = variational::Model::new(gpu, &params.base, data, parameters, key)?;
        let k = base.network.k();
        let rows = (base.rows_per_row() * params.base.resolved_batch(data.rows())) as u32;
        let ranks: Vec<f32> = (1..=k).rev().map(|rank| rank as f32).collect();
        Ok(Self {
            base,
            params: params.clone(),
            weights: parameters.zeros("partition.log_weights", [1, k])?,
            scale: parameters.zeros("partition.scale", [1])?,
            urn: Urn::new(gpu, &vec![rows; k], rows)?,
            ranks: gpu.tensor(&ranks, [k, 1])?,
        })
    }

    #[cfg(test)]
    pub(super) fn weights(&self) -> &Param {
        &self.weights
    }

    /// The law of the partition of rows with expected log densities `[rows, k]`: sizes by the weights, order by each row's
    /// nearest group.
    pub(super) fn posterior<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        densities: &Tensor,
        log_proportions: &Var<'t>,
    ) -> Result<RandomPartition<'t>> {
        let gpu = tape.gpu();
        let (rows, k) = densities.shape().rows_cols();
        let log_weights = match self.params.weights {
            Weights::Learned => tape.param(parameters, &self.weights)?,
            Weights::Responsibilities => {
                let logits = (tape.constant(densities) + &log_proportions.detach())?;
                let shares = logits.softmax(1.0)?.mean_rows()?.reshape([1, k])?;
                // With sizes of all rows, a weight is the odds of a share.
                let rest = shares.affine(-1.0, 1.0 + 1e-6)?.log()?;
                (shares.affine(1.0, 1e-6)?.log()? - &rest)?
            }
        };
        let nearest = one_hot::forward(gpu, &reduce::argmax(gpu, densities)?, k)?;
        let ranks = tape.constant(&nearest).matmul(&tape.constant(&self.ranks))?.reshape([1, rows])?;
        let scale = tape.param(parameters, &self.scale)?.affine(std::f32::consts::LN_10, 0.0)?.exp()?;
        RandomPartition::new(log_weights, (&ranks * &scale)?)
    }

    /// `log q(n) - log p(n)` of drawn sizes, with its path through a straight-through draw.
    pub(super) fn size_divergence<'t>(
        posterior: &MultivariateFisherHypergeometric<'t>,
        prior: &MultivariateFisherHypergeometric<'t>,
        sizes: &Var<'t>,
    ) -> Result<Var<'t>> {
        let difference = (posterior.log_prob(sizes.value())? - &prior.log_prob(sizes.value())?)?.mean()?;
        // The derivative of the difference in the sizes is that of the log-weights.
        let slope = (posterior.log_weights().detach() - &prior.log_weights().detach())?;
        let path = (&(sizes - &sizes.detach())? * &slope)?.sum()?;
        Ok((difference + &path)?)
    }

    /// `log q(π*)` of the likeliest order.
    pub(super) fn order_log_prob<'t>(posterior: &RandomPartition<'t>) -> Result<Var<'t>> {
        let order = posterior.order();
        Ok(order.log_prob(&order.mode(order.event_shape()[0])?)?.mean()?)
    }
}

impl Objective for Model {
    fn phases(&self) -> Vec<Phase> {
        let mut phases = self.base.phases();
        if let Some(last) = phases.last_mut() {
            last.name = "partition";
        }
        phases
    }

    fn begin(&self, phase: usize, parameters: &mut Parameters, key: Key) -> Result<()> {
        self.base.begin(phase, parameters, key)?;
        if self.base.stage(phase) == Stage::Cluster {
            // The start's shares are the prior's first ones, and the posterior's where it learns its own.
            let weights = parameters.tensor(&self.base.network.weights)?.read()?;
            parameters.set(&self.weights, &weights)?;
        }
        Ok(())
    }

    fn rows(&self, phase: usize, shuffled: Vec<u32>, key: Key) -> Vec<u32> {
        self.base.rows(phase, shuffled, key)
    }

    fn losses<'t>(
        &self,
        phase: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        if self.base.stage(phase) != Stage::Cluster {
            return self.base.losses(phase, tape, parameters, batch, key);
        }
        let [view_key, latent_key, draw_key] = key.split();
        let [_, view_key] = view_key.split();
        let rows = batch.rows.len() as f32;
        let x = self.base.view(batch, view_key)?;
        let code = self.base.network.encoding(tape, parameters, &tape.constant(&x), false)?;
        let [z, _] = code.mean.gaussian(&code.log_variance, latent_key)?;
        let reconstruction = self.base.network.reconstruction(tape, parameters, &z, &x)?.mean()?;
        let densities = self.base.network.densities(tape, parameters, &code)?;
        let prior =
            MultivariateFisherHypergeometric::with_urn(tape.param(parameters, &self.base.network.weights)?, &self.urn)?;
        let log_proportions = tape.constant(&prior.mean()?).affine(1.0 / rows, 1e-6)?.log()?;
        let posterior = self.posterior(tape, parameters, densities.value(), &log_proportions)?;
        let temperature = Temperature::new(self.params.temperature)?;
        let relaxation = Relaxation { kind: Kind::Neural, temperature: self.params.temperature };
        let [groups, sizes] = posterior.rsample_with_sizes(draw_key, temperature, relaxation)?;
        let groups = groups.reshape([batch.rows.len(), self.base.network.k()])?;
        // KL(q(z) || N_k) of each row's group: the entropy of q(z) is that of its Gaussian.
        let expected = (&groups * &densities)?.sum()?.affine(-1.0 / rows, 0.0)?;
        let divergence = (expected - &self.base.network.entropy(&code)?)?;
        let of_sizes = Self::size_divergence(posterior.sizes(), &prior, &sizes)?.affine(1.0 / rows, 0.0)?;
        // The prior's scores are equal: each order has probability 1 / rows!.
        let orders: f64 = (1..=batch.rows.len()).map(|i| (i as f64).ln()).sum();
        let of_order = Self::order_log_prob(&posterior)?.affine(1.0, orders as f32)?.affine(1.0 / rows, 0.0)?;
        let bound = (&reconstruction + &divergence.affine(self.params.beta, 0.0)?)?;
        let partition =
            (of_sizes.affine(self.params.gamma, 0.0)? + &of_order.affine(self.params.delta / rows, 0.0)?)?;
        let parts = vec![
            ("reconstruction", reconstruction),
            ("divergence", divergence),
            ("sizes", of_sizes),
            ("order", of_order),
        ];
        self.base.with_contrast((bound + &partition)?, parts, &code)
    }

    fn metrics(&self, phase: usize, parameters: &Parameters) -> Result<Vec<(&'static str, f64)>> {
        self.base.metrics(phase, parameters)
    }
}
