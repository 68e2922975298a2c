//! Tests of softmax and log-softmax.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, compare, same_bits};

use super::{backward, backward_log, cpu, forward, forward_log};
use crate::testing::{golden, gpus, label, numbers, special_matrix, thirds, wide};
use crate::{Error, Gpu, Result, Tensor};

/// The difference of logits below 20 over temperatures from 0.5 is exact to 80 · 2^-24, and counts in the exponent
/// only where the probability is tiny; the sum's roundings come on top.
const TOLERANCE: Tolerance = Tolerance::new(1e-37, 1e-5, "80 · 2^-24 in the exponent, and the sum's roundings");
/// As for the logarithm of a sum of exponentials.
const LOG: Tolerance = Tolerance::new(4e-6, 4e-7, "the relative error of the sum, absolute in its logarithm");
/// `dy - Σ y dy` cancels: absolute error of the sum (|dy| below 5, temperature from 0.5).
const BACKWARD: Tolerance = Tolerance::new(1e-5, 1e-5, "|dy| / T = 10 times the roundings of a sum of 1000 terms");

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        op: "softmax",
        name: "maximum not taken out",
        shader: "softmax",
        from: "high = row_max(max4(part.high), local);",
        to: "high = 0.0;",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "softmax",
        name: "the third column of a last four that is not whole left out",
        shader: "softmax",
        from: "(c + 2u < end) { y[",
        to: "(c + 3u < end) { y[",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "softmax",
        name: "temperature missing in backward",
        shader: "softmax",
        from: "d /= temperature;",
        to: "",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "softmax",
        name: "a lane's own sum in place of the row's",
        shader: "softmax",
        from: "row_sum(sum_below(part, high, params.temperature), local)",
        to: "sum_below(part, high, params.temperature)",
        plan: "gpu",
        hidden: None,
    },
    Mutant {
        op: "softmax",
        name: "all -inf rows made uniform",
        shader: "softmax",
        from: "let nothing = high_and_sum.x == minus_infinity();",
        to: "let nothing = false;",
        plan: "cpu",
        hidden: None,
    },
    Mutant {
        op: "softmax",
        name: "wrong sign of the sum in backward",
        shader: "softmax",
        from: "p * (g - sum)",
        to: "p * (g + sum)",
        plan: "gpu",
        hidden: None,
    },
];

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> std::result::Result<(), Mismatch> {
    for (rows, cols) in [(3, 1), (65, 2), (1, 63), (700, 7), (3, 6), (130, 64), (67, 257), (2, 1000)] {
        for temperature in [0.5, 1.0, 7.0] {
            let mut inputs = Inputs::new(cols as u64);
            let (x, dy) = (inputs.uniform(-20.0, 20.0, rows * cols), inputs.normal(rows * cols));
            agrees(gpu, "random", &x, &dy, cols, temperature)?;
            if temperature == 1.0 {
                continue;
            }
            for op in [forward, forward_log] {
                let run = |part: &[f32]| {
                    let x = gpu.tensor(part, [part.len() / cols, cols]).unwrap();
                    op(gpu, &x, temperature).unwrap().read().unwrap()
                };
                let whole = run(&x);
                same_bits("second run", &whole, &run(&x))?;
                let split = thirds(rows).into_iter().flat_map(|part| run(&x[part.start * cols..part.end * cols]));
                same_bits("split in three", &whole, &split.collect::<Vec<_>>())?;
            }
        }
    }
    for cols in [1, 7, 257] {
        let x = special_matrix(cols);
        for temperature in [1e-30, 0.5, 1e30] {
            agrees(gpu, "special rows", &x, &Inputs::new(3).normal(x.len()), cols, temperature)?;
        }
    }
    Ok(())
}

