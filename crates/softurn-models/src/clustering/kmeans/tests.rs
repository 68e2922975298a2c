//! k-means against Lloyd's algorithm in `f64`, against scikit-learn on real data, and in the corners.

use std::sync::OnceLock;

use ndarray::Array2;
use softurn_kernels::{Gpu, GpuConfig, Key, Plan, Tensor};

use super::lloyd::{self, Stop};
use super::rows::Rows;
use super::{FittedKMeans, KMeans, seeding};
use crate::data::{Dataset, digits, iris};

/// One poisoned device per plan for all tests of clustering.
pub(crate) fn gpus() -> &'static [Gpu; 2] {
    static GPUS: OnceLock<[Gpu; 2]> = OnceLock::new();
    GPUS.get_or_init(|| {
        [Plan::Cpu, Plan::Gpu].map(|plan| {
            Gpu::new(GpuConfig { plan: Some(plan), poison: true, ..GpuConfig::default() })
                .unwrap_or_else(|error| panic!("{error}; run `cargo xtask test`, which installs a software adapter"))
        })
    })
}

/// The data of a set on a device.
pub(crate) fn tensor(gpu: &Gpu, set: &Dataset) -> Tensor {
    gpu.tensor(set.values(), [set.rows(), set.cols()]).unwrap()
}

/// Rows on the host.
pub(crate) fn table(values: &[f32], cols: usize) -> Dataset {
    let features = Array2::from_shape_vec((values.len() / cols, cols), values.to_vec()).unwrap();
    Dataset::table("test", features).unwrap()
}

/// Numbers in `[0, 1)`.
pub(crate) fn uniform(count: usize, seed: u64) -> Vec<f32> {
    Key::new(seed).split_forever().take(count).map(|key| (key.bits() >> 40) as f32 / (1u64 << 24) as f32).collect()
}

/// Rows around `k` centres of the unit cube, more or less spread.
pub(crate) fn blobs(rows: usize, cols: usize, k: usize, spread: f32, seed: u64) -> Vec<f32> {
    let (centres, noise) = (uniform(k * cols, seed), uniform(rows * cols, seed + 1));
    (0..rows * cols).map(|at| centres[at / cols % k * cols + at % cols] + spread * (noise[at] - 0.5)).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Lloyd's algorithm from given centres; no cluster may become empty.
fn lloyd_in_f64(data: &[f64], centres: &mut [f64], cols: usize, iterations: usize) -> (Vec<u32>, f64) {
    let nearest = |centres: &[f64], row: &[f64]| {
        let distance = |centre| squared_distance(row, centre);
        let all: Vec<f64> = centres.chunks(cols).map(distance).collect();
        (0..all.len()).min_by(|&a, &b| all[a].total_cmp(&all[b])).unwrap()
    };
    for _ in 0..iterations {
        let k = centres.len() / cols;
        let (mut sums, mut counts) = (vec![0.0; centres.len()], vec![0.0; k]);
        for row in data.chunks(cols) {
            let j = nearest(centres, row);
            counts[j] += 1.0;
            (0..cols).for_each(|column| sums[j * cols + column] += row[column]);
        }
        (0..centres.len()).for_each(|at| centres[at] = sums[at] / counts[at / cols]);
    }
    let labels: Vec<usize> = data.chunks(cols).map(|row| nearest(centres, row)).collect();
    let own = |(row, &j): (&[f64], &usize)| squared_distance(row, &centres[j * cols..(j + 1) * cols]);
    let inertia = data.chunks(cols).zip(&labels).map(own).sum();
    (labels.into_iter().map(|label| label as u32).collect(), inertia)
}

/// Single precision, with sums of a few hundred numbers of size 1.
#[track_caller]
fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} is not {b} within {tolerance}");
}

