//! What two views share, and the bound of both.

use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::ops::fisher_hypergeometric::{Law, Urn};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::ops::reduce::{Axis, Reduction};
use softurn_kernels::ops::relaxed_sort::{Kind, Relaxation};
use softurn_kernels::{Gpu, Key, Tensor};

use super::network::Network;
use super::{Averaging, Counting, Model, Params, STEPS};
use crate::data::{FactorImages, ImageShape, Pairs};
use crate::distributions::{MultivariateFisherHypergeometric, RandomPartition, Temperature};
use crate::nn::Linear;
use crate::train::{Batch, Losses, Objective, Phase};
use crate::{Error, Result};

/// Sharpens a difference into 0 or 1; what is as large as the middle is below it.
const STEEP: f32 = 1e6;
const TIES: f32 = 50.0;

/// Networks, and constants of a batch.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) params: Params,
    pub(super) network: Network,
    /// From the divergences of a pair to the log-weights of shared and independent dimensions.
    weights: Option<Linear>,
    urn: Urn,
    /// How many factors the images have.
    pub(super) factors: usize,
    first_column: Tensor,
    /// Of a batch of training.
    constants: Constants,
}

/// What a number of pairs needs on the device, whichever they are.
#[derive(Debug, Clone)]
struct Constants {
    pairs: usize,
    /// The rows of first and of second views.
    views: [Tensor; 2],
    /// The number of its pair for each of all views.
    both: Tensor,
    /// How many dimensions [`Model::LabelVae`] takes as shared and as not shared, `[pairs, 2]`.
    told: Tensor,
}

impl Constants {
    fn new(gpu: &Gpu, pairs: usize, params: &Params, factors: usize) -> Result<Self> {
        let n = pairs as u32;
        let rows = |numbers: Vec<u32>| gpu.tensor(&numbers, [numbers.len()]);
        let d = params.latent as f32;
        let shared = (params.shared as f32 / factors as f32 * d).round();
        Ok(Self {
            pairs,
            views: [rows((0..n).collect())?, rows((n..2 * n).collect())?],
            both: rows((0..2 * n).map(|i| i % n).collect())?,
            told: gpu.tensor(&[shared, d - shared].repeat(pairs), [pairs, 2])?,
        })
    }
}

/// What the two views of a batch of pairs are taken to share.
pub(super) struct Sharing<'t> {
    /// 1 for a shared dimension, `[pairs, latent]`.
    pub(super) mask: Var<'t>,
    /// How many are, `[pairs, 1]`.
    pub(super) number: Var<'t>,
}

impl Learner {
    pub(super) fn new(
        gpu: &Gpu,
        params: &Params,
        (shape, factors): (ImageShape, usize),
        parameters: &mut Parameters,
        key: Key,
    ) -> Result<Self> {
        let d = params.latent;
        let network = Network::new(parameters, shape, d, key)?;
        let weights = match params.model {
            Model::LabelVae | Model::AdaVae => None,
            // Zero: at first the law is the central one, half of the dimensions on average.
            Model::HypergeometricVae | Model::PartitionVae => {
                Some(Linear::new(parameters, "weights", [d, 2], 0.0, 0.0, Activation::None, key)?)
            }
        };
        Ok(Self {
            params: params.clone(),
            network,
            weights,
            urn: Urn::new(gpu, &[d as u32; 2], d as u32)?,
            factors,
            first_column: gpu.tensor(&[1.0, 0.0], [2, 1])?,
            constants: Constants::new(gpu, params.batch, params, factors)?,
        })
    }

    /// Those that are kept, or others where there are more or fewer pairs than in training.
    fn constants(&self, gpu: &Gpu, pairs: usize) -> Result<Constants> {
        if pairs == self.constants.pairs {
            return Ok(self.constants.clone());
        }
        Constants::new(gpu, pairs, &self.params, self.factors)
    }

    /// The parameters of the weights, where they are learned.
    #[cfg(test)]
    pub(super) fn weights(&self) -> Option<&Linear> {
        self.weights.as_ref()
    }

