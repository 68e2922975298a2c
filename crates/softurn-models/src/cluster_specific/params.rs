//! Settings of the meta-algorithm, and their checks.

use serde::{Deserialize, Serialize};
use softurn_kernels::Gpu;

use super::training::SMALLEST_BLOCK;
use super::{ClusterSpecific, Framework, widths};
use crate::clustering::{countable, fits};
use crate::data::Dataset;
use crate::{Error, Result};

/// Which losses rows choose their heads by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reassignment {
    /// Those after the last step.
    #[default]
    Fresh,
    /// Those before it, as in the authors' code: every choice takes effect one reassignment late.
    BeforeStep,
}

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Params<F> {
    pub(super) k: usize,
    pub(super) framework: F,
    pub(super) starts: usize,
    pub(super) batch: Option<usize>,
    pub(super) epochs: usize,
    pub(super) learning_rate: f32,
    pub(super) steps: Option<usize>,
    pub(super) reassignment: Reassignment,
    pub(super) hold: usize,
    pub(super) warm_up: usize,
    pub(super) temperatures: [f32; 2],
}

impl<F: Framework> Params<F> {
    pub(super) fn new(k: usize, framework: F) -> Self {
        Self {
            k,
            framework,
            starts: 1,
            batch: None,
            epochs: 150,
            learning_rate: 0.1,
            steps: None,
            reassignment: Reassignment::default(),
            hold: 0,
            warm_up: 0,
            temperatures: [1.0, 1.0],
        }
    }

    /// How often [`ClusterSpecific::fit`] begins anew, from other seeds and weights; of all fits the one with the lowest objective is
    /// kept. By default 1.
    pub fn starts(mut self, starts: usize) -> Self {
        self.starts = starts;
        self
    }

    /// Rows of a step; by default all.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = Some(rows);
        self
    }

    /// Passes over the data; by default 150.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// The highest learning rate; by default 0.1, which suits 150 steps of a small linear autoencoder.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.learning_rate = rate;
        self
    }

    /// Steps of gradient descent between two Lloyd steps, in which all rows choose their heads and centres move; by default as many as
    /// an epoch has.
    pub fn steps_per_assignment(mut self, steps: usize) -> Self {
        self.steps = Some(steps);
        self
    }

    /// Which losses rows choose their heads by; by default [`Reassignment::Fresh`].
    pub fn reassignment(mut self, reassignment: Reassignment) -> Self {
        self.reassignment = reassignment;
        self
    }

    /// The first passes over the data of [`Params::epochs`], in which no row changes its head; by default none. For starts that are better
    /// than what heads say that have learned little.
    pub fn hold(mut self, epochs: usize) -> Self {
        self.hold = epochs;
        self
    }

    /// Passes over the data, before the others, in which every row learns in all heads, with weights in proportion to
    /// `exp(-loss / temperature)`; the temperature goes from `start` to `end` in equal ratios. By default none. For losses that
    /// say little of clusters before heads have learned much. Centres stay with the first assignment until it ends.
    pub fn warm_up(mut self, epochs: usize, start: f32, end: f32) -> Self {
        (self.warm_up, self.temperatures) = (epochs, [start, end]);
        self
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<ClusterSpecific<F>> {
        let counted = [
            ("k", self.k),
            ("starts", self.starts),
            ("batch", self.batch.unwrap_or(1)),
            ("epochs", self.epochs),
            ("steps_per_assignment", self.steps.unwrap_or(1)),
        ];
        if let Some((name, _)) = counted.into_iter().find(|&(_, value)| value == 0) {
            return Err(Error::argument(name, "must be at least 1"));
        }
        let [start, end] = self.temperatures;
        for (name, value) in [("learning_rate", self.learning_rate), ("warm_up", start), ("warm_up", end)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::argument(name, format!("{value} is not a positive number")));
            }
        }
        if self.warm_up > 0 && !F::WARMS_UP {
            let message = format!("{} learns from partners, and a warm-up has none", F::NAME);
            return Err(Error::argument("warm_up", message));
        }
        self.framework.check(self.k)?;
        Ok(ClusterSpecific { params: self })
    }

    /// Checks, before anything of that size is made, that model and data fit the adapter.
    pub(super) fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        if self.k > data.rows() {
            return Err(Error::argument("k", format!("{} clusters for {} rows", self.k, data.rows())));
        }
        self.framework.check_data(data)?;
        let (k, cols, rows) = (self.k as u128, data.cols() as u128, self.rows_of_step(data.rows()));
        fits(gpu, "k", "the centres", k * cols)?;
        fits(gpu, "data", "all rows", data.rows() as u128 * cols)?;
        // All rows of a step go through all heads in a warm-up only; otherwise blocks do, of which the smallest has this size.
        let under_all =
            if self.warm_up > 0 { rows } else { rows.div_ceil(self.k).max(SMALLEST_BLOCK.min(data.rows())) };
        fits(gpu, "batch", "a batch under all heads", under_all as u128 * k * cols)?;
        widths::check(gpu, &self.framework.widths(), [self.k, data.cols()], under_all)?;
        countable("epochs", self.epochs.max(self.warm_up), (data.rows() / rows).max(1))
    }

    /// Rows of a step, of so many.
    pub(super) fn rows_of_step(&self, rows: usize) -> usize {
        self.batch.unwrap_or(rows).min(rows)
    }

    /// The temperature of the warm-up after a share of it.
    pub(super) fn temperature(&self, done: f64) -> f32 {
        let [start, end] = self.temperatures.map(f64::from);
        (start * (end / start).powf(done)) as f32
    }
}
