//! Scores of several labels to a row. Conventions are scikit-learn's with `zero_division=0`, and the tests hold its values.

use ndarray::ArrayView2;

use super::MetricError;
use crate::data::LabelSets;

/// How well sets of labels are predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelSetScores {
    /// `2 TP / (2 TP + FP + FN)` over all rows and labels together; 0 where nothing is there and nothing predicted.
    pub micro_f1: f64,
    /// The mean of the same of each label, so that rare ones count as much as frequent ones; a label that neither is there nor
    /// is predicted counts 0.
    pub macro_f1: f64,
    /// The share of rows whose set is right to the last label.
    pub subset_accuracy: f64,
    /// The mean over rows of `|predicted number of labels - true number|`.
    pub count_error: f64,
}

/// Scores predicted sets of labels against the true ones.
///
/// # Errors
/// [`MetricError::LengthMismatch`], [`MetricError::Empty`], and [`MetricError::Argument`] of `predicted` unless both are of as
/// many labels.
///
/// ```
/// use softurn_models::data::LabelSets;
/// use softurn_models::metrics::label_set_scores;
///
/// let truth = LabelSets::new([vec![0, 1], vec![2]], 3)?;
/// let scores = label_set_scores(&LabelSets::new([vec![0], vec![2]], 3)?, &truth)?;
/// assert_eq!((scores.micro_f1, scores.subset_accuracy, scores.count_error), (0.8, 0.5, 0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn label_set_scores(predicted: &LabelSets, truth: &LabelSets) -> Result<LabelSetScores, MetricError> {
    check_rows(predicted.n_rows(), predicted.n_labels(), "predicted", truth)?;
    // Of each label: right, too many, missing.
    let mut counts = vec![[0u64; 3]; truth.n_labels()];
    let (mut equal, mut difference) = (0, 0);
    for (predicted, truth) in predicted.rows().zip(truth.rows()) {
        for &label in predicted {
            counts[label as usize][usize::from(truth.binary_search(&label).is_err())] += 1;
        }
        for &label in truth.iter().filter(|label| predicted.binary_search(label).is_err()) {
            counts[label as usize][2] += 1;
        }
        equal += usize::from(predicted == truth);
        difference += predicted.len().abs_diff(truth.len());
    }
    let f1 = |[right, added, missing]: [u64; 3]| {
        let all = 2 * right + added + missing;
        if all == 0 { 0.0 } else { 2.0 * right as f64 / all as f64 }
    };
    let sum = counts.iter().fold([0; 3], |sum, count| [0, 1, 2].map(|i| sum[i] + count[i]));
    let rows = truth.n_rows() as f64;
    Ok(LabelSetScores {
        micro_f1: f1(sum),
        macro_f1: counts.iter().map(|&count| f1(count)).sum::<f64>() / counts.len().max(1) as f64,
        subset_accuracy: equal as f64 / rows,
        count_error: difference as f64 / rows,
    })
}

