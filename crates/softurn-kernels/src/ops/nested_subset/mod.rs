//! Nested subsets of a drawn number of elements, in two steps: the shares of the counts `least`, `least + 1` .. of a row (a
//! Gumbel-softmax or its one-hot row, [`gumbel_softmax`](super::gumbel_softmax)) say how much each slot is used, and slots take elements
//! one after another without replacement, `w[l] = softmax(s[l] / T)`, `s[l + 1] = s[l] + log(max(1 - w[l], 1e-6))`. The mask is
//! `Σ g[l] w[l]` with `g[l]` the shares of the counts of at least l: it sums to the mean count, which no count exceeds.
//! The choice does not depend on the count, so that the subset of l elements is in that of l + 1.
//!
//! The method is known from the abstract of Xu, Onoro-Rubio, Serra and Niepert (2021), "Learning sparsity of representations with
//! discrete latent variables"; the formulas, the order without replacement and the gradients are this project's. Slots are
//! those of [`successive_top_k`](super::successive_top_k), but for the bound on what is left of an element.
//!
//! Work is O(n + m k) for a bound of k and the m elements of a row that matter, those that take more than about a tenth of a
//! slot: what the others lose to it is the same power series for all of them, and eight sums of powers stand for them. Rows for
//! which that would not be good to rounding are walked whole, in O(n k).
//! Entries at `-inf` are 0, a row of them is zeros; NaN in a row makes it NaN.

pub mod cpu;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;

use bytemuck::Zeroable as _;

use super::{Noise, RowPlan, floats, integers, leading, of_shape, valid_temperature};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Result, Shape, Tensor};

const OP: &str = "nested_subset";
/// Numbers kept of a slot.
const STRIDE: usize = 12;
/// What leaders take in one part of a batch, in bytes.
const SCRATCH: usize = 64 << 20;
/// Software adapters end all loops of an invocation after 65,536 turns, without an error.
const TURNS: usize = 60_000;
/// How often a row is walked with more leaders before all its elements are.
const ROUNDS: usize = 3;
/// A temperature below counts as this one.
const SMALLEST: f32 = 1e-30;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    fours: u32,
    bound: u32,
    least: u32,
    inverse: f32,
    key_low: u32,
    key_high: u32,
    row_offset: u32,
    cols: u32,
    fill: f32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("fours", std::mem::offset_of!(Params, fours)),
    ("bound", std::mem::offset_of!(Params, bound)),
    ("least", std::mem::offset_of!(Params, least)),
    ("inverse", std::mem::offset_of!(Params, inverse)),
    ("key_low", std::mem::offset_of!(Params, key_low)),
    ("key_high", std::mem::offset_of!(Params, key_high)),
    ("row_offset", std::mem::offset_of!(Params, row_offset)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("fill", std::mem::offset_of!(Params, fill)),
];

/// How elements are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// What is added to their logits.
    pub noise: Noise<'a>,
    /// Of the softmaxes, above 0.
    pub temperature: f32,
}

/// What the backward pass needs of a walk through the slots: two numbers an element, and 12 a slot.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Rows padded to fours.
    weights: Tensor,
    list: Tensor,
    steps: Tensor,
    shape: Shape,
    bound: usize,
    temperature: f32,
    plan: RowPlan,
}

/// What a walk writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Nothing,
    Mask,
    Prefixes,
}

/// The most elements that shares `[.., c]` of the counts `least`, `least + 1` .. ask for, `c - 1 + least`.
///
/// # Errors
/// When `least` is neither 0 nor 1, or no count is above 0.
pub fn bound(shares: &Tensor, least: usize) -> Result<usize> {
    if least > 1 {
        return Err(Error::argument(OP, "least", format!("is {least}, neither 0 nor 1")));
    }
    match (shares.shape().rows_cols().1 + least).saturating_sub(1) {
        0 => Err(Error::argument(OP, "counts", "hold no count above 0")),
        bound => Ok(bound),
    }
}

