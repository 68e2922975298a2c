//! Tests of the law of subsets.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, chi_square_p, compare};

use super::{backward, cpu, forward, sample};
use crate::testing::{golden, gpus, label, numbers, wide};
use crate::{Error, Gpu, Key};

/// A product of n factors is good to 2^-23 sqrt(n); e^-18 of the law is that of other totals.
const MARGINALS: Tolerance = Tolerance::new(1e-6, 2e-5, "2^-23 sqrt(1000), and the tilt's rounding");
const LOG_SUM: Tolerance = Tolerance::new(1e-5, 2e-6, "the tolerance of log-probabilities");
const GRADIENT: Tolerance = Tolerance::new(1e-5, 1e-4, "differences of covariances of the above");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "a point of the circle is missing",
        "let n1 = nodes(FIRST4 + 4.0, size);\n  let n2 = nodes(FIRST4 + 8.0, size);\n  let n3 = nodes(FIRST4 + 12.0, size);\n  var p0",
        "let n1 = nodes(FIRST4 + 5.0, size);\n  let n2 = nodes(FIRST4 + 8.0, size);\n  let n3 = nodes(FIRST4 + 12.0, size);\n  var p0",
    ),
    mutant(
        "conjugates count once",
        "select(vec4<f32>(2.0), vec4<f32>(1.0), m ==",
        "select(vec4<f32>(1.0), vec4<f32>(1.0), m ==",
    ),
    mutant(
        "too few points",
        "2.0 * floor(3.0 * sqrt(variance) + 5.0) + 1.0",
        "2.0 * floor(sqrt(variance) + 1.0) + 1.0",
    ),
    mutant("the tilt is not undone", "+ scale + k * lambda", "+ scale"),
    mutant("sines of a quarter", "1.9841270e-4", "1.9841270e-3"),
    mutant("an element covaries with itself", "sum.re - d * rho.re", "sum.re"),
    mutant("the gradient of the normaliser is lost", "gradient + p * dlog", "gradient"),
    mutant(
        "elements are drawn one too late",
        "tables[((c + 1u) * width + before) * rows + at]",
        "tables[((c + 1u) * width + left) * rows + at]",
    ),
    mutant(
        "all draws are the same",
        "let words = philox(vec4<u32>(c / 4u, row, 0u",
        "let words = philox(vec4<u32>(0u, 0u, 0u",
    ),
    mutant("rows that cannot be drawn are", "if (left > 0u) {\n    for", "if (left > 100000u) {\n    for"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "subset", name, shader: "subset", from, to, plan: "both", hidden: None }
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, cols, k, spread) in [
        (3, 1, 1, 1.0),
        (65, 2, 1, 2.0),
        (5, 7, 7, 1.0),
        (4, 40, 1, 3.0),
        (4, 40, 20, 0.1),
        (3, 40, 39, 8.0),
        (3, 60, 9, 20.0),
    ] {
        let mut inputs = Inputs::new(cols as u64);
        let weights = inputs.uniform(-spread, spread, rows * cols);
        agrees(gpu, &format!("random, spread {spread}"), &weights, cols, k)?;
    }
    let infinite = [1.0, f32::NEG_INFINITY, 0.5, f32::NEG_INFINITY, 2.0, -1.0];
    agrees(gpu, "closed elements", &infinite, 6, 2)?;
    // Scaled together, nothing changes.
    let far: Vec<f32> = Inputs::new(6).uniform(-1.0, 1.0, 30).iter().map(|l| l + 300.0).collect();
    agrees(gpu, "far from 0", &far, 10, 4)
}

