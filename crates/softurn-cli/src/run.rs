//! `softurn cluster`: everything that can be wrong with the input comes before the first byte is written.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use ndarray::Array2;
use serde_json::{Map, Value, json};
use softurn::clustering::entropy::{self, Entropy, GroupSizes};
use softurn::clustering::gmm::GaussianMixture;
use softurn::clustering::kmeans::KMeans;
use softurn::clustering::variational::{self, Variational};
use softurn::data::{self, Dataset, Kind};
use softurn::metrics;
use softurn::train::{Event, Session};
use softurn::{Gpu, GpuConfig, Key};

use crate::args::ClusterArgs;
use crate::config::{Config, Loss, Prior};
use crate::failure::{Failure, Result};
use crate::methods::ENTROPY;
use crate::progress::Progress;
use crate::report::{self, Baseline, Curve, Groups, Images, Phase, ReportData, Scores, Truth, pca};
use crate::rundir::{self, CHECKPOINT, METRICS, REPORT, RunDir, TIMING};
use crate::summary::Summary;

/// Baselines are shown in the report of a deep run when they cost next to nothing.
const BASELINE_VALUES: usize = 1 << 20;
/// Rows that the silhouette, whose cost grows with their square, is taken over.
const SILHOUETTE_ROWS: usize = 2000;

/// The configuration that `args` ask for: of the run to resume, or flags over file over defaults.
///
/// # Errors
/// `--out` exists, or `--resume` finds no run there or another configuration than is asked for.
pub fn configure(args: &ClusterArgs) -> Result<Config> {
    if !args.resume {
        rundir::check_free(&args.out)?;
        return Config::resolve(&args.settings, args.config.as_deref());
    }
    let stored_path = rundir::check_resumable(&args.out)?;
    let stored = Config::read(&stored_path)?;
    let mut config = Config::resolve(&args.settings, Some(args.config.as_deref().unwrap_or(&stored_path)))?;
    // Epochs that are not asked for are those that the first run chose for its data.
    config.epochs = config.epochs.or(stored.epochs);
    config.pretrain_epochs = config.pretrain_epochs.or(stored.pretrain_epochs);
    config.check_same(&stored)?;
    Ok(config)
}

/// The child of the seed's key that chooses the rows of `--keep`.
const KEEP: u64 = 0x6b65_6570;

/// What a method has found.
struct Outcome {
    /// `[rows, k]`
    probabilities: Array2<f32>,
    /// `[rows, d]`: what the picture and the silhouette are made of.
    latent: Array2<f32>,
    /// Proportions by the model's prior.
    learned: Option<Vec<f64>>,
    seconds: f64,
    samples: f64,
}

/// Runs the clustering and writes the run directory; `stop` asks for an early, resumable end.
///
/// # Errors
/// Bad input before anything is written; a failed or interrupted run afterwards.
pub fn cluster(args: &ClusterArgs, stop: &AtomicBool) -> Result<Summary> {
    let mut config = configure(args)?;
    let data = load(&config)?;
    config.check_data(data.rows(), data.labels().map(|labels| labels.len()))?;
    let gpu = Gpu::new(GpuConfig { adapter: config.adapter.clone(), ..GpuConfig::default() })
        .map_err(|error| Failure::bad_input("--adapter", error))?;
    let mut progress = Progress::new(args.quiet);
    let (dir, outcome) = match config.method.as_str() {
        "variational" => fit_variational(&mut config, &data, &gpu, args, stop, &mut progress)?,
        ENTROPY => fit_entropy(&mut config, &data, &gpu, args, stop, &mut progress)?,
        method => {
            progress.note(&headline(&data, &gpu));
            let outcome = fit_baseline(method, &config, &data, &gpu)?;
            (RunDir::create(&args.out, &config)?, outcome)
        }
    };
    progress.end();
    finish(&config, &data, &gpu, &dir, outcome)
}

fn headline(data: &Dataset, gpu: &Gpu) -> String {
    format!("{} rows of {} on {}", data.rows(), data.name(), gpu.capabilities())
}

