//! Where clustering starts: groups in the encoder's space, by k-means or from joined parts of it.
//!
//! k-means prefers groups of one size: it splits a large one before it separates two small ones. Parts that are joined by
//! the density between them do not look at sizes, and take a group of two shapes for two groups. So the default takes of
//! several candidates the one with the lowest sum of two costs, both free of units: what share of each group's
//! neighbourhoods lead out of it, and how far the sizes are from even ones (a divergence, in nats).

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use softurn_kernels::{Gpu, Key};

use crate::Result;
use crate::clustering::kmeans::KMeans;
use crate::neighbours::nearest_neighbours;

/// Where the groups come from that clustering starts with, in the encoder's space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Start {
    /// Of the two others, the one that cuts fewer neighbourhoods and has the more even sizes.
    #[default]
    Best,
    /// k-means, which prefers groups of one size: it splits a large group before it separates two small ones, and keeps a
    /// group whole that has two shapes.
    KMeans,
    /// More parts by k-means, joined by the density of neighbourhoods between them whatever their size: for groups known to
    /// be very unequal. It separates what is separate, so a group of two shapes becomes two.
    Joined,
}

/// Parts for each group: of the one candidate of joined parts, and of those that are compared with k-means.
const PARTS: usize = 5;
const COMPARED: [usize; 3] = [2, 3, PARTS];
/// Rows that a part has on average, at least.
const ROWS_PER_PART: usize = 4;
/// Neighbours of a row in the graph.
const NEIGHBOURS: usize = 5;

/// A group in `0..k` for each row of `points`. Too few rows for parts are left to k-means.
pub(super) fn groups(gpu: &Gpu, points: &Array2<f32>, k: usize, start: Start, key: Key) -> Result<Vec<u32>> {
    let (rows, cols) = points.dim();
    let values = points.as_standard_layout();
    let tensor = gpu.tensor(values.as_slice().unwrap_or_default(), [rows, cols])?;
    let by_k_means = |k, starts, key| -> Result<Vec<u32>> {
        Ok(KMeans::params(k).starts(starts).check()?.fit_points(gpu, &tensor, key)?.labels().to_vec())
    };
    let compared: &[usize] = match start {
        Start::KMeans => &[],
        Start::Joined => &[PARTS],
        Start::Best => &COMPARED,
    };
    let parts: Vec<usize> = compared.iter().map(|parts| (parts * k).min(rows / ROWS_PER_PART)).collect();
    if parts.iter().all(|&parts| parts <= k) || rows <= NEIGHBOURS {
        return by_k_means(k, 20, key);
    }
    let neighbours = nearest_neighbours(points, NEIGHBOURS)?;
    let mut candidates = Vec::new();
    if start == Start::Best {
        candidates.push(by_k_means(k, 20, key)?);
    }
    for parts in parts {
        candidates.push(join(&by_k_means(parts, 5, key.child(parts as u64))?, parts, &neighbours, k));
    }
    let costs: Vec<f64> = candidates.iter().map(|labels| cost(labels, &neighbours, k)).collect();
    let best = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).unwrap_or(0);
    Ok(candidates.swap_remove(best))
}

