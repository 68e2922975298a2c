//! The settings of `softurn cluster`: [`Settings`] is what a person wrote, in flags or in a file; [`Config`] is what a run uses.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::failure::{Failure, Result};
use crate::methods::{self, DEC, ENTROPY, GMM, IDEC, KMEANS, METHODS, PARTITION};
use crate::settings::{Configuration, count, flag, positive};

/// Prior over the assignments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Prior {
    /// All groups equally likely
    Uniform,
    /// Learned proportions, rows independent of each other
    Categorical,
    /// Learned group sizes: a noncentral hypergeometric distribution over counts
    Hypergeometric,
    /// The same distribution over counts as the exact probability of the assignments
    Exchangeable,
}

impl fmt::Display for Prior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Prior::Uniform => "uniform",
            Prior::Categorical => "categorical",
            Prior::Hypergeometric => "hypergeometric",
            Prior::Exchangeable => "exchangeable",
        })
    }
}

/// What the columns of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Features of units of their own: each column is scaled by its own deviation
    Table,
    /// Coordinates of one space, such as principal components: all columns are scaled by one deviation
    Embedding,
}

/// Where the groups come from that clustering starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// The better of both by what they cut and how even they are
    Best,
    /// k-means, for groups of similar size
    Kmeans,
    /// Joined parts of k-means, for groups of very unequal size
    Joined,
}

/// What the encoder learns before there are groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Pretraining {
    /// To tell a row and its neighbours, under random views, from other rows
    Contrast,
    /// To be decoded, with the decoder; no neighbours are looked for
    Reconstruction,
}

/// Where the weights of a batch's random partition come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// From mean responsibilities, without a gradient
    Responsibilities,
    /// Learned, through the sampler
    Learned,
}

/// What entropy clustering minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Reverse cross-entropy with soft labels in closed form
    SelfLabel,
    /// Collision cross-entropy, whose labels come closer to hard ones
    Collision,
    /// Mutual information, by gradient descent alone
    MutualInformation,
}

/// What a component of the Gaussian mixture may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Covariance {
    /// A variance for each column
    Diagonal,
    /// Any covariance matrix
    Full,
}

/// Settings that a person gave; what is absent falls back to the next layer.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[group(skip)]
pub struct Settings {
    /// Data set: `digits`, or an idx, npy, npz or csv file (idx and csv also as .gz)
    #[arg(long, value_name = "digits|FILE[:ARRAY]", help_heading = "Input")]
    pub data: Option<String>,
    /// True labels, for the final score only
    #[arg(long, value_name = "FILE[:ARRAY]", conflicts_with = "label_column", help_heading = "Input")]
    pub labels: Option<String>,
    /// Column of a csv file that holds the true labels
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub label_column: Option<String>,
    /// What the columns are, unless they are pixels [default: table]
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub kind: Option<Kind>,
    /// Take the first N rows only
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Input")]
    pub rows: Option<usize>,
    /// Keep this share of each class, one number per class in the order of the labels: an unbalanced set for studies
    #[arg(long, value_name = "X,X,...", value_delimiter = ',', help_heading = "Input")]
    pub keep: Option<Vec<f64>>,

    /// Number of clusters
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub k: Option<usize>,
    /// Clustering method [default: variational]
    #[arg(long, value_name = "NAME", value_parser = method_parser(), help_heading = "Model")]
    pub method: Option<String>,
    /// Prior over the assignments [default: hypergeometric]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub prior: Option<Prior>,
    /// What the encoder learns first [default: contrast]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub pretraining: Option<Pretraining>,
    /// Where the first groups come from [default: best]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub start: Option<Start>,
    /// Widths of convolutional layers before the hidden ones, for images: each halves their sides [default: none]
    #[arg(long, value_name = "N,N,...", value_parser = count, value_delimiter = ',', help_heading = "Model")]
    pub channels: Option<Vec<usize>>,
    /// Widths of the encoder's hidden layers; the decoder mirrors them; entropy also takes 0 alone: none [default: 256,128]
    #[arg(long, value_name = "N,N,...", value_parser = count, value_delimiter = ',', help_heading = "Model")]
    pub hidden: Option<Vec<usize>>,
    /// Width of the latent space; dec and idec: 10 [default: 16]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub latent: Option<usize>,

