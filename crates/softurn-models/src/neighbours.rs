//! Nearest neighbours: for every row the `k` other rows at the smallest Euclidean distance.
//!
//! `|a - b|² = |a|² + |b|² - 2 a·b` in f32 by matrix products of blocks of rows finds, with a bound on its rounding, the few
//! rows that can be among the nearest (Higham, "Accuracy and stability of numerical algorithms", §3.1); their distances
//! are then summed in f64, feature by feature. The result is that of sorting all f64 distances, at the cost of the products.

use std::sync::{Mutex, PoisonError};

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayViewMut2, Axis, s};

use crate::{Error, Result};

/// Rows per matrix product. Fixed, so that nothing depends on the number of threads.
const BLOCK: usize = 256;

/// The `k` nearest other rows of every row of `data` (`[n, d]`), nearest first: `[n, k]` row indices.
///
/// Rows at equal distances come in ascending order. A row is never its own neighbour; another row of the same values is,
/// at distance 0. Takes memory for `256 n` floats per thread beside a copy of the data, and time for `n² d` multiplications;
/// the result does not depend on the number of threads.
///
/// # Errors
/// When `k` is not below `n`, or `data` holds a value that is not finite.
pub fn nearest_neighbours(data: &Array2<f32>, k: usize) -> Result<Array2<u32>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    with_threads(data, k, threads)
}

fn with_threads(data: &Array2<f32>, k: usize, threads: usize) -> Result<Array2<u32>> {
    let n = data.nrows();
    if k >= n {
        return Err(Error::argument("k", format!("is {k}, and only {} other rows are there", n.saturating_sub(1))));
    }
    if u32::try_from(n).is_err() {
        return Err(Error::argument("data", format!("has {n} rows, more than u32 indices count")));
    }
    if let Some(((row, col), value)) = data.indexed_iter().find(|(_, value)| !value.is_finite()) {
        return Err(Error::argument("data", format!("row {row}, column {col} is {value}, not a finite number")));
    }
    let mut neighbours = Array2::zeros((n, k));
    if k == 0 {
        return Ok(neighbours);
    }
    let data = data.as_standard_layout();
    let points = Points::new(data.view());
    let blocks = Mutex::new(neighbours.axis_chunks_iter_mut(Axis(0), BLOCK).enumerate());
    let next = || blocks.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, n.div_ceil(BLOCK)) {
            scope.spawn(|| {
                let mut work = Work::new(n);
                while let Some((block, neighbours)) = next() {
                    points.search(block * BLOCK, neighbours, &mut work);
                }
            });
        }
    });
    Ok(neighbours)
}

struct Points<'a> {
    data: ndarray::ArrayView2<'a, f32>,
    /// The data about their mean, which keeps norms and so the error bound small, over a power of two, so that no product
    /// overflows.
    centred: Array2<f32>,
    /// Norms of the centred rows.
    norms: Array1<f32>,
    /// `|error| <= relative (|a| + |b|)² + absolute` for an approximate squared distance.
    relative: f32,
    absolute: f32,
}

/// What a thread reuses from block to block.
struct Work {
    products: Array2<f32>,
    upper: Vec<f32>,
    found: Vec<(f64, u32)>,
}

impl Work {
    fn new(n: usize) -> Self {
        Self { products: Array2::zeros((BLOCK.min(n), n)), upper: Vec::with_capacity(n), found: Vec::new() }
    }
}

impl<'a> Points<'a> {
    fn new(data: ndarray::ArrayView2<'a, f32>) -> Self {
        let d = data.ncols();
        let mut mean = Array1::<f64>::zeros(d);
        for row in data.rows() {
            mean.zip_mut_with(&row, |mean, &x| *mean += f64::from(x));
        }
        mean /= data.nrows() as f64;
        let largest = data.indexed_iter().fold(0.0, |a: f64, ((_, col), &x)| a.max((f64::from(x) - mean[col]).abs()));
        let scale = if largest > 0.0 { largest.log2().ceil().exp2().recip() } else { 1.0 };
        let centred = Array2::from_shape_fn(data.raw_dim(), |(row, col)| {
            ((f64::from(data[(row, col)]) - mean[col]) * scale) as f32
        });
        let norm =
            |row: ArrayView1<'_, f32>| row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32;
        let norms = centred.rows().into_iter().map(norm).collect();
        // With u = 2^-24: a dot product of length d errs by d u |a| |b|, of which twice is at most d u (|a| + |b|)² / 2;
        // the rounding of centred values, norms, sums and the bound itself is below 16 u (|a| + |b|)². Underflow, per term,
        // below 2^-126.
        let relative = (d as f32 + 16.0) * (0.5 * f32::EPSILON);
        let absolute = (d as f32 + 16.0) * (4.0 * f32::MIN_POSITIVE);
        Self { data, centred, norms, relative, absolute }
    }

