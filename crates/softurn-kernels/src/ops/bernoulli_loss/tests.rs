//! Tests: bernoulli negative log-likelihood with logits.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance};

use super::{backward, cpu, forward};
use crate::Gpu;
use crate::ops::row_loss_tests::Suite;

const TOLERANCE: Tolerance = Tolerance::new(
    1e-5,
    2e-6,
    "sums of up to 1,000 positive terms of size 10, 2^-24 each with rounding in both directions; slopes within 4 ulp",
);

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("no softplus", "+ softplus_rest4(l)", ""),
    mutant("wrong sign of the target", "is_nan4(l)) - t)", "is_nan4(l)) + t)"),
    mutant("the last column is dropped", "j < cols; j += LANES", "j + 1u < cols; j += LANES"),
    mutant("the last four columns are dropped", "j < fours; j += LANES", "j + 1u < fours; j += LANES"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "bernoulli_loss", name, shader: "bernoulli_loss", from, to, plan: "both", hidden: None }
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
