//! Fisher's noncentral hypergeometric law of several groups: `P(x) = Π C(m_i, x_i) ω_i^{x_i} / P₀` on `Σ x_i = n`.
//!
//! [`Urn`] holds sizes and draws, [`Prepared`] adds log weights and the law: the exact one, or the sequential law of Sutter
//! et al., "Learning group importance using the differentiable hypergeometric distribution" (ICLR 2023), which merges
//! the groups that are still to come into one. A prepared law keeps eight words per group and row. What else a kernel
//! needs (ratios of neighbouring coefficients of `Π_{j≥q} (1 + ω_j t)^{m_j}` on a window around the mean, and means
//! `E[x_j | positions q.. draw s]`) is made anew by every call, in scratch memory of bounded size; where one row of
//! weights is shared, once. See docs/numerics.md.
//!
//! Derivatives: `∂ log P(x) / ∂ log ω = x - E[x]`; for draws, the straight-through rule of the paper with the exact
//! conditionals, or the derivative of the relaxation itself.

pub mod cpu;
mod prepare;
#[cfg(test)]
mod report;
#[cfg(test)]
mod statistics;
#[cfg(test)]
pub(crate) mod tests;

use prepare::Need;
pub use prepare::{Law, Order, Prepared, Tables, Urn};

use super::{floats, same_shape, valid_temperature};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Key, Result, Tensor};

const OP: &str = "fisher_hypergeometric";
/// Numbers kept per row and position.
const SAVED: usize = 8;

#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    first: u32,
    count: u32,
    law_rows: u32,
    weight_rows: u32,
    size_rows: u32,
    draw_rows: u32,
    urn_draw_rows: u32,
    order_rows: u32,
    width: u32,
    level: u32,
    means: u32,
    key_low: u32,
    key_high: u32,
    temperature: f32,
    tail: f32,
    noise_width: u32,
    draws_at: u32,
}

impl Params {
    /// Rows of the batch that a part of the law serves: all, where one row is shared.
    fn part_rows(&self) -> usize {
        if self.law_rows == 1 { self.rows as usize } else { self.count as usize }
    }
}

macro_rules! fields {
    ($($name:ident),*) => { &[$((stringify!($name), std::mem::offset_of!(Params, $name))),*] };
}

pub(super) const PARAMS: &[(&str, usize)] = fields!(
    rows,
    first,
    count,
    law_rows,
    weight_rows,
    size_rows,
    draw_rows,
    urn_draw_rows,
    order_rows,
    width,
    level,
    means,
    key_low,
    key_high,
    temperature,
    tail,
    noise_width,
    draws_at
);

/// Where the noise of a draw comes from.
#[derive(Debug, Clone, Copy)]
pub enum Noise<'a> {
    /// None: the most probable counts, position by position, or the mean of the tempered law.
    None,
    /// Made from a key.
    Key(Key),
    /// Given, `[rows, groups - 1, widest size + 1]`, by position and count: for tests.
    Given(&'a Tensor),
}

/// How counts are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Sampling<'a> {
    /// Where the noise comes from.
    pub noise: Noise<'a>,
    /// Of the relaxation, positive.
    pub temperature: f32,
    /// Whether counts are means of the relaxation, which sum to the draws, instead of exact draws.
    pub relaxed: bool,
    /// Whether the draw's log-probability is asked for.
    pub scored: bool,
}

