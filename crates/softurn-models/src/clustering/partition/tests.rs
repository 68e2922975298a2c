//! Tests of the partition's bound.

use softurn_autodiff::{Parameters, Tape};
use softurn_kernels::ops::fisher_hypergeometric::Urn;
use softurn_kernels::{Gpu, GpuConfig, Key};

use super::loss::Model;
use super::{Params, Weights};
use crate::Result;
use crate::data;
use crate::distributions::{MultivariateFisherHypergeometric, RandomPartition};
use crate::train::{Batch, Objective as _};

fn gpu() -> Gpu {
    Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap_or_else(|error| panic!("{error}"))
}

/// The worked example of the method page, section 7.6, by the terms of the loss.
#[test]
fn terms_of_the_worked_example() -> Result<()> {
    let gpu = gpu();
    let tape = Tape::new(&gpu);
    let log_weights = tape.leaf(&gpu.tensor(&[0.0f32, 2f32.ln()], [1, 2])?)?;
    let scores = tape.leaf(&gpu.tensor(&[0.3f32, -0.2, 0.5, 0.1], [1, 4])?)?;
    let law = RandomPartition::new(log_weights.clone(), scores)?;
    let order = Model::order_log_prob(&law)?.item()?;
    assert!((order + 2.534_107_4).abs() < 1e-5, "{order}");
    // Under equal weights, each way to choose two of four and two of four: 36 of 70.
    let equal = tape.constant(&gpu.zeros([1, 2])?);
    let prior = MultivariateFisherHypergeometric::with_urn(equal, &Urn::new(&gpu, &[4, 4], 4)?)?;
    let sizes = tape.leaf(&gpu.tensor(&[2.0f32, 2.0], [1, 2])?)?;
    let divergence = Model::size_divergence(law.sizes(), &prior, &sizes)?;
    let expected = -0.801_627_8 - (36.0f32 / 70.0).ln();
    assert!((divergence.item()? - expected).abs() < 1e-5, "{}", divergence.item()?);
    // In the sizes it rises as the difference of the log-weights, in those as the sizes less their mean.
    let gradients = tape.backward(&divergence)?;
    let of = |var| gradients.of(var).map_or(Ok(Vec::new()), |gradient| gradient.read());
    let [of_sizes, of_weights] = [of(&sizes)?, of(&log_weights)?];
    assert!(of_sizes[0].abs() < 1e-6 && (of_sizes[1] - 2f32.ln()).abs() < 1e-6, "{of_sizes:?}");
    let mean = law.sizes().mean()?.read()?;
    assert!((of_weights[0] - (2.0 - mean[0])).abs() < 1e-5, "{of_weights:?} for means {mean:?}");
    Ok(())
}

/// Weights that are learned have a gradient, through the sampler and the bound; those of responsibilities have none.
#[test]
fn learned_weights_have_a_gradient() -> Result<()> {
    const BATCH: usize = 32;
    let gpu = gpu();
    let digits = data::load("digits", Some(64)).unwrap_or_else(|error| panic!("{error}"));
    for weights in [Weights::Learned, Weights::Responsibilities] {
        // Without the bound's own term, what is left comes through the draw.
        for gamma in [1.0, 0.0] {
            let params = Params::new(4).weights(weights).gamma(gamma).hidden([16]).latent(4).batch(BATCH);
            let mut parameters = Parameters::new(&gpu);
            let model = Model::new(&gpu, &params, &digits, &mut parameters, Key::new(0))?;
            model.begin(2, &mut parameters, Key::new(1))?;
            let rows = model.rows(2, (0..BATCH as u32).collect(), Key::new(2));
            let batch = Batch { index: gpu.tensor(&rows, [rows.len()])?, rows, done: 0.0 };
            let tape = Tape::new(&gpu);
            let losses = model.losses(2, &tape, &parameters, &batch, Key::new(3))?;
            assert!(losses.iter().all(|(_, loss)| loss.item().is_ok_and(f32::is_finite)));
            let var = tape.param(&parameters, model.weights())?;
            let gradient =
                tape.backward(&losses[0].1)?.of(&var).map_or(Ok(vec![0.0; 4]), |gradient| gradient.read())?;
            let moved = gradient.iter().any(|g| g.abs() > 1e-4);
            assert_eq!(moved, weights == Weights::Learned, "gamma {gamma}: {gradient:?}");
            assert!(gradient.iter().sum::<f32>().abs() < 1e-3, "{gradient:?}");
        }
    }
    Ok(())
}
