//! Scores of a learned dictionary and of codes by it against the true ones.

use ndarray::{Array2, ArrayView2};
use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

use super::MetricError;

/// The matching weighs cosines in whole numbers of this.
const UNIT: f64 = 1e-9;

/// How far codes and atoms agree with the true ones, after learned atoms are matched to true ones.
#[derive(Debug, Clone, PartialEq)]
pub struct DictionaryScores {
    /// The share of rows with the true number of active atoms.
    pub count_accuracy: f64,
    /// F1 of active atoms over all rows together: `2 TP / (2 TP + FP + FN)`.
    pub atom_f1: f64,
    /// The share of rows whose active atoms are all the true ones and no others.
    pub exact_set: f64,
    /// The mean cosine of matched atoms.
    pub atom_cosine: f64,
    /// How many rows have 0, 1, 2 .. active atoms in the predicted code, up to all of them.
    pub predicted_counts: Vec<usize>,
    /// The learned atom that each true one is matched to; none where there are too few.
    pub matching: Vec<Option<usize>>,
}

/// Scores predicted codes `active` `[rows, atoms]` by learned `atoms` `[atoms, columns]` against the true ones. Atoms are matched one to
/// one so that the sum of their cosines is largest, as their order means nothing; what is left over of the learned ones is wrong
/// wherever it is active, and what is left over of the true ones is missing.
///
/// # Errors
/// Without rows or atoms, when rows or columns differ, or masks and atoms do, or an atom is not finite.
///
/// ```
/// use ndarray::array;
/// use softurn_models::metrics::dictionary_scores;
///
/// let (atoms, true_atoms) = (array![[0.0, 2.0], [1.0, 0.0]], array![[1.0, 0.0], [0.0, 1.0]]);
/// let (active, truth) = (array![[true, false], [true, true]], array![[false, true], [false, true]]);
/// let scores = dictionary_scores(active.view(), atoms.view(), truth.view(), true_atoms.view())?;
/// assert_eq!((scores.count_accuracy, scores.atom_f1, scores.atom_cosine), (0.5, 0.8, 1.0));
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn dictionary_scores(
    active: ArrayView2<'_, bool>,
    atoms: ArrayView2<'_, f32>,
    true_active: ArrayView2<'_, bool>,
    true_atoms: ArrayView2<'_, f32>,
) -> Result<DictionaryScores, MetricError> {
    let rows = active.nrows();
    if rows != true_active.nrows() {
        return Err(MetricError::LengthMismatch { first: rows, second: true_active.nrows() });
    }
    if rows == 0 {
        return Err(MetricError::Empty);
    }
    if atoms.ncols() != true_atoms.ncols() {
        let message = format!("{} columns against {}", atoms.ncols(), true_atoms.ncols());
        return Err(MetricError::argument("atoms", message));
    }
    for (name, mask, atoms) in [("atoms", &active, &atoms), ("true_atoms", &true_active, &true_atoms)] {
        if mask.ncols() != atoms.nrows() || atoms.is_empty() {
            return Err(MetricError::argument(name, format!("{} for codes of {}", atoms.nrows(), mask.ncols())));
        }
        if let Some(((row, _), _)) = atoms.indexed_iter().find(|(_, value)| !value.is_finite()) {
            return Err(MetricError::argument(name, format!("atom {row} is not finite")));
        }
    }
    let cosines = cosines(atoms, true_atoms);
    let matching = matched(&cosines);
    let pairs = || matching.iter().enumerate().filter_map(|(truth, found)| found.map(|found| (found, truth)));
    let (mut right, mut same_counts, mut exact, mut totals) = (0, 0, 0, [0; 2]);
    let mut predicted_counts = vec![0; active.ncols() + 1];
    for (found, truth) in active.outer_iter().zip(true_active.outer_iter()) {
        let count = |mask: &ndarray::ArrayView1<'_, bool>| mask.iter().filter(|&&on| on).count();
        let (both, of) = (pairs().filter(|&(a, b)| found[a] && truth[b]).count(), [count(&found), count(&truth)]);
        right += both;
        totals = [totals[0] + of[0], totals[1] + of[1]];
        same_counts += usize::from(of[0] == of[1]);
        exact += usize::from(of == [both; 2]);
        predicted_counts[of[0]] += 1;
    }
    let all = (totals[0] + totals[1]).max(1) as f64;
    let sum: f64 = pairs().map(|pair| cosines[pair]).sum();
    Ok(DictionaryScores {
        count_accuracy: same_counts as f64 / rows as f64,
        atom_f1: if totals == [0; 2] { 1.0 } else { 2.0 * right as f64 / all },
        exact_set: exact as f64 / rows as f64,
        atom_cosine: sum / pairs().count() as f64,
        predicted_counts,
        matching,
    })
}

