//! Relaxed sorting of rows of scores, in descending order, as operators: NeuralSort, after Grover, Wang, Zweig and Ermon
//! (2019), and SoftSort, after Prillo and Eisenschlos (2020). With `t` the scores of a row in descending order,
//!
//! - NeuralSort: `P[i, j] = softmax_j(((n - 1 - 2 i) s_j - Σ_l |s_j - s_l|) / T)`,
//! - SoftSort: `P[i, j] = softmax_j(-|t_i - s_j| / T)`.
//!
//! `P x`, `Pᵀ x` and their gradients are made without `P`: memory grows with the scores and `x`. In the order of `t` the
//! exponents of a row are largest at its own position, and differ from that by sums of gaps of neighbouring scores with one
//! sign, so that offsets, outliers and ties cost no accuracy. Entries of `P` below `e^-40` of the largest of their row are
//! taken as zeros, except in [`matrix`].
//!
//! Of equal scores the first comes first; they share the entries of `P`, and the derivative of `|x|` at 0 is 0. Infinite
//! scores stand at ±1e38: those at `-inf` come last and share the last positions among them. A row of scores with NaN
//! gives NaN everywhere. A temperature below 1e-30 counts as that.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use super::{floats, same_shape, valid_temperature};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Plan, Result, Shape, Tensor};

const OP: &str = "relaxed_sort";
/// Scores of a row: software adapters end loops after 65,536 turns in total, without an error, and two go over a row.
const TURNS: usize = 32_000;
const SMALLEST: f32 = 1e-30;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    length: u32,
    columns: u32,
    first: u32,
    chunks: u32,
    temperature: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("length", std::mem::offset_of!(Params, length)),
    ("columns", std::mem::offset_of!(Params, columns)),
    ("first", std::mem::offset_of!(Params, first)),
    ("chunks", std::mem::offset_of!(Params, chunks)),
    ("temperature", std::mem::offset_of!(Params, temperature)),
];

/// Which relaxation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// NeuralSort.
    Neural,
    /// SoftSort.
    Soft,
}

/// A relaxation with its temperature, which is positive and finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relaxation {
    /// Which.
    pub kind: Kind,
    /// Towards 0 it becomes the sort itself.
    pub temperature: f32,
}

/// Rows of scores in order, for any relaxation of them.
#[derive(Debug, Clone)]
pub struct Sorted {
    order: Tensor,
    sorted: Tensor,
}

impl Sorted {
    /// `u32` in the shape of the scores: the place in its row of the largest score, the second largest ...
    pub fn order(&self) -> &Tensor {
        &self.order
    }

    /// The scores in descending order, infinite ones as ±1e38.
    pub fn scores(&self) -> &Tensor {
        &self.sorted
    }

    fn rows_length(&self) -> (usize, usize) {
        self.sorted.shape().rows_cols()
    }
}

/// Which gradients to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// That of the scores.
    pub scores: bool,
    /// That of `x`.
    pub x: bool,
}

/// The gradients that were wanted.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// In the shape of the scores.
    pub scores: Option<Tensor>,
    /// In the shape of `x`.
    pub x: Option<Tensor>,
}

/// Sorts scores `[.., n]` along the last axis: `n` comparisons for each.
///
/// # Errors
/// When `scores` does not hold floats or has no axis, or a row is longer than the loops of a software adapter.
pub fn prepare(gpu: &Gpu, scores: &Tensor) -> Result<Sorted> {
    floats(OP, &[("scores", scores)])?;
    if scores.shape().dims().is_empty() {
        return Err(Error::shape(OP, "scores", scores.shape(), "[.., n]"));
    }
    let (rows, length) = scores.shape().rows_cols();
    if gpu.is_software() && length > TURNS {
        let what = format!("{OP} of {length} scores");
        let (needed, limit) = (2 * length as u64, 2 * TURNS as u64);
        return Err(Error::TooLarge { what, unit: "loop turns", needed, limit });
    }
    let order = gpu.uninitialised(OP, scores.shape().clone(), DataType::U32)?;
    let sorted = gpu.uninitialised(OP, scores.shape().clone(), DataType::F32)?;
    if !scores.is_empty() {
        let tile = tile(gpu);
        gpu.dispatch(Call {
            op: OP,
            entry: "prepare",
            constants: &[("TILE", tile as f64), ("COLUMNS", 1.0)],
            inputs: &[scores],
            outputs: &[&order, &sorted],
            params: bytemuck::bytes_of(&Params {
                rows: rows as u32,
                length: length as u32,
                columns: 1,
                first: 0,
                chunks: 1,
                temperature: 1.0,
            }),
            groups: groups_for(rows * length.div_ceil(tile), 64),
        })?;
    }
    Ok(Sorted { order, sorted })
}

