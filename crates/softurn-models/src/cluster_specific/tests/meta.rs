//! What all frameworks share: resume, files, empty heads, bad input.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::Error;
use crate::cluster_specific::{
    Autoencoder, BoltzmannMachine, ClusterSpecific, Contrastive, Fitted, Framework, Params, Reassignment,
    VariationalAutoencoder,
};
use crate::train::{Event, Session};

fn bits<F: Framework>(fitted: &Fitted<F>) -> Vec<u32> {
    let all = fitted.parameters().iter().flat_map(|param| fitted.parameters().read(param).unwrap());
    all.map(f32::to_bits).chain(fitted.labels().iter().copied()).collect()
}

/// Interrupted after each of some epochs and resumed, a fit ends with the bits of one that was not.
fn resumes<F: Framework>(params: Params<F>, data: &Dataset, stops: &[usize]) {
    let method = params.check().unwrap();
    let whole = method.fit_with(gpu(), data, Key::new(5), &mut Session::default()).unwrap();
    let again = method.fit_with(gpu(), data, Key::new(5), &mut Session::default()).unwrap();
    assert_eq!(bits(&whole), bits(&again));
    let other = method.fit_with(gpu(), data, Key::new(6), &mut Session::default()).unwrap();
    assert_ne!(bits(&whole), bits(&other));
    for &at in stops {
        let folder = tempfile::tempdir().unwrap();
        let (stop, mut seen) = (AtomicBool::new(false), 0);
        let mut observer = |event: &Event| {
            if let Event::Epoch { .. } = event {
                seen += 1;
                stop.store(seen == at, Ordering::Relaxed);
            }
        };
        let checkpoint = Some(folder.path().join("checkpoint.safetensors"));
        let mut session = Session {
            checkpoint: checkpoint.clone(),
            stop: Some(&stop),
            observer: Some(&mut observer),
            ..Session::default()
        };
        let stopped = method.fit_with(gpu(), data, Key::new(5), &mut session);
        assert!(matches!(stopped, Err(Error::Interrupted { .. })), "{at}");
        let mut session = Session { checkpoint, resume: true, ..Session::default() };
        let resumed = method.fit_with(gpu(), data, Key::new(5), &mut session).unwrap();
        assert_eq!(bits(&whole), bits(&resumed), "stopped after {at}");
    }
}

#[test]
fn an_interrupted_fit_ends_with_the_same_bits() {
    let data = set(LineClusters::Triangle);
    let framework = Autoencoder::new([2, 1]).shared(1).noise(0.1);
    for reassignment in [Reassignment::Fresh, Reassignment::BeforeStep] {
        let params = ClusterSpecific::params(3, framework.clone()).reassignment(reassignment).epochs(9).batch(40);
        resumes(params.steps_per_assignment(2).hold(1), &data, &[1, 4]);
    }
    let bits = crate::data::bit_pairs(60, Key::new(1)).unwrap();
    let machine = BoltzmannMachine::new(4).deviation(0.5);
    resumes(ClusterSpecific::params(2, machine).epochs(5).batch(20).warm_up(4, 1.0, 0.5), &bits, &[2, 4, 6]);
    let encoder = Contrastive::new(3).hidden([4]);
    resumes(ClusterSpecific::params(3, encoder).epochs(5).batch(40).learning_rate(0.01), &data, &[1, 3]);
    let variational = VariationalAutoencoder::new(1).hidden([4]).corruption(0.1);
    resumes(ClusterSpecific::params(3, variational).epochs(5).batch(40).learning_rate(0.01), &data, &[2]);
}

