//! Every op at one shape or several, and training steps: time by the device's timestamps, by wall and by processor,
//! first call apart; dispatches and bytes. One JSON object a line; `cargo xtask bench` makes tables and pictures of it.
//!
//! Times are per run. A sample is as many runs in a row as take 50 ms, and one wait for the last of them; samples of all
//! cases take turns, so that what else the machine does falls on all of them.

mod cases;
mod training;

use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;
use serde_json::{Value, json};
use softurn_benches::cpu_seconds;
use softurn_kernels::{DataType, Gpu, GpuConfig, Tensor};

use cases::{Case, Inputs, Run};

/// Of all inputs.
const SEED: u64 = 0;
/// Seconds of a sample.
const SAMPLE: f64 = 0.05;
/// Samples of a case however long they take.
const FEWEST: usize = 5;

/// Times every op and training steps.
#[derive(Parser)]
struct Args {
    /// Only cases whose group or name contains this, and those that ceilings are measured by
    #[arg(default_value = "")]
    filter: String,
    /// Seconds that the samples of a case take together
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let gpu = Gpu::new(GpuConfig::default())?;
    let start = Instant::now();
    let software = gpu.capabilities().device_type == "Cpu";
    let mut timed = Vec::new();
    for case in cases::all(software).into_iter().filter(|case| !case.left_out(&args.filter)) {
        timed.push(Timed::new(&gpu, case)?);
    }
    eprintln!("{} cases, {} s each", timed.len(), args.seconds);
    loop {
        let mut done = true;
        for timed in &mut timed {
            if timed.spent < args.seconds || timed.wall.len() < FEWEST {
                timed.sample(start)?;
                done = false;
            }
        }
        if done {
            break;
        }
    }
    for timed in timed {
        let Timed { case, run, wall, cpu, mut line, .. } = timed;
        drop(run); // and with it its inputs: the other device needs the room
        let (first, times) = profile(&case, args.seconds).with_context(|| case.title())?;
        let mut tell = |key: &str, samples: Vec<f64>| {
            let [median, deviation] = statistics(samples);
            line[key] = json!(median);
            line[format!("{key}_mad")] = json!(deviation);
        };
        tell("wall_ms", wall);
        tell("cpu_ms", cpu);
        if !times.is_empty() {
            tell("gpu_ms", times);
        }
        line["first_ms"] = json!(first);
        println!("{line}");
    }
    Ok(())
}

/// A case on the device that all share.
struct Timed {
    case: Case,
    run: Run,
    runs: u64,
    /// Runs of a sample.
    inner: u64,
    spent: f64,
    wall: Vec<f64>,
    cpu: Vec<f64>,
    line: Value,
}

impl Timed {
    fn new(gpu: &Gpu, case: Case) -> Result<Self> {
        let (run, inner, line) = Self::prepare(gpu, &case).with_context(|| case.title())?;
        Ok(Self { case, run, runs: 2, inner, spent: 0.0, wall: Vec::new(), cpu: Vec::new(), line })
    }

    /// The inputs, what a run counts, and how many runs a sample needs.
    fn prepare(gpu: &Gpu, case: &Case) -> Result<(Run, u64, Value)> {
        let mut run = (case.make)(&Inputs { gpu: gpu.clone() })?;
        wait(&run(0)?)?;
        let (before, clock) = (gpu.counters(), Instant::now());
        let last = run(1)?;
        gpu.flush();
        let counted = gpu.counters().since(&before);
        wait(&last)?;
        let inner = (SAMPLE / clock.elapsed().as_secs_f64()).clamp(1.0, 1000.0) as u64;
        let moved = (counted.bound_bytes + counted.copied_bytes) as f64;
        let line = json!({
            "case": case.name, "shape": case.shape, "group": case.group, "flop": case.flop,
            "bytes": case.bytes.unwrap_or(moved), "bound_bytes": counted.bound_bytes,
            "copied_bytes": counted.copied_bytes, "uploaded_bytes": counted.uploaded_bytes,
            "read_back_bytes": counted.read_back_bytes, "dispatches": counted.dispatches,
            "submissions": counted.submissions, "bind_groups": counted.bind_groups, "seed": SEED,
            "adapter": gpu.capabilities().to_string(), "device_type": gpu.capabilities().device_type,
            "plan": format!("{:?}", gpu.plan()),
        });
        Ok((run, inner, line))
    }

