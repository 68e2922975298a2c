//! `softurn sparsify codes`: everything that can be wrong with the input comes before the first byte is written.

pub mod config;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Zip};
use serde::Serialize;
use softurn::data::{Dataset, DictionaryToy, dictionary_toy};
use softurn::metrics::{DictionaryScores, LinearProbe, dictionary_scores};
use softurn::sparse::{Encoding, Evaluation, FittedSparse};
use softurn::train::batches::shuffled;
use softurn::{Gpu, Key};

use crate::args::CodesArgs;
use crate::failure::{Failure, Result};
use crate::report::codes::{Atom, CodesReport, Example, Pair, Toy, render};
use crate::report::format::{seconds, thousands};
use crate::run::{bad, load_rows, open, with_labels};
use crate::rundir::{CODES, MODEL, REPORT};
use crate::settings::Configuration;
use crate::training::{Trainer, failure, phases, run_of, totals};
use config::{Code, Config, Decoder, Likelihood, TOY};

/// The child of the seed's key that chooses the rows that the fit does not see.
const HELD_OUT: u64 = 0x6865_6c64;
/// The child of the seed's key that makes the toy.
const MADE: u64 = 0x746f_7973;

/// Features whose pictures the report shows.
const ATOMS: usize = 128;
/// Numbers of features for which the report says how well rows come back with no more.
const KEPT: usize = 17;
/// Rows that the report shows, and features of each.
const EXAMPLES: [usize; 2] = [10, 8];

/// The final figures of a run; all scores are of rows that the fit did not see.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The run directory.
    pub out: PathBuf,
    /// The report inside it.
    pub report: PathBuf,
    /// What the code of a row is.
    pub code: Code,
    /// Number of features.
    pub size: usize,
    /// The most active features of a row; all codes but sparse and topl have no bound.
    pub bound: Option<usize>,
    /// Seed of every random number.
    pub seed: u64,
    /// SHA-256 of the configuration.
    pub config_hash: String,
    /// The adapter that did the work.
    pub adapter: String,
    /// All rows.
    pub rows: usize,
    /// Those of them that the fit did not see.
    pub held_out_rows: usize,
    /// The sum of squared errors of a row, mean over rows.
    pub error: f64,
    /// The mean number of active features.
    pub active: f64,
    /// Rows with 0, 1, 2 .. active features.
    pub rows_by_active: Vec<usize>,
    /// The error of these rows.
    pub error_by_active: Vec<Option<f64>>,
    /// Accuracy of a linear probe on the codes, where there are labels.
    pub probe_accuracy: Option<f64>,
    /// The same on the columns themselves.
    pub pixel_probe_accuracy: Option<f64>,
    /// Scores against the true codes of the toy.
    pub toy: Option<ToyScores>,
    /// Wall time of the training.
    pub seconds: f64,
    /// Rows processed per second of training.
    pub samples_per_second: f64,
}

/// Codes against the true ones.
#[derive(Debug, Clone, Serialize)]
pub struct ToyScores {
    /// Share of the rows with the true number of active atoms.
    pub count_accuracy: f64,
    /// F1 of active atoms.
    pub atom_f1: f64,
    /// Share of the rows whose active atoms are the true ones.
    pub exact_set: f64,
    /// Mean cosine of matched atoms.
    pub atom_cosine: f64,
    /// Rows with 0, 1, 2 .. active atoms in the found codes.
    pub counts: Vec<usize>,
    /// The same in the true codes.
    pub true_counts: Vec<usize>,
}

impl Summary {
    /// The text for standard output.
    pub fn render(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(self).unwrap_or_default();
        }
        let mut text = format!("squared error {:.4} with {:.2} of {} features\n", self.error, self.active, self.size);
        let _ = writeln!(text, "\n{:<10}{:>8}{:>12}", "active", "rows", "error");
        let by_active = self.rows_by_active.iter().zip(&self.error_by_active).enumerate();
        for (active, (rows, error)) in by_active.filter(|(_, (rows, _))| **rows > 0) {
            let _ = writeln!(text, "{active:<10}{rows:>8}{:>12.4}", error.unwrap_or(f64::NAN));
        }
        if let [Some(codes), Some(columns)] = [self.probe_accuracy, self.pixel_probe_accuracy] {
            let _ = writeln!(text, "\nlinear probe: {codes:.4} of the codes, {columns:.4} of the columns themselves");
        }
        if let Some(toy) = &self.toy {
            let _ = writeln!(
                text,
                "\ncounts {:.3} right, atoms F1 {:.3}, sets {:.3} right, cosine of atoms {:.3}",
                toy.count_accuracy, toy.atom_f1, toy.exact_set, toy.atom_cosine
            );
        }
        let rate = thousands(self.samples_per_second.round() as u64);
        let _ = writeln!(text, "\n{} on {}, {rate} samples/s", seconds(self.seconds), self.adapter);
        let _ = writeln!(text, "{}", self.report.display());
        text
    }
}