/// `P x` of `x` `[.., n, columns]`, in its shape, and the normalisers of `P` in the shape of the scores: of each row of
/// `P` the reciprocal of its sum where its largest entry is 1.
///
/// # Errors
/// When `x` does not hold floats, is not the shape of the scores with an axis more, or the temperature is not positive and
/// finite.
pub fn forward(gpu: &Gpu, sorted: &Sorted, relaxation: Relaxation, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let run = Run::of(gpu, sorted, relaxation, "x", x)?;
    let y = like(gpu, x)?;
    if run.columns == 0 {
        return Ok((y, normalisers(gpu, sorted, relaxation)?));
    }
    let inverse = like(gpu, &sorted.sorted)?;
    let chunks = run.columns.div_ceil(run.chunk);
    run.tiles("forward", &[], 0, chunks, &[&sorted.sorted, &sorted.order, x], &[&y, &inverse])?;
    Ok((y, inverse))
}

/// The normalisers of `P` alone, as [`forward`] makes them.
///
/// # Errors
/// When the temperature is not positive and finite.
pub fn normalisers(gpu: &Gpu, sorted: &Sorted, relaxation: Relaxation) -> Result<Tensor> {
    let run = Run::without(gpu, sorted, relaxation)?;
    let inverse = like(gpu, &sorted.sorted)?;
    run.tiles("normalise", &[], 0, 1, &[&sorted.sorted], &[&inverse])?;
    Ok(inverse)
}

/// `Pᵀ x` of `x` `[.., n, columns]`, in its shape, with the normalisers of `P`.
///
/// # Errors
/// As [`forward`], and when the normalisers do not have the shape of the scores.
pub fn transposed(
    gpu: &Gpu,
    sorted: &Sorted,
    relaxation: Relaxation,
    normalisers: &Tensor,
    x: &Tensor,
) -> Result<Tensor> {
    let run = Run::of(gpu, sorted, relaxation, "x", x)?;
    run.check_normalisers(normalisers)?;
    let product = like(gpu, x)?;
    let chunks = run.columns.div_ceil(run.chunk);
    let inputs = [&sorted.sorted, &sorted.order, x, normalisers, x, normalisers];
    let unused = unused(gpu)?;
    run.tiles("backward_columns", &[("SLOPES", 0.0)], 0, chunks, &inputs, &[&product, &unused])?;
    Ok(product)
}

/// `P` itself, `[.., n, n]`.
///
/// # Errors
/// When the temperature is not positive and finite, or the matrix is too large for the adapter.
pub fn matrix(gpu: &Gpu, sorted: &Sorted, relaxation: Relaxation) -> Result<Tensor> {
    let run = Run::without(gpu, sorted, relaxation)?;
    let p = gpu.uninitialised(OP, with_axis(&sorted.sorted, run.length), DataType::F32)?;
    let inverse = normalisers(gpu, sorted, relaxation)?;
    run.tiles("matrix", &[], 0, 1, &[&sorted.sorted, &sorted.order, &inverse], &[&p])?;
    Ok(p)
}

/// Rows of `x` `[.., n, columns]` in the order of the scores: what [`forward`] becomes as the temperature goes to 0.
///
/// # Errors
/// When `x` does not hold floats or is not the shape of the scores with an axis more.
pub fn hard(gpu: &Gpu, sorted: &Sorted, x: &Tensor) -> Result<Tensor> {
    permute(gpu, sorted, x, false)
}

/// Rows of `x` `[.., n, columns]` from the order of the scores back to their places: the inverse of [`hard`].
///
/// # Errors
/// As [`hard`].
pub fn hard_transposed(gpu: &Gpu, sorted: &Sorted, x: &Tensor) -> Result<Tensor> {
    permute(gpu, sorted, x, true)
}

