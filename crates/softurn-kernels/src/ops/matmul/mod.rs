//! Matrix product with fused bias and activation: `C = f(op(A) · op(B) + bias)`.
//!
//! Gradients with `G = dC ∘ f'`: `dA = G · op(B)ᵀ` and `dB = op(A)ᵀ · G` are products with other transpose flags, and
//! `dbias` is the sum of the rows of `G`.

pub mod cpu;
pub(crate) mod host;
#[cfg(test)]
pub(crate) mod tests;

use super::{floats, same_shape};
use crate::gpu::pipeline::{Call, groups_for};
use crate::{DataType, Error, Gpu, Plan, Result, Tensor};

/// What is applied to each element of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`
    Sigmoid,
}

/// How the operands are stored and what follows the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// `A` is stored as `[k, m]`.
    pub transpose_a: bool,
    /// `B` is stored as `[n, k]`.
    pub transpose_b: bool,
    /// What is applied to the product plus bias.
    pub activation: Activation,
}

impl Activation {
    /// As the constant `ACTIVATION` of the shaders.
    pub(crate) fn code(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Relu => 1.0,
            Self::Tanh => 2.0,
            Self::Sigmoid => 3.0,
        }
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    m: u32,
    n: u32,
    k: u32,
    first: u32,
    last: u32,
    slice: u32,
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("m", std::mem::offset_of!(Params, m)),
    ("n", std::mem::offset_of!(Params, n)),
    ("k", std::mem::offset_of!(Params, k)),
    ("first", std::mem::offset_of!(Params, first)),
    ("last", std::mem::offset_of!(Params, last)),
    ("slice", std::mem::offset_of!(Params, slice)),
];

/// The gradients of the operands.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Of `A`, as stored; `None` when it was not asked for.
    pub a: Option<Tensor>,
    /// Of `B`, as stored; `None` when it was not asked for.
    pub b: Option<Tensor>,
    /// Of the bias `[n]`; `None` when there was none.
    pub bias: Option<Tensor>,
}

/// `[m, n, k]` of a product, with both operands as matrices.
fn sizes(options: Options, a: &Tensor, b: &Tensor) -> Result<[usize; 3]> {
    floats("matmul", &[("a", a), ("b", b)])?;
    for (name, operand) in [("a", a), ("b", b)] {
        if operand.shape().dims().len() != 2 {
            return Err(Error::shape("matmul", name, operand.shape(), "a matrix"));
        }
    }
    let (rows, cols) = a.shape().rows_cols();
    let [m, k] = if options.transpose_a { [cols, rows] } else { [rows, cols] };
    let (rows, cols) = b.shape().rows_cols();
    let [kb, n] = if options.transpose_b { [cols, rows] } else { [rows, cols] };
    if k != kb {
        let side = if options.transpose_b { "columns" } else { "rows" };
        return Err(Error::shape("matmul", "b", b.shape(), format!("{k} {side} to match a of shape {}", a.shape())));
    }
    Ok([m, n, k])
}

fn multiply_adds([m, n, k]: [usize; 3]) -> u64 {
    m as u64 * n as u64 * k as u64
}

/// How many inner indices one dispatch sums: software adapters end all loops of an invocation after 65,536 turns in total,
/// and the tiled kernel takes six for each index.
pub(crate) fn inner_slice(gpu: &Gpu) -> usize {
    if gpu.is_software() { 8192 } else { usize::MAX }
}

/// `f(op(A) · op(B) + bias)` of shape `[m, n]`. With `k = 0` the product is 0.
///
/// # Errors
/// When an operand is not a matrix of floats, the inner sizes differ, or the bias is not `[n]`.
pub fn forward(gpu: &Gpu, options: Options, a: &Tensor, b: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let [m, n, k] = sizes(options, a, b)?;
    if let Some(bias) = bias {
        floats("matmul", &[("bias", bias)])?;
        if bias.len() != n {
            return Err(Error::shape("matmul", "bias", bias.shape(), format!("[{n}]")));
        }
    }
    let c = gpu.uninitialised("matmul", [m, n].into(), DataType::F32)?;
    if c.is_empty() {
        return Ok(c);
    }
    if k == 0 {
        // There is nothing to bind; one column of zeros gives the same product.
        let (zeros_a, zeros_b) = (gpu.zeros([m, 1])?, gpu.zeros([1, n])?);
        let options = Options { transpose_a: false, transpose_b: false, ..options };
        return forward(gpu, options, &zeros_a, &zeros_b, bias);
    }
    if gpu.multiplies_on_host(multiply_adds([m, n, k])) {
        host::forward(gpu, options, [m, n, k], a, b, bias, &c)?;
        return Ok(c);
    }
    multiply(gpu, Kernel::of(gpu, options, [m, n, k]), options, [m, n, k], a, b, bias, &c)?;
    Ok(c)
}

