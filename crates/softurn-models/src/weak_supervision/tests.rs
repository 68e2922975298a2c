//! Tests of what pairs are taken to share, and that it is learned.

use std::cell::RefCell;
use std::sync::OnceLock;

use ndarray::Array2;
use softurn_autodiff::{Parameters, Tape};
use softurn_kernels::ops::random;
use softurn_kernels::{Gpu, GpuConfig, Key};

use super::loss::{Learner, Training, pairs, views};
use super::{Averaging, Counting, FittedWeakSupervision, Model, STEPS, WeakSupervision};
use crate::Result;
use crate::data::{Factor, FactorImages, ImageShape, Pairs, sprites_grid};
use crate::train::{self, Batch, Event, Losses, Objective, Phase, Session};

const SIDE: usize = 16;

/// A bright square of 4 × 4 pixels at one of 4 × 4 places, in one of two greys.
fn squares() -> FactorImages {
    let factors = [("row", 4), ("column", 4), ("grey", 2)];
    let classes = Array2::from_shape_fn((32, 3), |(i, factor)| [i / 8, i / 2 % 4, i % 2][factor] as u32);
    let mut pixels = Vec::new();
    for image in classes.outer_iter() {
        for at in 0..SIDE * SIDE {
            let inside = (at / SIDE / 4) as u32 == image[0] && (at % SIDE / 4) as u32 == image[1];
            pixels.push(if inside { [255, 128][image[2] as usize] } else { 0 });
        }
    }
    let shape = ImageShape { height: SIDE, width: SIDE, channels: 1 };
    let factors = factors.map(|(name, size)| Factor { name: name.into(), size }).to_vec();
    FactorImages::new("squares", pixels, shape, factors, classes).unwrap()
}

/// What a learner needs to know of images.
fn of(images: &FactorImages) -> (ImageShape, usize) {
    (images.shape(), images.factors().len())
}

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}")))
}

fn learner(gpu: &Gpu, model: Model, parameters: &mut Parameters) -> Learner {
    let params = WeakSupervision::params(model, 1).latent(6).check().unwrap().params;
    Learner::new(gpu, &params, of(&squares()), parameters, Key::new(0)).unwrap()
}

/// Masks are zeros and ones that sum to the number, on the dimensions with the smallest divergences.
#[test]
fn masks_are_the_most_similar_dimensions() -> Result<()> {
    let gpu = gpu();
    let (rows, d) = (50, 6);
    let divergences = random::uniform(gpu, [rows, d], Key::new(4))?;
    let values = divergences.read()?;
    for model in [Model::LabelVae, Model::AdaVae, Model::HypergeometricVae, Model::PartitionVae] {
        let mut parameters = Parameters::new(gpu);
        let learner = learner(gpu, model, &mut parameters);
        let tape = Tape::new(gpu);
        let sharing = learner.sharing(&tape, &parameters, &tape.leaf(&divergences)?, Key::new(9))?;
        let (mask, number) = (sharing.mask.read()?, sharing.number.read()?);
        let mut numbers = Vec::new();
        for row in 0..rows {
            let (mask, values) = (&mask[row * d..][..d], &values[row * d..][..d]);
            assert!(mask.iter().all(|&u| u == 0.0 || u == 1.0), "{model:?}: {mask:?}");
            assert_eq!(mask.iter().sum::<f32>(), number[row], "{model:?}");
            let below = |of: f32| values.iter().zip(mask).filter(move |&(_, &u)| u == of).map(|(&v, _)| v);
            if model != Model::PartitionVae {
                // A partition's order is drawn.
                assert!(
                    below(1.0).fold(0.0, f32::max) <= below(0.0).fold(1.0, f32::min),
                    "{model:?}: {mask:?} {values:?}"
                );
            }
            if model == Model::AdaVae {
                let [low, high] =
                    [values.iter().copied().fold(1.0, f32::min), values.iter().copied().fold(0.0, f32::max)];
                let expected = values.iter().filter(|&&v| v < (low + high) / 2.0).count();
                assert_eq!(number[row] as usize, expected);
            }
            numbers.push(number[row]);
        }
        numbers.sort_by(f32::total_cmp);
        match model {
            // One of three factors: two of six dimensions.
            Model::LabelVae => assert!(numbers.iter().all(|&number| number == 2.0)),
            _ => assert!(numbers[0] < numbers[rows - 1], "{model:?}: all pairs share {}", numbers[0]),
        }
    }
    Ok(())
}

