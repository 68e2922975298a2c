//! The autoencoder's losses and gradients on the fixture of the method's description, and that it recovers lines.

use std::f32::consts::FRAC_1_SQRT_2 as R;

use ndarray::{Array2, array};
use softurn_autodiff::{Parameters, Tape};

use super::*;
use crate::cluster_specific::autoencoder::Weight;
use crate::cluster_specific::undecided::Blocks;
use crate::cluster_specific::{Autoencoder, ClusterSpecific, Framework, Reassignment, Reconstructs};
use crate::clustering::kmeans::KMeans;

/// Two heads for two columns and a code of one: the fixture's encoder times `scale`, its decoder over it.
fn fixture(scale: f32) -> (Autoencoder, super::super::autoencoder::AutoencoderLayers, Parameters) {
    let framework = Autoencoder::new([1]);
    let mut parameters = Parameters::new(gpu());
    let layers = framework.layers(&mut parameters, [2, 2], Key::new(0)).unwrap();
    let [Weight::Own(encoder), Weight::Own(decoder)] = [&layers.encoder[0], &layers.decoder[0]] else { panic!() };
    parameters.set(encoder, &[0.5, 0.5, 0.5, -0.5].map(|e| e * scale)).unwrap();
    parameters.set(decoder, &[1.0, 0.8, 0.9, -1.1].map(|d| d / scale)).unwrap();
    (framework, layers, parameters)
}

const ROWS: [[f32; 2]; 4] = [[0.0, 0.0], [2.0, 2.0], [0.0, 3.0], [2.0, 1.0]];
const CENTRES: [[f32; 2]; 2] = [[1.0, 1.0], [1.0, 2.0]];

/// The fixture's rows less the centres of these heads.
fn rows(which: &[usize], heads: &[u32]) -> HeadRows {
    let less = |(&row, &head): (&usize, &u32)| {
        let centre = CENTRES[head as usize];
        [ROWS[row][0] - centre[0], ROWS[row][1] - centre[1]]
    };
    head_rows(&which.iter().zip(heads).flat_map(less).collect::<Vec<f32>>(), heads, 2)
}

#[test]
fn losses_and_gradients_are_those_of_the_fixture() -> Result<()> {
    let (framework, layers, parameters) = fixture(1.0);
    let tape = Tape::new(gpu());
    let all = rows(&[0, 1, 2, 3, 0, 1, 2, 3], &[0, 0, 0, 0, 1, 1, 1, 1]);
    let losses = framework.assignment_losses(&layers, &tape, &parameters, &all, Key::new(0))?;
    // As the fixture lists them: for each row its loss in both heads.
    let expected = [[0.12, 2.1275], [0.12, 0.3275], [2.43, 0.11], [0.23, 0.11]];
    close(&losses.read()?, &[0, 1].map(|head| expected.map(|row| row[head])).concat(), 1e-6);

    let tape = Tape::new(gpu());
    let own = rows(&[0, 1, 2, 3], &[0, 0, 1, 1]);
    let loss = framework.losses(&layers, &tape, &parameters, &own, Some(Key::new(0)))?.mean()?;
    close(&[loss.item()?], &[0.115], 1e-6);
    let gradients = tape.backward(&loss)?;
    let gradient = |weight: &Weight| {
        let (Weight::Own(param) | Weight::Shared(param)) = weight;
        gradients.param(param).unwrap().read().unwrap()
    };
    close(&gradient(&layers.encoder[0]), &[0.02, 0.02, 0.11, -0.11], 1e-6);
    close(&gradient(&layers.decoder[0]), &[0.0, -0.1, -0.05, -0.05], 1e-6);
    Ok(())
}

