//! Made data with known sparse codes: each row is a sum of a few atoms of a dictionary, and noise.

use std::f64::consts::TAU;

use ndarray::Array2;
use softurn_kernels::Key;

use super::{DataError, Dataset};
use crate::train::batches::below;

/// Atoms, columns, and columns in which an atom is not 0.
const SIZE: [usize; 3] = [12, 40, 10];
/// The shares of rows that are sums of one, two .. atoms.
const COUNTS: [f64; 4] = [0.4, 0.3, 0.2, 0.1];
/// The standard deviation of the noise of every column.
const NOISE: f64 = 0.05;
/// Rows to learn from and rows to score.
const ROWS: [usize; 2] = [4000, 1000];

/// Rows that are sums of atoms, and which.
#[derive(Debug, Clone)]
pub struct DictionaryRows {
    /// The rows, `[rows, columns]`.
    pub data: Dataset,
    /// The atoms that each row is the sum of, `[rows, atoms]`.
    pub active: Array2<bool>,
}

/// A dictionary and rows made from it.
#[derive(Debug, Clone)]
pub struct DictionaryToy {
    /// `[12, 40]`: of length 1, each with 10 columns that are not 0, all of them positive.
    pub atoms: Array2<f32>,
    /// 4,000 rows to learn from.
    pub train: DictionaryRows,
    /// 1,000 rows to score.
    pub test: DictionaryRows,
}

/// Rows that are each the sum of 1 to 4 distinct atoms of 12, with probabilities 0.4, 0.3, 0.2 and 0.1, and of normal noise with
/// standard deviation 0.05: everything depends on the key alone. An atom's columns and their sizes, uniform before the atom is
/// brought to length 1, are drawn too.
///
/// # Errors
/// None that an input could cause.
///
/// ```
/// use softurn_kernels::Key;
///
/// let toy = softurn_models::data::dictionary_toy(Key::new(0))?;
/// assert_eq!((toy.atoms.dim(), toy.train.data.rows(), toy.test.data.rows()), ((12, 40), 4000, 1000));
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
pub fn dictionary_toy(key: Key) -> Result<DictionaryToy, DataError> {
    let [atoms_key, train_key, test_key] = key.split();
    let [size, cols, filled] = SIZE;
    let mut atoms = Array2::<f64>::zeros((size, cols));
    for (atom, key) in atoms.outer_iter_mut().zip(atoms_key.split_forever()) {
        let [places_key, sizes_key] = key.split();
        let mut atom = atom;
        for (place, key) in distinct(cols, filled, places_key).into_iter().zip(sizes_key.split_forever()) {
            atom[place] = uniform(key);
        }
        let length = atom.dot(&atom).sqrt();
        atom /= length;
    }
    let rows = |name: &str, rows: usize, key: Key| -> Result<DictionaryRows, DataError> {
        let mut active = Array2::from_elem((rows, size), false);
        let mut data = Array2::zeros((rows, cols));
        for (row, key) in key.split_forever().take(rows).enumerate() {
            let [count_key, choice_key, noise_key] = key.split();
            let mut left = uniform(count_key);
            let count = 1 + COUNTS[..3]
                .iter()
                .take_while(|&&share| {
                    left -= share;
                    left >= 0.0
                })
                .count();
            let mut sum =
                ndarray::Array1::from_iter(noise_key.split_forever().take(cols).map(|key| NOISE * normal(key)));
            for atom in distinct(size, count, choice_key) {
                active[[row, atom]] = true;
                sum += &atoms.row(atom);
            }
            data.row_mut(row).assign(&sum.mapv(|value| value as f32));
        }
        Ok(DictionaryRows { data: Dataset::table(name, data)?, active })
    };
    let [train, test] = [("dictionary toy", ROWS[0], train_key), ("dictionary toy, test rows", ROWS[1], test_key)]
        .map(|(name, n, key)| rows(name, n, key));
    Ok(DictionaryToy { train: train?, test: test?, atoms: atoms.mapv(|value| value as f32) })
}

/// So many distinct numbers below `n`.
fn distinct(n: usize, count: usize, key: Key) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    for (i, key) in key.split_forever().take(count).enumerate() {
        all.swap(i, i + below(key, n - i));
    }
    all.truncate(count);
    all
}

/// Above 0 and below 1.
fn uniform(key: Key) -> f64 {
    key.unit() + 0.5 / (1u64 << 53) as f64
}

fn normal(key: Key) -> f64 {
    let [radius, angle] = key.split();
    (-2.0 * uniform(radius).ln()).sqrt() * (TAU * uniform(angle)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sums_of_their_atoms_and_noise() {
        let toy = dictionary_toy(Key::new(3)).unwrap();
        for atom in toy.atoms.outer_iter() {
            assert!((atom.dot(&atom) - 1.0).abs() < 1e-6);
            assert_eq!(atom.iter().filter(|&&value| value > 0.0).count(), 10);
            assert_eq!(atom.iter().filter(|&&value| value == 0.0).count(), 30);
        }
        for (rows, tolerance) in [(&toy.train, 0.03), (&toy.test, 0.06)] {
            let on = rows.active.mapv(|on| f32::from(u8::from(on)));
            let noise = rows.data.features() - &on.dot(&toy.atoms);
            let deviation = noise.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / noise.len() as f64;
            assert!((deviation.sqrt() - 0.05).abs() < 5e-4, "{deviation}");
            let mut counts = [0.0; 4];
            for row in on.outer_iter() {
                counts[row.sum() as usize - 1] += 1.0 / on.nrows() as f64;
            }
            assert!(counts.iter().zip(COUNTS).all(|(found, share)| (found - share).abs() < tolerance), "{counts:?}");
            let each = on.mean_axis(ndarray::Axis(0)).unwrap();
            assert!(each.iter().all(|share| (share - 2.0 / 12.0).abs() < tolerance as f32), "{each}");
        }
        assert_eq!(dictionary_toy(Key::new(3)).unwrap().test.data, toy.test.data);
        assert_ne!(dictionary_toy(Key::new(4)).unwrap().test.data, toy.test.data);
    }
}
