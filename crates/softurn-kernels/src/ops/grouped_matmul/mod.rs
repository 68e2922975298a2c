//! Products of rows with the matrix of their group: `C_r = f(A_r · B_g(r) + bias_g(r))`, where [`Groups`] says to which head `g(r)` a row
//! goes. One dispatch multiplies for all heads, so that the cost is that of one product of the same rows, however many heads
//! there are.
//!
//! Gradients with `G = dC ∘ f'`: `dA_r = G_r · B_g(r)ᵀ` is such a product itself; `dB_h` is the sum of `A_rᵀ · G_r`, and `dbias_h` that of
//! `G_r`, over the rows of head `h`, in their order: two runs have the same bits.

pub mod cpu;
mod host;
#[cfg(test)]
pub(crate) mod tests;

use super::matmul::{self, Activation, Gradients, inner_slice};
use super::{floats, integers, same_shape};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Plan, Result, Tensor};

const OP: &str = "grouped_matmul";
/// Rows that an invocation counts.
const BLOCK: usize = 256;
/// Numbers that one workgroup sums up: software adapters end the loops of an invocation after 65,536 turns.
const SCAN: usize = 64 * 30_000;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    heads: u32,
    inner: u32,
    cols: u32,
    first: u32,
    last: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("rows", std::mem::offset_of!(Params, rows)),
    ("heads", std::mem::offset_of!(Params, heads)),
    ("inner", std::mem::offset_of!(Params, inner)),
    ("cols", std::mem::offset_of!(Params, cols)),
    ("first", std::mem::offset_of!(Params, first)),
    ("last", std::mem::offset_of!(Params, last)),
];

/// Which head each row goes to: the rows in the order of their heads.
#[derive(Debug, Clone)]
pub struct Groups {
    /// Row numbers `[rows]`: those of head 0, of head 1, .., of none.
    order: Tensor,
    /// Where the rows of each head start in `order`, then those of none, and the end: `[heads + 2]`.
    starts: Tensor,
    rows: usize,
    heads: usize,
}

impl Groups {
    /// Of row `r`, the head `assignment[r]`: `[rows]` of `u32`. Sorted on the device, without a wait. A row whose number is not below
    /// `heads` belongs to no head: its product and the gradient of its input are NaN, and it adds nothing to other gradients.
    ///
    /// # Errors
    /// When `assignment` is not a vector of `u32`, `heads` is 0, or they are more than a dispatch can sort.
    ///
    /// ```no_run
    /// use softurn_kernels::ops::grouped_matmul::{self, Groups, Options};
    /// # let gpu = softurn_kernels::Gpu::new(Default::default())?;
    ///
    /// // Two heads that map [1, 2] to a number each; the first and the last row go to head 1.
    /// let groups = Groups::new(&gpu, &gpu.tensor(&[1u32, 0, 1], [3])?, 2)?;
    /// let a = gpu.tensor(&[1.0f32, 2.0, 1.0, 2.0, 3.0, 4.0], [3, 2])?;
    /// let b = gpu.tensor(&[1.0f32, 1.0, 10.0, 10.0], [2, 2, 1])?;
    /// let c = grouped_matmul::forward(&gpu, Options::default(), &groups, &a, &b, None)?;
    /// assert_eq!(c.read()?, [30.0, 3.0, 70.0]);
    /// # Ok::<(), softurn_kernels::Error>(())
    /// ```
    pub fn new(gpu: &Gpu, assignment: &Tensor, heads: usize) -> Result<Self> {
        integers(OP, &[("assignment", assignment)])?;
        if assignment.shape().dims().len() != 1 {
            return Err(Error::shape(OP, "assignment", assignment.shape(), "a vector [rows]"));
        }
        some_heads(heads)?;
        let rows = assignment.len();
        let order = gpu.uninitialised(OP, [rows].into(), DataType::U32)?;
        let starts = gpu.zeros_of(OP, [heads + 2].into(), DataType::U32)?;
        if rows == 0 {
            return Ok(Self { order, starts, rows, heads });
        }
        let blocks = rows.div_ceil(BLOCK);
        let length = (heads + 1) * blocks;
        if gpu.is_software() && length > SCAN {
            let what = format!("{OP} of {rows} rows and {heads} heads");
            return Err(Error::TooLarge { what, unit: "counts", needed: length as u64, limit: SCAN as u64 });
        }
        let counts = gpu.uninitialised(OP, [length].into(), DataType::U32)?;
        let params = Params { rows: rows as u32, heads: heads as u32, inner: 0, cols: 0, first: 0, last: 0 };
        let dispatch = |entry, inputs: &[&Tensor], outputs: &[&Tensor], groups| {
            let params = bytemuck::bytes_of(&params);
            gpu.dispatch(Call { op: OP, entry, constants: &[], inputs, outputs, params, groups })
        };
        dispatch("count", &[assignment], &[&counts], groups_for(length, 64))?;
        dispatch("scan", &[], &[&counts, &starts], [1; 3])?;
        dispatch("place", &[assignment, &counts], &[&order], groups_for(length, 64))?;
        Ok(Self { order, starts, rows, heads })
    }

