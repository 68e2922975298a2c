//! Facts of the method's description, section 8, on the synthetic sets.

mod autoencoder;
mod boltzmann;
mod contrastive;
mod exact;
mod meta;
mod variational;

use std::sync::OnceLock;

use softurn_autodiff::{Param, Parameters, Tape};
use softurn_kernels::ops::grouped_matmul::Groups;
use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};

use super::{Framework, HeadRows};
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

/// The gradient of the mean loss is what central differences say, at some elements of every parameter that learns.
fn check_gradient<F: Framework>(framework: &F, rows: &HeadRows) -> Result<()> {
    const STEP: f32 = 1e-2;
    let mut parameters = Parameters::new(gpu());
    let sizes = [rows.heads.heads(), rows.x.shape().dims()[1]];
    let layers = framework.layers(&mut parameters, sizes, Key::new(3))?;
    let loss = |parameters: &Parameters| -> Result<f64> {
        let tape = Tape::new(gpu());
        let losses = framework.losses(&layers, &tape, parameters, rows, Some(Key::new(4)))?.read()?;
        Ok(losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64)
    };
    let tape = Tape::new(gpu());
    let mean = framework.losses(&layers, &tape, &parameters, rows, Some(Key::new(4)))?.mean()?;
    let gradients = tape.backward(&mean)?;
    let all: Vec<Param> = parameters.iter().filter(|param| !F::STATE.contains(&param.name())).cloned().collect();
    for param in &all {
        let (values, gradient) = (parameters.read(param)?, gradients.param(param).unwrap().read()?);
        for at in (0..values.len()).step_by(values.len().div_ceil(7)) {
            let mut beside = |step: f32| -> Result<f64> {
                let mut values = values.clone();
                values[at] += step;
                parameters.set(param, &values)?;
                loss(&parameters)
            };
            let slope = (beside(STEP)? - beside(-STEP)?) / f64::from(2.0 * STEP);
            parameters.set(param, &values)?;
            let (found, name) = (f64::from(gradient[at]), param.name());
            assert!(
                (found - slope).abs() < 2e-3 * (1.0 + slope.abs()),
                "{name}[{at}]: {found}, differences say {slope}"
            );
        }
    }
    Ok(())
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
