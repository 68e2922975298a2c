//! The mixture against expectation and maximisation in `f64`, against scikit-learn on real data, and in the corners.

use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};

use super::{Components, Covariance, FittedGaussianMixture, GaussianMixture};
use crate::clustering::kmeans::KMeans;
use crate::clustering::kmeans::rows::Rows;
use crate::clustering::kmeans::tests::{blobs, gpus, table, tensor, uniform};
use crate::data::{Dataset, digits, iris};

const KEY: Key = Key::new(5);

/// Log densities of tens of nats carry an error of 10⁻⁵ in single precision, and so do the shares made of them.
#[track_caller]
fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} is not {b} within {tolerance}");
}

/// As [`close`], relative to `b` however small.
#[track_caller]
fn near(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * b.abs(), "{a} is not {b} within {tolerance}");
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn fit(params: super::Params, gpu: &Gpu, data: &Tensor) -> FittedGaussianMixture {
    params.check().unwrap().fit_points(gpu, data, KEY).unwrap()
}

struct Reference {
    weights: Vec<f64>,
    means: Vec<f64>,
    variances: Vec<f64>,
}

impl Reference {
    /// The textbook's maximisation: weighted means, then weighted squares around them.
    fn maximise(data: &[f64], shares: &[f64], k: usize, regularization: f64) -> Self {
        let rows = shares.len() / k;
        let cols = data.len() / rows;
        let counts: Vec<f64> = (0..k).map(|c| (0..rows).map(|row| shares[row * k + c]).sum()).collect();
        let average = |c: usize, f: &dyn Fn(usize) -> f64| {
            (0..rows).map(|row| shares[row * k + c] * f(row)).sum::<f64>() / counts[c]
        };
        let cells = || (0..k * cols).map(|at| (at / cols, at % cols));
        let means: Vec<f64> = cells().map(|(c, j)| average(c, &|row| data[row * cols + j])).collect();
        let square = |c: usize, j: usize, row: usize| (data[row * cols + j] - means[c * cols + j]).powi(2);
        let variances = cells().map(|(c, j)| average(c, &|row| square(c, j, row)) + regularization).collect();
        Self { weights: counts.iter().map(|count| count / rows as f64).collect(), variances, means }
    }

    /// The shares and the mean log-likelihood.
    fn expect(&self, data: &[f64]) -> (Vec<f64>, f64) {
        let k = self.weights.len();
        let cols = self.means.len() / k;
        let (mut shares, mut total) = (Vec::new(), 0.0);
        for row in data.chunks(cols) {
            let joint: Vec<f64> = (0..k)
                .map(|c| {
                    let term = |j: usize| {
                        let variance = self.variances[c * cols + j];
                        let square = (row[j] - self.means[c * cols + j]).powi(2);
                        (2.0 * std::f64::consts::PI * variance).ln() + square / variance
                    };
                    self.weights[c].ln() - 0.5 * (0..cols).map(term).sum::<f64>()
                })
                .collect();
            let largest = joint.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = joint.iter().map(|x| (x - largest).exp()).sum();
            shares.extend(joint.iter().map(|x| (x - largest).exp() / sum));
            total += largest + sum.ln();
        }
        (shares, total / (data.len() / cols) as f64)
    }

    /// So many steps from one component for each label, and the log-likelihood after them.
    fn fit(data: &[f64], labels: &[u32], k: usize, regularization: f64, steps: usize) -> (Self, f64) {
        let one_hot: Vec<f64> =
            labels.iter().flat_map(|&label| (0..k).map(move |c| f64::from(u8::from(c == label as usize)))).collect();
        let mut reference = Self::maximise(data, &one_hot, k, regularization);
        for _ in 0..steps {
            let shares = reference.expect(data).0;
            reference = Self::maximise(data, &shares, k, regularization);
        }
        let log_likelihood = reference.expect(data).1;
        (reference, log_likelihood)
    }
}