    /// Every head has `rows` rows of its own, those of head `j` from `j · rows` on: `heads · rows` in all. The product is then a batched
    /// one, of `[heads, rows, k]` with `[heads, k, n]`.
    ///
    /// # Errors
    /// When `heads` is 0, or there are more rows than the adapter can bind.
    pub fn every(gpu: &Gpu, rows: usize, heads: usize) -> Result<Self> {
        some_heads(heads)?;
        let all = rows.saturating_mul(heads);
        // Checks the size before the host makes as many numbers.
        gpu.uninitialised(OP, [all].into(), DataType::U32)?;
        let order: Vec<u32> = (0..all as u32).collect();
        let starts: Vec<u32> = (0..heads + 2).map(|head| (head.min(heads) * rows) as u32).collect();
        let (order, starts) = (gpu.tensor(&order, [all])?, gpu.tensor(&starts, [heads + 2])?);
        Ok(Self { order, starts, rows: all, heads })
    }

    /// How many rows there are, over all heads.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many heads there are.
    pub fn heads(&self) -> usize {
        self.heads
    }
}

fn some_heads(heads: usize) -> Result<()> {
    if heads == 0 { Err(Error::argument(OP, "heads", "is 0, not at least 1")) } else { Ok(()) }
}

/// How `B` is stored and what follows the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// `B` is stored as `[heads, n, k]`.
    pub transpose_b: bool,
    /// What is applied to the product plus bias.
    pub activation: Activation,
}

/// `[rows, n, k]` of a product.
fn sizes(options: Options, groups: &Groups, a: &Tensor, b: &Tensor) -> Result<[usize; 3]> {
    floats(OP, &[("a", a), ("b", b)])?;
    let &[rows, k] = a.shape().dims() else {
        return Err(Error::shape(OP, "a", a.shape(), "a matrix [rows, k]"));
    };
    if rows != groups.rows {
        return Err(Error::shape(OP, "a", a.shape(), format!("the {} rows of the groups", groups.rows)));
    }
    match (b.shape().dims(), options.transpose_b) {
        (&[heads, kb, n], false) | (&[heads, n, kb], true) if heads == groups.heads && kb == k => Ok([rows, n, k]),
        (_, transposed) => {
            let expected = if transposed { format!("n, {k}") } else { format!("{k}, n") };
            Err(Error::shape(OP, "b", b.shape(), format!("[{}, {expected}]", groups.heads)))
        }
    }
}

fn multiply_adds([rows, n, k]: [usize; 3]) -> u64 {
    rows as u64 * n as u64 * k as u64
}

/// `f(A_r · B_g(r) + bias_g(r))`, `[rows, n]`, for `A` `[rows, k]`, `B` `[heads, k, n]` and a bias `[heads, n]`. With `k = 0` the product is 0.
///
/// # Errors
/// When an operand does not hold floats, or does not have the shape that the groups ask for.
pub fn forward(
    gpu: &Gpu,
    options: Options,
    groups: &Groups,
    a: &Tensor,
    b: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let [rows, n, k] = sizes(options, groups, a, b)?;
    if let Some(bias) = bias {
        floats(OP, &[("bias", bias)])?;
        if bias.shape().dims() != [groups.heads, n] {
            return Err(Error::shape(OP, "bias", bias.shape(), format!("[{}, {n}]", groups.heads)));
        }
    }
    let c = gpu.uninitialised(OP, [rows, n].into(), DataType::F32)?;
    if c.is_empty() {
        return Ok(c);
    }
    if k == 0 {
        // There is nothing to bind; one column of zeros gives the same product.
        let (zeros_a, zeros_b) = (gpu.zeros([rows, 1])?, gpu.zeros([groups.heads, 1, n])?);
        return forward(gpu, Options { transpose_b: false, ..options }, groups, &zeros_a, &zeros_b, bias);
    }
    if gpu.multiplies_on_host(multiply_adds([rows, n, k])) {
        host::forward(gpu, options, groups, [rows, n, k], a, b, bias, &c)?;
        return Ok(c);
    }
    // At most so many tiles of `tall` rows, each of one head; those that are not needed are empty.
    let tiles = |tall: usize, wide: usize| (rows / tall + groups.heads + 1) * n.div_ceil(wide);
    let (entry, workgroups) = match gpu.plan() {
        Plan::Cpu => ("forward", groups_for(tiles(8, 8), 64)),
        Plan::Gpu => ("forward_tiled", groups_for(tiles(32, 64), 1)),
    };
    let step = inner_slice(gpu);
    for first in (0..k).step_by(step) {
        let last = first.saturating_add(step).min(k);
        let (begins, ends) = (first == 0, last == k);
        let bias = bias.filter(|_| ends);
        let activation = if ends { options.activation } else { Activation::None };
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[
                ("TRANSPOSE_B", f64::from(options.transpose_b)),
                ("BIAS", f64::from(bias.is_some())),
                ("ACCUMULATE", f64::from(!begins)),
                ("ACTIVATION", activation.code()),
            ],
            // Without a bias nothing reads its binding; any buffer may stand there.
            inputs: &[&groups.order, &groups.starts, a, b, bias.unwrap_or(b)],
            outputs: &[&c],
            params: bytemuck::bytes_of(&params(groups, [n, k], first..last)),
            groups: workgroups,
        })?;
    }
    Ok(c)
}