impl Sampling<'_> {
    /// Exact draws with noise from `key`, whose gradient is that of the relaxation at `temperature`.
    pub fn straight_through(key: Key, temperature: f32) -> Self {
        Self { noise: Noise::Key(key), temperature, relaxed: false, scored: false }
    }

    /// Relaxed counts interpolate tables; exact ones of a law per row can do without.
    fn fused(&self, prepared: &Prepared) -> bool {
        !self.relaxed && prepared.recurs_per_row()
    }

    fn constants(&self, prepared: &Prepared) -> [(&'static str, f64); 7] {
        let noise = match self.noise {
            Noise::None => 0.0,
            Noise::Key(_) => 1.0,
            Noise::Given(_) => 2.0,
        };
        let flag = |on: bool| f64::from(u8::from(on));
        [
            ("GROUPS", prepared.groups() as f64),
            ("MERGED", flag(prepared.merged())),
            ("RELAXED", flag(self.relaxed)),
            ("NOISE", noise),
            ("SCORED", flag(self.scored)),
            ("MASKED", 0.0),
            ("FUSED", flag(self.fused(prepared))),
        ]
    }

    /// The conditional's window, in nats below its mode: what is left out of a relaxation is less likely than e^-22 against it.
    fn tail(&self) -> f32 {
        22.0 * self.temperature.max(1.0)
    }

    /// Parameters of a part of the batch with those of the draw.
    fn params(&self, prepared: &Prepared, part: Params) -> Params {
        let [key_low, key_high] = if let Noise::Key(key) = self.noise { key.words() } else { [0, 0] };
        Params {
            key_low,
            key_high,
            temperature: self.temperature,
            tail: self.tail(),
            noise_width: prepared.urn().widest() as u32 + 1,
            ..part
        }
    }

    fn check(&self, prepared: &Prepared, rows: usize) -> Result<()> {
        valid_temperature(OP, self.temperature)?;
        prepared.check_rows("rows", rows)?;
        let Noise::Given(noise) = self.noise else { return Ok(()) };
        floats(OP, &[("noise", noise)])?;
        let expected = [rows, prepared.groups().saturating_sub(1), prepared.urn().widest() + 1];
        if noise.shape().dims() != expected {
            return Err(Error::shape(OP, "noise", noise.shape(), format!("{expected:?}")));
        }
        Ok(())
    }
}

/// Draws and what their backward needs: eight numbers per group and row.
#[derive(Debug, Clone)]
pub struct Draw {
    /// Counts `[rows, groups]` as floats.
    pub counts: Tensor,
    /// `log P` of each draw, `[rows]`: of relaxed counts, the mean of the conditionals' log-probabilities under the
    /// relaxation, which is no density. Where it was asked for.
    pub log_prob: Option<Tensor>,
    saved: Tensor,
}

/// Draws counts. Every row of counts sums to its draws; rows that cannot be drawn (more draws than elements of positive
/// weight, NaN) are NaN.
///
/// # Errors
/// When `rows` does not fit rows of the law, the temperature is not positive, or given noise has another shape.
pub fn forward(gpu: &Gpu, prepared: &Prepared, rows: usize, sampling: &Sampling<'_>) -> Result<Draw> {
    sampling.check(prepared, rows)?;
    let prepared = &prepared.reaching(gpu, sampling.temperature)?;
    prepared.check_turns(gpu, "a draw", sampling.tail(), 0.7, 0.0, sampling.fused(prepared))?;
    let groups = prepared.groups();
    let counts = gpu.uninitialised(OP, [rows, groups].into(), DataType::F32)?;
    let saved = gpu.uninitialised(OP, [(rows * (groups - 1) * SAVED).max(1)].into(), DataType::F32)?;
    let log_prob = gpu.uninitialised(OP, [if sampling.scored { rows } else { 1 }].into(), DataType::F32)?;
    let nothing = prepared.frame(); // bound where nothing is read
    prepared.for_each_part(gpu, rows, Need::ratios(sampling.fused(prepared)), |tables, params| {
        gpu.dispatch(Call {
            op: OP,
            entry: "forward",
            constants: &sampling.constants(prepared),
            inputs: &[prepared.frame(), tables, given(sampling, nothing)],
            outputs: &[&counts, &saved, &log_prob],
            params: bytemuck::bytes_of(&sampling.params(prepared, params)),
            groups: groups_for(params.part_rows(), 64),
        })
    })?;
    Ok(Draw { counts, log_prob: sampling.scored.then_some(log_prob), saved })
}

fn given<'a>(sampling: &Sampling<'a>, nothing: &'a Tensor) -> &'a Tensor {
    if let Noise::Given(noise) = sampling.noise { or(noise, nothing) } else { nothing }
}

/// An empty tensor cannot be bound.
fn or<'a>(tensor: &'a Tensor, nothing: &'a Tensor) -> &'a Tensor {
    if tensor.is_empty() { nothing } else { tensor }
}

/// Upstream gradients of a [`Draw`].
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a> {
    /// Of the counts, `[rows, groups]`.
    pub counts: &'a Tensor,
    /// Of the log-probability, `[rows]`.
    pub log_prob: Option<&'a Tensor>,
    /// Of the masks, `[rows, groups, widest size + 1]`.
    pub masks: Option<&'a Tensor>,
}

