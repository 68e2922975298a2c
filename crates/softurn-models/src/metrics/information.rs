//! Normalised mutual information, `2 I(P; T) / (H(P) + H(T))` with
//! `I = sum over cells of n_ij / n * ln(n n_ij / (n_i n_j))`: the arithmetic mean of the entropies is the default of
//! scikit-learn's `normalized_mutual_info_score`, whose conventions are followed.

use super::MetricError;
use super::contingency::{Margins, margins};

/// Mutual information of clusters and classes over the mean of their entropies, 0 to 1.
///
/// 1 when both labellings put all rows in one group, 0 when only one of them does.
///
/// # Errors
/// [`MetricError::LengthMismatch`] and [`MetricError::Empty`].
///
/// ```
/// use softurn_models::metrics::normalized_mutual_information;
///
/// assert_eq!(normalized_mutual_information(&[1, 1, 0, 0], &[0, 0, 1, 1])?, 1.0);
/// assert_eq!(normalized_mutual_information(&[0, 1, 0, 1], &[0, 0, 1, 1])?, 0.0);
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn normalized_mutual_information(predicted: &[u32], truth: &[u32]) -> Result<f64, MetricError> {
    let table = margins(predicted, truth)?;
    match (table.clusters.len(), table.classes.len()) {
        (1, 1) => return Ok(1.0),
        (1, _) | (_, 1) => return Ok(0.0),
        _ => {}
    }
    let mean_entropy = (entropy(&table.clusters) + entropy(&table.classes)) / 2.0;
    Ok((mutual_information(&table) / mean_entropy).clamp(0.0, 1.0))
}

/// `I` of the module's formula, in nats.
pub(super) fn mutual_information(table: &Margins) -> f64 {
    let n = table.classes.iter().sum::<u64>() as f64;
    let term = |&(cluster, class, count): &(usize, usize, u64)| {
        let expected = table.clusters[cluster] as f64 * table.classes[class] as f64 / n;
        let term = count as f64 / n * (count as f64 / expected).ln();
        // Independent cells must not leave rounding behind.
        if term.abs() < f64::EPSILON { 0.0 } else { term }
    };
    table.cells.iter().map(term).sum()
}

/// The entropy of groups of so many rows, in nats.
pub(super) fn entropy(counts: &[u64]) -> f64 {
    let n = counts.iter().sum::<u64>() as f64;
    counts.iter().map(|&count| count as f64 / n).map(|share| -share * share.ln()).sum()
}
