//! `softurn represent`: everything that can be wrong with the input comes before the first byte is written.

pub mod config;
mod rows;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use ndarray::{Array1, Array2, ArrayView1, Axis};
use serde::Serialize;
use softurn::cluster_specific::{
    self as models, Autoencoder, BoltzmannMachine, Contrastive, Encoding, Fitted, VariationalAutoencoder,
};
use softurn::clustering::kmeans::KMeans;
use softurn::clustering::selection::best_by;
use softurn::data::Dataset;
use softurn::metrics;
use softurn::{Gpu, Key};

use crate::args::{RepresentArgs, RowsArgs};
use crate::failure::{Failure, Result};
use crate::report::format::{score, seconds, significant, thousands};
use crate::report::represent::{Embedding, Example, Line, Parts, Plane, RepresentReport, render};
use crate::report::{Scores, Truth, pca};
use crate::run::{matching, of_model, open};
use crate::rundir::{CONFIG, EMBEDDINGS, MODEL, REPORT, RunDir, SCALING};
use crate::settings::Configuration;
use crate::training::{Trainer, epochs, failure, phases, run_of, totals};
use config::{Config, Framework, made};

/// The children of the seed's key: for noise, for the start, for the single model, for the wider one, and for k-means.
const NOISE: u64 = 0x6e6f_6973;
const START: u64 = 0x7374_6172;
const SINGLE: u64 = 0x7369_6e67;
const WIDE: u64 = 0x7769_6465;
const KMEANS: u64 = 0x6b6d_6561;

/// Rows that the report's pictures show at most, directions of a cluster, and rows with and without noise.
const SHOWN: usize = 4000;
const DIRECTIONS: usize = 3;
const EXAMPLES: usize = 12;
/// Filters of a cluster that the report shows.
const FILTERS: usize = 16;

/// The final figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The run directory.
    pub out: PathBuf,
    /// The report inside it.
    pub report: PathBuf,
    /// What each cluster has of its own.
    pub framework: Framework,
    /// Number of clusters.
    pub k: usize,
    /// Seed of every random number.
    pub seed: u64,
    /// SHA-256 of the configuration.
    pub config_hash: String,
    /// The adapter that did the work.
    pub adapter: String,
    /// Rows of the data.
    pub rows: usize,
    /// Columns of the data.
    pub cols: usize,
    /// Rows of each cluster.
    pub cluster_sizes: Vec<usize>,
    /// What the result reached: the lowest objective of all fits.
    pub objective: f64,
    /// All fits.
    pub starts: Vec<Start>,
    /// The model, and after it what it is compared with.
    pub models: Vec<Model>,
    /// Mean squared error of the rows with noise, where it is to be taken from them.
    pub noisy_error: Option<f64>,
    /// Wall time of the training, of all starts together.
    pub seconds: f64,
    /// Rows processed per second of training.
    pub samples_per_second: f64,
}

/// One of several fits.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Start {
    /// What it reached.
    pub objective: f64,
    /// The adjusted Rand index of its clusters, where there are labels.
    pub ari: Option<f64>,
}

/// A model in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// What it is.
    pub name: String,
    /// Whether its clusters are those that k-means finds in its representations.
    pub kmeans: bool,
    /// Its clusters against the labels.
    pub scores: Scores,
    /// Numbers that it has learned.
    pub parameters: Option<usize>,
    /// Mean squared error of the rows that it makes of noisy ones.
    pub denoising_error: Option<f64>,
    /// Wall time of all its starts.
    pub seconds: f64,
    /// That of an epoch, the median of all: the first ones also compile kernels.
    pub epoch_seconds: Option<f64>,
}

impl Model {
    /// Name, and how its clusters are found where that is not all.
    pub fn title(&self) -> String {
        if self.kmeans { format!("{} + k-means", self.name) } else { self.name.clone() }
    }
}