/// Rows as the model takes them, in two parts.
struct Parts {
    fit: Dataset,
    held_out: Dataset,
    /// Numbers of these rows in the data.
    rows: [Vec<usize>; 2],
    toy: Option<DictionaryToy>,
}

/// Learns codes and writes the run directory; `stop` asks for an early, resumable end.
///
/// # Errors
/// Bad input before anything is written; a failed or interrupted run afterwards.
pub fn codes(args: &CodesArgs, stop: &AtomicBool) -> Result<Summary> {
    let config = Config::of_run(&args.settings, &args.run)?;
    let method = config.method()?;
    let parts = parts(&config)?;
    let gpu = open(config.adapter.as_deref())?;
    for part in [&parts.fit, &parts.held_out] {
        method.check_data(&gpu, part).map_err(failure)?;
    }
    let mut trainer = Trainer::new(&args.run, stop);
    let rows = parts.fit.rows();
    trainer.progress.note(&format!("{rows} rows of {} on {}", parts.fit.name(), gpu.capabilities()));
    let dir = trainer.directory(&config)?;
    let key = Key::new(config.seed);
    let fitted =
        trainer.train(&dir, config.hash(), rows, None, |session| method.fit_with(&gpu, &parts.fit, key, session));
    trainer.written()?;
    trainer.progress.end();
    let fitted = fitted.map_err(failure)?;
    fitted.save(dir.file(MODEL)).map_err(failure)?;
    let encodings = [fitted.encode(&parts.fit).map_err(failure)?, fitted.encode(&parts.held_out).map_err(failure)?];
    dir.write(CODES, &table(&config, &parts, &encodings)?)?;
    let evaluation = fitted.evaluate(&parts.held_out).map_err(failure)?;
    let probes = probes(&gpu, &parts, &encodings)?;
    let atoms = atoms(&fitted, config.size)?;
    let toy = match &parts.toy {
        Some(toy) => Some(compared(&encodings[1], &atoms, toy)?),
        None => None,
    };
    let report = CodesReport {
        data: parts.fit.name().to_owned(),
        rows: [parts.fit.rows(), parts.held_out.rows()],
        columns: parts.fit.cols(),
        image: parts.fit.image().filter(|shape| matches!(shape.channels, 1 | 3)),
        size: config.size,
        model: in_words(&config),
        valued: valued(&config),
        atoms_are: match (config.decoder, config.likelihood) {
            (Decoder::Linear, Likelihood::Gaussian) => "The atoms of the dictionary".into(),
            (Decoder::Linear, Likelihood::Bernoulli) => "The atoms of the dictionary, in logits".into(),
            (Decoder::Mlp, _) => "What each feature alone decodes to, less what nothing decodes to".into(),
        },
        evaluation: evaluation.clone(),
        kept: kept(&fitted, &encodings[1], &parts.held_out)?,
        probes,
        atoms: most_active(&atoms, &encodings[1]),
        examples: examples(&fitted, &encodings[1], &parts, &atoms)?,
        toy,
        run: run_of(&config, config.seed, &gpu, phases(&dir)?, totals(&dir)?),
    };
    dir.write(REPORT, render(&report).as_bytes())?;
    let Evaluation { error, active, rows_by_active, error_by_active } = evaluation;
    Ok(Summary {
        out: dir.path().to_owned(),
        report: dir.file(REPORT),
        code: config.code,
        size: config.size,
        bound: config.bound,
        seed: config.seed,
        config_hash: config.hash(),
        adapter: report.run.adapter,
        rows: parts.rows.iter().map(Vec::len).sum(),
        held_out_rows: parts.held_out.rows(),
        error,
        active,
        rows_by_active,
        error_by_active,
        probe_accuracy: probes.map(|[codes, _]| codes),
        pixel_probe_accuracy: probes.map(|[_, columns]| columns),
        toy: report.toy.map(|toy| toy.scores),
        seconds: report.run.seconds,
        samples_per_second: report.run.samples_per_second,
    })
}

