//! Exact k-subspaces.

use ndarray::Array2;

use super::*;
use crate::cluster_specific::exact::{fit, principal_axes};
use crate::clustering::kmeans::KMeans;
use crate::clustering::kmeans::tests::lloyd_from;

fn values(data: &Dataset) -> Array2<f64> {
    data.features().mapv(f64::from)
}

#[test]
fn with_the_whole_penalty_it_is_k_means() {
    for set in LineClusters::ALL.map(set) {
        let k = clusters(&set);
        for start in starts(&set, k, 5) {
            let (labels, inertia) = lloyd_from(gpu(), &tensor(&set), &start);
            let fitted = fit(values(&set).view(), 1, 1.0, &[start]).unwrap();
            assert_eq!(fitted.labels, labels, "{}", set.name());
            assert!((fitted.objective - inertia).abs() < 1e-5 * inertia, "{}: {inertia}", set.name());
        }
    }
}

/// Rand indices and objectives of the best of 30 starts as an independent implementation in numpy found them.
#[test]
fn lines_are_recovered_where_k_means_cuts_them() {
    for (set, [plain, penalised], objectives) in [
        (LineClusters::ParallelLine, [1.0, 1.0], [12.056, 173.773]),
        (LineClusters::Orthogonal, [0.8955, 1.0], [19.525, 180.807]),
        (LineClusters::Triangle, [0.833, 0.9601], [80.506, 212.745]),
        (LineClusters::Lines3d, [1.0, 1.0], [14.212, 104.951]),
    ] {
        let data = super::set(set);
        let k = clusters(&data);
        let starts = starts(&data, k, 30);
        for (lambda, expected, objective) in [(0.0, plain, objectives[0]), (0.1, penalised, objectives[1])] {
            let fitted = fit(values(&data).view(), 1, lambda, &starts).unwrap();
            let found = rand_index(&data, &fitted.labels);
            assert!((fitted.objective - objective).abs() < 6e-4, "{set:?}, {lambda}: objective {}", fitted.objective);
            assert!((found - expected).abs() < 6e-4, "{set:?}, {lambda}: {found}");
        }
    }
}

#[test]
fn axes_are_those_of_the_lines_and_not_of_the_pooled_rows() {
    let data = set(LineClusters::ParallelLine);
    let fitted = fit(values(&data).view(), 1, 0.0, &starts(&data, 2, 10)).unwrap();
    let diagonal = [0.5f64.sqrt(); 2];
    let degrees = |axis: ndarray::ArrayView1<'_, f64>| {
        let cosine = (axis[0] * diagonal[0] + axis[1] * diagonal[1]).abs();
        cosine.min(1.0).acos().to_degrees()
    };
    let apart: Vec<f64> = fitted.axes.iter().map(|axes| degrees(axes.row(0))).collect();
    assert!(apart.iter().all(|&degrees| degrees < 0.4), "{apart:?}");
    // One autoencoder for all rows finds other axes.
    let x = values(&data);
    let mean = x.mean_axis(ndarray::Axis(0)).unwrap();
    for (center, expected) in [(&mean, 19.2), (&(&mean * 0.0), 29.9)] {
        let found = degrees(principal_axes(&x, center, 1).row(0));
        assert!((found - expected).abs() < 0.06, "{found}, not {expected}");
    }
    // Lines that cross: along (1, 1) and (1, -1), of which the pooled rows show the first.
    let data = set(LineClusters::Orthogonal);
    let fitted = fit(values(&data).view(), 1, 0.1, &starts(&data, 2, 10)).unwrap();
    let mut apart: Vec<f64> = fitted.axes.iter().map(|axes| degrees(axes.row(0))).collect();
    apart.sort_by(f64::total_cmp);
    assert!(apart[0] < 3.0 && apart[1] > 87.0, "{apart:?}");
    let x = values(&data);
    assert!(degrees(principal_axes(&x, &x.mean_axis(ndarray::Axis(0)).unwrap(), 1).row(0)) < 3.0);
    let data = set(LineClusters::Lines3d);
    let fitted = fit(values(&data).view(), 1, 0.0, &starts(&data, 3, 10)).unwrap();
    for (cluster, axes) in fitted.axes.iter().enumerate() {
        let label = fitted.labels.iter().position(|&label| label as usize == cluster).unwrap();
        let truth = data.labels().unwrap().ids()[label] as usize;
        assert!(axes[[0, truth]].abs() > 0.999, "{axes}");
    }
}

#[test]
fn clusters_that_lose_their_rows_take_others() {
    // Three times the same seed: two clusters are empty at once.
    let data = set(LineClusters::Triangle);
    let fitted = fit(values(&data).view(), 1, 0.1, &[vec![0, 0, 0]]).unwrap();
    for cluster in 0..3 {
        assert!(fitted.labels.contains(&cluster), "{cluster}");
    }
    assert!(fitted.centers.iter().all(|value| value.is_finite()));
}

#[test]
fn what_does_not_suit_the_rows_is_named() {
    let x = Array2::<f64>::zeros((3, 2));
    for (dimensions, lambda, starts, name) in [
        (3, 0.0, vec![vec![0]], "dimensions:"),
        (1, -0.1, vec![vec![0]], "lambda:"),
        (1, f64::NAN, vec![vec![0]], "lambda:"),
        (1, 0.0, vec![], "starts:"),
        (1, 0.0, vec![vec![0, 3]], "starts:"),
        (1, 0.0, vec![vec![]], "starts:"),
    ] {
        let message = fit(x.view(), dimensions, lambda, &starts).unwrap_err().to_string();
        assert!(message.starts_with(name), "{message}");
    }
}

#[test]
fn k_means_does_not_find_the_lines() {
    for (set, most) in [(LineClusters::ParallelLine, 0.27), (LineClusters::Lines3d, 0.7)] {
        let data = super::set(set);
        let k = clusters(&data);
        let fitted = KMeans::params(k).check().unwrap().fit_points(gpu(), &tensor(&data), Key::new(0)).unwrap();
        let found = rand_index(&data, fitted.labels());
        assert!(found < most, "{set:?}: {found}");
    }
}
