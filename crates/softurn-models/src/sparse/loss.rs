//! The bound that is minimised, and the losses of what it is compared with.

use softurn_autodiff::{Parameters, Tape, Var};
use softurn_kernels::ops::{Noise, gather, top_k};
use softurn_kernels::{Gpu, Key, Tensor};

use super::divergence::{Counts, Divergences};
use super::network::{Heads, Network};
use super::params::{ChoiceDivergence, SparseParams, Trainer};
use crate::Result;
use crate::data::Dataset;
use crate::train::{Batch, Losses, Objective, Phase, Rows};

/// A network and the rows it learns from.
#[derive(Debug)]
pub(super) struct Training {
    pub(super) network: Network,
    rows: Rows,
    divergences: Divergences,
    /// The row of each mask of a batch, a row's masks one after the other.
    rows_of_masks: Tensor,
}

/// What a draw makes of a batch.
struct Drawn<'t> {
    /// `E[-log p(x | code)]`, `[rows]`.
    reconstruction: Var<'t>,
    /// How much of each feature is active, `[rows, size]`, without a history.
    active: Tensor,
    /// Features in the order in which they were drawn, `[rows, bound]`.
    order: Tensor,
    /// Masks `[rows * bound, size]` of the first one, two .. of them, without a history.
    masks: Tensor,
}

impl Training {
    pub(super) fn new(gpu: &Gpu, network: Network, data: &Dataset) -> Result<Self> {
        let params = &network.settings.params;
        let (batch, bound) = (params.batch.min(data.rows()), params.bound);
        let rows_of_masks: Vec<u32> = (0..batch * bound).map(|mask| (mask / bound) as u32).collect();
        Ok(Self {
            rows: Rows::new(gpu, data.features())?,
            divergences: Divergences::new(gpu, params.size, &params.log_prior())?,
            rows_of_masks: gpu.tensor(&rows_of_masks, [rows_of_masks.len()])?,
            network,
        })
    }

    fn params(&self) -> &SparseParams {
        &self.network.settings.params
    }

    /// Codes of one draw, or of all counts at once, and how well they explain the rows. Magnitudes `[rows, size]` are those that
    /// active features have.
    fn draw<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Tensor,
        [elements, count_logits]: [&Var<'t>; 2],
        counts: &Counts<'t>,
        magnitudes: Option<&Var<'t>>,
        (temperature, key): (f32, Key),
    ) -> Result<Drawn<'t>> {
        let &SparseParams { size, bound, trainer, .. } = self.params();
        let (gpu, rows) = (tape.gpu(), x.shape().dims()[0]);
        let flat = [rows * bound, size];
        let temperatures = [temperature; 2];
        // A drawn subset splits its key: the second half is that of the elements.
        let elements_key = if trainer == Trainer::Marginal { key } else { key.split::<2>()[1] };
        let order = top_k::forward(gpu, elements.value(), Noise::Key(elements_key), bound)?.indices;
        let mask = match trainer {
            Trainer::Marginal => {
                let masks = elements.nested_prefixes_straight_through(bound, temperature, Some(key))?.reshape(flat)?;
                let code = match magnitudes {
                    Some(magnitudes) => (&masks * &magnitudes.gather(&self.rows_of_masks)?)?,
                    None => masks.clone(),
                };
                let x = gather::forward(gpu, x, &self.rows_of_masks)?;
                let each = self.network.reconstruction(tape, parameters, &code, &x)?.reshape([rows, bound])?;
                let reconstruction = (&counts.shares * &each)?.sum_cols()?;
                // The l-th of the order is active where the count is at least l.
                let active = top_k::backward(gpu, &order, size, counts.at_least.value())?;
                return Ok(Drawn { reconstruction, active, order, masks: masks.value().clone() });
            }
            Trainer::StraightThrough => {
                elements.nested_subset_straight_through(count_logits, 1, temperatures, Some(key))?
            }
            Trainer::Relaxed => elements.nested_subset(count_logits, 1, temperatures, Some(key))?,
        };
        let active = mask.value().clone();
        let code = match magnitudes {
            Some(magnitudes) => (&mask * magnitudes)?,
            None => mask,
        };
        let reconstruction = self.network.reconstruction(tape, parameters, &code, x)?;
        let masks = elements.detach().nested_prefixes_straight_through(bound, temperature, Some(elements_key))?;
        Ok(Drawn { reconstruction, active, order, masks: masks.value().reshape(flat)? })
    }

    /// The negative bound `E[-log p(x | z)] + KL_L + KL_z + KL_v`, its divergences weighted by where training stands.
    fn bound<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Tensor,
        [count_logits, elements]: [Var<'t>; 2],
        magnitudes: Option<[Var<'t>; 2]>,
        (done, key): (f64, Key),
    ) -> Result<Losses<'t>> {
        let params = self.params();
        let (weight, boost) = (params.weight(done), params.boost_at(done));
        let [choice_key, magnitude_key] = key.split();
        let counts = self.divergences.law(tape, &count_logits)?;
        let values = match &magnitudes {
            Some([mean, log_variance]) => Some(mean.gaussian_rsample(log_variance, magnitude_key)?),
            None => None,
        };
        let draw = (params.temperature(done), choice_key);
        let logits = [&elements, &count_logits];
        let drawn = self.draw(tape, parameters, x, logits, &counts, values.as_ref(), draw)?;

        let reconstruction = drawn.reconstruction.mean()?;
        let of_counts = self.divergences.of_counts(&counts)?.mean()?;
        let of_choice = match params.choice {
            ChoiceDivergence::ChainRule => {
                let rows = &self.rows_of_masks;
                self.divergences.of_choice(&elements, &drawn.order, &drawn.masks, rows, &counts)?.mean()?
            }
            ChoiceDivergence::WithReplacement => {
                self.divergences.of_choice_with_replacement(&elements, &counts)?.mean()?
            }
        };
        let mut divergence = (&of_counts + &of_choice)?;
        let mut parts =
            vec![("reconstruction", reconstruction.clone()), ("counts", of_counts), ("choice", of_choice.clone())];
        if let Some([mean, log_variance]) = &magnitudes {
            // Of active features alone, and no reason to activate fewer: no gradient through what is active.
            let each = ((mean.square()? + &log_variance.exp()?)? - log_variance)?.affine(0.5, -0.5)?;
            let of_values = (each * &drawn.active)?.sum_cols()?.mean()?;
            divergence = (divergence + &of_values)?;
            parts.push(("magnitudes", of_values));
        }
        let mut loss = (reconstruction + &divergence.affine(weight, 0.0)?)?;
        if boost > 0.0 {
            let of_uniform = (self.divergences.of_counts_from_uniform(&counts)?.mean()? + &of_choice)?;
            loss = (loss + &of_uniform.affine(boost, 0.0)?)?;
        }
        parts.insert(0, ("loss", loss));
        parts.push(("active", counts.at_least.sum_cols()?.mean()?));
        Ok(parts)
    }
}

