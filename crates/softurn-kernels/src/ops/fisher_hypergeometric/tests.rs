//! Tests of the noncentral hypergeometric law.

use std::f32::consts::{LN_2, LN_10};

use softurn_tests::{
    Inputs, Mismatch, Mutant, Tolerance, assert_gradient, chi_square_p, compare, compare_f64, same_bits,
};

use super::cpu::Law;
use super::{Urn, backward, forward, log_prob, log_prob_backward, mean, tabulate};
use crate::shader::Patch;
use crate::testing::{config, gpus, label, open, wide};
use crate::{Error, Gpu, GpuConfig, Key, Plan};

/// Log ratios are sums of three numbers of size 10 and a walk adds up to a hundred of them, each good to 2^-22.
const LOG_PROB: Tolerance = Tolerance::new(3e-5, 4e-6, "a walk of 100 steps, each rounded at size 10: 100 * 2^-22");
/// A mean is an average under probabilities good to `LOG_PROB`, of numbers that spread over a few standard deviations.
const MEAN: Tolerance = Tolerance::new(1e-4, 3e-6, "an average under probabilities good to 3e-5 relative");
/// Relaxed probabilities divide the error of the logits by the temperature, and multiply it by squares of the spread.
const GRADIENT: Tolerance =
    Tolerance::new(4e-3, 4e-4, "variance of the relaxation times the error of its logits over the temperature");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the remaining draws are forgotten in the table", "- ratios[next + s - k - 1u];", "- ratios[next + s - k];"),
    mutant("the average lacks the later groups", "others += f32(s - k + 1u)", "others += 0.0 * f32(s - k + 1u)"),
    mutant(
        "the window stops at once below the mode",
        "while (k > low && log_p > -tail)",
        "while (k > low && log_p > 0.0)",
    ),
    mutant("no sensitivity to the remaining draws", "a += remaining;", "a += 0.0 * remaining;"),
    mutant("the temperature is ignored", "- a) / params.temperature", "- a)"),
    mutant(
        "noise is shared by the groups",
        "vec4<u32>(row, group, k / 4u, STREAM)",
        "vec4<u32>(row, 0u, k / 4u, STREAM)",
    ),
    mutant("score against the wrong mean", "(scored[i] - mean)", "(scored[i] + mean)"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "fisher_hypergeometric", name, shader: "fisher_hypergeometric", from, to, plan: "cpu", hidden: None }
}

/// Sizes, draws, log weights: one group, empty groups, everything drawn, nothing drawn, skewed weights, many groups.
const CASES: &[(&[u32], u32, &[f32])] = &[
    (&[5], 3, &[0.7]),
    (&[5, 7], 6, &[LN_2, 0.0]),
    (&[3, 4, 5], 6, &[0.0, LN_2, -LN_2]),
    (&[3, 0, 5], 4, &[0.3, 2.0, -0.5]),
    (&[3, 4, 5], 12, &[0.1, 0.2, 0.3]),
    (&[3, 4, 5], 0, &[0.1, 0.2, 0.3]),
    (&[40, 30, 50], 70, &[3.0, -2.0, 0.5]),
    (&[60, 60, 60], 54, &[0.0, LN_10, 0.0]),
    (&[32, 32, 32, 32, 32, 32], 32, &[0.0, 0.4, 0.8, 1.2, -1.0, 0.1]),
];