/// A training that looks at the gradient of the weights in every step.
struct Watched<'a> {
    training: Training<'a>,
    norms: RefCell<Vec<f32>>,
    losses: RefCell<Vec<f32>>,
}

impl Objective for Watched<'_> {
    fn phases(&self) -> Vec<Phase> {
        self.training.phases()
    }

    fn begin(&self, phase: usize, parameters: &mut Parameters, key: Key) -> Result<()> {
        self.training.begin(phase, parameters, key)
    }

    fn rows(&self, phase: usize, shuffled: Vec<u32>, key: Key) -> Vec<u32> {
        self.training.rows(phase, shuffled, key)
    }

    fn losses<'t>(
        &self,
        phase: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>> {
        let other = Tape::new(tape.gpu());
        let losses = self.training.losses(phase, &other, parameters, batch, key)?;
        let gradients = other.backward(&losses[0].1)?;
        let weights = self.training.learner.weights().expect("weights that are learned");
        let gradient = gradients.param(weights.weight()).expect("a gradient").read()?;
        self.losses.borrow_mut().push(losses[0].1.item()?);
        self.norms.borrow_mut().push(gradient.iter().map(|g| g * g).sum::<f32>().sqrt());
        self.training.losses(phase, tape, parameters, batch, key)
    }

    fn metrics(&self, phase: usize, parameters: &Parameters) -> Result<Vec<(&'static str, f64)>> {
        self.training.metrics(phase, parameters)
    }
}

/// The number starts at the prior's, half of the dimensions, and moves; every step of 100 has a gradient.
#[test]
fn gradients_reach_the_weights_in_every_step() -> Result<()> {
    let (gpu, images) = (gpu(), squares());
    for model in [Model::HypergeometricVae, Model::PartitionVae] {
        let method = WeakSupervision::params(model, 2).latent(6).batch(2).steps(STEPS).learning_rate(3e-3).check()?;
        let mut parameters = Parameters::new(gpu);
        let learner = Learner::new(gpu, &method.params, of(&images), &mut parameters, Key::new(0))?;
        let expected = |parameters: &Parameters| -> Result<f64> {
            let rows: Vec<u32> = (0..32).collect();
            let x = gpu.tensor(&images.rows(&rows), [32, SIDE * SIDE])?;
            let tape = Tape::new(gpu);
            let of = learner.network.encode(&tape, parameters, &tape.constant(&x))?;
            let shares = learner.expected_share(&tape, parameters, &of)?;
            Ok(shares.iter().sum::<f64>() / shares.len() as f64)
        };
        let before = expected(&parameters)?;
        let training = Training { learner: &learner, images: &images, pairs: pairs(&images, 2)? };
        let watched = Watched { training, norms: RefCell::default(), losses: RefCell::default() };
        train::run(gpu, &watched, &mut parameters, [2 * STEPS, 2], Key::new(2), &mut Session::default())?;
        let after = expected(&parameters)?;
        let (norms, losses) = (watched.norms.into_inner(), watched.losses.into_inner());
        assert!(losses[STEPS - 10..].iter().sum::<f32>() < losses[..10].iter().sum::<f32>(), "{model:?}: {losses:?}");
        assert_eq!(norms.len(), STEPS);
        assert!(norms.iter().all(|&norm| norm.is_finite() && norm > 0.0), "{model:?}: {norms:?}");
        assert!((before - 0.5).abs() < 1e-4, "{model:?} starts at {before}");
        assert!((after - before).abs() > 1e-3, "{model:?} stays at {after}");
    }
    Ok(())
}

