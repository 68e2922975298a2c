//! Goodness of fit: chi-square, Kolmogorov-Smirnov, and the Benjamini-Hochberg rule over many such tests.
//!
//! Fixed seeds make the p-values fixed: a threshold of 1e-3 is a decision taken once, not a test that fails once in a
//! thousand runs.

/// Bins are pooled until each expects at least this many: below, the statistic is not chi-square.
const LEAST_EXPECTED: f64 = 5.0;

/// p-value of Pearson's chi-square test of counts against their expectations (which need the same sum).
///
/// Bins that expect fewer than 5 are pooled into one, and that one into the smallest other bin when it still expects
/// fewer than 5. An observation in a bin that expects 0 is impossible: p = 0. With a single bin left, p = 1.
///
/// # Panics
/// When the lengths differ, there are no observations, an expectation is negative or not finite, or the sums differ by
/// more than 1e-6 of their size.
pub fn chi_square_p(observed: &[u64], expected: &[f64]) -> f64 {
    assert_eq!(observed.len(), expected.len(), "one expectation per bin");
    let draws = observed.iter().sum::<u64>() as f64;
    assert!(draws > 0.0, "no observations");
    assert!(expected.iter().all(|e| e.is_finite() && *e >= 0.0), "expectations must be finite and not negative");
    let total = expected.iter().sum::<f64>();
    assert!((total - draws).abs() <= 1e-6 * draws, "{draws} observations against a total expectation of {total}");
    let bins = || observed.iter().map(|&o| o as f64).zip(expected.iter().copied());
    if bins().any(|(o, e)| e == 0.0 && o > 0.0) {
        return 0.0;
    }
    let mut pooled: Vec<(f64, f64)> = bins().filter(|(_, e)| *e >= LEAST_EXPECTED).collect();
    let rest = bins().filter(|(_, e)| *e < LEAST_EXPECTED).fold((0.0, 0.0), |sum, bin| (sum.0 + bin.0, sum.1 + bin.1));
    match pooled.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1)) {
        Some(smallest) if rest.1 < LEAST_EXPECTED => {
            *smallest = (smallest.0 + rest.0, smallest.1 + rest.1);
        }
        _ => pooled.push(rest),
    }
    if pooled.len() < 2 {
        return 1.0;
    }
    let statistic: f64 = pooled.iter().map(|(o, e)| (o - e).powi(2) / e).sum();
    upper_gamma(0.5 * (pooled.len() - 1) as f64, 0.5 * statistic)
}