/// What all draws refuse.
///
/// # Errors
/// When `x` does not hold floats, given noise has another shape, the temperature is not positive, the bound is 0 or more than
/// a row has, or the bound times the row is too long for a software adapter.
pub fn check(gpu: &Gpu, x: &Tensor, draw: Draw<'_>, bound: usize) -> Result<()> {
    floats(OP, &[("x", x)])?;
    draw.noise.check(OP, x)?;
    valid_temperature(OP, draw.temperature)?;
    let cols = x.shape().rows_cols().1;
    if bound == 0 || bound > cols {
        return Err(Error::argument(OP, "bound", format!("is {bound}, not from 1 to the {cols} elements of a row")));
    }
    plan(gpu, cols, bound, true).map(drop)
}

/// The walk alone, for gradients of hard masks: those of 1, 2 .. elements where `prefixes` says so.
///
/// # Errors
/// As [`check`].
pub fn walk(gpu: &Gpu, x: &Tensor, draw: Draw<'_>, bound: usize, prefixes: bool) -> Result<Walk> {
    check(gpu, x, draw, bound)?;
    let none = gpu.uninitialised(OP, [4].into(), DataType::F32)?;
    let plan = plan(gpu, x.shape().rows_cols().1, bound, prefixes)?;
    run(gpu, x, draw, bound, plan, Output::Nothing, &none, (x, 1))
}

/// Relaxed masks in the shape of `x` from element logits `[.., n]` and the shares `[.., c]` of the counts `least`,
/// `least + 1` .., and what [`backward`] needs.
///
/// # Errors
/// As [`check`] and [`bound`], and when the leading axes differ.
pub fn forward(gpu: &Gpu, x: &Tensor, draw: Draw<'_>, shares: &Tensor, least: usize) -> Result<(Tensor, Walk)> {
    check_shares(x.shape(), shares)?;
    let bound = bound(shares, least)?;
    check(gpu, x, draw, bound)?;
    let plan = plan(gpu, x.shape().rows_cols().1, bound, false)?;
    let y = gpu.uninitialised(OP, padded(x.shape()), DataType::F32)?;
    let walk = run(gpu, x, draw, bound, plan, Output::Mask, &y, (shares, least))?;
    Ok((unpad(gpu, &y, x.shape())?, walk))
}

/// Gradients of the element logits and of the shares from that of the mask. The walk may be that of [`walk`] or [`forward`].
///
/// # Errors
/// When shapes differ from those of the walk.
pub fn backward(gpu: &Gpu, walk: &Walk, shares: &Tensor, least: usize, dy: &Tensor) -> Result<[Tensor; 2]> {
    floats(OP, &[("dy", dy)])?;
    of_shape(OP, "dy", dy, &walk.shape)?;
    check_shares(dy.shape(), shares)?;
    if bound(shares, least)? != walk.bound {
        return Err(Error::shape(OP, "shares", shares.shape(), format!("counts up to {}", walk.bound)));
    }
    let dshares = gpu.uninitialised(OP, shares.shape().clone(), DataType::F32)?;
    let dx = run_backward(gpu, walk, Output::Mask, (shares, least), &pad(gpu, dy, 0.0)?, &dshares)?;
    Ok([dx, dshares])
}

/// Relaxed masks of 1, 2 .. `bound` elements, `[.., bound, n]`, and what [`prefixes_backward`] needs.
///
/// # Errors
/// As [`check`].
pub fn prefixes(gpu: &Gpu, x: &Tensor, draw: Draw<'_>, bound: usize) -> Result<(Tensor, Walk)> {
    check(gpu, x, draw, bound)?;
    let plan = plan(gpu, x.shape().rows_cols().1, bound, true)?;
    let y = gpu.uninitialised(OP, padded(&nested(x.shape(), bound)), DataType::F32)?;
    let walk = run(gpu, x, draw, bound, plan, Output::Prefixes, &y, (x, 1))?;
    Ok((unpad(gpu, &y, &nested(x.shape(), bound))?, walk))
}

