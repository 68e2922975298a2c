//! `softurn disentangle`: everything that can be wrong with the input comes before the first byte is written.

pub mod config;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ndarray::{Array2, Axis, Zip};
use serde::Serialize;
use softurn::Key;
use softurn::data::{FactorImages, Pairs};
use softurn::weak_supervision::{Evaluation, FittedWeakSupervision, STEPS};

use crate::args::DisentangleArgs;
use crate::failure::{Failure, Result};
use crate::report::Images;
use crate::report::disentangle::{DisentangleReport, Swap, Traversal, render};
use crate::report::format::{score, seconds, thousands};
use crate::run::open;
use crate::rundir::{MODEL, PAIRS, REPORT};
use crate::settings::Configuration;
use crate::training::{Trainer, failure, phases, run_of, totals};
use config::{Averaging, Config, Model};

/// Images whose latent means say how much a dimension varies.
const SAMPLE: usize = 1000;
/// Values that a dimension takes in a traversal, in deviations of the prior.
const VALUES: [f64; 9] = [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0];
/// Pairs whose parts are exchanged.
const SWAPS: usize = 6;

/// The final figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The run directory.
    pub out: PathBuf,
    /// The report inside it.
    pub report: PathBuf,
    /// How the shared dimensions are found.
    pub model: Model,
    /// Factors that the views of a pair share.
    pub shared: usize,
    /// Seed of every random number.
    pub seed: u64,
    /// SHA-256 of the configuration.
    pub config_hash: String,
    /// The adapter that did the work.
    pub adapter: String,
    /// How many images there are.
    pub images: usize,
    /// Scores on fresh pairs.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Wall time of the training.
    pub seconds: f64,
    /// Pairs processed per second of training.
    pub pairs_per_second: f64,
}

impl Summary {
    /// The text for standard output.
    pub fn render(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(self).unwrap_or_default();
        }
        let e = &self.evaluation;
        let mut text = format!("shared: {:.3} of the dimensions, {:.3} of the factors", e.share, e.true_share);
        let _ = writeln!(text, "; mean squared error {:.4}", e.squared_error);
        let _ = writeln!(text, "\n{:<16}{:>10}{:>14}", "factor", "shared", "independent");
        for factor in &e.factors {
            let _ = writeln!(text, "{:<16}{:>10}{:>14}", factor.name, score(factor.shared), score(factor.independent));
        }
        let _ = writeln!(text, "{:<16}{:>10}{:>14}", "mean", score(e.shared_accuracy), score(e.independent_accuracy));
        let _ = writeln!(
            text,
            "\nDCI: disentanglement {:.3}, completeness {:.3}, informativeness {:.3}; MIG {:.3}",
            e.disentanglement, e.completeness, e.informativeness, e.mig
        );
        let rate = thousands(self.pairs_per_second.round() as u64);
        let _ = writeln!(text, "\n{} on {}, {rate} pairs/s", seconds(self.seconds), self.adapter);
        let _ = writeln!(text, "{}", self.report.display());
        text
    }
}

/// Learns from pairs and writes the run directory; `stop` asks for an early, resumable end.
///
/// # Errors
/// Bad input before anything is written; a failed or interrupted run afterwards.
pub fn disentangle(args: &DisentangleArgs, stop: &AtomicBool) -> Result<Summary> {
    let config = Config::of_run(&args.settings, &args.run)?;
    let method = config.method()?;
    let images = config.load()?;
    let pairs = Pairs::new(&images, config.shared).map_err(|error| Failure::BadInput(error.to_string()))?;
    method.check_data(&images).map_err(failure)?;
    let gpu = open(config.adapter.as_deref())?;
    let mut trainer = Trainer::new(&args.run, stop);
    trainer.progress.note(&format!("{} images of {} on {}", images.n_images(), images.name(), gpu.capabilities()));
    let dir = trainer.directory(&config)?;
    let [key, evaluation_key, picture_key] = Key::new(config.seed).split();
    let fitted = trainer
        .train(&dir, config.hash(), STEPS * config.batch, None, |session| method.fit_with(&gpu, &images, key, session));
    trainer.written()?;
    trainer.progress.end();
    let fitted = fitted.map_err(failure)?;
    fitted.save(&dir.file(MODEL)).map_err(failure)?;
    let evaluation = fitted.evaluate(&images, config.shared, evaluation_key).map_err(failure)?;
    dir.write(PAIRS, pairs_table(&evaluation).as_bytes())?;
    let run = run_of(&config, config.seed, &gpu, phases(&dir)?, totals(&dir)?);
    let report = DisentangleReport {
        data: images.name().to_owned(),
        images: images.n_images(),
        shared: [config.shared, images.factors().len()],
        model: in_words(&config),
        evaluation: evaluation.clone(),
        traversals: traversals(&fitted, &images, picture_key)?,
        swaps: swaps(&fitted, &images, pairs, picture_key)?,
        run,
    };
    dir.write(REPORT, render(&report).as_bytes())?;
    Ok(Summary {
        out: dir.path().to_owned(),
        report: dir.file(REPORT),
        model: config.model,
        shared: config.shared,
        seed: config.seed,
        config_hash: config.hash(),
        adapter: report.run.adapter,
        images: images.n_images(),
        evaluation,
        seconds: report.run.seconds,
        pairs_per_second: report.run.samples_per_second,
    })
}

