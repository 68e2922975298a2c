//! Tests: cross-entropy of logits with soft targets.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, compare};

use super::{backward, cpu, forward};
use crate::Gpu;
use crate::ops::row_loss_tests::Suite;
use crate::testing::{gpus, label, wide};

const TOLERANCE: Tolerance = Tolerance::new(
    5e-5,
    3e-6,
    "a sum of 1,000 terms of size 20 times the targets; gradients carry the mass of the targets, up to 1,000, at 4 ulp",
);

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the largest logit is not subtracted", "f_exp4(l - high)", "f_exp4(l)"),
    mutant("the mass of the targets is taken as one", "* share - t)", "* (share - share + 1.0) - t)"),
    mutant("the cost does not follow a rising maximum", "select(rise * part.mass, 0.0,", "select(0.0 * rise, 0.0,"),
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

#[test]
fn rising_rows_and_targets_of_zero() {
    // The largest is always the latest; what has no target may have any logit.
    for (gpu, cols) in gpus().iter().flat_map(|gpu| [(gpu, 40), (gpu, 43)]) {
        let mut x: Vec<f32> = (0..cols).map(|j| 30.0 * j as f32 - 200.0).collect();
        let mut t: Vec<f32> = (0..cols).map(|j| 1.0 / (1 + j) as f32).collect();
        (x[0], t[0]) = (f32::NEG_INFINITY, 0.0);
        (x[7], t[7]) = (f32::NEG_INFINITY, 0.0);
        let (tx, tt) = (gpu.tensor(&x, [1, cols]).unwrap(), gpu.tensor(&t, [1, cols]).unwrap());
        let loss = forward(gpu, &tx, &tt).unwrap().read().unwrap();
        compare("loss", &label(gpu), &loss, &cpu::forward(cols, &wide(&x), &wide(&t), 1), &TOLERANCE).unwrap();
        let dx = backward(gpu, &tx, &tt, &gpu.tensor(&[1.0f32], [1]).unwrap()).unwrap().read().unwrap();
        let want = cpu::backward(cols, &wide(&x), &wide(&t), &[1.0]);
        compare("gradient", &label(gpu), &dx, &want, &TOLERANCE).unwrap();
        // A target on a logit of -inf costs infinitely much; no targets at all cost nothing, whatever the logits.
        t[7] = 0.5;
        let cost = |x: &[f32], t: &[f32]| {
            let (x, t) = (gpu.tensor(x, [1, cols]).unwrap(), gpu.tensor(t, [1, cols]).unwrap());
            forward(gpu, &x, &t).unwrap().item().unwrap()
        };
        assert_eq!(cost(&x, &t), f32::INFINITY, "{}", label(gpu));
        x[3] = f32::NAN;
        assert_eq!(cost(&x, &vec![0.0; cols]), 0.0, "{}", label(gpu));
    }
}
