//! The bound's parts, and that the plain and the tensorised model learn.

use ndarray::Array2;
use softurn_autodiff::{Parameters, Tape};

use super::*;
use crate::cluster_specific::{ClusterSpecific, Framework, Reconstructs, VariationalAutoencoder};

/// The divergence of the method's description, and the whole loss by hand.
#[test]
fn the_loss_is_a_bound() -> Result<()> {
    let framework = VariationalAutoencoder::new(2).hidden([]).noise(0.5);
    let mut parameters = Parameters::new(gpu());
    let layers = framework.layers(&mut parameters, [2, 3], Key::new(0))?;
    let set = |parameters: &mut Parameters, name: &str, values: &[f32]| {
        let param = parameters.get(name).unwrap().clone();
        parameters.set(&param, values).unwrap();
    };
    // Head 1 says mean (0.5, -1) and log-variance (0.2, -0.4) of every row, and makes (0.5, -1, 0.25) of the mean.
    for name in ["encoder.mean.weight", "encoder.log_variance.weight"] {
        set(&mut parameters, name, &[0.0; 12]);
    }
    set(&mut parameters, "encoder.mean.bias", &[0.0, 0.0, 0.5, -1.0]);
    set(&mut parameters, "encoder.log_variance.bias", &[0.0, 0.0, 0.2, -0.4]);
    set(&mut parameters, "decoder.head.weight", &[0., 0., 0., 0., 0., 0., 1., 0., 0.5, 0., 1., 0.]);
    set(&mut parameters, "decoder.head.bias", &[0.0; 6]);
    let tape = Tape::new(gpu());
    let x = [1.0f32, -1.0, 0.0];
    let rows = head_rows(&x, &[1], 2);
    let error = 0.25 + 0.0 + 0.0625;
    let loss = framework.assignment_losses(&layers, &tape, &parameters, &rows, Key::new(0))?;
    close(&loss.read()?, &[2.0 * error + 0.670861], 2e-6);
    close(&framework.encode(&layers, &tape, &parameters, &rows)?.read()?, &[0.5, -1.0], 1e-6);
    close(&framework.reconstruct(&layers, &tape, &parameters, &rows)?.read()?, &[0.5, -1.0, 0.25], 1e-6);
    // With noise the expectation adds the variances of what the decoder makes.
    let draws = 20_000;
    let rows = head_rows(&x.repeat(draws), &vec![1; draws], 2);
    let losses = framework.losses(&layers, &tape, &parameters, &rows, Some(Key::new(1)))?.read()?;
    let (first, second) = (0.2f64.exp(), (-0.4f64).exp());
    let expected = 2.0 * (error + 1.25 * first + second) + 0.670861;
    let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / draws as f64;
    assert!((mean - expected).abs() < 0.1, "{mean}, not {expected}");
    Ok(())
}

/// Fact 7: no logits bring the cross-entropy with sigmoid(x - c), the authors' target, below its entropy, close to log 2 for each
/// column where x - c is small. Nothing of a row is left to learn from.
#[test]
fn squashed_targets_have_a_floor() -> Result<()> {
    let x: Vec<f32> = (0..784).map(|at| ((at * 37 % 101) as f32 / 101.0 - 0.5) * 0.6).collect();
    let targets: Vec<f32> = x.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    let tape = Tape::new(gpu());
    let targets = gpu().tensor(&targets, [1, 784])?;
    // The best logits are x - c themselves; none at all are hardly worse.
    let best = tape.constant(&gpu().tensor(&x, [1, 784])?).bernoulli_loss(&targets)?.read()?[0];
    let none = tape.constant(&gpu().zeros([1, 784])?).bernoulli_loss(&targets)?.read()?[0];
    assert!((none - 543.43).abs() < 0.01, "{none}");
    assert!(best < none && best > 0.98 * none, "{best} of {none}");
    Ok(())
}