/// `[learned, true]`; 0 for an atom of zeros.
fn cosines(atoms: ArrayView2<'_, f32>, true_atoms: ArrayView2<'_, f32>) -> Array2<f64> {
    let unit = |atoms: ArrayView2<'_, f32>| {
        let mut atoms = atoms.mapv(f64::from);
        for mut atom in atoms.outer_iter_mut() {
            let length = atom.dot(&atom).sqrt();
            if length > 0.0 {
                atom /= length;
            }
        }
        atoms
    };
    unit(atoms).dot(&unit(true_atoms).t())
}

/// The row of each column of the best one-to-one matching.
fn matched(cosines: &Array2<f64>) -> Vec<Option<usize>> {
    let (found, truth) = cosines.dim();
    let weight = |a: usize, b: usize| (cosines[[a, b]] / UNIT).round() as i64;
    // The method wants no more rows than columns.
    if truth <= found {
        return kuhn_munkres(&Matrix::from_fn(truth, found, |(b, a)| weight(a, b))).1.into_iter().map(Some).collect();
    }
    let mut matching = vec![None; truth];
    let best = kuhn_munkres(&Matrix::from_fn(found, truth, |(a, b)| weight(a, b))).1;
    best.into_iter().enumerate().for_each(|(a, b)| matching[b] = Some(a));
    matching
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn scores_are_those_by_hand_and_atoms_may_be_in_any_order_and_number() {
        let true_atoms = array![[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]];
        let truth = array![[true, false, false], [true, true, false], [false, true, true], [false, false, true]];
        // In another order and of other lengths.
        let (order, scales) = ([2, 0, 1], [2.0, 0.5, 3.0]);
        let atoms = Array2::from_shape_fn((3, 3), |(i, j)| scales[i] * true_atoms[[order[i], j]]);
        let active = Array2::from_shape_fn((4, 3), |(row, i)| truth[[row, order[i]]]);
        let scores = dictionary_scores(active.view(), atoms.view(), truth.view(), true_atoms.view()).unwrap();
        assert_eq!(scores.matching, [Some(1), Some(2), Some(0)]);
        assert_eq!((scores.count_accuracy, scores.atom_f1, scores.exact_set), (1.0, 1.0, 1.0));
        assert!((scores.atom_cosine - 1.0).abs() < 1e-6);
        assert_eq!(scores.predicted_counts, [0, 2, 2, 0]);

        // Two learned atoms for three, greedily 1 to 1 and 2 to 3, but better matched 1 to 2 and 2 to 1: 0.96 + 0.6 < 0.8 + 1.
        let atoms = array![[0.8, 0.6, 0.0], [1.0, 0.0, 0.0]];
        let active = array![[false, true], [true, true], [true, true], [false, false]];
        let scores = dictionary_scores(active.view(), atoms.view(), truth.view(), true_atoms.view()).unwrap();
        assert_eq!(scores.matching, [Some(1), Some(0), None]);
        // 4 right of 5 predicted and 6 true; the third atom is found nowhere.
        assert!((scores.atom_f1 - 8.0 / 11.0).abs() < 1e-12, "{scores:?}");
        assert_eq!((scores.count_accuracy, scores.exact_set), (0.75, 0.5));
        assert!((scores.atom_cosine - (1.0 + 0.96) / 2.0).abs() < 1e-6);
        assert_eq!(scores.predicted_counts, [1, 1, 2]);

        // More learned atoms than true ones: what is left over is wrong.
        let scores = dictionary_scores(truth.view(), true_atoms.view(), active.view(), atoms.view()).unwrap();
        assert!((scores.atom_f1 - 8.0 / 11.0).abs() < 1e-12);
        assert_eq!(scores.matching, [Some(1), Some(0)]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (atoms, mask) = (array![[1.0, 0.0], [0.0, 1.0]], array![[true, false]]);
        let scored = |active: &Array2<bool>, atoms: &Array2<f32>, truth: &Array2<bool>, true_atoms: &Array2<f32>| {
            dictionary_scores(active.view(), atoms.view(), truth.view(), true_atoms.view()).unwrap_err().to_string()
        };
        let none = Array2::from_elem((0, 2), false);
        assert_eq!(scored(&none, &atoms, &none, &atoms), MetricError::Empty.to_string());
        assert!(scored(&mask, &atoms, &none, &atoms).contains("1 rows"));
        assert!(scored(&mask, &array![[1.0], [0.0]], &mask, &atoms).starts_with("atoms:"));
        assert!(scored(&mask, &array![[1.0, 0.0]], &mask, &atoms).starts_with("atoms:"));
        assert!(scored(&mask, &atoms, &mask, &array![[f32::NAN, 0.0], [0.0, 1.0]]).starts_with("true_atoms:"));
    }
}
