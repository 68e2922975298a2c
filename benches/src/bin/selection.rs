//! Draws, selections, relaxed sorts and partitions, forward and forward with backward, by shape: process CPU time and the
//! pool's high-water mark. One JSON object a line, in the form of `benches/peers/selection.py`, which times the same in
//! PyTorch.

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;
use softurn_benches::measure;
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::entmax::{self, Alpha};
use softurn_kernels::ops::relaxed_sort::{self, Kind, Relaxation, Wanted};
use softurn_kernels::ops::{
    Noise, blocks, gumbel_softmax, nested_subset, plackett_luce, random, sigmoid_top_k, softmax, subset,
    successive_top_k, top_k,
};
use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};

/// Times selections.
#[derive(Parser)]
struct Args {
    /// Operations, separated by commas; all by default
    #[arg(long, value_delimiter = ',')]
    ops: Vec<String>,
    /// rows x n x k, separated by commas; by default those of each operation
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<String>,
    /// Print the time of every kernel, by timestamps, to standard error
    #[arg(long)]
    profile: bool,
    /// Measurements, of which the median is printed
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

type Shape = [usize; 3];

/// What is timed: a forward, and a forward with its backward, that end with a tensor to wait for.
struct Timed<'a> {
    forward: Box<dyn Fn(u64) -> Result<Tensor> + 'a>,
    step: Box<dyn Fn(u64) -> Result<Tensor> + 'a>,
}

const DRAWS: &[Shape] = &[[1024, 128, 8], [1024, 1024, 8], [1024, 1024, 64], [16384, 128, 8], [65536, 10, 8]];

/// The whole row: no `k`.
const LAWS: &[Shape] = &[[1024, 4096, 0]];

const OPS: &[(&str, &[Shape])] = &[
    ("gumbel_softmax", DRAWS),
    ("categorical", DRAWS),
    ("gumbel_top_k", DRAWS),
    ("relaxed_top_k", DRAWS),
    ("sigmoid_top_k", DRAWS),
    ("nested_subset", &[[256, 1024, 8], [256, 4096, 16]]),
    ("subset_marginals", DRAWS),
    ("sparsemax", LAWS),
    ("entmax15", LAWS),
    ("plackett_luce", &[[1024, 1024, 64], [1024, 4096, 64]]),
    ("neural_sort", SORTS),
    ("soft_sort", SORTS),
    ("partition", &[[64, 256, 10], [16, 1024, 10]]),
];

/// Of relaxed sorts k is the number of columns that are sorted along.
const SORTS: &[Shape] = &[[64, 256, 8], [16, 1024, 8]];