/// Two planes in ten columns, with other codes in each; noise 0.05.
fn planes() -> Dataset {
    let values = softurn_kernels::ops::random::normal(gpu(), [240, 13], Key::new(5)).unwrap().read().unwrap();
    let features = Array2::from_shape_fn((240, 10), |(row, column)| {
        let [a, b, noise] = [values[row * 13], values[row * 13 + 1], values[row * 13 + 2 + column]];
        let code = match (row < 120, column) {
            (true, 0) | (false, 2) => 2.0 * a,
            (true, 1) | (false, 3) => 2.0 * b,
            _ => 0.0,
        };
        code + 0.05 * noise
    });
    let labels = crate::data::Labels::from_integers(&(0..240).map(|row| i64::from(row >= 120)).collect::<Vec<_>>());
    Dataset::table("planes", features).unwrap().with_labels(labels).unwrap()
}

#[test]
fn each_plane_gets_a_head() {
    let data = planes();
    let framework = VariationalAutoencoder::new(2).hidden([]).noise(0.2);
    let method = |k: usize| {
        ClusterSpecific::params(k, framework.clone()).epochs(150).learning_rate(0.03).starts(3).check().unwrap()
    };
    let fitted = method(2).fit(gpu(), &data, Key::new(0)).unwrap();
    let index = rand_index(&data, fitted.labels());
    assert!(index > 0.8, "{index}");
    let plain = method(1).fit(gpu(), &data, Key::new(0)).unwrap();
    assert!(fitted.objective() < plain.objective());
    let error = |fitted: &crate::cluster_specific::Fitted<VariationalAutoencoder>| {
        fitted.denoising_error(&data, &data).unwrap()
    };
    assert!(error(&fitted) < 0.3 * error(&plain), "{} and {}", error(&fitted), error(&plain));
}

#[test]
fn shared_trunks_learn_and_settings_out_of_range_are_named() {
    let data = planes();
    let framework = || VariationalAutoencoder::new(2).hidden([16, 8]);
    let fit = |epochs: usize| {
        let params = ClusterSpecific::params(2, framework()).epochs(epochs).learning_rate(0.01).batch(60);
        params.check().unwrap().fit(gpu(), &data, Key::new(0)).unwrap()
    };
    assert!(fit(30).objective() < 0.7 * fit(1).objective());
    let check = |framework| ClusterSpecific::params(2, framework).check();
    says(check(VariationalAutoencoder::new(0)), &["latent:"]);
    says(check(framework().hidden([4, 0])), &["hidden:", "layer 1"]);
    says(check(framework().noise(0.0)), &["noise:"]);
    says(check(framework().beta(-0.1)), &["beta:"]);
}

/// Who has seen noise in training takes more of it away.
#[test]
fn noise_in_training_helps_against_noise() {
    let clean = planes();
    let noise = softurn_kernels::ops::random::normal(gpu(), [clean.rows(), clean.cols()], Key::new(3)).unwrap();
    let noise = Array2::from_shape_vec(clean.features().dim(), noise.read().unwrap()).unwrap();
    let noisy = Dataset::table("noisy", clean.features() + &(noise * 0.6)).unwrap();
    let fit = |corruption: f32| {
        let framework = VariationalAutoencoder::new(2).hidden([]).noise(0.1).corruption(corruption);
        let params = ClusterSpecific::params(2, framework).epochs(100).learning_rate(0.03);
        params.check().unwrap().fit(gpu(), &clean, Key::new(1)).unwrap()
    };
    let (without, with) = (fit(0.0), fit(0.6));
    let [plain, robust] = [&without, &with].map(|fitted| fitted.denoising_error(&noisy, &clean).unwrap());
    assert!(robust < 0.9 * plain, "{robust} and {plain}");
    says(ClusterSpecific::params(2, VariationalAutoencoder::new(2).corruption(-1.0)).check(), &["corruption:"]);
}

#[test]
fn gradients_are_those_of_differences() -> Result<()> {
    let x = softurn_kernels::ops::random::normal(gpu(), [6, 3], Key::new(1))?.read()?;
    check_gradient(
        &VariationalAutoencoder::new(2).hidden([]).noise(1.0).beta(0.7),
        &head_rows(&x, &[0, 1, 1, 0, 1, 0], 2),
    )
}
