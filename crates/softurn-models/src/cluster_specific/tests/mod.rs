//! Facts of the method's description, section 8, on the synthetic sets.

mod autoencoder;
mod boltzmann;
mod contrastive;
mod exact;
mod meta;
mod variational;

use std::sync::OnceLock;

use softurn_kernels::ops::grouped_matmul::Groups;
use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};

use super::HeadRows;
use crate::Result;
use crate::clustering::kmeans::seeds;
use crate::data::{Dataset, LineClusters};
use crate::metrics::adjusted_rand_index;

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap_or_else(|e| panic!("{e}")))
}

fn tensor(data: &Dataset) -> Tensor {
    gpu().tensor(data.values(), [data.rows(), data.cols()]).unwrap()
}

fn set(set: LineClusters) -> Dataset {
    set.dataset().unwrap()
}

fn clusters(data: &Dataset) -> usize {
    data.labels().unwrap().classes()
}

fn rand_index(data: &Dataset, labels: &[u32]) -> f64 {
    adjusted_rand_index(labels, data.labels().unwrap().ids()).unwrap()
}

fn starts(data: &Dataset, k: usize, count: usize) -> Vec<Vec<u32>> {
    let keys: Vec<Key> = Key::new(0).split_forever().take(count).collect();
    seeds(gpu(), &tensor(data), k, &keys).unwrap()
}

/// Rows of so many columns in heads.
fn head_rows(x: &[f32], heads: &[u32], k: usize) -> HeadRows {
    let index = gpu().tensor(heads, [heads.len()]).unwrap();
    HeadRows {
        x: gpu().tensor(x, [heads.len(), x.len() / heads.len()]).unwrap(),
        partners: Vec::new(),
        heads: Groups::new(gpu(), &index, k).unwrap(),
        index,
    }
}

#[track_caller]
fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (&found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(found) - expected).abs() <= tolerance, "element {at}: {found} is not {expected}");
    }
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{message}: {words:?}");
}