/// The gradients of a draw with respect to the log weights, `[rows, groups]`, and to the number of draws, `[rows]` (both to
/// be summed over rows where they are shared). Of exact draws, that of the relaxation (straight-through): its mean is
/// the covariance, see docs/numerics.md. Each row of the first sums to 0.
///
/// # Errors
/// When shapes differ, or the log-probability has a gradient that was not asked for in [`forward`].
pub fn backward(
    gpu: &Gpu,
    prepared: &Prepared,
    draw: &Draw,
    upstream: &Upstream<'_>,
    sampling: &Sampling<'_>,
) -> Result<[Tensor; 2]> {
    let (rows, groups) = (draw.counts.shape().rows_cols().0, prepared.groups());
    sampling.check(prepared, rows)?;
    same_shape(OP, "dcounts", upstream.counts, &draw.counts)?;
    floats(OP, &[("dcounts", upstream.counts)])?;
    let width = prepared.urn().widest() + 1;
    if let Some(masks) = upstream.masks {
        floats(OP, &[("dmasks", masks)])?;
        if masks.shape().dims() != [rows, groups, width] {
            return Err(Error::shape(OP, "dmasks", masks.shape(), format!("[{rows}, {groups}, {width}]")));
        }
    }
    if let Some(log_prob) = upstream.log_prob {
        floats(OP, &[("dlog_prob", log_prob)])?;
        if log_prob.len() != rows || !sampling.scored {
            let expected = format!("[{rows}], of draws that were scored");
            return Err(Error::shape(OP, "dlog_prob", log_prob.shape(), expected));
        }
    }
    let prepared = &prepared.reaching(gpu, sampling.temperature)?;
    // Fours of values, and four turns for each; once more for masks, and for every sixteen groups of means.
    let walks = 1.0 + f64::from(u8::from(upstream.masks.is_some())) + groups as f64 / 16.0;
    prepared.check_turns(gpu, "the gradient of a draw", sampling.tail(), 1.3 * walks, 0.0, sampling.fused(prepared))?;
    // Two tensors in one buffer: a stage binds eight.
    let draws_at = (rows * groups).next_multiple_of(64);
    let gradient = gpu.uninitialised(OP, [draws_at + rows].into(), DataType::F32)?;
    let nothing = prepared.frame(); // bound where nothing is read
    let mut constants = sampling.constants(prepared);
    constants[4].1 = f64::from(u8::from(upstream.log_prob.is_some()));
    constants[5].1 = f64::from(u8::from(upstream.masks.is_some()));
    prepared.for_each_part(gpu, rows, Need::means(sampling.fused(prepared)), |tables, params| {
        gpu.dispatch(Call {
            op: OP,
            entry: "backward",
            constants: &constants,
            inputs: &[
                prepared.frame(),
                tables,
                given(sampling, nothing),
                &draw.saved,
                upstream.counts,
                upstream.log_prob.unwrap_or(nothing),
                upstream.masks.unwrap_or(nothing),
            ],
            outputs: &[&gradient],
            params: bytemuck::bytes_of(&Params { draws_at: draws_at as u32, ..sampling.params(prepared, params) }),
            groups: groups_for(params.part_rows(), 64),
        })
    })?;
    Ok([gradient.view(0, [rows, groups])?, gradient.view(draws_at, [rows])?])
}

/// The cumulative masks of a draw, `[rows, groups, widest size + 1]`: entry `k` is 1 for `k` up to the count and 0 above it;
/// of relaxed counts, the relaxation's weight on counts of `k` and more. Entries `1..` of a group sum to its count.
///
/// # Errors
/// Those of [`forward`].
pub fn masks(gpu: &Gpu, prepared: &Prepared, draw: &Draw, sampling: &Sampling<'_>) -> Result<Tensor> {
    let (rows, groups) = (draw.counts.shape().rows_cols().0, prepared.groups());
    sampling.check(prepared, rows)?;
    let prepared = &prepared.reaching(gpu, sampling.temperature)?;
    let width = prepared.urn().widest() + 1;
    prepared.check_turns(gpu, "the masks", sampling.tail(), 1.3, width as f64, false)?;
    let masks = gpu.uninitialised(OP, [rows, groups, width].into(), DataType::F32)?;
    let nothing = prepared.frame(); // bound where nothing is read
    prepared.for_each_part(gpu, rows, Need::ratios(sampling.fused(prepared)), |tables, params| {
        gpu.dispatch(Call {
            op: OP,
            entry: "masks",
            constants: &sampling.constants(prepared),
            inputs: &[prepared.frame(), tables, given(sampling, nothing), &draw.saved, &draw.counts],
            outputs: &[&masks],
            params: bytemuck::bytes_of(&sampling.params(prepared, params)),
            groups: groups_for(params.part_rows() * groups, 64),
        })
    })?;
    Ok(masks)
}