fn timed<'a>(gpu: &'a Gpu, op: &str, [rows, n, k]: Shape) -> Result<Timed<'a>> {
    let x = random::normal(gpu, [rows, n], Key::new(1))?;
    let dy = random::normal(gpu, [rows, n], Key::new(2))?;
    dy.read()?;
    let key = |i: u64| Noise::Key(Key::new(i));
    Ok(match op {
        "gumbel_softmax" => {
            let forward = {
                let x = x.clone();
                move |i| Ok(gumbel_softmax::forward(gpu, &x, key(i), 0.5)?)
            };
            Timed {
                forward: Box::new(forward),
                step: Box::new(move |i| {
                    let y = gumbel_softmax::forward(gpu, &x, key(i), 0.5)?;
                    Ok(softmax::backward(gpu, &y, &dy, 0.5)?)
                }),
            }
        }
        "categorical" => Timed {
            forward: Box::new({
                let x = x.clone();
                move |i| Ok(gumbel_softmax::sample(gpu, &x, key(i))?)
            }),
            step: Box::new(move |i| Ok(gumbel_softmax::sample(gpu, &x, key(i))?)),
        },
        "gumbel_top_k" => {
            let dvalues = random::normal(gpu, [rows, k], Key::new(3))?;
            let forward = {
                let x = x.clone();
                move |i| Ok(top_k::forward(gpu, &x, key(i), k)?.indices)
            };
            Timed {
                forward: Box::new(forward),
                step: Box::new(move |i| {
                    let chosen = top_k::forward(gpu, &x, key(i), k)?;
                    Ok(top_k::backward(gpu, &chosen.indices, n, &dvalues)?)
                }),
            }
        }
        "sigmoid_top_k" => {
            let forward = {
                let x = x.clone();
                move |i| Ok(sigmoid_top_k::forward(gpu, &x, key(i), k, 0.5)?)
            };
            Timed {
                forward: Box::new(forward),
                step: Box::new(move |i| {
                    let y = sigmoid_top_k::forward(gpu, &x, key(i), k, 0.5)?;
                    Ok(sigmoid_top_k::backward(gpu, &y, &dy, 0.5)?)
                }),
            }
        }
        "relaxed_top_k" => {
            let forward = {
                let x = x.clone();
                move |i| Ok(successive_top_k::forward(gpu, &x, key(i), k, 0.5)?)
            };
            Timed {
                forward: Box::new(forward),
                step: Box::new(move |i| {
                    successive_top_k::forward(gpu, &x, key(i), k, 0.5)?;
                    Ok(successive_top_k::backward(gpu, &x, key(i), k, 0.5, &dy)?)
                }),
            }
        }
        "nested_subset" => nested(gpu, &x, &dy, k)?,
        "subset_marginals" => {
            let dlog = gpu.zeros([rows])?;
            let forward = {
                let x = x.clone();
                move |_| Ok(subset::forward(gpu, &x, k)?.marginals)
            };
            Timed {
                forward: Box::new(forward),
                step: Box::new(move |_| Ok(subset::backward(gpu, &subset::forward(gpu, &x, k)?, &dy, &dlog)?)),
            }
        }
        "sparsemax" | "entmax15" => {
            let alpha = if op == "sparsemax" { Alpha::Two } else { Alpha::OneAndAHalf };
            Timed {
                forward: Box::new({
                    let x = x.clone();
                    move |_| Ok(entmax::forward(gpu, &x, alpha)?)
                }),
                step: Box::new(move |_| {
                    let y = entmax::forward(gpu, &x, alpha)?;
                    Ok(entmax::backward(gpu, &y, &dy, alpha)?)
                }),
            }
        }
        "plackett_luce" => {
            let dy = dy.view(0, [rows])?;
            let items: Vec<u32> = (0..rows * k).map(|i| (i % k * (n / k)) as u32).collect();
            let order = gpu.tensor(&items, [rows, k])?;
            Timed {
                forward: Box::new({
                    let (x, order) = (x.clone(), order.clone());
                    move |_| Ok(plackett_luce::forward(gpu, &x, &order)?.0)
                }),
                step: Box::new(move |_| {
                    let (_, saved) = plackett_luce::forward(gpu, &x, &order)?;
                    Ok(plackett_luce::backward(gpu, &x, &saved, &dy)?)
                }),
            }
        }
        "neural_sort" => relaxed(gpu, Kind::Neural, &x, k)?,
        "soft_sort" => relaxed(gpu, Kind::Soft, &x, k)?,
        "partition" => partition(gpu, &x, k)?,
        _ => bail!("--ops: there is no '{op}'"),
    })
}

/// Masks of 1 .. k elements, temperatures 0.5; back to the elements' logits and the counts'.
fn nested<'a>(gpu: &'a Gpu, x: &Tensor, dy: &Tensor, k: usize) -> Result<Timed<'a>> {
    let counts = random::normal(gpu, [x.shape().rows_cols().0, k], Key::new(3))?;
    counts.read()?;
    let drawn = {
        let (x, counts) = (x.clone(), counts.clone());
        move |i| {
            let [of_counts, of_choice] = Key::new(i).split().map(Noise::Key);
            let shares = gumbel_softmax::forward(gpu, &counts, of_counts, 0.5)?;
            let draw = nested_subset::Draw { noise: of_choice, temperature: 0.5 };
            let (y, walk) = nested_subset::forward(gpu, &x, draw, &shares, 1)?;
            Ok::<_, softurn_kernels::Error>((y, walk, shares))
        }
    };
    let (dy, again) = (dy.clone(), drawn.clone());
    let step = move |i| {
        let (_, walk, shares) = again(i)?;
        let [dx, dshares] = nested_subset::backward(gpu, &walk, &shares, 1, &dy)?;
        softmax::backward(gpu, &shares, &dshares, 0.5)?;
        Ok(dx)
    };
    Ok(Timed { forward: Box::new(move |i| Ok(drawn(i)?.0)), step: Box::new(step) })
}