    /// Largest share of an image's sides that random views cut off, from 0 to below 1 [default: 0]
    #[arg(long, value_name = "X", help_heading = "Model")]
    pub crop: Option<f64>,
    /// Standard deviation of the noise in random views [default: images 0, tables 0.1]
    #[arg(long, value_name = "X", help_heading = "Model")]
    pub noise: Option<f64>,

    /// What the method entropy minimises [default: self-label]
    #[arg(long, value_name = "NAME", help_heading = "Entropy clustering")]
    pub loss: Option<Loss>,
    /// Group sizes: learned, all equal, or a share of each group [default: learned]
    #[arg(long, value_name = "learned|uniform|X,X,...", help_heading = "Entropy clustering")]
    pub sizes: Option<String>,
    /// Weight of the group sizes, 0 to 10000 [default: 10, with mutual-information 1]
    #[arg(long, value_name = "X", help_heading = "Entropy clustering")]
    pub lambda: Option<f64>,
    /// Weight of the margin term [default: 0.001]; of the method partition: of the group sizes [default: 1]
    #[arg(long, value_name = "X", help_heading = "Entropy clustering")]
    pub gamma: Option<f64>,
    /// Weight of agreement with random views [default: 1, without hidden layers 0]
    #[arg(long, value_name = "X", help_heading = "Entropy clustering")]
    pub consistency: Option<f64>,

    /// Where the weights of a batch's partition come from [default: responsibilities]
    #[arg(long, value_name = "NAME", help_heading = "Random partitions")]
    pub weights: Option<Weights>,
    /// Weight of the latents' divergence from their group [default: 1]
    #[arg(long, value_name = "X", help_heading = "Random partitions")]
    pub beta: Option<f64>,
    /// Weight of the order's log-probability [default: 0.01]
    #[arg(long, value_name = "X", help_heading = "Random partitions")]
    pub delta: Option<f64>,

    /// What a component of the Gaussian mixture may look like [default: diagonal]
    #[arg(long, value_name = "NAME", help_heading = "Baselines")]
    pub covariance: Option<Covariance>,
    /// Weight of reconstruction in the clustering phase of idec [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Baselines")]
    pub reconstruction: Option<f64>,

    /// Fits from other random numbers, of which the lowest objective is kept [default: 1; kmeans and gmm: 20]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub starts: Option<usize>,
    /// Epochs of the main training [default: enough for 280 steps, at least 8; entropy without hidden layers: for 600]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Epochs of pretraining; dec and idec: enough for 3500 steps [default: enough for 1400 steps, at least 20]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub pretrain_epochs: Option<usize>,
    /// Rows of a minibatch; kmeans: 0, which takes all; entropy without hidden layers: 2048, or 0 [default: 256]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub batch: Option<usize>,
    /// Adam's largest step size; pretraining takes six times as much; entropy without hidden layers: 0.05; dec and idec, both phases: 0.001 [default: 0.0005]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Temperature of the hypergeometric prior's straight-through gradient [default: 1.0]
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

fn method_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(METHODS.iter().map(|method| PossibleValue::new(method.name).help(method.summary)))
}