fn permute(gpu: &Gpu, sorted: &Sorted, x: &Tensor, scatter: bool) -> Result<Tensor> {
    let run = Run::of(gpu, sorted, Relaxation { kind: Kind::Soft, temperature: 1.0 }, "x", x)?;
    let y = like(gpu, x)?;
    let scatter = [("SCATTER", f64::from(scatter))];
    run.dispatch("permute", &scatter, x.len(), &[&sorted.sorted, &sorted.order, x], &[&y])?;
    Ok(y)
}

/// The gradients of `y = P x` from that of `y`; `y` and `normalisers` are those of [`forward`].
///
/// # Errors
/// As [`transposed`], and when `y` or `dy` has another shape than `x`.
#[allow(clippy::too_many_arguments, reason = "what a backward needs")]
pub fn backward(
    gpu: &Gpu,
    sorted: &Sorted,
    relaxation: Relaxation,
    normalisers: &Tensor,
    x: &Tensor,
    y: &Tensor,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    let run = Run::of(gpu, sorted, relaxation, "x", x)?;
    run.check_normalisers(normalisers)?;
    floats(OP, &[("y", y), ("dy", dy)])?;
    same_shape(OP, "y", y, x)?;
    same_shape(OP, "dy", dy, x)?;
    if !wanted.scores {
        let dx = if wanted.x { Some(transposed(gpu, sorted, relaxation, normalisers, dy)?) } else { None };
        return Ok(Gradients { scores: None, x: dx });
    }
    let dx = if wanted.x { Some(like(gpu, x)?) } else { None };
    let ds = run.slopes(normalisers, dy, x, y, dx.as_ref())?;
    Ok(Gradients { scores: Some(ds), x: dx })
}

/// The gradients of `y = Pᵀ x` from that of `y`.
///
/// # Errors
/// As [`transposed`], and when `dy` has another shape than `x`.
pub fn backward_transposed(
    gpu: &Gpu,
    sorted: &Sorted,
    relaxation: Relaxation,
    normalisers: &Tensor,
    x: &Tensor,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    let run = Run::of(gpu, sorted, relaxation, "x", x)?;
    run.check_normalisers(normalisers)?;
    floats(OP, &[("dy", dy)])?;
    same_shape(OP, "dy", dy, x)?;
    // The scores want it as well: their entries of P are pulled towards where x · (P dy) is.
    let (dx, _) = forward(gpu, sorted, relaxation, dy)?;
    let ds = if wanted.scores { Some(run.slopes(normalisers, x, dy, &dx, None)?) } else { None };
    Ok(Gradients { scores: ds, x: wanted.x.then_some(dx) })
}

/// Rows or columns of `P` that an invocation owns. Loads are what software adapters wait for: more share one.
fn tile(gpu: &Gpu) -> usize {
    match gpu.plan() {
        Plan::Cpu => 16,
        Plan::Gpu => 8,
    }
}

fn like(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    gpu.uninitialised(OP, x.shape().clone(), DataType::F32)
}

/// To bind where the kernel writes nothing.
fn unused(gpu: &Gpu) -> Result<Tensor> {
    gpu.uninitialised(OP, [1].into(), DataType::F32)
}

fn with_axis(scores: &Tensor, last: usize) -> Shape {
    scores.shape().dims().iter().copied().chain([last]).collect::<Vec<_>>()[..].into()
}

/// What the dispatches of a call have in common.
struct Run<'a> {
    gpu: &'a Gpu,
    sorted: &'a Sorted,
    neural: bool,
    temperature: f32,
    rows: usize,
    length: usize,
    columns: usize,
    /// Columns of `x` that one invocation takes.
    chunk: usize,
}

impl<'a> Run<'a> {
    fn without(gpu: &'a Gpu, sorted: &'a Sorted, relaxation: Relaxation) -> Result<Self> {
        valid_temperature(OP, relaxation.temperature)?;
        let (rows, length) = sorted.rows_length();
        let (neural, temperature) = (relaxation.kind == Kind::Neural, relaxation.temperature.max(SMALLEST));
        Ok(Self { gpu, sorted, neural, temperature, rows, length, columns: 1, chunk: 1 })
    }