    /// Log-weights of shared and independent dimensions, `[pairs, 2]`.
    pub(super) fn log_weights<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        divergences: &Var<'t>,
    ) -> Result<Option<Var<'t>>> {
        match &self.weights {
            // The logarithm: divergences run from thousandths to thousands.
            Some(weights) => Ok(Some(weights.forward(tape, parameters, &divergences.log1p()?, false)?)),
            None => Ok(None),
        }
    }

    /// The first column of rows of two, `[rows * n, 2]` to `[rows, n]`.
    fn first<'t>(&self, tape: &'t Tape, x: &Var<'t>, shape: [usize; 2]) -> Result<Var<'t>> {
        let flat = x.reshape([shape[0] * shape[1], 2])?;
        Ok(flat.matmul(&tape.constant(&self.first_column))?.reshape(shape)?)
    }

    /// Which dimensions are shared, from symmetric divergences `[pairs, latent]` that are not negative.
    pub(super) fn sharing<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        divergences: &Var<'t>,
        key: Key,
    ) -> Result<Sharing<'t>> {
        let (pairs, d) = divergences.shape().rows_cols();
        let temperature = Temperature::new(self.params.temperature)?;
        let relaxation = Relaxation { kind: Kind::Neural, temperature: self.params.temperature };
        // The most similar dimension has the highest score.
        let scores = divergences.log1p()?.affine(-1.0, 0.0)?;
        let mask = match (self.params.model, self.log_weights(tape, parameters, divergences)?) {
            (Model::HypergeometricVae, Some(weights)) => {
                let law = MultivariateFisherHypergeometric::with_law(weights, &self.urn, &Law::Exact)?;
                let blocks = law.rsample_rows(pairs, key, temperature)?.blocks(d)?;
                let groups = scores.detach().sort_transposed_straight_through(&blocks, relaxation)?;
                self.first(tape, &groups, [pairs, d])?
            }
            (Model::PartitionVae, Some(weights)) => {
                let [groups, _] =
                    RandomPartition::new(weights, scores)?.rsample_with_sizes(key, temperature, relaxation)?;
                self.first(tape, &groups, [pairs, d])?
            }
            (Model::AdaVae, _) => {
                let fixed = divergences.detach();
                let [low, high] = [Reduction::Min, Reduction::Max].map(|reduction| fixed.reduce(reduction, Axis::Cols));
                let middle = (low? + &high?)?.affine(0.5, 0.0)?.reshape([pairs, 1])?;
                (&middle - &fixed)?.affine(STEEP, TIES)?.sigmoid()?
            }
            _ => {
                let sizes = tape.constant(&self.constants(tape.gpu(), pairs)?.told);
                let groups = scores.detach().sort_transposed_straight_through(&sizes.blocks(d)?, relaxation)?;
                self.first(tape, &groups, [pairs, d])?
            }
        };
        let number = mask.sum_cols()?.reshape([pairs, 1])?;
        Ok(Sharing { mask, number })
    }

    /// The share of the dimensions that each pair of views is expected to share.
    pub(super) fn expected_share<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        [mean, log_variance]: &[Var<'t>; 2],
    ) -> Result<Vec<f64>> {
        let constants = self.constants(tape.gpu(), mean.shape().dims()[0] / 2)?;
        let divergences = Views::new(tape, mean, log_variance, &constants.views)?.divergences;
        let d = self.params.latent;
        let numbers = match self.log_weights(tape, parameters, &divergences)? {
            Some(weights) => {
                let pairs = weights.shape().dims()[0];
                let law = MultivariateFisherHypergeometric::with_law(weights, &self.urn, &Law::Exact)?;
                self.first(tape, &tape.constant(&law.mean()?), [pairs, 1])?
            }
            None => self.sharing(tape, parameters, &divergences, Key::new(0))?.number,
        };
        Ok(numbers.read()?.into_iter().map(|number| f64::from(number) / d as f64).collect())
    }

    /// Means of the first views, and 1 for each dimension that is shared, `[pairs, latent]` each.
    pub(super) fn first_views<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        views: &[Var<'t>; 2],
        key: Key,
    ) -> Result<[Vec<f32>; 2]> {
        let ([mean, _], sharing) = self.aggregate(tape, parameters, views, key)?;
        let (mut means, mask) = (mean.read()?, sharing.mask.read()?);
        // The second views come after them.
        means.truncate(mask.len());
        Ok([means, mask])
    }

    /// Means and log-variances `[2 pairs, latent]` of first and second views, one after the other, with what they share
    /// averaged; and the divergences it depends on.
    pub(super) fn aggregate<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        [mean, log_variance]: &[Var<'t>; 2],
        key: Key,
    ) -> Result<([Var<'t>; 2], Sharing<'t>)> {
        let Constants { views, both, .. } = self.constants(tape.gpu(), mean.shape().dims()[0] / 2)?;
        let Views { means: [m1, m2], variances: [v1, v2], divergences } = Views::new(tape, mean, log_variance, &views)?;
        let sharing = self.sharing(tape, parameters, &divergences, key)?;
        let (shared_mean, shared_variance) = match self.params.averaging {
            Averaging::Mean => ((&m1 + &m2)?.affine(0.5, 0.0)?, (&v1 + &v2)?.affine(0.5, 0.0)?),
            Averaging::Precision => {
                let [p1, p2] = [v1.reciprocal()?, v2.reciprocal()?];
                let precision = (&p1 + &p2)?;
                let weighted = ((&m1 * &p1)? + &(&m2 * &p2)?)?;
                ((&weighted / &precision)?, precision.reciprocal()?.affine(2.0, 0.0)?)
            }
        };
        let mask = sharing.mask.gather(&both)?;
        let own = mask.affine(-1.0, 1.0)?;
        let variance = log_variance.exp()?;
        let mean = ((&mask * &shared_mean.gather(&both)?)? + &(&own * mean)?)?;
        let variance = ((&mask * &shared_variance.gather(&both)?)? + &(&own * &variance)?)?;
        Ok(([mean, variance.log()?], sharing))
    }
}

