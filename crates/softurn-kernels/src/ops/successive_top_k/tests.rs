//! Tests of the relaxed choice by successive softmaxes.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, compare, same_bits};

use super::{backward, cpu, forward};
use crate::ops::{Noise, gumbel_softmax, top_k};
use crate::testing::{golden, gpus, label, numbers, special_matrix, wide};
use crate::{Error, Gpu, Key};

/// Scores are good to 1.6e-5, over T = 0.09, and every step adds the error of the one before.
const FORWARD: Tolerance = Tolerance::new(1e-4, 2e-3, "1.6e-5 in two scores over T = 0.09, in several steps");
const BACKWARD: Tolerance = Tolerance::new(1e-2, 1e-2, "2e-3 in p, times |dy| / T of every step");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "the eighth step in registers is lost",
        "return one_step(state, taken.inverse1.w, taken.rest1.w, inverse);",
        "return state;",
    ),
    mutant(
        "1 - p of the likeliest is 1 - p",
        "let q = select(1.0 - p, vec4<f32>(rest), p > vec4<f32>(0.5));",
        "let q = 1.0 - p;",
    ),
    mutant(
        "1 / T missing from the decay",
        "f_log4(max(q, vec4<f32>(1.2e-38))) * inverse)",
        "f_log4(max(q, vec4<f32>(1.2e-38))))",
    ),
    mutant("the second largest of a four is left out", "+ min(first, second) + sum4(rest)", "+ sum4(rest)"),
    mutant("no new reference", "let faint = sums.total < 1e-25 &&", "let faint = sums.total < -1.0 &&"),
    mutant("a row's NaN is hidden", "if (is_nan(high)) {\n    for", "if (is_nan(high) && row.cols == 0u) {\n    for"),
    mutant("the steps before do not count", "- l * odds(p, rest), inside", ", inside"),
    mutant("the mean is not taken out", "- p * mean) * inverse", ") * inverse"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "successive_top_k", name, shader: "successive_top_k", from, to, plan: "both", hidden: None }
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, cols, k) in [(3, 1, 1), (9, 2, 1), (9, 63, 5), (67, 10, 8), (2, 257, 20)] {
        let mut inputs = Inputs::new(cols as u64);
        let (x, given) = (inputs.uniform(-3.0, 3.0, rows * cols), inputs.normal(rows * cols));
        for temperature in [0.5, 1.0, 1.0 / 11.0, 0.7] {
            agrees(gpu, "random", &x, &given, cols, k, temperature)?;
        }
    }
    // Far apart: weights of later steps are nothing beside those of the first.
    let far: Vec<f32> = (0..40).map(|i| (i % 10) as f32 * -12.0).collect();
    agrees(gpu, "far apart", &far, &[0.0; 40], 10, 4, 0.25)?;
    // So sure that 1 - p is nothing beside 1, but not beside the rest: chosen again by half.
    let sure: Vec<f32> = (0..40).map(|i| (i % 10) as f32 * -20.0).collect();
    agrees(gpu, "far apart", &sure, &[0.0; 40], 10, 3, 1.0)?;
    for (cols, k) in [(1, 1), (7, 2)] {
        let x = special_matrix(cols);
        let noise = Noise::None;
        let y = forward(gpu, &gpu.tensor(&x, [x.len() / cols, cols]).unwrap(), noise, k, 1.0).unwrap().read().unwrap();
        let want = cpu::forward(&wide(&x), &vec![0.0; x.len()], cols, k, 1.0);
        compare(&format!("special rows of {cols}"), &label(gpu), &y, &want, &FORWARD)?;
    }
    Ok(())
}

