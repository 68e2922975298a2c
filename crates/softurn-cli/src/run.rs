//! `softurn cluster`: everything that can be wrong with the input comes before the first byte is written.

use std::sync::atomic::AtomicBool;

use ndarray::Array2;
use softurn::data::{self, Dataset};
use softurn::metrics;
use softurn::{Error, Gpu, GpuConfig, Key};

use crate::args::ClusterArgs;
use crate::config::{Config, Kind};
use crate::failure::{Failure, Result};
use crate::fit::{self, Job, Outcome};
use crate::methods::{self, ENTROPY};
use crate::report::{self, Baseline, Groups, Images, ReportData, Scores, Truth, pca};
use crate::rundir::{MODEL, REPORT, RunDir};
use crate::settings::Configuration;
use crate::summary::Summary;
use crate::training::{Trainer, failure, phases, run_of};

/// Baselines are shown in the report of a deep run when they cost next to nothing.
const BASELINE_VALUES: usize = 1 << 20;
/// Rows that the silhouette, whose cost grows with their square, is taken over.
const SILHOUETTE_ROWS: usize = 2000;

/// The child of the seed's key that chooses the rows of `--keep`.
const KEEP: u64 = 0x6b65_6570;

/// Runs the clustering and writes the run directory; `stop` asks for an early, resumable end.
///
/// # Errors
/// Bad input before anything is written; a failed or interrupted run afterwards.
pub fn cluster(args: &ClusterArgs, stop: &AtomicBool) -> Result<Summary> {
    let mut config = Config::of_run(&args.settings, &args.run)?;
    let data = load(&config)?;
    config.check_data(data.rows(), data.labels().map(|labels| labels.len()))?;
    let gpu = open(config.adapter.as_deref())?;
    let mut job = Job { data: &data, gpu: &gpu, trainer: Trainer::new(&args.run, stop) };
    let (dir, outcome) = job.fit(&mut config)?;
    job.trainer.progress.end();
    finish(&config, &data, &gpu, &dir, outcome)
}

/// The device that `--adapter` names, or the fastest.
///
/// # Errors
/// No such adapter, or one that cannot be used.
pub fn open(adapter: Option<&str>) -> Result<Gpu> {
    let config = GpuConfig { adapter: adapter.map(str::to_owned), ..GpuConfig::default() };
    Gpu::new(config).map_err(|error| Failure::bad_input("--adapter", error))
}

/// A data set by name or file, with the labels of a column, as what its columns are said to be.
///
/// # Errors
/// Bad input.
pub fn load_rows(data: &str, label_column: Option<&str>, rows: Option<usize>, kind: Option<Kind>) -> Result<Dataset> {
    let data = match label_column {
        Some(column) => data::load_csv(data, Some(column), rows),
        None => data::load(data, rows),
    }
    .map_err(bad)?;
    match kind {
        Some(Kind::Embedding) => data.into_embedding().map_err(bad),
        Some(Kind::Table) if data.image().is_some() => {
            Err(Failure::bad_input("--kind", format!("{} holds images", data.name())))
        }
        Some(Kind::Table) | None => Ok(data),
    }
}

/// The failure of a saved model, or of what was asked of it.
pub fn of_model(error: Error) -> Failure {
    match error {
        Error::ModelFile { .. } => Failure::bad_input("--model", error),
        other => failure(other),
    }
}

/// The same rows with the labels of a file, where one is named.
///
/// # Errors
/// Bad input.
pub fn with_labels(data: Dataset, labels: Option<&str>) -> Result<Dataset> {
    match labels {
        Some(labels) => data.with_labels(data::load_labels(labels).map_err(bad)?).map_err(bad),
        None => Ok(data),
    }
}

/// Data that cannot be used: the message names the argument.
pub fn bad(error: data::DataError) -> Failure {
    Failure::BadInput(error.to_string())
}

fn load(config: &Config) -> Result<Dataset> {
    let data = load_rows(&config.data, config.label_column.as_deref(), config.rows, config.kind)?;
    let data = with_labels(data, config.labels.as_deref())?;
    match &config.keep {
        // A stream of its own, so that the rows do not depend on how the method uses the seed.
        Some(shares) => data.keep_shares(shares, Key::new(config.seed).child(KEEP)).map_err(bad),
        None => Ok(data),
    }
}

/// Cluster and confidence of each row.
pub fn assign(probabilities: &Array2<f32>) -> (Vec<u32>, Vec<f32>) {
    let best = |row: ndarray::ArrayView1<'_, f32>| {
        row.iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (c, &p)| if p > best.1 { (c as u32, p) } else { best })
    };
    probabilities.outer_iter().map(best).unzip()
}

fn score(clusters: &[u32], outcome: &Outcome, truth: Option<&[u32]>, seed: u64) -> Scores {
    let shown: Vec<u32> = outcome.shown.iter().map(|&row| clusters[row]).collect();
    let labelled = |f: fn(&[u32], &[u32]) -> std::result::Result<f64, metrics::MetricError>| {
        truth.and_then(|truth| f(clusters, truth).ok())
    };
    Scores {
        accuracy: labelled(metrics::accuracy),
        nmi: labelled(metrics::normalized_mutual_information),
        ari: labelled(metrics::adjusted_rand_index),
        // One cluster, or one per row, has none.
        silhouette: metrics::silhouette_sampled(outcome.latent.view(), &shown, SILHOUETTE_ROWS, seed).ok(),
    }
}

