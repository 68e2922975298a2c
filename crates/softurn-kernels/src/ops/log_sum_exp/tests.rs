//! Tests of the logarithm of a sum of exponentials.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::{backward, cpu, forward};
use crate::testing::{golden, gpus, label, numbers, special_matrix, thirds, wide};
use crate::{Error, Gpu};

/// A sum of 1000 terms of one sign carries at most 1000 roundings of 2^-24 and typically 2 ulp; its logarithm turns
/// them into an absolute error, and adding the row's maximum rounds once more.
const TOLERANCE: Tolerance = Tolerance::new(4e-6, 3e-7, "the relative error of the sum, absolute in its logarithm");
/// The difference is rounded at the size of `x`, up to 40 here, which the exponential turns into a relative error.
const BACKWARD: Tolerance = Tolerance::new(1e-37, 5e-6, "40 · 2^-24 in the exponent, then 4 ulp");

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        op: "log_sum_exp",
        name: "maximum not taken out",
        shader: "log_sum_exp",
        from: "high = row_max(max4(part.high), local);",
        to: "high = 0.0;",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "log_sum_exp",
        name: "first column left out of the sum",
        shader: "log_sum_exp",
        from: "load4(base, end, c), load4",
        to: "load4(base, end, max(c, 1u)), load4",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "log_sum_exp",
        name: "row of the next element",
        shader: "log_sum_exp",
        from: "let row = i / params.cols;",
        to: "let row = (i + 1u) / params.cols;",
        plan: "gpu",
        hidden: None,
    },
    Mutant {
        op: "log_sum_exp",
        name: "NaN of an all -inf row let through",
        shader: "log_sum_exp",
        from: "select(x[i] - total, 0.0, x[i] == total)",
        to: "x[i] - total",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "log_sum_exp",
        name: "sums are not rescaled when the maximum grows",
        shader: "shared/online",
        from: "old.sum * exp_below4(old.high, high, temperature) +",
        to: "old.sum +",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "log_sum_exp",
        name: "equal infinities subtracted",
        shader: "shared/online",
        from: "select((v - high) / temperature, vec4<f32>(0.0), v == high)",
        to: "(v - high) / temperature",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "log_sum_exp",
        name: "the last of sixteen forgotten",
        shader: "shared/online",
        from: "+ exp_below4(v3, high, temperature)",
        to: "",
        plan: "both",
        hidden: None,
    },
];

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, cols) in [(3, 1), (65, 2), (1, 63), (700, 7), (130, 64), (67, 257), (2, 1000)] {
        let mut inputs = Inputs::new(cols as u64);
        let (x, dlse) = (inputs.uniform(-20.0, 20.0, rows * cols), inputs.normal(rows));
        agrees(gpu, "random", &x, &dlse, cols)?;
        let tensor = |part: &[f32]| gpu.tensor(part, [part.len() / cols, cols]).unwrap();
        let whole = forward(gpu, &tensor(&x)).unwrap().read().unwrap();
        same_bits("second run", &whole, &forward(gpu, &tensor(&x)).unwrap().read().unwrap())?;
        let split: Vec<f32> = thirds(rows)
            .into_iter()
            .flat_map(|part| forward(gpu, &tensor(&x[part.start * cols..part.end * cols])).unwrap().read().unwrap())
            .collect();
        same_bits("split in three", &whole, &split)?;
    }
    for cols in [1, 7, 257] {
        let x = special_matrix(cols);
        agrees(gpu, "special rows", &x, &vec![1.5; x.len() / cols], cols)?;
    }
    Ok(())
}

fn agrees(gpu: &Gpu, what: &str, x: &[f32], dlse: &[f32], cols: usize) -> Result<(), Mismatch> {
    let rows = x.len() / cols;
    let (tx, tdlse) = (gpu.tensor(x, [rows, cols]).unwrap(), gpu.tensor(dlse, [rows]).unwrap());
    let what = format!("log_sum_exp of {what} [{rows}, {cols}]");
    let lse = forward(gpu, &tx).unwrap();
    compare(&what, &label(gpu), &lse.read().unwrap(), &cpu::forward(&wide(x), cols), &TOLERANCE)?;
    let dx = backward(gpu, &tx, &lse, &tdlse).unwrap().read().unwrap();
    let want = cpu::backward(&wide(x), &wide(&lse.read().unwrap()), &wide(dlse), cols);
    compare(&format!("{what} backward"), &label(gpu), &dx, &want, &BACKWARD)?;
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
    let (x, dlse) = (wide(&Inputs::new(5).normal(12)), wide(&Inputs::new(6).normal(3)));
    let f = |x: &[f64]| cpu::forward(x, 4).iter().zip(&dlse).map(|(y, g)| y * g).sum();
    let dx = cpu::backward(&x, &cpu::forward(&x, 4), &dlse, 4);
    assert_gradient("log_sum_exp", f, &x, &dx, &Tolerance::new(1e-8, 1e-7, "central differences in f64"));
}

#[test]
fn golden_values() {
    for case in golden("log_softmax") {
        let (x, lse) = (numbers(&case["x"]), numbers(&case["lse"]));
        assert_eq!(x, wide(&x.iter().map(|&x| x as f32).collect::<Vec<_>>()));
        softurn_tests::assert_close_f64("the twin", "", &cpu::forward(&x, x.len()), &lse, &EXACT);
        for gpu in gpus() {
            let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            let got = forward(gpu, &gpu.tensor(&x, [x.len()]).unwrap()).unwrap().read().unwrap();
            compare(&format!("golden {}", case["id"]), &label(gpu), &got, &lse, &TOLERANCE).unwrap();
        }
    }
}

const EXACT: Tolerance = Tolerance::new(1e-14, 1e-14, "f64");

#[test]
fn empty_inputs_and_bad_arguments() {
    let gpu = &gpus()[0];
    let tensor = |shape: &[usize]| gpu.zeros(shape).unwrap();
    assert!(forward(gpu, &tensor(&[0, 5])).unwrap().is_empty());
    assert_eq!(forward(gpu, &tensor(&[2, 0])).unwrap().read().unwrap(), [f32::NEG_INFINITY; 2]);
    assert!(backward(gpu, &tensor(&[2, 0]), &tensor(&[2]), &tensor(&[2])).unwrap().is_empty());
    assert_eq!(forward(gpu, &tensor(&[2, 3, 4])).unwrap().shape().dims(), [2, 3]);
    assert_eq!(forward(gpu, &tensor(&[])).unwrap().shape().dims(), [0usize; 0]);
    let labels = gpu.tensor(&[1u32], [1]).unwrap();
    assert!(matches!(forward(gpu, &labels), Err(Error::Argument { argument: "x", .. })));
    let x = tensor(&[2, 3]);
    assert!(matches!(backward(gpu, &x, &tensor(&[3]), &tensor(&[2])), Err(Error::Shape { argument: "lse", .. })));
    assert!(matches!(backward(gpu, &x, &tensor(&[2]), &tensor(&[3])), Err(Error::Shape { argument: "dlse", .. })));
}
