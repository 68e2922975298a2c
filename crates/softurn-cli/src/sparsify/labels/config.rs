//! The settings of `softurn sparsify labels`: [`Settings`] is what a person wrote, in flags or in a file; [`Config`] is what a run
//! uses.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use softurn::sparse::labels::{self, LabelModel};
use toml::{Table, Value};

use crate::failure::{Failure, Result};
use crate::settings::{Configuration, check_fit, count, hidden_widths};
use crate::training::failure;

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// The exact law of sets of a size, and of their size
    Exact,
    /// A softmax over labels for each label of a row, and the number of labels
    Factored,
    /// Cross-entropy of the relaxed draw of number and labels
    Relaxed,
    /// Baseline: each label on its own
    Sigmoids,
}

/// How many labels a row is predicted to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// Those of a probability that is best on the rows of --validation
    Threshold,
    /// The most probable number
    Argmax,
    /// The mean number, rounded
    Mean,
    /// That of the mean row of the fit, for all rows
    Fixed,
}

/// Settings that a person gave; what is absent falls back to the next layer.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[group(skip)]
pub struct Settings {
    /// Archive of features, labels and the split into rows to learn from and rows to score on
    #[arg(long, value_name = "FILE.npz", help_heading = "Input")]
    pub data: Option<String>,

    /// What is minimised [default: exact]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub loss: Option<Loss>,
    /// How many labels a row is predicted to have [default: threshold]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub count: Option<Count>,
    /// The most labels that a row may have; sigmoids know none [default: the most of the rows to learn from]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub bound: Option<usize>,
    /// Whether a row may have no labels [default: whether one of the rows to learn from has none]
    #[arg(long, value_name = "BOOL", help_heading = "Model")]
    pub zero_class: Option<bool>,
    /// Widths of the hidden layers, 0 for none [default: 256]
    #[arg(long, value_name = "N,N,...", value_parser = count, value_delimiter = ',', help_heading = "Model")]
    pub hidden: Option<Vec<usize>>,
    /// Share of hidden values that a step leaves out [default: 0.5]
    #[arg(long, value_name = "X", help_heading = "Model")]
    pub dropout: Option<f64>,

    /// Share of the rows to learn from that is kept from the fit, to choose the threshold by [default: 0.2]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub validation: Option<f64>,
    /// Rows of a step [default: 64]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub batch: Option<usize>,
    /// Passes over the rows; sets of hundreds of rows want more [default: 20]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Adam's largest step size [default: 0.002]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Temperature of the relaxed draws of number and labels; relaxed only [default: 0.5]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub temperature: Option<f64>,
    /// Seed of every random number [default: 0]
    // TOML integers are signed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = "Training")]
    pub seed: Option<u64>,
    /// Adapter by index or by part of its name, see `softurn devices` [default: the fastest kind]
    #[arg(long, value_name = "NAME|INDEX", help_heading = "Training")]
    pub adapter: Option<String>,
}

/// The resolved configuration: every value that decides the result of a run. What does not suit the loss is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The archive.
    pub data: String,
    /// What is minimised.
    pub loss: Loss,
    /// How many labels a row is predicted to have.
    pub count: Count,
    /// The most labels of a row; the data decide when absent.
    pub bound: Option<usize>,
    /// Whether a row may have no labels; the data decide when absent.
    pub zero_class: Option<bool>,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Share of hidden values that a step leaves out.
    pub dropout: f64,
    /// Share of the rows that is kept from the fit.
    pub validation: f64,
    /// Rows of a step.
    pub batch: usize,
    /// Passes over the rows.
    pub epochs: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Temperature of the relaxed draws.
    pub temperature: Option<f64>,
    /// Seed of every random number.
    pub seed: u64,
    /// Adapter by index or part of its name; the context chooses when absent.
    pub adapter: Option<String>,
}

impl Configuration for Config {
    type Settings = Settings;

    const REQUIRED: &'static [&'static str] = &["data"];

    fn defaults(given: &Table) -> Settings {
        let relaxed = given.get("loss").and_then(Value::as_str) == Some("relaxed");
        Settings {
            loss: Some(Loss::Exact),
            count: Some(Count::Threshold),
            hidden: Some(vec![256]),
            dropout: Some(0.5),
            validation: Some(0.2),
            batch: Some(64),
            epochs: Some(20),
            learning_rate: Some(2e-3),
            temperature: relaxed.then_some(0.5),
            seed: Some(0),
            ..Settings::default()
        }
    }

    fn check(&self) -> Result<()> {
        check_fit(&[
            ("bound", self.bound.is_some(), self.loss != Loss::Sigmoids, "--loss exact, factored or relaxed"),
            ("temperature", self.temperature.is_some(), self.loss == Loss::Relaxed, "--loss relaxed"),
        ])?;
        if self.count == Count::Argmax && self.loss == Loss::Sigmoids {
            return Err(Failure::bad_input("--count", "--loss sigmoids knows no probabilities of numbers of labels"));
        }
        // What else the method itself checks.
        self.method()?;
        if self.count == Count::Threshold && self.validation == 0.0 {
            return Err(Failure::bad_input("--validation", "0 leaves no rows to choose the threshold of --count by"));
        }
        Ok(())
    }
}

impl Config {
    /// The method that is asked for.
    ///
    /// # Errors
    /// The first setting that it does not take, by its flag.
    pub fn method(&self) -> Result<LabelModel> {
        let loss = match self.loss {
            Loss::Exact => labels::Loss::Exact,
            Loss::Factored => labels::Loss::Factored,
            Loss::Relaxed => labels::Loss::Relaxed,
            Loss::Sigmoids => labels::Loss::Sigmoids,
        };
        let mut params = LabelModel::params(loss)
            .hidden(&hidden_widths(&self.hidden))
            .dropout(self.dropout as f32)
            .validation(self.validation)
            .batch(self.batch)
            .epochs(self.epochs)
            .learning_rate(self.learning_rate as f32);
        if let Some(bound) = self.bound {
            params = params.bound(bound);
        }
        if let Some(allowed) = self.zero_class {
            params = params.zero_class(allowed);
        }
        if let Some(temperature) = self.temperature {
            params = params.temperatures([temperature as f32; 2]);
        }
        params.check().map_err(failure)
    }

    /// The way of counting as the model knows it.
    pub fn count(&self) -> labels::Count {
        match self.count {
            Count::Threshold => labels::Count::Threshold,
            Count::Argmax => labels::Count::Argmax,
            Count::Mean => labels::Count::Mean,
            Count::Fixed => labels::Count::Fixed,
        }
    }
}