/// A smaller encoder and a larger decoder make the same rows: the penalty is lost, down to the reconstruction.
#[test]
fn untied_weights_escape_the_penalty_and_tied_ones_do_not() -> Result<()> {
    for (scale, expected) in [(1.0, 0.115), (0.5, 0.04), (0.1, 0.016), (0.01, 0.01501)] {
        let (framework, layers, parameters) = fixture(scale);
        let tape = Tape::new(gpu());
        let own = rows(&[0, 1, 2, 3], &[0, 0, 1, 1]);
        let loss = framework.losses(&layers, &tape, &parameters, &own, None)?.mean()?;
        close(&[loss.item()?], &[expected], 1e-6);
    }
    // A tied code along a unit vector: ‖x‖² - (1 - λ) (vᵀx)², over the columns.
    let framework = Autoencoder::new([1]).tied(true);
    let mut parameters = Parameters::new(gpu());
    let layers = framework.layers(&mut parameters, [1, 2], Key::new(0))?;
    assert!(layers.decoder.is_empty());
    let Weight::Own(encoder) = &layers.encoder[0] else { panic!() };
    parameters.set(encoder, &[0.6, 0.8])?;
    let tape = Tape::new(gpu());
    let row = head_rows(&[2.0, -1.0], &[0], 1);
    let loss = framework.losses(&layers, &tape, &parameters, &row, None)?;
    let (square, along, lambda) = (5.0f64, (1.2 - 0.8f64).powi(2), 0.2);
    close(&loss.read()?, &[(square - (1.0 - lambda) * along) / 2.0], 1e-6);
    close(&framework.reconstruct(&layers, &tape, &parameters, &row)?.read()?, &[0.24, 0.32], 1e-6);
    Ok(())
}

/// The shared layers of a partial autoencoder get the gradients of all heads, its own ones those of their rows.
#[test]
fn gradients_of_shared_layers_are_those_of_the_loss() -> Result<()> {
    let framework = Autoencoder::new([3, 2]).shared(1).relu(true);
    let mut parameters = Parameters::new(gpu());
    let layers = framework.layers(&mut parameters, [3, 4], Key::new(3))?;
    let shapes: Vec<&[usize]> = parameters.iter().map(|param| param.shape().dims()).collect();
    assert_eq!(shapes, [&[4, 3][..], &[3, 3, 2], &[3, 2, 3], &[3, 4]]);
    let x: Vec<f32> = (0..20).map(|at| ((at * 7 % 11) as f32 - 4.0) / 5.0).collect();
    let rows = head_rows(&x, &[2, 0, 1, 2, 2], 3);
    let loss = |parameters: &Parameters| -> Result<f64> {
        let tape = Tape::new(gpu());
        let losses = framework.losses(&layers, &tape, parameters, &rows, None)?.read()?;
        Ok(losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / 5.0)
    };
    let tape = Tape::new(gpu());
    let gradients = tape.backward(&framework.losses(&layers, &tape, &parameters, &rows, None)?.mean()?)?;
    for param in parameters.iter().cloned().collect::<Vec<_>>() {
        let (values, gradient) = (parameters.read(&param)?, gradients.param(&param).unwrap().read()?);
        for at in 0..values.len() {
            let mut moved = [values.clone(), values.clone()];
            let step = 1e-3;
            moved[0][at] += step;
            moved[1][at] -= step;
            let mut sides = [0.0; 2];
            for (side, moved) in sides.iter_mut().zip(&moved) {
                parameters.set(&param, moved)?;
                *side = loss(&parameters)?;
            }
            parameters.set(&param, &values)?;
            let expected = (sides[0] - sides[1]) / f64::from(2.0 * step);
            let found = f64::from(gradient[at]);
            assert!((found - expected).abs() < 2e-3, "{} {at}: {found}, not {expected}", param.name());
        }
    }
    Ok(())
}

