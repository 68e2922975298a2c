//! Silhouette, the mean over rows of `(b - a) / max(a, b)`: `a` is the mean distance to the other rows of the row's own
//! cluster, `b` the least mean distance to the rows of another. Rousseeuw 1987, as scikit-learn's `silhouette_score` with
//! Euclidean distances.

use ndarray::ArrayView2;

use super::{MetricError, places};

/// Mean silhouette of all rows, -1 to 1: how much nearer rows are to their own cluster than to the next.
///
/// `features` is `[rows, cols]` with a label for each row. A row that is alone in its cluster, or at distance 0 from both
/// clusters, counts 0. Sums are in `f64`; the time is that of `rows^2` distances, the memory `rows`: for more than some
/// ten thousand rows see [`silhouette_sampled`].
///
/// # Errors
/// [`MetricError::LengthMismatch`], [`MetricError::Empty`], [`MetricError::NonFinite`], and [`MetricError::ClusterCount`]
/// unless there are 2 to `rows - 1` clusters.
///
/// ```
/// use ndarray::array;
/// use softurn_models::metrics::silhouette;
///
/// let features = array![[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0]];
/// assert!(silhouette(features.view(), &[0, 0, 1, 1])? > 0.88);
/// assert!(silhouette(features.view(), &[0, 1, 0, 1])? < 0.0);
/// # Ok::<(), softurn_models::metrics::MetricError>(())
/// ```
pub fn silhouette(features: ArrayView2<'_, f32>, labels: &[u32]) -> Result<f64, MetricError> {
    let all: Vec<usize> = (0..labels.len()).collect();
    check(features, labels)?;
    over(features, labels, &all)
}

/// Mean silhouette of `max_rows` rows among themselves, drawn uniformly without replacement; of all rows when there are no
/// more than that. It estimates [`silhouette`] (scikit-learn's `sample_size` does the same).
///
/// The same seed draws the same rows everywhere (SplitMix64, Steele et al. 2014, and a partial Fisher-Yates shuffle).
///
/// # Errors
/// As [`silhouette`], the number of clusters being that among the rows drawn.
pub fn silhouette_sampled(
    features: ArrayView2<'_, f32>,
    labels: &[u32],
    max_rows: usize,
    seed: u64,
) -> Result<f64, MetricError> {
    check(features, labels)?;
    let mut rows: Vec<usize> = (0..labels.len()).collect();
    if max_rows < rows.len() {
        let mut state = seed;
        for place in 0..max_rows {
            let left = (rows.len() - place) as u128;
            let drawn = ((u128::from(split_mix(&mut state)) * left) >> 64) as usize;
            rows.swap(place, place + drawn);
        }
        rows.truncate(max_rows);
        rows.sort_unstable();
    }
    over(features, labels, &rows)
}

fn over(features: ArrayView2<'_, f32>, labels: &[u32], rows: &[usize]) -> Result<f64, MetricError> {
    let labels: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
    let (own, distinct) = places(&labels);
    let clusters = distinct.len();
    if clusters < 2 || clusters >= rows.len() {
        return Err(MetricError::ClusterCount { clusters, rows: rows.len() });
    }
    let mut sizes = vec![0.0; clusters];
    for &cluster in &own {
        sizes[cluster] += 1.0;
    }
    let points = features.select(ndarray::Axis(0), rows);
    let cols = points.ncols();
    let values: Vec<f32> = points.iter().copied().collect();
    let point = |row: usize| &values[row * cols..(row + 1) * cols];

    let mut total = 0.0;
    let mut sums = vec![0.0; clusters];
    for row in 0..rows.len() {
        sums.fill(0.0);
        for other in 0..rows.len() {
            sums[own[other]] += distance(point(row), point(other));
        }
        let size = sizes[own[row]];
        if size < 2.0 {
            continue;
        }
        let inner = sums[own[row]] / (size - 1.0);
        let outer = (0..clusters)
            .filter(|&cluster| cluster != own[row])
            .map(|cluster| sums[cluster] / sizes[cluster])
            .fold(f64::INFINITY, f64::min);
        let larger = inner.max(outer);
        if larger > 0.0 {
            total += (outer - inner) / larger;
        }
    }
    Ok(total / rows.len() as f64)
}

/// In eight independent sums, which the compiler can vectorise.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..8 {
            let difference = f64::from(a[lane]) - f64::from(b[lane]);
            sums[lane] += difference * difference;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    (sums.iter().sum::<f64>() + rest).sqrt()
}

fn check(features: ArrayView2<'_, f32>, labels: &[u32]) -> Result<(), MetricError> {
    if features.nrows() != labels.len() {
        return Err(MetricError::LengthMismatch { first: features.nrows(), second: labels.len() });
    }
    if labels.is_empty() {
        return Err(MetricError::Empty);
    }
    match features.rows().into_iter().position(|row| row.iter().any(|value| !value.is_finite())) {
        Some(row) => Err(MetricError::NonFinite { row }),
        None => Ok(()),
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
