//! Tests of the public interface, on one poisoned device: buffers come filled with NaN, and guard words around them are
//! checked at every read.

mod optim;
mod parameters;
mod rules;
mod tape;

use std::sync::OnceLock;

use softurn_kernels::{Gpu, GpuConfig, Tensor};

type Result<T = ()> = std::result::Result<T, softurn_autodiff::Error>;

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() })
            .unwrap_or_else(|error| panic!("{error}; run `cargo xtask test`, which installs a software adapter"))
    })
}

/// Numbers between -2 and 2 with few bits, none within 1/16 of 0 or of each other's multiples of 1/4: away from kinks.
fn values(shape: [usize; 2], seed: u64) -> Tensor {
    let key = softurn_kernels::Key::new(seed);
    let numbers: Vec<f32> = key
        .split_forever()
        .take(shape[0] * shape[1])
        .map(|key| (key.bits() >> 61) as f32 * 0.5 - 1.75 + (key.bits() & 7) as f32 / 64.0)
        .collect();
    gpu().tensor(&numbers, shape).unwrap()
}

/// As [`values`], between 0.5 and 2.5.
fn positive(shape: [usize; 2], seed: u64) -> Tensor {
    let numbers: Vec<f32> = values(shape, seed).read().unwrap().iter().map(|x| x.abs() + 0.5).collect();
    gpu().tensor(&numbers, shape).unwrap()
}
