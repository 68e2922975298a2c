//! Matrix product with fused bias and activation: `C = f(op(A) · op(B) + bias)`.
//!
//! Gradients with `G = dC ∘ f'`: `dA = G · op(B)ᵀ` and `dB = op(A)ᵀ · G` are products with other transpose flags, and
//! `dbias` is the sum of the rows of `G`.

pub mod cpu;
mod host;
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
    fn code(self) -> f64 {
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
}

pub(super) const PARAMS: &[(&str, usize)] = &[
    ("m", std::mem::offset_of!(Params, m)),
    ("n", std::mem::offset_of!(Params, n)),
    ("k", std::mem::offset_of!(Params, k)),
    ("first", std::mem::offset_of!(Params, first)),
    ("last", std::mem::offset_of!(Params, last)),
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
fn inner_slice(gpu: &Gpu) -> usize {
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
    let (entry, groups) = match gpu.plan() {
        Plan::Cpu => ("forward", [n.div_ceil(64), m.div_ceil(64)]),
        Plan::Gpu => ("multiply_tiled", [n.div_ceil(64), m.div_ceil(64)]),
    };
    if groups.iter().any(|&count| count > gpu.capabilities().max_workgroups as usize) {
        let limit = 64 * u64::from(gpu.capabilities().max_workgroups);
        return Err(Error::TooLarge {
            what: format!("matmul {}", c.shape()),
            unit: "rows or columns",
            needed: m.max(n) as u64,
            limit,
        });
    }
    let slice = inner_slice(gpu);
    for first in (0..k).step_by(slice) {
        let last = (first + slice).min(k);
        let (begins, ends) = (first == 0, last == k);
        let bias = bias.filter(|_| ends);
        gpu.dispatch(Call {
            op: "matmul",
            entry,
            constants: &[
                ("TRANSPOSE_A", f64::from(options.transpose_a)),
                ("TRANSPOSE_B", f64::from(options.transpose_b)),
                ("BIAS", f64::from(bias.is_some())),
                ("ACCUMULATE", f64::from(!begins)),
                ("ACTIVATION", if ends { options.activation.code() } else { 0.0 }),
            ],
            // Without a bias nothing reads the third binding; any buffer may stand there.
            inputs: &[a, b, bias.unwrap_or(b)],
            outputs: &[&c],
            params: bytemuck::bytes_of(&Params {
                m: m as u32,
                n: n as u32,
                k: k as u32,
                first: first as u32,
                last: last as u32,
            }),
            groups: [groups[0] as u32, groups[1] as u32, 1],
        })?;
    }
    Ok(c)
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
    let g = match options.activation {
        Activation::None => dc.clone(),
        _ => activation_backward(gpu, options.activation, c, dc)?,
    };
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

fn activation_backward(gpu: &Gpu, activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let dx = gpu.uninitialised("matmul", y.shape().clone(), DataType::F32)?;
    if !y.is_empty() {
        let (m, n) = y.shape().rows_cols();
        gpu.dispatch(Call {
            op: "matmul",
            entry: "backward",
            constants: &[("ACTIVATION", activation.code())],
            inputs: &[y, dy],
            outputs: &[&dx],
            params: bytemuck::bytes_of(&Params { m: m as u32, n: n as u32, k: 0, first: 0, last: 0 }),
            groups: groups_for(y.len(), 64),
        })?;
    }
    Ok(dx)
}
