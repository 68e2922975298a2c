//! The machine's energies and gradients on the fixture of the method's description, and pairs of bits.

use softurn_autodiff::{Parameters, Tape};

use super::*;
use crate::cluster_specific::{BoltzmannMachine, ClusterSpecific, Framework, Rule};
use crate::data::bit_pairs;
use crate::train::Session;

fn pairs(seed: u64) -> Dataset {
    bit_pairs(800, Key::new(seed)).unwrap()
}

/// Two machines; the second is the fixture's.
fn fixture(framework: &BoltzmannMachine) -> (super::super::boltzmann::BoltzmannLayers, Parameters) {
    let mut parameters = Parameters::new(gpu());
    let layers = framework.layers(&mut parameters, [2, 2], Key::new(0)).unwrap();
    // W of the description is [hidden, visible]; here it is transposed.
    parameters.set(&layers.weights, &[0.0, 0.0, 0.0, 0.0, 0.5, 0.2, -0.3, 0.7]).unwrap();
    parameters.set(&layers.hidden_bias, &[0.0, 0.0, 0.0, 0.3]).unwrap();
    parameters.set(&layers.visible_bias, &[0.1, -0.2]).unwrap();
    (layers, parameters)
}

const ENERGIES: [f64; 4] = [-1.547502, -1.667617, -2.048154, -2.161421];
/// 00, 01, 10 and 11.
const BITS: [f32; 8] = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];

#[test]
fn rules_are_those_of_the_fixture() -> Result<()> {
    let losses = |rule: Rule, times: usize| -> Result<Vec<f32>> {
        let framework = BoltzmannMachine::new(2).rule(rule);
        let (layers, parameters) = fixture(&framework);
        let (tape, rows) = (Tape::new(gpu()), head_rows(&BITS.repeat(times), &vec![1; 4 * times], 2));
        Ok(framework.assignment_losses(&layers, &tape, &parameters, &rows, Key::new(4))?.read()?)
    };
    close(&losses(Rule::FreeEnergy, 1)?, &ENERGIES, 1e-6);
    let total: f64 = ENERGIES.iter().map(|energy| (-energy).exp()).sum();
    assert!((total - 26.436287).abs() < 1e-5);
    for (energy, share) in ENERGIES.iter().zip([0.177775, 0.200464, 0.293293, 0.328468]) {
        assert!(((-energy).exp() / total - share).abs() < 1e-6);
    }
    let softplus = |x: f64| x.exp().ln_1p();
    let pseudo = [0, 1, 2, 3]
        .map(|row: usize| -> f64 { [1, 2].iter().map(|flip| softplus(ENERGIES[row] - ENERGIES[row ^ flip])).sum() });
    close(&losses(Rule::PseudoLikelihood, 1)?, &pseudo, 1e-6);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    // The expected energy of a row after one step of Gibbs sampling, over the four pairs of hidden bits.
    let expected = |row: usize| {
        let v = [(row / 2) as f64, (row % 2) as f64];
        let h = [sigmoid(0.5 * v[0] - 0.3 * v[1]), sigmoid(0.3 + 0.2 * v[0] + 0.7 * v[1])];
        let share = |p: f64, bit: usize| if bit == 1 { p } else { 1.0 - p };
        let of_hidden = |bits: usize| -> f64 {
            let [a, b] = [(bits / 2) as f64, (bits % 2) as f64];
            let v = [sigmoid(0.1 + 0.5 * a + 0.2 * b), sigmoid(-0.2 - 0.3 * a + 0.7 * b)];
            (0..4).map(|to| share(v[0], to / 2) * share(v[1], to % 2) * ENERGIES[to]).sum()
        };
        (0..4).map(|bits| share(h[0], bits / 2) * share(h[1], bits % 2) * of_hidden(bits)).sum::<f64>()
    };
    let differences = losses(Rule::FreeEnergyDifference, 2000)?;
    for row in 0..4 {
        let mean = differences.iter().skip(row).step_by(4).map(|&x| f64::from(x)).sum::<f64>() / 2000.0;
        // Energies deviate by less than 0.31, and the mean is over 16,000 of them.
        assert!((ENERGIES[row] - expected(row) - mean).abs() < 4.0 * 0.31 / 16_000f64.sqrt(), "{row}: {mean}");
    }
    let reconstruction = [0, 1, 2, 3].map(|row: usize| {
        let v = [(row / 2) as f64, (row % 2) as f64];
        let h = [sigmoid(0.5 * v[0] - 0.3 * v[1]), sigmoid(0.3 + 0.2 * v[0] + 0.7 * v[1])];
        let logits = [0.1 + 0.5 * h[0] + 0.2 * h[1], -0.2 - 0.3 * h[0] + 0.7 * h[1]];
        (0..2).map(|bit| softplus(logits[bit]) - v[bit] * logits[bit]).sum::<f64>()
    });
    close(&losses(Rule::Reconstruction, 1)?, &reconstruction, 1e-6);
    Ok(())
}

