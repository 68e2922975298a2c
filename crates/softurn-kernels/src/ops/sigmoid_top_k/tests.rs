//! Tests of the relaxed choice by sigmoids.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, compare, same_bits};

use super::{backward, cpu, forward};
use crate::ops::{Noise, gumbel_softmax, top_k};
use crate::testing::{golden, gpus, label, numbers, special_matrix, wide};
use crate::{Error, Gpu, Key};

/// Scores are good to 1.3e-5 + 3e-6 and so is their distance to λ, over T = 0.3; y moves by a quarter of that.
const FORWARD: Tolerance = Tolerance::new(3e-5, 1.2e-4, "1.6e-5 in each of two scores, over T = 0.3");
const BACKWARD: Tolerance = Tolerance::new(4e-4, 4e-4, "1.2e-4 in y and in the mean, |dy| / T below 12");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the sum is one too large", "let k = params.k;", "let k = params.k + 1.0;"),
    mutant("Newton's step from the wrong place", "next.mu = search.mu + f_log(", "next.mu = search.low + f_log("),
    mutant(
        "elements of no mass are chosen",
        "p = select(vec4<f32>(0.0), sigmoid4((z - origin) - mu), finite4(z))",
        "p = sigmoid4((z - origin) - mu) + select(vec4<f32>(0.5), vec4<f32>(0.0), finite4(z))",
    ),
    mutant("all of a row are not all", "let all = k >= count;", "let all = k > count + 1.0;"),
    Mutant { plan: "gpu", ..mutant("too few halves of an interval", "if (digits) {", "if (false) {") },
    mutant("numbers that overflow", "vec4<f32>(-5e37), vec4<f32>(5e37)", "vec4<f32>(-3e38), vec4<f32>(3e38)"),
    mutant("NaN hidden", "if (is_nan(high)) { p = vec4<f32>(high); }", ""),
    mutant("the gradient's mean is not taken out", "(dy[e] - mean)", "(dy[e])"),
    mutant("temperature missing in backward", "(dy[e] - mean) * inverse", "(dy[e] - mean)"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "sigmoid_top_k", name, shader: "sigmoid_top_k", from, to, plan: "both", hidden: None }
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, cols, k) in
        [(3, 1, 1), (65, 2, 1), (70, 63, 5), (300, 10, 8), (67, 257, 64), (3, 2047, 3), (2, 5000, 4999)]
    {
        let mut inputs = Inputs::new(cols as u64);
        let (x, given) = (inputs.uniform(-20.0, 20.0, rows * cols), inputs.normal(rows * cols));
        for temperature in [0.3, 7.0] {
            agrees(gpu, "random", &x, &given, cols, k, temperature)?;
        }
    }
    for (cols, k) in [(1, 1), (7, 3), (257, 40)] {
        let x = special_matrix(cols);
        agrees(gpu, "special rows", &x, &Inputs::new(5).normal(x.len()), cols, k, 0.5)?;
    }
    equals_share_what_is_left(gpu)
}