/// The clusters, at rest, that Lloyd's iterations reach from seeds, and their inertia.
pub(crate) fn lloyd_from(gpu: &Gpu, points: &Tensor, seeds: &[u32]) -> (Vec<u32>, f64) {
    let rows = Rows::centred(gpu, points).unwrap();
    let (norms, start) = (rows.squared_norms(gpu).unwrap(), rows.pick(gpu, seeds).unwrap());
    let stop = Stop { iterations: 300, movement: 0.0 };
    let mut runs = lloyd::run(gpu, &rows, &norms, seeds.len(), vec![start], stop).unwrap();
    assert!(runs[0].converged);
    lloyd::finish(gpu, &rows, seeds.len(), &mut runs[0].centres).unwrap()
}

fn fit(k: usize, starts: usize, gpu: &Gpu, data: &Tensor) -> FittedKMeans {
    KMeans::params(k).starts(starts).check().unwrap().fit_points(gpu, data, Key::new(3)).unwrap()
}

/// Starts whose first centres are consecutive rows of the data.
fn first_centres(data: &[f32], cols: usize, k: usize, starts: usize) -> Vec<Vec<f32>> {
    (0..starts).map(|start| data[start * k * cols..(start + 1) * k * cols].to_vec()).collect()
}

#[test]
fn agrees_with_f64_from_the_same_centres() {
    for gpu in gpus() {
        for (rows, cols, k, iterations) in [(50, 1, 3, 40), (200, 5, 7, 2), (333, 17, 4, 40), (65, 64, 1, 5)] {
            let data = blobs(rows, cols, k, 1.0, rows as u64);
            let centred = Rows::centred(gpu, &gpu.tensor(&data, [rows, cols]).unwrap()).unwrap();
            let norms = centred.squared_norms(gpu).unwrap();
            let values = centred.parts()[0].read().unwrap();
            let starts = first_centres(&values, cols, k, 3);
            let stop = Stop { iterations, movement: 0.0 };
            let runs = lloyd::run(gpu, &centred, &norms, k, starts.clone(), stop).unwrap();
            for (start, mut run) in starts.into_iter().zip(runs) {
                let mut expected = wide(&start);
                let (labels, inertia) = lloyd_in_f64(&wide(&values), &mut expected, cols, iterations);
                // Before `finish`, which would otherwise move unconverged centres once more.
                run.centres.iter().zip(&expected).for_each(|(&a, &b)| close(f64::from(a), b, 1e-6));
                if run.converged {
                    assert_eq!(lloyd::finish(gpu, &centred, k, &mut run.centres).unwrap().0, labels);
                    run.centres.iter().zip(&expected).for_each(|(&a, &b)| close(f64::from(a), b, 3e-7));
                    close(lloyd::finish(gpu, &centred, k, &mut run.centres).unwrap().1, inertia, 1e-6);
                } else {
                    assert_eq!(run.iterations, iterations);
                }
                let alone = lloyd::run(gpu, &centred, &norms, k, vec![start], stop).unwrap();
                assert_eq!(alone[0].iterations, run.iterations);
            }
        }
    }
}

#[test]
fn blocks_of_rows_add_up() {
    let (rows, cols, k) = (333, 5, 6);
    let data = blobs(rows, cols, k, 0.6, 1);
    for gpu in gpus() {
        let data = gpu.tensor(&data, [rows, cols]).unwrap();
        let run = |budget: usize| {
            let centred = Rows::centred(gpu, &data).unwrap().with_budget(budget);
            let norms = centred.squared_norms(gpu).unwrap();
            let starts = first_centres(&centred.parts()[0].read().unwrap(), cols, k, 2);
            let stop = Stop { iterations: 100, movement: 0.0 };
            let mut run = lloyd::run(gpu, &centred, &norms, k, starts, stop).unwrap().remove(1);
            let finished = lloyd::finish(gpu, &centred, k, &mut run.centres).unwrap();
            (centred.blocks(2 * k).unwrap().len(), run, finished)
        };
        let ((one, whole, (labels, inertia)), (many, split, (split_labels, split_inertia))) = (run(1 << 20), run(1600));
        assert_eq!((one, many), (1, 3));
        assert_eq!((whole.iterations, labels), (split.iterations, split_labels));
        close(split_inertia, inertia, 1e-6);
        whole.centres.iter().zip(&split.centres).for_each(|(&a, &b)| close(a.into(), b.into(), 1e-6));
    }
}

