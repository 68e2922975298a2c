//! The k largest of each row, with Gumbel noise added or without. With noise the ordered indices are a draw without
//! replacement by the weights `exp(x)`: the first k of the Plackett-Luce law (Gumbel-top-k; Kool, van Hoof and Welling 2019).
//!
//! Noise is made from the key wherever it is needed and is never in memory; it is that of [`gumbel_softmax`](super::gumbel_softmax)
//! with the same key. Equal scores are taken in the order of their indices. An element at `-inf` is never chosen: slots that
//! nothing is left for hold `-inf` and the index `cols`. A row with NaN gives NaN, the index of its first NaN, then `cols`.

pub mod cpu;
#[cfg(test)]
mod statistics;
#[cfg(test)]
pub(crate) mod tests;

use super::{Noise, floats, integers, leading};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Plan, Result, Shape, Tensor};

const OP: &str = "top_k";
/// The most that can be chosen.
pub const MAX_K: usize = 4096;
/// The longest row that a workgroup sorts.
const SORTED: usize = 1024;
/// The longest row and the most that one invocation finds: far from the 65,536 loop turns after which software adapters stop.
const INSERTED: (usize, usize) = (1 << 15, 64);

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    k: u32,
    key_low: u32,
    key_high: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("k", std::mem::offset_of!(Params, k)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
];

/// What was chosen of each row, in descending order.
#[derive(Debug, Clone)]
pub struct TopK {
    /// Elements with their noise, `[.., k]`.
    pub values: Tensor,
    /// Their columns as `u32`, `[.., k]`.
    pub indices: Tensor,
}

/// How rows are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    Sort,
    Radix,
    Insert,
}

/// The `k` largest of each row of the last axis of `x`, in descending order.
///
/// # Errors
/// When `x` does not hold floats, `k` is 0, more than a row has or than 4,096, or given noise has another shape.
pub fn forward(gpu: &Gpu, x: &Tensor, noise: Noise<'_>, k: usize) -> Result<TopK> {
    let cols = x.shape().rows_cols().1;
    let search = match gpu.plan() {
        Plan::Gpu if cols <= SORTED => Search::Sort,
        Plan::Cpu if cols <= INSERTED.0 && k <= INSERTED.1 => Search::Insert,
        _ => Search::Radix,
    };
    search_by(gpu, search, x, noise, k)
}

fn search_by(gpu: &Gpu, search: Search, x: &Tensor, noise: Noise<'_>, k: usize) -> Result<TopK> {
    floats(OP, &[("x", x)])?;
    noise.check(OP, x)?;
    let (rows, cols) = x.shape().rows_cols();
    if k == 0 || k > cols || k > MAX_K {
        let message = format!("is {k}, not from 1 to the {} of a row's {cols} elements", cols.min(MAX_K));
        return Err(Error::argument(OP, "k", message));
    }
    let shape = Shape::from([leading(x.shape()).dims(), &[k]].concat().as_slice());
    let values = gpu.uninitialised(OP, shape.clone(), DataType::F32)?;
    let indices = gpu.uninitialised(OP, shape, DataType::U32)?;
    if rows == 0 {
        return Ok(TopK { values, indices });
    }
    let [key_low, key_high] = noise.words();
    let [rows_word, cols_word, k_word] = [rows, cols, k].map(|n| n as u32);
    let params = Params { rows: rows_word, cols: cols_word, k: k_word, key_low, key_high };
    let mode = ("NOISE", noise.mode());
    let call = |entry, constants: &[(&'static str, f64)], inputs: &[&Tensor], outputs: &[&Tensor], groups| {
        let params = bytemuck::bytes_of(&params);
        gpu.dispatch(Call { op: OP, entry, constants, inputs, outputs, params, groups })
    };
    let inputs = [x, noise.tensor(x)];
    if search == Search::Sort {
        let size = cols.next_power_of_two().max(2);
        let lanes = (size / 2).min(256);
        let per_group = (64 / lanes).max(1);
        let constants = [("SIZE", size as f64), ("LANES", lanes as f64), ("ROWS", per_group as f64), mode];
        call("sort", &constants, &inputs, &[&values, &indices], groups_for(rows, per_group))?;
        return Ok(TopK { values, indices });
    }
    if search == Search::Insert {
        let fours = k.next_power_of_two().max(4) / 4;
        let constants = [("FOURS", fours as f64), mode];
        call("insert", &constants, &inputs, &[&values, &indices], groups_for(rows, 64))?;
        return Ok(TopK { values, indices });
    }
    let candidates = gpu.uninitialised(OP, [k, rows].into(), DataType::F32)?;
    let places = gpu.uninitialised(OP, [k, rows].into(), DataType::U32)?;
    let summary = gpu.uninitialised(OP, [2, rows].into(), DataType::U32)?;
    let found = [&candidates, &places, &summary];
    call("radix", &[("LANES", 256.0), ("ROWS", 1.0), mode], &inputs, &found, groups_for(rows, 1))?;
    let ranks = groups_for(rows * k.div_ceil(4), 64);
    call("rank", &[mode], &[x, &candidates, &places, &summary], &[&values, &indices], ranks)?;
    Ok(TopK { values, indices })
}

/// The gradient of `x` `[.., cols]` from that of the values: `dvalues` where an element was chosen, 0 elsewhere.
///
/// # Errors
/// When the shapes differ.
pub fn backward(gpu: &Gpu, indices: &Tensor, cols: usize, dvalues: &Tensor) -> Result<Tensor> {
    floats(OP, &[("dvalues", dvalues)])?;
    if dvalues.shape() != indices.shape() {
        return Err(Error::shape(OP, "dvalues", dvalues.shape(), indices.shape().to_string()));
    }
    scatter(gpu, "backward", indices, cols, &[indices, dvalues])
}

/// Rows `[.., cols]` of zeros with ones at the indices; indices past the end are left out.
///
/// # Errors
/// When `indices` does not hold `u32`.
pub fn k_hot(gpu: &Gpu, indices: &Tensor, cols: usize) -> Result<Tensor> {
    scatter(gpu, "k_hot", indices, cols, &[indices])
}

fn scatter(gpu: &Gpu, entry: &'static str, indices: &Tensor, cols: usize, inputs: &[&Tensor]) -> Result<Tensor> {
    integers(OP, &[("indices", indices)])?;
    let (rows, k) = indices.shape().rows_cols();
    let y = gpu.zeros(Shape::from([leading(indices.shape()).dims(), &[cols]].concat().as_slice()))?;
    if indices.is_empty() || y.is_empty() {
        return Ok(y);
    }
    let [rows_word, cols_word, k_word] = [rows, cols, k].map(|n| n as u32);
    let params = Params { rows: rows_word, cols: cols_word, k: k_word, key_low: 0, key_high: 0 };
    gpu.dispatch(Call {
        op: OP,
        entry,
        constants: &[],
        inputs,
        outputs: &[&y],
        params: bytemuck::bytes_of(&params),
        groups: groups_for(rows * k, 64),
    })?;
    Ok(y)
}
