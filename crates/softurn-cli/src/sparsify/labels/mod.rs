//! `softurn sparsify labels`: everything that can be wrong with the input comes before the first byte is written.

pub mod config;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use softurn::Key;
use softurn::data::{DataError, LabelSets, MultiLabelData, MultiLabelSplit, load_multilabel};
use softurn::metrics::label_set_scores;
use softurn::sparse::labels::{Count as ModelCount, Evaluation, FittedLabels};

use crate::args::LabelsArgs;
use crate::failure::{Failure, Result};
use crate::report::format::{score, seconds, thousands};
use crate::report::labels::{Bin, Label, LabelsReport, render};
use crate::run::open;
use crate::rundir::{LABELS, MODEL, REPORT};
use crate::settings::Configuration;
use crate::training::{Trainer, failure, phases, run_of, totals};
use config::{Config, Count, Loss};

/// Bins of the probabilities of labels.
const BINS: usize = 10;
/// Rows whose probabilities are in memory at once.
const BLOCK: usize = 1024;

/// The final figures of a run; all scores are of the rows that are set apart for tests.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The run directory.
    pub out: PathBuf,
    /// The report inside it.
    pub report: PathBuf,
    /// What was minimised.
    pub loss: Loss,
    /// How many labels a row is predicted to have.
    pub count: Count,
    /// Seed of every random number.
    pub seed: u64,
    /// SHA-256 of the configuration.
    pub config_hash: String,
    /// The adapter that did the work.
    pub adapter: String,
    /// All rows.
    pub rows: usize,
    /// Those of them that are scored.
    pub test_rows: usize,
    /// How good the predicted sets are.
    #[serde(flatten)]
    pub scores: Scores,
    /// Share of the rows whose first label is right.
    pub precision_at_1: Option<f64>,
    /// Share of right ones among the first three labels; none where there are fewer.
    pub precision_at_3: Option<f64>,
    /// The same of the first five.
    pub precision_at_5: Option<f64>,
    /// The same scores of the most probable number of labels, where the model knows one.
    pub argmax: Option<Scores>,
    /// Wall time of the training.
    pub seconds: f64,
    /// Rows processed per second of training.
    pub samples_per_second: f64,
}

/// Scores of predicted sets of labels.
#[derive(Debug, Clone, Serialize)]
pub struct Scores {
    /// F1 over all rows and labels together.
    pub micro_f1: f64,
    /// Mean over labels of their F1.
    pub macro_f1: f64,
    /// Share of the rows whose set is right.
    pub subset_accuracy: f64,
    /// Mean absolute error of the number of labels.
    pub count_mae: f64,
}

impl From<&Evaluation> for Scores {
    fn from(evaluation: &Evaluation) -> Self {
        let sets = evaluation.sets;
        Self {
            micro_f1: sets.micro_f1,
            macro_f1: sets.macro_f1,
            subset_accuracy: sets.subset_accuracy,
            count_mae: sets.count_error,
        }
    }
}

impl Summary {
    /// The text for standard output.
    pub fn render(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(self).unwrap_or_default();
        }
        let mut text =
            format!("{:<16}{:>10}{:>10}{:>10}{:>12}\n", "count", "micro-F1", "macro-F1", "exact", "count MAE");
        let mut line = |name: &str, s: &Scores| {
            let Scores { micro_f1, macro_f1, subset_accuracy, count_mae } = s;
            let _ =
                writeln!(text, "{name:<16}{micro_f1:>10.4}{macro_f1:>10.4}{subset_accuracy:>10.4}{count_mae:>12.4}");
        };
        line(name_of(self.count), &self.scores);
        if let Some(argmax) = self.argmax.as_ref().filter(|_| self.count != Count::Argmax) {
            line(name_of(Count::Argmax), argmax);
        }
        let precision = [self.precision_at_1, self.precision_at_3, self.precision_at_5].map(score).join(", ");
        let _ = writeln!(text, "\nprecision at 1, 3, 5: {precision}");
        let rate = thousands(self.samples_per_second.round() as u64);
        let _ = writeln!(text, "\n{} on {}, {rate} samples/s", seconds(self.seconds), self.adapter);
        let _ = writeln!(text, "{}", self.report.display());
        text
    }
}

