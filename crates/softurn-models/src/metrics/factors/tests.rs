//! Against scikit-learn, SciPy and the formulas of `disentanglement_lib` in NumPy (scikit-learn 1.9.1, NumPy 2.4.6), and
//! against what must hold for any input.

use std::sync::OnceLock;

use ndarray::{Array2, ArrayView2, Axis, array, concatenate, s, stack};
use proptest::prelude::*;
use softurn_kernels::{Gpu, GpuConfig};

use super::*;
use crate::data;

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap_or_else(|error| panic!("{error}"))
    })
}

#[track_caller]
fn close(name: &str, values: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len(), "{name}");
    for (value, expected) in values.iter().zip(expected) {
        assert!((value - expected).abs() <= tolerance, "{name}: {values:?} instead of {expected:?}");
    }
}

/// The argument that an error names, and what it says.
#[track_caller]
fn complaint<T: std::fmt::Debug>(result: Result<T, MetricError>) -> (&'static str, String) {
    match result.unwrap_err() {
        MetricError::Argument { argument, message } => (argument, message),
        other => panic!("{other}"),
    }
}

/// The digits and four factors of them, `np.stack([y, y % 4, y // 4, y % 2], 1)`.
fn digits() -> (Array2<f32>, Array2<u32>) {
    let digits = data::load("digits", None).unwrap();
    let labels = digits.labels().unwrap().ids();
    let factor =
        |(row, factor): (usize, usize)| [labels[row], labels[row] % 4, labels[row] / 4, labels[row] % 2][factor];
    (digits.features().clone(), Array2::from_shape_fn((labels.len(), 4), factor))
}
const DIGITS: &[usize] = &[10, 4, 3, 2];

/// With `x, y = load_digits(return_X_y=True)` (or iris, in float32), `f` the factors, and `mi` = `mutual_info_score`:
///
/// ```text
/// bins = lambda t: np.digitize(t, np.histogram(t, 20)[1][:-1])
/// m = np.array([[mi(f[:, j], bins(x[:, i])) for j in range(f.shape[1])] for i in range(x.shape[1])])
/// s = np.sort(m, 0)[::-1]; (s[0] - s[1]) / [mi(f[:, j], f[:, j]) for j in range(f.shape[1])]
/// ```
#[test]
fn information_gaps_are_those_of_disentanglement_lib() {
    let (x, factors) = digits();
    let gap = mutual_information_gap(x.view(), factors.view(), DIGITS).unwrap();
    let expected = [4.1390859606021565e-05, 0.045940812072101815, 0.008429828371379433, 0.13714360121241118];
    close("digits", &gap.factors, &expected, 1e-13);
    close("digits", &[gap.mean], &[0.04788890812887461], 1e-13);
    // Column 0 is constant; one column alone is set against nothing.
    let expected = [0.17732594727409703, 0.09649609416044368, 0.054546544614893354, 0.035979111914571];
    let one = x.select(Axis(1), &[36]);
    for columns in [x.select(Axis(1), &[0, 36]), one] {
        let gap = mutual_information_gap(columns.view(), factors.view(), DIGITS).unwrap();
        close("against nothing", &gap.factors, &expected, 1e-13);
        close("against nothing", &[gap.mean], &[0.09108692449100125], 1e-13);
    }

    let iris = data::iris();
    let species = iris.labels().unwrap().ids();
    let factors = Array2::from_shape_fn((150, 2), |(row, f)| if f == 0 { species[row] } else { row as u32 % 5 });
    let gap = mutual_information_gap(iris.features().view(), factors.view(), &[3, 5]).unwrap();
    close("iris", &gap.factors, &[0.014712895697798179, 0.013299174754691763], 1e-13);
}

/// `[i, j, k]` of every cell of a grid.
fn grid(sizes: [usize; 3]) -> Array2<u32> {
    let [a, b, c] = sizes;
    Array2::from_shape_fn((a * b * c, 3), |(row, factor)| [row / (b * c), row / c % b, row % c][factor] as u32)
}