#[test]
fn more_rows_than_a_loop_of_a_software_adapter_has_turns() {
    // lavapipe ends loops silently after 65,536 turns: a third group behind that row would be lost.
    let group = |row: usize| [0.0, 1.0, 5.0][usize::from(row >= 30_000) + usize::from(row >= 66_000)];
    let data: Vec<f32> = (0..70_000).map(group).collect();
    for gpu in gpus() {
        let fitted = fit(3, 1, gpu, &gpu.tensor(&data, [70_000, 1]).unwrap());
        let mut sizes = fitted.group_sizes();
        sizes.sort_unstable();
        assert_eq!(sizes, [4_000, 30_000, 36_000]);
        assert!(fitted.inertia() < 1e-6, "{}", fitted.inertia());
    }
}

#[test]
fn iris_as_in_scikit_learn() {
    for gpu in gpus() {
        let fitted = fit(3, 20, gpu, &tensor(gpu, &iris()));
        close(fitted.inertia(), 78.851_441_426_146, 1e-5);
        let mut sizes = fitted.group_sizes();
        sizes.sort_unstable();
        assert_eq!(sizes, [38, 50, 62]);
        assert!(fitted.converged());
    }
}

#[test]
fn digits_within_one_per_cent_of_scikit_learn() {
    let gpu = &gpus()[0];
    let data = digits();
    let fitted = KMeans::params(10).starts(5).check().unwrap().fit(gpu, &data, Key::new(3)).unwrap();
    // The best of 200 starts of scikit-learn 1.9.1 on the same pixels, scaled by 1/16.
    assert!(fitted.inertia() < 1.01 * 4_551.305_5, "{}", fitted.inertia());
    assert!(fitted.inertia() > 0.999 * 4_551.305_5, "{}", fitted.inertia());
    assert_eq!(fitted.predict(&data).unwrap(), fitted.labels());
}

#[test]
fn the_same_key_gives_the_same_bits() {
    let data = blobs(300, 6, 5, 1.0, 9);
    let [gpu, _] = gpus();
    let other = Gpu::new(GpuConfig { plan: Some(Plan::Cpu), ..GpuConfig::default() }).unwrap();
    let fits = [gpu, gpu, &other].map(|gpu| {
        let fitted = fit(5, 4, gpu, &gpu.tensor(&data, [300, 6]).unwrap());
        let centers: Vec<u32> = fitted.centers().read().unwrap().into_iter().map(f32::to_bits).collect();
        (centers, fitted.inertia().to_bits(), fitted.labels().to_vec(), fitted.iterations())
    });
    assert_eq!(fits[0], fits[1]);
    assert_eq!(fits[0], fits[2]);
}

#[test]
fn more_starts_are_never_worse() {
    let gpu = &gpus()[0];
    let data = gpu.tensor(&blobs(200, 3, 12, 0.4, 4), [200, 3]).unwrap();
    let inertia = [1, 3, 9].map(|starts| fit(12, starts, gpu, &data).inertia());
    assert!(inertia[0] >= inertia[1] && inertia[1] >= inertia[2], "{inertia:?}");
    assert!(inertia[0] > inertia[2], "{inertia:?}");
}