fn name_of(count: Count) -> &'static str {
    match count {
        Count::Threshold => "threshold",
        Count::Argmax => "argmax",
        Count::Mean => "mean",
        Count::Fixed => "fixed",
    }
}

/// Learns label sets and writes the run directory; `stop` asks for an early, resumable end.
///
/// # Errors
/// Bad input before anything is written; a failed or interrupted run afterwards.
pub fn labels(args: &LabelsArgs, stop: &AtomicBool) -> Result<Summary> {
    let config = Config::of_run(&args.settings, &args.run)?;
    let method = config.method()?;
    let split = load_multilabel(&config.data).map_err(bad_archive)?;
    let MultiLabelSplit { train, test, label_names } = &split;
    method.check_data(train).map_err(|error| match error {
        softurn::Error::Argument { argument: "labels", message } => Failure::bad_input("--data", message),
        other => failure(other),
    })?;
    let rows = train.n_rows();
    if config.count == Count::Threshold && (config.validation * rows as f64).round() == 0.0 {
        let message = format!("{} of {rows} rows leaves none to choose the threshold of --count by", config.validation);
        return Err(Failure::bad_input("--validation", message));
    }
    let gpu = open(config.adapter.as_deref())?;
    let mut trainer = Trainer::new(&args.run, stop);
    trainer.progress.note(&format!("{rows} rows of {} on {}", config.data, gpu.capabilities()));
    let dir = trainer.directory(&config)?;
    let key = Key::new(config.seed);
    let fitted = trainer.train(&dir, config.hash(), rows, None, |session| method.fit_with(&gpu, train, key, session));
    trainer.written()?;
    trainer.progress.end();
    let fitted = fitted.map_err(failure)?;
    fitted.save(&dir.file(MODEL)).map_err(failure)?;
    let predicted = fitted.predict(test, config.count()).map_err(failure)?;
    dir.write(LABELS, &table(&predicted, test.labels(), label_names.as_deref())?)?;
    // Ranks are the same with every number of labels: here with one that asks for no probabilities of labels, which take longest.
    let ranked = match config.loss {
        Loss::Sigmoids => fitted.evaluate(test, ModelCount::Fixed),
        _ => fitted.evaluate(test, ModelCount::Argmax),
    };
    let ranked = ranked.map_err(failure)?;
    let sets = label_set_scores(&predicted, test.labels()).map_err(|error| failure(error.into()))?;
    let evaluation = Evaluation { sets, precision_at: ranked.precision_at.clone() };
    let argmax = (config.loss != Loss::Sigmoids).then_some(ranked);
    let mut evaluations = vec![(name_of(config.count).to_owned(), evaluation.clone())];
    if let Some(argmax) = argmax.as_ref().filter(|_| config.count != Count::Argmax) {
        evaluations.push((name_of(Count::Argmax).to_owned(), argmax.clone()));
    }
    let truth = test.labels();
    let report = LabelsReport {
        data: config.data.clone(),
        rows: [rows, test.n_rows()],
        columns: train.n_features(),
        n_labels: truth.n_labels(),
        model: in_words(&config).into(),
        evaluations,
        threshold: fitted.threshold().filter(|_| config.count == Count::Threshold),
        best_precision: evaluation.precision_at.iter().map(|&(k, _)| (k, best_precision(truth, k))).collect(),
        counts: counts([&predicted, truth]),
        calibration: calibration(&fitted, test)?,
        labels: by_label(&predicted, truth, label_names.as_deref()),
        run: run_of(&config, config.seed, &gpu, phases(&dir)?, totals(&dir)?),
    };
    dir.write(REPORT, render(&report).as_bytes())?;
    let precision = |k: usize| evaluation.precision_at.iter().find(|(at, _)| *at == k).map(|(_, share)| *share);
    Ok(Summary {
        out: dir.path().to_owned(),
        report: dir.file(REPORT),
        loss: config.loss,
        count: config.count,
        seed: config.seed,
        config_hash: config.hash(),
        adapter: report.run.adapter,
        rows: rows + test.n_rows(),
        test_rows: test.n_rows(),
        scores: Scores::from(&evaluation),
        precision_at_1: precision(1),
        precision_at_3: precision(3),
        precision_at_5: precision(5),
        argmax: argmax.as_ref().map(Scores::from),
        seconds: report.run.seconds,
        samples_per_second: report.run.samples_per_second,
    })
}