/// Moments of the exact law.
#[derive(Debug, Clone)]
pub struct Moments {
    /// `E[x]`, `[law rows, groups]`.
    pub mean: Tensor,
    /// `Cov(x_0, x_j)` of the first group with all, `[law rows, groups]`.
    pub covariance_with_first: Tensor,
    /// `log P(mode)`, and the mean of `log C(m_0, x_0) ω_0^{x_0}` above its value at the mode, `[law rows, 2]`.
    pub summary: Tensor,
}

/// Mean, covariances with the first group, and the normaliser.
///
/// # Errors
/// Of the merged law, whose moments have no short form.
pub fn moments(gpu: &Gpu, prepared: &Prepared) -> Result<Moments> {
    if prepared.merged() {
        return Err(Error::argument(OP, "law", "is the merged one, whose moments have no closed form: average draws"));
    }
    prepared.check_turns(gpu, "the moments", 32.0, 1.0, 2.0 + prepared.groups() as f64, false)?;
    let (rows, groups) = (prepared.law_rows(), prepared.groups());
    let mean = gpu.uninitialised(OP, [rows, groups].into(), DataType::F32)?;
    let covariance_with_first = gpu.uninitialised(OP, [rows, groups].into(), DataType::F32)?;
    let summary = gpu.uninitialised(OP, [rows, 2].into(), DataType::F32)?;
    prepared.for_each_part(gpu, rows, Need::Means, |tables, params| {
        gpu.dispatch(Call {
            op: OP,
            entry: "moments",
            constants: &[("GROUPS", groups as f64)],
            inputs: &[prepared.frame(), tables],
            outputs: &[&mean, &covariance_with_first, &summary],
            params: bytemuck::bytes_of(&Params { tail: 32.0, ..params }),
            groups: groups_for(params.count as usize, 64),
        })
    })?;
    Ok(Moments { mean, covariance_with_first, summary })
}

/// `log P` of counts and what its backward needs.
#[derive(Debug, Clone)]
pub struct Score {
    /// In nats, `[rows]`; `-inf` outside the support (not whole, negative, too many, or another total).
    pub log_prob: Tensor,
    /// Of the exact law.
    mean: Option<Tensor>,
}

/// `log P(counts)` per row. Of the exact law a point evaluation: differences of log-factorials from the mode, which keep all
/// digits (docs/numerics.md).
///
/// # Errors
/// When `counts` is not `[rows, groups]` or does not fit rows of the law.
pub fn log_prob(gpu: &Gpu, prepared: &Prepared, counts: &Tensor) -> Result<Score> {
    let rows = prepared.rows_of("counts", counts)?;
    let score = gpu.uninitialised(OP, [rows].into(), DataType::F32)?;
    let constants = [("GROUPS", prepared.groups() as f64), ("MERGED", f64::from(u8::from(prepared.merged())))];
    let (frame, factorials) = (prepared.frame(), prepared.urn().factorials(gpu)?);
    let params = Params { rows: rows as u32, tail: 32.0, ..prepared.params() };
    if prepared.merged() {
        prepared.check_turns(gpu, "a log-probability", 32.0, 1.0, 0.0, false)?;
        if rows > 0 {
            gpu.dispatch(Call {
                op: OP,
                entry: "score_merged",
                constants: &constants,
                inputs: &[frame, frame, counts, &factorials],
                outputs: &[&score],
                params: bytemuck::bytes_of(&params),
                groups: groups_for(rows, 64),
            })?;
        }
        return Ok(Score { log_prob: score, mean: None });
    }
    let moments = moments(gpu, prepared)?;
    if rows > 0 {
        gpu.dispatch(Call {
            op: OP,
            entry: "score",
            constants: &constants[..1],
            inputs: &[frame, prepared.log_weights(), counts, &factorials, &moments.summary],
            outputs: &[&score],
            params: bytemuck::bytes_of(&params),
            groups: groups_for(rows, 64),
        })?;
    }
    Ok(Score { log_prob: score, mean: Some(moments.mean) })
}

