//! Adjusted Rand index, `2 (tp tn - fn fp) / ((tp + fn)(fn + tn) + (tp + fp)(fp + tn))` over pairs of rows: together in both
//! labellings (`tp`), in neither (`tn`), in one only. Hubert and Arabie 1985, in the form of scikit-learn's
//! `adjusted_rand_score`.

use super::MetricError;
use super::contingency::margins;

/// Agreement of clusters and classes on which rows belong together: 1 for the same partition, 0 on average for a random one,
/// at least -0.5.
///
/// # Errors
/// [`MetricError::LengthMismatch`] and [`MetricError::Empty`].
///
/// ```
/// use softurn_models::metrics::adjusted_rand_index;
///
/// assert_eq!(adjusted_rand_index(&[1, 1, 0, 0], &[0, 0, 1, 1])?, 1.0);
/// assert_eq!(adjusted_rand_index(&[0, 1, 0, 1], &[0, 0, 1, 1])?, -0.5);
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn adjusted_rand_index(predicted: &[u32], truth: &[u32]) -> Result<f64, MetricError> {
    let table = margins(predicted, truth)?;
    // Ordered pairs, halved nowhere: every figure is below rows^2 and the products below rows^4, which an i128 holds up to
    // 2^31 rows.
    let squares = |counts: &[u64]| counts.iter().map(|&count| i128::from(count).pow(2)).sum::<i128>();
    let n = truth.len() as i128;
    let both: i128 = table.cells.iter().map(|&(.., count)| i128::from(count).pow(2)).sum();
    let true_positive = both - n;
    let false_positive = squares(&table.clusters) - both;
    let false_negative = squares(&table.classes) - both;
    let true_negative = n * n - both - false_positive - false_negative;
    if false_positive == 0 && false_negative == 0 {
        return Ok(1.0);
    }
    let agreement = 2.0 * (true_positive * true_negative - false_negative * false_positive) as f64;
    let scale = (true_positive + false_negative) * (false_negative + true_negative)
        + (true_positive + false_positive) * (false_positive + true_negative);
    Ok(agreement / scale as f64)
}
