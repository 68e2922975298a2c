//! What to keep without labels: of several fits the best, and how many groups.
//!
//! [`best_of`] fits again and again from other random numbers and keeps the lowest objective.
//!
//! For numbers of groups, two criteria that agree where groups are round and apart, and that are both shown because neither is always right: the
//! mean log-likelihood of rows that a Gaussian mixture was not fitted on (cross-validation, Smyth 2000; of a table's
//! standardised columns), and the silhouette of its groups (Rousseeuw 1987). For rows that need a deep method, compare on what it makes of them (`transform`).

use std::ops::RangeInclusive;

use softurn_kernels::{Gpu, Key};

use super::Fitted;
use super::gmm::{Covariance, GaussianMixture};
use crate::data::Dataset;
use crate::metrics::silhouette_sampled;
use crate::train::batches;
use crate::{Error, Result};

/// Parts that the rows are split into; each is held out once.
const FOLDS: usize = 5;
/// The children of a key that further starts take.
const START: u64 = 0x7374_6172;
/// Starts of each mixture.
const STARTS: usize = 5;
/// Rows that the silhouette, whose cost grows with their square, is taken over.
const SILHOUETTE_ROWS: usize = 2000;

/// Fits `starts` times, each time with a key of its own, the first time with `key` itself, and keeps the model with the
/// lowest objective. Returns it with the objectives of all.
///
/// ```no_run
/// use softurn_kernels::{Gpu, GpuConfig, Key};
/// use softurn_models::clustering::{Fitted, dec::Dec, selection::best_of};
/// use softurn_models::data;
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let (digits, method) = (data::load("digits", None)?, Dec::idec(10).check()?);
/// let (fitted, objectives) = best_of(3, Key::new(0), |key| method.fit(&gpu, &digits, key))?;
/// println!("{} of {objectives:?}", fitted.objective());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When `starts` is 0, and those of the fits.
pub fn best_of<F: Fitted>(starts: usize, key: Key, fit: impl FnMut(Key) -> Result<F>) -> Result<(F, Vec<f64>)> {
    best_by(starts, key, F::objective, fit)
}

/// As [`best_of`], by any number of which the lowest is the best.
///
/// # Errors
/// As [`best_of`].
pub fn best_by<F>(
    starts: usize,
    key: Key,
    objective: impl Fn(&F) -> f64,
    mut fit: impl FnMut(Key) -> Result<F>,
) -> Result<(F, Vec<f64>)> {
    let mut best: Option<(F, f64)> = None;
    let mut objectives = Vec::with_capacity(starts);
    for start in 0..starts {
        let fitted = fit(if start == 0 { key } else { key.child(START + start as u64) })?;
        let objective = objective(&fitted);
        objectives.push(objective);
        if best.as_ref().is_none_or(|&(_, lowest)| objective < lowest) {
            best = Some((fitted, objective));
        }
    }
    let (best, _) = best.ok_or_else(|| Error::argument("starts", "must be at least 1"))?;
    Ok((best, objectives))
}

/// What speaks for a number of groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The number of groups.
    pub k: usize,
    /// The mean silhouette of a mixture's groups, from -1 to 1; none where all rows are in one.
    pub silhouette: Option<f64>,
    /// The mean log-likelihood of held-out rows, in nats.
    pub held_out: f64,
}

/// Compares numbers of groups on the rows of `data`, with a Gaussian mixture each; labels are not looked at.
///
/// ```no_run
/// use softurn_kernels::{Gpu, GpuConfig, Key};
/// use softurn_models::clustering::gmm::Covariance;
/// use softurn_models::clustering::selection::{best_by_likelihood, compare};
/// use softurn_models::data;
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let iris = data::load("iris", None)?;
/// let candidates = compare(&gpu, &iris, 1..=8, Covariance::Full, Key::new(0))?;
/// println!("{:?}", best_by_likelihood(&candidates));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the range is empty, starts at 0, or asks for more groups than there are rows in all folds but one.
pub fn compare(
    gpu: &Gpu,
    data: &Dataset,
    ks: RangeInclusive<usize>,
    covariance: Covariance,
    key: Key,
) -> Result<Vec<Candidate>> {
    let (low, high, rows) = (*ks.start(), *ks.end(), data.rows());
    if low == 0 || low > high {
        return Err(Error::argument("k", format!("{low} to {high} is no range from 1 on")));
    }
    let folds = FOLDS.min(rows);
    // The largest fold is what is missing.
    let fitted_on = rows - rows.div_ceil(folds);
    if high > fitted_on {
        return Err(Error::argument("k", format!("{high} groups, but a fold of {rows} rows is fitted on {fitted_on}")));
    }
    let [order_key, key] = key.split();
    let order: Vec<usize> = batches::shuffled(rows, rows, order_key).concat().iter().map(|&row| row as usize).collect();
    let fold = |i: usize, held: bool| -> Result<Dataset> {
        let rows = order.iter().enumerate().filter(|(at, _)| (at % folds == i) == held).map(|(_, &row)| row);
        data.select_rows(&rows.collect::<Vec<_>>()).map_err(|error| Error::argument("data", error.to_string()))
    };
    let parts = (0..folds).map(|i| Ok([fold(i, false)?, fold(i, true)?])).collect::<Result<Vec<_>>>()?;
    ks.map(|k| {
        let method = GaussianMixture::params(k).covariance(covariance).starts(STARTS).check()?;
        let mut total = 0.0;
        for (i, [seen, held]) in parts.iter().enumerate() {
            total += method.fit(gpu, seen, key.child(i as u64))?.score(held)? * held.rows() as f64;
        }
        let fitted = method.fit(gpu, data, key)?;
        let features = fitted.scaled(data)?;
        let silhouette = silhouette_sampled(features.view(), fitted.labels(), SILHOUETTE_ROWS, key.bits()).ok();
        Ok(Candidate { k, silhouette, held_out: total / rows as f64 })
    })
    .collect()
}