/// The gradient of [`log_prob`] with respect to the log weights, `[rows, groups]`; of the exact law
/// `dscore · (counts - E[x])`.
///
/// # Errors
/// When shapes differ.
pub fn log_prob_backward(
    gpu: &Gpu,
    prepared: &Prepared,
    score: &Score,
    counts: &Tensor,
    dscore: &Tensor,
) -> Result<Tensor> {
    let rows = prepared.rows_of("counts", counts)?;
    floats(OP, &[("dscore", dscore)])?;
    if dscore.len() != rows {
        return Err(Error::shape(OP, "dscore", dscore.shape(), format!("[{rows}]")));
    }
    let groups = prepared.groups();
    let dweights = gpu.uninitialised(OP, counts.shape().clone(), DataType::F32)?;
    if rows == 0 {
        return Ok(dweights);
    }
    let params = Params { rows: rows as u32, tail: 32.0, ..prepared.params() };
    match &score.mean {
        Some(mean) => gpu.dispatch(Call {
            op: OP,
            entry: "differentiate_score",
            constants: &[("GROUPS", groups as f64)],
            inputs: &[mean, dscore, counts],
            outputs: &[&dweights],
            params: bytemuck::bytes_of(&params),
            groups: groups_for(rows * groups, 64),
        })?,
        None => gpu.dispatch(Call {
            op: OP,
            entry: "differentiate_merged",
            constants: &[("GROUPS", groups as f64), ("MERGED", 1.0)],
            inputs: &[prepared.frame(), prepared.frame(), counts, &prepared.urn().factorials(gpu)?, dscore],
            outputs: &[&dweights],
            params: bytemuck::bytes_of(&params),
            groups: groups_for(rows, 64),
        })?,
    }
    Ok(dweights)
}

/// `E[x]`, `[law rows, groups]`.
///
/// # Errors
/// As [`moments`].
pub fn mean(gpu: &Gpu, prepared: &Prepared) -> Result<Tensor> {
    Ok(moments(gpu, prepared)?.mean)
}

/// The most probable counts `[law rows, groups]` of the exact law.
///
/// # Errors
/// Of the merged law.
pub fn mode(gpu: &Gpu, prepared: &Prepared) -> Result<Tensor> {
    if prepared.merged() {
        return Err(Error::argument(OP, "law", "is the merged one, whose mode has no closed form"));
    }
    let (rows, groups) = (prepared.law_rows(), prepared.groups());
    let mode = gpu.uninitialised(OP, [rows, groups].into(), DataType::F32)?;
    gpu.dispatch(Call {
        op: OP,
        entry: "most_probable",
        constants: &[("GROUPS", groups as f64)],
        inputs: &[prepared.frame()],
        outputs: &[&mode],
        params: bytemuck::bytes_of(&prepared.params()),
        groups: groups_for(rows * groups, 64),
    })?;
    Ok(mode)
}

/// Covariances `[law rows, groups, groups]` and entropies in nats `[law rows]`: every group is drawn first once.
///
/// # Errors
/// As [`moments`].
pub fn covariance_and_entropy(gpu: &Gpu, prepared: &Prepared) -> Result<[Tensor; 2]> {
    let groups = prepared.groups();
    let rows = prepared.law_rows();
    let (mut covariance, mut entropy) = (Vec::new(), vec![0.0f32; rows]);
    let mut by_group = Vec::new();
    for first in 0..groups {
        let moments = moments(gpu, &prepared.with_first(gpu, first)?)?;
        by_group.push((moments.covariance_with_first.read()?, moments.summary.read()?));
    }
    for row in 0..rows {
        for (group, (with_first, summary)) in by_group.iter().enumerate() {
            covariance.extend_from_slice(&with_first[row * groups..(row + 1) * groups]);
            let log_prob_of_mode = if group == 0 { summary[2 * row] } else { 0.0 };
            entropy[row] -= log_prob_of_mode + summary[2 * row + 1];
        }
    }
    Ok([gpu.tensor(&covariance, [rows, groups, groups])?, gpu.tensor(&entropy, [rows])?])
}
