//! Tests: soft labels by expectation maximisation.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close, assert_close_f64, compare, same_bits};

use super::{Loss, SelfLabels, Settings, cpu, forward};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu, Tensor};

const TOLERANCE: Tolerance = Tolerance::new(
    2e-6,
    2e-5,
    "each iteration brings labels closer, so errors of an iteration (20 ulp of a label, more where Newton ends within 1e-6) do not add up",
);
/// Column means of up to 70,000 labels.
const MEANS: Tolerance = Tolerance::new(1e-6, 1e-5, "sums in four parts of at most some hundred rows each");

/// Rows and groups; the last two take several workgroups, one of them one that is not full.
const SHAPES: &[[usize; 2]] =
    &[[1, 1], [2, 3], [7, 2], [64, 10], [65, 63], [3, 257], [1, 1000], [255, 7], [1000, 20], [9001, 5]];

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "both",
        "labels do not fall into line with the proportions",
        "params.lambda * proportions[c] /",
        "params.lambda * (1.0 + 0.0 * proportions[c]) /",
    ),
    mutant(
        "both",
        "rows are not divided by their sum",
        "reverse4(base, end, c, group) / total",
        "reverse4(base, end, c, group)",
    ),
    mutant(
        "both",
        "a workgroup's sums miss its last rows",
        "let end = select(0u, rows, way",
        "let end = select(0u, rows - 1u, way",
    ),
    mutant(
        "both",
        "the halves of the sums are swapped",
        "gather_columns(invocation, group, 1u - half);",
        "gather_columns(invocation, group, half);",
    ),
    mutant(
        "both",
        "the test of convergence passes too early",
        "change < params.tolerance",
        "change < 10.0 * params.tolerance",
    ),
    mutant("both", "predictions without their floor", "sigma[at.w]), vec4<f32>(FLOOR)", "sigma[at.w]), vec4<f32>(0.0)"),
    mutant("both", "one Newton step", "const NEWTON: u32 = 24u;", "const NEWTON: u32 = 1u;"),
    mutant("both", "Newton's start is above the root", "(t.a - t.b) / t.q", "(t.a + t.b) / t.q"),
    mutant(
        "both",
        "an ended run goes on",
        "work[change_at(half, group)] = -1.0;",
        "work[change_at(half, group)] = 1.0;",
    ),
    mutant(
        "gpu",
        "sums are read before they are complete",
        "scratch[invocation] = sum4(sums);\n    workgroupBarrier();",
        "scratch[invocation] = sum4(sums);",
    ),
    mutant(
        "gpu",
        "columns are added up before rows are done",
        "    storageBarrier();\n    write_columns",
        "    write_columns",
    ),
];

const fn mutant(plan: &'static str, name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "self_label", name, shader: "self_label", from, to, plan, hidden: None }
}

fn settings(loss: Loss, lambda: f32, iterations: u32) -> Settings {
    Settings { loss, lambda, iterations, tolerance: 0.0 }
}

/// Predictions of uneven groups, sure and unsure, the surest with zeros; and uneven proportions.
fn inputs(rows: usize, cols: usize) -> [Vec<f32>; 2] {
    let mut inputs = Inputs::new((rows * 1009 + cols) as u64);
    let mut sigma: Vec<f32> = inputs.normal(rows * cols);
    for (i, row) in sigma.chunks_mut(cols).enumerate() {
        let scale = [0.1, 2.0, 8.0, 60.0][i % 4];
        row.iter_mut().enumerate().for_each(|(k, l)| *l = scale * *l + if k == 0 { 1.0 } else { 0.0 });
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|l| *l = (*l - largest).exp());
        normalise(row);
    }
    let mut proportions = inputs.uniform(0.2, 1.0, cols);
    normalise(&mut proportions);
    [sigma, proportions]
}

fn normalise(row: &mut [f32]) {
    let total: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= total);
}

fn tensors(gpu: &Gpu, sigma: &[f32], proportions: &[f32]) -> [Tensor; 2] {
    let cols = proportions.len();
    [gpu.tensor(sigma, [sigma.len() / cols, cols]).unwrap(), gpu.tensor(proportions, [cols]).unwrap()]
}