fn in_words(config: &Config) -> String {
    let model = match config.model {
        Model::Hypergeometric => "HypergeometricVAE",
        Model::Partition => "PartitionVAE",
        Model::Ada => "AdaVAE",
        Model::Label => "LabelVAE",
    };
    let averaging = match config.averaging {
        Averaging::Mean => "means averaged",
        Averaging::Precision => "means weighted by precisions",
    };
    format!("{model}, {averaging}")
}

/// Rows of both images of each pair, and the share of the dimensions that the model takes them to share.
fn pairs_table(evaluation: &Evaluation) -> String {
    let mut text = String::from("first,second,shared\n");
    for ([first, second], share) in evaluation.pairs.iter().zip(&evaluation.shares) {
        let _ = writeln!(text, "{first},{second},{share}");
    }
    text
}

/// Pixels in 0..1 as images to show.
fn pictures(fitted: &FittedWeakSupervision, values: &[f32]) -> Images {
    let shape = fitted.image_shape();
    Images::from_values(shape.height, shape.width, shape.channels, values, 0.0, 1.0)
}

fn decoded(fitted: &FittedWeakSupervision, latents: &Array2<f32>) -> Result<Images> {
    let pixels = fitted.decode(latents.view()).map_err(failure)?;
    Ok(pictures(fitted, pixels.as_slice().unwrap_or_default()))
}

/// One image with each latent dimension at other values.
fn traversals(fitted: &FittedWeakSupervision, images: &FactorImages, key: Key) -> Result<Vec<Traversal>> {
    let rows: Vec<u32> =
        (0..SAMPLE).map(|i| softurn::train::batches::below(key.child(i as u64), images.n_images()) as u32).collect();
    let means = fitted.transform(images, &rows).map_err(failure)?;
    let deviations = means.std_axis(Axis(0), 0.0);
    (0..means.ncols())
        .map(|dimension| {
            let mut latents = Array2::zeros((VALUES.len(), means.ncols()));
            for (mut latent, &value) in latents.outer_iter_mut().zip(&VALUES) {
                latent.assign(&means.row(0));
                latent[dimension] = value as f32;
            }
            Ok(Traversal {
                dimension,
                deviation: f64::from(deviations[dimension]),
                values: VALUES.to_vec(),
                images: decoded(fitted, &latents)?,
            })
        })
        .collect()
}

/// Pairs, decoded as they are, and with the shared part of one view and the rest of the other.
fn swaps(fitted: &FittedWeakSupervision, images: &FactorImages, pairs: Pairs<'_>, key: Key) -> Result<Vec<Swap>> {
    let [pairs_key, parts_key] = key.split();
    let pairs = pairs.sample(SWAPS, pairs_key);
    let shares = fitted.shared_share(images, &pairs).map_err(failure)?;
    let dimensions = fitted.shared_dimensions(images, &pairs, parts_key).map_err(failure)?;
    let [first, second] = [0, 1].map(|view| {
        let rows: Vec<u32> = pairs.iter().map(|pair| pair[view]).collect();
        fitted.transform(images, &rows).map_err(failure)
    });
    let (first, second) = (first?, second?);
    // Where a dimension is shared the one, where it is not the other.
    let exchanged = |one: &Array2<f32>, other: &Array2<f32>| {
        let mut latents = one.clone();
        Zip::from(&mut latents).and(other).and(&dimensions).for_each(|latent, &other, &shared| {
            if !shared {
                *latent = other;
            }
        });
        latents
    };
    let mut decoded = Vec::new();
    for latents in [&first, &second, &exchanged(&first, &second), &exchanged(&second, &first)] {
        decoded.push(fitted.decode(latents.view()).map_err(failure)?);
    }
    let swap = |i: usize| {
        let mut pixels = images.rows(&pairs[i]);
        for images in &decoded {
            pixels.extend(images.row(i));
        }
        let names = images.factors().iter().zip(images.shared(pairs[i])).filter(|(_, shared)| *shared);
        Swap {
            images: pictures(fitted, &pixels),
            shared: names.map(|(factor, _)| factor.name.clone()).collect(),
            share: shares[i],
        }
    };
    Ok((0..SWAPS).map(swap).collect())
}