#[test]
fn the_factors_themselves_have_a_gap_of_1_and_independent_columns_of_0() {
    let sizes = [3, 20, 5];
    let factors = grid(sizes);
    let x = factors.mapv(|class| 2.5 - 0.1 * class as f32);
    let gap = mutual_information_gap(x.view(), factors.view(), &sizes).unwrap();
    close("the factors", &gap.factors, &[1.0; 3], 1e-12);
    // The first factor of a full grid says nothing about the others; twice the same has no gap.
    let gap = mutual_information_gap(x.slice(s![.., ..1]), factors.slice(s![.., 1..]), &sizes[1..]).unwrap();
    assert_eq!(gap.factors, [0.0, 0.0]);
    let twice = concatenate![Axis(1), x.view(), x.view()];
    assert_eq!(mutual_information_gap(twice.view(), factors.view(), &sizes).unwrap().mean, 0.0);
}

/// `1 - scipy.stats.entropy(R.T + 1e-11, base=R.shape[1])` for columns, the same of `R` with `base=R.shape[0]` for factors,
/// means weighted by `R.sum(1) / R.sum()` and `R.sum(0) / R.sum()`.
#[test]
fn disentanglement_is_that_of_disentanglement_lib() {
    let squares = Array2::from_shape_fn((7, 5), |(i, j)| f64::from((5 * i as u32 + j as u32).pow(2) % 11));
    let cases = [
        (
            "mixed",
            array![[0.1, 0.7, 0.2], [1.5, 0.0, 0.5], [0.25, 0.25, 0.25], [0.0, 3.0, 1.0]],
            [0.41277371064070445, 0.42751853740650203],
            vec![0.2701533008209427, 0.48814049273416393, 0.0, 0.48814049279404725],
            vec![0.5684673487278038, 0.5020719367417199, 0.14277944596110748],
        ),
        (
            "zeros",
            array![[2.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.25]],
            [0.6963427230151021, 0.6782838513123592],
            vec![0.5445140848960013, 0.0, 0.9999999995206965, 0.9999999981837348],
            vec![0.9999999997076208, 0.0, 0.310608253146346],
        ),
        (
            "squares",
            squares,
            [0.17101105127411098, 0.13888770032919961],
            vec![
                0.2616921450990074,
                0.05986251180404312,
                0.36621540319008905,
                0.055301946706327376,
                0.2584059348259543,
                0.055301946706327376,
                0.36621540319008905,
            ],
            vec![
                0.17087712601005867,
                0.15416606936664723,
                0.15416606936664712,
                0.17087712601005878,
                0.07124421547821358,
            ],
        ),
    ];
    for (name, importance, means, columns, factors) in cases {
        let scores = dci(importance.view()).unwrap();
        // The 1e-11 that is added there moves a score of 1 by up to 2e-9.
        close(name, &[scores.disentanglement, scores.completeness], &means, 3e-9);
        close(name, &scores.columns, &columns, 3e-9);
        close(name, &scores.factors, &factors, 3e-9);
        // Another scale, and the other way round, up to where doubles end.
        for scale in [1e-300, 1e307] {
            let scores = dci((&importance.t() * scale).view()).unwrap();
            close(name, &[scores.completeness, scores.disentanglement], &means, 3e-9);
        }
    }
}

#[test]
fn disentanglement_in_the_corners() {
    let scores = |importance: Array2<f64>| {
        let scores = dci(importance.view()).unwrap();
        [scores.disentanglement, scores.completeness]
    };
    assert_eq!(scores(Array2::eye(4)), [1.0, 1.0]);
    close("all alike", &scores(Array2::ones((4, 3))), &[0.0, 0.0], 1e-15);
    assert_eq!(scores(Array2::zeros((4, 3))), [0.0, 0.0]);
    assert_eq!(scores(array![[2.0]]), [1.0, 1.0]);
    close("one factor", &scores(array![[2.0], [2.0], [0.0]]), &[1.0, 1.0 - 2_f64.ln() / 3_f64.ln()], 1e-15);
    assert_eq!(scores(array![[0.0, 5e-324]]), [1.0, 1.0]);
    for bad in [array![[1.0, -1e-9]], array![[1.0, f64::NAN]], array![[1.0, f64::INFINITY]]] {
        let (argument, message) = complaint(dci(bad.view()));
        assert!(argument == "importance" && message.starts_with("column 0, factor 1 "), "{message}");
    }
    assert_eq!(complaint(dci(Array2::zeros((0, 3)).view())).0, "importance");
}