/// `dF/dW = -v σ(c + W v)ᵀ`, `dF/dc = -σ(c + W v)`, `dF/db = -v`, of rows less those of what Gibbs sampling made of them.
#[test]
fn gradients_are_those_of_contrastive_divergence() -> Result<()> {
    let framework = BoltzmannMachine::new(2).steps(3);
    let (layers, parameters) = fixture(&framework);
    let rows = head_rows(&BITS, &[1; 4], 2);
    let (tape, key) = (Tape::new(gpu()), Key::new(8));
    let loss = framework.losses(&layers, &tape, &parameters, &rows, Some(key))?.mean()?;
    let gradients = tape.backward(&loss)?;
    // The gradient of b tells the sum of the sampled bits; the loss their energies.
    let by_visible = gradients.param(&layers.visible_bias).unwrap().read()?;
    let sums = by_visible.iter().map(|&g| (f64::from(g) * 4.0 + 2.0).round()).collect::<Vec<_>>();
    close(&by_visible, &sums.iter().map(|sum| (sum - 2.0) / 4.0).collect::<Vec<_>>(), 1e-6);
    let (weights, biases) =
        (gradients.param(&layers.weights).unwrap().read()?, gradients.param(&layers.hidden_bias).unwrap().read()?);
    // Nothing of the head without rows.
    close(&weights[..4], &[0.0; 4], 0.0);
    close(&biases[..2], &[0.0; 2], 0.0);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let hidden = |row: usize| {
        let v = [(row / 2) as f64, (row % 2) as f64];
        [sigmoid(0.5 * v[0] - 0.3 * v[1]), sigmoid(0.3 + 0.2 * v[0] + 0.7 * v[1])]
    };
    // Which four rows were sampled: those whose gradients these are.
    let expected = |sampled: [usize; 4]| {
        let (mut w, mut c) = ([0.0; 4], [0.0; 2]);
        for (row, sign) in (0..4).map(|row| (row, -0.25)).chain(sampled.map(|row| (row, 0.25))) {
            for (unit, h) in hidden(row).into_iter().enumerate() {
                c[unit] += sign * h;
                [(row / 2) as f64, (row % 2) as f64]
                    .iter()
                    .enumerate()
                    .for_each(|(bit, v)| w[2 * bit + unit] += sign * v * h);
            }
        }
        [w.to_vec(), c.to_vec()].concat()
    };
    let found: Vec<f64> = weights[4..].iter().chain(&biases[2..]).map(|&g| f64::from(g)).collect();
    let fits = (0..256usize).filter(|code| {
        let sampled = [code % 4, code / 4 % 4, code / 16 % 4, code / 64];
        expected(sampled).iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-6)
    });
    assert!(fits.count() > 0, "{found:?}");
    Ok(())
}

