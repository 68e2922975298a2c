//! The one training loop: phases of epochs of shuffled batches, with schedule, checkpoint, resume and early stop.
//!
//! A method is an [`Objective`] over a [`Parameters`] store. Everything random comes from `key → phase → epoch → step`,
//! so a run that was killed and continues from its checkpoint ends with the same bits as one that was not.

pub mod batches;
mod checkpoint;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use softurn_autodiff::{Adam, Parameters, Schedule, Tape, Var};
use softurn_kernels::{Gpu, Key, Tensor};

use crate::{Error, Result};
pub use batches::Rows;
pub use checkpoint::Progress;
pub(crate) use checkpoint::replace_file;

/// A stretch of training with its own optimizer state and learning rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// What it is called in progress and metrics.
    pub name: &'static str,
    /// Passes over the data.
    pub epochs: usize,
    /// The highest learning rate; it warms up linearly over `warm_up` steps and falls as a cosine to a fortieth.
    pub learning_rate: f32,
    /// Steps of warm-up.
    pub warm_up: u32,
}

/// One minibatch: what [`Objective::rows`] made of the shuffled rows.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Row numbers in the data.
    pub rows: Vec<u32>,
    /// The same on the device, `[rows.len()]` of `u32`: a view of what was uploaded for the whole epoch.
    pub index: Tensor,
    /// The share of the phase's steps that came before this one, from 0 to below 1; 1 when nothing is learned.
    pub done: f64,
}

/// The loss of a batch, first, and the parts that are shown beside it.
pub type Losses<'t> = Vec<(&'static str, Var<'t>)>;

/// What a method adds to the loop.
pub trait Objective {
    /// The phases, in order.
    fn phases(&self) -> Vec<Phase>;

    /// Called before the first epoch of a phase, and never in the middle of one; by default nothing is to be done.
    ///
    /// # Errors
    /// Whatever the method's initialisation meets.
    fn begin(&self, _phase: usize, _parameters: &mut Parameters, _key: Key) -> Result<()> {
        Ok(())
    }

    /// The rows that a batch needs, from the shuffled ones of a step and the step's key: the same, unless the method
    /// brings others along.
    fn rows(&self, _phase: usize, shuffled: Vec<u32>, _key: Key) -> Vec<u32> {
        shuffled
    }

