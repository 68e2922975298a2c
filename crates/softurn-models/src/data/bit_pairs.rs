//! Made bits whose two clusters differ in nothing but how the bits of a pair depend on each other.

use ndarray::Array2;
use softurn_kernels::Key;

use super::{DataError, Dataset, Labels};

/// Pairs of a row, and the chance that a bit is flipped.
const PAIRS: usize = 6;
const FLIPPED: f64 = 0.02;

/// Rows of six pairs of bits: in the first half of the rows the bits of a pair are equal, in the other half unlike; then each bit is flipped
/// with a chance of 2%. All bits are 1 half of the time in both clusters, so that no centres tell them apart.
///
/// # Errors
/// [`DataError::Empty`] without rows.
///
/// ```
/// use softurn_kernels::Key;
///
/// let pairs = softurn_models::data::bit_pairs(800, Key::new(0))?;
/// assert_eq!((pairs.rows(), pairs.cols(), pairs.labels().map(|labels| labels.counts())), (800, 12, Some(vec![400, 400])));
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
pub fn bit_pairs(rows: usize, key: Key) -> Result<Dataset, DataError> {
    let [first_key, flip_key] = key.split();
    let unit = |key: Key, row: usize, at: usize| key.child(row as u64).child(at as u64).unit();
    let unlike = |row: usize| row >= rows / 2;
    let bits = Array2::from_shape_fn((rows, 2 * PAIRS), |(row, column)| {
        let first = unit(first_key, row, column / 2) < 0.5;
        let clean = first != (column % 2 == 1 && unlike(row));
        let flipped = unit(flip_key, row, column) < FLIPPED;
        f32::from(u8::from(clean != flipped))
    });
    let labels: Vec<i64> = (0..rows).map(|row| i64::from(unlike(row))).collect();
    Dataset::table("bit pairs", bits)?.with_labels(Labels::from_integers(&labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_the_same_means_and_pairs_do_not() {
        let data = bit_pairs(4000, Key::new(1)).unwrap();
        let x = data.features();
        let equal = |row: usize| (0..PAIRS).filter(|pair| x[[row, 2 * pair]] == x[[row, 2 * pair + 1]]).count();
        for (rows, share) in
            [(0..2000, 1.0 - 2.0 * FLIPPED * (1.0 - FLIPPED)), (2000..4000, 2.0 * FLIPPED * (1.0 - FLIPPED))]
        {
            let found = rows.clone().map(equal).sum::<usize>() as f64 / (2000 * PAIRS) as f64;
            assert!((found - share).abs() < 0.01, "{found}, not {share}");
            let means = x.slice(ndarray::s![rows, ..]).mean_axis(ndarray::Axis(0)).unwrap();
            assert!(means.iter().all(|mean| (mean - 0.5).abs() < 0.05), "{means}");
        }
    }
}