/// The product by shader, of checked and non-empty operands.
fn multiply(
    gpu: &Gpu,
    kernel: Kernel,
    options: Options,
    [m, n, k]: [usize; 3],
    a: &Tensor,
    b: &Tensor,
    bias: Option<&Tensor>,
    c: &Tensor,
) -> Result<()> {
    let groups = [n.div_ceil(kernel.tile), m.div_ceil(kernel.tile)];
    if groups.iter().any(|&count| count > gpu.capabilities().max_workgroups as usize) {
        let limit = kernel.tile as u64 * u64::from(gpu.capabilities().max_workgroups);
        return Err(Error::TooLarge {
            what: format!("matmul {}", c.shape()),
            unit: "rows or columns",
            needed: m.max(n) as u64,
            limit,
        });
    }
    let constants = |bias: bool, accumulate: bool, activation: Activation| {
        [
            ("TRANSPOSE_A", f64::from(options.transpose_a)),
            ("TRANSPOSE_B", f64::from(options.transpose_b)),
            ("BIAS", f64::from(bias)),
            ("ACCUMULATE", f64::from(accumulate)),
            ("ACTIVATION", activation.code()),
        ]
    };
    let params = |first: usize, last: usize, slice: usize| {
        let [m, n, k, first, last, slice] = [m, n, k, first, last, slice].map(|size| size as u32);
        Params { m, n, k, first, last, slice }
    };
    if kernel.slices > 1 {
        let slices = gpu.uninitialised("matmul", [kernel.slices, m, n].into(), DataType::F32)?;
        gpu.dispatch(Call {
            op: "matmul",
            entry: kernel.entry,
            constants: &constants(false, false, Activation::None),
            inputs: &[a, b, b],
            outputs: &[&slices],
            params: bytemuck::bytes_of(&params(0, k, kernel.slice(k))),
            groups: [groups[0] as u32, groups[1] as u32, kernel.slices as u32],
        })?;
        gpu.dispatch(Call {
            op: "matmul",
            entry: "fold",
            constants: &[("BIAS", f64::from(bias.is_some())), ("ACTIVATION", options.activation.code())],
            inputs: &[&slices, bias.unwrap_or(&slices)],
            outputs: &[c],
            params: bytemuck::bytes_of(&params(0, 0, kernel.slices)),
            groups: groups_for(m * n, 64),
        })?;
        return Ok(());
    }
    let step = inner_slice(gpu);
    for first in (0..k).step_by(step) {
        let last = first.saturating_add(step).min(k);
        let (begins, ends) = (first == 0, last == k);
        let bias = bias.filter(|_| ends);
        gpu.dispatch(Call {
            op: "matmul",
            entry: kernel.entry,
            constants: &constants(bias.is_some(), !begins, if ends { options.activation } else { Activation::None }),
            // Without a bias nothing reads the third binding; any buffer may stand there.
            inputs: &[a, b, bias.unwrap_or(b)],
            outputs: &[c],
            params: bytemuck::bytes_of(&params(first, last, 0)),
            groups: [groups[0] as u32, groups[1] as u32, 1],
        })?;
    }
    Ok(())
}

/// Which entry point multiplies, and how the work is cut.
struct Kernel {
    entry: &'static str,
    /// Rows and columns of C that a workgroup owns.
    tile: usize,
    /// Parts that the inner indices are cut into, each with a product of its own.
    slices: usize,
}

impl Kernel {
    /// Fewer workgroups leave a GPU idle.
    const WORKGROUPS: usize = 128;
    /// Inner indices that are worth a slice.
    const SLICE: usize = 128;

