//! Gaussian reparameterisation with its divergence from the standard normal: `z = m + e^{s/2} ε` and
//! `kl_i = ½ Σ_j (e^{s_ij} + m_ij² - 1 - s_ij)`, after Kingma and Welling, "Auto-encoding variational Bayes" (2014).
//!
//! The noise is made again in the backward pass instead of stored.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{Noise, RowPlan, floats, same_shape};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "gaussian";

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    key_low: u32,
    key_high: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
];

fn params(noise: Noise<'_>, rows: usize, cols: usize) -> Params {
    let [key_low, key_high] = noise.words();
    Params { rows: rows as u32, cols: cols as u32, key_low, key_high }
}

fn check(mean: &Tensor, log_variance: &Tensor, noise: Noise<'_>) -> Result<[usize; 2]> {
    floats(OP, &[("mean", mean), ("log_variance", log_variance)])?;
    same_shape(OP, "log_variance", log_variance, mean)?;
    noise.check(OP, mean)?;
    if mean.shape().dims().len() != 2 {
        return Err(Error::shape(OP, "mean", mean.shape(), "a matrix [rows, dims]"));
    }
    let (rows, cols) = mean.shape().rows_cols();
    Ok([rows, cols])
}

/// A draw `z` `[rows, dims]` and the divergence `kl` `[rows]` in nats, from mean and log-variance `[rows, dims]`.
///
/// # Errors
/// When shapes differ or are not matrices.
pub fn forward(gpu: &Gpu, mean: &Tensor, log_variance: &Tensor, noise: Noise<'_>) -> Result<(Tensor, Tensor)> {
    let [rows, cols] = check(mean, log_variance, noise)?;
    if mean.is_empty() {
        return Ok((gpu.zeros([rows, cols])?, gpu.zeros([rows])?));
    }
    let z = gpu.uninitialised(OP, mean.shape().clone(), DataType::F32)?;
    let divergence = gpu.uninitialised(OP, [rows].into(), DataType::F32)?;
    let plan = RowPlan::of(gpu, cols);
    let [lanes, per_group] = plan.constants();
    gpu.dispatch(Call {
        op: OP,
        entry: if cols.is_multiple_of(4) { "forward_fours" } else { "forward" },
        constants: &[lanes, per_group, ("NOISE", noise.mode())],
        inputs: &[mean, log_variance, noise.tensor(mean)],
        outputs: &[&z, &divergence],
        params: bytemuck::bytes_of(&params(noise, rows, cols)),
        groups: plan.groups(rows),
    })?;
    Ok((z, divergence))
}

/// The gradients of mean and log-variance from those of `z` and `kl`; the noise must be that of the forward pass. An absent
/// gradient is zero.
///
/// # Errors
/// As [`forward`], and when a gradient has another shape than its result.
pub fn backward(
    gpu: &Gpu,
    mean: &Tensor,
    log_variance: &Tensor,
    noise: Noise<'_>,
    dz: Option<&Tensor>,
    ddivergence: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let [rows, cols] = check(mean, log_variance, noise)?;
    let dz = match dz {
        Some(dz) => dz.clone(),
        None => gpu.zeros(mean.shape().clone())?,
    };
    let ddivergence = match ddivergence {
        Some(ddivergence) => ddivergence.clone(),
        None => gpu.zeros([rows])?,
    };
    floats(OP, &[("dz", &dz), ("ddivergence", &ddivergence)])?;
    same_shape(OP, "dz", &dz, mean)?;
    if ddivergence.len() != rows {
        return Err(Error::shape(OP, "ddivergence", ddivergence.shape(), format!("[{rows}]")));
    }
    let like_mean = || gpu.uninitialised(OP, mean.shape().clone(), DataType::F32);
    let (dmean, dlog_variance) = (like_mean()?, like_mean()?);
    if !mean.is_empty() {
        let (entry, groups) = match cols.is_multiple_of(4) {
            true => ("backward_fours", groups_for(mean.len() / 4, 64)),
            false => ("backward", groups_for(mean.len(), 64)),
        };
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[("NOISE", noise.mode())],
            inputs: &[mean, log_variance, noise.tensor(mean), &dz, &ddivergence],
            outputs: &[&dmean, &dlog_variance],
            params: bytemuck::bytes_of(&params(noise, rows, cols)),
            groups,
        })?;
    }
    Ok((dmean, dlog_variance))
}