/// The gradient of the element logits from that of [`prefixes`].
///
/// # Errors
/// When `dy` has another shape than the masks.
pub fn prefixes_backward(gpu: &Gpu, walk: &Walk, dy: &Tensor) -> Result<Tensor> {
    floats(OP, &[("dy", dy)])?;
    let shape = nested(&walk.shape, walk.bound);
    of_shape(OP, "dy", dy, &shape)?;
    let of_slots = gpu.uninitialised(OP, padded(&shape), DataType::F32)?;
    if !dy.is_empty() {
        let (rows, cols) = walk.shape.rows_cols();
        simple(gpu, "suffixes", &[dy], &of_slots, sizes(rows, cols, walk.bound), rows * width(cols))?;
    }
    let none = gpu.uninitialised(OP, [1].into(), DataType::F32)?;
    run_backward(gpu, walk, Output::Prefixes, (&walk.weights, 1), &of_slots, &none)
}

/// Hard masks `[.., cols]`: the elements `order` `[.., bound]` with what shares use of their slots, zeros elsewhere. Indices past
/// the end are left out. With one-hot shares these are as many ones as drawn.
///
/// # Errors
/// When `order` does not hold `u32`, or the shapes do not fit.
pub fn hard(gpu: &Gpu, order: &Tensor, shares: &Tensor, least: usize, cols: usize) -> Result<Tensor> {
    let params = hard_params(order, shares, least, cols)?;
    let y = gpu.zeros(Shape::from([leading(order.shape()).dims(), &[cols]].concat().as_slice()))?;
    if !order.is_empty() {
        simple(gpu, "hard", &[order, shares], &y, params, order.len())?;
    }
    Ok(y)
}

/// The gradient of the shares of [`hard`].
///
/// # Errors
/// As [`hard`], and when `dy` has other rows.
pub fn hard_backward(gpu: &Gpu, order: &Tensor, shares: &Tensor, least: usize, dy: &Tensor) -> Result<Tensor> {
    floats(OP, &[("dy", dy)])?;
    check_shares(dy.shape(), shares)?;
    let params = hard_params(order, shares, least, dy.shape().rows_cols().1)?;
    let dshares = gpu.uninitialised(OP, shares.shape().clone(), DataType::F32)?;
    if !order.is_empty() {
        simple(gpu, "hard_backward", &[order, dy], &dshares, params, order.shape().rows_cols().0)?;
    }
    Ok(dshares)
}

/// Hard masks of 1, 2 .. elements `[.., bound, cols]` from their order `[.., bound]`.
///
/// # Errors
/// When `order` does not hold `u32`.
pub fn hard_prefixes(gpu: &Gpu, order: &Tensor, cols: usize) -> Result<Tensor> {
    integers(OP, &[("order", order)])?;
    let (rows, bound) = order.shape().rows_cols();
    let y = gpu.zeros(Shape::from([order.shape().dims(), &[cols]].concat().as_slice()))?;
    if !y.is_empty() {
        simple(gpu, "hard_prefixes", &[order], &y, sizes(rows, cols, bound), order.len())?;
    }
    Ok(y)
}

/// Columns of a padded row.
fn width(cols: usize) -> usize {
    cols.next_multiple_of(4)
}

fn padded(x: &Shape) -> Shape {
    Shape::from([leading(x).dims(), &[width(x.rows_cols().1)]].concat().as_slice())
}

/// Rows filled up to fours: the tensor itself where they are.
fn pad(gpu: &Gpu, x: &Tensor, fill: f32) -> Result<Tensor> {
    let (rows, cols) = x.shape().rows_cols();
    if cols.is_multiple_of(4) || x.is_empty() {
        return Ok(x.clone());
    }
    let wide = gpu.uninitialised(OP, padded(x.shape()), DataType::F32)?;
    simple(gpu, "pad", &[x], &wide, Params { fill, ..sizes(rows, cols, 0) }, wide.len())?;
    Ok(wide)
}