#[test]
fn a_saved_model_computes_the_same_bits() {
    let data = set(LineClusters::Lines3d);
    let method = ClusterSpecific::params(3, Autoencoder::new([2])).epochs(5).check().unwrap();
    let fitted = method.fit(gpu(), &data, Key::new(0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fitted.save(&path).unwrap();
    let loaded = Fitted::<Autoencoder>::load(gpu(), &path).unwrap();
    assert_eq!((loaded.labels(), loaded.objective()), (fitted.labels(), fitted.objective()));
    assert_eq!(loaded.params(), fitted.params());
    assert_eq!(loaded.centers().unwrap(), fitted.centers().unwrap());
    assert_eq!(loaded.encode(&data).unwrap(), fitted.encode(&data).unwrap());
    assert_eq!(loaded.reconstruct(&data).unwrap(), fitted.reconstruct(&data).unwrap());
    says(Fitted::<BoltzmannMachine>::load(gpu(), &path), &["model.safetensors", "autoencoder", "boltzmann"]);
    says(fitted.encode(&set(LineClusters::Triangle)), &["data:", "5 columns", "6"]);
}

#[test]
fn centres_are_the_means_of_their_rows() {
    let data = set(LineClusters::Orthogonal);
    let params = ClusterSpecific::params(4, Autoencoder::new([1])).epochs(12).steps_per_assignment(3);
    // All rows begin in one head: the others take a row each, and then what suits them.
    let start = vec![1; data.rows()];
    let fitted = params.check().unwrap().fit_from(gpu(), &data, &start, Key::new(0), &mut Session::default()).unwrap();
    let mut sizes = [0; 4];
    fitted.labels().iter().for_each(|&label| sizes[label as usize] += 1);
    assert!(sizes.iter().all(|&size| size > 0), "{sizes:?}");
    let centers = fitted.centers().unwrap();
    assert!(centers.iter().all(|value| value.is_finite()));
    // In force is the assignment of the last Lloyd step, not the one that labels tell.
    let assignment = fitted.parameters().get("assignment").unwrap();
    let assignment = fitted.parameters().read(assignment).unwrap();
    for head in 0..4 {
        let rows: Vec<usize> = (0..data.rows()).filter(|&row| assignment[row] == head as f32).collect();
        let mean = data.features().select(ndarray::Axis(0), &rows).mean_axis(ndarray::Axis(0)).unwrap();
        let apart = (&mean - &centers.row(head)).mapv(f32::abs);
        assert!(apart.iter().all(|&apart| apart < 1e-5), "{head}: {apart}");
    }
}

/// Rows keep their heads when batches are shuffled: after held epochs the assignment is the start.
#[test]
fn held_rows_stay_in_their_heads() {
    let data = set(LineClusters::Orthogonal);
    let start: Vec<u32> = (0..150).map(|row| row * 7 % 3).collect();
    let method = ClusterSpecific::params(3, Autoencoder::new([1])).epochs(3).hold(3).batch(50).check().unwrap();
    let fitted = method.fit_from(gpu(), &data, &start, Key::new(0), &mut Session::default()).unwrap();
    let assignment = fitted.parameters().read(fitted.parameters().get("assignment").unwrap()).unwrap();
    assert!(assignment.iter().zip(&start).all(|(&now, &before)| now == before as f32));
}

#[test]
fn settings_and_data_out_of_range_are_named() {
    let params = || ClusterSpecific::params(2, Autoencoder::new([1]));
    says(ClusterSpecific::params(0, Autoencoder::new([1])).check(), &["k:"]);
    says(params().starts(0).check(), &["starts:"]);
    says(params().batch(0).check(), &["batch:"]);
    says(params().epochs(0).check(), &["epochs:"]);
    says(params().steps_per_assignment(0).check(), &["steps_per_assignment:"]);
    says(params().learning_rate(f32::NAN).check(), &["learning_rate:", "NaN"]);
    says(params().warm_up(3, 1.0, 0.0).check(), &["warm_up:", "0"]);
    let data = set(LineClusters::ParallelLine);
    let few = data.clone().take_rows(1).unwrap();
    says(params().check().unwrap().fit(gpu(), &few, Key::new(0)), &["k:", "2 clusters for 1"]);
    let method = params().check().unwrap();
    let from = |start: &[u32]| method.fit_from(gpu(), &data, start, Key::new(0), &mut Session::default());
    says(from(&[0, 1]), &["start:", "2 heads for 150"]);
    says(from(&[2; 150]), &["start:", "head 2 of 2"]);
}
