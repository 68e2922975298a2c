//! What is timed: a row per case, with its shape, the operations that its formula asks for, and how to record one run.
//!
//! Operations count an exponential or a logarithm as one, and leave out what draws random numbers. `None` stands where
//! loops end by the data, or where nobody counts.

use anyhow::{Context as _, Result};
use softurn_kernels::ops::augment::{self, Affine, ImageShape};
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::conv::{self, Conv};
use softurn_kernels::ops::entmax::{self, Alpha};
use softurn_kernels::ops::fisher_hypergeometric::{self as law, Law, Prepared, Sampling, Upstream, Urn};
use softurn_kernels::ops::gaussian::{backward as gaussian_backward, forward as gaussian};
use softurn_kernels::ops::grouped_matmul::{self, Groups};
use softurn_kernels::ops::label_loss::{self, Loss};
use softurn_kernels::ops::matmul::{self, Activation, Options};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::relaxed_sort::{self, Kind, Relaxation, Wanted};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::ops::{
    Noise, adam, bernoulli_loss, blocks, cross_entropy, gather, gaussian_mixture, gumbel_softmax, log_sum_exp,
    nested_subset, one_hot, plackett_luce, random, self_label, sigmoid_top_k, softmax, sprites, squared_error, subset,
    successive_top_k, top_k,
};
use softurn_kernels::{Gpu, Key, Shape, Tensor};

use crate::SEED;
use crate::training::{self, Training};

/// Records the work once, with random numbers of its own for each number, and returns what to wait for.
pub(crate) type Run = Box<dyn FnMut(u64) -> Result<Tensor>>;

/// Makes the inputs of a case on a device.
type Make = Box<dyn Fn(&Inputs) -> Result<Run>>;

/// A row of the table.
pub(crate) struct Case {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) shape: String,
    /// Floating-point operations of a run.
    pub(crate) flop: Option<f64>,
    /// Bytes of a run where the tensors that are bound do not tell them.
    pub(crate) bytes: Option<f64>,
    pub(crate) make: Make,
}

impl Case {
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.shape)
    }

    /// Whether a filter leaves it out: what ceilings are measured by always runs.
    pub(crate) fn left_out(&self, filter: &str) -> bool {
        let ceiling = self.name == "copy"
            || self.name == "matmul" && ["1024x1024x1024", "2048x2048x2048"].contains(&&*self.shape);
        !ceiling && ![self.group, self.name].iter().any(|name| name.contains(filter))
    }
}

/// Inputs of a case, made on the host so that no kernel but the case's own is compiled on the device.
pub(crate) struct Inputs {
    pub(crate) gpu: Gpu,
}

impl Inputs {
    /// About normal: the sum of four uniform numbers, with mean 0 and variance 1.
    fn normal(&self, shape: impl Into<Shape>, seed: u64) -> Result<Tensor> {
        let shape = shape.into();
        let mut state = SEED ^ seed << 32;
        let values: Vec<f32> = (0..shape.len())
            .map(|_| {
                // splitmix64 (Steele, Lea and Flood 2014)
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                let bits = z ^ z >> 31;
                let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xffff).sum();
                (sum as f32 / 65536.0 - 2.0) * 3f32.sqrt()
            })
            .collect();
        Ok(self.gpu.tensor(&values, shape)?)
    }

    /// Rows of probabilities.
    fn probabilities(&self, [rows, cols]: [usize; 2], seed: u64) -> Result<Tensor> {
        let mut values = self.normal([rows, cols], seed)?.read()?;
        for row in values.chunks_mut(cols) {
            row.iter_mut().for_each(|x| *x = x.exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        }
        Ok(self.gpu.tensor(&values, [rows, cols])?)
    }

    /// `f(0), f(1), ..`
    fn integers(&self, shape: impl Into<Shape>, f: impl Fn(usize) -> usize) -> Result<Tensor> {
        let shape = shape.into();
        let values: Vec<u32> = (0..shape.len()).map(|i| f(i) as u32).collect();
        Ok(self.gpu.tensor(&values, shape)?)
    }
}

fn run(record: impl FnMut(u64) -> Result<Tensor> + 'static) -> Result<Run> {
    Ok(Box::new(record))
}

fn key(i: u64) -> Noise<'static> {
    Noise::Key(Key::new(i))
}

#[derive(Default)]
struct Table {
    group: &'static str,
    cases: Vec<Case>,
}

