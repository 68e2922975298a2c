//! Fisher's noncentral hypergeometric law: draws, exact with the straight-through gradient or relaxed, and
//! log-probabilities. A draw saves the prepared law and eight numbers per group and row; noise and relaxation are made again.

use softurn_kernels::ops::fisher_hypergeometric::{self as kernel, Noise, Prepared, Sampling, Score, Upstream};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct Draw {
    prepared: Prepared,
    draw: kernel::Draw,
    given: Option<Tensor>,
    sampling: Sampling<'static>,
    masked: bool,
}

impl Rule for Draw {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let zeros;
        let counts = match &dy[0] {
            Some(counts) => counts,
            None => {
                zeros = gpu.zeros(self.draw.counts.shape().clone())?;
                &zeros
            }
        };
        let log_prob = if self.sampling.scored { dy[1].as_ref() } else { None };
        let masks = if self.masked { dy[dy.len() - 1].as_ref() } else { None };
        let upstream = Upstream { counts, log_prob, masks };
        let noise = self.given.as_ref().map_or(self.sampling.noise, Noise::Given);
        let sampling = Sampling { noise, ..self.sampling };
        let [weights, draws] = kernel::backward(gpu, &self.prepared, &self.draw, &upstream, &sampling)?;
        let mut gradients = vec![Some(of_weights(gpu, &self.prepared, weights)?)];
        if wanted.len() > 1 {
            let shared = self.prepared.draw_rows() == 1;
            let rows = draws.len();
            let draws =
                if shared { reduce::over_rows(gpu, Reduction::Sum, &draws.reshape([rows, 1])?)? } else { draws };
            gradients.push(Some(draws));
        }
        Ok(gradients)
    }
}

struct LogProb {
    prepared: Prepared,
    score: Score,
    counts: Tensor,
}

impl Rule for LogProb {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let rows = kernel::log_prob_backward(gpu, &self.prepared, &self.score, &self.counts, only(dy)?)?;
        Ok(vec![Some(of_weights(gpu, &self.prepared, rows)?)])
    }
}

/// Shared weights get the sum of the rows' gradients.
fn of_weights(gpu: &Gpu, prepared: &Prepared, rows: Tensor) -> Result<Tensor> {
    if prepared.weight_rows() != 1 {
        return Ok(rows);
    }
    Ok(reduce::over_rows(gpu, Reduction::Sum, &rows)?.reshape([1, prepared.groups()])?)
}

/// A draw on the tape.
#[derive(Debug, Clone)]
pub struct FisherHypergeometricDraw<'t> {
    /// Counts `[rows, groups]`.
    pub counts: Var<'t>,
    /// The draw's log-probability `[rows]`, with its path through the counts, where it was asked for.
    pub sampled_log_prob: Option<Var<'t>>,
    /// Cumulative masks `[rows, groups, widest size + 1]`, where they were asked for.
    pub masks: Option<Var<'t>>,
}

impl<'t> Var<'t> {
    /// With this as the log weights `[1, groups]` or `[rows, groups]` that `prepared` was made of: draws `[rows, groups]`.
    /// Exact counts have the gradient of the relaxation at the sampling's temperature (straight-through), relaxed ones
    /// their own. `draws` is the real number of draws that `prepared` was made of, where it has a gradient.
    ///
    /// # Errors
    /// When `rows` does not fit rows of the law, or the temperature is not positive.
    pub fn fisher_hypergeometric_rsample(
        &self,
        prepared: &Prepared,
        draws: Option<&Self>,
        rows: usize,
        sampling: &Sampling<'_>,
        masked: bool,
    ) -> Result<FisherHypergeometricDraw<'t>> {
        let gpu = self.tape().gpu();
        let draw = kernel::forward(gpu, prepared, rows, sampling)?;
        let masks = if masked { Some(kernel::masks(gpu, prepared, &draw, sampling)?) } else { None };
        let (given, noise) = match sampling.noise {
            Noise::Given(noise) => (Some(noise.clone()), Noise::None),
            Noise::Key(key) => (None, Noise::Key(key)),
            Noise::None => (None, Noise::None),
        };
        let Sampling { temperature, relaxed, scored, .. } = *sampling;
        let mut outputs = vec![draw.counts.clone()];
        outputs.extend(draw.log_prob.clone());
        outputs.extend(masks);
        let rule = Draw {
            prepared: prepared.clone(),
            draw,
            given,
            sampling: Sampling { noise, temperature, relaxed, scored },
            masked,
        };
        let inputs: Vec<&Self> = std::iter::once(self).chain(draws).collect();
        let outputs = self.tape().record_all("fisher_hypergeometric_rsample", &inputs, outputs, rule)?;
        let mut outputs = outputs.into_iter();
        let Some(counts) = outputs.next() else { unreachable!("counts are always recorded") };
        let sampled_log_prob = if scored { outputs.next() } else { None };
        Ok(FisherHypergeometricDraw { counts, sampled_log_prob, masks: outputs.next() })
    }

    /// With this as the log weights that `prepared` was made of: `log P(counts)` in nats, `[rows]`, for counts
    /// `[rows, groups]`; a pure score, without a gradient of the counts.
    ///
    /// # Errors
    /// When the shape of the counts does not fit.
    pub fn fisher_hypergeometric_log_prob(&self, prepared: &Prepared, counts: &Tensor) -> Result<Self> {
        let score = kernel::log_prob(self.tape().gpu(), prepared, counts)?;
        let log_prob = score.log_prob.clone();
        let rule = LogProb { prepared: prepared.clone(), score, counts: counts.clone() };
        let [log_prob] = self.tape().record("fisher_hypergeometric_log_prob", &[self], [log_prob], rule)?;
        Ok(log_prob)
    }
}