#[test]
fn a_centre_without_rows_moves_to_the_farthest_row() {
    for gpu in gpus() {
        let data = gpu.tensor(&[0.0, 0.2, 9.0, 5.0, 5.4], [5, 1]).unwrap();
        let rows = Rows::centred(gpu, &data).unwrap();
        let norms = rows.squared_norms(gpu).unwrap();
        let shift = rows.mean.read().unwrap()[0];
        let shifted = |centres: [f32; 4]| centres.map(|centre| centre - shift).to_vec();
        // The first start needs no help and has other labels.
        let starts = || vec![shifted([9.0, 5.1, 0.2, 0.0]), shifted([0.1, 5.1, 1000.0, -1000.0])];
        let run = |iterations| {
            lloyd::run(gpu, &rows, &norms, 4, starts(), Stop { iterations, movement: 0.0 }).unwrap().remove(1)
        };
        // 9 is farthest from its centre, then 5.4; 5 keeps theirs.
        let once = run(1).centres;
        once.iter().zip(shifted([0.1, 5.0, 9.0, 5.4])).for_each(|(&a, b)| close(a.into(), b.into(), 1e-6));
        let mut rest = run(50);
        assert!(rest.converged);
        let (labels, inertia) = lloyd::finish(gpu, &rows, 4, &mut rest.centres).unwrap();
        assert_eq!(labels, [0, 0, 2, 1, 3]);
        close(inertia, 0.02, 1e-6);
    }
}

#[test]
fn one_cluster_is_the_mean() {
    for gpu in gpus() {
        let data = [1.0, 10.0, 2.0, 20.0, 6.0, 60.0];
        let data = gpu.tensor(&data, [3, 2]).unwrap();
        let fitted = fit(1, 2, gpu, &data);
        let centers = fitted.centers().read().unwrap();
        close(centers[0].into(), 3.0, 1e-6);
        close(centers[1].into(), 30.0, 1e-6);
        close(fitted.inertia(), 101.0 * 14.0, 1e-6);
        assert_eq!((fitted.labels(), fitted.iterations()), (&[0, 0, 0][..], 2));
    }
}

#[test]
fn as_many_clusters_as_rows() {
    for gpu in gpus() {
        let fitted = fit(40, 2, gpu, &gpu.tensor(&uniform(120, 8), [40, 3]).unwrap());
        assert_eq!(fitted.group_sizes(), [1; 40]);
        assert!(fitted.inertia() < 1e-10, "{}", fitted.inertia());
        let single = fit(1, 1, gpu, &gpu.tensor(&[7.0, 8.0], [1, 2]).unwrap());
        assert_eq!((single.inertia(), single.centers().read().unwrap()), (0.0, vec![7.0, 8.0]));
    }
}

#[test]
fn fewer_distinct_rows_than_clusters() {
    for gpu in gpus() {
        let distinct = [[0.1, 0.7], [3.3, -1.9], [-2.7, 1e-3]];
        let data: Vec<f32> = (0..30).flat_map(|row| distinct[row % 3]).collect();
        let fitted = fit(5, 3, gpu, &gpu.tensor(&data, [30, 2]).unwrap());
        assert!(fitted.inertia() < 1e-10, "{}", fitted.inertia());
        assert!(fitted.converged() && fitted.iterations() < 5);
        let mut sizes = fitted.group_sizes();
        sizes.sort_unstable();
        assert_eq!(sizes, [0, 0, 10, 10, 10]);

        // Sums of so many equal rows are rounded: what that leaves between rows and centres is no reason to move one.
        let data: Vec<f32> = uniform(3 * 40, 1).repeat(700);
        let params = KMeans::params(5).starts(2).tolerance(0.0);
        let data = gpu.tensor(&data, [2100, 40]).unwrap();
        let fitted = params.check().unwrap().fit_points(gpu, &data, Key::new(3)).unwrap();
        assert!(fitted.converged() && fitted.iterations() < 5, "{}", fitted.iterations());
        assert!(fitted.inertia() < 1e-8, "{}", fitted.inertia());

        let same = fit(2, 2, gpu, &gpu.tensor(&[0.3; 12], [6, 2]).unwrap());
        assert_eq!((same.inertia(), same.group_sizes()), (0.0, vec![6, 0]));
        assert_eq!(same.centers().read().unwrap(), [0.3; 4]);
    }
}