fn load(config: &Config) -> Result<Dataset> {
    let bad = |error: data::DataError| Failure::BadInput(error.to_string());
    let data = match &config.label_column {
        Some(column) => data::load_csv(&config.data, Some(column), config.rows).map_err(bad)?,
        None => data::load(&config.data, config.rows).map_err(bad)?,
    };
    let data = match &config.labels {
        Some(labels) => data.with_labels(data::load_labels(labels).map_err(bad)?).map_err(bad)?,
        None => data,
    };
    match &config.keep {
        // A stream of its own, so that the rows do not depend on how the method uses the seed.
        Some(shares) => data.keep_shares(shares, Key::new(config.seed).child(KEEP)).map_err(bad),
        None => Ok(data),
    }
}

/// A library error: bad input if it names a setting, else a failed run.
fn failure(error: softurn::Error) -> Failure {
    match error {
        softurn::Error::Argument { argument, message } => {
            Failure::bad_input(format!("--{}", argument.replace('_', "-")), message)
        }
        softurn::Error::Interrupted { .. } => {
            Failure::Interrupted(format!("{error}; continue with --resume and the same --out"))
        }
        softurn::Error::Checkpoint { .. } => Failure::bad_input("--resume", error),
        other => Failure::Failed(other.into()),
    }
}

