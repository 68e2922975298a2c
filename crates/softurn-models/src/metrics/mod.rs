//! Scores of a clustering: against the true groups (accuracy, normalised mutual information, adjusted Rand index) and against
//! the data alone (silhouette). Conventions in degenerate cases are scikit-learn's, and the tests hold its values.
//!
//! Scores of a representation against the known factors of its rows: a linear probe ([`LinearProbe`], with balanced
//! accuracies), the [mutual information gap](mutual_information_gap), disentanglement and completeness ([`dci`]).
//!
//! Scores of several labels to a row: F1, subset accuracy and the error of their number ([`label_set_scores`]), [`precision_at`].
//!
//! Scores of sparse codes against known ones, with the atoms behind them: [`dictionary_scores`].
//!
//! Labels of a clustering are any `u32`; only which rows share one matters, so every score of it is the same under renaming.
//!
//! ```
//! use softurn_models::metrics;
//!
//! let truth = [0, 0, 0, 1, 1, 1];
//! let predicted = [5, 5, 2, 2, 2, 2];
//! assert_eq!(metrics::accuracy(&predicted, &truth)?, 5.0 / 6.0);
//! assert_eq!(metrics::matching(&predicted, &truth)?, [(2, Some(1)), (5, Some(0))]);
//! # Ok::<(), metrics::MetricError>(())
//! ```

mod accuracy;
mod balanced_accuracy;
mod contingency;
mod dictionary;
mod factors;
mod information;
mod label_sets;
mod rand_index;
mod silhouette;
#[cfg(test)]
mod tests;

pub use accuracy::{accuracy, matching};
pub use balanced_accuracy::{adjusted_balanced_accuracy, balanced_accuracy};
pub use contingency::{Contingency, contingency};
pub use dictionary::{DictionaryScores, dictionary_scores};
pub use factors::{
    Dci, FittedProbe, InformationGap, LinearProbe, ProbeParams, ProbeScore, dci, mutual_information_gap,
};
pub use information::normalized_mutual_information;
pub use label_sets::{LabelSetScores, label_set_scores, precision_at};
pub use rand_index::adjusted_rand_index;
pub use silhouette::{silhouette, silhouette_sampled};

/// Why a score is not defined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// There is nothing to score.
    #[error("a score needs at least one row")]
    Empty,
    /// The two labellings, or the features and the labels, are not of the same rows.
    #[error("{first} rows scored against {second}")]
    LengthMismatch {
        /// Rows of the first argument.
        first: usize,
        /// Rows of the second argument.
        second: usize,
    },
    /// The table of clusters against classes would be too large.
    #[error("a table of {clusters} clusters against {classes} classes is too large (at most {limit} cells)")]
    TooManyGroups {
        /// Distinct predicted labels.
        clusters: usize,
        /// Distinct true labels.
        classes: usize,
        /// Cells allowed.
        limit: usize,
    },
    /// The silhouette compares a row's cluster with the others: it needs 2 to `rows - 1` of them.
    #[error("a silhouette needs 2 to rows - 1 clusters: {clusters} clusters for {rows} rows")]
    ClusterCount {
        /// Distinct labels.
        clusters: usize,
        /// Rows scored, after sampling.
        rows: usize,
    },
    /// A feature is NaN or infinite.
    #[error("row {row} holds a value that is not finite")]
    NonFinite {
        /// The first such row.
        row: usize,
    },
    /// An argument that the score is not defined for.
    #[error("{argument}: {message}")]
    Argument {
        /// Its name.
        argument: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl MetricError {
    fn argument(argument: &'static str, message: impl Into<String>) -> Self {
        Self::Argument { argument, message: message.into() }
    }
}

/// Every label as the place of its value among the distinct ones, which come second, in ascending order.
fn places(labels: &[u32]) -> (Vec<usize>, Vec<u32>) {
    let mut distinct = labels.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    // Every label is among the distinct ones, so both arms of the search are its place.
    let places = labels.iter().map(|label| distinct.binary_search(label).unwrap_or_else(|place| place)).collect();
    (places, distinct)
}