fn finish(config: &Config, data: &Dataset, gpu: &Gpu, dir: &RunDir, outcome: Outcome) -> Result<Summary> {
    let (clusters, confidence) = assign(&outcome.probabilities);
    let truth = data.labels();
    let ids = truth.map(|labels| labels.ids());
    let scores = score(&clusters, &outcome, ids, config.seed);
    let mut baselines = Vec::new();
    let trained = methods::trains(&config.method);
    if trained && data.rows() * data.cols() <= BASELINE_VALUES {
        for (method, name) in [("kmeans", "k-means"), ("gmm", "Gaussian mixture")] {
            let baseline = fit::baseline(method, config, data, gpu)?;
            let (clusters, _) = assign(&baseline.probabilities);
            let scores = score(&clusters, &baseline, ids, config.seed);
            baselines.push(Baseline { name: name.into(), scores, seconds: baseline.seconds });
        }
    }
    let names: Option<Vec<String>> =
        truth.map(|labels| labels.ids().iter().map(|&id| labels.names()[id as usize].clone()).collect());
    outcome.model.save(&dir.file(MODEL)).map_err(failure)?;
    dir.write_assignments(&clusters, ("probability", &confidence), names.as_deref())?;
    let mut group_sizes = vec![0; config.k];
    for &cluster in &clusters {
        group_sizes[cluster as usize] += 1;
    }
    let mut method = match config.method.as_str() {
        "variational" => format!("variational, {} prior", config.prior),
        ENTROPY => format!("entropy, {} group sizes", config.sizes.as_deref().unwrap_or("learned")),
        other => other.to_owned(),
    };
    if outcome.objectives.len() > 1 {
        method += &format!(", best of {} starts", outcome.objectives.len());
    }
    let phases = if trained { phases(dir)? } else { Vec::new() };
    let run = run_of(config, config.seed, gpu, phases, (outcome.seconds, outcome.samples));
    let report = ReportData {
        title: format!("{} in {} groups", data.name(), config.k),
        method,
        dataset: report::Dataset { name: data.name().into(), rows: data.rows(), cols: data.cols() },
        scores,
        baselines: baselines.clone(),
        latent: Some(pca::project(
            outcome.latent.as_slice().unwrap_or_default(),
            outcome.latent.ncols(),
            outcome.shown,
        )),
        groups: Groups { k: config.k, assignments: clusters.clone(), confidence, learned: outcome.learned.clone() },
        truth: truth.map(|labels| Truth {
            labels: labels.ids().to_vec(),
            names: labels.names().to_vec(),
            matching: matching(config.k, &clusters, labels.ids()),
        }),
        images: data
            .image()
            .filter(|shape| matches!(shape.channels, 1 | 3))
            .map(|shape| Images::from_values(shape.height, shape.width, shape.channels, data.values(), 0.0, 1.0)),
        run,
    };
    dir.write(REPORT, report::render(&report).as_bytes())?;
    Ok(Summary {
        out: dir.path().to_owned(),
        report: dir.file(REPORT),
        method: config.method.clone(),
        prior: config.prior.to_string(),
        seed: config.seed,
        config_hash: config.hash(),
        adapter: report.run.adapter,
        rows: data.rows(),
        cols: data.cols(),
        k: config.k,
        scores,
        baselines,
        group_sizes,
        proportion_error: proportion_error(config.k, &clusters, ids, outcome.learned.as_deref()),
        learned_sizes: outcome.learned,
        objectives: outcome.objectives,
        seconds: outcome.seconds,
        samples_per_second: report.run.samples_per_second,
    })
}

/// The class of each group by the best matching.
pub(crate) fn matching(k: usize, clusters: &[u32], truth: &[u32]) -> Vec<Option<u32>> {
    let mut classes = vec![None; k];
    for (cluster, class) in metrics::matching(clusters, truth).unwrap_or_default() {
        classes[cluster as usize] = class;
    }
    classes
}

/// `Σ |learned - true|` over the classes, groups matched to classes by their rows; a class without a group counts whole.
fn proportion_error(k: usize, clusters: &[u32], truth: Option<&[u32]>, learned: Option<&[f64]>) -> Option<f64> {
    let (truth, learned) = (truth?, learned?);
    let mut difference = vec![0.0; truth.iter().max().map_or(0, |&class| class as usize + 1)];
    for &class in truth {
        difference[class as usize] += 1.0 / truth.len() as f64;
    }
    let mut error = 0.0;
    for (class, share) in matching(k, clusters, truth).into_iter().zip(learned) {
        match class {
            Some(class) => difference[class as usize] -= share,
            None => error += share,
        }
    }
    Some(error + difference.iter().map(|difference: &f64| difference.abs()).sum::<f64>())
}