/// Rows 3, 7, 11, .. of the digits are held out.
///
/// ```text
/// x, y = load_digits(return_X_y=True); train = np.arange(len(y)) % 4 != 3; sd = x[train].std(0)
/// z = np.where(sd > 0, (x - x[train].mean(0)) / np.where(sd > 0, sd, 1), 0)
/// fit = LogisticRegression(C=C, tol=1e-8, max_iter=10000).fit(z[train, columns], t[train])
/// p = fit.predict(z[~train, columns])
/// (p == t[~train]).mean(), balanced_accuracy_score(t[~train], p, adjusted=True), np.abs(fit.coef_).mean(0) / C
/// ```
///
/// with `C = 1`, for two classes 2.
#[test]
fn the_probe_is_scikit_learns_logistic_regression() {
    // Accuracy, the adjusted balanced one, and the mean absolute weights of four columns, for each factor.
    let all = [
        [0.955456570155902, 0.951763156257414, 0.0, 0.26924051, 0.48482497, 0.40524478],
        [0.9131403118040089, 0.8868450805993269, 0.0, 0.24391024, 0.49171275, 0.39762429],
        [0.9153674832962138, 0.8637492240844196, 0.0, 0.19701893, 1.03672345, 0.56594068],
        [0.8997772828507795, 0.7992816605151407, 0.0, 0.10989785, 0.10543615, 0.12557047],
    ];
    let few = [
        [0.534521158129176, 0.4865714429332757, 1.12992921, 0.74056796, 0.99226065, 0.77712674],
        [0.5946547884187082, 0.4487025965927032, 0.61716986, 0.4396776, 0.30227971, 0.56929075],
        [0.6258351893095768, 0.4018777157045315, 0.33215878, 0.42994938, 0.1770185, 0.36745962],
        [0.7260579064587973, 0.4509068539905545, 0.1756965, 0.34130816, 0.26998541, 0.21146314],
    ];
    let (x, factors) = digits();
    let (held, kept): (Vec<usize>, Vec<usize>) = (0..x.nrows()).partition(|row| row % 4 == 3);
    let [train_factors, test_factors] = [&kept, &held].map(|rows| factors.select(Axis(0), rows));
    for (name, columns, shown, expected) in [("all", 0..64, [0, 2, 20, 36], all), ("few", 26..30, [0, 1, 2, 3], few)] {
        let x = x.slice(s![.., columns]);
        let [train, test] = [&kept, &held].map(|rows| x.select(Axis(0), rows));
        let probe = LinearProbe::params().check().unwrap();
        let fitted = probe.fit(gpu(), train.view(), train_factors.view(), DIGITS).unwrap();
        let scores = fitted.score(test.view(), test_factors.view()).unwrap();
        let importance = fitted.importance().select(Axis(0), &shown);
        for (factor, [accuracy, adjusted, weights @ ..]) in expected.into_iter().enumerate() {
            // A row that lies between two classes may fall to either side: one of 449, and of 40 in the smallest class.
            close(name, &[scores[factor].accuracy], &[accuracy], 0.0023);
            close(name, &[scores[factor].adjusted_balanced_accuracy], &[adjusted], 0.0045);
            close(name, &importance.column(factor).to_vec(), &weights, 5e-3);
        }
    }
}

