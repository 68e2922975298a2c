//! Tests of the divergences, of the losses and their gradients, and that codes are learned.

use std::sync::OnceLock;

use ndarray::Array2;
use softurn_autodiff::{Parameters, Tape};
use softurn_kernels::ops::{Noise, random, top_k};
use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};

use super::divergence::Divergences;
use super::loss::Training;
use super::network::{Network, Settings};
use super::{ChoiceDivergence, Code, CountPrior, DecoderKind, FittedSparse, Likelihood, Sparse, SparseParams, Trainer};
use crate::Result;
use crate::data::Dataset;
use crate::metrics::dictionary_scores;
use crate::train::{Batch, Objective, Session};

const TRAINERS: [Trainer; 3] = [Trainer::Marginal, Trainer::StraightThrough, Trainer::Relaxed];

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap_or_else(|e| panic!("{e}")))
}

fn says<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{message}: {words:?}");
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= tolerance, "{found} is not {expected}");
    }
}

/// The fixtures of the method's description (section 9.1), and gradients of `KL_z`: the same formulas in torch, f64:
///
/// ```python
/// P = q.flip(0).cumsum(0).flip(0); left = [0, 1, 2, 3, 4]; s = 0
/// for l, o in enumerate((0, 1, 3)):
///     w = alpha[left].log_softmax(0); s = s + P[l] * ((w.exp() * w).sum() + math.log(5 - l)); left.remove(o)
/// ```
#[test]
fn divergences_are_the_fixtures() -> Result<()> {
    let gpu = gpu();
    let prior: Vec<f64> = [0.6f64, 0.3, 0.1].map(f64::ln).to_vec();
    let divergences = Divergences::new(gpu, 5, &prior)?;
    let tape = Tape::new(gpu);
    let counts = tape.leaf(&gpu.tensor(&[0.2f32, 0.5, -0.3], [1, 3])?)?;
    let elements = tape.leaf(&gpu.tensor(&[1.0f32, 0.0, -1.0, 0.5, 0.2], [1, 5])?)?;
    let law = divergences.law(&tape, &counts)?;
    close(&law.shares.read()?, &[0.338250, 0.456590, 0.205159], 1e-6);
    close(&law.at_least.read()?, &[1.0, 0.66175, 0.205159], 1e-6);
    let of_counts = divergences.of_counts(&law)?;
    close(&of_counts.read()?, &[0.145335], 1e-6);
    let gradients = tape.backward(&of_counts.sum()?)?;
    close(&gradients.of(&counts).unwrap().read()?, &[-0.243025, 0.125411, 0.117614], 1e-6);

    let tape = Tape::new(gpu);
    let counts = tape.leaf(counts.value())?;
    let elements = tape.leaf(elements.value())?;
    let law = divergences.law(&tape, &counts)?;
    close(&divergences.of_choice_with_replacement(&elements, &law)?.read()?, &[0.301126], 1e-6);
    let uniform = Divergences::new(gpu, 5, &[-(3f64.ln()); 3])?;
    close(&divergences.of_counts_from_uniform(&law)?.read()?, &uniform.of_counts(&law)?.read()?.map_f64(), 1e-6);
    let order = gpu.tensor(&[0u32, 1, 3], [1, 3])?;
    let masks = gpu.tensor(&[1.0f32, 0., 0., 0., 0., 1., 1., 0., 0., 0., 1., 1., 0., 1., 0.], [3, 5])?;
    let rows = gpu.tensor(&[0u32; 3], [3])?;
    let of_choice = divergences.of_choice(&elements, &order, &masks, &rows, &law)?;
    close(&of_choice.read()?, &[0.261208], 1e-6);
    let gradients = tape.backward(&of_choice.sum()?)?;
    close(&gradients.of(&counts).unwrap().read()?, &[-0.03379497, 0.00348965, 0.03030532], 1e-6);
    close(
        &gradients.of(&elements).unwrap().read()?,
        &[0.19870301, -0.09647525, -0.17417203, 0.11778987, -0.0458456],
        1e-6,
    );
    Ok(())
}

trait MapF64 {
    fn map_f64(self) -> Vec<f64>;
}

