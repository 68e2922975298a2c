//! Tests: cross-entropy of logits with soft targets.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance};

use super::{backward, cpu, forward};
use crate::Gpu;
use crate::ops::row_loss_tests::Suite;

const TOLERANCE: Tolerance = Tolerance::new(
    5e-5,
    3e-6,
    "a sum of 1,000 terms of size 20 times the targets; gradients carry the mass of the targets, up to 1,000, at 4 ulp",
);

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the largest logit is not subtracted", "f_exp4(l - high)", "f_exp4(l)"),
    mutant("the mass of the targets is taken as one", "* share - t)", "* (share - share + 1.0) - t)"),
    mutant("the log of the sum is forgotten", "row.mass * f_log(row.sum)", "row.mass * 0.0"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "cross_entropy", name, shader: "cross_entropy", from, to, plan: "both", hidden: None }
}

fn inputs(rows: usize, cols: usize) -> [Vec<f32>; 3] {
    let mut inputs = Inputs::new((rows * 1001 + cols) as u64);
    let x: Vec<f32> = inputs.normal(rows * cols).iter().map(|x| 8.0 * x).collect();
    [x, inputs.uniform(0.0, 1.0, rows * cols), inputs.normal(rows)]
}

const SUITE: Suite = Suite {
    argument: "logits",
    tolerance: TOLERANCE,
    inputs,
    forward,
    backward,
    twin: cpu::forward,
    twin_backward: cpu::backward,
};

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    SUITE.check(gpu)
}

#[test]
fn agrees_with_the_twin() {
    SUITE.agrees_with_the_twin();
}

#[test]
fn twin_agrees_with_central_differences() {
    SUITE.twin_agrees_with_central_differences();
}

#[test]
fn nan_stays_in_its_row() {
    SUITE.nan_stays_in_its_row();
}

#[test]
fn bad_arguments() {
    SUITE.bad_arguments();
}