/// The rows of the fit and those that it does not see, scaled by the former.
fn parts(config: &Config) -> Result<Parts> {
    let key = Key::new(config.seed);
    if config.data == TOY {
        let mut toy = dictionary_toy(key.child(MADE)).map_err(bad)?;
        let (mut fit, held_out) = (toy.train.data, toy.test.data.clone());
        if let Some(rows) = config.rows {
            fit = fit.take_rows(rows).map_err(bad)?;
        }
        toy.train.data = fit.clone();
        let rows = [(0..fit.rows()).collect(), (fit.rows()..fit.rows() + held_out.rows()).collect()];
        return Ok(Parts { fit, held_out, rows, toy: Some(toy) });
    }
    let data = load_rows(&config.data, config.label_column.as_deref(), config.rows, config.kind)?;
    let data = with_labels(data, config.labels.as_deref())?;
    let (n, share) = (data.rows(), config.held_out.unwrap_or_default());
    let held_out = (share * n as f64).round() as usize;
    if held_out == 0 || held_out == n {
        return Err(Failure::bad_input("--held-out", format!("{share} of {n} rows is {held_out} rows")));
    }
    let mut order = shuffled(n, n, key.child(HELD_OUT)).concat();
    let mut rows = [order.split_off(held_out), order].map(|rows| rows.into_iter().map(|row| row as usize).collect());
    rows.iter_mut().for_each(|rows: &mut Vec<usize>| rows.sort_unstable());
    let mut parts = [data.select_rows(&rows[0]).map_err(bad)?, data.select_rows(&rows[1]).map_err(bad)?];
    // The other likelihood is of values from 0 to 1.
    if config.likelihood == Likelihood::Gaussian {
        parts = [parts[0].scaled_like(&parts[0]), parts[1].scaled_like(&parts[0])];
    }
    let [fit, held_out] = parts;
    Ok(Parts { fit, held_out, rows, toy: None })
}

fn in_words(config: &Config) -> String {
    let bound = config.bound.unwrap_or(config.size);
    match config.code {
        Code::Sparse => format!("up to {bound} of {} features", config.size),
        Code::TopL => format!("{bound} of {} features in every row", config.size),
        Code::Dense => format!("all of {} features", config.size),
        Code::L1 => format!("{} features under an L1 penalty", config.size),
    }
}

/// Whether active features have values other than 1.
fn valued(config: &Config) -> bool {
    matches!(config.code, Code::Dense | Code::L1) || config.magnitudes == Some(true)
}

/// Row, whether it was held out, how many features are active and which, the first that was taken first; with their values
/// unless these are 1.
fn table(config: &Config, parts: &Parts, encodings: &[Encoding; 2]) -> Result<Vec<u8>> {
    let valued = valued(config);
    let mut lines = Vec::new();
    for (part, (rows, encoding)) in parts.rows.iter().zip(encodings).enumerate() {
        for ((row, order), code) in rows.iter().zip(&encoding.order).zip(encoding.code.outer_iter()) {
            let feature = |&feature: &u32| match valued {
                true => format!("{feature}:{}", code[feature as usize]),
                false => feature.to_string(),
            };
            let active: Vec<String> = order.iter().map(feature).collect();
            lines.push((*row, format!("{row},{part},{},{}\n", order.len(), active.join(" "))));
        }
    }
    lines.sort_unstable_by_key(|(row, _)| *row);
    let text: String = lines.into_iter().map(|(_, line)| line).collect();
    Ok(format!("row,held_out,count,active\n{text}").into_bytes())
}

/// What each feature alone decodes to, less what nothing decodes to, `[size, columns]`: the atoms, of a linear decoder.
fn atoms(fitted: &FittedSparse, size: usize) -> Result<Array2<f32>> {
    if let Some(atoms) = fitted.dictionary().map_err(failure)? {
        return Ok(atoms);
    }
    let nothing = fitted.decode(Array2::zeros((1, size)).view()).map_err(failure)?;
    Ok(fitted.decode(Array2::eye(size).view()).map_err(failure)? - &nothing)
}

/// Accuracy of linear probes, learned on the rows of the fit and tested on the others: on codes and on columns. None without
/// labels of two classes.
fn probes(gpu: &Gpu, parts: &Parts, codes: &[Encoding; 2]) -> Result<Option<[f64; 2]>> {
    let (Some(fit), Some(held_out)) = (parts.fit.labels(), parts.held_out.labels()) else { return Ok(None) };
    if fit.ids().iter().all(|&id| id == fit.ids()[0]) {
        return Ok(None);
    }
    let ids = Array2::from_shape_fn((fit.len(), 1), |(row, _)| fit.ids()[row]);
    let accuracy = |fitted_on: ArrayView2<'_, f32>, scored: ArrayView2<'_, f32>| -> softurn::Result<f64> {
        let probe = LinearProbe::params().check()?.fit(gpu, fitted_on, ids.view(), &[fit.classes()])?;
        let predicted = probe.predict(scored)?;
        let right = predicted.iter().zip(held_out.ids()).filter(|(predicted, truth)| predicted == truth).count();
        Ok(right as f64 / held_out.len() as f64)
    };
    let of_codes = accuracy(codes[0].code.view(), codes[1].code.view()).map_err(failure)?;
    let of_columns = accuracy(parts.fit.features().view(), parts.held_out.features().view()).map_err(failure)?;
    Ok(Some([of_codes, of_columns]))
}