    fn of(
        gpu: &'a Gpu,
        sorted: &'a Sorted,
        relaxation: Relaxation,
        argument: &'static str,
        x: &Tensor,
    ) -> Result<Self> {
        floats(OP, &[(argument, x)])?;
        let columns = x.shape().dims().last().copied().unwrap_or(0);
        if *x.shape() != with_axis(&sorted.sorted, columns) {
            let expected = format!("the scores' {} with an axis more", sorted.sorted.shape());
            return Err(Error::shape(OP, argument, x.shape(), expected));
        }
        if gpu.is_software() && columns > 2 * TURNS {
            let what = format!("{OP} of {columns} columns");
            let (needed, limit) = (columns as u64, 2 * TURNS as u64);
            return Err(Error::TooLarge { what, unit: "loop turns", needed, limit });
        }
        let chunk = match columns {
            0 | 1 => 1,
            2..=4 => 4,
            _ => 8,
        };
        Ok(Self { columns, chunk, ..Self::without(gpu, sorted, relaxation)? })
    }

    fn check_normalisers(&self, normalisers: &Tensor) -> Result<()> {
        floats(OP, &[("normalisers", normalisers)])?;
        same_shape(OP, "normalisers", normalisers, &self.sorted.sorted)
    }

    /// The gradient of the scores from the tensors that `P` stands between, `positions · P items`, and `P items` or `Pᵀ
    /// positions` in the place of one of them: `pulled` is the one with the shape of `positions`. Writes `Pᵀ positions`
    /// to `product` as well.
    fn slopes(
        &self,
        normalisers: &Tensor,
        positions: &Tensor,
        items: &Tensor,
        pulled: &Tensor,
        product: Option<&Tensor>,
    ) -> Result<Tensor> {
        let Sorted { order, sorted } = self.sorted;
        if self.columns == 0 {
            return super::filled(self.gpu, 0.0, sorted.shape().clone());
        }
        let pulls = like(self.gpu, sorted)?;
        self.dispatch("pull", &[], self.rows * self.length, &[positions, pulled], &[&pulls])?;
        let slopes = self.gpu.uninitialised(OP, with_axis(sorted, 2), DataType::F32)?;
        let leans = if self.neural { unused(self.gpu)? } else { like(self.gpu, sorted)? };
        let dummy = unused(self.gpu)?;
        let make = [("PRODUCT", f64::from(product.is_some()))];
        let product = product.unwrap_or(&dummy);
        for first in (0..self.columns).step_by(self.chunk) {
            let inputs = [sorted, order, positions, normalisers, items, &pulls];
            self.tiles("backward_columns", &make, first, 1, &inputs, &[product, &slopes])?;
            if !self.neural {
                let inputs = [sorted, order, items, normalisers, positions, &pulls];
                self.tiles("backward_rows", &[], first, 1, &inputs, &[&leans])?;
            }
        }
        let ds = like(self.gpu, sorted)?;
        self.dispatch("finish", &[], self.rows, &[sorted, order, &slopes, &leans], &[&ds])?;
        Ok(ds)
    }

    fn tiles(
        &self,
        entry: &'static str,
        constants: &[(&'static str, f64)],
        first: usize,
        chunks: usize,
        inputs: &[&Tensor],
        outputs: &[&Tensor],
    ) -> Result<()> {
        let tile = tile(self.gpu);
        let constants: Vec<_> =
            constants.iter().copied().chain([("TILE", tile as f64), ("COLUMNS", self.chunk as f64)]).collect();
        let invocations = self.rows * self.length.div_ceil(tile) * chunks;
        self.dispatch_chunks(entry, &constants, [first, chunks], invocations, inputs, outputs)
    }

    fn dispatch(
        &self,
        entry: &'static str,
        constants: &[(&'static str, f64)],
        invocations: usize,
        inputs: &[&Tensor],
        outputs: &[&Tensor],
    ) -> Result<()> {
        self.dispatch_chunks(entry, constants, [0, 1], invocations, inputs, outputs)
    }

    fn dispatch_chunks(
        &self,
        entry: &'static str,
        constants: &[(&'static str, f64)],
        [first, chunks]: [usize; 2],
        invocations: usize,
        inputs: &[&Tensor],
        outputs: &[&Tensor],
    ) -> Result<()> {
        if invocations == 0 {
            return Ok(());
        }
        let mut constants = constants.to_vec();
        if !matches!(entry, "permute" | "pull") {
            constants.push(("NEURAL", f64::from(self.neural)));
        }
        self.gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &constants,
            inputs,
            outputs,
            params: bytemuck::bytes_of(&Params {
                rows: self.rows as u32,
                length: self.length as u32,
                columns: self.columns as u32,
                first: first as u32,
                chunks: chunks as u32,
                temperature: self.temperature,
            }),
            groups: groups_for(invocations, 64),
        })
    }
}
