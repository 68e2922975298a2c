//! Where clustering starts: groups in the encoder's space, by k-means or from joined parts of it.

use ndarray::Array2;
use softurn_kernels::{Gpu, Key};

use super::Start;
use crate::Result;
use crate::clustering::kmeans::KMeans;
use crate::neighbours::nearest_neighbours;

/// Parts for each group.
const PARTS: usize = 5;
/// Rows that a part has on average, at least.
const ROWS_PER_PART: usize = 4;
/// Neighbours of a row in the graph.
const NEIGHBOURS: usize = 5;

/// A group in `0..k` for each row of `points`. Too few rows for parts are left to k-means.
pub(super) fn groups(gpu: &Gpu, points: &Array2<f32>, k: usize, start: Start, key: Key) -> Result<Vec<u32>> {
    let (rows, cols) = points.dim();
    let values = points.as_standard_layout();
    let tensor = gpu.tensor(values.as_slice().unwrap_or_default(), [rows, cols])?;
    let parts = (PARTS * k).min(rows / ROWS_PER_PART);
    if start == Start::KMeans || parts <= k || rows <= NEIGHBOURS {
        return Ok(KMeans::params(k).starts(20).check()?.fit_points(gpu, &tensor, key)?.labels().to_vec());
    }
    let labels = KMeans::params(parts).starts(5).check()?.fit_points(gpu, &tensor, key)?.labels().to_vec();
    let neighbours = nearest_neighbours(points, NEIGHBOURS)?;
    Ok(join(&labels, parts, &neighbours, k))
}

/// Joins the two parts with the densest neighbourhood again and again until `k` are left; of equally dense pairs the smaller.
/// The density is the share of all possible neighbourhoods that exist (average linkage), which does not look at sizes.
fn join(labels: &[u32], parts: usize, neighbours: &Array2<u32>, k: usize) -> Vec<u32> {
    let mut edges = vec![vec![0.0f64; parts]; parts];
    let mut sizes = vec![0.0f64; parts];
    for (row, &part) in labels.iter().enumerate() {
        sizes[part as usize] += 1.0;
        for &neighbour in neighbours.row(row) {
            let other = labels[neighbour as usize] as usize;
            edges[part as usize][other] += 1.0;
            edges[other][part as usize] += 1.0;
        }
    }
    let mut part_of: Vec<usize> = (0..parts).collect();
    let mut alive: Vec<usize> = (0..parts).filter(|&part| sizes[part] > 0.0).collect();
    while alive.len() > k {
        let mut best = (-1.0, f64::INFINITY, 0, 0);
        for (i, &a) in alive.iter().enumerate() {
            for &b in &alive[i + 1..] {
                let pairs = sizes[a] * sizes[b];
                let density = edges[a][b] / pairs;
                if density > best.0 || (density == best.0 && pairs < best.1) {
                    best = (density, pairs, a, b);
                }
            }
        }
        let (_, _, a, b) = best;
        for c in 0..parts {
            edges[a][c] += edges[b][c];
        }
        for row in &mut edges {
            row[a] += row[b];
        }
        sizes[a] += sizes[b];
        alive.retain(|&part| part != b);
        part_of.iter_mut().filter(|part| **part == b).for_each(|part| *part = a);
    }
    let group = |part: u32| alive.iter().position(|&a| a == part_of[part as usize]).unwrap_or_default() as u32;
    labels.iter().map(|&part| group(part)).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use softurn_kernels::{Gpu, GpuConfig, Key, ops::random};

    use super::*;
    use crate::metrics::adjusted_rand_index;

    /// A wide group beside three small ones: k-means cuts the wide one.
    #[test]
    fn groups_of_unequal_size() {
        let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let truth: Vec<u32> = (0..660).map(|row| if row < 600 { 0 } else { 1 + (row as u32 - 600) / 20 }).collect();
        let noise = random::normal(&gpu, [660, 2], Key::new(5)).unwrap().read().unwrap();
        let points = Array2::from_shape_fn((660, 2), |(row, column)| {
            let (center, spread) = match truth[row] {
                0 => ([0.0, 0.0], [3.0, 0.8]),
                1 => ([0.0, 6.0], [0.2, 0.2]),
                2 => ([2.0, 6.0], [0.2, 0.2]),
                _ => ([-2.0, 6.0], [0.2, 0.2]),
            };
            center[column] + spread[column] * noise[2 * row + column]
        });
        let found = groups(&gpu, &points, 4, Start::Joined, Key::new(0)).unwrap();
        assert!(adjusted_rand_index(&found, &truth).unwrap() > 0.99);
        let plain = groups(&gpu, &points, 4, Start::KMeans, Key::new(0)).unwrap();
        assert!(adjusted_rand_index(&plain, &truth).unwrap() < 0.9);
        assert_eq!(found, groups(&gpu, &points, 4, Start::Joined, Key::new(0)).unwrap());
    }

    #[test]
    fn parts_without_edges_are_joined_smallest_first() {
        let neighbours = Array2::from_shape_vec((6, 1), vec![1, 0, 3, 2, 5, 4]).unwrap();
        assert_eq!(join(&[0, 0, 1, 1, 2, 2], 3, &neighbours, 3), [0, 0, 1, 1, 2, 2]);
        let labels = join(&[0, 0, 1, 1, 2, 3], 4, &neighbours, 2);
        assert_eq!(labels[4], labels[5], "rows 4 and 5 are neighbours");
        assert_eq!(labels.iter().max(), Some(&1));
    }
}