/// Padded rows as those of `shape`.
fn unpad(gpu: &Gpu, x: &Tensor, shape: &Shape) -> Result<Tensor> {
    let (rows, cols) = shape.rows_cols();
    if cols.is_multiple_of(4) || x.is_empty() {
        return Ok(x.clone());
    }
    let cut = gpu.uninitialised(OP, shape.clone(), DataType::F32)?;
    simple(gpu, "unpad", &[x], &cut, sizes(rows, cols, 0), cut.len())?;
    Ok(cut)
}

fn sizes(rows: usize, cols: usize, bound: usize) -> Params {
    let [rows, fours, cols, bound] = [rows, width(cols) / 4, cols, bound].map(|n| n as u32);
    Params { rows, fours, cols, bound, ..Params::zeroed() }
}

/// The shape of all masks of 1 .. `bound` elements.
fn nested(x: &Shape, bound: usize) -> Shape {
    Shape::from([leading(x).dims(), &[bound, x.rows_cols().1]].concat().as_slice())
}

fn check_shares(x: &Shape, shares: &Tensor) -> Result<()> {
    floats(OP, &[("shares", shares)])?;
    if leading(shares.shape()) == leading(x) {
        return Ok(());
    }
    Err(Error::shape(OP, "shares", shares.shape(), format!("the leading axes of {x}")))
}

fn hard_params(order: &Tensor, shares: &Tensor, least: usize, cols: usize) -> Result<Params> {
    integers(OP, &[("order", order)])?;
    check_shares(order.shape(), shares)?;
    let (rows, slots) = order.shape().rows_cols();
    if bound(shares, least)? != slots {
        return Err(Error::shape(OP, "order", order.shape(), format!("{} elements a row", bound(shares, least)?)));
    }
    Ok(Params { least: least as u32, ..sizes(rows, cols, slots) })
}

fn simple(
    gpu: &Gpu,
    entry: &'static str,
    inputs: &[&Tensor],
    output: &Tensor,
    params: Params,
    invocations: usize,
) -> Result<()> {
    let (params, groups) = (bytemuck::bytes_of(&params), groups_for(invocations, 64));
    gpu.dispatch(Call { op: OP, entry, constants: &[], inputs, outputs: &[output], params, groups })
}

/// Lanes such that a row that is walked whole ends before software adapters give up.
fn plan(gpu: &Gpu, cols: usize, bound: usize, prefixes: bool) -> Result<RowPlan> {
    let mut lanes = RowPlan::of(gpu, cols).lanes;
    if gpu.is_software() {
        // Walks over a lane's fours in every slot, forward and backward, and the turns of four leaders.
        let (forward, backward, leaders) = if prefixes { (2, 5, 5) } else { (1, 3, 1) };
        let turns = |lanes: usize| {
            let fours = (width(cols) / 4).div_ceil(lanes);
            // The most leaders of a lane, and what sums along a row take.
            let crowd = 64 + fours / 4;
            let [reductions, of_gradients] = if lanes == 1 { [0, 20] } else { [32, 100] };
            let there =
                bound * (forward * fours + ROUNDS * (leaders * (crowd / 4 + 1) + 8 + reductions) + 1 + reductions);
            let outside = 9 * fours + ROUNDS * (6 * crowd + 3 * reductions) + 2 * crowd;
            (there + outside).max(bound * (backward * fours + of_gradients) + 8 * fours)
        };
        if gpu.plan() == crate::Plan::Cpu {
            lanes = 1;
        }
        while turns(lanes) > TURNS && lanes < 256 {
            lanes *= 2;
        }
        if turns(lanes) > TURNS {
            let what = format!("{bound} slots along {cols} elements on a software adapter");
            return Err(Error::TooLarge { what, unit: "loop turns", needed: turns(lanes) as u64, limit: TURNS as u64 });
        }
    }
    Ok(RowPlan { lanes, rows: (64 / lanes).max(1) })
}

