//! Triplets: their loss, what bounds it, and which rows they are made of.

use softurn_autodiff::{Parameters, Tape};

use super::*;
use crate::cluster_specific::{ClusterSpecific, Contrastive, Framework, Members, Positives};
use crate::data;

/// An encoder without hidden layers that multiplies by `scale`.
fn scaling(framework: &Contrastive, scale: f32) -> (super::super::contrastive::ContrastiveLayers, Parameters) {
    let mut parameters = Parameters::new(gpu());
    let layers = framework.layers(&mut parameters, [1, 2], Key::new(0)).unwrap();
    let weight = parameters.get("encoder.0.weight").unwrap().clone();
    parameters.set(&weight, &[scale, 0.0, 0.0, scale]).unwrap();
    (layers, parameters)
}

fn triplet(framework: &Contrastive, scale: f32) -> f32 {
    let (layers, parameters) = scaling(framework, scale);
    let mut rows = head_rows(&[1.0, 2.0], &[0], 1);
    rows.partners = vec![gpu().tensor(&[1.0f32, 1.0], [1, 2]).unwrap(), gpu().tensor(&[0.0f32, 1.0], [1, 2]).unwrap()];
    let tape = Tape::new(gpu());
    framework.losses(&layers, &tape, &parameters, &rows, Some(Key::new(0))).unwrap().read().unwrap()[0]
}

/// Fact 8.
#[test]
fn only_unit_vectors_have_a_bounded_loss() {
    let free = Contrastive::new(2).hidden([]).normalised(false);
    close(&[triplet(&free, 1.0)], &[-1.0], 1e-6);
    // Scaled by a, the loss is a² times as low.
    close(&[triplet(&free, 1000.0)], &[-1e6], 1.0);
    let unit = Contrastive::new(2).hidden([]);
    let expected = (2.0 - 3.0 / 2f64.sqrt()) / 5f64.sqrt();
    for scale in [1e-2, 1.0, 1e3] {
        close(&[triplet(&unit, scale)], &[expected], 1e-5);
    }
}

#[test]
fn training_is_bounded_by_unit_vectors_alone() {
    let data = data::iris().standardized();
    let fit = |framework: Contrastive| {
        let params = ClusterSpecific::params(3, framework.hidden([8])).epochs(60).learning_rate(0.05);
        params.check().unwrap().fit(gpu(), &data, Key::new(0)).unwrap()
    };
    let losses = |framework: Contrastive| fit(framework).assignment_losses(&data).unwrap();
    let bounded = losses(Contrastive::new(4));
    assert!(bounded.iter().all(|loss| (-2.0..=2.0).contains(loss)));
    let free = losses(Contrastive::new(4).normalised(false));
    assert!(free.iter().any(|&loss| loss < -100.0), "{}", free.iter().copied().fold(0.0, f32::min));
    let view = fit(Contrastive::new(4).positives(Positives::View { noise: 0.2, dropout: 0.1 }));
    let code = view.encode(&data).unwrap().code;
    assert!(code.outer_iter().all(|u| (u.dot(&u) - 1.0).abs() < 1e-5));
    // One encoder for all rows learns from views, and its objective tells how much.
    let one = |epochs: usize| {
        let view = Contrastive::new(4).hidden([8]).positives(Positives::View { noise: 0.2, dropout: 0.1 });
        let params = ClusterSpecific::params(1, view).epochs(epochs).learning_rate(0.01);
        params.check().unwrap().fit(gpu(), &data, Key::new(0)).unwrap().objective()
    };
    let (before, after) = (one(1), one(40));
    assert!(after < before - 0.2 && after >= -2.0, "{before} to {after}");
    // With labels the clusters become the classes they are told, more than the others.
    let told = fit(Contrastive::new(4).positives(Positives::Class));
    assert!(rand_index(&data, told.labels()) > 0.5, "{}", rand_index(&data, told.labels()));
}