/// The resolved configuration: every value that decides the result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `digits` or `FILE[:ARRAY]`, see [`Source`].
    pub data: String,
    /// `FILE[:ARRAY]` of the true labels.
    pub labels: Option<String>,
    /// Csv column of the true labels.
    pub label_column: Option<String>,
    /// What the columns of a table are.
    pub kind: Option<Kind>,
    /// Only the first so many rows; all when absent.
    pub rows: Option<usize>,
    /// The share of each class that is kept; all when absent.
    pub keep: Option<Vec<f64>>,
    /// Number of clusters.
    pub k: usize,
    /// A name of [`METHODS`].
    pub method: String,
    /// Prior over the assignments.
    pub prior: Prior,
    /// What the encoder learns before there are groups.
    pub pretraining: Option<Pretraining>,
    /// Where the first groups come from.
    pub start: Start,
    /// Widths of convolutional layers before them.
    pub channels: Option<Vec<usize>>,
    /// Widths of the encoder's hidden layers.
    pub hidden: Vec<usize>,
    /// Width of the latent space.
    pub latent: usize,
    /// Largest share of an image's sides that random views cut off.
    pub crop: Option<f64>,
    /// Standard deviation of the noise in random views.
    pub noise: Option<f64>,
    /// What the method entropy minimises.
    pub loss: Option<Loss>,
    /// `learned`, `uniform` or shares.
    pub sizes: Option<String>,
    /// Weight of the group sizes.
    pub lambda: Option<f64>,
    /// Weight of the margin term.
    pub gamma: Option<f64>,
    /// Weight of agreement with random views.
    pub consistency: Option<f64>,
    /// Models of which the best is kept.
    pub starts: Option<usize>,
    /// Where the weights of a batch's partition come from.
    pub weights: Option<Weights>,
    /// Weight of the latents' divergence.
    pub beta: Option<f64>,
    /// Weight of the order's log-probability.
    pub delta: Option<f64>,
    /// What a component of the Gaussian mixture may look like.
    pub covariance: Option<Covariance>,
    /// Weight of reconstruction in idec.
    pub reconstruction: Option<f64>,
    /// Epochs of the main training; set before a deep run is written.
    pub epochs: Option<usize>,
    /// Epochs of pretraining; set before a deep run is written.
    pub pretrain_epochs: Option<usize>,
    /// Rows of a minibatch.
    pub batch: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Temperature of the relaxed draws.
    pub temperature: f64,
    /// Seed of every random number.
    pub seed: u64,
    /// Adapter by index or part of its name; the context chooses when absent.
    pub adapter: Option<String>,
}

impl Configuration for Config {
    type Settings = Settings;

