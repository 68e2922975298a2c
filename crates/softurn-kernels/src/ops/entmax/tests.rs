//! Tests of sparsemax and 1.5-entmax.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, compare, same_bits};

use super::{Alpha, backward, cpu, forward};
use crate::testing::{golden, gpus, label, numbers, special_matrix, thirds, wide};
use crate::{Error, Gpu};

const LAWS: [Alpha; 2] = [Alpha::Two, Alpha::OneAndAHalf];

/// Differences from the largest score are above -2 where they count, and the threshold above -1: each is rounded once,
/// by 6e-8, and a sum of probabilities by some 1e-6 more, which the last division takes out again.
const TOLERANCE: Tolerance = Tolerance::new(5e-7, 4e-6, "roundings of score and threshold, and of the sum of the row");
/// `dy - Σ s dy / Σ s` with |dy| below 5 and `s` up to 1; a mean of thousands is rounded by some 1e-6.
const BACKWARD: Tolerance = Tolerance::new(1e-5, 1e-5, "|dy| = 5 times the roundings of a mean of 5000");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("maximum not taken out", "select((v - high) * select(1.0, 0.5", "select(v * select(1.0, 0.5", "both"),
    mutant("scale of 1.5-entmax missing", "select(1.0, 0.5, SQUARED)", "1.0", "both"),
    mutant("too little is kept", "select(1.0, 2.0, SQUARED);\n  var count", "0.4;\n  var count", "both"),
    mutant("what equals the maximum is not kept", "(v == vec4<f32>(high)) | (v - high", "(v - high", "both"),
    mutant("elements past the end are kept", "near & inside4(row.cols, c) &", "near &", "both"),
    mutant("packed elements past the end are summed", "d, inside4(kept.count, n))", "d, vec4<bool>(true))", "both"),
    mutant("dropped above the threshold", "if (e[i] > 0.0) {", "if (e[i] > 0.1) {", "both"),
    mutant("one step of Newton", "round < rounds; round++", "round < 1u; round++", "cpu"),
    mutant("one step of Newton, shared", "round <= rounds; round++", "round <= 1u; round++", "gpu"),
    mutant(
        "a step of sparsemax for both",
        "select(total.p - 1.0, norm * (norm - 1.0), SQUARED)",
        "(total.p - 1.0)",
        "both",
    ),
    mutant(
        "a row stops when another does",
        "workgroupUniformLoad(&go_on) < round",
        "workgroupUniformLoad(&go_on) <= round",
        "gpu",
    ),
    mutant("rows do not sum to 1", "select(1.0 / total, 0.0, none)", "select(0.9999, 0.0, none)", "both"),
    mutant("rows of -inf are uniform", "let none = high == minus_infinity();", "let none = false;", "both"),
    mutant("the square is forgotten", "var p = select(d, d * d, SQUARED)", "var p = d", "both"),
    mutant("weights of sparsemax for both", "sqrt(p), SQUARED)", "sqrt(p), false)", "both"),
    mutant("gradients outside the support", "p > vec4<f32>(0.0)), sqrt", "p >= vec4<f32>(0.0)), sqrt", "both"),
    mutant("mean not taken out", "s * (g - mean)", "s * g", "both"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str, plan: &'static str) -> Mutant {
    Mutant { op: "entmax", name, shader: "entmax", from, to, plan, hidden: None }
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, cols) in [(3, 1), (65, 2), (1, 63), (300, 7), (67, 257), (3, 2047), (2, 5000)] {
        let n = rows * cols;
        let (x, dy) = (Inputs::new(cols as u64).normal(n), Inputs::new(6).normal(n));
        for (what, scale) in [("random", 1.0), ("wide", 1e6), ("narrow", 1e-6), ("spread", 0.05)] {
            let x: Vec<f32> = x.iter().map(|x| x * scale).collect();
            agrees(gpu, what, &x, &dy, cols)?;
        }
        // Quarters: many equal scores, and some at the threshold.
        let ties: Vec<f32> = x.iter().map(|x| (x * 4.0).round() / 4.0 + 1000.0).collect();
        agrees(gpu, "ties", &ties, &dy, cols)?;
        for alpha in LAWS {
            let run = |part: &[f32]| {
                let x = gpu.tensor(part, [part.len() / cols, cols]).unwrap();
                forward(gpu, &x, alpha).unwrap().read().unwrap()
            };
            let split = thirds(rows).into_iter().flat_map(|part| run(&x[part.start * cols..part.end * cols]));
            same_bits("split in three", &run(&x), &split.collect::<Vec<_>>())?;
        }
    }
    for cols in [1, 2, 7, 257] {
        let x = special_matrix(cols);
        agrees(gpu, "special rows", &x, &Inputs::new(3).normal(x.len()), cols)?;
    }
    Ok(())
}