#[test]
fn a_representation_that_is_the_factors_is_read_and_disentangled() {
    let sizes = [2, 4, 3];
    let factors = grid(sizes);
    // Columns in another order, on other scales, and one that is constant.
    let column = |factor: usize, scale: f32| factors.column(factor).mapv(|class| 3.0 + scale * class as f32);
    let x = stack![Axis(1), column(2, 1.0), column(0, -40.0), column(0, 0.0), column(1, 0.01)];
    let probe = LinearProbe::params().l2(0.1).steps(100).check().unwrap();
    let fit = |x: ArrayView2<'_, f32>| probe.fit(gpu(), x, factors.view(), &sizes).unwrap();
    let fitted = fit(x.view());
    assert_eq!(fitted.predict(x.view()).unwrap(), factors);
    for score in fitted.score(x.view(), factors.view()).unwrap() {
        assert_eq!(score, ProbeScore { accuracy: 1.0, adjusted_balanced_accuracy: 1.0 });
    }
    let importance = fitted.importance();
    assert_eq!(importance.row(2).to_vec(), [0.0; 3]);
    let scores = dci(importance.view()).unwrap();
    assert!(scores.disentanglement > 0.98 && scores.completeness > 0.98, "{importance}");
    // Sums and differences of two columns are as good to read, and not disentangled.
    let z = |column: usize, scale: f32| x.column(column).mapv(|value| value * scale);
    let mixed = stack![Axis(1), z(0, 1.0) + z(1, 0.02), z(0, 1.0) - z(1, 0.02), z(3, 1.0)];
    let mixed = dci(fit(mixed.view()).importance().view()).unwrap();
    assert!(mixed.disentanglement < 0.7 && mixed.completeness < 0.7, "{mixed:?}");
    // The same bits again; a class that never occurs is not predicted and changes nothing for other factors.
    assert_eq!(fit(x.view()), fitted);
    let wider = probe.fit(gpu(), x.view(), factors.view(), &[2, 9, 3]).unwrap();
    assert_eq!(wider.predict(x.view()).unwrap(), factors);
    for factor in [0, 2] {
        let [wide, narrow] = [&wider, &fitted].map(|probe| probe.importance().column(factor).to_vec());
        close("wider", &wide, &narrow, 1e-3);
    }
}

#[test]
fn a_constant_representation_predicts_the_most_frequent_class() {
    let factors = array![[0, 1], [1, 1], [1, 0], [1, 1]];
    let fitted = LinearProbe::params().steps(50).check().unwrap().fit(
        gpu(),
        Array2::from_elem((4, 2), 7.0).view(),
        factors.view(),
        &[2, 2],
    );
    let fitted = fitted.unwrap();
    assert_eq!(fitted.predict(array![[7.0, 100.0]].view()).unwrap(), array![[1, 1]]);
    assert_eq!(fitted.importance(), Array2::<f64>::zeros((2, 2)));
    for score in fitted.score(Array2::zeros((4, 2)).view(), factors.view()).unwrap() {
        assert_eq!(score, ProbeScore { accuracy: 0.75, adjusted_balanced_accuracy: 0.0 });
    }
}