#[test]
fn agrees_with_f64_from_the_same_clusters() {
    for gpu in gpus() {
        for (rows, cols, k, spread) in [(100, 1, 2, 0.6), (300, 4, 5, 1.0), (600, 9, 3, 1.5)] {
            let values = blobs(rows, cols, k, spread, rows as u64);
            let data = gpu.tensor(&values, [rows, cols]).unwrap();
            let clusters = KMeans::params(k).starts(2).check().unwrap().fit_points(gpu, &data, KEY).unwrap();
            for steps in [1, 8] {
                let params = GaussianMixture::params(k).starts(2).tolerance(0.0).max_iterations(steps);
                let fitted = fit(params.regularization(1e-3), gpu, &data);
                assert_eq!(fitted.iterations(), steps);
                let (reference, score) = Reference::fit(&wide(&values), clusters.labels(), k, 1e-3, steps);
                let pairs = [
                    (fitted.weights().to_vec(), &reference.weights),
                    (wide(&fitted.means().read().unwrap()), &reference.means),
                    (fitted.components.spread.clone(), &reference.variances),
                ];
                for (ours, expected) in pairs {
                    ours.iter().zip(expected).for_each(|(&a, &b)| close(a, b, 2e-5));
                }
                close(fitted.log_likelihood(), score, 2e-5);
                let rows_of = table(&values, cols);
                close(fitted.score(&rows_of).unwrap(), score, 2e-5);
                let ours = fitted.predict_proba(&rows_of).unwrap();
                assert_eq!(ours.dim(), (rows, k));
                let shares = reference.expect(&wide(&values)).0;
                ours.iter().zip(&shares).for_each(|(&a, &b)| close(a.into(), b, 3e-4));
            }
        }
    }
}

#[test]
fn narrow_components_far_apart() {
    // Deviations of 10⁻³ around centres at distances of 1, all of it at 300: E[x²] - E[x]² would be noise.
    let values: Vec<f32> = blobs(400, 3, 4, 4e-3, 1).iter().map(|x| x + 300.0).collect();
    for gpu in gpus() {
        let data = gpu.tensor(&values, [400, 3]).unwrap();
        let fitted = fit(GaussianMixture::params(4).starts(3).regularization(1e-10), gpu, &data);
        let (reference, score) = Reference::fit(&wide(&values), fitted.labels(), 4, 1e-10, 2);
        fitted.components.spread.iter().zip(&reference.variances).for_each(|(&a, &b)| near(a, b, 1e-3));
        close(fitted.log_likelihood(), score, 1e-3);
    }
}

#[test]
fn iris_as_in_scikit_learn() {
    for gpu in gpus() {
        let fitted = fit(GaussianMixture::params(3).starts(5), gpu, &tensor(gpu, &iris()));
        close(fitted.log_likelihood(), -2.047_855_6, 1e-4);
        let mut sizes = fitted.group_sizes();
        sizes.sort_unstable();
        assert_eq!((sizes, fitted.iterations()), (vec![36, 50, 64], 4));
        let mut weights = fitted.weights().to_vec();
        weights.sort_unstable_by(f64::total_cmp);
        [0.251_888_4, 1.0 / 3.0, 0.414_778_3].iter().zip(&weights).for_each(|(&a, &b)| close(b, a, 1e-4));
    }
}

#[test]
fn digits_near_scikit_learn() {
    let gpu = &gpus()[0];
    let method = GaussianMixture::params(10).starts(3).regularization(1e-2).check().unwrap();
    let fitted = method.fit(gpu, &digits(), KEY).unwrap();
    // 20 fits of scikit-learn 1.9.1 end between 29.73 and 30.62, half of them below 30.38.
    assert!(fitted.log_likelihood() > 30.3 && fitted.log_likelihood() < 30.7, "{}", fitted.log_likelihood());
    assert!(fitted.converged());
    assert_eq!(fitted.predict(&digits()).unwrap(), fitted.labels());
}