impl Summary {
    /// The text for standard output.
    pub fn render(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(self).unwrap_or_default();
        }
        let width = self.models.iter().map(|model| model.title().chars().count() + 2).max().unwrap_or(0);
        let mut text =
            format!("{:<width$}{:>8}{:>8}{:>8}{:>12}{:>10}\n", "", "accuracy", "NMI", "ARI", "parameters", "epoch");
        for model in &self.models {
            let [accuracy, nmi, ari] = [model.scores.accuracy, model.scores.nmi, model.scores.ari].map(score);
            let parameters = model.parameters.map_or("–".into(), |count| thousands(count as u64));
            let epoch = model.epoch_seconds.map_or("–".into(), milliseconds);
            let title = model.title();
            let _ = writeln!(text, "{title:<width$}{accuracy:>8}{nmi:>8}{ari:>8}{parameters:>12}{epoch:>10}");
        }
        if let Some(noisy) = self.noisy_error {
            let _ = writeln!(text, "\nmean squared error of rows with noise {}", significant(noisy, 4));
            for model in &self.models {
                if let Some(error) = model.denoising_error {
                    let _ = writeln!(text, "  restored by {}: {}", model.name, significant(error, 4));
                }
            }
        }
        if self.starts.len() > 1 {
            let _ = writeln!(text, "\n{:<8}{:>14}{:>8}", "start", "objective", "ARI");
            for (at, start) in self.starts.iter().enumerate() {
                let _ = writeln!(text, "{:<8}{:>14}{:>8}", at + 1, significant(start.objective, 6), score(start.ari));
            }
        }
        let rate = thousands(self.samples_per_second.round() as u64);
        let _ = writeln!(text, "\n{} on {}, {rate} samples/s", seconds(self.seconds), self.adapter);
        let _ = writeln!(text, "{}", self.report.display());
        text
    }
}

/// `3.1 ms`
pub fn milliseconds(seconds: f64) -> String {
    format!("{} ms", significant(1e3 * seconds, 2))
}

/// What the command wants of a framework besides what it learns.
trait Shown: models::Framework {
    /// The first layer's weights by name, `[k, columns, filters]` or `[columns, filters]`: of the names the first that is there.
    const FILTERS: &'static [&'static str];

    /// What is made of rows from their representations, where anything is.
    fn restored(_fitted: &Fitted<Self>, _rows: &Dataset) -> softurn::Result<Option<Array2<f32>>> {
        Ok(None)
    }

    /// What the decoder makes of each number of a representation, by cluster, where it is linear.
    fn directions(_fitted: &Fitted<Self>) -> softurn::Result<Vec<Array2<f32>>> {
        Ok(Vec::new())
    }
}

impl Shown for Autoencoder {
    const FILTERS: &'static [&'static str] = &["encoder.0"];

    fn restored(fitted: &Fitted<Self>, rows: &Dataset) -> softurn::Result<Option<Array2<f32>>> {
        fitted.reconstruct(rows).map(Some)
    }

    fn directions(fitted: &Fitted<Self>) -> softurn::Result<Vec<Array2<f32>>> {
        fitted.directions()
    }
}

impl Shown for VariationalAutoencoder {
    const FILTERS: &'static [&'static str] = &["encoder.0.weight", "encoder.mean.weight"];

    fn restored(fitted: &Fitted<Self>, rows: &Dataset) -> softurn::Result<Option<Array2<f32>>> {
        fitted.reconstruct(rows).map(Some)
    }
}

impl Shown for Contrastive {
    const FILTERS: &'static [&'static str] = &["encoder.0.weight"];
}

impl Shown for BoltzmannMachine {
    const FILTERS: &'static [&'static str] = &["weights"];
}