/// Averages of two Gaussians by hand, in the dimensions that are shared.
#[test]
fn views_agree_where_they_share() -> Result<()> {
    let gpu = gpu();
    let mut parameters = Parameters::new(gpu);
    let mut learner = learner(gpu, Model::LabelVae, &mut parameters);
    let tape = Tape::new(gpu);
    // Dimensions 4 and 5 are alike; LabelVae shares two of six.
    let mean = tape.leaf(&gpu.tensor(&[5.0, 1.0, -4.0, 2.0, 0.5, 1.0, -5.0, 9.0, 4.0, 7.0, 0.7, 1.1], [2, 6])?)?;
    let log_variance =
        tape.leaf(&gpu.tensor(&[0.0; 6].into_iter().chain([1.0f32; 6]).collect::<Vec<f32>>(), [2, 6])?)?;
    let e = std::f32::consts::E;
    for (averaging, m, v) in [
        (Averaging::Mean, [0.6, 1.05], (1.0 + e) / 2.0),
        (
            Averaging::Precision,
            [(0.5 + 0.7 / e) / (1.0 + 1.0 / e), (1.0 + 1.1 / e) / (1.0 + 1.0 / e)],
            2.0 / (1.0 + 1.0 / e),
        ),
    ] {
        learner.params.averaging = averaging;
        let views = [mean.clone(), log_variance.clone()];
        let ([means, logs], sharing) = learner.aggregate(&tape, &parameters, &views, Key::new(0))?;
        assert_eq!(sharing.mask.read()?, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        let (means, logs) = (means.read()?, logs.read()?);
        for view in 0..2 {
            for dimension in 0..2 {
                assert!((means[6 * view + 4 + dimension] - m[dimension]).abs() < 1e-5, "{averaging:?}: {means:?}");
                assert!((logs[6 * view + 4 + dimension] - v.ln()).abs() < 1e-5, "{averaging:?}: {logs:?}");
            }
            assert_eq!(means[6 * view], [5.0, -5.0][view]);
            assert!((logs[6 * view] - view as f32).abs() < 1e-6);
        }
    }
    Ok(())
}

/// The two ways to count differ by the divergence of the second views in shared dimensions.
#[test]
fn what_is_shared_counts_once_or_twice() -> Result<()> {
    let (gpu, images, key) = (gpu(), squares(), Key::new(3));
    let mut parameters = Parameters::new(gpu);
    let mut learner = learner(gpu, Model::HypergeometricVae, &mut parameters);
    let rows = views(&[[0, 9], [3, 30], [17, 2]]);
    let index = gpu.tensor(&rows, [rows.len()])?;
    let batch = Batch { rows, index, done: 0.0 };
    let mut found = Vec::new();
    for counting in [Counting::Once, Counting::Twice] {
        learner.params.counting = counting;
        let training = Training { learner: &learner, images: &images, pairs: pairs(&images, 1)? };
        let tape = Tape::new(gpu);
        let losses = training.losses(0, &tape, &parameters, &batch, key)?;
        let names: Vec<_> = losses.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["loss", "reconstruction", "divergence", "shared"]);
        found.push(losses.iter().map(|(_, value)| Ok(f64::from(value.read()?[0]))).collect::<Result<Vec<_>>>()?);
    }
    // The same draw as that of the losses.
    let tape = Tape::new(gpu);
    let posteriors = learner.network.encode(&tape, &parameters, &tape.constant(&images.tensor(gpu, &batch.rows)?))?;
    let [_, key] = key.split();
    let ([mean, log_variance], sharing) = learner.aggregate(&tape, &parameters, &posteriors, key.split::<2>()[0])?;
    let (mean, log_variance, mask) = (mean.read()?, log_variance.read()?, sharing.mask.read()?);
    let of_second = (0..18).map(|i| {
        let [m, l] = [&mean, &log_variance].map(|values| f64::from(values[18 + i]));
        f64::from(mask[i]) * 0.5 * (m * m + l.exp() - 1.0 - l)
    });
    let difference = of_second.sum::<f64>() / 6.0;
    let [once, twice] = [&found[0], &found[1]];
    assert!(difference > 1e-4, "{difference}");
    for part in [0, 2] {
        assert!((twice[part] - once[part] - difference).abs() < 1e-5 * twice[part].abs(), "{found:?}, {difference}");
    }
    assert_eq!((once[1], once[3]), (twice[1], twice[3]));
    Ok(())
}

#[test]
fn a_fit_is_the_same_again() -> Result<()> {
    let (gpu, images) = (gpu(), squares());
    let method = WeakSupervision::params(Model::AdaVae, 2).latent(6).batch(2).steps(1).check()?;
    let fitted = method.fit(gpu, &images, Key::new(1))?;
    let pairs = Pairs::new(&images, 2).unwrap().sample(9, Key::new(5));
    let shares = fitted.shared_share(&images, &pairs)?;
    assert!(shares.len() == 9 && shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
    let [shared, own] = fitted.parts(&images, &pairs, Key::new(6))?;
    assert_eq!((shared.dim(), own.dim()), ((9, 6), (9, 6)));
    assert!(shared.iter().zip(&own).all(|(&a, &b)| a == 0.0 || b == 0.0));
    let again = method.fit(gpu, &images, Key::new(1))?;
    assert_eq!(again.parts(&images, &pairs, Key::new(6))?, [shared, own]);
    Ok(())
}

/// A model with the weights that a fit would begin with.
fn untrained(params: super::Params) -> Result<FittedWeakSupervision> {
    let params = params.check()?.params;
    let mut parameters = Parameters::new(gpu());
    let learner = Learner::new(gpu(), &params, of(&squares()), &mut parameters, Key::new(7))?;
    Ok(FittedWeakSupervision { learner, parameters })
}

fn says<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{message}: {words:?}");
}