fn law<'a>(sizes: &'a [u32], draws: u32, log_weights: &'a [f64]) -> Law<'a> {
    Law { sizes, draws, log_weights }
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (case, &(sizes, draws, log_weights)) in CASES.iter().enumerate() {
        let (groups, rows) = (sizes.len(), 70);
        let weights = wide(log_weights);
        let law = law(sizes, draws, &weights);
        let urn = Urn::new(gpu, sizes, draws).unwrap();
        let shared = tabulate(gpu, &urn, &gpu.tensor(log_weights, [1, groups]).unwrap()).unwrap();
        let what = |name: &str| format!("{sizes:?} draws {draws}: {name}");
        compare(&what("mean"), &label(gpu), &mean(gpu, &shared).unwrap().read().unwrap(), &law.mean(), &MEAN)?;

        let key = Key::new(case as u64);
        let counts = forward(gpu, &shared, rows, key).unwrap();
        let drawn = counts.read().unwrap();
        let want: Vec<Vec<u32>> = (0..rows).map(|row| law.forward(row, key)).collect();
        let flat: Vec<f64> = want.iter().flatten().map(|&x| f64::from(x)).collect();
        compare(&what("draws"), &label(gpu), &drawn, &flat, &Tolerance::new(0.0, 0.0, "counts are whole"))?;

        let score: Vec<f64> = want.iter().map(|x| law.log_prob(x)).collect();
        compare(
            &what("log_prob"),
            &label(gpu),
            &log_prob(gpu, &shared, &counts).unwrap().read().unwrap(),
            &score,
            &LOG_PROB,
        )?;
        let dscore = Inputs::new(1).normal(rows);
        let got =
            log_prob_backward(gpu, &shared, &counts, &gpu.tensor(&dscore, [rows]).unwrap()).unwrap().read().unwrap();
        let means = law.mean();
        let want_score: Vec<f64> =
            (0..rows * groups).map(|i| f64::from(dscore[i / groups]) * (flat[i] - means[i % groups])).collect();
        compare(&what("log_prob backward"), &label(gpu), &got, &want_score, &MEAN_TIMES_GRADIENT)?;

        let dcounts = Inputs::new(2).normal(rows * groups);
        let tensor = gpu.tensor(&dcounts, [rows, groups]).unwrap();
        for temperature in [0.3f32, 1.0, 4.0] {
            let run = |tables: &_| backward(gpu, tables, &counts, &tensor, key, temperature).unwrap().read().unwrap();
            let got = run(&shared);
            let want: Vec<f64> = (0..rows)
                .flat_map(|row| {
                    let dx = wide(&dcounts[row * groups..(row + 1) * groups]);
                    law.backward(row, &want[row], &dx, key, f64::from(temperature))
                })
                .collect();
            compare(&what(&format!("backward at {temperature}")), &label(gpu), &got, &want, &GRADIENT)?;
            same_bits(&what("two runs"), &got, &run(&shared))?;
            // Weights per row, all alike: the same tables, many times.
            let repeated =
                tabulate(gpu, &urn, &gpu.tensor(&log_weights.repeat(rows), [rows, groups]).unwrap()).unwrap();
            same_bits(&what("weights per row"), &got, &run(&repeated))?;
        }
    }
    Ok(())
}

const MEAN_TIMES_GRADIENT: Tolerance = Tolerance::new(4e-4, 3e-6, "the mean's error times |dscore| <= 4");

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn facts_of_the_method_page() {
    // Section 7.1 and 7.2: enumeration and scipy's nchypergeom_fisher(12, 5, 6, 2).
    let tight = Tolerance::new(1e-11, 1e-11, "printed to 12 digits");
    let two = [2f64.ln(), 0.0];
    let uni = law(&[5, 7], 6, &two);
    let got: Vec<f64> = (0..6).map(|k| uni.log_prob(&[k, 6 - k])).collect();
    let want = [-6.805722553417, -3.404525171755, -1.507405186869, -0.814258006309, -1.325083630075, -3.339986650617];
    compare_f64("7.1", "twin", &got, &want, &tight).unwrap();
    compare_f64("7.1 mean", "twin", &uni.mean()[..1], &[3.045404208195], &tight).unwrap();
    let weights = [0.0, 2f64.ln(), 0.5f64.ln()];
    let multi = law(&[3, 4, 5], 6, &weights);
    let got: Vec<f64> = [[1, 3, 2], [3, 3, 0], [0, 4, 2], [2, 2, 2]].iter().map(|x| multi.log_prob(x)).collect();
    let want = [-1.573405860094135, -3.5883088806364, -3.36516532932219, -1.861087932545916];
    compare_f64("7.2", "twin", &got, &want, &tight).unwrap();
    compare_f64("7.2 mean", "twin", &multi.mean(), &[1.5509030533733, 2.78243027996, 1.6666666666667], &tight).unwrap();
    // 7.3: the device at the size of the reference experiment.
    for gpu in gpus() {
        let urn = Urn::new(gpu, &[200; 3], 180).unwrap();
        let tables = tabulate(gpu, &urn, &gpu.tensor(&[0.0f32, 10f32.ln(), 0.0], [1, 3]).unwrap()).unwrap();
        let got =
            log_prob(gpu, &tables, &gpu.tensor(&[28.0f32, 124.0, 28.0], [1, 3]).unwrap()).unwrap().read().unwrap();
        compare("7.3", &label(gpu), &got, &[-4.6742118829], &LOG_PROB).unwrap();
        let got = mean(gpu, &tables).unwrap().read().unwrap();
        compare(
            "7.3 mean",
            &label(gpu),
            &got,
            &[27.967, 124.067, 27.967],
            &Tolerance::new(6e-4, 0.0, "printed to 3 digits"),
        )
        .unwrap();
    }
}

