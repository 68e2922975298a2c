//! Tests: reverse and collision cross-entropy with soft labels.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close};

use super::{Loss, backward, cpu, forward};
use crate::Gpu;
use crate::ops::row_loss_tests::Suite;
use crate::testing::{gpus, label};

const TOLERANCE: Tolerance = Tolerance::new(
    4e-6,
    6e-6,
    "a softmax within 4 ulp against logarithms up to 18.4; of logits 60 apart the exponential has 10 ulp",
);

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the weight is not below its mean", "let rise = weights4(t) - all.cost;", "let rise = weights4(t);"),
    mutant("labels without their floor", "vec4<f32>(1e-8)", "vec4<f32>(1e-30)"),
    mutant("the collision's gradient has the wrong sign", "-rise / all.cost", "rise / all.cost"),
    mutant("the cost is not divided by its sum", "row_sum(own.cost, local) / sum", "row_sum(own.cost, local)"),
    mutant("the cost stays at an old largest logit", "part.cost * scale", "part.cost"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "label_loss", name, shader: "label_loss", from, to, plan: "both", hidden: None }
}

/// Every seventh label is 0.
fn inputs(rows: usize, cols: usize) -> [Vec<f32>; 3] {
    let mut inputs = Inputs::new((rows * 1003 + cols) as u64);
    let x: Vec<f32> = inputs.normal(rows * cols).iter().map(|x| 4.0 * x).collect();
    let mut labels = inputs.uniform(0.0, 1.0, rows * cols);
    labels.iter_mut().skip(3).step_by(7).for_each(|y| *y = 0.0);
    [x, labels, inputs.normal(rows)]
}

const REVERSE: Suite = Suite {
    argument: "logits",
    tolerance: TOLERANCE,
    inputs,
    forward: |gpu, x, t| forward(gpu, Loss::ReverseCrossEntropy, x, t),
    backward: |gpu, x, t, d| backward(gpu, Loss::ReverseCrossEntropy, x, t, d),
    twin: |cols, x, t, rows| cpu::forward(Loss::ReverseCrossEntropy, cols, x, t, rows),
    twin_backward: |cols, x, t, d| cpu::backward(Loss::ReverseCrossEntropy, cols, x, t, d),
};

const COLLISION: Suite = Suite {
    forward: |gpu, x, t| forward(gpu, Loss::Collision, x, t),
    backward: |gpu, x, t, d| backward(gpu, Loss::Collision, x, t, d),
    twin: |cols, x, t, rows| cpu::forward(Loss::Collision, cols, x, t, rows),
    twin_backward: |cols, x, t, d| cpu::backward(Loss::Collision, cols, x, t, d),
    ..REVERSE
};

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    REVERSE.check(gpu)?;
    COLLISION.check(gpu)
}

#[test]
fn agrees_with_the_twin() {
    REVERSE.agrees_with_the_twin();
    COLLISION.agrees_with_the_twin();
}

#[test]
fn twin_agrees_with_central_differences() {
    REVERSE.twin_agrees_with_central_differences();
    COLLISION.twin_agrees_with_central_differences();
}

#[test]
fn nan_stays_in_its_row() {
    REVERSE.nan_stays_in_its_row();
    COLLISION.nan_stays_in_its_row();
}

#[test]
fn bad_arguments() {
    REVERSE.bad_arguments();
}

#[test]
fn a_worked_example() {
    let exact = Tolerance::new(1e-6, 0.0, "six decimals are given");
    for gpu in gpus() {
        let logits = gpu.tensor(&[1.2f32, -0.3, 0.4], [1, 3]).unwrap();
        let one = gpu.tensor(&[1.0f32], [1]).unwrap();
        let labels = gpu.tensor(&[0.6f32, 0.3, 0.1], [1, 3]).unwrap();
        let uniform = gpu.tensor(&[1.0f32 / 3.0; 3], [1, 3]).unwrap();
        for (loss, want) in [
            (Loss::ReverseCrossEntropy, [-0.343121, 0.015915, 0.327206]),
            (Loss::Collision, [-0.244926, 0.039382, 0.205544]),
        ] {
            let got = backward(gpu, loss, &logits, &labels, &one).unwrap().read().unwrap();
            assert_close("gradient", &label(gpu), &got, &want, &exact);
            let got = backward(gpu, loss, &logits, &uniform, &one).unwrap().read().unwrap();
            assert_close("of uniform labels", &label(gpu), &got, &[0.0; 3], &Tolerance::new(1e-7, 0.0, "1 ulp"));
        }
    }
}
