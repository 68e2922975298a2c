//! Training as every command does it: a run directory, checkpoints, metrics line by line, progress, and what is read back
//! of them for the report.

use std::mem;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use serde_json::{Map, Value, json};
use softurn::Gpu;
use softurn::train::{Event, Session};

use crate::args::RunArgs;
use crate::failure::{Failure, Result};
use crate::progress::Progress;
use crate::report::{Curve, Phase, Run};
use crate::rundir::{CHECKPOINT, METRICS, RunDir, TIMING};
use crate::settings::Configuration;

/// Where a training writes, when it stops, what it shows.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// Where to write, and whether to resume.
    pub run: &'a RunArgs,
    /// What is shown meanwhile.
    pub progress: Progress,
    /// Turns true when the run is to end early.
    stop: &'a AtomicBool,
    written: Result<()>,
}

impl<'a> Trainer<'a> {
    /// A training that has not begun.
    pub fn new(run: &'a RunArgs, stop: &'a AtomicBool) -> Self {
        Self { run, progress: Progress::new(run.quiet), stop, written: Ok(()) }
    }

    /// Makes the run directory, or opens that of the run to resume.
    ///
    /// # Errors
    /// A place that is taken or cannot be written.
    pub fn directory(&self, config: &impl Configuration) -> Result<RunDir> {
        if self.run.resume { RunDir::open(&self.run.out) } else { RunDir::create(&self.run.out, config) }
    }

    /// Runs a training whose epochs have so many rows; `fingerprint` is the hash of the configuration, `start` its number
    /// where there are several. [`Trainer::written`] tells whether all could be written.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train<T>(
        &mut self,
        dir: &RunDir,
        fingerprint: String,
        rows: usize,
        start: Option<usize>,
        run: impl FnOnce(&mut Session<'_>) -> softurn::Result<T>,
    ) -> softurn::Result<T> {
        let first = start.is_none_or(|start| start == 1);
        let checkpoint = dir.file(&match start {
            Some(start) if !first => format!("start-{start}-{CHECKPOINT}"),
            _ => CHECKPOINT.into(),
        });
        let (progress, written) = (&mut self.progress, &mut self.written);
        let mut observe = |event: &Event| {
            let result = record(event, dir, progress, rows, start);
            if written.is_ok() {
                *written = result;
            }
        };
        let mut session = Session {
            // A run may have ended before it came to this start.
            resume: self.run.resume && (first || checkpoint.exists()),
            checkpoint: Some(checkpoint),
            fingerprint,
            stop: Some(self.stop),
            observer: Some(&mut observe),
        };
        run(&mut session)
    }

    /// Runs a training for comparison, of which no checkpoint and no metrics are kept: after a kill it is done again. Adds the seconds of its
    /// epochs to `times`.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train_aside<T>(
        &mut self,
        rows: usize,
        times: &mut Vec<f64>,
        run: impl FnOnce(&mut Session<'_>) -> softurn::Result<T>,
    ) -> softurn::Result<T> {
        let progress = &mut self.progress;
        let mut observe = |event: &Event| match event {
            Event::Phase { name, done, epochs, .. } => progress.begin(name, *done, *epochs, rows),
            Event::Epoch { epoch, losses, seconds, .. } => {
                times.push(*seconds);
                progress.epoch(*epoch, losses[0].1);
            }
            Event::Resumed(_) => {}
        };
        run(&mut Session { stop: Some(self.stop), observer: Some(&mut observe), ..Session::default() })
    }

    /// The first error of those that there were in writing metrics.
    ///
    /// # Errors
    /// That.
    pub fn written(&mut self) -> Result<()> {
        mem::replace(&mut self.written, Ok(()))
    }
}

/// What a report says of a run, whose training took so many seconds for so many samples.
pub fn run_of(config: &impl Configuration, seed: u64, gpu: &Gpu, phases: Vec<Phase>, totals: (f64, f64)) -> Run {
    let (seconds, samples) = totals;
    Run {
        adapter: gpu.capabilities().to_string(),
        seed,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        config: config.rows_of_table(),
        phases,
        seconds,
        samples_per_second: samples / seconds.max(1e-9),
    }
}

/// A library error: bad input if it names a setting, else a failed run.
pub fn failure(error: softurn::Error) -> Failure {
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

/// Shows an event and writes what is to be kept of it.
fn record(event: &Event, dir: &RunDir, progress: &mut Progress, rows: usize, start: Option<usize>) -> Result<()> {
    let start = json!(start);
    let append = |name: &str, mut line: Value| {
        if !start.is_null() {
            line["start"] = start.clone();
        }
        dir.append(name, &line)
    };
    match event {
        Event::Resumed(at) => {
            // What was measured after the checkpoint is measured again.
            for name in [METRICS, TIMING] {
                let kept = |line: &Value| line["step"].as_u64().is_some_and(|step| step <= at.step);
                dir.cut_back(name, |line| line["start"] != start || kept(line))?;
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
            append(METRICS, line)?;
            append(TIMING, json!({"phase": phase, "step": step, "rows": rows, "seconds": seconds}))?;
            progress.epoch(*epoch, losses[0].1);
        }
    }
    Ok(())
}

/// Seconds and rows of all epochs, also of those before a resume.
///
/// # Errors
/// A file that is missing or not JSON by lines.
pub fn totals(dir: &RunDir) -> Result<(f64, f64)> {
    let (mut seconds, mut samples) = (0.0, 0.0);
    for line in lines(dir, TIMING)? {
        seconds += line["seconds"].as_f64().unwrap_or(0.0);
        samples += line["rows"].as_f64().unwrap_or(0.0);
    }
    Ok((seconds, samples))
}

/// Seconds of each epoch, also of those before a resume.
///
/// # Errors
/// A file that is missing or not JSON by lines.
pub fn epochs(dir: &RunDir) -> Result<Vec<f64>> {
    Ok(lines(dir, TIMING)?.iter().map(|line| line["seconds"].as_f64().unwrap_or(0.0)).collect())
}

/// The curves of all phases, also of those that ran before a resume.
///
/// # Errors
/// A file that is missing or not JSON by lines.
pub fn phases(dir: &RunDir) -> Result<Vec<Phase>> {
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
        let mut name = line["phase"].as_str().unwrap_or_default().to_owned();
        if let Some(start) = line["start"].as_u64() {
            name += &format!(", start {start}");
        }
        if phases.last().is_none_or(|phase| phase.name != name) {
            phases.push(Phase {
                name,
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

/// The lines of a file of the run.
fn lines(dir: &RunDir, name: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(dir.file(name)).with_context(|| format!("reading {name}"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line).with_context(|| format!("reading {name}"))?)).collect()
}