impl Objective for Training {
    fn phases(&self) -> Vec<Phase> {
        let &SparseParams { epochs, learning_rate, .. } = self.params();
        vec![Phase { name: "fit", epochs, learning_rate, warm_up: 20 }]
    }

    fn losses<'t>(
        &self,
        _: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        let (params, gpu) = (self.params(), tape.gpu());
        let x = self.rows.batch(batch)?;
        let reconstruction = |code: &Var<'t>| -> Result<Var<'t>> {
            Ok(self.network.reconstruction(tape, parameters, code, &x)?.mean()?)
        };
        match self.network.encode(tape, parameters, &tape.constant(&x), false)? {
            Heads::Sparse { counts, elements, magnitudes } => {
                self.bound(tape, parameters, &x, [counts, elements], magnitudes, (batch.done, key))
            }
            Heads::TopL(scores) => {
                let code = if params.magnitudes {
                    let largest = top_k::forward(gpu, scores.value(), Noise::None, params.bound)?.indices;
                    (scores * &top_k::k_hot(gpu, &largest, params.size)?)?
                } else {
                    let temperature = params.temperature(batch.done);
                    scores.successive_top_k_straight_through(params.bound, temperature, Some(key))?
                };
                Ok(vec![("reconstruction", reconstruction(&code)?)])
            }
            Heads::Dense([mean, log_variance]) => {
                let [code, divergence] = mean.gaussian(&log_variance, key)?;
                let (reconstruction, divergence) = (reconstruction(&code)?, divergence.mean()?);
                let loss = (&reconstruction + &divergence.affine(params.weight(batch.done), 0.0)?)?;
                Ok(vec![("loss", loss), ("reconstruction", reconstruction), ("divergence", divergence)])
            }
            Heads::L1(values) => {
                let code = values.relu()?;
                let atoms = tape.param(parameters, self.network.atoms())?;
                let lengths = atoms.square()?.sum_cols()?.affine(1.0, 1e-12)?.sqrt()?;
                let (reconstruction, penalty) = (reconstruction(&code)?, (&code * &lengths)?.sum_cols()?.mean()?);
                let loss = (&reconstruction + &penalty.affine(params.penalty, 0.0)?)?;
                Ok(vec![("loss", loss), ("reconstruction", reconstruction), ("penalty", penalty)])
            }
        }
    }
}