fn agrees(
    gpu: &Gpu,
    what: &str,
    x: &[f32],
    given: &[f32],
    cols: usize,
    k: usize,
    temperature: f32,
) -> Result<(), Mismatch> {
    let (rows, key) = (x.len() / cols, Key::new(cols as u64));
    let [tx, tgiven] = [x, given].map(|x| gpu.tensor(x, [rows, cols]).unwrap());
    let t = f64::from(temperature);
    let made = gumbel_softmax::cpu::noise(rows, cols, key);
    let dy = Inputs::new(3).normal(x.len());
    let tdy = gpu.tensor(&dy, [rows, cols]).unwrap();
    for (noise, g) in [(Noise::Key(key), made), (Noise::Given(&tgiven), wide(given))] {
        let of = |part: &str| format!("{part} of {what} [{rows}, {cols}], k {k}, temperature {temperature}, {noise:?}");
        let y = forward(gpu, &tx, noise, k, temperature).unwrap().read().unwrap();
        compare(&of("choice"), &label(gpu), &y, &cpu::forward(&wide(x), &g, cols, k, t), &FORWARD)?;
        same_bits(&of("two runs"), &y, &forward(gpu, &tx, noise, k, temperature).unwrap().read().unwrap())?;
        let dx = backward(gpu, &tx, noise, k, temperature, &tdy).unwrap().read().unwrap();
        let want = cpu::backward(&wide(x), &g, cols, k, t, &wide(&dy));
        if what == "far apart" {
            // p / (1 - p) of up to e^48: f64 has no digits left either.
            continue;
        }
        // Steps of elements that are sure amplify; relative to the row's largest gradient.
        for (row, (dx, want)) in dx.chunks(cols).zip(want.chunks(cols)).enumerate() {
            let largest = want.iter().fold(1.0f64, |a, b| a.max(b.abs()));
            let tolerance = Tolerance::new(BACKWARD.abs * largest, BACKWARD.rel, BACKWARD.why);
            compare(&of(&format!("row {row} of the gradient")), &label(gpu), dx, want, &tolerance)?;
        }
    }
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

/// As many turns of loops as a software adapter grants, with logarithms and without.
#[test]
fn many_steps_of_long_rows() {
    let gpu = &gpus()[0];
    let mut inputs = Inputs::new(77);
    let (x, given) = (inputs.uniform(-3.0, 3.0, 2 * 1024), inputs.normal(2 * 1024));
    agrees(gpu, "long", &x, &given, 1024, 64, 0.7).unwrap();
    agrees(gpu, "long", &x, &given, 1024, 64, 1.0).unwrap();
}

#[test]
fn twin_agrees_with_central_differences() {
    let mut inputs = Inputs::new(1);
    let [x, noise, dy] = [0; 3].map(|_| wide(&inputs.normal(12)));
    let tolerance = Tolerance::new(1e-7, 1e-6, "central differences in f64");
    for (k, t) in [(1, 0.5), (3, 3.0), (2, 1.0)] {
        let f = |x: &[f64]| cpu::forward(x, &noise, 4, k, t).iter().zip(&dy).map(|(y, g)| y * g).sum::<f64>();
        assert_gradient("successive_top_k", f, &x, &cpu::backward(&x, &noise, 4, k, t, &dy), &tolerance);
    }
}

#[test]
fn golden_values() {
    for case in golden("relaxed_topk") {
        let [x, y, dy, vjp] = ["keys", "xie_ermon", "cotangent", "xie_ermon_vjp"].map(|name| numbers(&case[name]));
        let (k, t, id) = (numbers(&case["k"])[0] as usize, numbers(&case["tau"])[0], case["id"].as_str().unwrap());
        let (cols, zeros) = (x.len(), vec![0.0; x.len()]);
        let exact = Tolerance::new(1e-12, 1e-10, "f64");
        assert_close_f64("the twin", id, &cpu::forward(&x, &zeros, cols, k, t), &y, &exact);
        let largest = vjp.iter().fold(1.0f64, |a, b| a.max(b.abs()));
        let exact = Tolerance::new(1e-9 * largest, 1e-9, "f64");
        assert_close_f64("the twin's gradient", id, &cpu::backward(&x, &zeros, cols, k, t, &dy), &vjp, &exact);
        let [x32, dy32] = [&x, &dy].map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
        let tolerance = Tolerance::new(2e-6, 2e-6 + 2e-6 / t, "exponents of up to 4 / T, in every step");
        let steep = Tolerance::new((4e-6 + 4e-6 / t) * largest, 1e-4, "the same, of the row's largest gradient");
        for gpu in gpus() {
            let [x, dy] = [&x32, &dy32].map(|x| gpu.tensor(x, [1, cols]).unwrap());
            let got = forward(gpu, &x, Noise::None, k, t as f32).unwrap().read().unwrap();
            compare(id, &label(gpu), &got, &y, &tolerance).unwrap();
            let dx = backward(gpu, &x, Noise::None, k, t as f32, &dy).unwrap().read().unwrap();
            compare(id, &label(gpu), &dx, &vjp, &steep).unwrap();
        }
    }
}

#[test]
fn close_to_zero_temperature_it_is_the_hard_choice_and_rows_sum_to_k() {
    for gpu in gpus() {
        let x = gpu.tensor(&Inputs::new(4).normal(64 * 100), [64, 100]).unwrap();
        let noise = Noise::Key(Key::new(5));
        let hard = top_k::k_hot(gpu, &top_k::forward(gpu, &x, noise, 7).unwrap().indices, 100).unwrap();
        for temperature in [1e-6, 1e-30, 1e-40] {
            let soft = forward(gpu, &x, noise, 7, temperature).unwrap().read().unwrap();
            let differ = soft.iter().zip(hard.read().unwrap()).filter(|(y, h)| (**y - h).abs() > 1e-3).count();
            assert_eq!(differ, 0, "{temperature}");
        }
        for temperature in [0.3, 1.0, 10.0] {
            let y = forward(gpu, &x, noise, 7, temperature).unwrap().read().unwrap();
            assert!(y.chunks(100).all(|row| (row.iter().sum::<f32>() - 7.0).abs() < 1e-4), "{temperature}");
            let ones = gpu.tensor(&vec![1.0f32; 6400], [64, 100]).unwrap();
            let dx = backward(gpu, &x, noise, 7, temperature, &ones).unwrap().read().unwrap();
            assert!(dx.iter().all(|g| g.abs() < 1e-3), "{temperature}");
        }
    }
}

#[test]
fn bad_arguments_and_empty_batches() {
    let gpu = &gpus()[0];
    let x = gpu.zeros([2, 5]).unwrap();
    for k in [0, 6] {
        let result = forward(gpu, &x, Noise::None, k, 1.0);
        assert!(matches!(result, Err(Error::Argument { argument: "k", .. })), "{k}");
    }
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = forward(gpu, &x, Noise::None, 2, temperature);
        assert!(matches!(result, Err(Error::Argument { argument: "temperature", .. })), "{temperature}");
    }
    let none = gpu.zeros([0, 5]).unwrap();
    assert!(forward(gpu, &none, Noise::Key(Key::new(0)), 2, 1.0).unwrap().is_empty());
    assert!(backward(gpu, &none, Noise::Key(Key::new(0)), 2, 1.0, &none).unwrap().is_empty());
    let wrong = gpu.zeros([5, 2]).unwrap();
    assert!(matches!(backward(gpu, &x, Noise::None, 2, 1.0, &wrong), Err(Error::Shape { argument: "dy", .. })));
    if gpu.is_software() {
        let long = gpu.zeros([1, 1 << 20]).unwrap();
        assert!(matches!(forward(gpu, &long, Noise::None, 1000, 1.0), Err(Error::TooLarge { .. })));
    }
}
