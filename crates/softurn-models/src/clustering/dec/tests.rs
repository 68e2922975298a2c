//! Assignments and targets against `f64`, a digits subset, resume, files, and bad settings.

use softurn_autodiff::{Parameters, Tape};
use softurn_kernels::{Gpu, Key};

use super::loss::{Model, sharpened};
use super::{Dec, FittedDec, Params};
use crate::clustering::features::Scaling;
use crate::clustering::kmeans::tests::{blobs, gpus, table, uniform};
use crate::data::{Dataset, digits};
use crate::metrics;
use crate::train::{Event, Session};
use crate::{Error, Result};

fn small(params: Params) -> Params {
    params.hidden([24]).latent(4).batch(64)
}

fn fit(params: Params, gpu: &Gpu, data: &Dataset) -> FittedDec {
    params.check().unwrap().fit(gpu, data, Key::new(1)).unwrap()
}

#[track_caller]
fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} is not {b} within {tolerance}");
}

#[test]
fn assignments_targets_and_divergence_agree_with_f64() -> Result<()> {
    let (rows, k, d) = (37, 5, 3);
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().copied().map(f64::from).collect() };
    let places: Vec<f32> = uniform(rows * d, 1).iter().map(|x| 6.0 * x - 3.0).collect();
    let centres: Vec<f32> = uniform(k * d, 2).iter().map(|x| 6.0 * x - 3.0).collect();
    // Equations (1) and (3) of Xie et al.
    let mut q = Vec::new();
    for z in wide(&places).chunks(d) {
        let kernel = |c: &[f64]| 1.0 / (1.0 + z.iter().zip(c).map(|(a, b)| (a - b).powi(2)).sum::<f64>());
        let row: Vec<f64> = wide(&centres).chunks(d).map(kernel).collect();
        let total: f64 = row.iter().sum();
        q.extend(row.into_iter().map(|x| x / total));
    }
    let sizes: Vec<f64> = (0..k).map(|c| q.iter().skip(c).step_by(k).sum()).collect();
    let mut p = Vec::new();
    for row in q.chunks(k) {
        let sharp: Vec<f64> = row.iter().zip(&sizes).map(|(q, size)| q * q / size).collect();
        let total: f64 = sharp.iter().sum();
        p.extend(sharp.into_iter().map(|x| x / total));
    }
    let divergence = |q: &[f64]| p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>() / rows as f64;

    for gpu in gpus() {
        let params = Dec::params(k).latent(d).check()?.params;
        let mut parameters = Parameters::new(gpu);
        let model = Model::new(gpu, &params, Scaling::none(2), None, None, &mut parameters, Key::new(0))?;
        let centre = parameters.iter().find(|param| param.name() == "centres").expect("centres").clone();
        parameters.set(&centre, &centres)?;
        let tape = Tape::new(gpu);
        let z = tape.leaf(&gpu.tensor(&places, [rows, d])?)?;
        let logits = model.logits(&tape, &parameters, &z)?;
        let found = logits.softmax(1.0)?.read()?;
        found.iter().zip(&q).for_each(|(&a, &b)| close(a.into(), b, 2e-6));
        let targets = sharpened(&found, k);
        targets.iter().zip(&p).for_each(|(&a, &b)| close(a.into(), b, 2e-6));

        // The gradient of the mean divergence by the places, equation (4): 2/rows Σ_c (1 + ‖z - μ‖²)⁻¹ (p - q)(z - μ).
        let loss = logits.cross_entropy(&gpu.tensor(&targets, [rows, k])?)?.mean()?;
        let entropy: f64 = p.iter().map(|p| p * p.ln()).sum::<f64>() / rows as f64;
        close(f64::from(loss.item()?) + entropy, divergence(&q), 3e-6);
        let gradient = tape.backward(&loss)?.of(&z).expect("a gradient").read()?;
        for (i, row) in wide(&places).chunks(d).enumerate() {
            for j in 0..d {
                let expected: f64 = (0..k)
                    .map(|c| {
                        let centre = &wide(&centres)[c * d..(c + 1) * d];
                        let square: f64 = row.iter().zip(centre).map(|(a, b)| (a - b).powi(2)).sum();
                        (p[i * k + c] - q[i * k + c]) * (row[j] - centre[j]) / (1.0 + square)
                    })
                    .sum();
                close(gradient[i * d + j].into(), 2.0 * expected / rows as f64, 3e-7);
            }
        }
    }
    Ok(())
}

#[test]
fn a_subset_of_the_digits_is_learned() {
    let data = digits().take_rows(400).unwrap();
    for params in [Dec::params(10), Dec::idec(10)] {
        let params = params.hidden([48]).latent(8).batch(100).learning_rate(4e-3).pretrain_epochs(60).epochs(15);
        let fitted = fit(params, &gpus()[0], &data);
        let truth = data.labels().unwrap().ids();
        let accuracy = metrics::accuracy(fitted.labels(), truth).unwrap();
        assert!(accuracy > 0.55, "{accuracy}");
        assert_eq!(fitted.predict(&data).unwrap(), fitted.labels());
        assert_eq!(fitted.transform(&data).unwrap().dim(), (400, 8));
        assert_eq!(fitted.group_sizes().iter().sum::<usize>(), 400);
        let q = fitted.predict_proba(&data).unwrap();
        q.outer_iter().for_each(|row| close(row.sum().into(), 1.0, 1e-5));
    }
}

