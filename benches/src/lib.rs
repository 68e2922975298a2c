//! Criterion benches of softurn: what they share.
//!
//! A bench records its operation without reading it back and then waits for the device once, by one element of the last
//! result. `cargo bench -p softurn-benches --bench NAME`; under `cargo test --benches` each runs once.

use std::sync::OnceLock;
use std::time::Instant;

use criterion::Criterion;
use softurn_kernels::{Gpu, GpuConfig, Key, Result, Tensor, ops};

/// How often an operation is recorded before the device is waited for: a wait costs more than a small kernel.
const REPEATS: usize = 8;

/// The device of this process.
///
/// # Panics
/// When there is none: no adapter is never a skip.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}")))
}

/// A standard normal matrix, other for each seed.
///
/// # Panics
/// When the device has no room for it.
pub fn normal(shape: [usize; 2], seed: u64) -> Tensor {
    ops::random::normal(gpu(), shape, Key::new(seed)).unwrap()
}

/// A standard normal vector.
///
/// # Panics
/// As [`normal`].
pub fn vector(length: usize, seed: u64) -> Tensor {
    normal([1, length], seed).reshape([length]).unwrap()
}

/// Labels `0, 1, ... classes - 1, 0, ...`.
///
/// # Panics
/// As [`normal`].
pub fn labels(count: usize, classes: usize) -> Tensor {
    let labels: Vec<u32> = (0..count).map(|i| (i % classes) as u32).collect();
    gpu().tensor(&labels, [count]).unwrap()
}

/// Times 8 of `record` and one wait under `name`.
///
/// # Panics
/// When the operation fails.
pub fn time(criterion: &mut Criterion, name: &str, record: impl FnMut() -> Result<Tensor>) {
    time_of(criterion, name, REPEATS, record);
}

/// As [`time`], `repeats` of `record`.
///
/// # Panics
/// When the operation fails.
pub fn time_of(criterion: &mut Criterion, name: &str, repeats: usize, mut record: impl FnMut() -> Result<Tensor>) {
    // Pipelines are compiled and inputs made before the clock starts.
    wait(&record().unwrap());
    criterion.bench_function(&format!("{name} x {repeats}"), |bencher| {
        bencher.iter(|| {
            let results: Vec<Tensor> = (0..repeats).map(|_| record().unwrap()).collect();
            wait(&results[repeats - 1]);
        });
    });
}

/// CPU seconds of this process where the system tells them, else wall seconds since `start`.
#[cfg(unix)]
pub fn cpu_seconds(_: Instant) -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// CPU seconds of this process where the system tells them, else wall seconds since `start`.
#[cfg(not(unix))]
pub fn cpu_seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// CPU and wall milliseconds of one call, and the high-water mark above the inputs in MB. A call ends with a tensor to wait for, and
/// takes a number that differs from call to call; medians over `repeats` blocks of calls.
///
/// # Errors
/// The first failure of a call.
pub fn measure(gpu: &Gpu, call: &dyn Fn(u64) -> anyhow::Result<Tensor>, repeats: usize) -> anyhow::Result<[f64; 3]> {
    let start = Instant::now();
    read_one(&call(0)?)?;
    gpu.reset_high_water();
    let inputs = gpu.pool_statistics().in_use_bytes;
    let clock = Instant::now();
    read_one(&call(0)?)?;
    let peak = gpu.pool_statistics().high_water_bytes - inputs;
    let inner = ((0.05 / clock.elapsed().as_secs_f64()) as u64).clamp(1, 64);
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    for repeat in 0..repeats as u64 {
        let (before, clock) = (cpu_seconds(start), Instant::now());
        for i in 0..inner {
            read_one(&call(repeat * inner + i)?)?;
        }
        cpu.push((cpu_seconds(start) - before) * 1e3 / inner as f64);
        wall.push(clock.elapsed().as_secs_f64() * 1e3 / inner as f64);
    }
    cpu.sort_by(f64::total_cmp);
    wall.sort_by(f64::total_cmp);
    Ok([cpu[repeats / 2], wall[repeats / 2], peak as f64 / 1e6])
}

/// Submits what is recorded and waits for it.
fn wait(last: &Tensor) {
    gpu().flush();
    read_one(last).unwrap();
}

/// Waits for all recorded work by one element.
fn read_one(last: &Tensor) -> Result<()> {
    let one = last.view(0, [1])?;
    match one.data_type() {
        softurn_kernels::DataType::U32 => drop(one.read_u32()?),
        softurn_kernels::DataType::F32 => drop(one.read()?),
    }
    Ok(())
}
