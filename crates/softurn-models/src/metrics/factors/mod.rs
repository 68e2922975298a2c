//! Scores of a representation `[rows, columns]` against the known factors of the same rows, `[rows, factors]`: a linear
//! probe, the mutual information gap, and disentanglement and completeness.

mod dci;
mod information_gap;
mod linear_probe;
#[cfg(test)]
mod tests;

use ndarray::{ArrayView2, Axis};

pub use dci::{Dci, dci};
pub use information_gap::{InformationGap, mutual_information_gap};
pub use linear_probe::{FittedProbe, LinearProbe, ProbeParams, ProbeScore};

use super::MetricError;

/// Checks a representation, the factors of its rows and the number of classes of each factor against each other.
fn check(
    representation: ArrayView2<'_, f32>,
    factors: ArrayView2<'_, u32>,
    classes: &[usize],
) -> Result<(), MetricError> {
    check_representation(representation)?;
    if factors.nrows() != representation.nrows() {
        let message = format!("{} rows for {} of the representation", factors.nrows(), representation.nrows());
        return Err(MetricError::argument("factors", message));
    }
    if representation.nrows() < 2 {
        let message = format!("{} rows, where at least 2 are needed", representation.nrows());
        return Err(MetricError::argument("representation", message));
    }
    if factors.ncols() == 0 {
        return Err(MetricError::argument("factors", "has no columns"));
    }
    if factors.ncols() != classes.len() {
        let message = format!("{} numbers of classes for {} factors", classes.len(), factors.ncols());
        return Err(MetricError::argument("classes", message));
    }
    for (factor, (labels, &classes)) in factors.axis_iter(Axis(1)).zip(classes).enumerate() {
        if let Some(row) = labels.iter().position(|&label| label as usize >= classes) {
            let message = format!("row {row}, factor {factor}: class {} of {classes}, counted from 0", labels[row]);
            return Err(MetricError::argument("factors", message));
        }
        if labels.iter().all(|&label| label == labels[0]) {
            let message = format!("factor {factor} has the same class in every row");
            return Err(MetricError::argument("factors", message));
        }
    }
    Ok(())
}

fn check_representation(representation: ArrayView2<'_, f32>) -> Result<(), MetricError> {
    if representation.ncols() == 0 {
        return Err(MetricError::argument("representation", "has no columns"));
    }
    match representation.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), value)) => {
            Err(MetricError::argument("representation", format!("row {row}, column {column} is {value}")))
        }
        None => Ok(()),
    }
}