/// Learns a representation for each cluster and writes the run directory; `stop` asks for an early, resumable end.
///
/// # Errors
/// Bad input before anything is written; a failed or interrupted run afterwards.
pub fn represent(args: &RepresentArgs, stop: &AtomicBool) -> Result<Summary> {
    let config = Config::of_run(&args.settings, &args.run)?;
    match config.framework {
        Framework::Autoencoder => run(args, stop, &config, Config::autoencoder),
        Framework::Vae => run(args, stop, &config, Config::vae),
        Framework::Contrastive => run(args, stop, &config, Config::contrastive),
        Framework::Rbm => run(args, stop, &config, Config::rbm),
    }
}

/// What a run's model makes of new rows, a table like [`EMBEDDINGS`], and the rows; none where the folder holds no such run.
///
/// # Errors
/// Bad input, and a device that fails.
pub fn predict(folder: &Path, rows: &RowsArgs) -> Result<Option<(Vec<u8>, Dataset)>> {
    // Another command's settings do not pass for these.
    let Ok(run) = Config::read(&folder.join(CONFIG)) else { return Ok(None) };
    let RowsArgs { data, label_column, rows, adapter } = rows.clone();
    let read =
        Config { data, labels: None, label_column, rows, classes: None, per_class: None, adapter, ..run.clone() };
    let data = rows::load_like(&read, &run, folder)?;
    let gpu = open(read.adapter.as_deref())?;
    let path = folder.join(MODEL);
    let table = match read.framework {
        Framework::Autoencoder => represented::<Autoencoder>(&gpu, &path, &data),
        Framework::Vae => represented::<VariationalAutoencoder>(&gpu, &path, &data),
        Framework::Contrastive => represented::<Contrastive>(&gpu, &path, &data),
        Framework::Rbm => represented::<BoltzmannMachine>(&gpu, &path, &data),
    };
    Ok(Some((table?, data)))
}

fn represented<F: models::Framework>(gpu: &Gpu, path: &Path, data: &Dataset) -> Result<Vec<u8>> {
    let encoding = Fitted::<F>::load(gpu, path).and_then(|fitted| fitted.encode(data)).map_err(of_model)?;
    embeddings(&encoding.heads, &encoding.code)
}

/// Rows, with noise where it is to be taken from them, and the device.
struct Job<'a> {
    config: &'a Config,
    gpu: &'a Gpu,
    data: &'a Dataset,
    noisy: Option<Dataset>,
}

fn run<F: Shown>(
    args: &RepresentArgs,
    stop: &AtomicBool,
    config: &Config,
    framework: impl Fn(&Config, usize) -> F,
) -> Result<Summary> {
    let (data, columns) = rows::load(config)?;
    let gpu = open(config.adapter.as_deref())?;
    let (k, latent, key) = (config.k, config.latent, Key::new(config.seed));
    let method = config.method(k, framework(config, latent))?;
    method.check_data(&gpu, &data).map_err(|error| of_layer(config, error))?;
    // What one representation for all rows would be: as wide as that of a cluster, and as wide as those of all together.
    let single = config.of_one();
    let mut widths = vec![];
    if k > 1 {
        widths.push((latent, SINGLE));
        widths.extend(config.denoise.map(|_| (latent * k, WIDE)));
    }
    for &(latent, _) in &widths {
        let method = single.method(1, framework(&single, latent))?;
        method.check_data(&gpu, &data).map_err(|error| of_layer(config, error))?;
    }
    let noisy = rows::with_noise(config, &gpu, &data, key.child(NOISE))?;
    let start = rows::start(config, &data, key.child(START))?;
    let job = Job { config, gpu: &gpu, data: &data, noisy };

    let mut trainer = Trainer::new(&args.run, stop);
    trainer.progress.note(&format!("{} rows of {} on {}", data.rows(), data.name(), gpu.capabilities()));
    let dir = trainer.directory(config)?;
    let mut starts = Vec::new();
    let fitted = best_by(config.starts, key, Fitted::objective, |key| {
        let number = (config.starts > 1).then_some(starts.len() + 1);
        let fitted = trainer.train(&dir, config.hash(), data.rows(), number, |session| match &start {
            Some(start) => method.fit_from(&gpu, &data, start, key, session),
            None => method.fit_with(&gpu, &data, key, session),
        })?;
        starts.push(Start { objective: fitted.objective(), ari: scores(fitted.labels(), &data).ari });
        Ok(fitted)
    });
    trainer.written()?;
    let (fitted, _) = fitted.map_err(failure)?;
    fitted.save(dir.file(MODEL)).map_err(failure)?;
    if let Some(columns) = columns {
        dir.write(SCALING, &rows::written(&columns))?;
    }
    let mut restored = Vec::new();
    let (mut model, encoding, made) = job.model(&fitted, epochs(&dir)?)?;
    model.scores = scores(fitted.labels(), &data);
    restored.extend(made);
    let mut all = vec![model];
    if k > 1 {
        all.push(job.clustered("k-means".into(), &data, key.child(KMEANS))?);
    }
    for (latent, child) in widths {
        let (method, mut epochs) = (single.method(1, framework(&single, latent))?, Vec::new());
        let fitted = best_by(config.starts, key.child(child), Fitted::objective, |key| {
            trainer.train_aside(data.rows(), &mut epochs, |session| method.fit_with(&gpu, &data, key, session))
        });
        let (fitted, _) = fitted.map_err(failure)?;
        let (mut model, encoding, made) = job.model(&fitted, epochs)?;
        let code = rows::remade(&data, encoding.code, None)?;
        model.scores = job.clustered(String::new(), &code, key.child(child).child(KMEANS))?.scores;
        model.kmeans = true;
        restored.extend(made);
        all.push(model);
    }
    trainer.progress.end();
    job.finish(&dir, &fitted, Found { encoding, starts, models: all, restored })
}