fn run(gpu: &Gpu, sigma: &[f32], proportions: &[f32], settings: &Settings) -> SelfLabels {
    let [sigma, proportions] = tensors(gpu, sigma, proportions);
    forward(gpu, &sigma, &proportions, settings).unwrap()
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &[rows, cols] in SHAPES {
        let [sigma, proportions] = inputs(rows, cols);
        for (loss, lambda, iterations) in
            [(Loss::ReverseCrossEntropy, 1.0, 0), (Loss::ReverseCrossEntropy, 2.0, 3), (Loss::Collision, 0.7, 2)]
        {
            let settings = settings(loss, lambda, iterations);
            let what = |name: &str| format!("[{rows}, {cols}] {loss:?} after {iterations}: {name}");
            let got = run(gpu, &sigma, &proportions, &settings);
            let want = cpu::forward(cols, &wide(&sigma), &wide(&proportions), &settings);
            let labels = got.labels.read().unwrap();
            compare(&what("labels"), &label(gpu), &labels, &want.labels, &TOLERANCE)?;
            compare(&what("means"), &label(gpu), &got.means.read().unwrap(), &want.means, &MEANS)?;
            let again = run(gpu, &sigma, &proportions, &settings);
            same_bits(&what("two runs"), &labels, &again.labels.read().unwrap())?;
            same_bits(&what("count"), &[got.iterations().unwrap() as f32], &[iterations as f32])?;
        }
    }
    stops(gpu)
}

/// It ends by itself, where the twin does, and says so: in one workgroup and in several.
fn stops(gpu: &Gpu) -> Result<(), Mismatch> {
    for [rows, cols] in [[64, 10], [9001, 5]] {
        let [sigma, proportions] = inputs(rows, cols);
        let settings = Settings { tolerance: 1e-3, ..settings(Loss::ReverseCrossEntropy, 1.0, 50) };
        let got = run(gpu, &sigma, &proportions, &settings);
        let want = cpu::forward(cols, &wide(&sigma), &wide(&proportions), &settings);
        assert!((2..50).contains(&want.iterations), "{}", want.iterations);
        same_bits("iterations", &[got.iterations().unwrap() as f32], &[want.iterations as f32])?;
        compare("labels at the end", &label(gpu), &got.labels.read().unwrap(), &want.labels, &TOLERANCE)?;
        let change = got.last_change().unwrap();
        assert!(change > 0.0 && change < 1e-3, "{change}");
    }
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    gpus().iter().for_each(|gpu| check(gpu).unwrap());
}

const FIRST: [f64; 4] = [0.9, 0.8, 0.7, 0.6];
const THREE: [f64; 9] = [0.7, 0.2, 0.1, 0.6, 0.3, 0.1, 0.5, 0.25, 0.25];
/// As they are printed; f32 predictions alone bring 3e-8.
const PRINTED: Tolerance = Tolerance::new(6e-7, 1e-6, "six decimals are given");
const TWIN: Tolerance = Tolerance::new(1e-9, 0.0, "nine decimals are given");
const LOSS: Tolerance = Tolerance::new(0.0, 1e-6, "asked for, in f32");

fn two() -> Vec<f64> {
    FIRST.iter().flat_map(|s| [*s, 1.0 - s]).collect()
}

/// The labels of uniform proportions, and their objective in f64. Rows that f32 rounds to a sum of 1 ± 3e-8 are made to sum
/// to 1 first: a lambda of 100 would show it as 3e-6.
fn after(gpu: &Gpu, sigma: &[f64], cols: usize, settings: &Settings) -> (Vec<f32>, f64) {
    let narrow: Vec<f32> = sigma.iter().map(|&s| s as f32).collect();
    let uniform = vec![1.0 / cols as f32; cols];
    let labels = run(gpu, &narrow, &uniform, settings).labels.read().unwrap();
    let mut exact = wide(&labels);
    for row in exact.chunks_mut(cols) {
        let total: f64 = row.iter().sum();
        row.iter_mut().for_each(|y| *y /= total);
    }
    let loss = cpu::objective(cols, sigma, &vec![1.0 / cols as f64; cols], settings, &exact);
    (labels, loss)
}