/// First and second views of pairs, `[pairs, latent]` each.
struct Views<'t> {
    means: [Var<'t>; 2],
    variances: [Var<'t>; 2],
    /// `(KL(1, 2) + KL(2, 1)) / 2`, not negative.
    divergences: Var<'t>,
}

impl<'t> Views<'t> {
    /// From means and log-variances `[2 pairs, latent]` and the rows of first and second views.
    fn new(tape: &'t Tape, mean: &Var<'t>, log_variance: &Var<'t>, [first, second]: &[Tensor; 2]) -> Result<Self> {
        let means = [mean.gather(first)?, mean.gather(second)?];
        let logs = [log_variance.gather(first)?, log_variance.gather(second)?];
        let variances = [logs[0].exp()?, logs[1].exp()?];
        let square = (&means[0] - &means[1])?.square()?;
        let there = ((&variances[0] + &square)? * &logs[1].affine(-1.0, 0.0)?.exp()?)?;
        let back = ((&variances[1] + &square)? * &logs[0].affine(-1.0, 0.0)?.exp()?)?;
        // A quarter each of ratios that are 2 together where nothing differs; rounding may leave it a little below 0.
        let zero = tape.constant(&tape.gpu().constant(0.0)?);
        let divergences = (there + &back)?.affine(0.25, -0.5)?.maximum(&zero)?;
        Ok(Self { means, variances, divergences })
    }
}

/// A learner and the images it learns from.
pub(super) struct Training<'a> {
    pub(super) learner: &'a Learner,
    pub(super) images: &'a FactorImages,
    pub(super) pairs: Pairs<'a>,
}

impl Objective for Training<'_> {
    fn phases(&self) -> Vec<Phase> {
        let Params { steps, learning_rate, .. } = self.learner.params;
        vec![Phase { name: "pairs", epochs: steps.div_ceil(STEPS), learning_rate, warm_up: 20 }]
    }

    /// Fresh pairs: all first images, then all second ones.
    fn rows(&self, _: usize, shuffled: Vec<u32>, key: Key) -> Vec<u32> {
        let [pairs_key, _] = key.split();
        let pairs = self.pairs.sample(shuffled.len(), pairs_key);
        views(&pairs)
    }

    fn losses<'t>(
        &self,
        _: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        let [_, key] = key.split();
        let [sharing_key, latent_key] = key.split();
        let rows = batch.rows.len();
        let x = self.images.tensor(tape.gpu(), &batch.rows)?;
        let learner = self.learner;
        let posteriors = learner.network.encode(tape, parameters, &tape.constant(&x))?;
        let ([mean, log_variance], sharing) = learner.aggregate(tape, parameters, &posteriors, sharing_key)?;
        let [z, divergence] = mean.gaussian(&log_variance, latent_key)?;
        let reconstruction = learner.network.decode(tape, parameters, &z)?.bernoulli_loss(&x)?.mean()?;
        let mut divergence = divergence.sum()?;
        if learner.params.counting == Counting::Once {
            let [_, second] = learner.constants(tape.gpu(), rows / 2)?.views;
            let (mean, log_variance) = (mean.gather(&second)?, log_variance.gather(&second)?);
            let both = (mean.square()? + &log_variance.exp()?)?;
            let of_prior = (both - &log_variance)?.affine(0.5, -0.5)?;
            divergence = (divergence - &(&sharing.mask * &of_prior)?.sum()?)?;
        }
        let divergence = divergence.affine(1.0 / rows as f32, 0.0)?;
        let loss = (&reconstruction + &divergence.affine(learner.params.beta, 0.0)?)?;
        let number = sharing.number.mean()?;
        Ok(vec![("loss", loss), ("reconstruction", reconstruction), ("divergence", divergence), ("shared", number)])
    }
}

/// All first images of pairs, then all second ones.
pub(super) fn views(pairs: &[[u32; 2]]) -> Vec<u32> {
    [0, 1].map(|view| pairs.iter().map(|pair| pair[view]).collect::<Vec<u32>>()).concat()
}

/// Pairs and images in a form that training takes.
pub(super) fn pairs<'a>(images: &'a FactorImages, shared: usize) -> Result<Pairs<'a>> {
    Pairs::new(images, shared).map_err(|error| Error::argument("shared", error.to_string()))
}
