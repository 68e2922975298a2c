//! Tests: squared error of each row.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance};

use super::{backward, cpu, forward};
use crate::Gpu;
use crate::ops::row_loss_tests::Suite;

const TOLERANCE: Tolerance =
    Tolerance::new(2e-6, 4e-6, "sums of up to 1,000 positive terms, each within 3 ulp, summed serially");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("four gradients of another row", "targets4[i], i / fours", "targets4[i], i % params.rows"),
    mutant("half the gradient", "2.0 * dloss", "dloss"),
    mutant("the gradient of another row", "i / params.cols).x", "i % params.rows).x"),
    mutant("absolute error", "return (v - t) * (v - t);", "return abs(v - t);"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "squared_error", name, shader: "squared_error", from, to, plan: "both", hidden: None }
}

fn inputs(rows: usize, cols: usize) -> [Vec<f32>; 3] {
    let mut inputs = Inputs::new((rows * 1001 + cols) as u64);
    let x: Vec<f32> = inputs.normal(rows * cols);
    [x, inputs.normal(rows * cols), inputs.normal(rows)]
}

const SUITE: Suite = Suite {
    argument: "x",
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
