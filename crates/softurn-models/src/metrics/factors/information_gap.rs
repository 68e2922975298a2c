//! Mutual information gap (Chen et al. 2018, eq. 6): for each factor `v`, with the two columns `z_a` and `z_b` that tell most
//! about it, `(I(z_a; v) - I(z_b; v)) / H(v)`.

use ndarray::{ArrayView1, ArrayView2, Axis};

use super::{MetricError, check};
use crate::metrics::contingency::margins;
use crate::metrics::information::{entropy, mutual_information};

/// Bins of a column, as in `disentanglement_lib` (Locatello et al. 2019).
const BINS: usize = 20;

/// What [`mutual_information_gap`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct InformationGap {
    /// The gap of each factor, 0 to 1.
    pub factors: Vec<f64>,
    /// Their mean.
    pub mean: f64,
}

/// How much more one column of a representation tells about each factor than any other column does, as a share of the
/// factor's entropy: 1 when one column determines the factor and the others are independent of it.
///
/// `representation` is `[rows, columns]`, `factors` `[rows, factors]`, and `classes` has the number of classes of each
/// factor. Each column is cut into 20 bins of equal width between its smallest and its largest value, and informations are
/// those of the counts, as in `disentanglement_lib` (Chen et al. integrate over the posterior instead). Hence a perfect
/// column falls short of 1 where a factor has more than 20 classes, and independent columns share some information with a
/// factor by chance: there should be many times 20 rows to each class. A constant column has no information; where there
/// is one column, the gap is to 0.
///
/// # Errors
/// [`MetricError::Argument`] when there are fewer than 2 rows or no columns, when the numbers of rows or factors differ, a
/// value is not finite, a class is out of range, or a factor has one class only.
///
/// ```
/// use ndarray::array;
/// use softurn_models::metrics::mutual_information_gap;
///
/// // The first column is the first factor; no column knows the second.
/// let factors = array![[0, 0], [0, 1], [1, 0], [1, 1]];
/// let representation = array![[-1.0, 5.0], [-1.0, 5.0], [1.0, 5.0], [1.0, 5.0]];
/// let gap = mutual_information_gap(representation.view(), factors.view(), &[2, 2])?;
/// assert_eq!(gap.factors, [1.0, 0.0]);
/// assert_eq!(gap.mean, 0.5);
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn mutual_information_gap(
    representation: ArrayView2<'_, f32>,
    factors: ArrayView2<'_, u32>,
    classes: &[usize],
) -> Result<InformationGap, MetricError> {
    check(representation, factors, classes)?;
    let codes: Vec<Vec<u32>> = representation.axis_iter(Axis(1)).map(bins).collect();
    let gap = |factor: ArrayView1<'_, u32>| {
        let labels = factor.to_vec();
        let [mut first, mut second, mut of_factor] = [0.0, 0.0, 0.0];
        for code in &codes {
            let table = margins(code, &labels)?;
            let information = mutual_information(&table);
            if information > first {
                (first, second) = (information, first);
            } else if information > second {
                second = information;
            }
            of_factor = entropy(&table.classes);
        }
        Ok(((first - second) / of_factor).clamp(0.0, 1.0))
    };
    let factors = factors.axis_iter(Axis(1)).map(gap).collect::<Result<Vec<f64>, MetricError>>()?;
    let mean = factors.iter().sum::<f64>() / factors.len() as f64;
    Ok(InformationGap { factors, mean })
}

/// The bin of every value: the number of edges, but the first, that are not above it. Edges are NumPy's, of
/// `linspace(min, max, 21)`, so that values which lie on one fall into the same bin as there.
fn bins(column: ArrayView1<'_, f32>) -> Vec<u32> {
    let values = column.iter().copied().map(f64::from);
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
    let width = (high - low) / BINS as f64;
    if width == 0.0 {
        return vec![0; column.len()];
    }
    let edges: Vec<f64> = (1..BINS).map(|i| i as f64 * width + low).collect();
    values.map(|value| edges.partition_point(|&edge| edge <= value) as u32).collect()
}