#[test]
fn far_from_the_origin() {
    // At 10⁵ floats are 1/128 apart: multiples of that leave no doubt about the data.
    let near: Vec<f32> = blobs(200, 3, 4, 0.3, 6).iter().map(|x| (x * 128.0 * 8.0).round() / 128.0).collect();
    let far: Vec<f32> = near.iter().enumerate().map(|(at, x)| x + [1e5, -5e4, 0.0][at % 3]).collect();
    for gpu in gpus() {
        let [near, far] = [&near, &far].map(|data| fit(4, 3, gpu, &gpu.tensor(data, [200, 3]).unwrap()));
        close(far.inertia(), near.inertia(), 1e-5);
        assert_eq!(far.labels(), near.labels());
    }
}

#[test]
fn seeds_are_drawn_in_proportion_to_distances() {
    let gpu = &gpus()[0];
    // Whatever the first centre, the far pair holds all but a hair of the squared distances, then the middle one does.
    let data = gpu.tensor(&[0.0, 1e-3, 2e-3, 100.0, 100.001, 50.0], [6, 1]).unwrap();
    let rows = Rows::centred(gpu, &data).unwrap();
    let norms = rows.squared_norms(gpu).unwrap();
    let keys: Vec<Key> = Key::new(1).split_forever().take(20).collect();
    let place = |row: &u32| [0, 0, 0, 1, 1, 2][*row as usize];
    for seeds in seeding::seed(gpu, &rows, &norms, 3, &keys).unwrap() {
        let mut places: Vec<i32> = seeds.iter().map(place).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2], "{seeds:?}");
    }
    // As many centres as rows: each once, although some are closer than rounding.
    for mut seeds in seeding::seed(gpu, &rows, &norms, 6, &keys).unwrap() {
        seeds.sort_unstable();
        assert_eq!(seeds, [0, 1, 2, 3, 4, 5]);
    }
    let first: Vec<u32> = seeding::seed(gpu, &rows, &norms, 1, &keys).unwrap().concat();
    assert!((0..6).all(|row| first.contains(&row)), "{first:?}");
    assert_eq!([1, 2, 3, 8, 10, 100, 1000].map(seeding::candidates), [2, 2, 3, 4, 4, 6, 8]);
}

#[test]
fn rows_that_are_chosen_have_no_weight_left() {
    // Five pairs of equal rows: the second of a pair has no weight either, and still each row comes once.
    for gpu in gpus() {
        let data = gpu.tensor(&uniform(5 * 40, 4).repeat(2), [10, 40]).unwrap();
        let rows = Rows::centred(gpu, &data).unwrap();
        let norms = rows.squared_norms(gpu).unwrap();
        let keys: Vec<Key> = Key::new(1).split_forever().take(20).collect();
        for mut seeds in seeding::seed(gpu, &rows, &norms, 10, &keys).unwrap() {
            for half in seeds.chunks_mut(5) {
                half.iter_mut().for_each(|row| *row %= 5);
                half.sort_unstable();
                assert_eq!(half, [0, 1, 2, 3, 4]);
            }
        }
    }
}

#[test]
fn distances_and_predictions_of_new_rows() {
    for gpu in gpus() {
        let data = blobs(90, 4, 3, 0.2, 2);
        let fitted = fit(3, 2, gpu, &gpu.tensor(&data, [90, 4]).unwrap());
        let new = uniform(7 * 4, 77);
        let rows = table(&new, 4);
        let (labels, distances) = (fitted.predict(&rows).unwrap(), fitted.transform(&rows).unwrap());
        let shares = fitted.predict_proba(&rows).unwrap();
        let centers = wide(&fitted.centers().read().unwrap());
        for (row, new) in wide(&new).chunks(4).enumerate() {
            let expected: Vec<f64> = centers.chunks(4).map(|centre| squared_distance(new, centre).sqrt()).collect();
            (0..3).for_each(|j| close(distances[[row, j]].into(), expected[j], 1e-5));
            let nearest = (0..3).min_by(|&a, &b| expected[a].total_cmp(&expected[b])).unwrap();
            assert_eq!(labels[row], nearest as u32);
            (0..3).for_each(|j| assert_eq!(shares[[row, j]], f32::from(u8::from(j == nearest))));
        }
    }
}