impl MapF64 for Vec<f32> {
    fn map_f64(self) -> Vec<f64> {
        self.into_iter().map(f64::from).collect()
    }
}

/// `KL_z` in f64, as it is written.
fn choice(elements: &[f64], order: &[usize], at_least: &[f64]) -> f64 {
    let mut left: Vec<usize> = (0..elements.len()).collect();
    let mut sum = 0.0;
    for (&o, share) in order.iter().zip(at_least) {
        let largest = left.iter().map(|&k| elements[k]).fold(f64::MIN, f64::max);
        let total = left.iter().map(|&k| (elements[k] - largest).exp()).sum::<f64>();
        let entropy = |&k: &usize| {
            let log = elements[k] - largest - total.ln();
            log.exp() * log
        };
        sum += share * (left.iter().map(entropy).sum::<f64>() + (left.len() as f64).ln());
        left.retain(|&k| k != o);
    }
    sum
}

/// Also where one element has all the mass and the others are 200 nats below, and where all are taken.
#[test]
fn the_divergence_of_choices_is_stable() -> Result<()> {
    let gpu = gpu();
    for (spread, bound) in [(1.0f32, 6), (20.0, 3), (200.0, 6), (1000.0, 4)] {
        let (rows, size) = (7, 6);
        let divergences = Divergences::new(gpu, size, &vec![-(bound as f64).ln(); bound])?;
        let values: Vec<f32> = random::normal(gpu, [rows, size], Key::new(5))?.read()?;
        let values: Vec<f32> = values.iter().map(|value| (value * spread * 4.0).round() / 4.0).collect();
        let tape = Tape::new(gpu);
        let elements = tape.leaf(&gpu.tensor(&values, [rows, size])?)?;
        let counts = tape.leaf(&random::normal(gpu, [rows, bound], Key::new(6))?)?;
        let law = divergences.law(&tape, &counts)?;
        let key = Key::new(7);
        let order = top_k::forward(gpu, elements.value(), Noise::Key(key), bound)?.indices;
        let masks = elements.detach().nested_prefixes_straight_through(bound, 1.0, Some(key))?;
        let masks = masks.value().reshape([rows * bound, size])?;
        let of: Vec<u32> = (0..rows * bound).map(|i| (i / bound) as u32).collect();
        let found = divergences.of_choice(&elements, &order, &masks, &gpu.tensor(&of, [of.len()])?, &law)?;
        let (order, shares) = (order.read_u32()?, law.at_least.read()?.map_f64());
        let values = values.map_f64();
        for (row, found) in found.read()?.into_iter().enumerate() {
            let order: Vec<usize> = order[row * bound..][..bound].iter().map(|&o| o as usize).collect();
            let expected = choice(&values[row * size..][..size], &order, &shares[row * bound..][..bound]);
            assert!((f64::from(found) - expected).abs() < 1e-5 * (1.0 + expected), "{spread}: {found}, not {expected}");
        }
        let gradients = tape.backward(&found.sum()?)?;
        for gradient in [gradients.of(&elements), gradients.of(&counts)] {
            assert!(gradient.unwrap().read()?.iter().all(|g| g.is_finite()), "{spread}");
        }
    }
    Ok(())
}

/// Ten rows with columns that are sums of two of three patterns.
fn rows() -> Dataset {
    let features = Array2::from_shape_fn((10, 5), |(i, j)| ((i * 3 + j * (i % 3 + 1)) % 5) as f32 / 4.0);
    Dataset::table("rows", features).unwrap()
}

fn tiny(code: Code) -> SparseParams {
    Sparse::params(4, 2).code(code).hidden([3]).noise(0.5).batch(6).epochs(6).boost(2.0)
}