/// A long chain visits rows with the machine's probabilities, whatever it starts from.
#[test]
fn gibbs_sampling_has_the_law_of_the_machine() -> Result<()> {
    let framework = BoltzmannMachine::new(2).steps(30);
    let (layers, parameters) = fixture(&framework);
    let chains = 20_000;
    let rows = head_rows(&vec![0.0; 2 * chains], &vec![1; chains], 2);
    let tape = Tape::new(gpu());
    let losses = framework.losses(&layers, &tape, &parameters, &rows, Some(Key::new(2)))?.read()?;
    for (energy, share) in ENERGIES.iter().zip([0.177775f64, 0.200464, 0.293293, 0.328468]) {
        let visits = losses.iter().filter(|&&loss| (ENERGIES[0] - energy - f64::from(loss)).abs() < 1e-4).count();
        let deviation = (share * (1.0 - share) / chains as f64).sqrt();
        assert!((visits as f64 / chains as f64 - share).abs() < 4.0 * deviation, "{visits} of {chains}: {share}");
    }
    Ok(())
}

#[test]
fn pairs_have_no_clusters_for_k_means_and_are_bits() {
    let data = pairs(3);
    let fitted = crate::clustering::kmeans::KMeans::params(2).check().unwrap();
    let labels = fitted.fit_points(gpu(), &tensor(&data), Key::new(0)).unwrap().labels().to_vec();
    assert!(rand_index(&data, &labels) < 0.02);
    let machine = || ClusterSpecific::params(2, BoltzmannMachine::new(6)).check().unwrap();
    says(machine().fit(gpu(), &set(LineClusters::ParallelLine), Key::new(0)), &["data:", "parallel_line", "0 or 1"]);
    says(ClusterSpecific::params(2, BoltzmannMachine::new(0)).check(), &["hidden:"]);
    says(ClusterSpecific::params(2, BoltzmannMachine::new(1).steps(0)).check(), &["steps:"]);
    says(ClusterSpecific::params(2, BoltzmannMachine::new(1).deviation(0.0)).check(), &["deviation:"]);
}

/// Free energies of two fits do not compare: what does is the pseudo-likelihood, whatever rows choose by.
#[test]
fn fits_are_compared_by_the_pseudo_likelihood() {
    let data = pairs(0).take_rows(100).unwrap();
    let objective = |rule: Rule| {
        let machine = BoltzmannMachine::new(3).deviation(0.3).rule(rule);
        let params = ClusterSpecific::params(1, machine).epochs(2).batch(50).learning_rate(0.01);
        params.check().unwrap().fit(gpu(), &data, Key::new(0)).unwrap().objective()
    };
    let expected = objective(Rule::PseudoLikelihood);
    for rule in [Rule::FreeEnergy, Rule::FreeEnergyDifference] {
        assert!((objective(rule) / expected - 1.0).abs() < 1e-6, "{rule:?}");
    }
    assert!((objective(Rule::Reconstruction) / expected - 1.0).abs() > 1e-3);
}

/// Fact 6 with one seed and rule; `cargo xtask verify` is for all.
#[test]
fn half_noised_labels_are_cleaned() {
    let data = pairs(0);
    let noised: Vec<u32> = data
        .labels()
        .unwrap()
        .ids()
        .iter()
        .zip(Key::new(1).split_forever())
        .map(|(&label, key)| if key.bits() % 2 == 0 { (key.bits() / 2 % 2) as u32 } else { label })
        .collect();
    assert!(rand_index(&data, &noised) < 0.3);
    let params = ClusterSpecific::params(2, BoltzmannMachine::new(6).deviation(0.1))
        .batch(50)
        .epochs(80)
        .hold(20)
        .learning_rate(0.03);
    let fitted = params.check().unwrap().fit_from(gpu(), &data, &noised, Key::new(2), &mut Session::default()).unwrap();
    let index = rand_index(&data, fitted.labels());
    assert!(index >= 0.99, "{index}");
    let (errors, codes) = (fitted.denoising_error(&data, &data).unwrap(), fitted.encode(&data).unwrap().code);
    assert!(errors < 0.2 && codes.iter().all(|p| (0.0..=1.0).contains(p)), "{errors}");
    let made = fitted.reconstruct(&data).unwrap();
    assert!(made.iter().all(|p| (0.0..=1.0).contains(p)));
}