#[test]
fn every_step_raises_the_likelihood() {
    let gpu = &gpus()[0];
    let data = gpu.tensor(&uniform(500 * 3, 3), [500, 3]).unwrap();
    let rows = Rows::centred(gpu, &data).unwrap();
    let clusters = KMeans::params(4).starts(1).check().unwrap().fit_points(gpu, &data, KEY).unwrap();
    for kind in [Covariance::Diagonal, Covariance::Full] {
        let mut components = Components::of_clusters(gpu, &rows, &clusters, kind, 1e-6).unwrap();
        let mut before = f64::NEG_INFINITY;
        for _ in 0..30 {
            let (new, log_likelihood) = components.step(gpu, &rows, 1e-6).unwrap();
            assert!(log_likelihood > before - 1e-6, "{log_likelihood} after {before}");
            (components, before) = (new, log_likelihood);
        }
    }
}

#[test]
fn blocks_of_rows_add_up() {
    for gpu in gpus() {
        let data = gpu.tensor(&blobs(333, 5, 3, 1.0, 2), [333, 5]).unwrap();
        let clusters = KMeans::params(3).starts(1).check().unwrap().fit_points(gpu, &data, KEY).unwrap();
        for kind in [Covariance::Diagonal, Covariance::Full] {
            let step = |budget: usize| {
                let rows = Rows::centred(gpu, &data).unwrap().with_budget(budget);
                let components = Components::of_clusters(gpu, &rows, &clusters, kind, 1e-6).unwrap();
                components.step(gpu, &rows, 1e-6).unwrap()
            };
            let ((whole, score), (split, split_score)) = (step(1 << 20), step(5 * 128));
            close(split_score, score, 1e-6);
            whole.spread.iter().zip(&split.spread).for_each(|(&a, &b)| close(a, b, 1e-6));
            whole.means.iter().zip(&split.means).for_each(|(&a, &b)| close(a, b, 1e-6));
        }
    }
}

#[test]
fn corners() {
    for gpu in gpus() {
        let data = gpu.tensor(&[1.0, 10.0, 2.0, 20.0, 6.0, 60.0], [3, 2]).unwrap();
        let one = fit(GaussianMixture::params(1), gpu, &data);
        assert_eq!(one.weights(), [1.0]);
        let (means, variances) = (one.means().read().unwrap(), &one.components.spread);
        [(means[0].into(), 3.0), (means[1].into(), 30.0), (variances[0], 14.0 / 3.0), (variances[1], 1400.0 / 3.0)]
            .iter()
            .for_each(|&(a, b)| near(a, b, 1e-5));

        // A component for each row is as narrow as the regularization lets it be.
        let all = fit(GaussianMixture::params(3).regularization(1e-4), gpu, &data);
        assert_eq!(all.group_sizes(), [1; 3]);
        all.components.spread.iter().for_each(|&variance| near(variance, 1e-4, 1e-2));

        // Fewer distinct rows than components: the mixture stays a mixture.
        let same = fit(GaussianMixture::params(2), gpu, &gpu.tensor(&[0.3; 12], [6, 2]).unwrap());
        close(same.weights().iter().sum(), 1.0, 1e-12);
        assert!(same.log_likelihood().is_finite());
        same.means().read().unwrap().iter().for_each(|&mean| near(mean.into(), 0.3, 1e-6));
    }
}

#[test]
fn the_same_key_gives_the_same_bits() {
    let values = blobs(300, 6, 5, 1.0, 9);
    let shared = &gpus()[0];
    let other = Gpu::new(GpuConfig { plan: Some(shared.plan()), ..GpuConfig::default() }).unwrap();
    let fits = [shared, shared, &other].map(|gpu| {
        let fitted = fit(GaussianMixture::params(5).starts(2), gpu, &gpu.tensor(&values, [300, 6]).unwrap());
        let bits = |values: &Tensor| -> Vec<u32> { values.read().unwrap().into_iter().map(f32::to_bits).collect() };
        (
            bits(fitted.means()),
            fitted.components.spread.clone(),
            fitted.log_likelihood().to_bits(),
            fitted.labels().to_vec(),
        )
    });
    assert_eq!(fits[0], fits[1]);
    assert_eq!(fits[0], fits[2]);
}