#[test]
fn twin_agrees_with_central_differences() {
    // The score's gradient, and Cov = dE[x] / dlog w through the conditional means.
    let weights = [0.2, -0.1, 0.4];
    let x = [1, 3, 2];
    let means = law(&[3, 4, 5], 6, &weights).mean();
    let score: Vec<f64> = (0..3).map(|j| f64::from(x[j]) - means[j]).collect();
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    assert_gradient("score", |w| law(&[3, 4, 5], 6, w).log_prob(&x), &weights, &score, &tolerance);
}

#[test]
fn straight_through_gradient_is_the_exact_covariance_on_average() {
    // m = [200]*3, n = 180, w = (1, 10, 1), section 1.4: 4,096 draws at temperature 1, entries above 1 within 5 %.
    let covariance = [[18.01, -11.94, -6.07], [-11.94, 23.88, -11.94], [-6.07, -11.94, 18.01]];
    for gpu in gpus() {
        let rows = 4096;
        let urn = Urn::new(gpu, &[200; 3], 180).unwrap();
        let tables = tabulate(gpu, &urn, &gpu.tensor(&[0.0f32, 10f32.ln(), 0.0], [1, 3]).unwrap()).unwrap();
        let key = Key::new(11);
        let counts = forward(gpu, &tables, rows, key).unwrap();
        for (i, want) in covariance.iter().enumerate() {
            let dx: Vec<f32> = (0..rows * 3).map(|at| f32::from(u8::from(at % 3 == i))).collect();
            let dw = backward(gpu, &tables, &counts, &gpu.tensor(&dx, [rows, 3]).unwrap(), key, 1.0).unwrap();
            let dw = dw.read().unwrap();
            let mean: Vec<f32> = (0..3)
                .map(|j| (0..rows).map(|row| f64::from(dw[row * 3 + j])).sum::<f64>() as f32 / rows as f32)
                .collect();
            compare(&format!("Jacobian row {i}"), &label(gpu), &mean, want, &Tolerance::new(0.0, 0.05, "Monte Carlo"))
                .unwrap();
            for row in dw.chunks(3) {
                assert!(row.iter().sum::<f32>().abs() < 1e-3, "scaling all weights must change nothing: {row:?}");
            }
        }
    }
}

#[test]
fn draws_follow_the_exact_law() {
    let (sizes, draws, weights) = ([3u32, 4, 5], 6u32, [0.0f32, 1.2, -0.7]);
    let wide_weights = wide(&weights);
    let law = law(&sizes, draws, &wide_weights);
    let mut support = Vec::new();
    for a in 0..=3 {
        for b in 0..=4 {
            if a + b <= 6 && 6 - a - b <= 5 {
                support.push([a, b, 6 - a - b]);
            }
        }
    }
    for (gpu, seed) in gpus().iter().zip([1, 2]) {
        let rows = 100_000;
        let urn = Urn::new(gpu, &sizes, draws).unwrap();
        let tables = tabulate(gpu, &urn, &gpu.tensor(&weights, [1, 3]).unwrap()).unwrap();
        let counts = forward(gpu, &tables, rows, Key::new(seed)).unwrap().read().unwrap();
        let mut observed = vec![0u64; support.len()];
        for x in counts.chunks(3) {
            let x = [x[0] as u32, x[1] as u32, x[2] as u32];
            observed[support.iter().position(|y| *y == x).expect("a draw inside the support")] += 1;
        }
        let expected: Vec<f64> = support.iter().map(|x| rows as f64 * law.log_prob(x).exp()).collect();
        assert!((expected.iter().sum::<f64>() / rows as f64 - 1.0).abs() < 1e-12);
        let p = chi_square_p(&observed, &expected);
        assert!(p > 1e-3, "chi-square p = {p}");
        // The test can fail: another law is rejected.
        let uniform = vec![rows as f64 / support.len() as f64; support.len()];
        assert!(chi_square_p(&observed, &uniform) < 1e-9);
    }
}

