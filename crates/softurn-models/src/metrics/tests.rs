//! Against values of scikit-learn 1.9.1 and SciPy's `linear_sum_assignment`.

use ndarray::{Array2, array};
use proptest::prelude::*;

use super::*;
use crate::data;

/// `(name, predicted, truth, accuracy, nmi, ari)`.
type Case = (&'static str, Vec<u32>, Vec<u32>, f64, f64, f64);

/// Expected values are those of
/// `c = sklearn.metrics.cluster.contingency_matrix(truth, predicted)`,
/// `r, k = scipy.optimize.linear_sum_assignment(-c)`, `c[r, k].sum() / len(truth)`;
/// `sklearn.metrics.normalized_mutual_info_score(truth, predicted)`; `sklearn.metrics.adjusted_rand_score(truth, predicted)`.
fn cases() -> Vec<Case> {
    let i = || 0..60_u32;
    let digits = |text: &str| text.bytes().map(|byte| u32::from(byte - b'0')).collect::<Vec<_>>();
    vec![
        ("equal", vec![0, 0, 1, 1, 2], vec![0, 0, 1, 1, 2], 1.0, 1.0, 1.0),
        ("permuted", vec![2, 2, 0, 0, 1], vec![0, 0, 1, 1, 2], 1.0, 1.0, 1.0),
        ("one group in both", vec![0; 4], vec![3; 4], 1.0, 1.0, 1.0),
        ("one cluster", vec![0; 4], vec![0, 0, 1, 1], 0.5, 0.0, 0.0),
        ("one class", vec![0, 1, 1, 2], vec![5; 4], 0.5, 0.0, 0.0),
        ("all distinct in both", vec![0, 1, 2, 3], vec![3, 2, 1, 0], 1.0, 1.0, 1.0),
        ("all distinct clusters", vec![0, 1, 2, 3], vec![0, 0, 1, 1], 0.5, 0.6666666666666666, 0.0),
        ("one row", vec![7], vec![9], 1.0, 1.0, 1.0),
        ("independent", vec![0, 0, 1, 1], vec![0, 1, 0, 1], 0.5, 0.0, -0.5),
        (
            "more clusters than classes",
            vec![0, 0, 1, 1, 2, 2, 3, 3],
            vec![0, 0, 0, 0, 1, 1, 1, 1],
            0.5,
            0.666666666666667,
            0.36363636363636365,
        ),
        (
            "fewer clusters than classes",
            vec![0, 0, 0, 1, 1, 1, 0, 1],
            vec![0, 0, 1, 1, 2, 2, 3, 3],
            0.5,
            0.3333333333333335,
            0.045454545454545456,
        ),
        (
            // Counts [[5, 4], [4, 0]]: taking the largest cell first gets 5, the best matching 8.
            "greedy is wrong",
            [vec![0; 9], vec![1; 4]].concat(),
            [vec![0; 5], vec![1; 4], vec![0; 4]].concat(),
            0.6153846153846154,
            0.22949351919925862,
            -0.031746031746031744,
        ),
        (
            "mixed",
            i().map(|i| i * i % 7).collect(),
            i().map(|i| i * 3 % 5).collect(),
            0.23333333333333334,
            0.012541663640444744,
            -0.04858209370995599,
        ),
        (
            "one large cluster",
            i().map(|i| if i < 50 { 0 } else { i % 3 }).collect(),
            i().map(|i| i / 20).collect(),
            0.4,
            0.18773289208202518,
            0.038242745829150535,
        ),
        (
            "ids far apart",
            vec![4_000_000_000, 7, 7, 4_000_000_000, 12],
            vec![1, 0, 0, 1, 1],
            0.8,
            0.7789794173345359,
            0.5454545454545454,
        ),
        (
            // sklearn.cluster.KMeans(10, n_init=1, random_state=0).fit(load_digits().data[:300]).labels_[:100]
            "k-means of digits",
            digits(
                "7381310621748135062194813504217155057121234661547988628948011611300032459158249946018463014113602313",
            ),
            digits(
                "0123456789012345678901234567890955650989841773510022782012633733466649150952820017632174631391768431",
            ),
            0.8,
            0.8655256922583942,
            0.7121755749276552,
        ),
    ]
}

#[track_caller]
fn close(name: &str, value: f64, expected: f64) {
    // Sums of at most a few hundred rounded terms below 1.
    assert!((value - expected).abs() <= 1e-13, "{name}: {value} instead of {expected}");
}

#[test]
fn scores_against_the_truth_are_those_of_scikit_learn() {
    for (name, predicted, truth, expected_accuracy, nmi, ari) in cases() {
        close(name, accuracy(&predicted, &truth).unwrap(), expected_accuracy);
        close(name, normalized_mutual_information(&predicted, &truth).unwrap(), nmi);
        close(name, adjusted_rand_index(&predicted, &truth).unwrap(), ari);
        // All three are symmetric.
        close(name, accuracy(&truth, &predicted).unwrap(), expected_accuracy);
        close(name, normalized_mutual_information(&truth, &predicted).unwrap(), nmi);
        close(name, adjusted_rand_index(&truth, &predicted).unwrap(), ari);
    }
}

#[test]
fn matching_is_one_to_one() {
    for (name, predicted, truth, expected_accuracy, ..) in cases() {
        let matched = matching(&predicted, &truth).unwrap();
        let mut classes: Vec<u32> = matched.iter().filter_map(|&(_, class)| class).collect();
        let right = predicted.iter().zip(&truth).filter(|&(&p, &t)| matched.contains(&(p, Some(t)))).count();
        close(name, right as f64 / truth.len() as f64, expected_accuracy);
        classes.sort_unstable();
        let table = contingency(&predicted, &truth).unwrap();
        assert_eq!(classes.len(), table.clusters.len().min(table.classes.len()), "{name}");
        classes.dedup();
        assert_eq!(classes.len(), table.clusters.len().min(table.classes.len()), "{name}: {matched:?}");
        assert_eq!(table.counts.sum(), truth.len() as u64, "{name}");
    }
    assert_eq!(matching(&[8, 8, 3, 1], &[0, 0, 0, 0]).unwrap(), [(1, None), (3, None), (8, Some(0))]);
}

#[test]
fn as_many_groups_as_rows_stay_cheap() {
    let rows = 200_000;
    let (up, down): (Vec<u32>, Vec<u32>) = (0..rows).map(|i| (i, rows - i)).unzip();
    close("nmi", normalized_mutual_information(&up, &down).unwrap(), 1.0);
    close("ari", adjusted_rand_index(&up, &down).unwrap(), 1.0);
    let limit = 1 << 24;
    let error = MetricError::TooManyGroups { clusters: rows as usize, classes: rows as usize, limit };
    assert_eq!(accuracy(&up, &down), Err(error));
}

#[test]
fn what_cannot_be_scored_is_an_error() {
    let mismatch = MetricError::LengthMismatch { first: 2, second: 3 };
    assert_eq!(accuracy(&[0, 1], &[0, 1, 2]), Err(mismatch.clone()));
    assert_eq!(normalized_mutual_information(&[0, 1], &[0, 1, 2]), Err(mismatch.clone()));
    assert_eq!(adjusted_rand_index(&[0, 1], &[0, 1, 2]), Err(mismatch.clone()));
    assert_eq!(matching(&[0, 1], &[0, 1, 2]), Err(mismatch.clone()));
    let two = array![[0.0], [1.0]];
    assert_eq!(silhouette(two.view(), &[0, 1, 2]), Err(mismatch));
    assert_eq!(accuracy(&[], &[]), Err(MetricError::Empty));
    assert_eq!(normalized_mutual_information(&[], &[]), Err(MetricError::Empty));
    assert_eq!(adjusted_rand_index(&[], &[]), Err(MetricError::Empty));
    assert_eq!(silhouette(Array2::zeros((0, 3)).view(), &[]), Err(MetricError::Empty));
    // sklearn.metrics.silhouette_score raises ValueError: valid values are 2 to n_samples - 1.
    assert_eq!(silhouette(two.view(), &[0, 0]), Err(MetricError::ClusterCount { clusters: 1, rows: 2 }));
    assert_eq!(silhouette(two.view(), &[0, 1]), Err(MetricError::ClusterCount { clusters: 2, rows: 2 }));
    let nan = array![[0.0], [1.0], [f32::NAN]];
    assert_eq!(silhouette(nan.view(), &[0, 0, 1]), Err(MetricError::NonFinite { row: 2 }));
}

/// Values of `sklearn.metrics.silhouette_score(x, labels)`, `x` in float64.
#[test]
fn silhouettes_are_those_of_scikit_learn() {
    let x = array![[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [5.0, 0.0], [9.0, 3.0]];
    close("a cluster of one", silhouette(x.view(), &[0, 0, 1, 1, 2]).unwrap(), 0.5968253968253968);
    close("crossed", silhouette(x.view(), &[0, 1, 0, 1, 1]).unwrap(), -0.17085257164819787);
    close("all equal", silhouette(Array2::zeros((4, 2)).view(), &[0, 0, 1, 1]).unwrap(), 0.0);
    close("two points", silhouette(array![[0.0], [0.0], [1.0], [1.0]].view(), &[0, 0, 1, 1]).unwrap(), 1.0);

    let iris = data::iris();
    let species = iris.labels().unwrap().ids();
    close("iris", silhouette(iris.features().view(), species).unwrap(), 0.5034774462988036);
    let setosa: Vec<u32> = (0..150).map(|row| u32::from(row >= 50)).collect();
    close("setosa", silhouette(iris.features().view(), &setosa).unwrap(), 0.6867350731843406);

    // load_digits().data / 16 with its target.
    let digits = data::digits();
    let classes = digits.labels().unwrap().ids();
    close("digits", silhouette(digits.features().view(), classes).unwrap(), 0.1629432052257522);
}

#[test]
fn a_sample_estimates_the_silhouette() {
    let iris = data::iris();
    let (x, species) = (iris.features().view(), iris.labels().unwrap().ids());
    let all = silhouette(x, species).unwrap();
    assert_eq!(silhouette_sampled(x, species, 150, 1).unwrap(), all);
    assert_eq!(silhouette_sampled(x, species, usize::MAX, 1).unwrap(), all);
    let mean = (0..40).map(|seed| silhouette_sampled(x, species, 60, seed).unwrap()).sum::<f64>() / 40.0;
    // A sample of 60 scatters by 0.03 here, a mean of 40 by 0.005; leaving rows out shrinks the distance to the own cluster
    // by nothing on average.
    assert!((mean - all).abs() < 0.02, "{mean} instead of {all}");
    assert_eq!(silhouette_sampled(x, species, 60, 7), silhouette_sampled(x, species, 60, 7));
    assert_ne!(silhouette_sampled(x, species, 60, 7), silhouette_sampled(x, species, 60, 8));
    assert_eq!(silhouette_sampled(x, species, 0, 7), Err(MetricError::ClusterCount { clusters: 0, rows: 0 }));
    // A column-major view must give the same as a row-major one.
    let transposed = x.t().as_standard_layout().into_owned();
    assert_eq!(silhouette(transposed.t(), species).unwrap(), all);
}

/// `balanced_accuracy_score(truth, predicted)`, and the same with `adjusted=True`.
#[test]
fn balanced_accuracies_are_those_of_scikit_learn() {
    let i = || 0..60_u32;
    let rare = ([vec![0; 50], vec![1; 2], vec![0; 3]].concat(), [vec![0; 48], vec![1; 7]].concat());
    let cases = [
        ("mixed", vec![0, 1, 2, 2, 1, 0, 1, 1], vec![0, 1, 2, 1, 1, 2, 0, 1], 0.5833333333333334, 0.37500000000000006),
        ("never predicted", vec![0, 0, 0, 0, 0, 1], vec![0, 0, 1, 1, 2, 2], 0.3333333333333333, 0.0),
        ("not in the truth", vec![3, 0, 1, 1, 3], vec![0, 0, 1, 1, 1], 0.5833333333333333, 0.16666666666666652),
        ("all wrong", vec![1, 2, 0], vec![0, 1, 2], 0.0, -0.49999999999999994),
        ("chance", i().map(|i| i * i % 7 % 4).collect(), i().map(|i| i * 3 % 4).collect(), 0.25, 0.0),
        ("rare", rare.0, rare.1, 0.6428571428571428, 0.2857142857142856),
    ];
    for (name, predicted, truth, plain, adjusted) in cases {
        close(name, balanced_accuracy(&predicted, &truth, 4).unwrap(), plain);
        close(name, adjusted_balanced_accuracy(&predicted, &truth, 4).unwrap(), adjusted);
    }
}

/// The argument that an error names.
#[track_caller]
fn argument(result: Result<f64, MetricError>) -> &'static str {
    match result.unwrap_err() {
        MetricError::Argument { argument, .. } => argument,
        other => panic!("{other}"),
    }
}

#[test]
fn what_has_no_balanced_accuracy_is_an_error() {
    for score in [balanced_accuracy, adjusted_balanced_accuracy] {
        assert_eq!(score(&[0], &[0, 1], 2), Err(MetricError::LengthMismatch { first: 1, second: 2 }));
        assert_eq!(score(&[], &[], 2), Err(MetricError::Empty));
        assert_eq!(argument(score(&[0, 2], &[0, 1], 2)), "predicted");
        assert_eq!(argument(score(&[0, 1], &[2, 1], 2)), "truth");
    }
    assert_eq!(balanced_accuracy(&[0, 1], &[0, 0], 2), Ok(0.5));
    assert_eq!(argument(adjusted_balanced_accuracy(&[0, 1], &[0, 0], 2)), "truth");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn balanced_accuracies_of_anything(rows in prop::collection::vec((0_u32..5, 0_u32..5), 2..50)) {
        let (predicted, mut truth): (Vec<u32>, Vec<u32>) = rows.into_iter().unzip();
        (truth[0], truth[1]) = (0, 1);
        let scores = |predicted: &[u32], truth: &[u32]| {
            [balanced_accuracy(predicted, truth, 5).unwrap(), adjusted_balanced_accuracy(predicted, truth, 5).unwrap()]
        };
        let [plain, adjusted] = scores(&predicted, &truth);
        prop_assert!((0.0..=1.0).contains(&plain) && (-1.0..=1.0).contains(&adjusted));
        let rename = |labels: &[u32]| labels.iter().map(|&label| 4 - label).collect::<Vec<_>>();
        let again = scores(&rename(&predicted), &rename(&truth));
        close("renamed", again[0], plain);
        close("renamed", again[1], adjusted);
        prop_assert_eq!(scores(&truth, &truth), [1.0, 1.0]);
        close("constant", adjusted_balanced_accuracy(&vec![0; truth.len()], &truth, 5).unwrap(), 0.0);
    }
}