impl Table {
    fn add(
        &mut self,
        name: &'static str,
        shape: &[usize],
        flop: impl Into<Option<usize>>,
        make: impl Fn(&Inputs) -> Result<Run> + 'static,
    ) {
        let shape = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        let flop = flop.into().map(|flop| flop as f64);
        self.cases.push(Case { group: self.group, name, shape, flop, bytes: None, make: Box::new(make) });
    }
}

/// All cases; those that take seconds on a software adapter only for GPUs.
pub(crate) fn all(software: bool) -> Vec<Case> {
    let mut table = Table::default();
    ceilings(&mut table);
    matmuls(&mut table, software);
    convolutions(&mut table);
    rows(&mut table);
    elementwise(&mut table, if software { 1 << 22 } else { 1 << 24 });
    sampling(&mut table);
    selection(&mut table);
    sorting(&mut table);
    hypergeometric(&mut table);
    losses(&mut table);
    trainings(&mut table);
    table.cases
}

fn ceilings(table: &mut Table) {
    table.group = "ceilings";
    let length = 64 << 20 >> 2;
    table.add("copy", &[length], None, move |inputs| {
        let (source, target) = (inputs.normal([length], 1)?, inputs.gpu.zeros([length])?);
        run(move |_| {
            source.gpu().copy(&source, &target)?;
            Ok(target.clone())
        })
    });
    table.add("dispatch", &[1], None, |inputs| {
        let x = inputs.normal([1], 1)?;
        run(move |_| Ok(unary::forward(x.gpu(), Unary::Relu, &x)?))
    });
}

fn matmuls(table: &mut Table, software: bool) {
    table.group = "matmul";
    let [plain, nt, tn] = [[false, false], [false, true], [true, false]].map(|[a, b]| Options {
        transpose_a: a,
        transpose_b: b,
        ..Options::default()
    });
    let mut add = |name, options: Options, [m, k, n]: [usize; 3]| {
        table.add(name, &[m, k, n], 2 * m * k * n, move |inputs| {
            let a = inputs.normal(if options.transpose_a { [k, m] } else { [m, k] }, 1)?;
            let b = inputs.normal(if options.transpose_b { [n, k] } else { [k, n] }, 2)?;
            run(move |_| Ok(matmul::forward(a.gpu(), options, &a, &b, None)?))
        });
        // Whoever computes it, a host or a device, moves these at least.
        let product = table.cases.last_mut().expect("the case above");
        product.bytes = Some((4 * (m * k + k * n + m * n)) as f64);
    };
    add("matmul", plain, [512; 3]);
    add("matmul", plain, [1024; 3]);
    if !software {
        add("matmul", plain, [2048; 3]);
    }
    // A layer of a batch: forward, the gradient of its input, the gradient of its weights.
    add("matmul", plain, [256, 784, 500]);
    add("matmul NT", nt, [256, 500, 784]);
    add("matmul TN", tn, [784, 256, 500]);
    add("matmul", plain, [256, 500, 2000]);
    // Rows of few and of many heads: the same operations.
    let [rows, k, n] = [1024, 64, 64];
    for heads in [2, 64] {
        let shape = [rows, heads, k, n];
        table.add("grouped_matmul", &shape, 2 * rows * k * n, move |inputs| {
            let grouped = Grouped::new(inputs, shape)?;
            run(move |_| grouped.forward())
        });
        table.add("grouped_matmul backward", &shape, 4 * rows * k * n, move |inputs| {
            let grouped = Grouped::new(inputs, shape)?;
            let (c, dc) = (grouped.forward()?, inputs.normal([rows, n], 3)?);
            run(move |_| {
                let Grouped { groups, a, b } = &grouped;
                let options = grouped_matmul::Options::default();
                let gradients = grouped_matmul::backward(a.gpu(), options, groups, a, b, &c, &dc, [true; 2], false)?;
                gradients.b.context("the gradient of b")
            })
        });
    }
}

/// The operands of a product whose rows go to heads in turn.
struct Grouped {
    groups: Groups,
    a: Tensor,
    b: Tensor,
}

impl Grouped {
    fn new(inputs: &Inputs, [rows, heads, k, n]: [usize; 4]) -> Result<Self> {
        let groups = Groups::new(&inputs.gpu, &inputs.integers([rows], |row| row % heads)?, heads)?;
        Ok(Self { groups, a: inputs.normal([rows, k], 1)?, b: inputs.normal([heads, k, n], 2)? })
    }

