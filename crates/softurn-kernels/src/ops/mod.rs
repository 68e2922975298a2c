//! The operations. Each is a folder with its formula, shape checks and dispatches (`mod.rs`), the same in f64
//! (`cpu.rs`) and its tests; [`OPS`] lists them all.

pub mod adam;
pub mod augment;
pub mod bernoulli_loss;
pub mod binary;
pub mod blocks;
pub mod conv;
pub mod cross_entropy;
pub mod entmax;
pub mod fisher_hypergeometric;
pub mod gather;
pub mod gaussian;
pub mod gaussian_mixture;
pub mod grouped_matmul;
pub mod gumbel_softmax;
pub mod label_loss;
pub mod log_sum_exp;
pub mod matmul;
pub mod nested_subset;
pub mod one_hot;
pub mod plackett_luce;
pub mod random;
pub mod reduce;
pub mod relaxed_sort;
mod row_loss;
#[cfg(test)]
mod row_loss_tests;
pub mod self_label;
pub mod sigmoid_top_k;
pub mod softmax;
pub mod sprites;
pub mod squared_error;
pub mod subset;
pub mod successive_top_k;
pub mod top_k;
pub mod unary;

use crate::Gpu;
use crate::gpu::pipeline::groups_for;
use crate::{DataType, Error, Key, Plan, Result, Shape, Tensor};

/// A row of the op table.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    /// The name of the module, the shader, the autodiff rule and the bench.
    pub name: &'static str,
    /// One line: what it computes.
    pub summary: &'static str,
    /// Whether it has a backward, and therefore a rule in softurn-autodiff.
    pub differentiable: bool,
    /// The fields of its parameter struct with their byte offsets, compared with the shader's.
    pub params: &'static [(&'static str, usize)],
}

