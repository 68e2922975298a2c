//! The exact law of subsets of k of a row's elements, `P(S) = Π_{i in S} w_i / e_k(w)`: conditional Bernoulli, or Fisher's law of
//! groups of one element. Its normaliser, its marginals, their gradients, and draws.
//!
//! `e_k`, the k-th elementary symmetric polynomial, is the probability that independent Bernoulli variables sum to k, but for
//! a factor; with odds tilted so that they do on average, 16 points of their generating function on the unit circle give it to
//! rounding whatever k and the number of elements are (docs/numerics.md). Marginals take out one factor of that product, the
//! covariance of the choices, which is the gradient of the marginals (Ahmed, Zeng, Niepert and Van den Broeck 2023,
//! "SIMPLE"), two. Draws go along a table of `(n + 1)(k + 1)` probabilities a row, in scratch memory of bounded size.
//!
//! Elements of log weight `-inf` are never chosen. Rows with fewer than k others have `log_sum` `-inf`, NaN marginals and draws;
//! NaN and `+inf` make a row NaN.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{Noise, floats, leading, same_shape, sigmoid_top_k};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Key, Result, Tensor};

const OP: &str = "subset";
/// Numbers kept of a row.
const SAVED: usize = 33;
/// Tables of one part of a batch, in bytes.
const SCRATCH: usize = 32 << 20;
/// Software adapters end all loops of an invocation after 65,536 turns, without an error.
const TURNS: usize = 60_000;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    k: u32,
    first: u32,
    last: u32,
    row_offset: u32,
    key_low: u32,
    key_high: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("k", std::mem::offset_of!(Params, k)),
    ("first", std::mem::offset_of!(Params, first)),
    ("last", std::mem::offset_of!(Params, last)),
    ("row_offset", std::mem::offset_of!(Params, row_offset)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
];

/// The law of each row, with what its gradients need: 34 numbers a row beside these.
#[derive(Debug, Clone)]
pub struct Subsets {
    /// `ln e_k(w)` in nats, in the shape of the leading axes.
    pub log_sum: Tensor,
    /// How often each element is chosen, in the shape of the weights; rows sum to k.
    pub marginals: Tensor,
    log_weights: Tensor,
    level: Tensor,
    saved: Tensor,
    k: usize,
}

/// The law of subsets of `k` elements by log weights along the last axis.
///
/// # Errors
/// When the weights do not hold floats, `k` is 0 or more than a row has, or a row is too long for a software adapter.
pub fn forward(gpu: &Gpu, log_weights: &Tensor, k: usize) -> Result<Subsets> {
    floats(OP, &[("log_weights", log_weights)])?;
    let (rows, cols) = log_weights.shape().rows_cols();
    if k == 0 || k > cols {
        return Err(Error::argument(OP, "k", format!("is {k}, not from 1 to the {cols} elements of a row")));
    }
    if gpu.is_software() && 3 * cols > TURNS {
        let what = format!("subsets of {cols} elements on a software adapter");
        return Err(Error::TooLarge { what, unit: "loop turns", needed: 3 * cols as u64, limit: TURNS as u64 });
    }
    let [_, level] = sigmoid_top_k::with_level(gpu, log_weights, Noise::None, k, 1.0)?;
    let subsets = Subsets {
        log_sum: gpu.uninitialised(OP, leading(log_weights.shape()), DataType::F32)?,
        marginals: gpu.uninitialised(OP, log_weights.shape().clone(), DataType::F32)?,
        log_weights: log_weights.clone(),
        level,
        saved: gpu.uninitialised(OP, [rows * SAVED].into(), DataType::F32)?,
        k,
    };
    let Subsets { log_sum, marginals, level, saved, .. } = &subsets;
    if rows > 0 {
        run(gpu, "forward", &[log_weights, level], &[log_sum, saved, marginals], subsets.params(rows))?;
    }
    Ok(subsets)
}

/// The gradient of the log weights from those of the marginals and of the logarithm of the sum.
///
/// # Errors
/// When the shapes differ.
pub fn backward(gpu: &Gpu, subsets: &Subsets, dmarginals: &Tensor, dlog_sum: &Tensor) -> Result<Tensor> {
    floats(OP, &[("dmarginals", dmarginals), ("dlog_sum", dlog_sum)])?;
    let Subsets { log_sum, marginals, log_weights, level, saved, .. } = subsets;
    same_shape(OP, "dmarginals", dmarginals, marginals)?;
    same_shape(OP, "dlog_sum", dlog_sum, log_sum)?;
    let dweights = gpu.uninitialised(OP, log_weights.shape().clone(), DataType::F32)?;
    let rows = log_weights.shape().rows_cols().0;
    if rows > 0 {
        let inputs = [log_weights, level, saved, marginals, dmarginals, dlog_sum];
        run(gpu, "backward", &inputs, &[&dweights], subsets.params(rows))?;
    }
    Ok(dweights)
}

/// Exact draws: rows of zeros with k ones, in the shape of the weights.
///
/// # Errors
/// When the table of one row cannot be bound.
pub fn sample(gpu: &Gpu, subsets: &Subsets, key: Key) -> Result<Tensor> {
    let Subsets { log_weights, level, k, .. } = subsets;
    let hot = gpu.uninitialised(OP, log_weights.shape().clone(), DataType::F32)?;
    let (rows, cols) = log_weights.shape().rows_cols();
    let table = (cols + 1) * (k + 1);
    let part = (SCRATCH / (4 * table)).max(1);
    let [key_low, key_high] = key.words();
    for start in (0..rows).step_by(part) {
        let count = part.min(rows - start);
        let tables = gpu.uninitialised(OP, [table, count].into(), DataType::F32)?;
        let params = Params { row_offset: start as u32, key_low, key_high, ..subsets.params(count) };
        let items = (TURNS / (k + 4)).max(1);
        for last in (1..=cols).rev().step_by(items) {
            let params = Params { first: last.saturating_sub(items) as u32, last: last as u32, ..params };
            run(gpu, "tabulate", &[log_weights, level], &[&tables], params)?;
        }
        run(gpu, "sample", &[log_weights, level, &tables], &[&hot], params)?;
    }
    Ok(hot)
}

impl Subsets {
    /// Elements of a draw.
    pub fn k(&self) -> usize {
        self.k
    }

    fn params(&self, rows: usize) -> Params {
        let [rows, cols, k] = [rows, self.log_weights.shape().rows_cols().1, self.k].map(|n| n as u32);
        Params { rows, cols, k, first: 0, last: 0, row_offset: 0, key_low: 0, key_high: 0 }
    }
}

fn run(gpu: &Gpu, entry: &'static str, inputs: &[&Tensor], outputs: &[&Tensor], params: Params) -> Result<()> {
    gpu.dispatch(Call {
        op: OP,
        entry,
        constants: &[],
        inputs,
        outputs,
        params: bytemuck::bytes_of(&params),
        groups: groups_for(params.rows as usize, 64),
    })
}