/// What was found besides the fitted model.
struct Found {
    encoding: Encoding,
    starts: Vec<Start>,
    models: Vec<Model>,
    /// Rows without noise, by model.
    restored: Vec<Array2<f32>>,
}

impl Job<'_> {
    /// A fitted model in figures, without scores, and what it makes of the rows and of noisy ones.
    fn model<F: Shown>(
        &self,
        fitted: &Fitted<F>,
        mut epochs: Vec<f64>,
    ) -> Result<(Model, Encoding, Option<Array2<f32>>)> {
        let restored = match &self.noisy {
            Some(noisy) => F::restored(fitted, noisy).map_err(failure)?,
            None => None,
        };
        let encoding = fitted.encode(self.data).map_err(failure)?;
        epochs.sort_by(f64::total_cmp);
        let heads = match fitted.centers().map_err(failure)?.nrows() {
            1 => "one".to_owned(),
            heads => format!("{heads} ×"),
        };
        let model = Model {
            name: format!("{heads} {} of {}", name_of(self.config.framework), encoding.code.ncols()),
            kmeans: false,
            scores: Scores::default(),
            parameters: Some(fitted.parameter_count()),
            denoising_error: restored.as_ref().map(|restored| squared_error(restored, self.data.features())),
            seconds: epochs.iter().sum(),
            epoch_seconds: epochs.get(epochs.len() / 2).copied(),
        };
        Ok((model, encoding, restored))
    }

    /// k-means of values as they are.
    fn clustered(&self, name: String, values: &Dataset, key: Key) -> Result<Model> {
        let began = Instant::now();
        let values = rows::as_they_are(values)?;
        let fitted = KMeans::params(self.config.k).check().and_then(|method| method.fit(self.gpu, &values, key));
        let scores = scores(fitted.map_err(failure)?.labels(), self.data);
        let seconds = began.elapsed().as_secs_f64();
        Ok(Model { name, kmeans: false, scores, parameters: None, denoising_error: None, seconds, epoch_seconds: None })
    }

    /// Writes tables and report.
    fn finish<F: Shown>(&self, dir: &RunDir, fitted: &Fitted<F>, found: Found) -> Result<Summary> {
        let Self { config, gpu, data, noisy } = self;
        let Found { encoding, starts, models, restored } = found;
        let labels = fitted.labels();
        let losses = fitted.assignment_losses(data).map_err(failure)?;
        let own: Vec<f32> = labels.iter().enumerate().map(|(row, &head)| losses[[head as usize, row]]).collect();
        let names: Option<Vec<String>> =
            data.labels().map(|labels| labels.ids().iter().map(|&id| labels.names()[id as usize].clone()).collect());
        dir.write_assignments(labels, ("loss", &own), names.as_deref())?;
        dir.write(EMBEDDINGS, &embeddings(labels, &encoding.code)?)?;
        let mut cluster_sizes = vec![0; config.k];
        labels.iter().for_each(|&label| cluster_sizes[label as usize] += 1);

        let directions = F::directions(fitted).map_err(failure)?;
        let image = data.image().filter(|shape| matches!(shape.channels, 1 | 3));
        let examples = match noisy {
            Some(noisy) if image.is_some() => {
                examples(data, noisy, &fitted.predict(noisy).map_err(failure)?, &restored)
            }
            _ => Vec::new(),
        };
        let report = RepresentReport {
            data: data.name().to_owned(),
            rows: data.rows(),
            columns: data.cols(),
            image,
            k: config.k,
            framework: name_of(config.framework).into(),
            uses_labels: config.uses_labels(),
            starts: starts.clone(),
            models: models.clone(),
            noise: config.denoise.zip(noisy.as_ref().map(|noisy| squared_error(noisy.features(), data.features()))),
            clusters: labels.to_vec(),
            truth: data.labels().map(|truth| Truth {
                labels: truth.ids().to_vec(),
                names: truth.names().to_vec(),
                matching: matching(config.k, labels, truth.ids()),
            }),
            plane: plane(config, data, fitted, labels, &directions)?,
            embeddings: places(labels, &encoding.code, config.k),
            examples,
            parts: parts(fitted, &directions, config.k)?,
            run: run_of(*config, config.seed, gpu, phases(dir)?, totals(dir)?),
        };
        dir.write(REPORT, render(&report).as_bytes())?;
        Ok(Summary {
            out: dir.path().to_owned(),
            report: dir.file(REPORT),
            framework: config.framework,
            k: config.k,
            seed: config.seed,
            config_hash: config.hash(),
            adapter: report.run.adapter,
            rows: data.rows(),
            cols: data.cols(),
            cluster_sizes,
            objective: fitted.objective(),
            starts,
            models,
            noisy_error: report.noise.map(|(_, error)| error),
            seconds: report.run.seconds,
            samples_per_second: report.run.samples_per_second,
        })
    }
}