/// Sorts by `scores` along `columns` columns, at temperature 1; back to scores and columns.
fn relaxed<'a>(gpu: &'a Gpu, kind: Kind, scores: &Tensor, columns: usize) -> Result<Timed<'a>> {
    let relaxation = Relaxation { kind, temperature: 1.0 };
    let (rows, n) = scores.shape().rows_cols();
    let x = random::normal(gpu, [rows, n, columns], Key::new(3))?;
    let dy = random::normal(gpu, [rows, n, columns], Key::new(4))?;
    dy.read()?;
    let forward = {
        let (scores, x) = (scores.clone(), x.clone());
        move |_| Ok(relaxed_sort::forward(gpu, &relaxed_sort::prepare(gpu, &scores)?, relaxation, &x)?.0)
    };
    let scores = scores.clone();
    let step = move |_| {
        let sorted = relaxed_sort::prepare(gpu, &scores)?;
        let (y, normalisers) = relaxed_sort::forward(gpu, &sorted, relaxation, &x)?;
        let wanted = Wanted { scores: true, x: true };
        let gradients = relaxed_sort::backward(gpu, &sorted, relaxation, &normalisers, &x, &y, &dy, wanted)?;
        gradients.scores.context("the gradient of the scores")
    };
    Ok(Timed { forward: Box::new(forward), step: Box::new(step) })
}

/// Elements by noisy scores into groups of given relaxed sizes, NeuralSort at temperature 0.5; back to scores and block masks.
fn partition<'a>(gpu: &'a Gpu, scores: &Tensor, groups: usize) -> Result<Timed<'a>> {
    let relaxation = Relaxation { kind: Kind::Neural, temperature: 0.5 };
    let (rows, n) = scores.shape().rows_cols();
    let counts = gpu.tensor(&vec![n as f32 / groups as f32; rows * groups], [rows, groups])?;
    let dy = random::normal(gpu, [rows, n, groups], Key::new(4))?;
    dy.read()?;
    let drawn = {
        let scores = scores.clone();
        move |i| {
            let noise = random::gumbel(gpu, [rows, n], Key::new(i))?;
            let sorted = relaxed_sort::prepare(gpu, &binary::forward(gpu, Binary::Add, &scores, &noise)?)?;
            let normalisers = relaxed_sort::normalisers(gpu, &sorted, relaxation)?;
            let masks = blocks::forward(gpu, &counts, n)?;
            let y = relaxed_sort::transposed(gpu, &sorted, relaxation, &normalisers, &masks)?;
            Ok::<_, softurn_kernels::Error>((sorted, normalisers, masks, y))
        }
    };
    let step = {
        let drawn = drawn.clone();
        move |i| {
            let (sorted, normalisers, masks, _) = drawn(i)?;
            let wanted = Wanted { scores: true, x: true };
            let gradients =
                relaxed_sort::backward_transposed(gpu, &sorted, relaxation, &normalisers, &masks, &dy, wanted)?;
            gradients.scores.context("the gradient of the scores")
        }
    };
    Ok(Timed { forward: Box::new(move |i| Ok(drawn(i)?.3)), step: Box::new(step) })
}

fn main() -> Result<()> {
    let args = Args::parse();
    let gpu = Gpu::new(GpuConfig { profile: args.profile, ..GpuConfig::default() })?;
    for &(op, shapes) in OPS.iter().filter(|(op, _)| args.ops.is_empty() || args.ops.iter().any(|asked| asked == op)) {
        let given: Vec<Shape> = args.shapes.iter().map(|shape| parse(shape)).collect::<Result<_>>()?;
        for &shape in if given.is_empty() { shapes } else { &given } {
            let timed = timed(&gpu, op, shape)?;
            let [forward, _, _] = measure(&gpu, &timed.forward, args.repeats)?;
            let [step, wall, peak] = measure(&gpu, &timed.step, args.repeats)?;
            let [rows, n, k] = shape;
            println!(
                "{}",
                json!({"form": format!("softurn-{op}"), "rows": rows, "n": n, "k": k, "forward_cpu_ms": forward,
                "step_cpu_ms": step, "step_wall_ms": wall, "peak_mb": peak, "adapter": gpu.capabilities().name})
            );
        }
    }
    for kernel in gpu.kernel_times() {
        let mean = 1e3 * kernel.seconds / kernel.calls as f64;
        eprintln!("{} {}: {} calls, {mean:.4} ms each", kernel.op, kernel.entry, kernel.calls);
    }
    Ok(())
}

fn parse(shape: &str) -> Result<Shape> {
    let numbers: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>().context("--shapes")?;
    numbers.try_into().map_err(|_| anyhow::anyhow!("--shapes: '{shape}' is not rows x n x k"))
}