#[test]
fn outside_the_support_and_nan() {
    for gpu in gpus() {
        let urn = Urn::new(gpu, &[3, 4, 5], 6).unwrap();
        let tables = tabulate(gpu, &urn, &gpu.zeros([1, 3]).unwrap()).unwrap();
        let x = [4.0f32, 1.0, 1.0, -1.0, 4.0, 3.0, 1.5, 2.5, 2.0, 1.0, 1.0, 1.0, f32::NAN, 3.0, 3.0, 3.0, 3.0, 0.0];
        let score = log_prob(gpu, &tables, &gpu.tensor(&x, [6, 3]).unwrap()).unwrap().read().unwrap();
        assert!(score[..5].iter().all(|&s| s == f32::NEG_INFINITY), "{score:?}");
        assert!(score[5].is_finite());
        let bad = tabulate(gpu, &urn, &gpu.tensor(&[0.0, f32::NAN, 0.0], [1, 3]).unwrap()).unwrap();
        assert!(forward(gpu, &bad, 2, Key::new(0)).unwrap().read().unwrap().iter().all(|x| x.is_nan()));
        assert!(
            log_prob(gpu, &bad, &gpu.tensor(&[3.0f32, 3.0, 0.0], [1, 3]).unwrap()).unwrap().read().unwrap()[0].is_nan()
        );
        assert!(mean(gpu, &bad).unwrap().read().unwrap().iter().all(|x| x.is_nan()));
    }
}

#[test]
fn bad_arguments_and_empty_batches() {
    let gpu = &gpus()[0];
    assert!(matches!(Urn::new(gpu, &[], 0), Err(Error::Argument { argument: "sizes", .. })));
    assert!(matches!(Urn::new(gpu, &[2, 3], 6), Err(Error::Argument { argument: "draws", .. })));
    assert!(matches!(Urn::new(gpu, &[1 << 23, 1 << 23], 6), Err(Error::Argument { argument: "sizes", .. })));
    // 600 groups of 50 need more loop turns than a software adapter grants: an error, not a wrong number.
    if gpu.is_software() {
        let urn = Urn::new(gpu, &[50; 600], 50).unwrap();
        let tables = tabulate(gpu, &urn, &gpu.zeros([1, 600]).unwrap()).unwrap();
        assert!(matches!(forward(gpu, &tables, 1, Key::new(0)), Err(Error::TooLarge { .. })));
    }
    let urn = Urn::new(gpu, &[2, 3], 4).unwrap();
    assert!(matches!(
        tabulate(gpu, &urn, &gpu.zeros([1, 3]).unwrap()),
        Err(Error::Shape { argument: "log_weights", .. })
    ));
    let tables = tabulate(gpu, &urn, &gpu.zeros([2, 2]).unwrap()).unwrap();
    assert!(matches!(forward(gpu, &tables, 3, Key::new(0)), Err(Error::Argument { argument: "rows", .. })));
    let shared = tabulate(gpu, &urn, &gpu.zeros([1, 2]).unwrap()).unwrap();
    let none = forward(gpu, &shared, 0, Key::new(0)).unwrap();
    assert!(none.is_empty() && log_prob(gpu, &shared, &none).unwrap().is_empty());
    let counts = forward(gpu, &shared, 3, Key::new(0)).unwrap();
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = backward(gpu, &shared, &counts, &counts, Key::new(0), temperature);
        assert!(matches!(result, Err(Error::Argument { argument: "temperature", .. })));
    }
}

/// `log P` the plain way, for comparison: every number an f32, binomials from a table of log-factorials.
fn plain_log_prob(sizes: &[u32], draws: u32, log_weights: &[f32], rows: &[Vec<u32>]) -> Vec<f64> {
    let mut exact = 0f64;
    let mut factorials = vec![0f32];
    for i in 1..=*sizes.iter().max().unwrap() {
        exact += f64::from(i).ln();
        factorials.push(exact as f32);
    }
    let term = |p: usize, k: usize| {
        let m = sizes[p] as usize;
        factorials[m] - factorials[k] - factorials[m - k] + k as f32 * log_weights[p]
    };
    let mut z = vec![f32::NEG_INFINITY; draws as usize + 1];
    z[0] = 0.0;
    for p in (0..sizes.len()).rev() {
        z = (0..z.len())
            .map(|s| {
                let terms: Vec<f32> = (0..=s.min(sizes[p] as usize)).map(|k| term(p, k) + z[s - k]).collect();
                let largest = terms.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                if largest == f32::NEG_INFINITY {
                    return largest;
                }
                largest + terms.iter().map(|t| (t - largest).exp()).sum::<f32>().ln()
            })
            .collect();
    }
    let row = |x: &Vec<u32>| x.iter().enumerate().map(|(p, &k)| term(p, k as usize)).sum::<f32>();
    rows.iter().map(|x| f64::from(row(x) - z[draws as usize])).collect()
}