fn fit_variational(
    config: &mut Config,
    data: &Dataset,
    gpu: &Gpu,
    args: &ClusterArgs,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> Result<(RunDir, Outcome)> {
    let mut params = Variational::params(config.k)
        .prior(match config.prior {
            Prior::Uniform => variational::Prior::Uniform,
            Prior::Categorical => variational::Prior::Categorical,
            Prior::Hypergeometric => variational::Prior::Hypergeometric,
        })
        .hidden(config.hidden.clone())
        .latent(config.latent)
        .batch(config.batch)
        .learning_rate(config.learning_rate as f32)
        .temperature(config.temperature as f32);
    if let Some(epochs) = config.pretrain_epochs {
        params = params.pretrain_epochs(epochs);
    }
    if let Some(epochs) = config.epochs {
        params = params.epochs(epochs);
    }
    let method = params.check().map_err(failure)?;
    let [pretrain, epochs] = method.epochs(data.rows());
    (config.pretrain_epochs, config.epochs) = (Some(pretrain), Some(epochs));
    // Nothing is said before the input is known to be good: then an error is the only line.
    method.check_data(gpu, data).map_err(failure)?;
    progress.note(&headline(data, gpu));
    progress.note("building the model and finding each row's neighbours");
    let training = method.start(gpu, data, Key::new(config.seed)).map_err(failure)?;

    let (dir, fitted) = train(config, data, args, stop, progress, |session| training.run(session))?;

    let (seconds, samples) = totals(&dir)?;
    let learned = fitted.group_proportions().map_err(failure)?.iter().map(|&p| f64::from(p)).collect();
    let outcome = Outcome {
        probabilities: fitted.predict_proba(data).map_err(failure)?,
        latent: fitted.transform(data).map_err(failure)?,
        learned: Some(learned),
        seconds,
        samples,
    };
    Ok((dir, outcome))
}

fn fit_entropy(
    config: &mut Config,
    data: &Dataset,
    gpu: &Gpu,
    args: &ClusterArgs,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> Result<(RunDir, Outcome)> {
    let linear = config.is_linear();
    let mut params = Entropy::params(config.k)
        .loss(match config.loss {
            Some(Loss::MutualInformation) => entropy::Loss::MutualInformation,
            Some(Loss::SelfLabel) | None => entropy::Loss::SelfLabel,
            Some(Loss::Collision) => entropy::Loss::Collision,
        })
        .sizes(sizes(config.sizes.as_deref().unwrap_or("learned"))?)
        .hidden(if linear { Vec::new() } else { config.hidden.clone() })
        .learning_rate(config.learning_rate as f32);
    if config.batch > 0 {
        params = params.batch(config.batch);
    }
    if let Some(lambda) = config.lambda {
        params = params.lambda(lambda as f32);
    }
    if let Some(gamma) = config.gamma {
        params = params.gamma(gamma as f32);
    }
    if let Some(consistency) = config.consistency {
        params = params.consistency(consistency as f32);
    }
    if let Some(starts) = config.starts {
        params = params.starts(starts);
    }
    if let Some(epochs) = config.epochs {
        params = params.epochs(epochs);
    }
    let method = params.check().map_err(failure)?;
    config.epochs = Some(method.epochs(data.rows()));
    method.check_data(gpu, data).map_err(failure)?;
    let training = method.start(gpu, data, Key::new(config.seed)).map_err(failure)?;
    progress.note(&headline(data, gpu));
    let (dir, fitted) = train(config, data, args, stop, progress, |session| training.run(session))?;
    let (seconds, samples) = totals(&dir)?;
    let learned = fitted.group_proportions().map_err(failure)?.iter().map(|&p| f64::from(p)).collect();
    let outcome = Outcome {
        probabilities: fitted.predict_proba(data).map_err(failure)?,
        latent: fitted.transform(data).map_err(failure)?,
        learned: Some(learned),
        seconds,
        samples,
    };
    Ok((dir, outcome))
}

/// `learned`, `uniform`, or shares with commas.
fn sizes(text: &str) -> Result<GroupSizes> {
    match text {
        "learned" => Ok(GroupSizes::Learned),
        "uniform" => Ok(GroupSizes::Uniform),
        _ => {
            let shares: std::result::Result<Vec<f32>, _> = text.split(',').map(|share| share.trim().parse()).collect();
            let message = || format!("'{text}' is neither learned, nor uniform, nor shares such as 0.5,0.3,0.2");
            shares.map(GroupSizes::Given).map_err(|_| Failure::bad_input("--sizes", message()))
        }
    }
}

/// Runs what trains in epochs, with a run directory, a checkpoint, and progress.
fn train<T>(
    config: &Config,
    data: &Dataset,
    args: &ClusterArgs,
    stop: &AtomicBool,
    progress: &mut Progress,
    run: impl FnOnce(&mut Session<'_>) -> softurn::Result<T>,
) -> Result<(RunDir, T)> {
    let dir = if args.resume { RunDir::open(&args.out)? } else { RunDir::create(&args.out, config)? };
    let mut written = Ok(());
    let mut observe = |event: &Event| {
        let result = record(event, &dir, progress, data.rows());
        if written.is_ok() {
            written = result;
        }
    };
    let mut session = Session {
        checkpoint: Some(dir.file(CHECKPOINT)),
        resume: args.resume,
        fingerprint: config.hash(),
        stop: Some(stop),
        observer: Some(&mut observe),
    };
    let fitted = run(&mut session);
    written?;
    Ok((dir, fitted.map_err(failure)?))
}

/// Seconds and rows of all epochs, also of those before a resume.
fn totals(dir: &RunDir) -> Result<(f64, f64)> {
    let (mut seconds, mut samples) = (0.0, 0.0);
    for line in lines(dir, TIMING)? {
        seconds += line["seconds"].as_f64().unwrap_or(0.0);
        samples += line["rows"].as_f64().unwrap_or(0.0);
    }
    Ok((seconds, samples))
}

/// Shows an event and writes what is to be kept of it.
fn record(event: &Event, dir: &RunDir, progress: &mut Progress, rows: usize) -> Result<()> {
    match event {
        Event::Resumed(at) => {
            // What was measured after the checkpoint is measured again.
            for name in [METRICS, TIMING] {
                dir.cut_back(name, |line| line["step"].as_u64().is_some_and(|step| step <= at.step))?;
            }
        }
        Event::Phase { name, done, epochs, .. } => progress.begin(name, *done, *epochs, rows),
        Event::Epoch { phase, epoch, step, losses, metrics, rows, seconds, .. } => {
            let object = |pairs: &[(&'static str, f64)]| -> Map<String, Value> {
                pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
            };
            let line = json!({
                "phase": phase, "epoch": epoch, "step": step, "losses": object(losses), "metrics": object(metrics)
            });
            dir.append(METRICS, &line)?;
            dir.append(TIMING, &json!({"phase": phase, "step": step, "rows": rows, "seconds": seconds}))?;
            progress.epoch(*epoch, losses[0].1);
        }
    }
    Ok(())
}

fn fit_baseline(method: &str, config: &Config, data: &Dataset, gpu: &Gpu) -> Result<Outcome> {
    let standardized;
    let features = if data.kind() == Kind::Table {
        standardized = data.standardized();
        standardized.features()
    } else {
        data.features()
    };
    let began = Instant::now();
    let points = gpu
        .tensor(features.as_slice().unwrap_or_default(), [data.rows(), data.cols()])
        .map_err(|error| Failure::bad_input("--data", error))?;
    let key = Key::new(config.seed);
    let (probabilities, learned) = if method == "kmeans" {
        let fitted = KMeans::params(config.k).check().and_then(|m| m.fit(gpu, &points, key)).map_err(failure)?;
        let labels = fitted.labels();
        let hard = |(i, c): (usize, usize)| f32::from(u8::from(labels[i] as usize == c));
        (Array2::from_shape_fn((data.rows(), config.k), hard), None)
    } else {
        let fitted =
            GaussianMixture::params(config.k).check().and_then(|m| m.fit(gpu, &points, key)).map_err(failure)?;
        let learned = fitted.weights().to_vec();
        let values = fitted.predict_proba(gpu, &points).and_then(|p| Ok(p.read()?)).map_err(failure)?;
        let k = config.k;
        (Array2::from_shape_fn((data.rows(), k), |(i, c)| values[i * k + c]), Some(learned))
    };
    let (seconds, samples) = (began.elapsed().as_secs_f64(), data.rows() as f64);
    Ok(Outcome { probabilities, latent: features.clone(), learned, seconds, samples })
}

fn lines(dir: &RunDir, name: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(dir.file(name)).with_context(|| format!("reading {name}"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line).with_context(|| format!("reading {name}"))?)).collect()
}

/// Cluster and confidence of each row.
fn assign(probabilities: &Array2<f32>) -> (Vec<u32>, Vec<f32>) {
    let best = |row: ndarray::ArrayView1<'_, f32>| {
        row.iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (c, &p)| if p > best.1 { (c as u32, p) } else { best })
    };
    probabilities.outer_iter().map(best).unzip()
}

fn score(clusters: &[u32], latent: &Array2<f32>, truth: Option<&[u32]>, seed: u64) -> Scores {
    let labelled = |f: fn(&[u32], &[u32]) -> std::result::Result<f64, metrics::MetricError>| {
        truth.and_then(|truth| f(clusters, truth).ok())
    };
    Scores {
        accuracy: labelled(metrics::accuracy),
        nmi: labelled(metrics::normalized_mutual_information),
        ari: labelled(metrics::adjusted_rand_index),
        // One cluster, or one per row, has none.
        silhouette: metrics::silhouette_sampled(latent.view(), clusters, SILHOUETTE_ROWS, seed).ok(),
    }
}

fn finish(config: &Config, data: &Dataset, gpu: &Gpu, dir: &RunDir, outcome: Outcome) -> Result<Summary> {
    let (clusters, confidence) = assign(&outcome.probabilities);
    let truth = data.labels();
    let ids = truth.map(|labels| labels.ids());
    let scores = score(&clusters, &outcome.latent, ids, config.seed);
    let mut baselines = Vec::new();
    let trained = ["variational", ENTROPY].contains(&config.method.as_str());
    if trained && data.rows() * data.cols() <= BASELINE_VALUES {
        for (method, name) in [("kmeans", "k-means"), ("gmm", "Gaussian mixture")] {
            let baseline = fit_baseline(method, config, data, gpu)?;
            let (clusters, _) = assign(&baseline.probabilities);
            let scores = score(&clusters, &baseline.latent, ids, config.seed);
            baselines.push(Baseline { name: name.into(), scores, seconds: baseline.seconds });
        }
    }
    let names: Option<Vec<String>> =
        truth.map(|labels| labels.ids().iter().map(|&id| labels.names()[id as usize].clone()).collect());
    dir.write_assignments(&clusters, &confidence, names.as_deref())?;
    let mut group_sizes = vec![0; config.k];
    for &cluster in &clusters {
        group_sizes[cluster as usize] += 1;
    }
    let samples_per_second = outcome.samples / outcome.seconds.max(1e-9);
    let report = ReportData {
        title: format!("{} in {} groups", data.name(), config.k),
        method: match config.method.as_str() {
            "variational" => format!("variational, {} prior", config.prior),
            ENTROPY => format!("entropy, {} group sizes", config.sizes.as_deref().unwrap_or("learned")),
            other => other.to_owned(),
        },
        adapter: gpu.capabilities().to_string(),
        seed: config.seed,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        config: config.rows_of_table(),
        dataset: report::Dataset { name: data.name().into(), rows: data.rows(), cols: data.cols() },
        scores,
        baselines: baselines.clone(),
        phases: if trained { phases(dir)? } else { Vec::new() },
        latent: Some(pca::project(outcome.latent.as_slice().unwrap_or_default(), outcome.latent.ncols())),
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
        seconds: outcome.seconds,
        samples_per_second,
    };
    dir.write(REPORT, report::render(&report).as_bytes())?;
    Ok(Summary {
        out: dir.path().to_owned(),
        report: dir.file(REPORT),
        method: config.method.clone(),
        prior: config.prior.to_string(),
        seed: config.seed,
        config_hash: config.hash(),
        adapter: gpu.capabilities().to_string(),
        rows: data.rows(),
        cols: data.cols(),
        k: config.k,
        scores,
        baselines,
        group_sizes,
        proportion_error: proportion_error(config.k, &clusters, ids, outcome.learned.as_deref()),
        learned_sizes: outcome.learned,
        seconds: outcome.seconds,
        samples_per_second,
    })
}

/// The class of each group by the best matching.
fn matching(k: usize, clusters: &[u32], truth: &[u32]) -> Vec<Option<u32>> {
    let mut classes = vec![None; k];
    for (cluster, class) in metrics::matching(clusters, truth).unwrap_or_default() {
        classes[cluster as usize] = class;
    }
    classes
}

/// The curves of all phases, also of those that ran before a resume.
fn phases(dir: &RunDir) -> Result<Vec<Phase>> {
    let mut phases: Vec<Phase> = Vec::new();
    let extend = |curves: &mut Vec<Curve>, values: &Value, epoch: f64| {
        for (name, value) in values.as_object().into_iter().flatten() {
            let point = (epoch, value.as_f64().unwrap_or(f64::NAN));
            match curves.iter_mut().find(|curve| curve.name == *name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { name: name.clone(), points: vec![point] }),
            }
        }
    };
    let timing = lines(dir, TIMING)?;
    for (line, time) in lines(dir, METRICS)?.iter().zip(&timing) {
        let name = line["phase"].as_str().unwrap_or_default();
        if phases.last().is_none_or(|phase| phase.name != name) {
            phases.push(Phase {
                name: name.into(),
                epochs: 0,
                losses: Vec::new(),
                metrics: Vec::new(),
                seconds: 0.0,
                samples_per_second: 0.0,
            });
        }
        if let Some(phase) = phases.last_mut() {
            let epoch = line["epoch"].as_f64().unwrap_or(0.0);
            phase.epochs = epoch as usize;
            extend(&mut phase.losses, &line["losses"], epoch);
            extend(&mut phase.metrics, &line["metrics"], epoch);
            phase.seconds += time["seconds"].as_f64().unwrap_or(0.0);
            // The sum of the rows for now, their rate below.
            phase.samples_per_second += time["rows"].as_f64().unwrap_or(0.0);
        }
    }
    for phase in &mut phases {
        phase.samples_per_second /= phase.seconds.max(1e-9);
    }
    Ok(phases)
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