/// A model as a fit would begin with it, its biases moved away from 0.
fn untrained(params: SparseParams, data: &Dataset) -> Result<(Training, Parameters)> {
    let Sparse { params } = params.check()?;
    let mut parameters = Parameters::new(gpu());
    let settings = Settings { params, columns: data.cols() };
    let network = Network::new(settings, &mut parameters, Key::new(11))?;
    let all: Vec<_> = parameters.iter().cloned().collect();
    for (i, param) in all.iter().enumerate().filter(|(_, param)| param.name().ends_with("bias")) {
        let moved = random::uniform(gpu(), param.shape().clone(), Key::new(i as u64))?.read()?;
        let value: Vec<f32> = parameters.read(param)?.iter().zip(&moved).map(|(&v, &m)| v + 0.3 * m + 0.1).collect();
        parameters.set(param, &value)?;
    }
    Ok((Training::new(gpu(), network, data)?, parameters))
}

fn batch(done: f64) -> Result<Batch> {
    let rows: Vec<u32> = vec![0, 2, 3, 5, 8, 9];
    Ok(Batch { index: gpu().tensor(&rows, [6])?, rows, done })
}

/// Where the loss is smooth the tape's gradient is that of central differences, for every parameter: of the relaxed trainer for all, and of
/// exact sums for what does not go through a hard mask.
#[test]
fn gradients_are_those_of_central_differences() -> Result<()> {
    let data = rows();
    let geometric = |code| tiny(code).prior(CountPrior::Geometric(0.7));
    let cases = [
        (geometric(Code::Sparse).trainer(Trainer::Relaxed).choice(ChoiceDivergence::WithReplacement), ""),
        (geometric(Code::Sparse).trainer(Trainer::Relaxed).decoder(DecoderKind::Mlp), ""),
        (
            tiny(Code::Sparse).trainer(Trainer::Relaxed).magnitudes(true).choice(ChoiceDivergence::WithReplacement),
            "active",
        ),
        (geometric(Code::Sparse), "encoder.counts decoder"),
        (tiny(Code::Sparse).magnitudes(true), "decoder"),
        (tiny(Code::Sparse).trainer(Trainer::StraightThrough).likelihood(Likelihood::Bernoulli), "decoder"),
        (tiny(Code::TopL), "decoder"),
        (tiny(Code::TopL).magnitudes(true), ""),
        (tiny(Code::Dense).likelihood(Likelihood::Bernoulli), ""),
        (tiny(Code::L1), ""),
    ];
    for (params, only) in cases {
        let what = format!("{params:?}");
        let (training, mut parameters) = untrained(params, &data)?;
        // In the ramp.
        let batch = batch(0.2)?;
        let loss = |parameters: &Parameters| -> Result<f64> {
            let tape = Tape::new(gpu());
            Ok(f64::from(training.losses(0, &tape, parameters, &batch, Key::new(1))?[0].1.item()?))
        };
        let tape = Tape::new(gpu());
        let losses = training.losses(0, &tape, &parameters, &batch, Key::new(1))?;
        let gradients = tape.backward(&losses[0].1)?;
        let all: Vec<_> = parameters.iter().cloned().collect();
        let mut checked = 0;
        for param in all {
            let name = param.name();
            if only == "active" {
                // Magnitudes of active features: their divergence has no gradient through the choice.
                if !["decoder", "mean", "variance"].iter().any(|part| name.contains(part)) {
                    continue;
                }
            } else if !only.is_empty() && !only.split(' ').any(|part| name.starts_with(part)) {
                continue;
            }
            let gradient = gradients.param(&param).map_or(Ok(vec![0.0; param.shape().len()]), Tensor::read)?;
            let values = parameters.read(&param)?;
            // A few of each.
            for at in (0..values.len()).step_by(values.len().div_ceil(3)) {
                let mut moved = |step: f32| -> Result<f64> {
                    let mut values = values.clone();
                    values[at] += step;
                    parameters.set(&param, &values)?;
                    loss(&parameters)
                };
                let h = 1.0 / 256.0;
                let numeric = (moved(h)? - moved(-h)?) / f64::from(2.0 * h);
                moved(0.0)?;
                let found = f64::from(gradient[at]);
                let within = (found - numeric).abs() <= 2e-3 * (1.0 + numeric.abs());
                assert!(within, "{name}[{at}]: {found}, differences {numeric}; {what}");
                checked += 1;
            }
        }
        assert!(checked >= 3, "{checked} of {what}");
    }
    Ok(())
}

