//! Clustering accuracy, `max over one-to-one matchings m of |{row : m(predicted) = truth}| / rows`: the best matching of
//! clusters to classes is found by the Hungarian method (Kuhn 1955; Munkres 1957) on the contingency table.

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

use super::MetricError;
use super::contingency::{Contingency, contingency};

/// The share of rows, 0 to 1, whose cluster is matched to their class by the best one-to-one matching.
///
/// Clusters and classes may differ in number: what is left over counts as wrong.
///
/// # Errors
/// As [`contingency`].
pub fn accuracy(predicted: &[u32], truth: &[u32]) -> Result<f64, MetricError> {
    let table = contingency(predicted, truth)?;
    let right: u64 = best(&table).into_iter().map(|(cluster, class)| table.counts[[cluster, class]]).sum();
    Ok(right as f64 / truth.len() as f64)
}

/// The class matched to every predicted cluster by the best one-to-one matching, in ascending order of clusters; `None` for
/// clusters beyond the number of classes.
///
/// A cluster may be matched to a class of which it holds no row, when that is what is left.
///
/// # Errors
/// As [`contingency`].
pub fn matching(predicted: &[u32], truth: &[u32]) -> Result<Vec<(u32, Option<u32>)>, MetricError> {
    let table = contingency(predicted, truth)?;
    let mut matched: Vec<(u32, Option<u32>)> = table.clusters.iter().map(|&cluster| (cluster, None)).collect();
    for (cluster, class) in best(&table) {
        matched[cluster].1 = Some(table.classes[class]);
    }
    Ok(matched)
}

/// Pairs (row, column) of the table, as many as its shorter side.
fn best(table: &Contingency) -> Vec<(usize, usize)> {
    let (clusters, classes) = table.counts.dim();
    // The method wants no more rows than columns.
    if clusters <= classes {
        let weights = Matrix::from_fn(clusters, classes, |(cluster, class)| table.counts[[cluster, class]] as i64);
        kuhn_munkres(&weights).1.into_iter().enumerate().collect()
    } else {
        let weights = Matrix::from_fn(classes, clusters, |(class, cluster)| table.counts[[cluster, class]] as i64);
        kuhn_munkres(&weights).1.into_iter().enumerate().map(|(class, cluster)| (cluster, class)).collect()
    }
}