fn agrees(gpu: &Gpu, what: &str, weights: &[f32], cols: usize, k: usize) -> Result<(), Mismatch> {
    let rows = weights.len() / cols;
    let of = |part: &str| format!("{part} of {what} [{rows}, {cols}], k {k}");
    let subsets = forward(gpu, &gpu.tensor(weights, [rows, cols]).unwrap(), k).unwrap();
    let each = |f: &dyn Fn(&[f64]) -> Vec<f64>| -> Vec<f64> { wide(weights).chunks(cols).flat_map(f).collect() };
    let log_sum = subsets.log_sum.read().unwrap();
    compare(&of("log sum"), &label(gpu), &log_sum, &each(&|l| vec![cpu::log_sum(l, k)]), &LOG_SUM)?;
    let marginals = subsets.marginals.read().unwrap();
    compare(&of("marginals"), &label(gpu), &marginals, &each(&|l| cpu::marginals(l, k)), &MARGINALS)?;
    let (dy, dlog) = (Inputs::new(3).normal(rows * cols), Inputs::new(4).normal(rows));
    let [tdy, tdlog] = [gpu.tensor(&dy, [rows, cols]).unwrap(), gpu.tensor(&dlog, [rows]).unwrap()];
    let gradient = backward(gpu, &subsets, &tdy, &tdlog).unwrap().read().unwrap();
    let row = |(r, l): (usize, &[f64])| cpu::backward(l, k, &wide(&dy[r * cols..(r + 1) * cols]), f64::from(dlog[r]));
    let want: Vec<f64> = wide(weights).chunks(cols).enumerate().flat_map(row).collect();
    compare(&of("gradient"), &label(gpu), &gradient, &want, &GRADIENT)?;
    // Draws hold k ones, none of them closed; over rows of one law they have its marginals.
    let exact = Tolerance::new(0.0, 0.0, "a count");
    let hot = sample(gpu, &subsets, Key::new(2)).unwrap().read().unwrap();
    let sums: Vec<f32> = hot.chunks(cols).map(|row| row.iter().sum()).collect();
    compare(&of("draws"), &label(gpu), &sums, &vec![k as f64; rows], &exact)?;
    let many = forward(gpu, &gpu.tensor(&weights[..cols].repeat(2000), [2000, cols]).unwrap(), k).unwrap();
    let hot = sample(gpu, &many, Key::new(3)).unwrap().read().unwrap();
    let means: Vec<f32> = (0..cols).map(|c| hot[c..].iter().step_by(cols).sum::<f32>() / 2000.0).collect();
    let spread = Tolerance::new(0.06, 0.0, "5 standard deviations of 2,000 draws");
    compare(&of("mean of draws"), &label(gpu), &means, &cpu::marginals(&wide(&weights[..cols]), k), &spread)?;
    let odd = forward(gpu, &gpu.tensor(&[0.0f32, f32::NEG_INFINITY, f32::NEG_INFINITY], [1, 3]).unwrap(), 2).unwrap();
    let none = sample(gpu, &odd, Key::new(3)).unwrap().read().unwrap();
    compare(&of("impossible draws"), &label(gpu), &none, &[f64::NAN; 3], &exact)?;
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn twin_agrees_with_central_differences() {
    let mut inputs = Inputs::new(1);
    let [l, dy] = [0; 2].map(|_| wide(&inputs.normal(6)));
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    for k in [1, 3, 6] {
        let f = |l: &[f64]| {
            let marginals: f64 = cpu::marginals(l, k).iter().zip(&dy).map(|(p, g)| p * g).sum();
            marginals + 0.7 * cpu::log_sum(l, k)
        };
        assert_gradient("subset", f, &l, &cpu::backward(&l, k, &dy, 0.7), &tolerance);
    }
}

#[test]
fn golden_values() {
    for case in golden("ksubset") {
        let (l, k, id) = (numbers(&case["log_w"]), numbers(&case["k"])[0] as usize, case["id"].as_str().unwrap());
        let log_sum = numbers(&case["log_esp"]);
        let exact = Tolerance::new(1e-12, 1e-10, "f64");
        assert_close_f64("log e_k", id, &[cpu::log_sum(&l, k)], &log_sum, &exact);
        // Some are not known.
        let entries = case["inclusion"].as_array().unwrap();
        let twin = cpu::marginals(&l, k);
        let entry = |(i, value): (usize, &serde_json::Value)| value.as_f64().unwrap_or(twin[i]);
        let inclusion: Vec<f64> = entries.iter().enumerate().map(entry).collect();
        assert_close_f64("marginals", id, &cpu::marginals(&l, k), &inclusion, &exact);
        let covariance = (!case["cov"].is_null()).then(|| numbers(&case["cov"]));
        if let Some(covariance) = &covariance {
            assert_close_f64(
                "covariance",
                id,
                &cpu::covariance(&l, k),
                covariance,
                &Tolerance::new(1e-12, 1e-9, "f64"),
            );
        }
        for gpu in gpus() {
            let n = l.len();
            let rows: Vec<f32> = l.iter().map(|&l| l as f32).collect::<Vec<_>>().repeat(n);
            let subsets = forward(gpu, &gpu.tensor(&rows, [n, n]).unwrap(), k).unwrap();
            compare(id, &label(gpu), &subsets.log_sum.read().unwrap(), &log_sum.repeat(n), &LOG_SUM).unwrap();
            compare(id, &label(gpu), &subsets.marginals.read().unwrap(), &inclusion.repeat(n), &MARGINALS).unwrap();
            if let Some(covariance) = &covariance {
                let identity: Vec<f32> = (0..n * n).map(|e| f32::from(e / n == e % n)).collect();
                let dy = gpu.tensor(&identity, [n, n]).unwrap();
                let rows = backward(gpu, &subsets, &dy, &gpu.zeros([n]).unwrap()).unwrap();
                compare(id, &label(gpu), &rows.read().unwrap(), covariance, &GRADIENT).unwrap();
            }
        }
    }
}

#[test]
fn long_rows() {
    for gpu in gpus() {
        // Equal weights, whose factors round the same way.
        let equal = forward(gpu, &gpu.zeros([1, 15_000]).unwrap(), 30).unwrap().marginals.read().unwrap();
        compare(
            "equal weights",
            &label(gpu),
            &equal,
            &vec![30.0 / 15_000.0; 15_000],
            &Tolerance::new(0.0, 3e-5, "sqrt(n)"),
        )
        .unwrap();
        // Draws of long rows walk tables in parts.
        let long = forward(gpu, &gpu.zeros([2, 15_000]).unwrap(), 2).unwrap();
        let hot = sample(gpu, &long, Key::new(1)).unwrap().read().unwrap();
        let sums: Vec<f32> = hot.chunks(15_000).map(|row| row.iter().sum()).collect();
        compare("draws of long rows", &label(gpu), &sums, &[2.0; 2], &Tolerance::new(0.0, 0.0, "a count")).unwrap();
    }
}

#[test]
fn draws_have_their_law() {
    let (gpu, rows) = (&gpus()[0], 100_000);
    let row = [1.0f32, -0.5, 0.3, -2.0, 0.8];
    let subsets = forward(gpu, &gpu.tensor(&row.repeat(rows), [rows, 5]).unwrap(), 2).unwrap();
    let hot = sample(gpu, &subsets, Key::new(5)).unwrap().read().unwrap();
    let pairs: Vec<(usize, usize)> = (0..5).flat_map(|i| (i + 1..5).map(move |j| (i, j))).collect();
    let mut observed = vec![0u64; pairs.len()];
    for draw in hot.chunks(5) {
        observed[pairs.iter().position(|&(i, j)| draw[i] + draw[j] == 2.0).unwrap()] += 1;
    }
    let law = |scale: f64| {
        let weights: Vec<f64> = pairs.iter().map(|&(i, j)| (f64::from(row[i] + row[j]) * scale).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| rows as f64 * w / sum).collect::<Vec<_>>()
    };
    assert!(chi_square_p(&observed, &law(1.0)) > 1e-3, "{observed:?}");
    assert!(chi_square_p(&observed, &law(1.03)) < 1e-6, "the test can fail");
}

/// Marginals sum to k however long the row and far apart its weights.
#[test]
fn marginals_of_long_rows_sum_to_k() {
    for gpu in gpus() {
        for (cols, k, spread) in [(5000, 64, 3.0f32), (1024, 512, 0.5), (3000, 2999, 30.0), (3000, 7, 80.0)] {
            let weights = Inputs::new(8).uniform(-spread, spread, 2 * cols);
            let subsets = forward(gpu, &gpu.tensor(&weights, [2, cols]).unwrap(), k).unwrap();
            for row in subsets.marginals.read().unwrap().chunks(cols) {
                let sum: f64 = wide(row).iter().sum();
                assert!((sum - k as f64).abs() < 1e-4 * k as f64, "{cols} {k} {spread}: {sum}");
                assert!(row.iter().all(|p| (0.0..=1.0).contains(p)));
            }
        }
    }
}

#[test]
fn bad_arguments_and_empty_batches() {
    let gpu = &gpus()[0];
    let x = gpu.zeros([2, 5]).unwrap();
    for k in [0, 6] {
        assert!(matches!(forward(gpu, &x, k), Err(Error::Argument { argument: "k", .. })), "{k}");
    }
    let none = forward(gpu, &gpu.zeros([0, 5]).unwrap(), 2).unwrap();
    assert!(none.marginals.is_empty() && sample(gpu, &none, Key::new(0)).unwrap().is_empty());
    let nan = forward(gpu, &gpu.tensor(&[0.0, f32::NAN, 1.0], [1, 3]).unwrap(), 2).unwrap();
    assert!(nan.log_sum.read().unwrap()[0].is_nan() && nan.marginals.read().unwrap().iter().all(|p| p.is_nan()));
    let subsets = forward(gpu, &x, 2).unwrap();
    let wrong = gpu.zeros([2]).unwrap();
    assert!(matches!(backward(gpu, &subsets, &wrong, &wrong), Err(Error::Shape { argument: "dmarginals", .. })));
    assert!(matches!(backward(gpu, &subsets, &x, &x), Err(Error::Shape { argument: "dlog_sum", .. })));
    if gpu.is_software() {
        assert!(matches!(forward(gpu, &gpu.zeros([1, 30_000]).unwrap(), 2), Err(Error::TooLarge { .. })));
    }
}
