//! Disentanglement and completeness of a representation (Eastwood and Williams 2018, section 2), from how important each of
//! its columns is to predict each factor. With importances `R` of shape `[columns, factors]`,
//!
//! * `disentanglement of column i = 1 - H(R_i· / sum R_i·) / ln(factors)`: 1 when the column serves one factor only,
//! * `completeness of factor j = 1 - H(R_·j / sum R_·j) / ln(columns)`: 1 when one column alone serves the factor,
//!
//! `H` the entropy in nats. Their means weigh each column and each factor by its share of all importance, as
//! `disentanglement_lib` (Locatello et al. 2019) does.

use ndarray::{ArrayView1, ArrayView2, Axis};

use super::MetricError;

/// What [`dci`] finds; every number is between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Dci {
    /// The mean of `columns`, each weighted by its share of all importance.
    pub disentanglement: f64,
    /// The mean of `factors`, each weighted by its share of all importance.
    pub completeness: f64,
    /// The disentanglement of each column; 0 for a column that no factor needs.
    pub columns: Vec<f64>,
    /// The completeness of each factor; 0 for a factor that no column serves.
    pub factors: Vec<f64>,
}

/// Disentanglement and completeness from importances `[columns, factors]`, which are 0 or positive, on any scale.
///
/// The third of Eastwood and Williams' scores, informativeness, is how well the factors are predicted: see
/// [`FittedProbe::score`](super::FittedProbe::score), and [`FittedProbe::importance`](super::FittedProbe::importance) for
/// the importances of a linear probe. Scores that rest on importances of different kinds must not be compared.
///
/// With a single factor every column that matters has disentanglement 1, with a single column every factor has
/// completeness 1. Where all importances are 0, so are all scores.
///
/// # Errors
/// [`MetricError::Argument`] when `importance` is empty, or a value is negative or not finite.
///
/// ```
/// use ndarray::array;
/// use softurn_models::metrics::dci;
///
/// // The third column serves both factors alike.
/// let scores = dci(array![[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]].view())?;
/// assert_eq!(scores.columns, [1.0, 1.0, 0.0]);
/// assert!((scores.disentanglement - 4.0 / 6.0).abs() < 1e-12);
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn dci(importance: ArrayView2<'_, f64>) -> Result<Dci, MetricError> {
    if importance.is_empty() {
        return Err(MetricError::argument("importance", "is empty"));
    }
    if let Some(((column, factor), value)) =
        importance.indexed_iter().find(|(_, value)| !(**value >= 0.0 && value.is_finite()))
    {
        let message = format!("column {column}, factor {factor} is {value}: neither 0 nor a positive number");
        return Err(MetricError::argument("importance", message));
    }
    // The scale does not matter; at most 1, nothing overflows in the sums.
    let largest = importance.iter().fold(0.0, |a: f64, &b| a.max(b));
    let relative = importance.mapv(|value| if largest > 0.0 { value / largest } else { 0.0 });
    let [columns, factors] =
        [Axis(0), Axis(1)].map(|axis| relative.axis_iter(axis).map(concentration).collect::<Vec<_>>());
    let mean = |scores: &[f64], axis: Axis| {
        let total = relative.sum();
        let weighted: f64 = scores.iter().zip(relative.sum_axis(axis)).map(|(score, weight)| score * weight).sum();
        if total > 0.0 { (weighted / total).clamp(0.0, 1.0) } else { 0.0 }
    };
    let (disentanglement, completeness) = (mean(&columns, Axis(1)), mean(&factors, Axis(0)));
    Ok(Dci { disentanglement, completeness, columns, factors })
}

/// `1 - H(r / sum r) / ln(len)`: 0 when all are equal (or 0), 1 when one has everything.
fn concentration(r: ArrayView1<'_, f64>) -> f64 {
    let total = r.sum();
    if total == 0.0 {
        return 0.0;
    }
    if r.len() == 1 {
        return 1.0;
    }
    let term = |share: f64| if share > 0.0 { -share * share.ln() } else { 0.0 };
    let entropy: f64 = r.iter().map(|value| term(value / total)).sum();
    (1.0 - entropy / (r.len() as f64).ln()).clamp(0.0, 1.0)
}
