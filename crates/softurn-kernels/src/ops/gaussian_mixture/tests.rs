//! Tests of the expected log densities.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::{backward, cpu, forward};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu};

const TOLERANCE: Tolerance =
    Tolerance::new(3e-4, 5e-6, "sums over up to 700 rows or 20 dimensions of terms of size 10");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "the posterior's variance is forgotten",
        "(spread(i * params.dims + j) + d * d) * f_exp(-v);",
        "(0.0 * spread(i * params.dims + j) + d * d) * f_exp(-v);",
    ),
    mutant(
        "pushed away from the components",
        "(means[c * params.dims + j] - mean[at])",
        "(mean[at] - means[c * params.dims + j])",
    ),
    mutant("only the first block of rows", "let start = at / cells * params.block;", "let start = 0u;"),
    mutant("no normaliser in the log-variances", "-0.5 * g * (1.0 - (", "-0.5 * g * (0.0 - ("),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "gaussian_mixture", name, shader: "gaussian_mixture", from, to, plan: "both", hidden: None }
}

/// `[rows, dims, components]`
const SHAPES: &[[usize; 3]] = &[[1, 1, 1], [3, 2, 5], [65, 7, 10], [700, 16, 10], [0, 3, 2]];

fn inputs([rows, dims, components]: [usize; 3]) -> [Vec<f32>; 5] {
    let mut inputs = Inputs::new((rows + 31 * dims + components) as u64);
    [
        inputs.normal(rows * dims),
        inputs.uniform(-3.0, 1.0, rows * dims),
        inputs.normal(components * dims),
        inputs.uniform(-1.5, 1.5, components * dims),
        inputs.normal(rows * components),
    ]
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &shape @ [rows, dims, components] in SHAPES {
        let [m, s, mu, v, g] = inputs(shape);
        let matrix = |x: &[f32], rows: usize, cols: usize| gpu.tensor(x, [rows, cols]).unwrap();
        let (tm, ts) = (matrix(&m, rows, dims), matrix(&s, rows, dims));
        let (tmu, tv, tg) = (matrix(&mu, components, dims), matrix(&v, components, dims), matrix(&g, rows, components));
        for point in [false, true] {
            let what = |name: &str| format!("{shape:?} point {point}: {name}");
            let ts = (!point).then_some(&ts);
            let spread = if point { vec![f64::NEG_INFINITY; s.len()] } else { wide(&s) };
            let run = || forward(gpu, &tm, ts, &tmu, &tv).unwrap().read().unwrap();
            let want = cpu::forward(dims, &wide(&m), &spread, &wide(&mu), &wide(&v));
            compare(&what("density"), &label(gpu), &run(), &want, &TOLERANCE)?;
            same_bits(&what("two runs"), &run(), &run())?;
            let got = backward(gpu, &tm, ts, &tmu, &tv, &tg).unwrap();
            let [dm, ds, dmu, dv] = cpu::backward(dims, &wide(&m), &spread, &wide(&mu), &wide(&v), &wide(&g));
            compare(&what("dm"), &label(gpu), &got.mean.read().unwrap(), &dm, &TOLERANCE)?;
            assert_eq!(got.log_variance.is_none(), point);
            if let Some(got) = got.log_variance {
                compare(&what("ds"), &label(gpu), &got.read().unwrap(), &ds, &TOLERANCE)?;
            }
            compare(&what("dmu"), &label(gpu), &got.means.read().unwrap(), &dmu, &TOLERANCE)?;
            compare(&what("dv"), &label(gpu), &got.log_variances.read().unwrap(), &dv, &TOLERANCE)?;
        }
    }
    Ok(())
}

const LARGE: Tolerance = Tolerance::new(
    2e-2,
    5e-6,
    "100,000 terms of size 10 in blocks of 512: 196 partial sums of up to 2e3, each to 2^-20",
);

#[test]
fn many_rows_are_added_up_in_blocks() {
    let [rows, dims, components] = [100_000, 2, 3];
    let [m, s, mu, v, g] = inputs([rows, dims, components]);
    let want = cpu::backward(dims, &wide(&m), &wide(&s), &wide(&mu), &wide(&v), &wide(&g));
    for gpu in gpus() {
        let matrix = |x: &[f32], cols: usize| gpu.tensor(x, [x.len() / cols, cols]).unwrap();
        let (tm, ts, tg) = (matrix(&m, dims), matrix(&s, dims), matrix(&g, components));
        let got = backward(gpu, &tm, Some(&ts), &matrix(&mu, dims), &matrix(&v, dims), &tg).unwrap();
        compare("dmu", &label(gpu), &got.means.read().unwrap(), &want[2], &LARGE).unwrap();
        compare("dv", &label(gpu), &got.log_variances.read().unwrap(), &want[3], &LARGE).unwrap();
    }
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn twin_agrees_with_central_differences() {
    let [m, s, mu, v, g] = inputs([3, 2, 4]).map(|x| wide(&x));
    let f = |m: &[f64], s: &[f64], mu: &[f64], v: &[f64]| -> f64 {
        cpu::forward(2, m, s, mu, v).iter().zip(&g).map(|(d, g)| d * g).sum()
    };
    let [dm, ds, dmu, dv] = cpu::backward(2, &m, &s, &mu, &v, &g);
    let tolerance = Tolerance::new(1e-7, 1e-7, "central differences in f64");
    assert_gradient("dm", |m| f(m, &s, &mu, &v), &m, &dm, &tolerance);
    assert_gradient("ds", |s| f(&m, s, &mu, &v), &s, &ds, &tolerance);
    assert_gradient("dmu", |mu| f(&m, &s, mu, &v), &mu, &dmu, &tolerance);
    assert_gradient("dv", |v| f(&m, &s, &mu, v), &v, &dv, &tolerance);
}

#[test]
fn nan_stays_in_its_row() {
    for gpu in gpus() {
        let m = gpu.tensor(&[0.0f32, 1.0, f32::NAN, 1.0], [2, 2]).unwrap();
        let (mu, v) = (gpu.zeros([3, 2]).unwrap(), gpu.zeros([3, 2]).unwrap());
        let density = forward(gpu, &m, None, &mu, &v).unwrap().read().unwrap();
        assert!(density[..3].iter().all(|d| d.is_finite()) && density[3..].iter().all(|d| d.is_nan()));
    }
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let zeros = |rows: usize, cols: usize| gpu.zeros([rows, cols]).unwrap();
    let result = forward(gpu, &zeros(4, 2), None, &zeros(3, 3), &zeros(3, 3));
    assert!(matches!(result, Err(Error::Shape { argument: "means", .. })));
    let result = forward(gpu, &zeros(4, 2), Some(&zeros(4, 1)), &zeros(3, 2), &zeros(3, 2));
    assert!(matches!(result, Err(Error::Shape { argument: "log_variance", .. })));
    let result = backward(gpu, &zeros(4, 2), None, &zeros(3, 2), &zeros(3, 2), &zeros(3, 4));
    assert!(matches!(result, Err(Error::Shape { argument: "ddensity", .. })));
}
