//! The report of a run: one HTML page that needs nothing but itself.
//!
//! [`ReportData`] holds what happened, [`render`] makes the page. Confusion matrix, counts and the choice of images
//! are made here; training, scores and the matching of groups to classes are not.

pub mod chart;
mod clustering;
pub mod codes;
mod colour;
pub mod disentangle;
pub mod format;
pub mod image;
pub mod labels;
mod parts;
pub mod pca;
pub mod represent;

use serde::Serialize;

pub use chart::Curve;
pub use image::Images;
pub use pca::Projection;

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub struct ReportData {
    /// Heading, such as `digits in 10 groups`.
    pub title: String,
    /// Method and prior in words, such as `variational, hypergeometric prior`.
    pub method: String,
    /// The data.
    pub dataset: Dataset,
    /// Scores of the last epoch.
    pub scores: Scores,
    /// The same scores for simpler methods.
    pub baselines: Vec<Baseline>,
    /// Latent means in the plane, of all rows or some: see [`pca::project`].
    pub latent: Option<Projection>,
    /// The clustering.
    pub groups: Groups,
    /// The true labels, where there are any.
    pub truth: Option<Truth>,
    /// All rows as images, where they are images.
    pub images: Option<Images>,
    /// How it was found.
    pub run: Run,
}

/// A run as every report tells of it.
#[derive(Debug, Clone)]
pub struct Run {
    /// Adapter that did the work.
    pub adapter: String,
    /// Seed of every random number.
    pub seed: u64,
    /// The command line.
    pub command: String,
    /// Keys and values of the configuration.
    pub config: Vec<(String, String)>,
    /// What was trained, in order.
    pub phases: Vec<Phase>,
    /// Wall time of the training.
    pub seconds: f64,
    /// Rows, or pairs of them, processed per second of training.
    pub samples_per_second: f64,
}

/// The data set in figures.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// File or name.
    pub name: String,
    /// Rows used.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

/// How good a clustering is; the first three need labels. Each at most 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Accuracy after the best matching of groups to classes.
    pub accuracy: Option<f64>,
    /// Normalised mutual information.
    pub nmi: Option<f64>,
    /// Adjusted Rand index.
    pub ari: Option<f64>,
    /// Mean silhouette.
    pub silhouette: Option<f64>,
}

/// A simpler method on the same rows.
#[derive(Debug, Clone, Serialize)]
pub struct Baseline {
    /// Its name.
    pub name: String,
    /// Its scores.
    pub scores: Scores,
    /// Its wall time.
    pub seconds: f64,
}

/// A phase of the training, such as `pretrain`.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Epochs done.
    pub epochs: usize,
    /// The loss, then its parts; each has a vertical axis of its own.
    pub losses: Vec<Curve>,
    /// Scores in 0..1, on one common axis.
    pub metrics: Vec<Curve>,
    /// Wall time.
    pub seconds: f64,
    /// Rows processed per second.
    pub samples_per_second: f64,
}

/// The clustering of the rows.
#[derive(Debug, Clone)]
pub struct Groups {
    /// Number of groups.
    pub k: usize,
    /// Group of each row, `0..k`.
    pub assignments: Vec<u32>,
    /// Probability of that group.
    pub confidence: Vec<f32>,
    /// Group proportions according to the model's prior, summing to 1.
    pub learned: Option<Vec<f64>>,
}

/// The true classes.
#[derive(Debug, Clone)]
pub struct Truth {
    /// Class of each row, an index into `names`.
    pub labels: Vec<u32>,
    /// Names of the classes.
    pub names: Vec<String>,
    /// Class that each group is matched to: the Hungarian matching behind the accuracy.
    pub matching: Vec<Option<u32>>,
}

/// The page as one string of HTML, styles, pictures and script included.
pub fn render(data: &ReportData) -> String {
    let body: String = [
        clustering::header(data),
        clustering::scores(data),
        clustering::sizes(data),
        clustering::latent(data),
        clustering::samples(data),
        clustering::confusion(data),
        parts::training(&data.run),
        parts::how(&data.run),
    ]
    .concat();
    parts::page(&data.title, &body)
}
