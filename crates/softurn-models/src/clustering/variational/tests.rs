//! Tests of the priors' losses, and of saved models.

use ndarray::Array2;
use softurn_autodiff::{Parameters, Tape};
use softurn_kernels::ops::fisher_hypergeometric::{self, Law};
use softurn_kernels::ops::random;
use softurn_kernels::{Gpu, GpuConfig, Key};

use super::loss::Model;
use super::{FittedVariational, Params, Pretraining, Prior};
use crate::Result;
use crate::clustering::partition::FittedPartition;
use crate::data::{self, Dataset};
use crate::train::{Batch, Event, Objective as _, Session};

const BATCH: usize = 64;
const K: usize = 4;

/// The gradient of the loss with respect to the weights of the prior, and the law's mean sizes.
fn gradient(gpu: &Gpu, prior: Prior) -> Result<[Vec<f32>; 2]> {
    let digits = data::load("digits", Some(BATCH)).unwrap();
    let params = Params::new(K).prior(prior).hidden([16]).latent(4).batch(BATCH);
    let mut parameters = Parameters::new(gpu);
    let model = Model::new(gpu, &params, &digits, &mut parameters, Key::new(0))?;
    model.begin(2, &mut parameters, Key::new(1))?;
    parameters.set(&model.network.weights, &[0.3, -0.4, 0.0, -1.0])?;
    let rows = model.rows(2, (0..BATCH as u32).collect(), Key::new(2));
    let batch = Batch { index: gpu.tensor(&rows, [rows.len()])?, rows, done: 0.0 };
    let tape = Tape::new(gpu);
    let losses = model.losses(2, &tape, &parameters, &batch, Key::new(2))?;
    let weights = tape.param(&parameters, &model.network.weights)?;
    let gradient = tape.backward(&losses[0].1)?.of(&weights).map_or(Ok(vec![0.0; K]), |gradient| gradient.read())?;
    let prepared = fisher_hypergeometric::Prepared::new(gpu, &model.network.urn, &Law::Exact, weights.value())?;
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

/// Two groups on a plane, of which the second half was not seen, saved and read again.
#[test]
fn a_model_that_is_read_again_predicts_the_same_bits() -> Result<()> {
    let gpu = Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() })?;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let noise = random::normal(&gpu, [80, 3], Key::new(7))?.read()?;
    let at = |(i, j): (usize, usize)| noise[3 * i + j] + if i % 2 == 0 { 6.0 } else { 0.0 };
    let rows = Array2::from_shape_fn((80, 3), at);
    let part = |range| Dataset::table("plane", rows.slice(ndarray::s![range, ..]).to_owned()).unwrap();
    let planes = [part(0..40), part(40..80)];
    let digits = data::load("digits", Some(80)).unwrap();
    let images = [0..40, 40..80].map(|rows| digits.select_rows(&rows.collect::<Vec<_>>()).unwrap());
    let bits = |values: Array2<f32>| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let cases: [(_, &[usize], _); 3] =
        [(Prior::Hypergeometric, &[], &planes), (Prior::Categorical, &[], &planes), (Prior::Uniform, &[3], &images)];
    for (prior, channels, [seen, unseen]) in cases {
        let params =
            Params::new(2).prior(prior).channels(channels).hidden([8]).latent(2).batch(16).pretrain_epochs(4).epochs(2);
        let fitted = params.neighbours(3).check()?.fit(&gpu, seen, Key::new(3))?;
        fitted.save(&path)?;
        let read = FittedVariational::load(&gpu, &path)?;
        assert_eq!(read.predict(unseen)?, fitted.predict(unseen)?);
        assert_eq!(bits(read.predict_proba(unseen)?), bits(fitted.predict_proba(unseen)?));
        assert_eq!(bits(read.transform(unseen)?), bits(fitted.transform(unseen)?));
        assert_eq!(read.group_proportions()?, fitted.group_proportions()?);
        assert_eq!((read.labels(), read.group_sizes()), (fitted.labels(), fitted.group_sizes()));
        assert_eq!(fitted.labels(), fitted.predict(seen)?);
        assert!(bits(fitted.predict_proba(unseen)?) != bits(fitted.predict_proba(seen)?));
    }
    let error = FittedPartition::load(&gpu, &path).unwrap_err().to_string();
    assert!(error.contains("variational") && error.contains("partition"), "{error}");
    Ok(())
}

/// Rows that are too few for ten neighbours each; the encoder is taught by the decoder, and no phase takes more rows.
#[test]
fn pretraining_by_reconstruction_needs_no_neighbours() -> Result<()> {
    let gpu = Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() })?;
    let digits = data::load("digits", Some(9)).unwrap();
    let params = Params::new(2).hidden([8]).latent(3).batch(8).pretrain_epochs(60).epochs(3).learning_rate(0.02);
    let error = params.clone().check()?.fit(&gpu, &digits, Key::new(0)).unwrap_err().to_string();
    assert!(error.contains("neighbours"), "{error}");
    let params = params.pretraining(Pretraining::Reconstruction);
    let model = Model::new(&gpu, &params, &digits, &mut Parameters::new(&gpu), Key::new(0))?;
    for phase in 0..2 {
        assert_eq!(model.rows(phase, vec![3, 1], Key::new(1)), [3, 1]);
    }
    let mut losses = Vec::new();
    let mut observe = |event: &Event| {
        if let Event::Epoch { phase, losses: parts, .. } = event {
            assert!(parts.iter().all(|(name, _)| *name != "contrast"));
            losses.push((*phase, parts[0].1));
        }
    };
    let mut session = Session { observer: Some(&mut observe), ..Session::default() };
    let fitted = params.check()?.fit_with(&gpu, &digits, Key::new(0), &mut session)?;
    assert!(fitted.objective().is_finite());
    let reconstruct: Vec<f64> =
        losses.iter().filter(|(phase, _)| *phase == "reconstruct").map(|(_, loss)| *loss).collect();
    assert!(reconstruct.len() == 60 && reconstruct[59] < 0.9 * reconstruct[0], "{reconstruct:?}");
    assert_eq!(losses.last().map(|(phase, _)| *phase), Some("cluster"));
    Ok(())
}
