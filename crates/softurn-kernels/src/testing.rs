//! What the kernel tests share: one poisoned device per plan, and the walk over both plans.

use std::sync::OnceLock;

use crate::{Gpu, GpuConfig, Plan};

/// The shared devices of this test process, one per plan, with poisoned buffers and guard words.
pub(crate) fn gpus() -> &'static [Gpu; 2] {
    static GPUS: OnceLock<[Gpu; 2]> = OnceLock::new();
    GPUS.get_or_init(|| [Plan::Cpu, Plan::Gpu].map(|plan| open(GpuConfig { plan: Some(plan), ..config() })))
}

/// What every kernel test runs under.
pub(crate) fn config() -> GpuConfig {
    GpuConfig { poison: true, ..GpuConfig::default() }
}

/// A device, or a failure that says how to get one: no adapter is never a skip.
pub(crate) fn open(config: GpuConfig) -> Gpu {
    Gpu::new(config)
        .unwrap_or_else(|error| panic!("{error}; run `cargo xtask test`, which installs a software adapter"))
}

/// The adapter's name with the plan, for reports.
pub(crate) fn label(gpu: &Gpu) -> String {
    format!("{}, {:?} plan", gpu.capabilities().name, gpu.plan())
}

/// f32 values as the twin takes them.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