/// The share of neighbourhoods that lead out of a group, summed over the groups, and the divergence of the sizes from even
/// ones. A group without rows counts as one that all lead out of.
fn cost(labels: &[u32], neighbours: &Array2<u32>, k: usize) -> f64 {
    let mut sizes = vec![0.0f64; k];
    // Neighbourhoods of each group, seen from both ends, and those that lead out.
    let mut ends = vec![[0.0f64; 2]; k];
    for (row, &group) in labels.iter().enumerate() {
        sizes[group as usize] += 1.0;
        for &neighbour in neighbours.row(row) {
            let other = labels[neighbour as usize];
            for end in [group, other] {
                ends[end as usize][0] += 1.0;
                ends[end as usize][1] += f64::from(u8::from(other != group));
            }
        }
    }
    let cut: f64 = ends.iter().map(|&[all, out]| if all > 0.0 { out / all } else { 1.0 }).sum();
    let rows = labels.len() as f64;
    let uneven: f64 = sizes.iter().filter(|&&n| n > 0.0).map(|n| n / rows * (n / rows * k as f64).ln()).sum();
    cut + uneven
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

    /// A wide group beside three small ones, which k-means cuts to keep two of the small ones together.
    fn wide_and_small(gpu: &Gpu, [wide, small]: [usize; 2], spread: [f32; 2]) -> (Array2<f32>, Vec<u32>) {
        let rows = wide + 3 * small;
        let truth: Vec<u32> =
            (0..rows).map(|row| if row < wide { 0 } else { 1 + ((row - wide) / small) as u32 }).collect();
        let noise = random::normal(gpu, [rows, 2], Key::new(5)).unwrap().read().unwrap();
        let points = Array2::from_shape_fn((rows, 2), |(row, column)| {
            let (center, spread) = match truth[row] {
                0 => ([0.0, 0.0], spread),
                1 => ([0.0, 9.0], [0.2, 0.2]),
                2 => ([2.0, 9.0], [0.2, 0.2]),
                _ => ([-2.0, 9.0], [0.2, 0.2]),
            };
            center[column] + spread[column] * noise[2 * row + column]
        });
        (points, truth)
    }

    #[test]
    fn groups_of_unequal_size() {
        let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let of = |points: &Array2<f32>, start| groups(&gpu, points, 4, start, Key::new(0)).unwrap();
        for (sizes, spread, best_start) in [([600, 20], [3.0, 0.8], Start::Joined), ([60, 20], [2.0, 2.0], Start::Best)]
        {
            let (points, truth) = wide_and_small(&gpu, sizes, spread);
            let found = of(&points, best_start);
            assert!(adjusted_rand_index(&found, &truth).unwrap() > 0.99, "{sizes:?}");
            assert!(adjusted_rand_index(&of(&points, Start::KMeans), &truth).unwrap() < 0.9, "{sizes:?}");
            assert_eq!(found, of(&points, best_start));
        }
    }

    /// Of three groups, one has two shapes and the others touch: joined parts split it, even sizes speak for k-means.
    #[test]
    fn even_sizes_keep_a_group_of_two_shapes_whole() {
        let gpu = Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}"));
        let truth: Vec<u32> = (0..360).map(|row| row / 120).collect();
        let noise = random::normal(&gpu, [360, 2], Key::new(6)).unwrap().read().unwrap();
        let points = Array2::from_shape_fn((360, 2), |(row, column)| {
            let center = match row {
                0..60 => [-10.0, 0.0],
                60..120 => [-10.0, 3.2],
                120..240 => [4.0, 0.0],
                _ => [8.2, 0.0],
            };
            let spread = if row < 120 { 0.4 } else { 0.9 };
            center[column] + spread * noise[2 * row + column]
        });
        let of = |start| groups(&gpu, &points, 3, start, Key::new(1)).unwrap();
        assert!(adjusted_rand_index(&of(Start::Joined), &truth).unwrap() < 0.7);
        assert!(adjusted_rand_index(&of(Start::Best), &truth).unwrap() > 0.9);
    }

    #[test]
    fn costs_of_cuts_and_of_unevenness() {
        // Pairs of neighbours: nothing is cut between them, and a pair that is cut is all that both rows have.
        let neighbours = Array2::from_shape_vec((6, 1), vec![1, 0, 3, 2, 5, 4]).unwrap();
        assert!(cost(&[0, 0, 1, 1, 2, 2], &neighbours, 3).abs() < 1e-12);
        let expected = 4.0 / 6.0 * (4.0 / 6.0 * 3.0f64).ln() + 2.0 / 6.0 * (2.0 / 6.0 * 3.0f64).ln() + 1.0;
        assert!((cost(&[0, 0, 0, 0, 1, 1], &neighbours, 3) - expected).abs() < 1e-12);
        // One of three pairs is cut: its two neighbourhoods have one end in each group, of six.
        let cut = cost(&[0, 0, 0, 1, 1, 1], &neighbours, 2);
        assert!((cut - (2.0 / 6.0 + 2.0 / 6.0)).abs() < 1e-12, "{cut}");
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