/// Kolmogorov-Smirnov statistic `sup |F_n - F|` of samples (in any order) against a continuous law.
///
/// A NaN sample gives 1, the worst there is.
///
/// # Panics
/// When there are no samples, or `cdf` leaves [0, 1].
pub fn ks_statistic(samples: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    assert!(!samples.is_empty(), "no samples");
    if samples.iter().any(|x| x.is_nan()) {
        return 1.0;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let mut statistic = 0.0f64;
    for (i, &x) in sorted.iter().enumerate() {
        let law = cdf(x);
        assert!((0.0..=1.0).contains(&law), "cdf({x}) = {law}");
        let (before, after) = (i as f64 / n, (i + 1) as f64 / n);
        statistic = statistic.max(law - before).max(after - law);
    }
    statistic
}

/// Two-sided p-value of [`ks_statistic`], good to 2e-3 absolute from 10 samples and 2e-4 from 100.
///
/// # Panics
/// As [`ks_statistic`].
pub fn ks_p(samples: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    kolmogorov_p(ks_statistic(samples, cdf), samples.len() as f64)
}

/// Kolmogorov-Smirnov statistic of counts over ordered values against their expectations (of any scale).
///
/// # Panics
/// When the lengths differ, there are no observations, or an expectation is negative or not finite.
pub fn discrete_ks_statistic(observed: &[u64], expected: &[f64]) -> f64 {
    assert_eq!(observed.len(), expected.len(), "one expectation per value");
    let draws = observed.iter().sum::<u64>() as f64;
    assert!(draws > 0.0, "no observations");
    assert!(expected.iter().all(|e| e.is_finite() && *e >= 0.0), "expectations must be finite and not negative");
    let total = expected.iter().sum::<f64>();
    assert!(total > 0.0, "nothing is expected");
    let (mut seen, mut law, mut statistic) = (0.0, 0.0, 0.0f64);
    for (&o, &e) in observed.iter().zip(expected) {
        seen += o as f64 / draws;
        law += e / total;
        statistic = statistic.max((seen - law).abs());
    }
    statistic
}

/// p-value of [`discrete_ks_statistic`] by the continuous law: an upper bound, so small values mean what they say.
///
/// # Panics
/// As [`discrete_ks_statistic`].
pub fn discrete_ks_p(observed: &[u64], expected: &[f64]) -> f64 {
    kolmogorov_p(discrete_ks_statistic(observed, expected), observed.iter().sum::<u64>() as f64)
}

/// Which hypotheses the Benjamini-Hochberg rule rejects at false discovery rate `q`; a NaN p-value is rejected.
pub fn benjamini_hochberg(p: &[f64], q: f64) -> Vec<bool> {
    let value = |i: usize| if p[i].is_nan() { 0.0 } else { p[i] };
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
    let threshold = |rank: usize| q * (rank + 1) as f64 / p.len() as f64;
    let last = (0..p.len()).rfind(|&rank| value(order[rank]) <= threshold(rank));
    let mut rejected = vec![false; p.len()];
    if let Some(last) = last {
        order[..=last].iter().for_each(|&i| rejected[i] = true);
    }
    rejected
}

/// Upper tail of the Kolmogorov law at `statistic`, with the correction of Vrbik (2018) for finite `n`.
fn kolmogorov_p(statistic: f64, n: f64) -> f64 {
    let root = n.sqrt();
    let z = root * statistic;
    let x = z + 1.0 / (6.0 * root) + (z - 1.0) / (4.0 * n);
    if x <= 0.04 {
        return 1.0;
    }
    // Two series of the same law; each needs few terms on its side of 1.
    let p = if x < 1.0 {
        let unit = std::f64::consts::PI.powi(2) / (8.0 * x * x);
        let sum: f64 = (1..8).map(|j| (-unit * f64::from(2 * j - 1).powi(2)).exp()).sum();
        1.0 - std::f64::consts::TAU.sqrt() / x * sum
    } else {
        let sign = |j: i32| if j % 2 == 1 { 2.0 } else { -2.0 };
        (1..8).map(|j| sign(j) * (-2.0 * (f64::from(j) * x).powi(2)).exp()).sum()
    };
    p.clamp(0.0, 1.0)
}

/// Regularised upper incomplete gamma function Q(a, x): series below a + 1, Lentz's continued fraction above
/// (Numerical Recipes, section 6.2).
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > 1e-17 * sum {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return (1.0 - front * sum).max(0.0);
    }
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut fraction = d;
    for i in 1..10_000 {
        let numerator = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = numerator * d + b;
        d = 1.0 / if d.abs() < tiny { tiny } else { d };
        c = b + numerator / c;
        c = if c.abs() < tiny { tiny } else { c };
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// ln Gamma(x) for x > 0: Stirling's series after shifting x above 10.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 1.0;
    while x < 10.0 {
        shift *= x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0, 1.0 / 156.0]
        .iter()
        .rev()
        .fold(0.0, |sum, term| sum * inverse + term);
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series / x - shift.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(got: f64, want: f64, tolerance: f64) {
        #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "the negation is what makes NaN fail")]
        let fails = !((got - want).abs() <= tolerance);
        assert!(!fails, "got {got:e}, want {want:e}");
    }

    // Reference values: scipy 1.x, scipy.stats.chisquare, scipy.stats.kstest(mode="exact"), scipy.special.

    #[test]
    fn chi_square_is_scipys() {
        let cases: [(&[u64], &[f64], f64); 5] = [
            (&[18, 22, 31, 29], &[25.0; 4], 0.2213853871894879),
            (&[105, 95, 90, 110, 100], &[100.0; 5], 0.6446357929354278),
            (&[10, 20, 30], &[20.0; 3], 0.006737946999085468),
            (&[5000, 5200], &[5100.0; 2], 0.0476703806561615),
            (&[60, 25, 9, 6], &[50.0, 30.0, 12.0, 8.0], 0.25260509843468787),
        ];
        for (observed, expected, want) in cases {
            near(chi_square_p(observed, expected), want, 1e-12);
        }
        let many: Vec<u64> = [30, 25, 20, 15, 10].repeat(20);
        near(chi_square_p(&many, &[20.0; 100]), 4.844312411385307e-15, 1e-22);
    }

    #[test]
    fn small_bins_are_pooled() {
        // 3 + 4 make a bin of 7 of their own.
        let pooled = chi_square_p(&[40, 53, 7], &[45.0, 48.0, 7.0]);
        near(chi_square_p(&[40, 2, 53, 5], &[45.0, 3.0, 48.0, 4.0]), pooled, 1e-15);
        // 2 + 1 do not, and join the smallest of the others.
        near(chi_square_p(&[4, 40, 56, 0], &[2.0, 45.0, 52.0, 1.0]), chi_square_p(&[44, 56], &[48.0, 52.0]), 1e-9);
        near(chi_square_p(&[3], &[3.0]), 1.0, 0.0);
        near(chi_square_p(&[3, 1], &[2.0, 2.0]), 1.0, 0.0);
    }

    #[test]
    fn impossible_and_skewed_draws_are_rejected() {
        near(chi_square_p(&[50, 49, 1], &[50.0, 50.0, 0.0]), 0.0, 0.0);
        near(chi_square_p(&[50, 50, 0], &[50.0, 50.0, 0.0]), 1.0, 1e-15);
        assert!(chi_square_p(&[700, 300], &[500.0, 500.0]) < 1e-30);
    }

    #[test]
    fn misuse_panics() {
        use std::panic::catch_unwind;
        let cases: [fn() -> f64; 8] = [
            || chi_square_p(&[1, 2], &[3.0]),
            || chi_square_p(&[0, 0], &[0.0, 0.0]),
            || chi_square_p(&[1, 1], &[f64::NAN, 1.0]),
            || chi_square_p(&[1, 1], &[3.0, -1.0]),
            || chi_square_p(&[50, 50], &[40.0, 50.0]),
            || ks_p(&[], |x| x),
            || ks_p(&[0.5], |_| f64::NAN),
            || discrete_ks_p(&[0], &[1.0]),
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(catch_unwind(case).is_err(), "case {i} did not panic");
        }
    }

    #[test]
    fn kolmogorov_smirnov_is_scipys() {
        let golden = |n: usize, power: f64| -> Vec<f64> {
            (1..=n).map(|i| (i as f64 * 0.618_033_988_749_894_9).fract().powf(power)).collect()
        };
        let shrunk =
            |n: usize, by: f64| -> Vec<f64> { (0..n).map(|i| (i as f64 + 0.5) / n as f64 * (1.0 - by)).collect() };
        let cases = [
            (golden(10, 0.6), 0.25781214431903576, 0.44561131161673073, 2e-3),
            (golden(50, 0.8), 0.09615244858289962, 0.708170596399063, 5e-4),
            (golden(100, 0.9), 0.051038014431545486, 0.9449867328282184, 2e-4),
            (golden(1000, 0.97), 0.01240425691546937, 0.9974498377143726, 2e-4),
            (golden(5000, 0.985), 0.0058596468633913545, 0.9950668569104949, 2e-4),
            (shrunk(20, 0.1), 0.12250000000000005, 0.8899027553645057, 2e-3),
            (shrunk(100, 0.1), 0.10450000000000004, 0.20966091578064197, 2e-4),
            (shrunk(1000, 0.02), 0.020490000000000008, 0.7871521611017505, 2e-4),
            (shrunk(1000, 0.05), 0.05047499999999994, 0.011822719899267602, 1e-5),
        ];
        for (samples, statistic, p, tolerance) in cases {
            near(ks_statistic(&samples, |x| x), statistic, 1e-11);
            near(ks_p(&samples, |x| x), p, tolerance);
        }
    }

    #[test]
    fn a_nan_or_shifted_sample_fails() {
        let mut samples: Vec<f64> = (0..100).map(|i| (f64::from(i) + 0.5) / 100.0).collect();
        assert!(ks_p(&samples, |x| x) > 0.999);
        assert!(ks_p(&samples, |x| x * x) < 1e-4);
        samples[3] = f64::NAN;
        assert!(ks_p(&samples, |x| x.clamp(0.0, 1.0)) < 1e-30);
    }

    #[test]
    fn the_kolmogorov_tail_has_no_seam() {
        for n in [10.0, 1000.0, 1e6] {
            let p: Vec<f64> = (0..400).map(|i| kolmogorov_p(0.01 * f64::from(i) / f64::sqrt(n), n)).collect();
            assert!(p.windows(2).all(|w| w[1] <= w[0] && w[0] - w[1] < 0.02));
            assert!(p[0] == 1.0 && p[399] < 1e-12);
        }
    }

    #[test]
    fn discrete_statistic() {
        near(discrete_ks_statistic(&[10, 20, 30], &[1.0; 3]), 1.0 / 6.0, 1e-15);
        near(discrete_ks_statistic(&[5, 5], &[50.0, 50.0]), 0.0, 1e-15);
        assert!(discrete_ks_p(&[400, 300, 300], &[300.0, 300.0, 400.0]) < 1e-6);
        assert!(discrete_ks_p(&[101, 99], &[100.0, 100.0]) > 0.9);
    }

    #[test]
    fn benjamini_hochberg_is_scipys() {
        // scipy.stats.false_discovery_control: 0.05 0.05 0.05 0.05 0.5 and 0.006 0.0675 0.0675 0.24 0.0675 0.8.
        let p = [0.01, 0.02, 0.03, 0.04, 0.5];
        assert_eq!(benjamini_hochberg(&p, 0.051), [true, true, true, true, false]);
        assert_eq!(benjamini_hochberg(&p, 0.049), [false; 5]);
        let p = [0.001, 0.045, 0.03, 0.2, 0.041, 0.8];
        assert_eq!(benjamini_hochberg(&p, 0.05), [true, false, false, false, false, false]);
        assert_eq!(benjamini_hochberg(&p, 0.07), [true, true, true, false, true, false]);
        assert_eq!(benjamini_hochberg(&[0.9, f64::NAN], 0.01), [false, true]);
        assert!(benjamini_hochberg(&[], 0.1).is_empty());
    }

    #[test]
    fn gamma_functions_are_scipys() {
        for (a, x, want) in [
            (0.5, 0.1, 0.6547208460185768),
            (1.0, 2.0, 0.1353352832366127),
            (4.5, 3.0, 0.7399182920946538),
            (4.5, 12.0, 0.004301310843500872),
            (49.5, 60.0, 0.07424385580596692),
            (500.0, 450.0, 0.9892827619087102),
            (0.5, 200.0, 5.507248237212379e-89),
        ] {
            near(upper_gamma(a, x), want, 1e-11 * want);
        }
        for (x, want) in [
            (0.5, 0.5723649429247),
            (1.0, 0.0),
            (2.5, 0.2846828704729192),
            (9.99, 12.779315214350195),
            (10.0, 12.801827480081469),
            (123.4, 469.3360974421906),
        ] {
            near(ln_gamma(x), want, 1e-13 * want.max(10.0));
        }
    }
}
