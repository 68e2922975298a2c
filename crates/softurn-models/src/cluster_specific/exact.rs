//! k-subspaces with the linear autoencoder's penalty, exact in `f64`: what a tied linear autoencoder for each cluster comes close to.
//!
//! Each cluster has a centre `c`, the mean of its rows, and orthonormal axes `V`, the `h` leading eigenvectors of their scatter. A row's
//! loss is `‖x - c‖² - (1 - λ) ‖Vᵀ(x - c)‖²`, its distance from the subspace and `λ` times what lies in it. Rows go to the cluster of
//! their lowest loss, then centres and axes are those of the new rows, until no row moves: no step raises the sum of losses. With
//! `λ = 0` this is k-subspaces (local principal components), with `λ = 1` k-means.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::assignment::{lowest, refill};
use crate::{Error, Result};

/// Rounds after which rows that still move are left where they are.
const ROUNDS: usize = 300;

/// Clusters around subspaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Subspaces {
    /// The cluster of each row.
    pub labels: Vec<u32>,
    /// The centres, `[k, columns]`.
    pub centers: Array2<f64>,
    /// For each cluster its axes, `[h, columns]`, the leading one first.
    pub axes: Vec<Array2<f64>>,
    /// The sum of the losses of all rows.
    pub objective: f64,
}

/// Clusters of the rows `x`, `[rows, columns]`, around subspaces of `dimensions` dimensions with the penalty `lambda`. Each of `starts` names
/// a row for each cluster; every row begins with the nearest of them. Of all starts the lowest objective is kept. A cluster that lost
/// its rows takes the one with the highest loss.
///
/// ```
/// use ndarray::array;
/// use softurn_models::cluster_specific::exact;
///
/// // Two horizontal lines: the ends of different lines are nearer to each other than those of the same line.
/// let x = array![[-9.0, 0.0], [0.0, 0.0], [9.0, 0.0], [-9.0, 1.0], [0.0, 1.0], [9.0, 1.0]];
/// let fitted = exact::fit(x.view(), 1, 0.0, &[vec![1, 4]])?;
/// assert_eq!(fitted.labels, [0, 0, 0, 1, 1, 1]);
/// assert!(fitted.objective < 1e-9);
/// # Ok::<(), softurn_models::Error>(())
/// ```
///
/// # Errors
/// When `dimensions` is more than the columns, `lambda` is not from 0 to 1, or `starts` are none or name no row.
pub fn fit(x: ArrayView2<'_, f64>, dimensions: usize, lambda: f64, starts: &[Vec<u32>]) -> Result<Subspaces> {
    if dimensions > x.ncols() {
        return Err(Error::argument("dimensions", format!("{dimensions} in {} columns", x.ncols())));
    }
    if !(0.0..=1.0).contains(&lambda) {
        return Err(Error::argument("lambda", format!("{lambda} is not from 0 to 1")));
    }
    if starts.is_empty() {
        return Err(Error::argument("starts", "must be at least 1"));
    }
    if let Some(start) =
        starts.iter().find(|start| start.is_empty() || start.iter().any(|&row| row as usize >= x.nrows()))
    {
        return Err(Error::argument("starts", format!("{start:?} are not some of the {} rows", x.nrows())));
    }
    let fits = starts.iter().map(|seeds| from_seeds(x, dimensions, lambda, seeds));
    let best = fits.min_by(|a, b| a.objective.total_cmp(&b.objective));
    best.ok_or_else(|| Error::argument("starts", "must be at least 1"))
}

fn from_seeds(x: ArrayView2<'_, f64>, dimensions: usize, lambda: f64, seeds: &[u32]) -> Subspaces {
    let seeds: Vec<usize> = seeds.iter().map(|&row| row as usize).collect();
    let mut fitted = Subspaces {
        labels: Vec::new(),
        centers: x.select(Axis(0), &seeds),
        axes: vec![Array2::zeros((0, x.ncols())); seeds.len()],
        objective: f64::INFINITY,
    };
    for _ in 0..ROUNDS {
        // Without axes the first losses are squared distances from the seeds.
        let losses = fitted.losses(x, lambda);
        let mut labels = lowest(losses.view());
        refill(losses.view(), &mut labels);
        if labels == fitted.labels {
            break;
        }
        fitted.labels = labels;
        for cluster in 0..seeds.len() {
            let rows: Vec<usize> = (0..x.nrows()).filter(|&row| fitted.labels[row] as usize == cluster).collect();
            let rows = x.select(Axis(0), &rows);
            // None where there are fewer rows than clusters: then it stays as it is.
            let Some(center) = rows.mean_axis(Axis(0)) else { continue };
            fitted.axes[cluster] = principal_axes(&rows, &center, dimensions);
            fitted.centers.row_mut(cluster).assign(&center);
        }
    }
    let losses = fitted.losses(x, lambda);
    fitted.objective = fitted.labels.iter().enumerate().map(|(row, &cluster)| losses[[cluster as usize, row]]).sum();
    fitted
}

impl Subspaces {
    /// The loss of every row in every cluster, `[k, rows]`.
    fn losses(&self, x: ArrayView2<'_, f64>, lambda: f64) -> Array2<f64> {
        let square = |vector: ArrayView1<'_, f64>| vector.dot(&vector);
        Array2::from_shape_fn((self.axes.len(), x.nrows()), |(cluster, row)| {
            let residual = &x.row(row) - &self.centers.row(cluster);
            let along = self.axes[cluster].dot(&residual);
            square(residual.view()) - (1.0 - lambda) * square(along.view())
        })
    }
}

/// The leading eigenvectors of the scatter of rows, `[dimensions, columns]`.
pub(super) fn principal_axes(rows: &Array2<f64>, center: &Array1<f64>, dimensions: usize) -> Array2<f64> {
    let centred = rows - center;
    let scatter = centred.t().dot(&centred);
    let cols = center.len();
    let eigen = SymmetricEigen::new(DMatrix::from_fn(cols, cols, |i, j| scatter[[i, j]]));
    let mut order: Vec<usize> = (0..cols).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    Array2::from_shape_fn((dimensions, cols), |(i, j)| eigen.eigenvectors[(j, order[i])])
}