#[test]
fn the_worked_example() {
    let cases: [(f32, u32, Option<[f64; 4]>, f64); 10] = [
        (1.0, 0, Some(FIRST), 0.671181378),
        (1.0, 1, Some([0.833333, 0.689655, 0.564516, 0.454545]), 0.598070819),
        (1.0, 2, Some([0.825592, 0.682101, 0.560433, 0.454739]), 0.597829395),
        (1.0, 3, Some([0.822206, 0.680175, 0.561076, 0.457648]), 0.597777978),
        (1.0, 5, Some([0.818820, 0.678817, 0.562117, 0.460315]), 0.597753126),
        (1.0, 200, Some([0.816550, 0.678471, 0.562933, 0.461550]), 0.597749108224),
        (100.0, 0, None, 14.911443964),
        (100.0, 1, Some([0.751852, 0.573852, 0.439938, 0.335537]), 0.772725609),
        (100.0, 2, None, 0.670624386),
        (100.0, 3, None, 0.669608494),
    ];
    for (lambda, iterations, want, loss) in cases {
        let settings = settings(Loss::ReverseCrossEntropy, lambda, iterations);
        let twin = cpu::forward(2, &two(), &[0.5; 2], &settings).labels;
        let what = format!("lambda {lambda}, iteration {iterations}");
        if let Some(want) = want {
            let first: Vec<f64> = twin.iter().step_by(2).copied().collect();
            assert_close_f64(&what, "twin", &first, &want, &PRINTED);
        }
        assert_close_f64(&what, "twin", &[cpu::objective(2, &two(), &[0.5; 2], &settings, &twin)], &[loss], &TWIN);
    }
    for gpu in gpus() {
        for (lambda, iterations, want, loss) in cases {
            let settings = settings(Loss::ReverseCrossEntropy, lambda, iterations);
            let (labels, got) = after(gpu, &two(), 2, &settings);
            let what = format!("lambda {lambda}, iteration {iterations}");
            if let Some(want) = want {
                let first: Vec<f32> = labels.iter().step_by(2).copied().collect();
                assert_close(&what, &label(gpu), &first, &want, &PRINTED);
            }
            assert_close_f64(&what, &label(gpu), &[got], &[loss], &LOSS);
        }
    }
}

/// A thousand iterations towards the limit gather the rounding of each.
#[test]
fn the_slow_limit() {
    let want = [0.668366, 0.540453, 0.442230, 0.359401];
    for gpu in gpus() {
        let (labels, loss) = after(gpu, &two(), 2, &settings(Loss::ReverseCrossEntropy, 100.0, 3000));
        let first: Vec<f32> = labels.iter().step_by(2).copied().collect();
        assert_close("limit", &label(gpu), &first, &want, &Tolerance::new(6e-7, 2e-5, "3,000 iterations of 1 ulp"));
        assert_close_f64("loss", &label(gpu), &[loss], &[0.666165397937], &LOSS);
    }
}

#[test]
fn three_groups() {
    for gpu in gpus() {
        let after = |loss, iterations| after(gpu, &THREE, 3, &settings(loss, 1.0, iterations));
        let want = [0.579882, 0.248521, 0.171598, 0.477273, 0.357955, 0.164773, 0.358974, 0.269231, 0.371795];
        assert_close("labels", &label(gpu), &after(Loss::ReverseCrossEntropy, 1).0, &want, &PRINTED);
        for (loss, iterations, want) in [
            (Loss::ReverseCrossEntropy, 0, 1.079296050669),
            (Loss::ReverseCrossEntropy, 1, 0.995336549),
            (Loss::ReverseCrossEntropy, 2, 0.995172417),
            (Loss::ReverseCrossEntropy, 3, 0.995137950),
            (Loss::Collision, 0, 0.957315762),
            (Loss::Collision, 1, 0.927608357),
        ] {
            let what = format!("{loss:?} after {iterations}");
            assert_close_f64(&what, &label(gpu), &[after(loss, iterations).1], &[want], &LOSS);
            let (settings, uniform) = (settings(loss, 1.0, iterations), [1.0 / 3.0; 3]);
            let twin = cpu::forward(3, &THREE, &uniform, &settings).labels;
            let value = cpu::objective(3, &THREE, &uniform, &settings, &twin);
            assert_close_f64(&what, "twin", &[value], &[want], &TWIN);
        }
    }
}

#[test]
fn collision() {
    for gpu in gpus() {
        let after = |iterations| after(gpu, &two(), 2, &settings(Loss::Collision, 1.0, iterations));
        let first: Vec<f32> = after(1).0.iter().step_by(2).copied().collect();
        assert_close("labels", &label(gpu), &first, &[0.880647, 0.754120, 0.603296, 0.417157], &PRINTED);
        for (iterations, want) in [(0, 0.589532802), (1, 0.553041447), (2, 0.545771437), (3, 0.539848855)] {
            assert_close_f64(&format!("after {iterations}"), &label(gpu), &[after(iterations).1], &[want], &LOSS);
        }
        // The limit is a corner, approached slowly.
        let (labels, loss) = after(3000);
        let first: Vec<f32> = labels.iter().step_by(2).copied().collect();
        let near = Tolerance::new(2e-5, 0.0, "labels near a corner shrink as one over the iterations");
        assert_close("limit", &label(gpu), &first, &[1.0, 1.0, 0.643398, 0.0], &near);
        assert_close_f64("limit", &label(gpu), &[loss], &[0.511958094], &Tolerance::new(0.0, 1e-5, "as above"));
    }
}

