//! Balanced accuracy, the mean over classes of `|{row : predicted = truth = class}| / |{row : truth = class}|`, and the same
//! less what guessing earns (Brodersen et al. 2010; scikit-learn's `balanced_accuracy_score`, plain and `adjusted`).

use std::collections::BTreeMap;

use super::MetricError;

/// The mean recall of the classes that occur in `truth`, 0 to 1: rare classes count as much as frequent ones.
///
/// Unlike [`accuracy`](super::accuracy), which looks for the best matching of clusters to classes, a row is right only if
/// its two labels are equal. `classes` is the number of classes there could be; all labels are below it.
///
/// # Errors
/// [`MetricError::LengthMismatch`], [`MetricError::Empty`], and [`MetricError::Argument`] for a label of `classes` or more.
///
/// ```
/// use softurn_models::metrics::balanced_accuracy;
///
/// // Three of four zeros and the only one.
/// assert_eq!(balanced_accuracy(&[0, 0, 0, 1, 1], &[0, 0, 0, 0, 1], 2)?, (0.75 + 1.0) / 2.0);
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn balanced_accuracy(predicted: &[u32], truth: &[u32], classes: usize) -> Result<f64, MetricError> {
    let recalls = recalls(predicted, truth, classes)?;
    Ok(recalls.iter().sum::<f64>() / recalls.len() as f64)
}

/// `(b - 1/C) / (1 - 1/C)` of the balanced accuracy `b`, where `C` classes occur in `truth`: 1 when all is right, 0 for one
/// label everywhere, on average 0 for guesses, and `-1 / (C - 1)` when all is wrong.
///
/// # Errors
/// As [`balanced_accuracy`], and [`MetricError::Argument`] when only one class occurs in `truth`.
///
/// ```
/// use softurn_models::metrics::adjusted_balanced_accuracy;
///
/// assert_eq!(adjusted_balanced_accuracy(&[0, 0, 0, 1, 1], &[0, 0, 0, 0, 1], 2)?, 0.75);
/// assert_eq!(adjusted_balanced_accuracy(&[0, 0, 0, 0, 0], &[0, 0, 0, 0, 1], 2)?, 0.0);
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn adjusted_balanced_accuracy(predicted: &[u32], truth: &[u32], classes: usize) -> Result<f64, MetricError> {
    let recalls = recalls(predicted, truth, classes)?;
    if recalls.len() < 2 {
        return Err(MetricError::argument("truth", "holds one class only, which any guess would hit"));
    }
    // The same as in the formula above, multiplied by C.
    let count = recalls.len() as f64;
    Ok((recalls.iter().sum::<f64>() - 1.0) / (count - 1.0))
}

/// The share of rows that are right in every class that occurs, by ascending class.
fn recalls(predicted: &[u32], truth: &[u32], classes: usize) -> Result<Vec<f64>, MetricError> {
    if predicted.len() != truth.len() {
        return Err(MetricError::LengthMismatch { first: predicted.len(), second: truth.len() });
    }
    if truth.is_empty() {
        return Err(MetricError::Empty);
    }
    for (argument, labels) in [("predicted", predicted), ("truth", truth)] {
        if let Some(row) = labels.iter().position(|&label| label as usize >= classes) {
            let message = format!("row {row} holds class {} of {classes} classes, counted from 0", labels[row]);
            return Err(MetricError::argument(argument, message));
        }
    }
    // Rows that are right and all rows, by class.
    let mut counts: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
    for (predicted, truth) in predicted.iter().zip(truth) {
        let [right, all] = counts.entry(*truth).or_default();
        *right += u64::from(predicted == truth);
        *all += 1;
    }
    Ok(counts.into_values().map(|[right, all]| right as f64 / all as f64).collect())
}
