//! The contingency table of two labellings, `counts[i, j] = |{row : predicted = cluster i, truth = class j}|`, from which the
//! other scores follow.

use ndarray::Array2;

use super::{MetricError, places};

/// Rows in every pair of cluster and class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contingency {
    /// `[clusters, classes]`.
    pub counts: Array2<u64>,
    /// The predicted label of each row of `counts`, ascending.
    pub clusters: Vec<u32>,
    /// The true label of each column of `counts`, ascending.
    pub classes: Vec<u32>,
}

/// Counts the rows of every predicted cluster in every true class.
///
/// # Errors
/// [`MetricError::LengthMismatch`], [`MetricError::Empty`], and [`MetricError::TooManyGroups`] above 2^24 cells.
///
/// ```
/// use softurn_models::metrics::contingency;
///
/// let table = contingency(&[4, 4, 9], &[0, 1, 1])?;
/// assert_eq!(table.clusters, [4, 9]);
/// assert_eq!(table.counts, ndarray::array![[1, 1], [0, 1]]);
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn contingency(predicted: &[u32], truth: &[u32]) -> Result<Contingency, MetricError> {
    const LIMIT: usize = 1 << 24;
    check(predicted, truth)?;
    let (rows, clusters) = places(predicted);
    let (columns, classes) = places(truth);
    if clusters.len().saturating_mul(classes.len()) > LIMIT {
        return Err(MetricError::TooManyGroups { clusters: clusters.len(), classes: classes.len(), limit: LIMIT });
    }
    let mut counts = Array2::zeros((clusters.len(), classes.len()));
    for (row, column) in rows.into_iter().zip(columns) {
        counts[[row, column]] += 1;
    }
    Ok(Contingency { counts, clusters, classes })
}

/// The non-zero cells and the margins, for scores that stay cheap with as many groups as rows.
pub(super) struct Margins {
    /// `(cluster, class, count)`, every count at least 1.
    pub cells: Vec<(usize, usize, u64)>,
    /// Rows in every cluster.
    pub clusters: Vec<u64>,
    /// Rows in every class.
    pub classes: Vec<u64>,
}

pub(super) fn margins(predicted: &[u32], truth: &[u32]) -> Result<Margins, MetricError> {
    check(predicted, truth)?;
    let (rows, cluster_labels) = places(predicted);
    let (columns, class_labels) = places(truth);
    let (mut clusters, mut classes) = (vec![0; cluster_labels.len()], vec![0; class_labels.len()]);
    let mut pairs: Vec<(usize, usize)> = rows.into_iter().zip(columns).collect();
    pairs.sort_unstable();
    for &(cluster, class) in &pairs {
        clusters[cluster] += 1;
        classes[class] += 1;
    }
    let cells = pairs.chunk_by(|a, b| a == b).map(|run| (run[0].0, run[0].1, run.len() as u64)).collect();
    Ok(Margins { cells, clusters, classes })
}

fn check(predicted: &[u32], truth: &[u32]) -> Result<(), MetricError> {
    if predicted.len() != truth.len() {
        return Err(MetricError::LengthMismatch { first: predicted.len(), second: truth.len() });
    }
    if predicted.is_empty() { Err(MetricError::Empty) } else { Ok(()) }
}