/// Every operation, walked by tests and `cargo xtask tidy`.
pub const OPS: &[Op] = &[
    Op {
        name: "gumbel_softmax",
        summary: "categorical draws, exact and relaxed",
        differentiable: true,
        params: gumbel_softmax::PARAMS,
    },
    Op {
        name: "adam",
        summary: "AdamW over flat buffers in one dispatch",
        differentiable: false,
        params: adam::PARAMS,
    },
    Op {
        name: "one_hot",
        summary: "labels as rows of zeros with a one",
        differentiable: false,
        params: one_hot::PARAMS,
    },
    Op {
        name: "entmax",
        summary: "sparse laws of a row: sparsemax and 1.5-entmax",
        differentiable: true,
        params: entmax::PARAMS,
    },
    Op {
        name: "plackett_luce",
        summary: "log-probability of an ordered selection under log-scores",
        differentiable: true,
        params: plackett_luce::PARAMS,
    },
    Op { name: "gather", summary: "rows by index", differentiable: true, params: gather::PARAMS },
    Op {
        name: "gaussian",
        summary: "Gaussian draw with its gradient and its divergence",
        differentiable: true,
        params: gaussian::PARAMS,
    },
    Op {
        name: "softmax",
        summary: "softmax and log-softmax of a row with a temperature",
        differentiable: true,
        params: softmax::PARAMS,
    },
    Op {
        name: "log_sum_exp",
        summary: "log of a sum of exponentials of a row",
        differentiable: true,
        params: log_sum_exp::PARAMS,
    },
    Op {
        name: "binary",
        summary: "element-wise functions of two tensors",
        differentiable: true,
        params: binary::PARAMS,
    },
    Op {
        name: "reduce",
        summary: "sums, means, extremes and their places",
        differentiable: true,
        params: reduce::PARAMS,
    },
    Op {
        name: "matmul",
        summary: "matrix product with bias and activation",
        differentiable: true,
        params: matmul::PARAMS,
    },
    Op {
        name: "grouped_matmul",
        summary: "products of rows with the matrix of their group",
        differentiable: true,
        params: grouped_matmul::PARAMS,
    },
    Op {
        name: "gaussian_mixture",
        summary: "expected log density under diagonal Gaussians",
        differentiable: true,
        params: gaussian_mixture::PARAMS,
    },
    Op {
        name: "augment",
        summary: "random views: affine maps of images, noise and dropout of features",
        differentiable: false,
        params: augment::PARAMS,
    },
    Op {
        name: "sprites",
        summary: "pictures of sprites from known factors",
        differentiable: false,
        params: sprites::PARAMS,
    },
    Op { name: "squared_error", summary: "squared error", differentiable: true, params: row_loss::PARAMS },
    Op {
        name: "cross_entropy",
        summary: "cross-entropy with soft targets",
        differentiable: true,
        params: row_loss::PARAMS,
    },
    Op {
        name: "bernoulli_loss",
        summary: "Bernoulli negative log-likelihood",
        differentiable: true,
        params: row_loss::PARAMS,
    },
    Op {
        name: "label_loss",
        summary: "reverse and collision cross-entropy with soft labels",
        differentiable: true,
        params: row_loss::PARAMS,
    },
    Op {
        name: "self_label",
        summary: "soft labels of given group proportions by expectation maximisation",
        differentiable: false,
        params: self_label::PARAMS,
    },
    Op {
        name: "fisher_hypergeometric",
        summary: "Fisher's noncentral hypergeometric law of several groups",
        differentiable: true,
        params: fisher_hypergeometric::PARAMS,
    },
    Op {
        name: "random",
        summary: "bits, uniform, normal and Gumbel noise from a key",
        differentiable: false,
        params: random::PARAMS,
    },
    Op {
        name: "sigmoid_top_k",
        summary: "relaxed choice of k by sigmoids that sum to k",
        differentiable: true,
        params: sigmoid_top_k::PARAMS,
    },
    Op {
        name: "subset",
        summary: "the exact law of subsets of k elements",
        differentiable: true,
        params: subset::PARAMS,
    },
    Op {
        name: "successive_top_k",
        summary: "relaxed choice of k by successive softmaxes",
        differentiable: true,
        params: successive_top_k::PARAMS,
    },
    Op {
        name: "top_k",
        summary: "the k largest of a row, with Gumbel noise or without",
        differentiable: true,
        params: top_k::PARAMS,
    },
    Op {
        name: "nested_subset",
        summary: "subsets of a drawn number of elements, relaxed and hard",
        differentiable: true,
        params: nested_subset::PARAMS,
    },
    Op {
        name: "relaxed_sort",
        summary: "NeuralSort and SoftSort as operators, and the sort itself",
        differentiable: true,
        params: relaxed_sort::PARAMS,
    },
    Op { name: "blocks", summary: "block masks of positions by counts", differentiable: true, params: blocks::PARAMS },
    Op { name: "conv", summary: "convolutions of images", differentiable: true, params: conv::PARAMS },
    Op { name: "unary", summary: "element-wise functions", differentiable: true, params: unary::PARAMS },
];

/// Every argument must hold floats.
pub(crate) fn floats(op: &'static str, arguments: &[(&'static str, &Tensor)]) -> Result<()> {
    of_type(op, arguments, DataType::F32)
}

/// Every argument must hold `u32`.
pub(crate) fn integers(op: &'static str, arguments: &[(&'static str, &Tensor)]) -> Result<()> {
    of_type(op, arguments, DataType::U32)
}

fn of_type(op: &'static str, arguments: &[(&'static str, &Tensor)], data_type: DataType) -> Result<()> {
    for (argument, tensor) in arguments {
        if tensor.data_type() != data_type {
            return Err(Error::argument(op, argument, format!("holds {:?}, not {data_type:?}", tensor.data_type())));
        }
    }
    Ok(())
}

/// `tensor` must have the shape of `like`.
pub(crate) fn same_shape(op: &'static str, argument: &'static str, tensor: &Tensor, like: &Tensor) -> Result<()> {
    of_shape(op, argument, tensor, like.shape())
}