/// A setting of a layer by the flag that it has here.
fn of_layer(config: &Config, error: softurn::Error) -> Failure {
    match (error, config.framework) {
        // Of the encoder's layers the widest is too large.
        (softurn::Error::Argument { argument: "widths", message }, _)
            if config.hidden.iter().flatten().any(|&width| width >= config.latent) =>
        {
            Failure::bad_input("--hidden", message)
        }
        (softurn::Error::Argument { argument: "widths" | "dimensions", message }, _)
        | (softurn::Error::Argument { argument: "hidden", message }, Framework::Rbm) => {
            Failure::bad_input("--latent", message)
        }
        (other, _) => failure(other),
    }
}

fn name_of(framework: Framework) -> &'static str {
    match framework {
        Framework::Autoencoder => "autoencoder",
        Framework::Vae => "variational autoencoder",
        Framework::Contrastive => "contrastive encoder",
        Framework::Rbm => "Boltzmann machine",
    }
}

fn scores(clusters: &[u32], data: &Dataset) -> Scores {
    let truth = data.labels().map(|labels| labels.ids());
    let score = |f: fn(&[u32], &[u32]) -> std::result::Result<f64, metrics::MetricError>| {
        truth.and_then(|truth| f(clusters, truth).ok())
    };
    Scores {
        accuracy: score(metrics::accuracy),
        nmi: score(metrics::normalized_mutual_information),
        ari: score(metrics::adjusted_rand_index),
        silhouette: None,
    }
}