    fn forward(&self) -> Result<Tensor> {
        let options = grouped_matmul::Options::default();
        Ok(grouped_matmul::forward(self.a.gpu(), options, &self.groups, &self.a, &self.b, None)?)
    }
}

/// Layers of an encoder of images of 64 x 64 pixels and of its mirror image: kernel 4, stride 2, padding 1; forward and
/// backward, without the gradient of images of one channel. Shapes are the rows, height, width and channels of the input
/// and the channels of the output.
fn convolutions(table: &mut Table) {
    table.group = "convolution";
    let conv = Conv { stride: [2, 2], padding: [1, 1] };
    for shape @ [n, side, _, inputs, outputs] in
        [[64, 64, 64, 1, 32], [64, 32, 32, 32, 32], [64, 16, 16, 32, 64], [64, 8, 8, 64, 64]]
    {
        let out = side / 2;
        let products = if inputs == 1 { 2 } else { 3 };
        table.add("conv2d step", &shape, products * 2 * n * out * out * 16 * inputs * outputs, move |from| {
            let x = from.normal([n, side, side, inputs], 1)?;
            let (weight, bias) = (from.normal([4, 4, inputs, outputs], 2)?, from.normal([outputs], 3)?);
            let dy = from.normal([n, out, out, outputs], 4)?;
            run(move |_| {
                let gpu = x.gpu();
                let y = conv::conv2d::forward(gpu, conv, Activation::Relu, &x, &weight, Some(&bias))?;
                let wanted = [inputs > 1, true];
                let gradients =
                    conv::conv2d::backward(gpu, conv, Activation::Relu, &x, &weight, [&y, &dy], wanted, true)?;
                gradients.weight.context("the gradient of the weights")
            })
        });
    }
    for shape @ [n, side, _, inputs, outputs] in [[64, 8, 8, 64, 32], [64, 16, 16, 32, 32], [64, 32, 32, 32, 1]] {
        let out = 2 * side;
        table.add("conv_transpose2d step", &shape, 3 * 2 * n * side * side * 16 * inputs * outputs, move |from| {
            let x = from.normal([n, side, side, inputs], 1)?;
            let (weight, bias) = (from.normal([4, 4, outputs, inputs], 2)?, from.normal([outputs], 3)?);
            let dy = from.normal([n, out, out, outputs], 4)?;
            run(move |_| {
                let gpu = x.gpu();
                conv::conv_transpose2d::forward(gpu, conv, [0, 0], &x, &weight, Some(&bias))?;
                let gradients =
                    conv::conv_transpose2d::backward(gpu, conv, [0, 0], &x, &weight, &dy, [true, true], true)?;
                gradients.weight.context("the gradient of the weights")
            })
        });
    }
}

fn rows(table: &mut Table) {
    table.group = "rows";
    let (shape, n) = ([4096, 1024], 4096 * 1024);
    table.add("softmax", &shape, 5 * n, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |_| Ok(softmax::forward(x.gpu(), &x, 1.0)?))
    });
    table.add("softmax backward", &shape, 4 * n, move |inputs| {
        let (y, dy) = (inputs.probabilities(shape, 1)?, inputs.normal(shape, 2)?);
        run(move |_| Ok(softmax::backward(y.gpu(), &y, &dy, 1.0)?))
    });
    table.add("log_sum_exp", &shape, 4 * n, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |_| Ok(log_sum_exp::forward(x.gpu(), &x)?))
    });
    table.add("sum cols", &shape, n, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |_| Ok(reduce::over_cols(x.gpu(), Reduction::Sum, &x)?))
    });
    table.add("sum rows", &shape, n, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |_| Ok(reduce::over_rows(x.gpu(), Reduction::Sum, &x)?))
    });
    table.add("sum all", &shape, n, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |_| Ok(reduce::all(x.gpu(), Reduction::Sum, &x)?))
    });
    table.add("argmax", &shape, n, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |_| Ok(reduce::argmax(x.gpu(), &x)?))
    });
    for (name, alpha) in [("sparsemax", Alpha::Two), ("entmax15", Alpha::OneAndAHalf)] {
        table.add(name, &[1024, 4096], None, move |inputs| {
            let x = inputs.normal([1024, 4096], 1)?;
            run(move |_| Ok(entmax::forward(x.gpu(), &x, alpha)?))
        });
    }
    let (taken, cols) = (4096, 784);
    table.add("gather", &[16384, cols, taken], None, move |inputs| {
        let (x, index) = (inputs.normal([16384, cols], 1)?, inputs.integers([taken], |i| i * 31 % 16384)?);
        run(move |_| Ok(gather::forward(x.gpu(), &x, &index)?))
    });
    // What is bound holds four times the rows that are read.
    let rows = table.cases.last_mut().expect("the case above");
    rows.bytes = Some((4 * taken * (2 * cols + 1)) as f64);
    table.add("one_hot", &[16384, 100], None, |inputs| {
        let labels = inputs.integers([16384], |i| i % 100)?;
        run(move |_| Ok(one_hot::forward(labels.gpu(), &labels, 100)?))
    });
}