fn agrees(
    gpu: &Gpu,
    what: &str,
    x: &[f32],
    dy: &[f32],
    cols: usize,
    temperature: f32,
) -> std::result::Result<(), Mismatch> {
    let shape = [x.len() / cols, cols];
    let (tx, tdy) = (gpu.tensor(x, shape).unwrap(), gpu.tensor(dy, shape).unwrap());
    let t = f64::from(temperature);
    // Tiny temperatures: gradients are compared in units of 1 / T.
    let unit = (1.0 / t).clamp(1.0, f64::INFINITY);
    let scaled = Tolerance { abs: BACKWARD.abs * unit, ..BACKWARD };
    let what = |part: &str| format!("{part} of {what} {shape:?}, temperature {temperature}");
    let read = |tensor: Result<Tensor>| tensor.unwrap().read().unwrap();

    let y = forward(gpu, &tx, temperature).unwrap();
    compare(&what("softmax"), &label(gpu), &y.read().unwrap(), &cpu::forward(&wide(x), cols, t), &TOLERANCE)?;
    let dx = read(backward(gpu, &y, &tdy, temperature));
    let want = cpu::backward(&wide(&y.read().unwrap()), &wide(dy), cols, t);
    compare(&what("backward"), &label(gpu), &dx, &want, &scaled)?;

    let y = forward_log(gpu, &tx, temperature).unwrap();
    compare(&what("log-softmax"), &label(gpu), &y.read().unwrap(), &cpu::forward_log(&wide(x), cols, t), &LOG)?;
    let dx = read(backward_log(gpu, &y, &tdy, temperature));
    let want = cpu::backward_log(&wide(&y.read().unwrap()), &wide(dy), cols, t);
    // The gradients of a row are sums of up to 1000 gradients of size one.
    let scaled = Tolerance { abs: 3.0 * scaled.abs, ..scaled };
    compare(&what("backward of the logarithm"), &label(gpu), &dx, &want, &scaled)?;
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
    let (x, dy) = (wide(&Inputs::new(5).normal(12)), wide(&Inputs::new(6).normal(12)));
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    for t in [0.5, 3.0] {
        let dot = |y: Vec<f64>| y.iter().zip(&dy).map(|(y, g)| y * g).sum();
        let dx = cpu::backward(&cpu::forward(&x, 4, t), &dy, 4, t);
        assert_gradient("softmax", |x| dot(cpu::forward(x, 4, t)), &x, &dx, &tolerance);
        let dx = cpu::backward_log(&cpu::forward_log(&x, 4, t), &dy, 4, t);
        assert_gradient("log-softmax", |x| dot(cpu::forward_log(x, 4, t)), &x, &dx, &tolerance);
    }
}

#[test]
fn golden_values() {
    let exact = Tolerance::new(1e-300, 1e-13, "f64");
    for case in golden("log_softmax") {
        let (x, y, log_y) = (numbers(&case["x"]), numbers(&case["softmax"]), numbers(&case["log_softmax"]));
        assert_close_f64("the twin", "", &cpu::forward(&x, x.len(), 1.0), &y, &exact);
        // Near 0 a logarithm is a difference of numbers near 1.
        let log_exact = Tolerance::new(1e-15, 1e-13, "f64");
        assert_close_f64("the twin", "", &cpu::forward_log(&x, x.len(), 1.0), &log_y, &log_exact);
        let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        for gpu in gpus() {
            let tx = gpu.tensor(&x, [x.len()]).unwrap();
            let got = forward(gpu, &tx, 1.0).unwrap().read().unwrap();
            compare(&format!("golden {}", case["id"]), &label(gpu), &got, &y, &TOLERANCE).unwrap();
            let got = forward_log(gpu, &tx, 1.0).unwrap().read().unwrap();
            compare(&format!("golden {} log", case["id"]), &label(gpu), &got, &log_y, &LOG).unwrap();
        }
    }
}

#[test]
fn masked_entries_of_the_logarithm_are_constants() {
    for gpu in gpus() {
        let log_y = gpu.tensor(&[f32::NEG_INFINITY, -0.5, -0.93275], [3]).unwrap();
        let dy = gpu.tensor(&[f32::NAN, 1.0, 0.0], [3]).unwrap();
        let dx = backward_log(gpu, &log_y, &dy, 1.0).unwrap().read().unwrap();
        assert_eq!(dx[0], 0.0);
        assert!((dx[1] - 0.39347).abs() < 1e-4 && (dx[2] + 0.39347).abs() < 1e-4, "{dx:?}");
    }
}

#[test]
fn empty_inputs_and_bad_arguments() {
    let gpu = &gpus()[0];
    let x = gpu.zeros([2, 3]).unwrap();
    for shape in [[0, 5], [5, 0]] {
        let empty = gpu.zeros(shape).unwrap();
        assert_eq!(forward(gpu, &empty, 1.0).unwrap().shape().dims(), shape);
        assert!(backward_log(gpu, &empty, &empty, 1.0).unwrap().is_empty());
    }
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = forward(gpu, &x, temperature);
        assert!(matches!(result, Err(Error::Argument { argument: "temperature", .. })), "{temperature}");
    }
    let labels = gpu.tensor(&[1u32], [1]).unwrap();
    assert!(matches!(forward_log(gpu, &labels, 1.0), Err(Error::Argument { argument: "x", .. })));
    let dy = gpu.zeros([3, 2]).unwrap();
    assert!(matches!(backward(gpu, &x, &dy, 1.0), Err(Error::Shape { argument: "dy", .. })));
}