#[test]
fn partners_are_of_the_cluster_or_the_class_and_negatives_of_another_cluster() {
    let (assignment, classes) = ([0, 0, 1, 1, 1, 2, 0], [5, 6, 5, 6, 5, 6, 5]);
    let members = Members { assignment: &assignment, classes: Some(&classes) };
    let rows: Vec<u32> = (0..7).collect();
    for seed in 0..20 {
        let of =
            |positives: Positives| Contrastive::new(2).positives(positives).partners(&rows, members, Key::new(seed));
        for (positives, groups) in [(Positives::Cluster, &assignment), (Positives::Class, &classes)] {
            let [positive, negative] = &of(positives)[..] else { panic!() };
            for row in 0..7 {
                let [p, n] = [positive[row] as usize, negative[row] as usize];
                assert_eq!(groups[p], groups[row]);
                assert!(assignment[n] != assignment[row]);
                // Row 5 is alone in its cluster.
                assert!(p != row || (row == 5 && positives == Positives::Cluster), "{positives:?}: {row}");
            }
        }
        assert_eq!(of(Positives::View { noise: 0.1, dropout: 0.0 }).len(), 1);
        let single = Members { assignment: &[0; 7], classes: None };
        let negatives = &Contrastive::new(2).partners(&rows, single, Key::new(seed))[1];
        assert!(negatives.iter().zip(&rows).all(|(negative, row)| negative != row));
    }
}

/// The contrast of a head: the mean of others' rows less that of its own.
#[test]
fn rows_choose_by_means_of_their_clusters() {
    let framework = Contrastive::new(2).hidden([]).normalised(false);
    let mut parameters = Parameters::new(gpu());
    let layers = framework.layers(&mut parameters, [2, 2], Key::new(0)).unwrap();
    let weight = parameters.get("encoder.0.weight").unwrap().clone();
    parameters.set(&weight, &[1., 0., 0., 1., 2., 0., 0., 2.]).unwrap();
    let x = [1.0f32, 0.0, 3.0, 0.0, 0.0, 1.0];
    let mut blocks = std::iter::once(Ok((head_rows(&[x, x].concat(), &[0, 0, 0, 1, 1, 1], 2), vec![0, 0, 1])));
    framework.settle(&layers, &mut parameters, &mut blocks).unwrap();
    let contrast = parameters.read(parameters.get("contrast").unwrap()).unwrap();
    close(&contrast, &[-2.0, 1.0, 4.0, -2.0], 1e-6);
    let tape = Tape::new(gpu());
    let rows = head_rows(&x, &[0, 1, 1], 2);
    let losses = framework.assignment_losses(&layers, &tape, &parameters, &rows, Key::new(0)).unwrap();
    close(&losses.read().unwrap(), &[-2.0, 24.0, -4.0], 1e-5);
}

#[test]
fn settings_and_data_out_of_range_are_named() {
    let check = |framework| ClusterSpecific::params(2, framework).check();
    says(check(Contrastive::new(0)), &["dimensions:"]);
    says(check(Contrastive::new(1).hidden([0])), &["hidden:", "layer 0"]);
    says(check(Contrastive::new(1).positives(Positives::View { noise: -1.0, dropout: 0.0 })), &["positives:"]);
    says(check(Contrastive::new(1).positives(Positives::View { noise: 0.0, dropout: 1.0 })), &["positives:"]);
    let unlabelled = Dataset::table("no classes", ndarray::array![[0.0], [1.0], [2.0]]).unwrap();
    says(ClusterSpecific::params(1, Contrastive::new(1)).check(), &["positives:", "only cluster"]);
    says(ClusterSpecific::params(2, Contrastive::new(1)).warm_up(1, 1.0, 1.0).check(), &["warm_up:", "contrastive"]);
    let method = check(Contrastive::new(1).positives(Positives::Class)).unwrap();
    says(method.fit(gpu(), &unlabelled, Key::new(0)), &["positives:", "no classes"]);
}

#[test]
fn gradients_are_those_of_differences() -> Result<()> {
    let normal = |seed| softurn_kernels::ops::random::normal(gpu(), [6, 3], Key::new(seed));
    let mut rows = head_rows(&normal(1)?.read()?, &[0, 1, 1, 0, 1, 0], 2);
    rows.partners = vec![normal(2)?, normal(3)?];
    for normalised in [true, false] {
        check_gradient(&Contrastive::new(2).hidden([]).normalised(normalised), &rows)?;
    }
    Ok(())
}
