//! Settings of discriminative entropy clustering and their checks.

use serde::{Deserialize, Serialize};
use softurn_kernels::Gpu;

use super::{BLOCK, Entropy, loss};
use crate::data::Dataset;
use crate::{Error, Result};

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Loss {
    /// The mutual information of rows and groups, by gradient descent alone.
    MutualInformation,
    /// Reverse cross-entropy with soft labels in closed form.
    #[default]
    SelfLabel,
    /// Collision cross-entropy with soft labels, which come closer to hard ones.
    Collision,
}

/// What is known of the group sizes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum GroupSizes {
    /// All groups have the same size.
    Uniform,
    /// Each group's share of the rows; they sum to 1.
    Given(Vec<f32>),
    /// Nothing: shares are learned with the groups.
    #[default]
    Learned,
}

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Params {
    pub(super) k: usize,
    pub(super) loss: Loss,
    pub(super) sizes: GroupSizes,
    pub(super) lambda: Option<f32>,
    pub(super) gamma: f32,
    pub(super) hidden: Vec<usize>,
    pub(super) batch: Option<usize>,
    pub(super) epochs: Option<usize>,
    pub(super) learning_rate: Option<f32>,
    pub(super) consistency: Option<f32>,
    pub(super) starts: Option<usize>,
}