/// Codes and atoms of the toy's test rows beside the true ones.
fn compared(found: &Encoding, atoms: &Array2<f32>, toy: &DictionaryToy) -> Result<Toy> {
    let truth = &toy.test.active;
    let scores = dictionary_scores(found.active.view(), atoms.view(), truth.view(), toy.atoms.view())
        .map_err(|error| failure(error.into()))?;
    let mut true_counts = vec![0; truth.ncols() + 1];
    for row in truth.outer_iter() {
        true_counts[row.iter().filter(|&&on| on).count()] += 1;
    }
    let pair = |(truth, learned): (ArrayView1<'_, f32>, &Option<usize>)| {
        let learned = learned.map(|learned| {
            let learned = atoms.row(learned);
            let lengths = (truth.dot(&truth) * learned.dot(&learned)).sqrt();
            (learned.to_vec(), f64::from(truth.dot(&learned) / lengths.max(f32::MIN_POSITIVE)))
        });
        Pair { truth: truth.to_vec(), learned }
    };
    let pairs = toy.atoms.outer_iter().zip(&scores.matching).map(pair).collect();
    let DictionaryScores { count_accuracy, atom_f1, exact_set, atom_cosine, predicted_counts: counts, .. } = scores;
    Ok(Toy { scores: ToyScores { count_accuracy, atom_f1, exact_set, atom_cosine, counts, true_counts }, pairs })
}

/// Numbers of features from 0 to the most of a row, all or evenly spaced, and the error when rows keep no more than so many.
fn kept(fitted: &FittedSparse, encoding: &Encoding, data: &Dataset) -> Result<Vec<(usize, f64)>> {
    let most = encoding.counts.iter().copied().max().unwrap_or(0) as usize;
    let mut numbers: Vec<usize> =
        (0..KEPT).map(|i| (i * most) as f64 / (KEPT - 1) as f64).map(|at| at.round() as usize).collect();
    if most < KEPT {
        numbers = (0..=most).collect();
    }
    let error = |number: usize| {
        let decoded = fitted.decode(encoding.first(number).view()).map_err(failure)?;
        let square = |sum: f64, &x: &f32, &y: &f32| sum + (f64::from(x) - f64::from(y)).powi(2);
        Ok((number, Zip::from(data.features()).and(&decoded).fold(0.0, square) / data.rows() as f64))
    };
    numbers.into_iter().map(error).collect()
}

/// The features that are active in most rows.
fn most_active(atoms: &Array2<f32>, encoding: &Encoding) -> Vec<Atom> {
    let rows = encoding.active.nrows() as f64;
    let share = |feature: usize| encoding.active.column(feature).iter().filter(|&&on| on).count() as f64 / rows;
    let mut found: Vec<Atom> = (atoms.outer_iter().enumerate())
        .map(|(feature, values)| Atom { feature, share: share(feature), values: values.to_vec() })
        .collect();
    found.sort_by(|a, b| b.share.total_cmp(&a.share));
    found.truncate(ATOMS);
    found
}

/// Held-out rows at even distances in the order of their number of active features.
fn examples(fitted: &FittedSparse, encoding: &Encoding, parts: &Parts, atoms: &Array2<f32>) -> Result<Vec<Example>> {
    let [shown, features] = EXAMPLES;
    let mut order: Vec<usize> = (0..parts.held_out.rows()).collect();
    order.sort_by_key(|&row| encoding.counts[row]);
    let shown = shown.min(order.len());
    let rows: Vec<usize> = (0..shown).map(|i| order[i * (order.len() - 1) / (shown - 1).max(1)]).collect();
    let decoded = fitted.decode(encoding.code.select(Axis(0), &rows).view()).map_err(failure)?;
    let example = |(&row, after): (&usize, ArrayView1<'_, f32>)| {
        let active =
            encoding.order[row].iter().take(features).map(|&feature| (feature, encoding.code[[row, feature as usize]]));
        let active: Vec<(u32, f32)> = active.collect();
        Example {
            row: parts.rows[1][row],
            before: parts.held_out.features().row(row).to_vec(),
            after: after.to_vec(),
            atoms: active.iter().map(|(feature, _)| atoms.row(*feature as usize).to_vec()).collect(),
            active,
            count: encoding.counts[row] as usize,
        }
    };
    Ok(rows.iter().zip(decoded.outer_iter()).map(example).collect())
}
