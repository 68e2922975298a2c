//! A step of the hypergeometric law (tables, draws, and the gradient of a linear function of the counts with respect to
//! weights per row), by size and batch: process CPU time and the pool's high-water mark. One JSON object a line, in the
//! form of `benches/peers/hypergeometric.py`, which times the same in PyTorch.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;
use softurn_benches::cpu_seconds;
use softurn_kernels::ops::fisher_hypergeometric::{self as law, Law, Order, Prepared, Sampling, Upstream, Urn};
use softurn_kernels::{Gpu, GpuConfig, Key, ops::random};

/// Times steps of the hypergeometric law.
#[derive(Parser)]
struct Args {
    /// groups x size of each x draws, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "3x200x180,10x256x256,10x1000x256,4x4096x1024")]
    shapes: Vec<String>,
    /// Rows, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024,16384")]
    batches: Vec<usize>,
    /// exact, merged, with -shared (weights shared by the batch) or -scored (with the log-probability of the draw),
    /// separated by commas
    #[arg(long, value_delimiter = ',', default_value = "exact,merged,exact-shared,merged-shared")]
    forms: Vec<String>,
    /// Print the time of every kernel, by timestamps, to standard error
    #[arg(long)]
    profile: bool,
    /// Steps per measurement; the median of several measurements is printed
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let args = Args::parse();
    let gpu = Gpu::new(GpuConfig { profile: args.profile, ..GpuConfig::default() })?;
    let start = Instant::now();
    for shape in &args.shapes {
        let numbers: Vec<u32> = shape.split('x').map(str::parse).collect::<Result<_, _>>().context("--shapes")?;
        let &[groups, size, draws] = numbers.as_slice() else {
            bail!("--shapes: '{shape}' is not groups x size x draws")
        };
        for &rows in &args.batches {
            for form in &args.forms {
                let (name, option) = form.split_once('-').unwrap_or((form, ""));
                let (shared, scored) = match option {
                    "" => (false, false),
                    "shared" => (true, false),
                    "scored" => (false, true),
                    _ => bail!("--forms: there is no '{form}'"),
                };
                let law = match name {
                    "exact" => Law::Exact,
                    "merged" => Law::Merged(Order::Natural),
                    _ => bail!("--forms: there is no '{form}'"),
                };
                let line = measure(&gpu, start, &law, [groups, size, draws], rows, shared, scored, args.repeats)?;
                println!(
                    "{}",
                    json!({"form": format!("softurn-{form}"), "groups": groups, "size": size, "draws": draws,
                    "batch": rows, "forward_cpu_ms": line[0], "step_cpu_ms": line[1], "step_wall_ms": line[2],
                    "peak_mb": line[3], "adapter": gpu.capabilities().name})
                );
            }
        }
    }
    for kernel in gpu.kernel_times() {
        let mean = 1e3 * kernel.seconds / kernel.calls as f64;
        eprintln!("{} {}: {} calls, {mean:.4} ms each", kernel.op, kernel.entry, kernel.calls);
    }
    Ok(())
}

/// CPU milliseconds of a forward, CPU and wall milliseconds of a step, and the high-water mark above the inputs in MB.
#[expect(clippy::too_many_arguments, reason = "one cell of a table of everything")]
fn measure(
    gpu: &Gpu,
    start: Instant,
    law: &Law,
    [groups, size, draws]: [u32; 3],
    rows: usize,
    shared: bool,
    scored: bool,
    repeats: usize,
) -> Result<[f64; 4]> {
    let k = groups as usize;
    let urn = Urn::new(gpu, &vec![size; k], draws)?;
    let weight_rows = if shared { 1 } else { rows };
    let noise = random::normal(gpu, [weight_rows, k], Key::new(1))?.read()?;
    let spread = |i: usize| (1.0 + 9.0 * (i % k) as f32 / (k - 1) as f32).ln() + 0.05 * noise[i];
    let weights: Vec<f32> = (0..weight_rows * k).map(spread).collect();
    let weights = gpu.tensor(&weights, [weight_rows, k])?;
    let dcounts = random::normal(gpu, [rows, k], Key::new(2))?;
    dcounts.read()?;
    let sampling = |i: usize| Sampling { scored, ..Sampling::straight_through(Key::new(i as u64), 1.0) };
    let forward = |i: usize| {
        let prepared = Prepared::new(gpu, &urn, law, &weights)?;
        let draw = law::forward(gpu, &prepared, rows, &sampling(i))?;
        Ok::<_, softurn_kernels::Error>((prepared, draw))
    };
    let step = |i: usize| {
        let (prepared, draw) = forward(i)?;
        let upstream = Upstream { counts: &dcounts, log_prob: None, masks: None };
        law::backward(gpu, &prepared, &draw, &upstream, &sampling(i))
    };
    step(0)?[0].view(0, [1])?.read()?;
    gpu.reset_high_water();
    let inputs = gpu.pool_statistics().in_use_bytes;
    let peak = {
        step(0)?[0].view(0, [1])?.read()?;
        gpu.pool_statistics().high_water_bytes - inputs
    };
    // Enough steps that the clock's grain does not show; the wait is shared by no more than a training loop would.
    let inner = (256 / rows).max(1);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for repeat in 0..repeats {
        let cpu = cpu_seconds(start);
        for i in 0..inner {
            forward(repeat * inner + i)?.1.counts.view(0, [1])?.read()?;
        }
        times[0].push((cpu_seconds(start) - cpu) * 1e3 / inner as f64);
        let (cpu, wall) = (cpu_seconds(start), Instant::now());
        for i in 0..inner {
            step(repeat * inner + i)?[0].view(0, [1])?.read()?;
        }
        times[1].push((cpu_seconds(start) - cpu) * 1e3 / inner as f64);
        times[2].push(wall.elapsed().as_secs_f64() * 1e3 / inner as f64);
    }
    let [mut forward, mut step, mut wall] = times;
    Ok([median(&mut forward), median(&mut step), median(&mut wall), peak as f64 / 1e6])
}
