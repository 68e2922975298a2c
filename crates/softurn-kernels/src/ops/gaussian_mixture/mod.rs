//! Expected log density of diagonal Gaussians under diagonal Gaussian components, for mixtures and deep clustering:
//! `out_ic = -½ Σ_j [log 2π + v_cj + (e^{s_ij} + (m_ij - μ_cj)²) e^{-v_cj}]`.
//!
//! Without `s` it is the log density `log N(m_i; μ_c, e^{v_c})` of points. Nothing of size `rows · components · dims` is
//! made.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::reduce::{self, Reduction};
use super::{floats, same_shape};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Tensor};

const OP: &str = "gaussian_mixture";
/// Rows that one invocation adds up in the gradients of the components.
const BLOCK: usize = 512;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    dims: u32,
    components: u32,
    block: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("dims", std::mem::offset_of!(Params, dims)),
    ("components", std::mem::offset_of!(Params, components)),
    ("block", std::mem::offset_of!(Params, block)),
];

/// The gradients of all inputs.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Of the means of the rows, `[rows, dims]`.
    pub mean: Tensor,
    /// Of their log-variances, `[rows, dims]`; `None` for points.
    pub log_variance: Option<Tensor>,
    /// Of the components' means, `[components, dims]`.
    pub means: Tensor,
    /// Of the components' log-variances, `[components, dims]`.
    pub log_variances: Tensor,
}

fn check(mean: &Tensor, log_variance: Option<&Tensor>, means: &Tensor, log_variances: &Tensor) -> Result<Params> {
    floats(OP, &[("mean", mean), ("means", means), ("log_variances", log_variances)])?;
    for (name, tensor) in [("mean", mean), ("means", means)] {
        if tensor.shape().dims().len() != 2 {
            return Err(Error::shape(OP, name, tensor.shape(), "a matrix"));
        }
    }
    if let Some(log_variance) = log_variance {
        floats(OP, &[("log_variance", log_variance)])?;
        same_shape(OP, "log_variance", log_variance, mean)?;
    }
    same_shape(OP, "log_variances", log_variances, means)?;
    let ((rows, dims), (components, cols)) = (mean.shape().rows_cols(), means.shape().rows_cols());
    if cols != dims {
        return Err(Error::shape(OP, "means", means.shape(), format!("[components, {dims}]")));
    }
    if dims == 0 || components == 0 {
        return Err(Error::shape(OP, "means", means.shape(), "at least one component and one dimension"));
    }
    Ok(Params { rows: rows as u32, dims: dims as u32, components: components as u32, block: BLOCK as u32 })
}

/// `[rows, components]`, in nats, from `mean` and `log_variance` `[rows, dims]` and components `[components, dims]`.
///
/// # Errors
/// When shapes do not fit.
pub fn forward(
    gpu: &Gpu,
    mean: &Tensor,
    log_variance: Option<&Tensor>,
    means: &Tensor,
    log_variances: &Tensor,
) -> Result<Tensor> {
    let params = check(mean, log_variance, means, log_variances)?;
    let density = gpu.uninitialised(OP, [params.rows as usize, params.components as usize].into(), DataType::F32)?;
    if !density.is_empty() {
        gpu.dispatch(Call {
            op: OP,
            entry: "forward",
            constants: &[("POINT", f64::from(log_variance.is_none()))],
            // For points nothing reads the second binding; any buffer may stand there.
            inputs: &[mean, log_variance.unwrap_or(mean), means, log_variances],
            outputs: &[&density],
            params: bytemuck::bytes_of(&params),
            groups: groups_for(density.len(), 64),
        })?;
    }
    Ok(density)
}

/// The gradients of all inputs from that of the result, `[rows, components]`.
///
/// # Errors
/// As [`forward`], and when `ddensity` has another shape.
pub fn backward(
    gpu: &Gpu,
    mean: &Tensor,
    log_variance: Option<&Tensor>,
    means: &Tensor,
    log_variances: &Tensor,
    ddensity: &Tensor,
) -> Result<Gradients> {
    let params = check(mean, log_variance, means, log_variances)?;
    floats(OP, &[("ddensity", ddensity)])?;
    let (rows, components) = (params.rows as usize, params.components as usize);
    if ddensity.shape().dims() != [rows, components] {
        return Err(Error::shape(OP, "ddensity", ddensity.shape(), format!("[{rows}, {components}]")));
    }
    if rows == 0 {
        let zeros = || gpu.zeros(means.shape().clone());
        return Ok(Gradients {
            mean: gpu.zeros(mean.shape().clone())?,
            log_variance: log_variance.map(|_| gpu.zeros(mean.shape().clone())).transpose()?,
            means: zeros()?,
            log_variances: zeros()?,
        });
    }
    let constants = [("POINT", f64::from(log_variance.is_none()))];
    let inputs = [mean, log_variance.unwrap_or(mean), means, log_variances, ddensity];
    let like_mean = || gpu.uninitialised(OP, mean.shape().clone(), DataType::F32);
    let (dmean, dlog_variance) = (like_mean()?, like_mean()?);
    gpu.dispatch(Call {
        op: OP,
        entry: "backward",
        constants: &constants,
        inputs: &inputs,
        outputs: &[&dmean, &dlog_variance],
        params: bytemuck::bytes_of(&params),
        groups: groups_for(mean.len(), 64),
    })?;
    let blocks = rows.div_ceil(BLOCK);
    let partial = || gpu.uninitialised(OP, [blocks, means.len()].into(), DataType::F32);
    let (dmeans, dlog_variances) = (partial()?, partial()?);
    gpu.dispatch(Call {
        op: OP,
        entry: "differentiate_components",
        constants: &constants,
        inputs: &inputs,
        outputs: &[&dmeans, &dlog_variances],
        params: bytemuck::bytes_of(&params),
        groups: groups_for(dmeans.len(), 64),
    })?;
    let sum = |partial: Tensor| -> Result<Tensor> {
        let sum = if blocks == 1 { partial } else { reduce::over_rows(gpu, Reduction::Sum, &partial)? };
        sum.reshape(means.shape().clone())
    };
    Ok(Gradients {
        mean: dmean,
        log_variance: log_variance.map(|_| dlog_variance),
        means: sum(dmeans)?,
        log_variances: sum(dlog_variances)?,
    })
}
