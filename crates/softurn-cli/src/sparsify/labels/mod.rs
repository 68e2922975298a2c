//! `softurn sparsify labels`: everything that can be wrong with the input comes before the first byte is written.

pub mod config;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use softurn::Key;
use softurn::data::{LabelSets, MultiLabelSplit, load_multilabel};
use softurn::sparse::labels::{Count as ModelCount, Evaluation};

use crate::args::LabelsArgs;
use crate::failure::{Failure, Result};
use crate::report::format::{score, seconds, thousands};
use crate::report::labels::{LabelsReport, render};
use crate::run::{bad, open};
use crate::rundir::{LABELS, MODEL, REPORT};
use crate::settings::Configuration;
use crate::training::{Trainer, failure, phases, run_of, totals};
use config::{Config, Count, Loss};

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
    /// Share of right ones among the labels that comes first; none where there are fewer labels, as below.
    pub precision_at_1: Option<f64>,
    /// Among the first three.
    pub precision_at_3: Option<f64>,
    /// Among the first five.
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
    let split = load_multilabel(&config.data).map_err(bad)?;
    let MultiLabelSplit { train, test, label_names } = &split;
    method.check_data(train).map_err(failure)?;
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
    let evaluation = fitted.evaluate(test, config.count()).map_err(failure)?;
    let argmax = match config.loss {
        Loss::Sigmoids => None,
        _ => Some(fitted.evaluate(test, ModelCount::Argmax).map_err(failure)?),
    };
    let run = run_of(&config, config.seed, &gpu, phases(&dir)?, totals(&dir)?);
    let report = LabelsReport {
        data: config.data.clone(),
        rows: [rows, test.n_rows()],
        columns: train.n_features(),
        n_labels: test.labels().n_labels(),
        model: in_words(&config).into(),
        evaluation: evaluation.clone(),
        run,
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
    let name = |label: &u32| names.map_or_else(|| label.to_string(), |names| names[*label as usize].clone());
    let set = |labels: &[u32]| labels.iter().map(name).collect::<Vec<_>>().join(";");
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