    /// Fills in the neighbours of the rows from `start` on.
    fn search(&self, start: usize, mut neighbours: ArrayViewMut2<'_, u32>, work: &mut Work) {
        let (rows, k) = neighbours.dim();
        let block = self.centred.slice(s![start..start + rows, ..]);
        let mut products = work.products.slice_mut(s![..rows, ..]);
        general_mat_mul(1.0, &block, &self.centred.t(), 0.0, &mut products);
        for ((i, products), mut nearest) in (start..).zip(products.rows()).zip(neighbours.rows_mut()) {
            let norm = self.norms[i];
            // Between which bounds the squared distance to row j lies.
            let bounds = |(&product, &other): (&f32, &f32)| {
                let about = norm * norm + other * other - 2.0 * product;
                let error = self.relative * (norm + other) * (norm + other) + self.absolute;
                (about - error, about + error)
            };
            let pairs = || products.iter().zip(&self.norms).map(bounds);
            work.upper.clear();
            work.upper.extend(pairs().map(|(_, upper)| upper));
            work.upper[i] = f32::INFINITY;
            // At least k others are this near; who is surely farther is out.
            let (_, &mut limit, _) = work.upper.select_nth_unstable_by(k - 1, f32::total_cmp);
            work.found.clear();
            for (j, (lower, _)) in pairs().enumerate() {
                if lower <= limit && j != i {
                    work.found.push((self.distance(i, j), j as u32));
                }
            }
            let order = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            work.found.select_nth_unstable_by(k - 1, order);
            work.found[..k].sort_unstable_by(order);
            nearest.iter_mut().zip(&work.found).for_each(|(nearest, &(_, j))| *nearest = j);
        }
    }

    /// The squared distance, summed in the order of the features.
    fn distance(&self, i: usize, j: usize) -> f64 {
        let pairs = self.data.row(i).into_iter().zip(self.data.row(j));
        pairs.map(|(&a, &b)| f64::from(a) - f64::from(b)).map(|difference| difference * difference).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seeded stream of numbers in [-1, 1) (SplitMix64).
    fn numbers(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    fn random(n: usize, d: usize, seed: u64) -> Array2<f32> {
        Array2::from_shape_simple_fn((n, d), numbers(seed))
    }

    /// All distances in f64, sorted with their indices.
    fn brute_force(data: &Array2<f32>, k: usize) -> Array2<u32> {
        let mut neighbours = Array2::zeros((data.nrows(), k));
        for i in 0..data.nrows() {
            let squared = |j: usize| {
                let mut sum = 0.0;
                for (a, b) in data.row(i).iter().zip(data.row(j)) {
                    sum += (f64::from(*a) - f64::from(*b)).powi(2);
                }
                sum
            };
            let mut others: Vec<(f64, u32)> =
                (0..data.nrows()).filter(|&j| j != i).map(|j| (squared(j), j as u32)).collect();
            others.sort_by(|a, b| a.partial_cmp(b).unwrap());
            for (place, (_, j)) in others[..k].iter().enumerate() {
                neighbours[(i, place)] = *j;
            }
        }
        neighbours
    }

    #[track_caller]
    fn check(data: &Array2<f32>, k: usize) {
        assert_eq!(nearest_neighbours(data, k).unwrap(), brute_force(data, k), "{:?}, k = {k}", data.dim());
    }

    #[test]
    fn agrees_with_brute_force() {
        for (n, d, k) in
            [(1, 3, 0), (2, 1, 1), (3, 0, 2), (7, 2, 3), (65, 5, 64), (255, 3, 1), (257, 17, 10), (600, 64, 5)]
        {
            check(&random(n, d, n as u64), k);
        }
    }

    #[test]
    fn ties_and_duplicates_come_by_index() {
        // Small integers: nearly every distance occurs many times, and so does every row.
        check(&random(520, 3, 1).mapv(|x| (2.0 * x).round()), 30);
        check(&Array2::from_elem((300, 4), 0.1), 7);
        let mut data = random(300, 20, 2);
        for (i, j) in [(0, 299), (5, 258), (6, 258), (100, 101)] {
            let row = data.row(j).to_owned();
            data.row_mut(i).assign(&row);
        }
        check(&data, 4);
        assert_eq!(nearest_neighbours(&data, 2).unwrap().row(258).to_vec(), [5, 6]);
    }

    #[test]
    fn data_that_break_plain_f32() {
        // Far from the origin, where f32 products cancel to nothing; tight pairs in a wide cloud; the ends of the range.
        check(&random(300, 8, 3).mapv(|x| 10_000.0 + x), 5);
        let mut pairs = random(300, 8, 4);
        for i in (0..300).step_by(2) {
            let near = pairs.row(i).mapv(|x| x + 1e-6);
            pairs.row_mut(i + 1).assign(&near);
        }
        check(&pairs, 3);
        pairs[(17, 3)] = 1e9;
        check(&pairs, 3);
        for scale in [1e-42, 1e-30, 1e30, 3e38] {
            check(&random(100, 4, 5).mapv(|x| x * scale), 6);
        }
        let mut wide = random(100, 2, 6);
        wide.row_mut(0).fill(f32::MAX);
        wide.row_mut(1).fill(f32::MIN);
        check(&wide, 99);
    }

    #[test]
    fn threads_and_layout_do_not_show() {
        let data = random(1100, 12, 7);
        let one = with_threads(&data, 9, 1).unwrap();
        for threads in [0, 2, 3, 100] {
            assert_eq!(one, with_threads(&data, 9, threads).unwrap());
        }
        let columns = data.t().as_standard_layout().into_owned().reversed_axes();
        assert!(!columns.is_standard_layout());
        assert_eq!(one, nearest_neighbours(&columns, 9).unwrap());
    }

    #[test]
    fn bad_arguments_are_named() {
        for (n, k) in [(0, 0), (1, 1), (4, 4), (4, usize::MAX)] {
            let error = nearest_neighbours(&random(n, 2, 0), k).unwrap_err();
            assert!(matches!(error, Error::Argument { argument: "k", .. }), "{error}");
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let mut data = random(4, 2, 0);
            data[(2, 1)] = bad;
            let error = nearest_neighbours(&data, 1).unwrap_err();
            assert!(matches!(error, Error::Argument { argument: "data", .. }), "{error}");
        }
    }
}