#[test]
fn mistakes_are_named() {
    let gpu = &gpus()[0];
    let refused = |params: super::Params| params.check().unwrap_err().to_string();
    assert_eq!(refused(KMeans::params(0)), "k: must be at least 1");
    assert_eq!(refused(KMeans::params(2).starts(0)), "starts: must be at least 1");
    assert_eq!(refused(KMeans::params(2).max_iterations(0)), "max_iterations: must be at least 1");
    assert_eq!(refused(KMeans::params(2).tolerance(f64::NAN)), "tolerance: must be 0 or more and finite, not NaN");
    assert_eq!(refused(KMeans::params(2).tolerance(-1.0)), "tolerance: must be 0 or more and finite, not -1");

    assert_eq!(refused(KMeans::params(2).batch(0)), "batch: must be at least 1");

    let method = |k| KMeans::params(k).starts(1).check().unwrap();
    let failure = |k, data: &Tensor| method(k).fit_points(gpu, data, Key::new(0)).unwrap_err().to_string();
    assert_eq!(
        method(2000).fit(gpu, &digits(), Key::new(0)).unwrap_err().to_string(),
        "k: 2000 clusters for 1797 rows"
    );
    assert_eq!(failure(1, &gpu.tensor::<f32>(&[], [0, 3]).unwrap()), "k: 1 clusters for 0 rows");
    let with = |value: f32| gpu.tensor(&[0.0, 1.0, 2.0, 3.0, 4.0, value], [3, 2]).unwrap();
    assert_eq!(failure(2, &with(f32::NAN)), "data: row 2 holds NaN");
    assert_eq!(failure(2, &with(f32::NEG_INFINITY)), "data: row 2 holds an infinite number");
    assert_eq!(failure(2, &with(-1e16)), "data: row 2 holds 1e16; numbers above 1e15 have no squares in 32 bits");
    assert!(failure(1, &gpu.tensor(&[1.0, 2.0], [2]).unwrap()).starts_with("data: has shape [2]"));
    assert_eq!(failure(1, &gpu.tensor(&[1u32, 2], [2, 1]).unwrap()), "data: holds U32, not F32");
    assert_eq!(failure(1, &gpu.zeros([2, 0]).unwrap()), "data: has no columns");
    let batches = KMeans::params(1).batch(2).check().unwrap();
    assert!(batches.fit_points(gpu, &with(5.0), Key::new(0)).unwrap_err().to_string().starts_with("batch: points"));

    let fitted = method(2).fit_points(gpu, &with(5.0), Key::new(0)).unwrap();
    let wrong = fitted.predict(&table(&[0.0; 6], 3)).unwrap_err().to_string();
    assert_eq!(wrong, "data: has 3 columns, the model was fitted on 2");
    let far = table(&[0.0, 1.0, 2.0, 1e16], 2);
    assert!(fitted.predict(&far).unwrap_err().to_string().starts_with("data: row 1 holds 1e16;"));
    assert!(fitted.transform(&far).is_err());
}

#[test]
fn tables_are_standardised_and_images_are_not() {
    let gpu = &gpus()[0];
    let narrow = blobs(120, 2, 3, 0.2, 5);
    let wide: Vec<f32> =
        narrow.iter().enumerate().map(|(at, x)| if at % 2 == 0 { 1000.0 * x + 7.0 } else { *x }).collect();
    let fit = |data: &Dataset| KMeans::params(3).starts(3).check().unwrap().fit(gpu, data, Key::new(1)).unwrap();
    let [one, other] = [&narrow, &wide].map(|values| table(values, 2));
    assert_eq!(fit(&one).labels(), fit(&other).labels());
    // The fit's own means and deviations serve for other rows, be it one.
    let fitted = fit(&other);
    let first = table(&wide[..2], 2);
    assert_eq!(fitted.predict(&first).unwrap(), fitted.labels()[..1]);
    let pixels = fit(&digits());
    let points = KMeans::params(3).starts(3).check().unwrap();
    let points = points.fit_points(gpu, &tensor(gpu, &digits()), Key::new(1)).unwrap();
    assert_eq!(pixels.labels(), points.labels());
}