/// Features and labels come from one file.
fn bad_archive(error: DataError) -> Failure {
    let message = error.to_string();
    Failure::BadInput(message.strip_prefix("--labels").map_or(message.clone(), |rest| format!("--data{rest}")))
}

fn in_words(config: &Config) -> &'static str {
    match config.loss {
        Loss::Exact => "exact law of sets and of their size",
        Loss::Factored => "softmax over labels, and their number",
        Loss::Relaxed => "relaxed draws of number and labels",
        Loss::Sigmoids => "each label on its own",
    }
}

/// Row, predicted and true labels, by their names where there are some.
fn table(predicted: &LabelSets, truth: &LabelSets, names: Option<&[String]>) -> Result<Vec<u8>> {
    let set = |labels: &[u32]| labels.iter().map(|&label| name(label, names)).collect::<Vec<_>>().join(";");
    let write = || -> anyhow::Result<Vec<u8>> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["row", "predicted", "true"])?;
        for (row, (predicted, truth)) in predicted.rows().zip(truth.rows()).enumerate() {
            csv.write_record([row.to_string(), set(predicted), set(truth)])?;
        }
        Ok(csv.into_inner()?)
    };
    Ok(write()?)
}

fn name(label: u32, names: Option<&[String]>) -> String {
    names.map_or_else(|| label.to_string(), |names| names[label as usize].clone())
}

/// Rows with 0, 1, 2 .. labels of some sets each, up to the most of all.
fn counts(sets: [&LabelSets; 2]) -> [Vec<usize>; 2] {
    let most = sets.iter().flat_map(|sets| sets.rows()).map(<[u32]>::len).max().unwrap_or(0);
    sets.map(|sets| {
        let mut counts = vec![0; most + 1];
        sets.rows().for_each(|labels| counts[labels.len()] += 1);
        counts
    })
}

/// Precision at `k` of an order without a mistake.
fn best_precision(truth: &LabelSets, k: usize) -> f64 {
    let right: usize = truth.rows().map(|labels| labels.len().min(k)).sum();
    right as f64 / (k * truth.n_rows()) as f64
}

/// Probabilities of all labels in all rows, and how often the labels are there.
fn calibration(fitted: &FittedLabels, data: &MultiLabelData) -> Result<Vec<Bin>> {
    let mut bins = vec![Bin::default(); BINS];
    let rows: Vec<usize> = (0..data.n_rows()).collect();
    for rows in rows.chunks(BLOCK) {
        let block = data.select(rows).map_err(failure)?;
        let probabilities = fitted.probabilities(&block).map_err(failure)?;
        for (probabilities, truth) in probabilities.outer_iter().zip(block.labels().rows()) {
            for (label, &probability) in probabilities.iter().enumerate() {
                let bin = &mut bins[((probability * BINS as f32) as usize).min(BINS - 1)];
                bin.pairs += 1;
                bin.probability += f64::from(probability);
                bin.true_pairs += u64::from(truth.binary_search(&(label as u32)).is_ok());
            }
        }
    }
    Ok(bins)
}

/// Right and wrong predictions of each label.
fn by_label(predicted: &LabelSets, truth: &LabelSets, names: Option<&[String]>) -> Vec<Label> {
    let label = |label| Label { name: name(label, names), right: 0, added: 0, missing: 0 };
    let mut labels: Vec<Label> = (0..truth.n_labels() as u32).map(label).collect();
    for (predicted, truth) in predicted.rows().zip(truth.rows()) {
        for label in predicted {
            let found = &mut labels[*label as usize];
            *(if truth.binary_search(label).is_ok() { &mut found.right } else { &mut found.added }) += 1;
        }
        for label in truth.iter().filter(|label| predicted.binary_search(label).is_err()) {
            labels[*label as usize].missing += 1;
        }
    }
    labels
}
