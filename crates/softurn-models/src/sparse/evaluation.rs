//! How well a model makes rows again from their codes, and how many features that takes.

use ndarray::{Array2, Zip};

/// Scores of a fitted model on rows, without noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The mean over rows of the sum over columns of squared differences, in squared units of the data.
    pub error: f64,
    /// The mean number of active features.
    pub active: f64,
    /// How many rows have 0, 1, 2 .. active features, up to the most that a row can have.
    pub rows_by_active: Vec<usize>,
    /// The error of these rows; none where there are none.
    pub error_by_active: Vec<Option<f64>>,
}

impl Evaluation {
    /// From the active features of each row, at most `most`, and the rows before and after.
    pub(super) fn new(counts: &[u32], x: &Array2<f32>, decoded: &Array2<f32>, most: usize) -> Self {
        let (mut rows, mut errors) = (vec![0usize; most + 1], vec![0.0; most + 1]);
        for ((&count, x), decoded) in counts.iter().zip(x.outer_iter()).zip(decoded.outer_iter()) {
            let square = |sum: f64, &x: &f32, &y: &f32| sum + (f64::from(x) - f64::from(y)).powi(2);
            rows[count as usize] += 1;
            errors[count as usize] += Zip::from(x).and(decoded).fold(0.0, square);
        }
        let all = counts.len() as f64;
        Self {
            error: errors.iter().sum::<f64>() / all,
            active: counts.iter().map(|&count| f64::from(count)).sum::<f64>() / all,
            error_by_active: rows.iter().zip(&errors).map(|(&n, sum)| (n > 0).then(|| sum / n as f64)).collect(),
            rows_by_active: rows,
        }
    }
}