/// The mean of the losses of both counts, weighted by hand, is the loss of the sum over all counts.
#[test]
fn exact_sums_are_means_over_counts() -> Result<()> {
    let data = rows();
    let (training, parameters) = untrained(tiny(Code::Sparse), &data)?;
    let (tape, batch, key) = (Tape::new(gpu()), batch(1.0)?, Key::new(8));
    let losses = training.losses(0, &tape, &parameters, &batch, key)?;
    let named = |name: &str| losses.iter().find(|(found, _)| *found == name).unwrap().1.item();
    let x = gpu().tensor(
        &batch.rows.iter().flat_map(|&i| data.features().row(i as usize).to_vec()).collect::<Vec<_>>(),
        [6, 5],
    )?;
    let super::network::Heads::Sparse { counts, elements, .. } =
        training.network.encode(&tape, &parameters, &tape.constant(&x), true)?
    else {
        panic!("another code")
    };
    let q = counts.softmax(1.0)?.read()?;
    let order = top_k::forward(gpu(), elements.value(), Noise::Key(key.split::<2>()[0]), 2)?.indices.read_u32()?;
    let mut expected = 0.0;
    for count in 1..=2 {
        let mut code = vec![0.0f32; 24];
        order.iter().enumerate().filter(|(i, _)| i % 2 < count).for_each(|(i, &o)| code[i / 2 * 4 + o as usize] = 1.0);
        let code = tape.constant(&gpu().tensor(&code, [6, 4])?);
        let each = training.network.reconstruction(&tape, &parameters, &code, &x)?.read()?;
        expected += each.iter().enumerate().map(|(i, r)| r * q[2 * i + count - 1] / 6.0).sum::<f32>();
    }
    assert!((named("reconstruction")? - expected).abs() < 1e-5 * expected, "{losses:?}: {expected}");
    let sum = named("reconstruction")? + named("counts")? + named("choice")?;
    assert!((named("loss")? - sum).abs() < 1e-5 * sum);
    let mean = q.chunks(2).map(|q| q[0] + 2.0 * q[1]).sum::<f32>() / 6.0;
    assert!((named("active")? - mean).abs() < 1e-6);
    Ok(())
}

#[test]
fn schedules_follow_the_share_of_training() {
    let params = Sparse::params(12, 4).prior(CountPrior::Geometric(0.5));
    for (done, weight, boost, temperature) in [
        (0.0, 0.0, 10.0, 1.0),
        (1.0 / 6.0, 0.5, 5.0, 0.5f32.powf(1.0 / 2.1)),
        (0.34, 1.0, 0.0, 0.5f32.powf(0.34 / 0.35)),
    ] {
        assert!((params.weight(done) - weight).abs() < 1e-6);
        assert!((params.boost_at(done) - boost).abs() < 1e-6);
        assert!((params.temperature(done) - temperature).abs() < 1e-6);
    }
    assert_eq!((params.weight(1.0), params.boost_at(1.0), params.temperature(1.0)), (1.0, 0.0, 0.5));
    let prior: Vec<f64> = params.log_prior().iter().map(|log| log.exp()).collect();
    assert!(prior.iter().zip([8.0, 4.0, 2.0, 1.0]).all(|(p, share)| (p - share / 15.0).abs() < 1e-7), "{prior:?}");
    let always = params.ramp(0.0).temperatures(2.0, 0.25, 0.0);
    assert_eq!((always.weight(0.0), always.boost_at(0.0), always.temperature(0.0)), (1.0, 0.0, 0.25));
}

/// What a model says of rows, to the bit.
fn bits(fitted: &FittedSparse, data: &Dataset) -> Result<(super::Encoding, Array2<f32>)> {
    Ok((fitted.encode(data)?, fitted.reconstruct(data)?))
}

