//! Gradients by central differences in f64, with one Richardson step: `(4 D(h/2) - D(h)) / 3`, error of order h^4.

use crate::{Mismatch, Tolerance, Worst, compare_f64};

/// The gradient of `f` at `x`, good to about 1e-9 relative to `|f| + |gradient|` where `f` is smooth on the scale of
/// `max(|x|, 0.1)` (of `sqrt |x|` above 1).
///
/// The step stays below a thousandth of `max(|x|, 0.1)`, so that a positive `x` above 1e-4 stays positive.
pub fn central_difference(mut f: impl FnMut(&[f64]) -> f64, x: &[f64]) -> Vec<f64> {
    let mut point = x.to_vec();
    (0..x.len())
        .map(|i| {
            let mut slope = |step: f64| {
                // The step that was taken after rounding, not the one that was asked for.
                let (above, below) = (x[i] + step, x[i] - step);
                point[i] = above;
                let high = f(&point);
                point[i] = below;
                let low = f(&point);
                point[i] = x[i];
                (high - low) / (above - below)
            };
            let size = x[i].abs();
            let step = 1e-3 * if size <= 1.0 { size.max(0.1) } else { size.sqrt() };
            let coarse = slope(step);
            let fine = slope(0.5 * step);
            (4.0 * fine - coarse) / 3.0
        })
        .collect()
}

/// Compares an analytic gradient of `f` at `x` with [`central_difference`].
pub fn check_gradient(
    what: &str,
    f: impl FnMut(&[f64]) -> f64,
    x: &[f64],
    analytic: &[f64],
    tolerance: &Tolerance,
) -> Result<Worst, Mismatch> {
    let numeric = central_difference(f, x);
    compare_f64(what, "f64 against central differences", analytic, &numeric, tolerance)
}

/// [`check_gradient`], with a panic that prints the mismatch.
#[track_caller]
pub fn assert_gradient(
    what: &str,
    f: impl FnMut(&[f64]) -> f64,
    x: &[f64],
    analytic: &[f64],
    tolerance: &Tolerance,
) -> Worst {
    check_gradient(what, f, x, analytic, tolerance).unwrap_or_else(|mismatch| panic!("{mismatch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIGHT: Tolerance = Tolerance::new(1e-9, 1e-9, "step^4 and eps/step both stay below 1e-10");

    fn f(x: &[f64]) -> f64 {
        x[0].exp() * x[1].sin() + x[2].ln() + x[0] * x[2]
    }

    fn gradient(x: &[f64]) -> Vec<f64> {
        vec![x[0].exp() * x[1].sin() + x[2], x[0].exp() * x[1].cos(), 1.0 / x[2] + x[0]]
    }

    #[test]
    fn differences_are_accurate() {
        for x in [[0.0, 0.0, 1.0], [0.3, -1.2, 0.05], [-2.0, 10.0, 300.0], [2.0, 1e-8, 1e-3]] {
            // ln has unit scale 1e-3 in the last point, where the step is a tenth of it.
            let loose = Tolerance::new(1e-9, if x[2] < 0.01 { 1e-4 } else { 1e-8 }, "as above");
            assert_gradient("f", f, &x, &gradient(&x), &loose);
        }
        let quartic = |x: &[f64]| x[0].powi(4);
        assert_gradient("x^4", quartic, &[1.5], &[4.0 * 1.5f64.powi(3)], &TIGHT);
        assert!(central_difference(|_| 1.0, &[]).is_empty());
    }

    #[test]
    fn wrong_gradients_are_rejected() {
        let x = [0.3, -1.2, 0.7];
        let right = gradient(&x);
        for i in 0..3 {
            for wrong in [-right[i], right[i] * 1.000001, 0.0, f64::NAN, f64::INFINITY] {
                let mut analytic = right.clone();
                analytic[i] = wrong;
                let mismatch = check_gradient("f", f, &x, &analytic, &TIGHT).expect_err("a wrong gradient passed");
                assert!(mismatch.to_string().contains(&format!("element {i}")));
            }
        }
        assert!(check_gradient("f", f, &x, &right[..2], &TIGHT).is_err());
    }
}