fn elementwise(table: &mut Table, n: usize) {
    table.group = "elementwise";
    table.add("add", &[n], n, move |inputs| {
        let (a, b) = (inputs.normal([n], 1)?, inputs.normal([n], 2)?);
        run(move |_| Ok(binary::forward(a.gpu(), Binary::Add, &a, &b)?))
    });
    let shape = [n / 1024, 1024];
    table.add("mul row", &shape, n, move |inputs| {
        let (a, b) = (inputs.normal(shape, 1)?, inputs.normal([1024], 2)?);
        run(move |_| Ok(binary::forward(a.gpu(), Binary::Mul, &a, &b)?))
    });
    table.add("softplus", &[n], 4 * n, move |inputs| {
        let x = inputs.normal([n], 1)?;
        run(move |_| Ok(unary::forward(x.gpu(), Unary::Softplus, &x)?))
    });
    let images = [4096, 784];
    table.add("augment affine", &images, None, move |inputs| {
        let x = inputs.probabilities(images, 1)?;
        let shape = ImageShape { height: 28, width: 28, channels: 1 };
        let map = Affine { max_rotation: 0.2, max_scale: 0.1, max_shear: 0.1, max_shift: 2.0, max_crop: 0.0 };
        run(move |i| Ok(augment::affine(x.gpu(), &x, shape, &map, Key::new(i))?))
    });
    table.add("sprites", &[128, 4096], None, |inputs| {
        let factors = inputs.integers([128, 5], |i| i % 3)?;
        run(move |_| Ok(sprites::forward(factors.gpu(), &factors, 64)?))
    });
    table.add("augment corrupt", &images, None, move |inputs| {
        let x = inputs.normal(images, 1)?;
        run(move |i| Ok(augment::corrupt(x.gpu(), &x, 0.1, 0.2, Key::new(i))?))
    });
}

fn sampling(table: &mut Table) {
    table.group = "sampling";
    let n = 1 << 22;
    table.add("normal", &[n], None, move |inputs| {
        let gpu = inputs.gpu.clone();
        run(move |i| Ok(random::normal(&gpu, [n], Key::new(i))?))
    });
    table.add("uniform", &[n], None, move |inputs| {
        let gpu = inputs.gpu.clone();
        run(move |i| Ok(random::uniform(&gpu, [n], Key::new(i))?))
    });
    let shape = [1024, 1024];
    table.add("gumbel_softmax", &shape, None, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |i| Ok(gumbel_softmax::forward(x.gpu(), &x, key(i), 0.5)?))
    });
    table.add("categorical", &shape, None, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |i| Ok(gumbel_softmax::sample(x.gpu(), &x, key(i))?))
    });
    let codes = [16384, 64];
    table.add("gaussian", &codes, None, move |inputs| {
        let (mean, log_variance) = (inputs.normal(codes, 1)?, inputs.normal(codes, 2)?);
        run(move |i| Ok(gaussian(mean.gpu(), &mean, &log_variance, key(i))?.0))
    });
    table.add("gaussian backward", &codes, None, move |inputs| {
        let (mean, log_variance, dz) = (inputs.normal(codes, 1)?, inputs.normal(codes, 2)?, inputs.normal(codes, 3)?);
        run(move |i| Ok(gaussian_backward(mean.gpu(), &mean, &log_variance, key(i), Some(&dz), None)?.0))
    });
}