    const REQUIRED: &'static [&'static str] = &["data", "k"];

    /// It depends on the method, and on whether its model is linear.
    fn defaults(given: &Table) -> Settings {
        let method = given.get("method").and_then(Value::as_str);
        let linear =
            method == Some(ENTROPY) && given.get("hidden").is_some_and(|hidden| *hidden == Value::from(vec![0]));
        let (batch, learning_rate) = match method {
            Some(ENTROPY) if linear => (2048, 5e-2),
            Some(DEC | IDEC) => (256, 1e-3),
            Some(KMEANS | GMM) => (0, 5e-4),
            _ => (256, 5e-4),
        };
        Settings {
            method: Some(METHODS[0].name.into()),
            prior: Some(Prior::Hypergeometric),
            start: Some(Start::Best),
            hidden: Some(vec![256, 128]),
            latent: Some(if matches!(method, Some(DEC | IDEC)) { 10 } else { 16 }),
            batch: Some(batch),
            learning_rate: Some(learning_rate),
            temperature: Some(1.0),
            seed: Some(0),
            ..Settings::default()
        }
    }

    fn check(&self) -> Result<()> {
        positive("k", self.k as f64)?;
        positive("latent", self.latent as f64)?;
        match self.method.as_str() {
            GMM if self.batch > 0 => {
                let message = format!("--method {GMM} takes all rows at once; --method {KMEANS} has mini-batches");
                return Err(Failure::bad_input("--batch", message));
            }
            KMEANS | GMM => {}
            _ if self.is_linear() => {}
            _ => positive("batch", self.batch as f64)?,
        }
        if self.is_linear() && self.channels.is_some() {
            return Err(Failure::bad_input("--channels", "convolutions are followed by at least one of --hidden"));
        }
        for &width in self.channels.iter().flatten() {
            positive("channels", width as f64)?;
        }
        positive("epochs", self.epochs.unwrap_or(1) as f64)?;
        positive("starts", self.starts.unwrap_or(1) as f64)?;
        positive("learning_rate", self.learning_rate)?;
        positive("temperature", self.temperature)?;
        if !self.is_linear() {
            for &width in &self.hidden {
                positive("hidden", width as f64)?;
            }
        }
        let of_methods: [(_, bool, &[&str]); 14] = [
            ("channels", self.channels.is_some(), &["variational", PARTITION, ENTROPY, DEC, IDEC]),
            ("pretraining", self.pretraining.is_some(), &["variational", PARTITION]),
            ("crop", self.crop.is_some(), &["variational", PARTITION, ENTROPY]),
            ("noise", self.noise.is_some(), &["variational", PARTITION, ENTROPY]),
            ("loss", self.loss.is_some(), &[ENTROPY]),
            ("sizes", self.sizes.is_some(), &[ENTROPY]),
            ("lambda", self.lambda.is_some(), &[ENTROPY]),
            ("gamma", self.gamma.is_some(), &[ENTROPY, PARTITION]),
            ("consistency", self.consistency.is_some(), &[ENTROPY]),
            ("weights", self.weights.is_some(), &[PARTITION]),
            ("beta", self.beta.is_some(), &[PARTITION]),
            ("delta", self.delta.is_some(), &[PARTITION]),
            ("covariance", self.covariance.is_some(), &[GMM]),
            ("reconstruction", self.reconstruction.is_some(), &[IDEC]),
        ];
        for (key, set, methods) in of_methods {
            if set && !methods.contains(&self.method.as_str()) {
                return Err(Failure::bad_input(
                    flag(key),
                    format!("is a setting of --method {}", methods.join(" or ")),
                ));
            }
        }
        if let Some(rows) = self.rows {
            positive("rows", rows as f64)?;
        }
        if !methods::names().any(|name| name == self.method) {
            let known = methods::names().collect::<Vec<_>>().join(", ");
            return Err(Failure::bad_input("--method", format!("'{}' is none of {known}", self.method)));
        }
        if self.labels.is_some() && self.label_column.is_some() {
            return Err(Failure::bad_input("--label-column", "cannot be used together with --labels"));
        }
        Ok(())
    }

    /// Epochs that are not asked for are those that the first run chose for its data.
    fn adopt(&mut self, stored: &Self) {
        self.epochs = self.epochs.or(stored.epochs);
        self.pretrain_epochs = self.pretrain_epochs.or(stored.pretrain_epochs);
    }
}

impl Config {
    /// Whether the method is entropy without hidden layers.
    pub fn is_linear(&self) -> bool {
        self.method == ENTROPY && self.hidden == [0]
    }

    /// Checks what only the loaded data can tell: enough rows for the clusters, one label per row.
    pub fn check_data(&self, rows: usize, labels: Option<usize>) -> Result<()> {
        if self.k > rows {
            return Err(Failure::bad_input("--k", format!("{} clusters for {rows} rows", self.k)));
        }
        match labels {
            Some(labels) if labels != rows => {
                Err(Failure::bad_input("--labels", format!("{labels} labels for {rows} rows")))
            }
            _ => Ok(()),
        }
    }
}

/// A file, and an array inside it where the format holds several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The name after the last colon.
    pub array: Option<String>,
}

impl Source {
    /// Splits `FILE[:ARRAY]`. A name that exists as it stands is a file, whatever colons it has.
    pub fn parse(text: &str) -> Self {
        match text.rsplit_once(':') {
            // A single letter before the colon is a Windows drive, a separator after it belongs to a path.
            Some((path, array))
                if path.len() > 1 && !array.is_empty() && !array.contains(['/', '\\']) && !Path::new(text).exists() =>
            {
                Source { path: path.into(), array: Some(array.into()) }
            }
            _ => Source { path: text.into(), array: None },
        }
    }
}