/// However cold it is, and however far apart they are.
fn equals_share_what_is_left(gpu: &Gpu) -> Result<(), Mismatch> {
    for (cols, k) in [(9, 3), (100, 30), (300, 60)] {
        let x: Vec<f32> = Inputs::new(6).normal(20 * cols).iter().map(|x| x.round()).collect();
        let far: Vec<f32> = x.iter().map(|x| x * 1e30).collect();
        for (what, x) in [("ties", x), ("ties far apart", far)] {
            let x = gpu.tensor(&x, [20, cols]).unwrap();
            for temperature in [1e-3, 1e-10, 1e-20, 1e-45] {
                let y = forward(gpu, &x, Noise::None, k, temperature).unwrap().read().unwrap();
                let sums: Vec<f32> = wide(&y).chunks(cols).map(|row| row.iter().sum::<f64>() as f32).collect();
                let tolerance = Tolerance::new(0.0, 3e-5, "near 1000 a step of λ / T is 6e-5");
                let what = format!("sum of {what} [20, {cols}], k {k}, temperature {temperature}");
                compare(&what, &label(gpu), &sums, &[k as f64; 20], &tolerance)?;
            }
        }
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
    let none = vec![0.0; x.len()];
    let made = gumbel_softmax::cpu::noise(rows, cols, key);
    for (noise, g) in [(Noise::None, none), (Noise::Key(key), made), (Noise::Given(&tgiven), wide(given))] {
        let of = |part: &str| format!("{part} of {what} [{rows}, {cols}], k {k}, temperature {temperature}, {noise:?}");
        let result = forward(gpu, &tx, noise, k, temperature).unwrap();
        let y = result.read().unwrap();
        let want = cpu::forward(&wide(x), &g, cols, k as f64, t);
        compare(&of("choice"), &label(gpu), &y, &want, &FORWARD)?;
        same_bits(&of("two runs"), &y, &forward(gpu, &tx, noise, k, temperature).unwrap().read().unwrap())?;
        let sums = |y: &[f64]| -> Vec<f64> { y.chunks(cols).map(|row| row.iter().sum()).collect() };
        let got: Vec<f32> = sums(&wide(&y)).iter().map(|&s| s as f32).collect();
        compare(&of("sum"), &label(gpu), &got, &sums(&want), &Tolerance::new(2e-5, 2e-6, "rounding of y"))?;
        let dy = Inputs::new(3).normal(x.len());
        let dx = backward(gpu, &result, &gpu.tensor(&dy, [rows, cols]).unwrap(), temperature).unwrap().read().unwrap();
        compare(&of("backward"), &label(gpu), &dx, &cpu::backward(&want, &wide(&dy), cols, t), &BACKWARD)?;
    }
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
    let [x, noise, dy] = [0; 3].map(|_| wide(&inputs.normal(12)));
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    for (k, t) in [(1.0, 0.5), (3.0, 3.0)] {
        let forward = |x: &[f64]| cpu::forward(x, &noise, 4, k, t);
        let f = |x: &[f64]| forward(x).iter().zip(&dy).map(|(y, g)| y * g).sum::<f64>();
        assert_gradient("sigmoid_top_k", f, &x, &cpu::backward(&forward(&x), &dy, 4, t), &tolerance);
    }
}

#[test]
fn golden_values() {
    let mut compared = 0;
    for case in golden("relaxed_topk").iter().filter(|case| case.get("sigmoid_topk").is_some()) {
        let [x, y, dy, vjp] =
            ["keys", "sigmoid_topk", "cotangent", "sigmoid_topk_vjp"].map(|name| numbers(&case[name]));
        let (k, t, id) = (numbers(&case["k"])[0], numbers(&case["tau"])[0], case["id"].as_str().unwrap());
        compared += 1;
        let zeros = vec![0.0; x.len()];
        let exact = Tolerance::new(1e-13, 1e-10, "f64");
        let twin = cpu::forward(&x, &zeros, x.len(), k, t);
        assert_close_f64("the twin", id, &twin, &y, &exact);
        let exact = Tolerance::new(1e-10, 1e-10, "f64");
        assert_close_f64("the twin's gradient", id, &cpu::backward(&twin, &dy, x.len(), t), &vjp, &exact);
        let [x32, dy32] = [&x, &dy].map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
        // Exponents of up to 4 / T are rounded at 2^-24, twice.
        let tolerance = Tolerance::new(1e-6, 1e-6 + 1e-6 / t, "rounding of exponents");
        let steep = Tolerance::new(3e-6 / t, (1e-6 + 1e-6 / t) * 2.0, "the same in two factors, over T");
        for gpu in gpus() {
            let [x, dy] = [&x32, &dy32].map(|x| gpu.tensor(x, [1, x.len()]).unwrap());
            let got = forward(gpu, &x, Noise::None, k as usize, t as f32).unwrap();
            compare(id, &label(gpu), &got.read().unwrap(), &y, &tolerance).unwrap();
            let dx = backward(gpu, &got, &dy, t as f32).unwrap().read().unwrap();
            compare(id, &label(gpu), &dx, &vjp, &steep).unwrap();
        }
    }
    assert!(compared >= 15, "{compared}");
}

#[test]
fn close_to_zero_temperature_it_is_the_hard_choice() {
    for gpu in gpus() {
        let x = gpu.tensor(&Inputs::new(4).normal(64 * 100), [64, 100]).unwrap();
        let noise = Noise::Key(Key::new(5));
        for temperature in [1e-6, 1e-30] {
            let soft = forward(gpu, &x, noise, 7, temperature).unwrap().read().unwrap();
            let hard = top_k::k_hot(gpu, &top_k::forward(gpu, &x, noise, 7).unwrap().indices, 100).unwrap();
            let differ = soft.iter().zip(hard.read().unwrap()).filter(|(y, h)| (**y - h).abs() > 1e-3).count();
            assert_eq!(differ, 0, "{temperature}");
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
    assert!(forward(gpu, &gpu.zeros([0, 5]).unwrap(), Noise::Key(Key::new(0)), 2, 1.0).unwrap().is_empty());
    let wrong = gpu.zeros([5, 2]).unwrap();
    assert!(matches!(backward(gpu, &x, &wrong, 1.0), Err(Error::Shape { argument: "dy", .. })));
    assert!(matches!(forward(gpu, &x, Noise::Given(&wrong), 2, 1.0), Err(Error::Shape { argument: "noise", .. })));
}