#[test]
fn a_loaded_model_has_the_same_bits_and_other_files_are_refused() -> Result<()> {
    let (gpu, images) = (gpu(), squares());
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.safetensors");
    let pairs = Pairs::new(&images, 2).unwrap().sample(5, Key::new(5));
    for model in [Model::LabelVae, Model::HypergeometricVae] {
        let fitted = untrained(WeakSupervision::params(model, 2).latent(6).averaging(Averaging::Precision))?;
        fitted.save(&path)?;
        let loaded = FittedWeakSupervision::load(gpu, &path)?;
        assert_eq!(loaded.image_shape(), images.shape());
        assert_eq!(loaded.shared_share(&images, &pairs)?, fitted.shared_share(&images, &pairs)?);
        assert_eq!(loaded.parts(&images, &pairs, Key::new(6))?, fitted.parts(&images, &pairs, Key::new(6))?);
        let latents = fitted.transform(&images, &[3, 31, 3])?;
        assert_eq!((latents.dim(), latents.row(0)), ((3, 6), latents.row(2)));
        assert_ne!(latents.row(0), latents.row(1));
        assert_eq!(loaded.transform(&images, &[3, 31, 3])?, latents);
        let decoded = fitted.decode(latents.view())?;
        assert_eq!(decoded.dim(), (3, SIDE * SIDE));
        assert!(decoded.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
        assert_eq!(loaded.decode(latents.view())?, decoded);

        says(fitted.decode(latents.slice(ndarray::s![.., ..5])), &["latents:", "5 columns", "6"]);
        says(fitted.transform(&images, &[32]), &["rows:", "32"]);
        let small = images.clone().reduced(2).unwrap();
        says(fitted.transform(&small, &[0]), &["data:", "height: 8", "height: 16"]);
        says(fitted.shared_share(&small, &pairs), &["data:"]);
        says(fitted.parts(&small, &pairs, Key::new(6)), &["data:"]);
    }
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    says(FittedWeakSupervision::load(gpu, &path), &["model.safetensors"]);
    // More shared factors than there are, then another method.
    for (from, to, word) in
        [("shared\\\":2", "shared\\\":3", "shared:"), ("weak_supervision", "Weak_supervision", "Weak")]
    {
        let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).expect("in the header");
        let mut changed = bytes.clone();
        changed[at..][..to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, &changed).unwrap();
        says(FittedWeakSupervision::load(gpu, &path), &["model.safetensors", word]);
    }
    Ok(())
}