    fn of(gpu: &Gpu, options: Options, [m, n, k]: [usize; 3]) -> Self {
        if gpu.plan() == Plan::Cpu {
            return Self { entry: "forward", tile: 64, slices: 1 };
        }
        let fours = (if options.transpose_a { m } else { k }).is_multiple_of(4)
            && (if options.transpose_b { k } else { n }).is_multiple_of(4);
        let tiles = |tile: usize| m.div_ceil(tile) * n.div_ceil(tile);
        // Large tiles read less; small ones keep more of the machine busy and waste less at the edges.
        let (entry, tile) = match fours && m.min(n) > 64 && tiles(128) >= Self::WORKGROUPS / 2 {
            true => ("multiply_wide", 128),
            false => ("multiply_tiled", 64),
        };
        let wanted = Self::WORKGROUPS / tiles(tile).min(Self::WORKGROUPS);
        // A software adapter's limit of turns is met by other slices, one after the other.
        let slices = if k > inner_slice(gpu) { 1 } else { wanted.min(k / Self::SLICE).max(1) };
        Self { entry, tile, slices }.even(k)
    }

    /// Inner indices of a slice, a multiple of 16.
    fn slice(&self, k: usize) -> usize {
        k.div_ceil(self.slices).next_multiple_of(16)
    }

    /// No slice is empty.
    fn even(self, k: usize) -> Self {
        Self { slices: k.div_ceil(self.slice(k)), ..self }
    }
}

/// The gradients of the operands that `wanted` names (`[a, b]`) and of the bias if `with_bias`, from the output `c` and
/// its gradient `dc`.
///
/// # Errors
/// As [`forward`], and when `c` or `dc` is not `[m, n]`.
pub fn backward(
    gpu: &Gpu,
    options: Options,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    dc: &Tensor,
    wanted: [bool; 2],
    with_bias: bool,
) -> Result<Gradients> {
    let [m, n, k] = sizes(options, a, b)?;
    floats("matmul", &[("c", c), ("dc", dc)])?;
    if c.shape().dims() != [m, n] {
        return Err(Error::shape("matmul", "c", c.shape(), format!("[{m}, {n}]")));
    }
    same_shape("matmul", "dc", dc, c)?;
    if k > 0 && m > 0 && n > 0 && gpu.multiplies_on_host(multiply_adds([m, n, k])) {
        return host::backward(gpu, options, [m, n, k], [a, b, c, dc], wanted, with_bias);
    }
    let g = activation_backward(gpu, options.activation, c, dc)?;
    let plain = |transpose_a, transpose_b| Options { transpose_a, transpose_b, activation: Activation::None };
    let (ta, tb) = (options.transpose_a, options.transpose_b);
    // As stored, A' is A or its transpose: d(A') = G B'ᵀ, or the transpose of that product.
    let da = match (wanted[0], ta) {
        (false, _) => None,
        (true, false) => Some(forward(gpu, plain(false, !tb), &g, b, None)?),
        (true, true) => Some(forward(gpu, plain(tb, true), b, &g, None)?),
    };
    let db = match (wanted[1], tb) {
        (false, _) => None,
        (true, false) => Some(forward(gpu, plain(!ta, false), a, &g, None)?),
        (true, true) => Some(forward(gpu, plain(true, ta), &g, a, None)?),
    };
    let bias = if with_bias { Some(super::reduce::over_rows(gpu, super::reduce::Reduction::Sum, &g)?) } else { None };
    Ok(Gradients { a: da, b: db, bias })
}

/// `dy f'`, the gradient before the activation, from the output `y`.
pub(crate) fn activation_backward(gpu: &Gpu, activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if activation == Activation::None {
        return Ok(dy.clone());
    }
    let dx = gpu.uninitialised("matmul", y.shape().clone(), DataType::F32)?;
    if !y.is_empty() {
        let (m, n) = y.shape().rows_cols();
        gpu.dispatch(Call {
            op: "matmul",
            entry: "backward",
            constants: &[("ACTIVATION", activation.code())],
            inputs: &[y, dy],
            outputs: &[&dx],
            params: bytemuck::bytes_of(&Params { m: m as u32, n: n as u32, k: 0, first: 0, last: 0, slice: 0 }),
            groups: groups_for(y.len(), 64),
        })?;
    }
    Ok(dx)
}