fn params(groups: &Groups, [n, k]: [usize; 2], range: std::ops::Range<usize>) -> Params {
    let sizes = [groups.rows, groups.heads, k, n, range.start, range.end];
    let [rows, heads, inner, cols, first, last] = sizes.map(|size| size as u32);
    Params { rows, heads, inner, cols, first, last }
}

/// The gradients of the operands that `wanted` names (`[a, b]`) and of the bias if `with_bias`, from the output `c` and its
/// gradient `dc`. Without an activation only the shape of `c` is looked at.
///
/// # Errors
/// As [`forward`], and when `c` or `dc` is not `[rows, n]`.
pub fn backward(
    gpu: &Gpu,
    options: Options,
    groups: &Groups,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    dc: &Tensor,
    wanted: [bool; 2],
    with_bias: bool,
) -> Result<Gradients> {
    let [rows, n, k] = sizes(options, groups, a, b)?;
    floats(OP, &[("c", c), ("dc", dc)])?;
    if c.shape().dims() != [rows, n] {
        return Err(Error::shape(OP, "c", c.shape(), format!("[{rows}, {n}]")));
    }
    same_shape(OP, "dc", dc, c)?;
    if rows > 0 && n > 0 && k > 0 && gpu.multiplies_on_host(multiply_adds([rows, n, k])) {
        return host::backward(gpu, options, groups, [rows, n, k], [a, b, c, dc], wanted, with_bias);
    }
    let g = matmul::activation_backward(gpu, options.activation, c, dc)?;
    let da = match wanted[0] {
        false => None,
        true => {
            let options = Options { transpose_b: !options.transpose_b, activation: Activation::None };
            Some(forward(gpu, options, groups, &g, b, None)?)
        }
    };
    let db = match (wanted[1], options.transpose_b) {
        (false, _) => None,
        (true, false) => Some(weights(gpu, groups, a, &g)?),
        (true, true) => Some(weights(gpu, groups, &g, a)?),
    };
    let bias = if with_bias { Some(biases(gpu, groups, &g)?) } else { None };
    Ok(Gradients { a: da, b: db, bias })
}

/// The sums of `x_rᵀ · y_r` over the rows of each head, `[heads, columns of x, columns of y]`.
fn weights(gpu: &Gpu, groups: &Groups, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (k, n) = (x.shape().rows_cols().1, y.shape().rows_cols().1);
    let heads = groups.heads;
    let (entry, workgroups) = match gpu.plan() {
        Plan::Cpu => ("backward", groups_for(heads * k.div_ceil(8) * n.div_ceil(8), 64)),
        Plan::Gpu => ("backward_tiled", groups_for(heads * k.div_ceil(32) * n.div_ceil(64), 1)),
    };
    sum_rows(gpu, groups, entry, &[x, y], &[heads, k, n], [n, k], workgroups)
}

/// The sums of the rows of each head, `[heads, n]`.
fn biases(gpu: &Gpu, groups: &Groups, g: &Tensor) -> Result<Tensor> {
    let n = g.shape().rows_cols().1;
    let workgroups = groups_for(groups.heads * n, 64);
    sum_rows(gpu, groups, "backward_bias", &[g], &[groups.heads, n], [n, 0], workgroups)
}

/// Dispatches `entry` over the rows of each head; more rows than an adapter's loops can turn in several parts.
fn sum_rows(
    gpu: &Gpu,
    groups: &Groups,
    entry: &'static str,
    operands: &[&Tensor],
    shape: &[usize],
    sizes: [usize; 2],
    workgroups: [u32; 3],
) -> Result<Tensor> {
    if groups.rows == 0 {
        return gpu.zeros(shape);
    }
    let sums = gpu.uninitialised(OP, shape.into(), DataType::F32)?;
    if sums.is_empty() {
        return Ok(sums);
    }
    let mut inputs = vec![&groups.order, &groups.starts];
    inputs.extend(operands);
    let step = inner_slice(gpu);
    for first in (0..groups.rows).step_by(step) {
        let last = first.saturating_add(step).min(groups.rows);
        gpu.dispatch(Call {
            op: OP,
            entry,
            constants: &[("ACCUMULATE", f64::from(first > 0))],
            inputs: &inputs,
            outputs: &[&sums],
            params: bytemuck::bytes_of(&params(groups, sizes, first..last)),
            groups: workgroups,
        })?;
    }
    Ok(sums)
}