#[test]
fn training_ends_when_groups_hardly_change() {
    let data = table(&blobs(300, 6, 3, 0.2, 7), 6);
    let mut epochs = Vec::new();
    let mut observe = |event: &Event| {
        if let Event::Epoch { phase: "cluster", epoch, metrics, .. } = event {
            epochs.push((*epoch, metrics.clone()));
        }
    };
    let mut session = Session { observer: Some(&mut observe), ..Session::default() };
    let method = small(Dec::params(3)).pretrain_epochs(5).epochs(50).tolerance(0.01).check().unwrap();
    method.fit_with(&gpus()[0], &data, Key::new(1), &mut session).unwrap();
    let (last, metrics) = epochs.last().expect("an epoch");
    assert!(*last < 50 && metrics[0].0 == "changed" && metrics[0].1 <= 0.01, "{last} {metrics:?}");
    assert_eq!(*last, epochs.len());
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let data = table(&blobs(300, 6, 3, 3.0, 7), 6);
    let folder = tempfile::tempdir().unwrap();
    let method =
        small(Dec::idec(3)).pretrain_epochs(3).epochs(6).refresh(3).learning_rate(0.03).tolerance(0.0).check().unwrap();
    let bits = |fitted: &FittedDec| -> Vec<u32> {
        fitted.predict_proba(&data).unwrap().iter().map(|value| value.to_bits()).collect()
    };
    let whole = method.fit(&gpus()[0], &data, Key::new(1)).unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    for stop_at in [1, 3, 4] {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let mut seen = 0;
        let mut observe = |event: &Event| {
            if matches!(event, Event::Epoch { .. }) {
                seen += 1;
                stop.store(seen == stop_at, std::sync::atomic::Ordering::Relaxed);
            }
        };
        let mut session = Session {
            checkpoint: Some(path.clone()),
            stop: Some(&stop),
            observer: Some(&mut observe),
            ..Session::default()
        };
        let stopped = method.fit_with(&gpus()[0], &data, Key::new(1), &mut session);
        assert!(matches!(stopped, Err(Error::Interrupted { .. })), "{stopped:?}");
        let mut session = Session { checkpoint: Some(path.clone()), resume: true, ..Session::default() };
        let resumed = method.fit_with(&gpus()[0], &data, Key::new(1), &mut session).unwrap();
        assert_eq!(bits(&resumed), bits(&whole), "stopped after {stop_at} epochs");
    }
}

#[test]
fn a_loaded_model_predicts_the_same_bits() {
    let gpu = &gpus()[0];
    let rows = blobs(200, 5, 3, 0.6, 3);
    let (seen, unseen) = (table(&rows[..150 * 5], 5), table(&rows[150 * 5..], 5));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for params in [Dec::params(3), Dec::idec(3)] {
        let fitted = fit(small(params).pretrain_epochs(2).epochs(2), gpu, &seen);
        fitted.save(&path).unwrap();
        let loaded = FittedDec::load(gpu, &path).unwrap();
        let bits = |values: ndarray::Array2<f32>| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(loaded.labels(), fitted.labels());
        assert_eq!(loaded.predict(&unseen).unwrap(), fitted.predict(&unseen).unwrap());
        assert_eq!(bits(loaded.predict_proba(&unseen).unwrap()), bits(fitted.predict_proba(&unseen).unwrap()));
        assert_eq!(bits(loaded.transform(&unseen).unwrap()), bits(fitted.transform(&unseen).unwrap()));
    }
}

#[test]
fn mistakes_are_named() {
    let refused = |params: Params| params.check().unwrap_err().to_string();
    assert_eq!(refused(Dec::params(0)), "k: must be at least 1");
    assert_eq!(refused(Dec::params(2).latent(0)), "latent: must be at least 1");
    assert_eq!(refused(Dec::params(2).refresh(0)), "refresh: must be at least 1");
    assert_eq!(refused(Dec::params(2).epochs(0)), "epochs: must be at least 1");
    assert!(refused(Dec::params(2).hidden([])).starts_with("hidden: "));
    assert!(refused(Dec::params(2).learning_rate(0.0)).starts_with("learning_rate: "));
    assert!(refused(Dec::idec(2).reconstruction(-1.0)).starts_with("reconstruction: "));
    assert!(refused(Dec::idec(2).reconstruction(f32::NAN)).starts_with("reconstruction: "));
    assert!(refused(Dec::params(2).tolerance(1.5)).starts_with("tolerance: "));
    let data = table(&uniform(20, 1), 2);
    let failure = |params: Params| params.check().unwrap().fit(&gpus()[0], &data, Key::new(0)).unwrap_err().to_string();
    assert_eq!(failure(Dec::params(11)), "k: 11 clusters for 10 rows");
    assert!(failure(Dec::params(2).hidden([1 << 25])).starts_with("hidden: "));
    let fitted = fit(small(Dec::params(2)).pretrain_epochs(1).epochs(1), &gpus()[0], &data);
    let wrong = fitted.predict(&table(&[0.0; 6], 3)).unwrap_err().to_string();
    assert_eq!(wrong, "data: has 3 columns, the model was fitted on 2");
}