    fn sample(&mut self, start: Instant) -> Result<()> {
        let (cpu, wall) = (cpu_seconds(start), Instant::now());
        for _ in 1..self.inner {
            (self.run)(self.runs)?;
            self.runs += 1;
        }
        wait(&(self.run)(self.runs)?)?;
        self.runs += 1;
        let seconds = wall.elapsed().as_secs_f64();
        self.wall.push(1e3 * seconds / self.inner as f64);
        self.cpu.push(1e3 * (cpu_seconds(start) - cpu) / self.inner as f64);
        self.spent += seconds;
        Ok(())
    }
}

/// Wall milliseconds of the first run on a fresh device, and the milliseconds of later runs by timestamps, where the
/// device has them.
fn profile(case: &Case, seconds: f64) -> Result<(f64, Vec<f64>)> {
    let gpu = Gpu::new(GpuConfig { profile: true, ..GpuConfig::default() })?;
    let mut run = (case.make)(&Inputs { gpu: gpu.clone() })?;
    gpu.zeros([1])?.read()?; // inputs have arrived
    let clock = Instant::now();
    wait(&run(0)?)?;
    let first = 1e3 * clock.elapsed().as_secs_f64();
    let total = || 1e3 * gpu.kernel_times().iter().map(|kernel| kernel.seconds).sum::<f64>();
    let (clock, mut times) = (Instant::now(), Vec::new());
    // A copy has no dispatch, so no timestamps.
    while total() > 0.0 && (times.len() < FEWEST || clock.elapsed().as_secs_f64() < 0.2 * seconds) {
        let before = total();
        wait(&run(times.len() as u64 + 1)?)?;
        times.push(total() - before);
    }
    Ok((first, times))
}

/// Submits what is recorded and waits for it.
fn wait(last: &Tensor) -> Result<()> {
    let one = last.view(0, [1])?;
    match one.data_type() {
        DataType::F32 => drop(one.read()?),
        DataType::U32 => drop(one.read_u32()?),
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median and the median absolute deviation from it.
fn statistics(mut samples: Vec<f64>) -> [f64; 2] {
    let middle = median(&mut samples);
    let mut deviations: Vec<f64> = samples.iter().map(|sample| (sample - middle).abs()).collect();
    [middle, median(&mut deviations)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_told_by_the_middle_sample() {
        assert_eq!(statistics(vec![9.0, 1.0, 2.0, 4.0, 3.0]), [3.0, 1.0]);
    }

    #[test]
    fn every_op_has_a_case() {
        let source = include_str!("cases.rs");
        for op in softurn_kernels::ops::OPS {
            assert!(source.contains(&format!("{}::", op.name)), "cases.rs lacks {}", op.name);
        }
    }

    #[test]
    fn filters_keep_what_ceilings_need() {
        let kept: Vec<String> =
            cases::all(true).iter().filter(|case| !case.left_out("log_sum")).map(Case::title).collect();
        assert_eq!(kept, ["copy 16777216", "matmul 1024x1024x1024", "log_sum_exp 4096x1024"]);
    }

    #[test]
    fn products_of_a_step_are_counted() {
        // Weights 3x4, twice 4x5, 5x4 and 4x3; all but the first also have a product for their input's gradient.
        assert_eq!(training::flop(2, &[3, 4], 5), (2 * 2 * (3 * 84 - 12)) as f64);
    }
}
