//! Rows counted by group.

use softurn_kernels::Tensor;
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::ops::softmax;

use crate::Result;

/// Rows in every group, `[k]`, from the group of every row.
pub(super) fn group_sizes(labels: &[u32], k: usize) -> Vec<usize> {
    let mut sizes = vec![0; k];
    labels.iter().for_each(|&label| sizes[label as usize] += 1);
    sizes
}

/// The share of a group of `size` of all rows, kept from 0 and from 1.
pub(super) fn inner_share(size: usize, rows: usize) -> f64 {
    (size.max(1) as f64 / rows as f64).min(1.0 - 1e-6)
}

/// The log-weight with which the mean of a hypergeometric law has that share, where each group could hold every row.
pub(super) fn log_odds(share: f64) -> f32 {
    (share / (1.0 - share)).ln() as f32
}

/// How sure a model is of all rows, and how evenly it splits them, from the logits of its groups in blocks of rows; neither
/// needs labels.
pub(super) fn sureness(k: usize, logits: impl Iterator<Item = Result<Tensor>>) -> Result<Vec<(&'static str, f64)>> {
    let mut counts = vec![0usize; k];
    let (mut sure, mut rows) = (0.0, 0);
    for logits in logits {
        let logits = logits?;
        let gpu = logits.gpu();
        let probabilities = softmax::forward(gpu, &logits, 1.0)?;
        let largest = reduce::over_cols(gpu, Reduction::Max, &probabilities)?;
        sure += largest.read()?.iter().map(|&p| f64::from(p)).sum::<f64>();
        // A row that is not finite has no group.
        for label in reduce::argmax(gpu, &logits)?.read_u32()? {
            rows += 1;
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
    }
    let n = rows as f64;
    let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| -(c as f64 / n) * (c as f64 / n).ln()).sum();
    let evenness = if k > 1 { entropy / (k as f64).ln() } else { 1.0 };
    Ok(vec![("confidence", sure / n), ("evenness", evenness)])
}