#[test]
fn scores_are_of_the_parts_that_they_say() -> Result<()> {
    let images = squares();
    let mean = |of: &[Option<f64>]| of.iter().map(|score| score.unwrap()).sum::<f64>() / of.len() as f64;
    // Told that nothing is shared, its shared part is always zero, which is worth a guess.
    let fitted = untrained(WeakSupervision::params(Model::LabelVae, 0).latent(6))?;
    let found = fitted.evaluate_on(&images, 1, 256, Key::new(2))?;
    assert_eq!((found.true_share, found.shares.len(), found.shares.iter().sum::<f64>()), (1.0 / 3.0, 256, 0.0));
    assert!((found.squared_error - 1.0 / 9.0).abs() < 1e-12, "{}", found.squared_error);
    let own: Vec<_> = found.factors.iter().map(|factor| factor.independent).collect();
    for (score, factor) in found.factors.iter().zip(images.factors()) {
        assert_eq!((&score.name, score.shared), (&factor.name, Some(0.0)));
        assert!(score.independent > Some(0.3) && score.independent <= Some(1.0), "{found:?}");
    }
    assert_eq!(found.shared_accuracy, Some(0.0));
    assert!((found.independent_accuracy.unwrap() - mean(&own)).abs() < 1e-12, "{found:?}");
    for score in [found.disentanglement, found.completeness, found.informativeness, found.mig] {
        assert!(score > 0.0 && score < 1.0, "{found:?}");
    }

    // The dimensions that both parts of both orders of a pair are of.
    let pairs = [[0, 5], [17, 3]];
    let dimensions = fitted.shared_dimensions(&images, &pairs, Key::new(4))?;
    assert_eq!(
        fitted.shared_dimensions(&images, &pairs.map(|[first, second]| [second, first]), Key::new(4))?,
        dimensions
    );
    let parts = fitted.parts(&images, &pairs, Key::new(4))?;
    for (place, &shared) in dimensions.indexed_iter() {
        assert_eq!([0, 1].map(|part| parts[part][place] != 0.0), [shared, !shared], "{place:?}: {parts:?}");
    }

    // Told that two of three are, four of six dimensions; where none is, no factor has a score of the shared part.
    let fitted = untrained(WeakSupervision::params(Model::LabelVae, 2).latent(6))?;
    let found = fitted.evaluate_on(&images, 0, 64, Key::new(3))?;
    assert!(found.shared_accuracy.is_none() && found.factors.iter().all(|factor| factor.shared.is_none()), "{found:?}");
    assert!((found.squared_error - 4.0 / 9.0).abs() < 1e-6, "{}", found.squared_error);
    for (score, factor) in found.factors.iter().zip(images.factors()) {
        let least = -1.0 / (factor.size as f64 - 1.0);
        assert!(score.independent.is_some_and(|score| (least..=1.0).contains(&score)), "{found:?}");
    }
    assert_eq!(fitted.evaluate_on(&images, 0, 64, Key::new(3))?, found);
    says(fitted.evaluate(&images, 3, Key::new(3)), &["shared:", "3"]);
    says(fitted.evaluate(&images.clone().reduced(2).unwrap(), 1, Key::new(3)), &["data:"]);

    // Shares that differ from pair to pair.
    let fitted = untrained(WeakSupervision::params(Model::AdaVae, 1).latent(6))?;
    let found = fitted.evaluate_on(&images, 0, 64, Key::new(3))?;
    let error = found.shares.iter().map(|share| share.powi(2)).sum::<f64>() / 64.0;
    assert!((found.squared_error - error).abs() < 1e-12 && found.shares.iter().any(|&s| s != found.shares[0]));
    Ok(())
}

/// Three steps on all sprites, and a look at the result.
#[test]
fn the_full_grid_of_sprites_can_be_learned_from() -> Result<()> {
    let (gpu, images) = (gpu(), sprites_grid(16).unwrap());
    let method = WeakSupervision::params(Model::HypergeometricVae, 3).latent(6).batch(8).steps(3).check()?;
    let mut parameters = Parameters::new(gpu);
    let learner = Learner::new(gpu, &method.params, of(&images), &mut parameters, Key::new(0))?;
    let training = Training { learner: &learner, images: &images, pairs: pairs(&images, 3)? };
    let mut losses = Vec::new();
    let mut observe = |event: &Event| {
        if let Event::Epoch { losses: of_epoch, .. } = event {
            losses.push(of_epoch[0].1);
        }
    };
    let mut session = Session { observer: Some(&mut observe), ..Session::default() };
    train::run(gpu, &training, &mut parameters, [24, 8], Key::new(2), &mut session)?;
    // At first every pixel has an even chance: ln 2 of each.
    let chance = 256.0 * 2f64.ln();
    assert!(losses.len() == 1 && losses[0] > 0.5 * chance && losses[0] < 1.1 * chance, "{losses:?} for {chance}");
    Ok(())
}

#[test]
fn bad_settings_are_named() {
    let gpu = gpu();
    let of = |params: super::Params| {
        let fitted = params.check().and_then(|method| method.fit(gpu, &squares(), Key::new(0)));
        fitted.unwrap_err().to_string()
    };
    let fine = || WeakSupervision::params(Model::AdaVae, 1);
    for (message, name) in [
        (of(fine().latent(0)), "latent"),
        (of(fine().batch(0)), "batch"),
        (of(fine().steps(0)), "steps"),
        (of(fine().beta(-1.0)), "beta"),
        (of(fine().learning_rate(f32::NAN)), "learning_rate"),
        (of(WeakSupervision::params(Model::AdaVae, 3)), "shared"),
    ] {
        assert!(message.starts_with(&format!("{name}:")), "{message} for {name}");
    }
    let odd = squares().reduced(2).unwrap();
    let message = fine().check().unwrap().fit(gpu, &odd, Key::new(0)).unwrap_err().to_string();
    assert!(message.starts_with("data:") && message.contains("16"), "{message}");
}