/// Prints the figures of docs/numerics.md: errors of log-probabilities and means, and sums of rows of gradients.
#[test]
#[ignore = "prints figures; asserts nothing that other tests do not"]
fn numerics_report() {
    let gpu = &gpus()[0];
    println!("{}, {}", label(gpu), gpu.capabilities().driver);
    let worst = |got: &[f64], want: &[f64]| got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let tens: Vec<f32> = (1..=10u8).map(|w| f32::from(w).ln()).collect();
    let cases: [(&str, Vec<u32>, u32, Vec<f32>); 2] = [
        ("m = 3 x 200, n = 180, w = 1, 10, 1", vec![200; 3], 180, vec![0.0, 10f32.ln(), 0.0]),
        ("m = 10 x 256, n = 256, w = 1 .. 10", vec![256; 10], 256, tens),
    ];
    for (name, sizes, draws, log_weights) in cases {
        let (groups, rows, key) = (sizes.len(), 512, Key::new(3));
        let weights = wide(&log_weights);
        let law = law(&sizes, draws, &weights);
        let z = law.log_suffix()[0][draws as usize];
        let exact = |x: &Vec<u32>| {
            let terms = x.iter().enumerate().map(|(p, &k)| {
                let choose: f64 = (1..=k).map(|i| (f64::from(sizes[p] - k + i) / f64::from(i)).ln()).sum();
                choose + f64::from(k) * weights[p]
            });
            terms.sum::<f64>() - z
        };
        let urn = Urn::new(gpu, &sizes, draws).unwrap();
        let tables = tabulate(gpu, &urn, &gpu.tensor(&log_weights, [1, groups]).unwrap()).unwrap();
        let drawn = forward(gpu, &tables, rows, key).unwrap().read().unwrap();
        let draw: Vec<Vec<u32>> = drawn.chunks(groups).map(|x| x.iter().map(|&x| x as u32).collect()).collect();
        // Corners, far from the mode: all draws from one group, as far as it goes.
        let corner = |first: usize| {
            let mut left = draws;
            let mut x = vec![0; groups];
            for p in (first..groups).chain(0..first) {
                x[p] = left.min(sizes[p]);
                left -= x[p];
            }
            x
        };
        let corners: Vec<Vec<u32>> = (0..groups).map(corner).collect();
        for (what, x) in [("draws", draw), ("corners", corners)] {
            let flat: Vec<f32> = x.iter().flatten().map(|&x| x as f32).collect();
            let counts = gpu.tensor(&flat, [x.len(), groups]).unwrap();
            let want: Vec<f64> = x.iter().map(exact).collect();
            let got = wide(&log_prob(gpu, &tables, &counts).unwrap().read().unwrap());
            let lowest = want.iter().copied().fold(0.0, f64::min);
            let plain = worst(&plain_log_prob(&sizes, draws, &log_weights, &x), &want);
            println!(
                "{name}: log_prob of {} {what} down to {lowest:.1}: plain f32 {plain:.1e} | ours {:.1e}",
                x.len(),
                worst(&got, &want)
            );
        }
        let got = wide(&mean(gpu, &tables).unwrap().read().unwrap());
        println!("{name}: mean {:.1e}", worst(&got, &law.mean()));
    }

    // Gradients relative to 0 instead of the centre: sums of rows, which should be 0.
    let absolute = [("(f32(k) - f32(middle)) * delta", "f32(k) * delta"), (" - table_of_means[at - middle])", ")")];
    let patches = absolute.map(|(from, to)| Patch { shader: "fisher_hypergeometric", from, to }).to_vec();
    let before = open(GpuConfig { patches, plan: Some(Plan::Cpu), ..config() });
    for (name, gpu) in [("relative to 0", &before), ("relative to the centre", gpu)] {
        let (rows, key) = (4096, Key::new(11));
        let urn = Urn::new(gpu, &[200; 3], 180).unwrap();
        let tables = tabulate(gpu, &urn, &gpu.tensor(&[0.0f32, 10f32.ln(), 0.0], [1, 3]).unwrap()).unwrap();
        let counts = forward(gpu, &tables, rows, key).unwrap();
        let mut largest = 0f32;
        for i in 0..3 {
            let dx: Vec<f32> = (0..rows * 3).map(|at| f32::from(u8::from(at % 3 == i))).collect();
            let dw = backward(gpu, &tables, &counts, &gpu.tensor(&dx, [rows, 3]).unwrap(), key, 1.0).unwrap();
            largest = dw.read().unwrap().chunks(3).map(|row| row.iter().sum::<f32>().abs()).fold(largest, f32::max);
        }
        println!("gradients {name}: largest sum of a row {largest:.1e}");
    }
}