/// Facts 2 and 3 for the authors' autoencoder: the best of ten starts by its objective.
fn recovers_lines_with_their_axes(set: LineClusters, epochs: usize) {
    let data = super::set(set);
    let params = ClusterSpecific::params(clusters(&data), Autoencoder::new([1])).starts(10).epochs(epochs);
    let (fitted, objectives) = params.check().unwrap().fit_starts(gpu(), &data, Key::new(0)).unwrap();
    let index = rand_index(&data, fitted.labels());
    assert!(index >= 0.99, "{set:?}: {index}, {objectives:?}");
    assert_eq!(fitted.labels(), fitted.predict(&data).unwrap());
    let truth = data.labels().unwrap().ids();
    for (head, directions) in fitted.directions().unwrap().iter().enumerate() {
        let row = fitted.labels().iter().position(|&label| label as usize == head).unwrap();
        // Within a degree; in space as close as exact k-subspaces.
        let (cosine, least) = match set {
            LineClusters::ParallelLine => {
                (directions.row(0).dot(&array![R, R, 0.0, 0.0, 0.0]), 1f32.to_radians().cos())
            }
            _ => (directions[[0, truth[row] as usize]], 0.999),
        };
        assert!(cosine.abs() > least, "{set:?}: {directions}");
    }
}

#[test]
fn parallel_lines_are_recovered() {
    recovers_lines_with_their_axes(LineClusters::ParallelLine, 250);
}

#[test]
fn lines_in_space_are_recovered() {
    recovers_lines_with_their_axes(LineClusters::Lines3d, 150);
}

/// The plain autoencoder is the case k = 1; k-means on its code.
#[test]
fn one_autoencoder_for_all_rows_does_not_recover_them() {
    for (set, centred, most) in [
        (LineClusters::ParallelLine, true, 0.55),
        (LineClusters::ParallelLine, false, 0.6),
        (LineClusters::Lines3d, true, 0.6),
        (LineClusters::Lines3d, false, 0.6),
    ] {
        let data = super::set(set);
        let method = ClusterSpecific::params(1, Autoencoder::new([1]).centred(centred)).check().unwrap();
        let code = method.fit(gpu(), &data, Key::new(0)).unwrap().encode(&data).unwrap().code;
        let points = gpu().tensor(&code.iter().copied().collect::<Vec<f32>>(), [data.rows(), 1]).unwrap();
        let k_means = KMeans::params(clusters(&data)).check().unwrap().fit_points(gpu(), &points, Key::new(0)).unwrap();
        let index = rand_index(&data, k_means.labels());
        assert!(index <= most, "{set:?}, centred {centred}: {index}");
    }
}

#[test]
fn tied_weights_shared_layers_and_the_authors_order_recover_them_too() {
    let data = set(LineClusters::ParallelLine);
    for (framework, reassignment) in [
        // In units of sums λ = 0.1.
        (Autoencoder::new([1]).tied(true).penalty(0.02), Reassignment::Fresh),
        (Autoencoder::new([2, 1]).shared(1), Reassignment::Fresh),
        (Autoencoder::new([1]), Reassignment::BeforeStep),
    ] {
        let method =
            ClusterSpecific::params(2, framework.clone()).starts(3).reassignment(reassignment).check().unwrap();
        let (fitted, objectives) = method.fit_starts(gpu(), &data, Key::new(0)).unwrap();
        let index = rand_index(&data, fitted.labels());
        assert!(index >= 0.99, "{framework:?}, {reassignment:?}: {index}, {objectives:?}");
    }
}

/// Fact 4: 150 steps of 0.001 leave rows where they began.
#[test]
fn a_small_rate_leaves_rows_near_the_start() {
    let data = set(LineClusters::ParallelLine);
    let method = ClusterSpecific::params(2, Autoencoder::new([1])).learning_rate(1e-3).check().unwrap();
    let index = rand_index(&data, method.fit(gpu(), &data, Key::new(0)).unwrap().labels());
    assert!(index < 0.7, "{index}");
}