    /// The scalar losses of a batch; the first is minimised.
    ///
    /// # Errors
    /// Whatever the kernels meet.
    fn losses<'t>(
        &self,
        phase: usize,
        tape: &'t Tape,
        parameters: &Parameters,
        batch: &Batch,
        key: Key,
    ) -> Result<Losses<'t>>;

    /// Called after each step, `step` of which are now done in the phase; by default nothing is to be done. What it changes must be
    /// parameters: a checkpoint keeps nothing else.
    ///
    /// # Errors
    /// Whatever the kernels meet.
    fn after_step(&self, _phase: usize, _parameters: &mut Parameters, _step: usize, _key: Key) -> Result<()> {
        Ok(())
    }

    /// What is reported after an epoch besides the losses: numbers in `0..=1` that need no labels; none by default.
    ///
    /// # Errors
    /// Whatever the kernels meet.
    fn metrics(&self, _phase: usize, _parameters: &Parameters) -> Result<Vec<(&'static str, f64)>> {
        Ok(Vec::new())
    }

    /// Whether a phase may end before its last epoch, by what [`Objective::metrics`] said after an epoch of it.
    fn finished(&self, _phase: usize, _metrics: &[(&'static str, f64)]) -> bool {
        false
    }
}

/// What the loop tells while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Training continues from a checkpoint that holds everything up to here.
    Resumed(Progress),
    /// A phase begins, or goes on after `done` epochs.
    Phase {
        /// Its name.
        name: &'static str,
        /// Its position.
        index: usize,
        /// Epochs that were done before.
        done: usize,
        /// All its epochs.
        epochs: usize,
    },
    /// An epoch is over.
    Epoch {
        /// The phase's name.
        phase: &'static str,
        /// The phase's position.
        index: usize,
        /// Counted from 1 in the phase.
        epoch: usize,
        /// Steps since training began.
        step: u64,
        /// Means over the batches; the first is the loss.
        losses: Vec<(&'static str, f64)>,
        /// What [`Objective::metrics`] said.
        metrics: Vec<(&'static str, f64)>,
        /// Rows seen in the epoch.
        rows: usize,
        /// Its wall time.
        seconds: f64,
    },
}

/// How a run is watched, stopped and kept.
#[derive(Default)]
pub struct Session<'a> {
    /// Where the checkpoint is written; `None` keeps none.
    pub checkpoint: Option<PathBuf>,
    /// Continue from that file.
    pub resume: bool,
    /// Identifies the configuration: a checkpoint of another one is refused.
    pub fingerprint: String,
    /// When it turns true, the loop writes a checkpoint after the epoch in progress and returns [`Error::Interrupted`].
    pub stop: Option<&'a AtomicBool>,
    /// Called for every event.
    pub observer: Option<&'a mut dyn FnMut(&Event)>,
}

/// Wall time between checkpoints inside a phase. The bits of the result do not depend on it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

impl Session<'_> {
    fn tell(&mut self, event: &Event) {
        if let Some(observer) = &mut self.observer {
            observer(event);
        }
    }

    fn save(&self, parameters: &Parameters, progress: &Progress) -> Result<()> {
        match &self.checkpoint {
            Some(path) => checkpoint::save(path, &self.fingerprint, parameters, progress),
            None => Ok(()),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

/// The losses of every step of an epoch, on the device until its end.
struct History {
    names: Vec<&'static str>,
    steps: usize,
    /// One value per [`History::STRIDE`] elements, a step's losses side by side: views start at multiples of that.
    values: Tensor,
}

impl History {
    const STRIDE: usize = 64;

    fn new(gpu: &Gpu, losses: &Losses<'_>, steps: usize) -> Result<Self> {
        let names: Vec<&'static str> = losses.iter().map(|&(name, _)| name).collect();
        let values = gpu.zeros([steps * names.len() * Self::STRIDE])?;
        Ok(Self { names, steps, values })
    }

    fn keep(&self, step: usize, losses: &Losses<'_>) -> Result<()> {
        for (i, (_, loss)) in losses.iter().enumerate() {
            let slot = self.values.view((step * self.names.len() + i) * Self::STRIDE, loss.shape().clone())?;
            self.values.gpu().copy(loss.value(), &slot)?;
        }
        Ok(())
    }

    /// The mean of each loss over the steps.
    fn means(self) -> Result<Vec<(&'static str, f64)>> {
        let values = self.values.read()?;
        let mean = |i: usize| -> f64 {
            let of_loss = values.iter().step_by(Self::STRIDE).skip(i).step_by(self.names.len());
            of_loss.map(|&value| f64::from(value) / self.steps as f64).sum()
        };
        Ok(self.names.iter().enumerate().map(|(i, &name)| (name, mean(i))).collect())
    }
}

/// The mean of what the last phase minimises over all rows, without learning, in batches that drop an incomplete last one.
/// The same key brings the same views and noise: models of the same settings can be compared.
///
/// # Errors
/// What the objective meets.
pub(crate) fn evaluate(
    gpu: &Gpu,
    objective: &impl Objective,
    parameters: &Parameters,
    sizes: [usize; 2],
    key: Key,
) -> Result<f64> {
    let last = objective.phases().len() - 1;
    let batches = epoch(gpu, objective, last, [1.0; 2], sizes, key.child(EVALUATION))?;
    let (mut total, steps) = (0.0, batches.len() as f64);
    for (batch, key) in batches {
        let tape = Tape::new(gpu);
        total += f64::from(objective.losses(last, &tape, parameters, &batch, key)?[0].1.item()?);
    }
    Ok(total / steps)
}

/// The child of a fit's key for [`evaluate`]: the others are those of phases.
const EVALUATION: u64 = 0x6f62_6a65;

/// The child of a step's key for [`Objective::after_step`]: the first ones are those of its losses.
const AFTER_STEP: u64 = 0x6166_7465;

/// The batches of an epoch, all uploaded at once, each with the key of its step; `done` are the shares of the phase that are done
/// before and after it.
fn epoch(
    gpu: &Gpu,
    objective: &impl Objective,
    phase: usize,
    done: [f64; 2],
    [rows, batch]: [usize; 2],
    key: Key,
) -> Result<Vec<(Batch, Key)>> {
    let [order_key, steps_key] = key.split();
    let shuffled = batches::shuffled(rows, batch, order_key).into_iter().zip(steps_key.split_forever());
    let (batches, keys): (Vec<Vec<u32>>, Vec<Key>) =
        shuffled.map(|(rows, key)| (objective.rows(phase, rows, key), key)).unzip();
    Ok(batches::upload(gpu, batches, done)?.into_iter().zip(keys).collect())
}

/// Runs all phases over `rows` rows in batches of `batch`, dropping an incomplete last batch of each epoch.
///
/// # Errors
/// Divergence, interruption, a checkpoint that does not fit, and what the objective meets.
pub fn run(
    gpu: &Gpu,
    objective: &impl Objective,
    parameters: &mut Parameters,
    [rows, batch]: [usize; 2],
    key: Key,
    session: &mut Session<'_>,
) -> Result<()> {
    let phases = objective.phases();
    let mut at = Progress { key: key.bits(), ..Progress::default() };
    if session.resume {
        let path =
            session.checkpoint.clone().ok_or_else(|| Error::argument("resume", "there is no checkpoint to resume"))?;
        at = checkpoint::load(&path, &session.fingerprint, parameters)?;
        if at.key != key.bits() {
            return Err(Error::Checkpoint { path, message: "it was made with another seed".into() });
        }
        session.tell(&Event::Resumed(at.clone()));
    } else {
        session.save(parameters, &at)?;
    }
    let steps_per_epoch = (rows / batch).max(1);
    while let Some(phase) = phases.get(at.phase) {
        let phase_key = key.child(at.phase as u64);
        let [begin_key, epochs_key] = phase_key.split();
        if at.epoch == 0 {
            // Each phase has moments of its own.
            parameters.reset_moments()?;
            objective.begin(at.phase, parameters, begin_key)?;
        }
        let steps = (phase.epochs * steps_per_epoch) as u32;
        let descent = Schedule::Cosine { initial: phase.learning_rate, last: 0.025 * phase.learning_rate, steps };
        let schedule = descent.warm_up(phase.warm_up);
        let mut adam = Adam::new(schedule).at_step((at.epoch * steps_per_epoch) as u32);
        session.tell(&Event::Phase { name: phase.name, index: at.phase, done: at.epoch, epochs: phase.epochs });
        let mut saved = Instant::now();
        while at.epoch < phase.epochs {
            let (epoch_key, began) = (epochs_key.child(at.epoch as u64), Instant::now());
            // One upload and one read-back an epoch; a step in between moves nothing but parameters of kernels.
            let done = [at.epoch, at.epoch + 1].map(|epochs| epochs as f64 / phase.epochs as f64);
            let batches = epoch(gpu, objective, at.phase, done, [rows, batch], epoch_key)?;
            let steps = batches.len();
            let mut history: Option<History> = None;
            for (step, (batch, key)) in batches.into_iter().enumerate() {
                let tape = Tape::new(gpu);
                let losses = objective.losses(at.phase, &tape, parameters, &batch, key)?;
                let gradients = tape.backward(&losses[0].1)?;
                adam.step(parameters, &gradients)?;
                objective.after_step(
                    at.phase,
                    parameters,
                    at.epoch * steps_per_epoch + step + 1,
                    key.child(AFTER_STEP),
                )?;
                let history = match &history {
                    Some(history) => history,
                    None => history.insert(History::new(gpu, &losses, steps)?),
                };
                history.keep(step, &losses)?;
                at.step += 1;
            }
            at.epoch += 1;
            let losses = history.map_or(Ok(Vec::new()), History::means)?;
            if !losses[0].1.is_finite() {
                return Err(Error::Diverged { phase: phase.name, epoch: at.epoch, loss: losses[0].1 });
            }
            let metrics = objective.metrics(at.phase, parameters)?;
            let finished = objective.finished(at.phase, &metrics);
            session.tell(&Event::Epoch {
                phase: phase.name,
                index: at.phase,
                epoch: at.epoch,
                step: at.step,
                losses,
                metrics,
                rows: steps_per_epoch * batch.min(rows),
                seconds: began.elapsed().as_secs_f64(),
            });
            if finished {
                // What is left of the phase counts as done.
                at.epoch = phase.epochs;
            }
            let stopped = session.stopped();
            if stopped || at.epoch == phase.epochs || saved.elapsed() > CHECKPOINT_EVERY {
                session.save(parameters, &at)?;
                saved = Instant::now();
            }
            if stopped && !(at.epoch == phase.epochs && at.phase + 1 == phases.len()) {
                return Err(Error::Interrupted { phase: phase.name, epoch: at.epoch });
            }
        }
        at.phase += 1;
        at.epoch = 0;
    }
    Ok(())
}