/// The mean over all values.
fn squared_error(found: &Array2<f32>, truth: &Array2<f32>) -> f64 {
    let square = |(&x, &y): (&f32, &f32)| (f64::from(x) - f64::from(y)).powi(2);
    found.iter().zip(truth).map(square).sum::<f64>() / truth.len() as f64
}

/// Row, cluster, and what its head makes of the row.
fn embeddings(clusters: &[u32], code: &Array2<f32>) -> Result<Vec<u8>> {
    let header: String = (0..code.ncols()).map(|column| format!(",z{column}")).collect();
    let mut text = format!("row,cluster{header}\n");
    for (row, (cluster, code)) in clusters.iter().zip(code.outer_iter()).enumerate() {
        let _ = write!(text, "{row},{cluster}");
        code.iter().for_each(|value| {
            let _ = write!(text, ",{value}");
        });
        text.push('\n');
    }
    Ok(text.into_bytes())
}

/// The rows that a picture shows: all, or so many at even distances.
fn shown(rows: usize) -> Vec<usize> {
    (0..rows).step_by(rows.div_ceil(SHOWN).max(1)).collect()
}

/// Rows in the plane, and the directions in which the clusters' decoders go.
fn plane<F: Shown>(
    config: &Config,
    data: &Dataset,
    fitted: &Fitted<F>,
    clusters: &[u32],
    directions: &[Array2<f32>],
) -> Result<Plane> {
    let (x, rows) = (data.features(), shown(data.rows()));
    // The made sets but the one in space lie in their first two columns.
    let flat = made(&config.data).is_some_and(|set| set != softurn::data::LineClusters::Lines3d);
    let (projection, axes) = if flat {
        (None, ["column 0".to_owned(), "column 1".to_owned()])
    } else {
        let values: Vec<f32> = x.select(Axis(0), &rows).into_iter().collect();
        let projection = pca::project(&values, x.ncols(), Vec::new());
        let axes =
            [0, 1].map(|i| format!("component {} ({:.0} % of variance)", i + 1, projection.explained[i] * 100.0));
        (Some(projection), axes)
    };
    let place = |row: ArrayView1<'_, f32>| match &projection {
        Some(projection) => projection.place(row.iter().copied()),
        None => [row[0], row[1]],
    };
    let centres = fitted.centers().map_err(failure)?;
    let mut lines = Vec::new();
    for (cluster, directions) in directions.iter().enumerate() {
        let of_cluster: Vec<usize> = (0..data.rows()).filter(|&row| clusters[row] as usize == cluster).collect();
        let rows = x.select(Axis(0), &of_cluster) - centres.row(cluster);
        let mut axes: Vec<(f32, Array1<f32>)> = directions
            .outer_iter()
            .map(|direction| {
                let along = rows.dot(&direction);
                // Two deviations of the rows along the direction.
                let reach = 2.0 * (along.dot(&along) / along.len().max(1) as f32).sqrt();
                (reach, direction.to_owned())
            })
            .collect();
        axes.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (reach, direction) in axes.into_iter().take(DIRECTIONS) {
            let end = |sign: f32| place((&centres.row(cluster) + &(&direction * (sign * reach))).view());
            lines.push(Line { cluster, from: end(-1.0), to: end(1.0) });
        }
    }
    let points = rows.iter().map(|&row| place(x.row(row))).collect();
    Ok(Plane { rows, points, axes, lines })
}