#[test]
fn bad_input_is_named() {
    let probe = LinearProbe::params().steps(1).check().unwrap();
    let good = array![[0.0, 1.0], [1.0, 0.5], [2.0, 0.0]];
    let factors = array![[0, 1], [1, 1], [0, 0]];
    let fitted = probe.fit(gpu(), good.view(), factors.view(), &[2, 2]).unwrap();
    let mut nan = good.clone();
    nan[[2, 1]] = f32::NAN;
    let cases = [
        (
            good.slice(s![..2, ..]).to_owned(),
            factors.clone(),
            vec![2, 2],
            "factors",
            "3 rows for 2 of the representation",
        ),
        (array![[0.0, 1.0]], array![[0, 1]], vec![2, 2], "representation", "1 rows, where at least 2 are needed"),
        (
            Array2::zeros((0, 2)),
            Array2::zeros((0, 2)),
            vec![2, 2],
            "representation",
            "0 rows, where at least 2 are needed",
        ),
        (Array2::zeros((3, 0)), factors.clone(), vec![2, 2], "representation", "has no columns"),
        (nan, factors.clone(), vec![2, 2], "representation", "row 2, column 1 is NaN"),
        (good.clone(), Array2::zeros((3, 0)), vec![], "factors", "has no columns"),
        (good.clone(), factors.clone(), vec![2], "classes", "1 numbers of classes for 2 factors"),
        (
            good.clone(),
            array![[0, 1], [1, 2], [0, 0]],
            vec![2, 2],
            "factors",
            "row 1, factor 1: class 2 of 2, counted from 0",
        ),
        (
            good.clone(),
            array![[0, 1], [1, 1], [0, 1]],
            vec![2, 2],
            "factors",
            "factor 1 has the same class in every row",
        ),
    ];
    for (x, factors, classes, argument, message) in cases {
        let expected = (argument, message.to_string());
        assert_eq!(complaint(mutual_information_gap(x.view(), factors.view(), &classes)), expected);
        match probe.fit(gpu(), x.view(), factors.view(), &classes) {
            Err(crate::Error::Metric(error)) => assert_eq!(complaint::<()>(Err(error)), expected),
            other => panic!("{other:?}"),
        }
        if argument != "classes" {
            let error = complaint(fitted.score(x.view(), factors.view()));
            // Without factors, what the probe was fitted on is missing.
            assert!(error == expected || factors.ncols() == 0, "{error:?}");
        }
    }
    let narrow = ("representation", "1 columns, fitted on 2".to_string());
    assert_eq!(complaint(fitted.predict(good.slice(s![.., ..1]))), narrow);
    assert_eq!(complaint(fitted.score(good.slice(s![.., ..1]), factors.view())), narrow);
    assert_eq!(fitted.predict(Array2::zeros((0, 2)).view()).unwrap().dim(), (0, 2));
    let names = |result: crate::Result<LinearProbe>| match result {
        Err(crate::Error::Argument { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    for l2 in [-1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(names(LinearProbe::params().l2(l2).check()), "l2");
    }
    assert_eq!(names(LinearProbe::params().steps(0).check()), "steps");
}

/// A representation and factors of the same 2 to 40 rows; every factor has at least two classes.
fn tables() -> impl Strategy<Value = (Array2<f32>, Array2<u32>, Vec<usize>)> {
    (2_usize..40, 1_usize..5, prop::collection::vec(2_usize..6, 1..4)).prop_flat_map(|(rows, columns, classes)| {
        let values = prop::collection::vec(prop_oneof![-3.0_f32..3.0, Just(0.5)], rows * columns);
        let labels = prop::collection::vec(any::<u32>(), rows * classes.len());
        (values, labels, Just(classes)).prop_map(move |(values, labels, classes)| {
            let x = Array2::from_shape_vec((rows, columns), values).unwrap();
            let factors = Array2::from_shape_fn((rows, classes.len()), |(row, factor)| match row {
                0 | 1 => row as u32,
                _ => labels[row * classes.len() + factor] % classes[factor] as u32,
            });
            (x, factors, classes)
        })
    })
}

/// Another name for every class.
fn renamed(class: u32, classes: usize) -> u32 {
    classes as u32 - 1 - class
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn information_gaps_of_anything((x, factors, classes) in tables()) {
        let gap = mutual_information_gap(x.view(), factors.view(), &classes).unwrap();
        prop_assert!(gap.factors.iter().all(|gap| (0.0..=1.0).contains(gap)), "{:?}", gap);
        prop_assert_eq!(gap.factors.len(), classes.len());
        // Columns in reverse, classes renamed, and a constant column added.
        let constant = Array2::from_elem((x.nrows(), 1), 3.0);
        let other = concatenate![Axis(1), x.slice(s![.., ..;-1]), constant];
        let names = Array2::from_shape_fn(factors.dim(), |at| renamed(factors[at], classes[at.1]));
        let again = mutual_information_gap(other.view(), names.view(), &classes).unwrap();
        close("renamed", &again.factors, &gap.factors, 1e-12);
    }

    #[test]
    fn disentanglement_of_anything(importance in (1_usize..6, 1_usize..6).prop_flat_map(|(columns, factors)| {
        let values = prop::collection::vec(prop_oneof![Just(0.0), 0.0..1.0_f64, 0.0..1e300_f64], columns * factors);
        values.prop_map(move |values| Array2::from_shape_vec((columns, factors), values).unwrap())
    })) {
        let scores = dci(importance.view()).unwrap();
        let means = [scores.disentanglement, scores.completeness];
        let all = scores.columns.iter().chain(&scores.factors).chain(&means);
        prop_assert!(all.into_iter().all(|score| (0.0..=1.0).contains(score)), "{:?}", scores);
        let other = dci(importance.slice(s![..;-1, ..;-1])).unwrap();
        close("reversed", &[other.disentanglement, other.completeness], &means, 1e-12);
        let back: Vec<f64> = other.columns.into_iter().rev().collect();
        close("reversed", &back, &scores.columns, 1e-12);
        let turned = dci(importance.t()).unwrap();
        close("turned", &[turned.completeness, turned.disentanglement], &means, 1e-12);
    }
}