#[test]
fn noisy_rows_are_made_clean() {
    let data = set(LineClusters::Orthogonal);
    let method = |k: usize| ClusterSpecific::params(k, Autoencoder::new([1]).penalty(0.01)).starts(3).check().unwrap();
    let noise = softurn_kernels::ops::random::normal(gpu(), [150, 5], Key::new(9)).unwrap().read().unwrap();
    let noisy = Array2::from_shape_vec((150, 5), noise).unwrap().mapv(|noise| 0.1 * noise) + data.features();
    let noisy = Dataset::table("noisy", noisy).unwrap();
    let error = |k: usize| method(k).fit(gpu(), &noisy, Key::new(0)).unwrap().denoising_error(&noisy, &data).unwrap();
    let (own, pooled) = (error(2), error(1));
    assert!(own < 0.1 * pooled, "{own} against {pooled}");
    let fitted = method(2).fit(gpu(), &noisy, Key::new(0)).unwrap();
    says(fitted.denoising_error(&noisy, &data.clone().take_rows(10).unwrap()), &["clean:", "10", "150"]);
}

#[test]
fn settings_out_of_range_are_named() {
    let check = |framework: Autoencoder| ClusterSpecific::params(2, framework).check();
    says(check(Autoencoder::new([])), &["widths:"]);
    says(check(Autoencoder::new([2, 0])), &["widths:", "layer 1"]);
    says(check(Autoencoder::new([2]).shared(2)), &["shared:", "2 of 1"]);
    says(check(Autoencoder::new([2]).penalty(-1.0)), &["penalty:", "-1"]);
    says(check(Autoencoder::new([2]).noise(f32::NAN)), &["noise:", "NaN"]);
}

/// Without a copy of the rows for each head, losses are those with one; also of rows far from zero.
#[test]
fn rows_choose_without_copies_for_each_head() -> Result<()> {
    let (rows, columns, heads) = (70, 11, 3);
    let normal = |shape: [usize; 2], seed| softurn_kernels::ops::random::normal(gpu(), shape, Key::new(seed));
    let away = |shape: [usize; 2], seed, by: f32| -> Result<Array2<f32>> {
        Ok(Array2::from_shape_vec(shape, normal(shape, seed)?.read()?).unwrap() + by)
    };
    for (case, (widths, shared)) in [(vec![4, 2], 1), (vec![5], 0), (vec![6, 5, 2], 2)].into_iter().enumerate() {
        for at in 0..8 {
            let [tied, relu, centred] = [1, 2, 4].map(|bit| at & bit != 0);
            let framework = Autoencoder::new(widths.clone()).shared(shared).tied(tied).relu(relu).centred(centred);
            let mut parameters = Parameters::new(gpu());
            let layers = framework.layers(&mut parameters, [heads, columns], Key::new(case as u64))?;
            let by = if centred { 30.0 } else { 0.0 };
            let centres = away([heads, columns], 6, by)? * f32::from(u8::from(centred));
            let centres = gpu().tensor(centres.as_slice().unwrap(), [heads, columns])?;
            // Two blocks, of which the second is smaller.
            let blocks = Blocks::new(gpu(), &away([rows, columns], 5, by)?, 64, heads)?;
            for (undecided, count) in blocks.undecided(&centres, centred).zip([64, 6]) {
                let undecided = undecided?;
                assert!(undecided.near_zero && undecided.x.shape().dims()[0] == count);
                let (tape, copies) = (Tape::new(gpu()), undecided.under_all()?);
                let wanted = framework.assignment_losses(&layers, &tape, &parameters, &copies, Key::new(0))?.read()?;
                let found = framework.losses_without_copies(&layers, &tape, &parameters, &undecided)?.read()?;
                // Rows at 30 have a spacing of 2e-6.
                let ratios: Vec<f32> = found.iter().zip(&wanted).map(|(found, wanted)| found / wanted).collect();
                close(&ratios, &vec![1.0; heads * count], 1e-5);
            }
        }
    }
    // Farther off, products of rows lose too many digits, and differences are taken first.
    let blocks = Blocks::new(gpu(), &away([rows, columns], 5, 1e5)?, 64, heads)?;
    assert!(!blocks.undecided(&gpu().zeros([heads, columns])?, true).next().unwrap()?.near_zero);
    Ok(())
}