#[test]
fn mistakes_are_named() {
    let gpu = &gpus()[0];
    let refused = |params: super::Params| params.check().unwrap_err().to_string();
    assert_eq!(refused(GaussianMixture::params(0)), "k: must be at least 1");
    assert_eq!(refused(GaussianMixture::params(2).starts(0)), "starts: must be at least 1");
    assert_eq!(refused(GaussianMixture::params(2).max_iterations(0)), "max_iterations: must be at least 1");
    assert!(refused(GaussianMixture::params(2).tolerance(f64::INFINITY)).starts_with("tolerance: "));
    let zero = refused(GaussianMixture::params(2).regularization(0.0));
    assert_eq!(zero, "regularization: must be between 1e-30 and 1e30, not 0");

    let method = |k| GaussianMixture::params(k).starts(1).check().unwrap();
    let failure = |k, data: &Tensor| method(k).fit_points(gpu, data, KEY).unwrap_err().to_string();
    let with = |value: f32| gpu.tensor(&[0.0, 1.0, 2.0, 3.0, 4.0, value], [3, 2]).unwrap();
    assert_eq!(failure(4, &with(5.0)), "k: 4 clusters for 3 rows");
    assert_eq!(failure(2, &with(f32::NAN)), "data: row 2 holds NaN");
    let fitted = method(1).fit_points(gpu, &with(5.0), KEY).unwrap();
    assert!(fitted.predict(&table(&[0.0; 6], 3)).unwrap_err().to_string().starts_with("data: has 3 columns"));
    let far = table(&[0.0, 1.0, 2.0, 1e16], 2);
    assert!(fitted.score(&far).is_err() && fitted.predict_proba(&far).is_err() && fitted.transform(&far).is_err());
}

fn full(k: usize) -> super::Params {
    GaussianMixture::params(k).covariance(Covariance::Full)
}

#[test]
fn full_covariances_of_iris_as_in_scikit_learn() {
    // sklearn 1.9.1: GaussianMixture(3, tol=0, reg_covar=1e-6) from the clusters of the best k-means, 1 and 40 steps, on the
    // raw columns as f32; components in the order of their first mean, covariances by their lower halves.
    let weights = [0.333_333_33, 0.299_195_09, 0.367_471_57];
    let means = [
        [5.006, 3.428, 1.462, 0.246],
        [5.914_971_98, 2.777_843_67, 4.201_556_75, 1.296_968_39],
        [6.544_549_95, 2.948_662_02, 5.479_557_17, 1.984_607_25],
    ];
    let covariances = [
        [0.121765, 0.097232, 0.140817, 0.016028, 0.011464, 0.029557, 0.010124, 0.009112, 0.005948, 0.010885],
        [0.27532, 0.0969412, 0.092647, 0.1846633, 0.0911431, 0.2006329, 0.0543913, 0.0429974, 0.0609793, 0.0319984],
        [0.3870461, 0.0922078, 0.1103387, 0.3028117, 0.084287, 0.3277966, 0.0616505, 0.0560111, 0.0745285, 0.0857979],
    ];
    for gpu in gpus() {
        let data = tensor(gpu, &iris());
        let once = fit(full(3).starts(5).tolerance(0.0).max_iterations(1), gpu, &data);
        close(once.log_likelihood(), -1.278_913_458_65, 1e-4);
        let fitted = fit(full(3).starts(5).tolerance(0.0).max_iterations(40), gpu, &data);
        close(fitted.log_likelihood(), -1.201_236_505_17, 1e-4);
        let found = fitted.means().read().unwrap();
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| found[a * 4].total_cmp(&found[b * 4]));
        let spread = fitted.covariances();
        for (place, &c) in order.iter().enumerate() {
            close(fitted.weights()[c], weights[place], 1e-4);
            (0..4).for_each(|j| close(found[c * 4 + j].into(), means[place][j], 1e-4));
            let mut lower = covariances[place].iter();
            for i in 0..4 {
                (0..=i).for_each(|j| close(spread[[c, i, j]], *lower.next().unwrap(), 1e-4));
            }
        }
        let shares = fitted.predict_proba(&raw(&iris())).unwrap();
        for (row, expected) in [(50, [0.999713, 0.000287]), (70, [0.052703, 0.947297]), (133, [0.21561, 0.78439])] {
            (0..2).for_each(|place| close(shares[[row, order[place + 1]]].into(), expected[place], 2e-3));
        }
    }
}

