//! Tests of the priors' losses.

use softurn_autodiff::{Parameters, Tape};
use softurn_kernels::ops::fisher_hypergeometric::{self, Law};
use softurn_kernels::{Gpu, GpuConfig, Key};

use super::loss::Model;
use super::{Params, Prior};
use crate::Result;
use crate::data;
use crate::train::{Batch, Objective as _};

const BATCH: usize = 64;
const K: usize = 4;

/// The gradient of the loss with respect to the weights of the prior, and the law's mean sizes.
fn gradient(gpu: &Gpu, prior: Prior) -> Result<[Vec<f32>; 2]> {
    let digits = data::load("digits", Some(BATCH)).unwrap();
    let params = Params::new(K).prior(prior).hidden([16]).latent(4).batch(BATCH);
    let mut parameters = Parameters::new(gpu);
    let model = Model::new(gpu, &params, &digits, &mut parameters, Key::new(0))?;
    model.begin(2, &mut parameters, Key::new(1))?;
    parameters.set(model.weights(), &[0.3, -0.4, 0.0, -1.0])?;
    let rows = model.rows(2, (0..BATCH as u32).collect(), Key::new(2));
    let batch = Batch { index: gpu.tensor(&rows, [rows.len()])?, rows };
    let tape = Tape::new(gpu);
    let losses = model.losses(2, &tape, &parameters, &batch, Key::new(2))?;
    let weights = tape.param(&parameters, model.weights())?;
    let gradient = tape.backward(&losses[0].1)?.of(&weights).map_or(Ok(vec![0.0; K]), |gradient| gradient.read())?;
    let prepared = fisher_hypergeometric::Prepared::new(gpu, model.urn(), &Law::Exact, weights.value())?;
    Ok([gradient, fisher_hypergeometric::mean(gpu, &prepared)?.read()?])
}

/// `-B ∂L/∂log ω` is the sizes of drawn assignments less the law's mean: whole numbers that sum to the batch.
#[test]
fn the_exchangeable_prior_counts_drawn_assignments() -> Result<()> {
    let gpu = Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() })?;
    let [gradient, mean] = gradient(&gpu, Prior::Exchangeable)?;
    let counts: Vec<f32> = gradient.iter().zip(&mean).map(|(g, mean)| mean - BATCH as f32 * g).collect();
    assert!(counts.iter().all(|n| (n - n.round()).abs() < 1e-3 && n.round() >= 0.0), "{counts:?}");
    assert_eq!(counts.iter().map(|n| n.round()).sum::<f32>(), BATCH as f32);
    assert!(counts.iter().filter(|n| n.round() > 0.0).count() > 1, "{counts:?}");
    Ok(())
}

/// More weight moves sizes from one group to another: nothing comes from outside.
#[test]
fn gradients_of_weights_sum_to_zero() -> Result<()> {
    let gpu = Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() })?;
    for prior in [Prior::Categorical, Prior::Hypergeometric, Prior::Exchangeable] {
        let [gradient, _] = gradient(&gpu, prior)?;
        assert!(gradient.iter().any(|g| g.abs() > 1e-3), "{prior:?}: {gradient:?}");
        assert!(gradient.iter().sum::<f32>().abs() < 1e-4, "{prior:?}: {gradient:?}");
    }
    let [gradient, _] = gradient(&gpu, Prior::Uniform)?;
    assert_eq!(gradient, [0.0; K]);
    Ok(())
}