/// The candidate whose held-out rows are likeliest.
pub fn best_by_likelihood(candidates: &[Candidate]) -> Option<Candidate> {
    candidates.iter().copied().max_by(|a, b| a.held_out.total_cmp(&b.held_out))
}

/// The candidate with the largest silhouette.
pub fn best_by_silhouette(candidates: &[Candidate]) -> Option<Candidate> {
    let value = |candidate: &Candidate| candidate.silhouette.unwrap_or(f64::NEG_INFINITY);
    candidates.iter().copied().filter(|c| c.silhouette.is_some()).max_by(|a, b| value(a).total_cmp(&value(b)))
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use softurn_kernels::ops::random;
    use softurn_kernels::{Gpu, GpuConfig, Key};

    use super::*;
    use crate::clustering::kmeans::KMeans;

    /// Three Gaussians of unequal size on a plane.
    fn three(gpu: &Gpu) -> Dataset {
        let noise = random::normal(gpu, [120, 2], Key::new(3)).unwrap().read().unwrap();
        let centre = |row| match row {
            0..60 => [0.0, 0.0],
            60..100 => [8.0, 0.0],
            _ => [0.0, 9.0],
        };
        Dataset::table("three", Array2::from_shape_fn((120, 2), |(i, j)| centre(i)[j] + noise[2 * i + j])).unwrap()
    }

    #[test]
    fn three_groups_are_found_by_both() {
        let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let candidates = compare(&gpu, &three(&gpu), 1..=5, Covariance::Diagonal, Key::new(0)).unwrap();
        assert_eq!(candidates.iter().map(|candidate| candidate.k).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(candidates[0].silhouette, None);
        assert_eq!(best_by_likelihood(&candidates).unwrap().k, 3, "{candidates:?}");
        assert_eq!(best_by_silhouette(&candidates).unwrap().k, 3, "{candidates:?}");
        assert_eq!(best_by_silhouette(&[]), None);
    }

    #[test]
    fn the_lowest_objective_is_kept() {
        let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let (data, method) = (three(&gpu), KMeans::params(6).starts(1).check().unwrap());
        let mut keys = Vec::new();
        let (best, objectives) = best_of(4, Key::new(5), |key| {
            keys.push(key);
            method.fit(&gpu, &data, key)
        })
        .unwrap();
        assert_eq!((keys[0], objectives.len()), (Key::new(5), 4));
        assert!(objectives.iter().any(|&objective| objective > best.objective()), "{objectives:?}");
        assert_eq!(best.objective(), objectives.iter().copied().fold(f64::INFINITY, f64::min));
        let at = objectives.iter().position(|&objective| objective == best.objective()).unwrap();
        assert_eq!(method.fit(&gpu, &data, keys[at]).unwrap().labels(), best.labels());
        assert!(best_of(0, Key::new(5), |key| method.fit(&gpu, &data, key)).is_err());
    }

    #[test]
    fn ranges_are_checked() {
        let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let data = three(&gpu).take_rows(10).unwrap();
        for range in [0..=3, 1..=9] {
            let error = compare(&gpu, &data, range, Covariance::Diagonal, Key::new(0)).unwrap_err().to_string();
            assert!(error.contains('k'), "{error}");
        }
        #[expect(clippy::reversed_empty_ranges)]
        let empty = 3..=2;
        assert!(compare(&gpu, &data, empty, Covariance::Diagonal, Key::new(0)).is_err());
    }
}