#[test]
fn fits_are_the_same_again_resumed_and_loaded() -> Result<()> {
    let (gpu, data) = (gpu(), rows());
    let folder = tempfile::tempdir().expect("folder");
    let [checkpoint, model] = ["checkpoint.safetensors", "model.safetensors"].map(|name| folder.path().join(name));
    let mut all: Vec<_> = TRAINERS.map(|trainer| tiny(Code::Sparse).trainer(trainer).magnitudes(true)).to_vec();
    all.extend([Code::TopL, Code::Dense, Code::L1].map(tiny));
    all.push(tiny(Code::TopL).magnitudes(true));
    all.push(tiny(Code::Sparse).decoder(DecoderKind::Mlp).likelihood(Likelihood::Bernoulli));
    for params in all {
        let (what, method) = (format!("{params:?}"), params.check()?);
        let fitted = method.fit(gpu, &data, Key::new(3))?;
        let found = bits(&fitted, &data)?;
        // Stopped after each epoch: the first one lies in the ramp, the others behind it.
        let stop = std::sync::atomic::AtomicBool::new(true);
        let mut resumed = None;
        for resume in 0..6 {
            let (checkpoint, stop) = (Some(checkpoint.clone()), Some(&stop));
            let mut session = Session { checkpoint, resume: resume > 0, stop, ..Session::default() };
            resumed = method.fit_with(gpu, &data, Key::new(3), &mut session).ok();
        }
        assert_eq!(bits(&resumed.expect("a fit"), &data)?, found, "{what}");
        fitted.save(&model)?;
        assert_eq!(bits(&FittedSparse::load(gpu, &model)?, &data)?, found, "{what}");
        assert_ne!(bits(&method.fit(gpu, &data, Key::new(4))?, &data)?.1, found.1, "{what}");

        let params = fitted.params();
        assert_eq!(
            fitted.dictionary()?.map(|atoms| atoms.dim()),
            (params.decoder == DecoderKind::Linear).then_some((4, 5))
        );
        let (encoding, scores) = (&found.0, fitted.evaluate(&data)?);
        for (row, &count) in encoding.counts.iter().enumerate() {
            let (active, code) = (encoding.active.row(row), encoding.code.row(row));
            assert_eq!(active.iter().filter(|&&on| on).count(), count as usize);
            assert!(active.iter().zip(code).all(|(&on, &value)| (value != 0.0) == on), "{what}");
            let order = &encoding.order[row];
            assert!(order.len() == count as usize && order.iter().all(|&feature| active[feature as usize]), "{what}");
            let values: Vec<f32> = order.iter().map(|&feature| code[feature as usize]).collect();
            let sized = params.code == Code::Dense;
            // Where values are what decides, the highest come first, or the largest.
            if params.code != Code::Sparse {
                let value = |value: f32| if sized { value.abs() } else { value };
                assert!(values.windows(2).all(|pair| value(pair[0]) >= value(pair[1])), "{what}: {values:?}");
            }
            let first = encoding.first(1);
            let kept = first.row(row).iter().filter(|&&value| value != 0.0).count();
            assert!(
                kept == order.len().min(1) && order.iter().take(1).all(|&k| first[[row, k as usize]] != 0.0),
                "{what}"
            );
            match params.code {
                Code::Sparse => assert!((1..=2).contains(&count)),
                Code::TopL => assert_eq!(count, 2),
                Code::Dense => assert_eq!(count, 4),
                Code::L1 => assert!(code.iter().all(|&value| value >= 0.0)),
            }
        }
        assert_eq!(encoding.first(4), encoding.code, "{what}");
        let squared: f64 =
            found.1.iter().zip(data.values()).map(|(&y, &x)| (f64::from(y) - f64::from(x)).powi(2)).sum();
        assert!((scores.error - squared / 10.0).abs() < 1e-6, "{scores:?}");
        assert_eq!(scores.rows_by_active.iter().sum::<usize>(), 10);
        let sums = scores.rows_by_active.iter().zip(&scores.error_by_active);
        assert!((sums.map(|(&n, error)| n as f64 * error.unwrap_or(0.0)).sum::<f64>() - squared).abs() < 1e-6);
    }
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() - 9]).unwrap();
    says(FittedSparse::load(gpu, &model), &["model.safetensors"]);
    Ok(())
}

