//! What the kernel tests share: one poisoned device per plan, and the walk over both plans.

use std::io::Write as _;
use std::sync::{Mutex, OnceLock};

use crate::{Gpu, GpuConfig, Plan};

/// The shared devices of this test process, one per plan, with poisoned buffers and guard words.
pub(crate) fn gpus() -> &'static [Gpu; 2] {
    static GPUS: OnceLock<[Gpu; 2]> = OnceLock::new();
    GPUS.get_or_init(|| [Plan::Cpu, Plan::Gpu].map(|plan| open(GpuConfig { plan: Some(plan), ..config() })))
}

/// What every kernel test runs under: products stay in shaders.
pub(crate) fn config() -> GpuConfig {
    GpuConfig { poison: true, host_matmul: Some(u64::MAX), ..GpuConfig::default() }
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

/// Adds a line to the file that `SOFTURN_SHADER_LOG` names, from which `cargo xtask shaders --browser` compiles.
pub(crate) fn log_shader(line: &serde_json::Value) {
    static FILE: OnceLock<Option<Mutex<std::fs::File>>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = std::env::var_os("SOFTURN_SHADER_LOG")?;
        let file = std::fs::File::options().create(true).append(true).open(&path);
        Some(Mutex::new(file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))))
    });
    if let Some(file) = file {
        writeln!(file.lock().unwrap(), "{line}").unwrap();
    }
}

/// A pipeline that was asked for.
pub(crate) fn log_pipeline(op: &str, entry: &str, constants: &[(&'static str, f64)]) {
    let constants: serde_json::Map<_, _> = constants.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    log_shader(&serde_json::json!({ "module": op, "entry": entry, "constants": constants }));
}

/// f32 values as the twin takes them.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// The cases of a file of `tests/golden`.
pub(crate) fn golden(name: &str) -> Vec<serde_json::Value> {
    let path = format!("{}/../../tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    match file["cases"].take() {
        serde_json::Value::Array(cases) if !cases.is_empty() => cases,
        _ => panic!("{path} holds no cases"),
    }
}

/// An array of numbers, nested or not; `"inf"` and `"-inf"` are strings in the files.
pub(crate) fn numbers(value: &serde_json::Value) -> Vec<f64> {
    match value {
        serde_json::Value::Array(items) => items.iter().flat_map(numbers).collect(),
        serde_json::Value::String(text) => vec![text.parse().unwrap_or_else(|_| panic!("'{text}' is not a number"))],
        other => vec![other.as_f64().unwrap_or_else(|| panic!("{other} is not a number"))],
    }
}

/// The rows of `special_rows` as one matrix of `cols` columns.
pub(crate) fn special_matrix(cols: usize) -> Vec<f32> {
    softurn_tests::special_rows(cols).into_iter().flat_map(|(_, row)| row).collect()
}

/// `0..rows` in three uneven parts.
pub(crate) fn thirds(rows: usize) -> [std::ops::Range<usize>; 3] {
    [0..rows / 3, rows / 3..rows / 2, rows / 2..rows]
}