/// Laws of `k` counts a row.
fn shares(inputs: &Inputs, rows: usize, k: usize) -> Result<Tensor> {
    let counts = inputs.normal([rows, k], 4)?;
    Ok(gumbel_softmax::forward(counts.gpu(), &counts, Noise::None, 0.5)?)
}

fn selection(table: &mut Table) {
    table.group = "selection";
    let (shape, k) = ([1024, 1024], 16);
    let named = [shape[0], shape[1], k];
    table.add("gumbel_top_k", &named, None, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |i| Ok(top_k::forward(x.gpu(), &x, key(i), k)?.values))
    });
    table.add("sigmoid_top_k", &named, None, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |i| Ok(sigmoid_top_k::forward(x.gpu(), &x, key(i), k, 0.5)?))
    });
    table.add("sigmoid_top_k backward", &named, None, move |inputs| {
        let (x, dy) = (inputs.normal(shape, 1)?, inputs.normal(shape, 2)?);
        let y = sigmoid_top_k::forward(x.gpu(), &x, key(0), k, 0.5)?;
        run(move |_| Ok(sigmoid_top_k::backward(y.gpu(), &y, &dy, 0.5)?))
    });
    table.add("successive_top_k", &named, None, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |i| Ok(successive_top_k::forward(x.gpu(), &x, key(i), k, 0.5)?))
    });
    table.add("successive_top_k backward", &named, None, move |inputs| {
        let (x, dy) = (inputs.normal(shape, 1)?, inputs.normal(shape, 2)?);
        run(move |i| Ok(successive_top_k::backward(x.gpu(), &x, key(i), k, 0.5, &dy)?))
    });
    let draw = |i: u64| nested_subset::Draw { noise: key(i), temperature: 0.5 };
    table.add("nested_subset", &named, None, move |inputs| {
        let (x, shares) = (inputs.normal(shape, 1)?, shares(inputs, shape[0], k)?);
        run(move |i| Ok(nested_subset::forward(x.gpu(), &x, draw(i), &shares, 1)?.0))
    });
    table.add("nested_subset backward", &named, None, move |inputs| {
        let (x, dy, shares) = (inputs.normal(shape, 1)?, inputs.normal(shape, 2)?, shares(inputs, shape[0], k)?);
        let (_, walk) = nested_subset::forward(x.gpu(), &x, draw(1), &shares, 1)?;
        run(move |_| {
            let [dx, _] = nested_subset::backward(dy.gpu(), &walk, &shares, 1, &dy)?;
            Ok(dx)
        })
    });
    let (shape, k) = ([1024, 128], 8);
    let named = [shape[0], shape[1], k];
    table.add("subset marginals", &named, None, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        run(move |_| Ok(subset::forward(x.gpu(), &x, k)?.marginals))
    });
    table.add("subset backward", &named, None, move |inputs| {
        let (x, dy, dlog) = (inputs.normal(shape, 1)?, inputs.normal(shape, 2)?, inputs.normal([shape[0]], 3)?);
        let subsets = subset::forward(x.gpu(), &x, k)?;
        run(move |_| Ok(subset::backward(x.gpu(), &subsets, &dy, &dlog)?))
    });
    table.add("subset sample", &named, None, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        let subsets = subset::forward(x.gpu(), &x, k)?;
        run(move |i| Ok(subset::sample(x.gpu(), &subsets, Key::new(i))?))
    });
    let (shape, k) = ([1024, 1024], 64);
    table.add("plackett_luce", &[shape[0], shape[1], k], None, move |inputs| {
        let x = inputs.normal(shape, 1)?;
        let order = inputs.integers([shape[0], k], |i| i % k * (shape[1] / k))?;
        run(move |_| Ok(plackett_luce::forward(x.gpu(), &x, &order)?.0))
    });
}