/// Precision at `k`: the share of right ones among the `k` labels of each row with the highest scores `[rows, n_labels]`, mean
/// over rows. Of equal scores the label that comes first counts. A row with fewer than `k` labels cannot reach 1.
///
/// # Errors
/// [`MetricError::LengthMismatch`], [`MetricError::Empty`], and [`MetricError::Argument`] of `scores` for another number of
/// columns than there are labels and for NaN, of `k` unless it is from 1 to that number.
pub fn precision_at(scores: ArrayView2<'_, f32>, truth: &LabelSets, k: usize) -> Result<f64, MetricError> {
    check_rows(scores.nrows(), scores.ncols(), "scores", truth)?;
    if k == 0 || k > truth.n_labels() {
        return Err(MetricError::argument("k", format!("is {k}, not from 1 to {} labels", truth.n_labels())));
    }
    if let Some((row, _)) = scores.outer_iter().enumerate().find(|(_, row)| row.iter().any(|score| score.is_nan())) {
        return Err(MetricError::argument("scores", format!("row {row} holds NaN")));
    }
    let mut right = 0;
    let mut order: Vec<u32> = (0..truth.n_labels() as u32).collect();
    for (scores, truth) in scores.outer_iter().zip(truth.rows()) {
        let score = |label: u32| scores[label as usize];
        order.select_nth_unstable_by(k - 1, |&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
        right += order[..k].iter().filter(|label| truth.binary_search(label).is_ok()).count();
    }
    Ok(right as f64 / (k * truth.n_rows()) as f64)
}

fn check_rows(rows: usize, labels: usize, argument: &'static str, truth: &LabelSets) -> Result<(), MetricError> {
    if rows != truth.n_rows() {
        return Err(MetricError::LengthMismatch { first: rows, second: truth.n_rows() });
    }
    if labels != truth.n_labels() {
        return Err(MetricError::argument(argument, format!("of {labels} labels, the truth of {}", truth.n_labels())));
    }
    if rows == 0 { Err(MetricError::Empty) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Forty rows of nine labels, sets and scores for them, as the same numbers were made for scikit-learn 1.9.1: `f1_score` with
    /// `zero_division=0`, `accuracy_score`, and a stable `argsort` of the scores.
    #[test]
    fn values_of_scikit_learn() {
        let mut x = 7u64;
        let mut next = || {
            x = (x * 1_103_515_245 + 12_345) % (1 << 31);
            x >> 16
        };
        let (rows, labels) = (40, 9);
        let mut truth = Array2::from_shape_simple_fn((rows, labels), || next() % 3 == 0);
        truth.column_mut(8).fill(false);
        let mut predicted = truth.mapv(|is| if next() % 4 != 0 { is } else { next() % 3 == 0 });
        predicted.column_mut(8).fill(false);
        truth.row_mut(3).fill(false);
        predicted.row_mut(3).fill(false);
        predicted.row_mut(5).fill(false);
        let scores = truth.mapv(|is| (next() % 1000) as f32 / 8.0 + if is { 100.0 } else { 0.0 });
        let sets = |table: &Array2<bool>| {
            let row = |row: ndarray::ArrayView1<'_, bool>| {
                (0..labels as u32).filter(|&label| row[label as usize]).collect::<Vec<u32>>()
            };
            LabelSets::new(table.outer_iter().map(row), labels).unwrap()
        };
        let (predicted, truth) = (sets(&predicted), sets(&truth));
        let found = label_set_scores(&predicted, &truth).unwrap();
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} for {wanted}");
        close(found.micro_f1, 0.8431372549019608);
        close(found.macro_f1, 0.7439931738177352);
        close(found.subset_accuracy, 0.525);
        close(found.count_error, 0.7);
        for (k, wanted) in [(1, 0.95), (3, 0.7083333333333334), (5, 0.515)] {
            close(precision_at(scores.view(), &truth, k).unwrap(), wanted);
        }
        // All right, and the first of equal scores.
        let perfect = label_set_scores(&truth, &truth).unwrap();
        assert_eq!((perfect.micro_f1, perfect.subset_accuracy, perfect.count_error), (1.0, 1.0, 0.0));
        close(perfect.macro_f1, 8.0 / 9.0);
        let first = LabelSets::new([[0]], 2).unwrap();
        assert_eq!(precision_at(ArrayView2::from_shape((1, 2), &[0.5, 0.5]).unwrap(), &first, 1), Ok(1.0));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let sets = |rows: &[&[u32]], labels| LabelSets::new(rows, labels).unwrap();
        let truth = sets(&[&[0], &[]], 3);
        let says = |error: MetricError, word: &str| assert!(error.to_string().contains(word), "{error}: {word}");
        says(label_set_scores(&sets(&[&[]], 3), &truth).unwrap_err(), "1 rows scored against 2");
        says(label_set_scores(&sets(&[&[], &[]], 4), &truth).unwrap_err(), "predicted");
        says(label_set_scores(&sets(&[], 3), &sets(&[], 3)).unwrap_err(), "at least one row");
        let scores = Array2::<f32>::zeros((2, 3));
        says(precision_at(scores.view(), &truth, 0).unwrap_err(), "k:");
        says(precision_at(scores.view(), &truth, 4).unwrap_err(), "k:");
        says(precision_at(Array2::from_elem((2, 3), f32::NAN).view(), &truth, 1).unwrap_err(), "scores");
        says(precision_at(Array2::zeros((2, 2)).view(), &truth, 1).unwrap_err(), "scores");
        for (rows, word) in [([vec![0u32, 3]], "row 0 holds 3"), ([vec![1, 0, 1]], "row 0 holds 1 twice")] {
            assert!(LabelSets::new(rows, 3).unwrap_err().to_string().contains(word), "{word}");
        }
    }
}