/// The representations of each cluster in coordinates of their own: numbers as they are up to two, of more the two widest directions.
fn places(clusters: &[u32], code: &Array2<f32>, k: usize) -> Vec<Embedding> {
    let all = shown(clusters.len());
    let place = |cluster: usize| {
        let rows: Vec<usize> = all.iter().copied().filter(|&row| clusters[row] as usize == cluster).collect();
        let own = code.select(Axis(0), &rows);
        let (points, axes) = match code.ncols() {
            // A single number lies on a line; heights tell rows apart, no more.
            1 => {
                let height = |at: usize| ((at as f32 * 0.618_034).fract() - 0.5) * 0.25 * spread(&own);
                let points = own.iter().enumerate().map(|(at, &value)| [value, height(at)]).collect();
                (points, ["z0".to_owned(), String::new()])
            }
            2 => (own.outer_iter().map(|z| [z[0], z[1]]).collect(), ["z0".to_owned(), "z1".to_owned()]),
            columns => {
                let values: Vec<f32> = own.into_iter().collect();
                let projection = pca::project(&values, columns, Vec::new());
                let percent = projection.explained.map(|share| share * 100.0);
                (projection.points, [0, 1].map(|i| format!("component {} ({:.0} %)", i + 1, percent[i])))
            }
        };
        Embedding { cluster, rows, points, axes }
    };
    (0..k).map(place).collect()
}

/// The largest value less the smallest.
fn spread(values: &Array2<f32>) -> f32 {
    let [low, high] = values
        .iter()
        .filter(|value| value.is_finite())
        .fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &value| [low.min(value), high.max(value)]);
    if low < high { high - low } else { 1.0 }
}

/// Rows at even distances in the order of their clusters, with noise and without.
fn examples(data: &Dataset, noisy: &Dataset, clusters: &[u32], restored: &[Array2<f32>]) -> Vec<Example> {
    let mut order: Vec<usize> = (0..data.rows()).collect();
    order.sort_by_key(|&row| clusters[row]);
    let count = EXAMPLES.min(order.len());
    let row = |i: usize| order[i * order.len() / count];
    let example = |row: usize| Example {
        row,
        cluster: clusters[row],
        clean: data.features().row(row).to_vec(),
        noisy: noisy.features().row(row).to_vec(),
        restored: restored.iter().map(|made| made.row(row).to_vec()).collect(),
    };
    (0..count).map(row).map(example).collect()
}

/// What the clusters are made of, as rows: centres, decoder directions and filters. What all share comes first.
fn parts<F: Shown>(fitted: &Fitted<F>, directions: &[Array2<f32>], k: usize) -> Result<Vec<Parts>> {
    let param = F::FILTERS.iter().find_map(|name| fitted.parameters().get(name));
    let param = param.with_context(|| format!("no parameter of {:?}", F::FILTERS))?;
    let values = fitted.parameters().read(param).context("reading filters")?;
    let dims = param.shape().dims();
    let [columns, filters] = [dims[dims.len() - 2], dims[dims.len() - 1]];
    let of_head = |head: usize| -> Vec<Vec<f32>> {
        let filter =
            |filter: usize| (0..columns).map(|column| values[(head * columns + column) * filters + filter]).collect();
        (0..filters.min(FILTERS)).map(filter).collect()
    };
    let shared = dims.len() == 2;
    let centres = fitted.centers().map_err(failure)?;
    let centred = centres.iter().any(|&value| value != 0.0);
    let of_cluster = |cluster: usize| Parts {
        name: format!("Cluster {cluster}"),
        cluster: Some(cluster),
        centre: centred.then(|| centres.row(cluster).to_vec()),
        directions: directions
            .get(cluster)
            .map_or_else(Vec::new, |of| of.outer_iter().take(FILTERS).map(|direction| direction.to_vec()).collect()),
        filters: if shared { Vec::new() } else { of_head(cluster) },
    };
    let common = Parts {
        name: "Shared by all".into(),
        cluster: None,
        centre: None,
        directions: Vec::new(),
        filters: if shared { of_head(0) } else { Vec::new() },
    };
    Ok(shared.then_some(common).into_iter().chain((0..k).map(of_cluster)).collect())
}