#[test]
fn bad_input_is_named() -> Result<()> {
    let params = || Sparse::params(4, 2);
    for (params, words) in [
        (Sparse::params(0, 0), ["size:", "at least 1"]),
        (Sparse::params(4, 0), ["bound:", "at least 1"]),
        (Sparse::params(4, 5), ["bound:", "5 active features of 4"]),
        (Sparse::params(10_000, 5000), ["bound:", "4096"]),
        (params().batch(0), ["batch:", "at least 1"]),
        (params().epochs(0), ["epochs:", "at least 1"]),
        (params().hidden([3, 0]), ["hidden:", "layer 1"]),
        (params().noise(0.0), ["noise:", "0"]),
        (params().atom_scale(0.0), ["atom_scale:", "0"]),
        (params().noise(f32::NAN), ["noise:", "NaN"]),
        (params().learning_rate(-1.0), ["learning_rate:", "-1"]),
        (params().temperatures(1.0, 0.0, 0.5), ["temperatures:", "0"]),
        (params().temperatures(1.0, 0.5, 1.5), ["temperatures:", "1.5"]),
        (params().prior(CountPrior::Geometric(f32::INFINITY)), ["prior:", "inf"]),
        (params().boost(f32::NAN), ["boost:", "NaN"]),
        (params().penalty(-1.0), ["penalty:", "-1"]),
        (params().ramp(f64::NAN), ["ramp:", "NaN"]),
    ] {
        says(params.check(), &words);
    }
    let (gpu, data) = (gpu(), rows());
    for (params, words) in [
        (Sparse::params(1 << 30, 2), ["size:", "limit"]),
        (params().hidden([1 << 30]), ["hidden:", "limit"]),
        (params().epochs(usize::MAX), ["epochs:", "steps"]),
    ] {
        says(params.check()?.fit(gpu, &data, Key::new(0)), &words);
    }
    let wide = Dataset::table("wide", data.features() * 2.0).unwrap();
    let bernoulli = params().likelihood(Likelihood::Bernoulli).check()?;
    says(bernoulli.fit(gpu, &wide, Key::new(0)), &["likelihood:", "wide"]);
    let fitted = tiny(Code::Sparse).epochs(1).check()?.fit(gpu, &data, Key::new(0))?;
    let narrow = Dataset::table("narrow", Array2::zeros((3, 4))).unwrap();
    says(fitted.encode(&narrow), &["data:", "4 columns", "5"]);
    says(fitted.decode(Array2::zeros((2, 3)).view()), &["codes:", "3 columns", "4"]);
    Ok(())
}

/// Sums of one or two of three patterns: the counts and the patterns are found.
#[test]
fn a_small_dictionary_is_learned() -> Result<()> {
    let atoms = Array2::from_shape_fn((3, 6), |(k, j)| if j / 2 == k { std::f32::consts::FRAC_1_SQRT_2 } else { 0.0 });
    let sets = [
        [true, false, false],
        [false, true, false],
        [false, false, true],
        [true, true, false],
        [false, true, true],
        [true, false, true],
    ];
    let truth = Array2::from_shape_fn((240, 3), |(i, k)| sets[i % 6][k]);
    let noise = random::normal(gpu(), [240, 6], Key::new(2))?.read()?;
    let x =
        truth.mapv(|on| f32::from(u8::from(on))).dot(&atoms) + Array2::from_shape_vec((240, 6), noise).unwrap() * 0.03;
    let data = Dataset::table("patterns", x).unwrap();
    let method = Sparse::params(3, 2).hidden([16]).batch(40).epochs(60).learning_rate(1e-2).check()?;
    let fitted = method.fit(gpu(), &data, Key::new(1))?;
    let active = fitted.encode(&data)?.active;
    let learned = fitted.dictionary()?.unwrap();
    let scores = dictionary_scores(active.view(), learned.view(), truth.view(), atoms.view()).unwrap();
    assert!(scores.count_accuracy >= 0.95 && scores.atom_f1 >= 0.95 && scores.atom_cosine >= 0.95, "{scores:?}");
    // 6 columns of noise, a tenth more.
    let error = fitted.evaluate(&data)?.error;
    assert!(error < 0.06, "{error}");
    Ok(())
}