fn sorting(table: &mut Table) {
    table.group = "sorting";
    let [rows, n, columns] = [64, 256, 8];
    table.add("sort order", &[rows, n], None, move |inputs| {
        let scores = inputs.normal([rows, n], 1)?;
        run(move |_| Ok(relaxed_sort::prepare(scores.gpu(), &scores)?.order().clone()))
    });
    for (name, backward, kind) in
        [("neural_sort", "neural_sort step", Kind::Neural), ("soft_sort", "soft_sort step", Kind::Soft)]
    {
        let relaxation = Relaxation { kind, temperature: 1.0 };
        table.add(name, &[rows, n, columns], None, move |inputs| {
            let (scores, x) = (inputs.normal([rows, n], 1)?, inputs.normal([rows, n, columns], 2)?);
            run(move |_| {
                let gpu = x.gpu();
                Ok(relaxed_sort::forward(gpu, &relaxed_sort::prepare(gpu, &scores)?, relaxation, &x)?.0)
            })
        });
        table.add(backward, &[rows, n, columns], None, move |inputs| {
            let cube = |seed| inputs.normal([rows, n, columns], seed);
            let (scores, x, dy) = (inputs.normal([rows, n], 1)?, cube(2)?, cube(3)?);
            run(move |_| {
                let gpu = x.gpu();
                let sorted = relaxed_sort::prepare(gpu, &scores)?;
                let (y, normalisers) = relaxed_sort::forward(gpu, &sorted, relaxation, &x)?;
                let wanted = Wanted { scores: true, x: true };
                let gradients = relaxed_sort::backward(gpu, &sorted, relaxation, &normalisers, &x, &y, &dy, wanted)?;
                gradients.scores.context("the gradient of the scores")
            })
        });
    }
    table.add("blocks", &[rows, n, columns], None, move |inputs| {
        let counts = inputs.gpu.tensor(&vec![(n / columns) as f32; rows * columns], [rows, columns])?;
        run(move |_| Ok(blocks::forward(counts.gpu(), &counts, n)?))
    });
}

fn hypergeometric(table: &mut Table) {
    table.group = "hypergeometric";
    let [rows, groups, size, draws] = [1024, 3, 200, 180];
    let shape = [rows, groups, size, draws];
    let urn = move |gpu: &Gpu| Urn::new(gpu, &vec![size as u32; groups], draws as u32);
    table.add("fisher step", &shape, None, move |inputs| {
        let urn = urn(&inputs.gpu)?;
        let (weights, dcounts) = (inputs.normal([rows, groups], 1)?, inputs.normal([rows, groups], 2)?);
        run(move |i| {
            let gpu = weights.gpu();
            let sampling = Sampling::straight_through(Key::new(i), 1.0);
            let prepared = Prepared::new(gpu, &urn, &Law::Exact, &weights)?;
            let draw = law::forward(gpu, &prepared, rows, &sampling)?;
            let upstream = Upstream { counts: &dcounts, log_prob: None, masks: None };
            let [dweights, _] = law::backward(gpu, &prepared, &draw, &upstream, &sampling)?;
            Ok(dweights)
        })
    });
    table.add("fisher log_prob", &shape, None, move |inputs| {
        let urn = urn(&inputs.gpu)?;
        let weights = inputs.normal([rows, groups], 1)?;
        let prepared = Prepared::new(&inputs.gpu, &urn, &Law::Exact, &weights)?;
        let sampling = Sampling::straight_through(Key::new(0), 1.0);
        let draw = law::forward(&inputs.gpu, &prepared, rows, &sampling)?;
        run(move |_| Ok(law::log_prob(weights.gpu(), &prepared, &draw.counts)?.log_prob))
    });
}

type LossForward = fn(&Gpu, &Tensor, &Tensor) -> softurn_kernels::Result<Tensor>;
type LossBackward = fn(&Gpu, &Tensor, &Tensor, &Tensor) -> softurn_kernels::Result<Tensor>;

