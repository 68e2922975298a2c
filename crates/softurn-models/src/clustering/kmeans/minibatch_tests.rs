//! Mini-batches against running means in `f64`, against all rows at once, and in the corners.

use softurn_kernels::Key;

use super::minibatch::Start;
use super::tests::{blobs, gpus, table, uniform};
use super::{FittedKMeans, KMeans};
use crate::data::{Dataset, digits};

fn fit(k: usize, batch: usize, data: &Dataset, key: u64) -> FittedKMeans {
    KMeans::params(k).batch(batch).check().unwrap().fit(&gpus()[0], data, Key::new(key)).unwrap()
}

#[test]
fn a_step_is_sculleys_row_by_row() {
    let (k, cols, batch) = (3, 2, 40);
    let mut start = Start::new(uniform(k * cols, 1), k);
    let mut expected: Vec<f64> = start.centres.clone();
    let mut counts = [0.0; 3];
    for round in 0..5 {
        let rows = blobs(batch, cols, k, 0.8, round);
        let nearest = |row: &[f32]| -> usize {
            let distance = |c: usize| -> f64 {
                (0..cols).map(|j| (f64::from(row[j]) - f64::from(start.centres[c * cols + j] as f32)).powi(2)).sum()
            };
            (0..k).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap()
        };
        let labels: Vec<usize> = rows.chunks(cols).map(nearest).collect();
        let before: Vec<f64> = start.centres.iter().map(|&value| f64::from(value as f32)).collect();
        let (mut sums, mut members, mut squares, mut inertia) = (vec![0.0; k * cols], vec![0.0; k], 0.0, 0.0);
        for (row, &c) in rows.chunks(cols).zip(&labels) {
            members[c] += 1.0;
            counts[c] += 1.0;
            for j in 0..cols {
                let x = f64::from(row[j]);
                sums[c * cols + j] += x;
                squares += x * x;
                inertia += (x - before[c * cols + j]).powi(2);
                // c ← (1 - η) c + η x with η = 1 / rows of the centre so far.
                expected[c * cols + j] += (x - expected[c * cols + j]) / counts[c];
            }
        }
        assert!((start.step(&sums, &members, squares) - inertia).abs() < 1e-9);
        start.centres.iter().zip(&expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} is not {b}"));
    }
}

#[test]
fn near_what_all_rows_at_once_find() {
    let data = digits();
    let whole = KMeans::params(10).starts(5).check().unwrap().fit(&gpus()[0], &data, Key::new(3)).unwrap();
    let fitted = fit(10, 256, &data, 3);
    assert!(fitted.converged() && fitted.iterations() < 300, "{}", fitted.iterations());
    assert!(fitted.inertia() < 1.05 * whole.inertia(), "{} and {}", fitted.inertia(), whole.inertia());
    assert_eq!(fitted.predict(&data).unwrap(), fitted.labels());
    assert_eq!(fitted.group_sizes().iter().sum::<usize>(), data.rows());
}

#[test]
fn the_same_key_gives_the_same_bits() {
    let data = table(&blobs(4000, 16, 5, 0.5, 2), 16);
    let method = KMeans::params(5).starts(2).batch(64).check().unwrap();
    let fits = [9, 9, 8].map(|key| {
        let fitted = method.fit(&gpus()[0], &data, Key::new(key)).unwrap();
        let bits: Vec<u32> = fitted.centers().read().unwrap().into_iter().map(f32::to_bits).collect();
        (bits, fitted.labels().to_vec(), fitted.inertia().to_bits())
    });
    assert_eq!(fits[0], fits[1]);
    assert_ne!(fits[0].0, fits[2].0);
}

#[test]
fn a_centre_that_gets_no_rows_moves() {
    let mut start = Start::new(vec![0.0, 5.0, 1000.0], 3);
    let (rows, distances) = ([0.1, 5.1, 9.0, 5.2], [0.01, 0.01, 16.0, 0.04]);
    for _ in 0..10 {
        start.step(&[0.1, 19.3, 0.0], &[1.0, 3.0, 0.0], 112.0);
    }
    start.refill(&rows, &distances, 11);
    assert_eq!(start.centres[2], 1000.0);
    start.refill(&rows, &distances, 10);
    assert_eq!((start.centres[2], start.counts[2]), (9.0, 0.0));
    assert_eq!(start.counts[..2], [10.0, 30.0]);
}

#[test]
fn corners() {
    // A batch for all rows, one row for each cluster, one row, equal rows.
    let data = table(&uniform(40 * 3, 8), 3);
    assert!(fit(40, 1000, &data, 1).inertia() < 60.0);
    assert_eq!(fit(1, 1, &table(&[7.0, 8.0], 2), 1).labels(), [0]);
    let same = fit(2, 3, &table(&[0.3; 12], 2), 1);
    assert_eq!((same.inertia(), same.group_sizes()), (0.0, vec![6, 0]));
    // Far more rows than clusters have, and groups of very unequal size.
    let group = |row: usize| [0.0, 1.0, 5.0][usize::from(row % 100 >= 90) + usize::from(row % 100 >= 98)];
    let unequal: Vec<f32> = (0..20_000).map(group).collect();
    let mut sizes = fit(3, 128, &table(&unequal, 1), 4).group_sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [400, 1600, 18_000]);
}
