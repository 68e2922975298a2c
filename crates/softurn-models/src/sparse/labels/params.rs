//! Settings of the models of label sets, and their checks.

use serde::{Deserialize, Serialize};

use super::LabelModel;
use crate::data::MultiLabelData;
use crate::distributions::Temperature;
use crate::{Error, Result};

/// What is minimised: for the first three the cross-entropy of the number of labels, and a loss of which ones they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// The mean of `-log softmax(α)` over the labels of a row.
    Factored,
    /// Binary cross-entropy of the relaxed mask of two Gumbel-softmax steps, the number and then the labels without replacement.
    Relaxed,
    /// `-log P(S)` given the size of `S`, with `P(S) ∝ Π_{k in S} e^{α_k}` over all sets of that size: exact, without sampling.
    Exact,
    /// The baseline: each label on its own by a sigmoid, without a number of labels.
    Sigmoids,
}

/// How many labels a row is predicted to have; which ones are always those with the highest scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Count {
    /// The most probable number.
    Argmax,
    /// The mean number, rounded.
    Mean,
    /// As many as have at least a certain probability to be in the set, one for all rows and labels: that with the best micro-F1 on
    /// the rows that were held out of the fit.
    Threshold,
    /// The mean number of labels of the rows of the fit, rounded, for all rows.
    Fixed,
}

/// Settings; [`Params::check`] turns them into a method that can be fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Params {
    pub(super) loss: Loss,
    pub(super) bound: Option<usize>,
    pub(super) zero_class: Option<bool>,
    pub(super) hidden: Vec<usize>,
    pub(super) dropout: f32,
    pub(super) batch: usize,
    pub(super) epochs: usize,
    pub(super) learning_rate: f32,
    pub(super) validation: f64,
    pub(super) temperatures: [f32; 2],
}

impl Params {
    pub(super) fn new(loss: Loss) -> Self {
        Self {
            loss,
            bound: None,
            zero_class: None,
            hidden: vec![256],
            dropout: 0.5,
            batch: 64,
            epochs: 20,
            learning_rate: 2e-3,
            validation: 0.2,
            temperatures: [0.5; 2],
        }
    }

    /// The highest number of labels that is predicted; by default the highest of the rows of the fit. Rows with more count as rows
    /// with as many in the loss of the number, while the loss of which labels they are sees all of them.
    pub fn bound(mut self, labels: usize) -> Self {
        self.bound = Some(labels);
        self
    }

    /// Whether a row may have no labels; by default it may if a row of the data has none.
    pub fn zero_class(mut self, allowed: bool) -> Self {
        self.zero_class = Some(allowed);
        self
    }

    /// Widths of the hidden layers; by default one of 256.
    pub fn hidden(mut self, widths: &[usize]) -> Self {
        self.hidden = widths.to_vec();
        self
    }

    /// The share of hidden values that a step leaves out (dropout), from 0 to below 1; by default ½.
    pub fn dropout(mut self, share: f32) -> Self {
        self.dropout = share;
        self
    }

    /// Rows of a step.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows;
        self
    }

    /// Passes over the rows; by default 20, and more where there are only hundreds of rows.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// The highest learning rate.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.learning_rate = rate;
        self
    }

    /// The share of the rows that is held out of the fit, by which [`Count::Threshold`] is chosen, from 0 to below 1; by default a fifth.
    pub fn validation(mut self, share: f64) -> Self {
        self.validation = share;
        self
    }

    /// The temperatures of [`Loss::Relaxed`], of the number and of the labels; by default ½ each.
    pub fn temperatures(mut self, temperatures: [f32; 2]) -> Self {
        self.temperatures = temperatures;
        self
    }

    /// Checks the settings that do not depend on the data.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn check(self) -> Result<LabelModel> {
        let sizes = [("bound", self.bound.unwrap_or(1)), ("batch", self.batch), ("epochs", self.epochs)];
        let widths = self.hidden.iter().map(|&width| ("hidden", width));
        if let Some((name, _)) = sizes.into_iter().chain(widths).find(|&(_, value)| value == 0) {
            return Err(Error::argument(name, "must be at least 1"));
        }
        for (name, share) in [("dropout", f64::from(self.dropout)), ("validation", self.validation)] {
            if !(0.0..1.0).contains(&share) {
                return Err(Error::argument(name, format!("{share} is not a share from 0 to below 1")));
            }
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::argument("learning_rate", format!("{} is not a positive number", self.learning_rate)));
        }
        for temperature in self.temperatures {
            Temperature::new(temperature)?;
        }
        Ok(LabelModel { params: self })
    }

    /// Checks what depends on the data, and tells the least and the highest number of labels.
    pub(super) fn check_data(&self, data: &MultiLabelData) -> Result<[usize; 2]> {
        let (labels, n_labels) = (data.labels(), data.labels().n_labels());
        let empty = labels.rows().position(<[u32]>::is_empty);
        let zero_class = self.zero_class.unwrap_or(empty.is_some());
        if self.loss != Loss::Sigmoids
            && !zero_class
            && let Some(row) = empty
        {
            return Err(Error::argument("labels", format!("row {row} has none, and there is no zero class")));
        }
        let most = labels.rows().map(<[u32]>::len).max().unwrap_or(0).max(1);
        let bound = self.bound.unwrap_or(most);
        if bound > n_labels {
            return Err(Error::argument("bound", format!("is {bound}, more than the {n_labels} labels there are")));
        }
        Ok([usize::from(!zero_class), bound])
    }
}