fn agrees(gpu: &Gpu, what: &str, x: &[f32], dy: &[f32], cols: usize) -> Result<(), Mismatch> {
    let shape = [x.len() / cols, cols];
    let (tx, tdy) = (gpu.tensor(x, shape).unwrap(), gpu.tensor(dy, shape).unwrap());
    for alpha in LAWS {
        let of = |part: &str| format!("{part} of {what} {shape:?}, {alpha:?}");
        let sums = |y: &[f64]| -> Vec<f64> { y.chunks(cols).map(|row| row.iter().sum()).collect() };
        let narrow = |x: Vec<f64>| -> Vec<f32> { x.iter().map(|&x| x as f32).collect() };

        let y = forward(gpu, &tx, alpha).unwrap();
        let (got, want) = (y.read().unwrap(), cpu::forward(&wide(x), cols, alpha));
        compare(&of("law"), &label(gpu), &got, &want, &TOLERANCE)?;
        same_bits(&of("two runs"), &got, &forward(gpu, &tx, alpha).unwrap().read().unwrap())?;
        let whole = Tolerance::new(3e-6, 0.0, "roundings of a sum of 5000, in f32");
        compare(&of("sum"), &label(gpu), &narrow(sums(&wide(&got))), &sums(&want), &whole)?;

        let dx = backward(gpu, &y, &tdy, alpha).unwrap().read().unwrap();
        let want = cpu::backward(&wide(&got), &wide(dy), cols, alpha);
        compare(&of("backward"), &label(gpu), &dx, &want, &BACKWARD)?;
        let none: Vec<f64> = sums(&want).iter().map(|sum| if sum.is_nan() { *sum } else { 0.0 }).collect();
        let sum = Tolerance::new(2e-3, 0.0, "5000 times the rounding of a mean near 1");
        compare(&of("sum of gradients"), &label(gpu), &narrow(sums(&wide(&dx))), &none, &sum)?;
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
    let (x, dy) = (wide(&Inputs::new(5).normal(24)), wide(&Inputs::new(6).normal(24)));
    let tolerance = Tolerance::new(1e-7, 1e-6, "central differences in f64, away from the edges of the support");
    for alpha in LAWS {
        for scale in [0.3, 1.0] {
            let x: Vec<f64> = x.iter().map(|x| x * scale).collect();
            let f = |x: &[f64]| cpu::forward(x, 6, alpha).iter().zip(&dy).map(|(y, g)| y * g).sum::<f64>();
            let dx = cpu::backward(&cpu::forward(&x, 6, alpha), &dy, 6, alpha);
            assert_gradient("entmax", f, &x, &dx, &tolerance);
        }
    }
}

#[test]
fn golden_values() {
    let exact = Tolerance::new(1e-14, 1e-12, "f64");
    for case in golden("sparsemax") {
        let [z, dy] = ["z", "cotangent"].map(|name| numbers(&case[name]));
        let (cols, id) = (z.len(), case["id"].as_str().unwrap());
        for (alpha, name) in LAWS.into_iter().zip(["sparsemax", "entmax15"]) {
            let (p, vjp) = (numbers(&case[name]), numbers(&case[format!("{name}_vjp").as_str()]));
            let twin = cpu::forward(&z, cols, alpha);
            assert_close_f64(name, id, &twin, &p, &exact);
            assert_close_f64(name, id, &cpu::backward(&twin, &dy, cols, alpha), &vjp, &exact);
            for gpu in gpus() {
                let [z, dy] = [&z, &dy].map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
                let [z, dy] = [z, dy].map(|x| gpu.tensor(&x, [cols]).unwrap());
                let y = forward(gpu, &z, alpha).unwrap();
                compare(&format!("{name} {id}"), &label(gpu), &y.read().unwrap(), &p, &TOLERANCE).unwrap();
                // From a law that is rounded: √p of small p carries the error of the threshold.
                let dx = backward(gpu, &y, &dy, alpha).unwrap().read().unwrap();
                compare(&format!("{name} {id}, vjp"), &label(gpu), &dx, &vjp, &BACKWARD).unwrap();
            }
        }
    }
}

#[test]
fn hostile_rows_reach_their_threshold() {
    // Geometric sequences drop elements step by step; long rows share their turns.
    for gpu in gpus() {
        for cols in [30, 2000, 300_000] {
            let x: Vec<f32> = (0..cols).map(|i| -(1.0 - 0.9f32.powi(i as i32 % 97)) * 0.999).collect();
            for alpha in LAWS {
                let y = forward(gpu, &gpu.tensor(&x, [1, cols]).unwrap(), alpha).unwrap().read().unwrap();
                let want = cpu::forward(&wide(&x), cols, alpha);
                compare(&format!("{cols} {alpha:?}"), &label(gpu), &y, &want, &TOLERANCE).unwrap();
            }
        }
    }
}

#[test]
fn outside_the_support_gradients_are_constants() {
    for gpu in gpus() {
        let y = gpu.tensor(&[0.0f32, 0.25, 0.75], [3]).unwrap();
        let dy = gpu.tensor(&[f32::NAN, 1.0, 0.0], [3]).unwrap();
        let dx = backward(gpu, &y, &dy, Alpha::Two).unwrap().read().unwrap();
        assert_eq!(dx, [0.0, 0.5, -0.5]);
    }
}

#[test]
fn empty_inputs_and_bad_arguments() {
    let gpu = &gpus()[0];
    let x = gpu.zeros([2, 3]).unwrap();
    for alpha in LAWS {
        for shape in [[0, 5], [5, 0]] {
            let empty = gpu.zeros(shape).unwrap();
            assert_eq!(forward(gpu, &empty, alpha).unwrap().shape().dims(), shape);
            assert!(backward(gpu, &empty, &empty, alpha).unwrap().is_empty());
        }
        let labels = gpu.tensor(&[1u32], [1]).unwrap();
        assert!(matches!(forward(gpu, &labels, alpha), Err(Error::Argument { argument: "x", .. })));
        let dy = gpu.zeros([3, 2]).unwrap();
        assert!(matches!(backward(gpu, &x, &dy, alpha), Err(Error::Shape { argument: "dy", .. })));
    }
    if gpu.is_software() {
        let long = gpu.zeros([1, 1 << 22]).unwrap();
        assert!(matches!(forward(gpu, &long, Alpha::Two), Err(Error::TooLarge { unit: "loop turns", .. })));
    }
}