/// The values of a set as a table without the fit's scaling, which [`fit`] does not know.
fn raw(set: &Dataset) -> Dataset {
    table(set.values(), set.cols())
}

#[test]
fn one_full_component_is_the_sample_covariance() {
    let values = blobs(257, 3, 2, 1.0, 4);
    let (rows, cols) = (257.0, 3);
    let mean = |j: usize| values.chunks(cols).map(|row| f64::from(row[j])).sum::<f64>() / rows;
    let means = [mean(0), mean(1), mean(2)];
    for gpu in gpus() {
        let fitted = fit(full(1), gpu, &gpu.tensor(&values, [257, 3]).unwrap());
        let covariance = fitted.covariances();
        for (i, j) in (0..cols).flat_map(|i| (0..cols).map(move |j| (i, j))) {
            let product = |row: &[f32]| (f64::from(row[i]) - means[i]) * (f64::from(row[j]) - means[j]);
            let expected = values.chunks(cols).map(product).sum::<f64>() / rows + if i == j { 1e-6 } else { 0.0 };
            close(covariance[[0, i, j]], expected, 1e-6);
        }
        assert_eq!(fitted.group_sizes(), [257]);
    }
}

#[test]
fn full_covariances_of_degenerate_data() {
    for gpu in gpus() {
        // The second column repeats the first, the third is constant, and there are as many components as rows.
        let values: Vec<f32> = uniform(40, 2).iter().flat_map(|&x| [x, x, 0.7]).collect();
        let data = gpu.tensor(&values, [40, 3]).unwrap();
        for k in [1, 2, 40] {
            let fitted = fit(full(k).starts(1), gpu, &data);
            assert!(fitted.log_likelihood().is_finite());
            assert!(fitted.covariances().iter().all(|value| value.is_finite()));
            close(fitted.weights().iter().sum(), 1.0, 1e-12);
        }
        let same = fit(full(2), gpu, &gpu.tensor(&[0.3; 12], [6, 2]).unwrap());
        close(same.covariances()[[0, 0, 0]], 1e-6, 1e-9);
        // Long thin groups that only full covariances tell apart.
        let noise = uniform(200, 6);
        let line = |row: usize| {
            let (along, across) = (row as f32 / 50.0 - 2.0, 0.1 * (noise[row] - 0.5) + 0.4 * (row % 2) as f32);
            [along + across, along - across]
        };
        let lines: Vec<f32> = (0..200).flat_map(line).collect();
        let fitted =
            fit(full(2).starts(20).max_iterations(300).tolerance(1e-6), gpu, &gpu.tensor(&lines, [200, 2]).unwrap());
        let mistakes = fitted.labels().iter().enumerate().filter(|&(row, &label)| label != (row % 2) as u32).count();
        println!("{mistakes} of 200 rows of two lines in the other group");
    }
}

#[test]
fn a_loaded_model_predicts_the_same_bits() {
    let gpu = &gpus()[0];
    let rows = blobs(300, 4, 3, 0.6, 2);
    let (seen, unseen) = (table(&rows[..200 * 4], 4), table(&rows[200 * 4..], 4));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let bits = |values: ndarray::Array2<f32>| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for params in [GaussianMixture::params(3).starts(2), full(3).starts(2)] {
        let fitted = params.check().unwrap().fit(gpu, &seen, KEY).unwrap();
        fitted.save(&path).unwrap();
        let loaded = FittedGaussianMixture::load(gpu, &path).unwrap();
        assert_eq!((loaded.labels(), loaded.weights()), (fitted.labels(), fitted.weights()));
        assert_eq!(loaded.predict(&unseen).unwrap(), fitted.predict(&unseen).unwrap());
        assert_eq!(bits(loaded.predict_proba(&unseen).unwrap()), bits(fitted.predict_proba(&unseen).unwrap()));
        assert_eq!(bits(loaded.transform(&unseen).unwrap()), bits(fitted.transform(&unseen).unwrap()));
        assert_eq!(loaded.covariances(), fitted.covariances());
    }
}