fn constants(plan: RowPlan, output: Output) -> Vec<(&'static str, f64)> {
    [&plan.constants()[..], &[("OUTPUT", f64::from(output as u8))]].concat()
}

fn params(walk: &Walk, least: usize, rows: &Range<usize>) -> Params {
    let inverse = 1.0 / walk.temperature.max(SMALLEST);
    let sizes = sizes(rows.len(), walk.shape.rows_cols().1, walk.bound);
    Params { least: least as u32, row_offset: rows.start as u32, inverse, ..sizes }
}

#[expect(clippy::too_many_arguments, reason = "one dispatch")]
fn run(
    gpu: &Gpu,
    x: &Tensor,
    draw: Draw<'_>,
    bound: usize,
    plan: RowPlan,
    output: Output,
    y: &Tensor,
    (shares, least): (&Tensor, usize),
) -> Result<Walk> {
    let (rows, cols) = x.shape().rows_cols();
    let like = |data_type| gpu.uninitialised(OP, padded(x.shape()), data_type);
    let steps = gpu.uninitialised(OP, [rows, bound + 1, STRIDE].into(), DataType::F32)?;
    let (weights, list, temperature) = (like(DataType::F32)?, like(DataType::U32)?, draw.temperature);
    let walk = Walk { weights, list, steps, shape: x.shape().clone(), bound, temperature, plan };
    if x.is_empty() {
        return Ok(walk);
    }
    let state = gpu.uninitialised(OP, [rows, width(cols), 2].into(), DataType::F32)?;
    let given = match draw.noise {
        Noise::Given(noise) => Some(pad(gpu, noise, 0.0)?),
        Noise::None | Noise::Key(_) => None,
    };
    let x = pad(gpu, x, f32::NEG_INFINITY)?;
    let [key_low, key_high] = draw.noise.words();
    let mut constants = constants(plan, output);
    constants.push(("NOISE", draw.noise.mode()));
    gpu.dispatch(Call {
        op: OP,
        entry: "walk",
        constants: &constants,
        inputs: &[&x, given.as_ref().unwrap_or(&x), shares],
        outputs: &[y, &walk.weights, &walk.list, &state, &walk.steps],
        params: bytemuck::bytes_of(&Params { key_low, key_high, ..params(&walk, least, &(0..rows)) }),
        groups: plan.groups(rows),
    })?;
    Ok(walk)
}

/// The gradient of the elements, padded gradients of masks or of slots given.
fn run_backward(
    gpu: &Gpu,
    walk: &Walk,
    output: Output,
    (shares, least): (&Tensor, usize),
    dy: &Tensor,
    dshares: &Tensor,
) -> Result<Tensor> {
    let (rows, cols) = walk.weights.shape().rows_cols();
    let dx = gpu.uninitialised(OP, walk.weights.shape().clone(), DataType::F32)?;
    if rows * cols == 0 {
        return unpad(gpu, &dx, &walk.shape);
    }
    let part = (SCRATCH / (4 * (walk.bound + 2) * cols)).max(1);
    for start in (0..rows).step_by(part) {
        let part = start..rows.min(start + part);
        let path = gpu.uninitialised(OP, [part.len(), walk.bound + 2, cols].into(), DataType::F32)?;
        gpu.dispatch(Call {
            op: OP,
            entry: "backward",
            constants: &constants(walk.plan, output),
            inputs: &[&walk.weights, &walk.list, &walk.steps, shares, dy],
            outputs: &[&dx, &path, dshares],
            params: bytemuck::bytes_of(&params(walk, least, &part)),
            groups: walk.plan.groups(part.len()),
        })?;
    }
    unpad(gpu, &dx, &walk.shape)
}
