//! What a finished run says on standard output: a short table, or one JSON object.

use std::path::PathBuf;

use serde::Serialize;

use crate::report::format::{seconds, thousands};
use crate::report::{Baseline, Scores};

/// The final figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The run directory.
    pub out: PathBuf,
    /// The report inside it.
    pub report: PathBuf,
    /// Method, prior and seed of the configuration.
    pub method: String,
    /// Prior over the assignments.
    pub prior: String,
    /// Seed of every random number.
    pub seed: u64,
    /// SHA-256 of the configuration.
    pub config_hash: String,
    /// The adapter that did the work.
    pub adapter: String,
    /// Rows of the data.
    pub rows: usize,
    /// Columns of the data.
    pub cols: usize,
    /// Number of clusters.
    pub k: usize,
    /// Scores of the last epoch.
    pub scores: Scores,
    /// k-means and mixture on the same rows.
    pub baselines: Vec<Baseline>,
    /// Rows per cluster.
    pub group_sizes: Vec<usize>,
    /// Group sizes according to the model's prior.
    pub learned_sizes: Option<Vec<f64>>,
    /// The L1 error of those sizes as shares, groups matched to the true classes.
    pub proportion_error: Option<f64>,
    /// What each start reached; the lowest is that of the result.
    pub objectives: Vec<f64>,
    /// Wall time of the training.
    pub seconds: f64,
    /// Rows processed per second of training.
    pub samples_per_second: f64,
}

impl Summary {
    /// The text for standard output.
    pub fn render(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(self).unwrap_or_default();
        }
        let cell = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        let mut text = format!("{:<16}{:>10}{:>8}{:>8}{:>12}\n", "", "accuracy", "NMI", "ARI", "silhouette");
        let mut line = |name: &str, scores: &Scores| {
            let cells = [scores.accuracy, scores.nmi, scores.ari, scores.silhouette].map(cell);
            text += &format!("{name:<16}{:>10}{:>8}{:>8}{:>12}\n", cells[0], cells[1], cells[2], cells[3]);
        };
        line(&format!("{:.15}", self.prior_or_method()), &self.scores);
        for baseline in &self.baselines {
            line(&baseline.name, &baseline.scores);
        }
        if self.objectives.len() > 1 {
            let objectives: Vec<String> = self.objectives.iter().map(|objective| format!("{objective:.4}")).collect();
            text += &format!("\nobjectives of {} starts: {}\n", objectives.len(), objectives.join(", "));
        }
        let rate = thousands(self.samples_per_second.round() as u64);
        text += &format!("\n{} on {}, {rate} samples/s\n", seconds(self.seconds), self.adapter);
        text += &format!("{}\n", self.report.display());
        text
    }

    /// The prior is what tells two runs of the main method apart.
    fn prior_or_method(&self) -> &str {
        if self.method == crate::methods::METHODS[0].name { &self.prior } else { &self.method }
    }
}