#[test]
fn data_beyond_the_binding_limit_lies_in_parts() {
    let limit = Some(5 * 4 * 128);
    let small =
        Gpu::new(GpuConfig { max_binding_bytes: limit, plan: Some(Plan::Cpu), ..GpuConfig::default() }).unwrap();
    let data = table(&blobs(333, 5, 6, 0.6, 1), 5);
    let method = KMeans::params(6).starts(2).check().unwrap();
    let [whole, parts] = [&gpus()[0], &small].map(|gpu| method.fit(gpu, &data, Key::new(2)).unwrap());
    assert_eq!(parts.labels(), whole.labels());
    close(parts.inertia(), whole.inertia(), 1e-6);
    assert_eq!(parts.predict(&data).unwrap(), whole.labels());

    let wide = table(&[1.0; 80 * 41], 41);
    let refused = method.fit(&small, &wide, Key::new(2)).unwrap_err().to_string();
    assert_eq!(refused, "data: 64 rows of 41 columns are more than the adapter can bind at once");
    let batches = KMeans::params(6).batch(200).check().unwrap();
    let refused = batches.fit(&small, &data, Key::new(2)).unwrap_err().to_string();
    assert_eq!(refused, "batch: 200 rows of 5 columns are more than the 128 that one step can take");
}

/// Seconds for the digits with 20 starts and for 40,000 rows of 784, which are just below lavapipe's limit of 128 MiB:
/// `cargo test -p softurn-models --lib kmeans -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn times() {
    let gpu = Gpu::new(GpuConfig::default()).unwrap();
    let small = tensor(&gpu, &digits());
    for _ in 0..3 {
        let (clock, before) = (std::time::Instant::now(), gpu.counters().dispatches);
        let fitted = fit(10, 20, &gpu, &small);
        let (seconds, dispatches) = (clock.elapsed().as_secs_f64(), gpu.counters().dispatches - before);
        println!("digits: {seconds:.2} s, {dispatches} dispatches, inertia {:.2}", fitted.inertia());
    }
    let large = gpu.tensor(&blobs(40_000, 784, 10, 1.0, 0), [40_000, 784]).unwrap();
    gpu.reset_high_water();
    let clock = std::time::Instant::now();
    let fitted = fit(10, 2, &gpu, &large);
    let (seconds, memory) = (clock.elapsed().as_secs_f64(), gpu.pool_statistics());
    println!("large: {seconds:.2} s, {} iterations, {:?}, {memory:?}", fitted.iterations(), fitted.group_sizes());
}

#[test]
fn a_loaded_model_predicts_the_same_bits() {
    let gpu = &gpus()[0];
    let rows = blobs(300, 4, 3, 0.6, 2);
    let (seen, unseen) = (table(&rows[..200 * 4], 4), table(&rows[200 * 4..], 4));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let bits = |values: Array2<f32>| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for params in [KMeans::params(3).starts(2), KMeans::params(3).batch(50)] {
        let fitted = params.check().unwrap().fit(gpu, &seen, Key::new(3)).unwrap();
        fitted.save(&path).unwrap();
        let loaded = FittedKMeans::load(gpu, &path).unwrap();
        assert_eq!((loaded.labels(), loaded.inertia()), (fitted.labels(), fitted.inertia()));
        assert_eq!(loaded.predict(&unseen).unwrap(), fitted.predict(&unseen).unwrap());
        assert_eq!(bits(loaded.transform(&unseen).unwrap()), bits(fitted.transform(&unseen).unwrap()));
        assert_eq!(loaded.centers().read().unwrap(), fitted.centers().read().unwrap());
    }
}
