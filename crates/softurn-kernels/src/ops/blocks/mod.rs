//! Counts of groups to block masks of the positions of a row: `y[i, k] = F_k(i) - F_{k-1}(i)` with
//! `F_k(i) = clamp(C_k - i, 0, 1)` and `C_k` the sum of the counts of the groups up to and with `k`; of the last group it
//! is the number of positions. For whole counts position `i` belongs to the group with `C_{k-1} <= i < C_k`.
//!
//! `dC_k = Σ_i F'_k(i) (dy[i, k] - dy[i, k+1])`, where `F'_k` is 1 at the position `floor C_k`, at a whole `C_k` a half at
//! each of the two positions around it (1 at the only one at the ends), and 0 for boundaries outside. The last boundary
//! has no gradient. NaN among the counts gives NaN from its group on, and in all gradients before it.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::floats;
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Shape, Tensor};

const OP: &str = "blocks";
/// Groups of a row: software adapters end loops after 65,536 turns in total, without an error.
const TURNS: usize = 32_000;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    length: u32,
    groups: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("length", std::mem::offset_of!(Params, length)),
    ("groups", std::mem::offset_of!(Params, groups)),
];

/// Masks `[.., length, groups]` of counts `[.., groups]`, which should sum to `length` along the last axis.
///
/// # Errors
/// When `counts` does not hold floats or has no axis, when it has no groups for positions that exist, and when a software
/// adapter cannot walk as many groups.
pub fn forward(gpu: &Gpu, counts: &Tensor, length: usize) -> Result<Tensor> {
    let shape = check(gpu, counts, length)?;
    let y = gpu.uninitialised(OP, shape, DataType::F32)?;
    if y.is_empty() {
        return Ok(y);
    }
    let (rows, groups) = counts.shape().rows_cols();
    gpu.dispatch(Call {
        op: OP,
        entry: "forward",
        constants: &[],
        inputs: &[counts],
        outputs: &[&y],
        params: bytemuck::bytes_of(&Params { rows: rows as u32, length: length as u32, groups: groups as u32 }),
        groups: groups_for(rows * length.div_ceil(4), 64),
    })?;
    Ok(y)
}

/// The gradient of the counts from that of the masks `[.., length, groups]`.
///
/// # Errors
/// As [`forward`], and when `dy` has not the shape of masks of these counts.
pub fn backward(gpu: &Gpu, counts: &Tensor, dy: &Tensor) -> Result<Tensor> {
    floats(OP, &[("dy", dy)])?;
    let dims = dy.shape().dims();
    let length = if dims.len() >= 2 { dims[dims.len() - 2] } else { 0 };
    let shape = check(gpu, counts, length)?;
    if *dy.shape() != shape {
        return Err(Error::shape(OP, "dy", dy.shape(), format!("the masks of counts {}", counts.shape())));
    }
    if dy.is_empty() {
        return super::filled(gpu, 0.0, counts.shape().clone());
    }
    let dcounts = gpu.uninitialised(OP, counts.shape().clone(), DataType::F32)?;
    let (rows, groups) = counts.shape().rows_cols();
    gpu.dispatch(Call {
        op: OP,
        entry: "backward",
        constants: &[],
        inputs: &[counts, dy],
        outputs: &[&dcounts],
        params: bytemuck::bytes_of(&Params { rows: rows as u32, length: length as u32, groups: groups as u32 }),
        groups: groups_for(rows, 64),
    })?;
    Ok(dcounts)
}

/// The shape of the masks.
fn check(gpu: &Gpu, counts: &Tensor, length: usize) -> Result<Shape> {
    floats(OP, &[("counts", counts)])?;
    let Some((&groups, rows)) = counts.shape().dims().split_last() else {
        return Err(Error::shape(OP, "counts", counts.shape(), "[.., groups]"));
    };
    if groups == 0 && length > 0 && rows.iter().product::<usize>() > 0 {
        return Err(Error::shape(OP, "counts", counts.shape(), "a group at least"));
    }
    if gpu.is_software() && groups > TURNS {
        let what = format!("{OP} of {groups} groups");
        let (needed, limit) = (2 * groups as u64, 2 * TURNS as u64);
        return Err(Error::TooLarge { what, unit: "loop turns", needed, limit });
    }
    Ok(rows.iter().copied().chain([length, groups]).collect::<Vec<_>>()[..].into())
}