impl Params {
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            loss: Loss::default(),
            sizes: GroupSizes::default(),
            lambda: None,
            gamma: 1e-3,
            hidden: Vec::new(),
            batch: None,
            epochs: None,
            learning_rate: None,
            consistency: None,
            starts: None,
        }
    }

    /// What is minimised.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// What is known of the group sizes.
    pub fn sizes(mut self, sizes: GroupSizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// `λ`, how much the group sizes weigh: from 0 to 10,000; unset: 1 for [`Loss::MutualInformation`], else 10. Uniform
    /// sizes of groups that are not call for 1 or less.
    pub fn lambda(mut self, lambda: f32) -> Self {
        self.lambda = Some(lambda);
        self
    }

    /// `γ`, the weight of the margin term, the squared weights of the last layer; by default 0.001.
    pub fn gamma(mut self, gamma: f32) -> Self {
        self.gamma = gamma;
        self
    }

    /// Widths of hidden layers; none, the default, is a linear model.
    pub fn hidden(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.hidden = widths.into();
        self
    }

    /// Rows of a minibatch, over which group sizes are weighed: at least ten per group are wise. Unset: all rows for a
    /// linear model, else 256.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = Some(rows);
        self
    }

    /// Epochs of each start; unset: enough for 600 steps of a linear model, else 3,000.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// The highest learning rate; unset: 0.05 for a linear model, else 0.001.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.learning_rate = Some(rate);
        self
    }

    /// The weight of `KL(σ(x) ‖ σ(view of x))`, which asks for the same groups under random views; unset: 0 for a linear
    /// model, else 1.
    pub fn consistency(mut self, weight: f32) -> Self {
        self.consistency = Some(weight);
        self
    }

    /// Models that are trained one after another, of which the lowest objective wins, from 1 to 10; unset: 5 for a linear
    /// model, else 1.
    pub fn starts(mut self, starts: usize) -> Self {
        self.starts = Some(starts);
        self
    }

    fn linear_or<T>(&self, set: Option<T>, linear: T, deep: T) -> T {
        set.unwrap_or(if self.hidden.is_empty() { linear } else { deep })
    }

    pub(super) fn resolved_batch(&self, rows: usize) -> usize {
        self.linear_or(self.batch, rows, 256).min(rows)
    }

    pub(super) fn resolved_starts(&self) -> usize {
        self.linear_or(self.starts, 5, 1)
    }

    pub(super) fn resolved_lambda(&self) -> f32 {
        self.lambda.unwrap_or(if self.loss == Loss::MutualInformation { 1.0 } else { 10.0 })
    }

    pub(super) fn resolved_rate(&self) -> f32 {
        self.linear_or(self.learning_rate, 0.05, 1e-3)
    }

    pub(super) fn resolved_consistency(&self) -> f32 {
        self.linear_or(self.consistency, 0.0, 1.0)
    }

    /// Epochs of each start for a data set of so many rows, with what was not set filled in.
    pub fn resolved_epochs(&self, rows: usize) -> usize {
        let steps = (rows / self.resolved_batch(rows).max(1)).max(1);
        self.epochs.unwrap_or_else(|| self.linear_or(None, 600usize, 3000).div_ceil(steps))
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<Entropy> {
        for (name, value) in [("k", Some(self.k)), ("batch", self.batch), ("epochs", self.epochs)] {
            if value == Some(0) {
                return Err(Error::argument(name, "must be at least 1"));
            }
        }
        let lambda = self.resolved_lambda();
        if !(0.0..=1e4).contains(&lambda) {
            return Err(Error::argument("lambda", format!("{lambda} is not in 0..=10000")));
        }
        for (name, value) in [("gamma", self.gamma), ("consistency", self.resolved_consistency())] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::argument(name, format!("{value} is not 0 or a positive number")));
            }
        }
        let rate = self.resolved_rate();
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Error::argument("learning_rate", format!("{rate} is not a positive number")));
        }
        if self.hidden.contains(&0) {
            return Err(Error::argument("hidden", "has a layer of width 0"));
        }
        if !(1..=loss::STARTS.len()).contains(&self.resolved_starts()) {
            return Err(Error::argument("starts", format!("must be 1 to {}", loss::STARTS.len())));
        }
        if let GroupSizes::Given(shares) = &self.sizes {
            let total: f32 = shares.iter().sum();
            if shares.len() != self.k {
                return Err(Error::argument("sizes", format!("{} shares for {} groups", shares.len(), self.k)));
            }
            if !(shares.iter().all(|&share| share > 0.0) && (total - 1.0).abs() < 1e-3) {
                return Err(Error::argument("sizes", "must be positive shares that sum to 1"));
            }
        }
        Ok(Entropy { params: self })
    }

    /// Checks what depends on the data.
    pub(super) fn check_data(&self, gpu: &Gpu, data: &Dataset) -> Result<()> {
        if self.k > data.rows() {
            return Err(Error::argument("k", format!("{} clusters for {} rows", self.k, data.rows())));
        }
        let batch = self.resolved_batch(data.rows());
        // The schedule counts steps in 32 bits.
        let steps = (data.rows() / batch).max(1) as u128;
        let epochs = self.resolved_epochs(data.rows());
        if epochs as u128 * steps > u128::from(u32::MAX) {
            return Err(Error::argument("epochs", format!("{epochs} of {steps} steps are more than {}", u32::MAX)));
        }
        // Checked before anything of that size is made, on the host or on the device.
        let limit = gpu.capabilities().max_binding_bytes;
        let fits = |argument, what: &str, elements: u128| {
            let needed = 4 * elements;
            if needed <= u128::from(limit) {
                return Ok(());
            }
            Err(Error::argument(argument, format!("{what} needs {needed} bytes, the adapter's limit is {limit} bytes")))
        };
        let rows = batch.max(BLOCK.min(data.rows())) as u128;
        fits("batch", "a batch of rows", rows * data.cols() as u128)?;
        let mut widths = vec![data.cols()];
        widths.extend(&self.hidden);
        widths.push(self.k);
        for pair in widths.windows(2) {
            let what = format!("a layer of {} by {} weights", pair[0], pair[1]);
            fits("hidden", &what, pair[0] as u128 * pair[1] as u128)?;
            fits("hidden", "what a layer makes of its rows", rows * pair[1] as u128)?;
        }
        fits("k", "the groups' probabilities of all rows", data.rows() as u128 * self.k as u128)?;
        if self.sizes == GroupSizes::Learned {
            let draws = batch.min(loss::SIZE_ROWS) as u128 + 1;
            fits("k", "the table of the group sizes' law", (self.k as u128).pow(2) * draws)?;
        }
        Ok(())
    }
}