/// `tensor` must have this shape.
pub(crate) fn of_shape(op: &'static str, argument: &'static str, tensor: &Tensor, shape: &Shape) -> Result<()> {
    if tensor.shape() == shape {
        return Ok(());
    }
    Err(Error::shape(op, argument, tensor.shape(), shape.to_string()))
}

/// How rows are laid on workgroups: `lanes` invocations share a row, `rows` rows share a workgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowPlan {
    pub(crate) lanes: usize,
    pub(crate) rows: usize,
}

impl RowPlan {
    /// One invocation per row on software adapters, more where a row is long: lavapipe ends all loops of an invocation
    /// after 65,536 turns in total, without an error. On GPUs enough lanes that each has about four elements.
    pub(crate) fn of(gpu: &Gpu, cols: usize) -> Self {
        Self::with_elements(gpu, cols, 4)
    }

    /// As [`RowPlan::of`], with enough lanes on GPUs that each has about so many elements.
    pub(crate) fn with_elements(gpu: &Gpu, cols: usize, elements: usize) -> Self {
        let lanes = match gpu.plan() {
            Plan::Cpu => (cols / 1024).next_power_of_two().clamp(1, 256),
            Plan::Gpu => (cols / elements).next_power_of_two().clamp(1, 256),
        };
        Self { lanes, rows: (64 / lanes).max(1) }
    }

    /// The two constants of `shared/reduce`.
    pub(crate) fn constants(self) -> [(&'static str, f64); 2] {
        [("LANES", self.lanes as f64), ("ROWS", self.rows as f64)]
    }

    /// Workgroups for this many rows.
    pub(crate) fn groups(self, rows: usize) -> [u32; 3] {
        groups_for(rows, self.rows)
    }
}

/// Where the noise of a draw comes from.
#[derive(Debug, Clone, Copy)]
pub enum Noise<'a> {
    /// None at all.
    None,
    /// Made from a key.
    Key(Key),
    /// Given, in the shape of what it is added to: for tests.
    Given(&'a Tensor),
}

impl Noise<'_> {
    /// The two words of the key; zeros where the noise is given.
    pub(crate) fn words(self) -> [u32; 2] {
        match self {
            Self::Key(key) => key.words(),
            Self::None | Self::Given(_) => [0, 0],
        }
    }

    /// As the constant `NOISE` of the shaders.
    pub(crate) fn mode(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Key(_) => 1.0,
            Self::Given(_) => 2.0,
        }
    }

    /// The tensor to bind: the noise, or any other where nothing reads it.
    pub(crate) fn tensor<'b>(self, other: &'b Tensor) -> &'b Tensor
    where
        Self: 'b,
    {
        match self {
            Self::None | Self::Key(_) => other,
            Self::Given(noise) => noise,
        }
    }

    /// Given noise must hold floats in the shape of `like`.
    pub(crate) fn check(self, op: &'static str, like: &Tensor) -> Result<()> {
        let Self::Given(noise) = self else { return Ok(()) };
        floats(op, &[("noise", noise)])?;
        same_shape(op, "noise", noise, like)
    }
}

/// The entry point of element-wise work and its workgroups: four elements an invocation where that leaves none over.
pub(crate) fn by_fours(length: usize, one: &'static str, four: &'static str) -> (&'static str, [u32; 3]) {
    if length.is_multiple_of(4) { (four, groups_for(length / 4, 64)) } else { (one, groups_for(length, 64)) }
}

/// A temperature must be positive and finite.
pub(crate) fn valid_temperature(op: &'static str, temperature: f32) -> Result<()> {
    if temperature.is_finite() && temperature > 0.0 {
        return Ok(());
    }
    Err(Error::argument(op, "temperature", format!("is {temperature}, not a positive number")))
}

/// All axes but the last.
pub(crate) fn leading(shape: &Shape) -> Shape {
    shape.dims().split_last().map_or(&[][..], |(_, rows)| rows).into()
}

/// A tensor of one value, made on the host: for the defined results of empty input.
pub(crate) fn filled(gpu: &Gpu, value: f32, shape: Shape) -> Result<Tensor> {
    gpu.tensor(&vec![value; shape.len()], shape)
}