#[test]
fn the_loss_never_rises_and_rows_stay_on_the_simplex() {
    for gpu in gpus() {
        let [sigma, proportions] = inputs(300, 6);
        for loss in [Loss::ReverseCrossEntropy, Loss::Collision] {
            for lambda in [0.0, 0.1, 1.0, 30.0, 1e4] {
                let mut before = f64::INFINITY;
                for iterations in [0, 1, 2, 3, 5, 9, 20] {
                    let settings = settings(loss, lambda, iterations);
                    let labels = wide(&run(gpu, &sigma, &proportions, &settings).labels.read().unwrap());
                    let floored: Vec<f64> = wide(&sigma).iter().map(|s| s.max(1e-8)).collect();
                    let now = cpu::objective(6, &floored, &wide(&proportions), &settings, &labels);
                    let what = format!("{loss:?}, lambda {lambda}, iteration {iterations}: {before} then {now}");
                    assert!(now <= before + 1e-6 * (1.0 + f64::from(lambda)), "{what}");
                    before = now;
                    for row in labels.chunks(6) {
                        assert!(
                            (row.iter().sum::<f64>() - 1.0).abs() < 1e-6 && row.iter().all(|y| *y >= 0.0),
                            "{what}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn fixed_points() {
    let close = Tolerance::new(2e-7, 1e-6, "an ulp or two");
    for gpu in gpus() {
        // Without a wish for proportions, the labels are the predictions.
        let [sigma, proportions] = inputs(50, 3);
        let got = run(gpu, &sigma, &proportions, &settings(Loss::ReverseCrossEntropy, 0.0, 1)).labels.read().unwrap();
        assert_close("lambda 0", &label(gpu), &got, &wide(&sigma), &close);
        // And so they are where the predictions have the proportions already.
        let sigma = [0.5f32, 0.5, 0.25, 0.75, 0.75, 0.25];
        let got = run(gpu, &sigma, &[0.5, 0.5], &settings(Loss::ReverseCrossEntropy, 5.0, 1)).labels.read().unwrap();
        assert_close("balanced", &label(gpu), &got, &wide(&sigma), &close);
    }
}

#[test]
fn an_empty_group_fills_and_nothing_is_lost_at_large_lambda() {
    for gpu in gpus() {
        let sigma: Vec<f32> = (0..40).flat_map(|i| [1.0 - 1e-3 * i as f32, 1e-3 * i as f32, 0.0]).collect();
        for lambda in [100.0, 1e4] {
            let uniform = [1.0f32 / 3.0; 3];
            let got = run(gpu, &sigma, &uniform, &settings(Loss::ReverseCrossEntropy, lambda, 1000));
            let want =
                cpu::forward(3, &wide(&sigma), &[1.0 / 3.0; 3], &settings(Loss::ReverseCrossEntropy, lambda, 1000));
            let labels = got.labels.read().unwrap();
            assert!(labels.iter().all(|y| y.is_finite() && *y > 0.0), "lambda {lambda}");
            let means = got.means.read().unwrap();
            assert_close("means", &label(gpu), &means, &want.means, &Tolerance::new(1e-4, 0.0, "1,000 iterations"));
            assert!((means[2] - 1.0 / 3.0).abs() < 0.01, "lambda {lambda}: {means:?}");
        }
    }
}

#[test]
fn nan_and_bad_arguments() {
    let gpu = &gpus()[0];
    let [sigma, proportions] = tensors(gpu, &[0.5, 0.5, f32::NAN, 0.5], &[0.5, 0.5]);
    let good = settings(Loss::ReverseCrossEntropy, 1.0, 3);
    assert!(forward(gpu, &sigma, &proportions, &good).unwrap().labels.read().unwrap().iter().any(|y| y.is_nan()));
    let wrong = gpu.zeros([3]).unwrap();
    assert!(matches!(forward(gpu, &sigma, &wrong, &good), Err(Error::Shape { argument: "proportions", .. })));
    assert!(matches!(forward(gpu, &wrong, &wrong, &good), Err(Error::Shape { argument: "sigma", .. })));
    for lambda in [-1.0, f32::NAN, 1e5] {
        let bad = Settings { lambda, ..good };
        assert!(matches!(forward(gpu, &sigma, &proportions, &bad), Err(Error::Argument { argument: "lambda", .. })));
    }
    let bad = Settings { tolerance: f32::NAN, ..good };
    assert!(matches!(forward(gpu, &sigma, &proportions, &bad), Err(Error::Argument { argument: "tolerance", .. })));
    let nothing = forward(gpu, &gpu.zeros([0, 2]).unwrap(), &proportions, &good).unwrap();
    assert!(nothing.labels.is_empty() && nothing.iterations().unwrap() == 0);
}