fn losses(table: &mut Table) {
    table.group = "losses";
    let mut add = |names: [&'static str; 2],
                   shape: [usize; 2],
                   flops: [usize; 2],
                   forward: LossForward,
                   backward: LossBackward| {
        let n = shape[0] * shape[1];
        table.add(names[0], &shape, flops[0] * n, move |inputs| {
            let (x, targets) = (inputs.normal(shape, 1)?, inputs.probabilities(shape, 2)?);
            run(move |_| Ok(forward(x.gpu(), &x, &targets)?))
        });
        table.add(names[1], &shape, flops[1] * n, move |inputs| {
            let (x, targets) = (inputs.normal(shape, 1)?, inputs.probabilities(shape, 2)?);
            let dloss = inputs.normal([shape[0]], 3)?;
            run(move |_| Ok(backward(x.gpu(), &x, &targets, &dloss)?))
        });
    };
    let (logits, images) = ([4096, 1024], [4096, 784]);
    // Maximum, subtract, exponential, sum; times target, sum of both. Backward: softmax, minus target, times gradient.
    let names = ["cross_entropy", "cross_entropy backward"];
    add(names, logits, [7, 7], cross_entropy::forward, cross_entropy::backward);
    // As above, with a logarithm of the label in place of the log of the sum.
    let names = ["label_loss", "label_loss backward"];
    add(
        names,
        logits,
        [7, 8],
        |gpu, x, labels| label_loss::forward(gpu, Loss::ReverseCrossEntropy, x, labels),
        |gpu, x, labels, dloss| label_loss::backward(gpu, Loss::ReverseCrossEntropy, x, labels, dloss),
    );
    // Softplus (4), product with the target, subtract, sum. Backward: sigmoid (3), subtract, times gradient.
    let names = ["bernoulli_loss", "bernoulli_loss backward"];
    add(names, images, [7, 5], bernoulli_loss::forward, bernoulli_loss::backward);
    let names = ["squared_error", "squared_error backward"];
    add(names, images, [3, 3], squared_error::forward, squared_error::backward);
    // Ten iterations, in one workgroup and in several; per label and iteration: product and sum twice, quotient, change, sum.
    for shape in [[256, 10], [5000, 20]] {
        table.add("self_label", &shape, 70 * shape[0] * shape[1], move |inputs| {
            let sigma = inputs.probabilities(shape, 1)?;
            let proportions = inputs.gpu.tensor(&vec![1.0 / shape[1] as f32; shape[1]], [shape[1]])?;
            let loss = Loss::ReverseCrossEntropy;
            let settings = self_label::Settings { loss, lambda: 1.0, iterations: 10, tolerance: 0.0 };
            run(move |_| Ok(self_label::forward(sigma.gpu(), &sigma, &proportions, &settings)?.labels))
        });
    }
    let [rows, dims, k] = [4096, 32, 64];
    // Per row, component and dimension: subtract, square, add a variance, times a precision, sum.
    table.add("gaussian_mixture", &[rows, dims, k], 5 * rows * dims * k, move |inputs| {
        let (mean, log_variance) = (inputs.normal([rows, dims], 1)?, inputs.normal([rows, dims], 2)?);
        let (means, log_variances) = (inputs.normal([k, dims], 3)?, inputs.normal([k, dims], 4)?);
        run(move |_| Ok(gaussian_mixture::forward(mean.gpu(), &mean, Some(&log_variance), &means, &log_variances)?))
    });
    table.add("gaussian_mixture backward", &[rows, dims, k], None, move |inputs| {
        let (mean, log_variance) = (inputs.normal([rows, dims], 1)?, inputs.normal([rows, dims], 2)?);
        let (means, log_variances) = (inputs.normal([k, dims], 3)?, inputs.normal([k, dims], 4)?);
        let dy = inputs.normal([rows, k], 5)?;
        run(move |_| {
            let gpu = mean.gpu();
            Ok(gaussian_mixture::backward(gpu, &mean, Some(&log_variance), &means, &log_variances, &dy)?.means)
        })
    });
}

fn trainings(table: &mut Table) {
    table.group = "optimizer";
    let n = 1 << 22;
    // Two moving averages (3 each), two corrections, a root, an addition, a quotient, the rate, the difference.
    table.add("adam", &[n], 13 * n, move |inputs| {
        let (values, gradients) = (inputs.normal([n], 1)?, inputs.normal([n], 2)?);
        let (first, second) = (inputs.gpu.zeros([n])?, inputs.gpu.zeros([n])?);
        run(move |i| {
            let settings = adam::Settings { step: i as u32 + 1, ..adam::Settings::default() };
            adam::step(values.gpu(), &values, &gradients, &first, &second, &settings, None)?;
            Ok(values.clone())
        })
    });
    table.group = "training";
    for (name, widths, latent) in
        [("vade-step", &[784, 500, 500, 2000][..], 10), ("digits-step", &[64, 256, 128][..], 16)]
    {
        let rows = 256;
        let shape: Vec<usize> = [rows].iter().chain(widths).copied().chain([latent]).collect();
        table.add(name, &shape, training::flop(rows, widths, latent) as usize, move |inputs| {
            let x = inputs.probabilities([rows, widths[0]], 1)?;
            let mut training = Training::new(&inputs.gpu, x, widths, latent)?;
            run(move |i| training.step(Key::new(i)))
        });
    }
}
