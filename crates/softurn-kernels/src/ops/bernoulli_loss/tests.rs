//! Tests: bernoulli negative log-likelihood with logits.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::{backward, cpu, forward};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu};

const TOLERANCE: Tolerance = Tolerance::new(
    1e-5,
    2e-6,
    "sums of up to 1,000 positive terms of size 10, 2^-24 each with rounding in both directions; slopes within 4 ulp",
);

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("no softplus", "+ f_log1p(f_exp(-abs(l)))", ""),
    mutant("wrong sign of the target", "- targets[i])", "+ targets[i])"),
    mutant("the last column is dropped", "j < cols; j += LANES", "j + 1u < cols; j += LANES"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "bernoulli_loss", name, shader: "bernoulli_loss", from, to, plan: "both", hidden: None }
}

const SHAPES: &[[usize; 2]] = &[[0, 3], [3, 0], [1, 1], [2, 3], [7, 63], [65, 64], [3, 257], [130, 5], [2, 1000]];

fn inputs(rows: usize, cols: usize) -> [Vec<f32>; 3] {
    let mut inputs = Inputs::new((rows * 1001 + cols) as u64);
    let x: Vec<f32> = inputs.normal(rows * cols).iter().map(|x| 8.0 * x).collect();
    [x, inputs.uniform(0.0, 1.0, rows * cols), inputs.normal(rows)]
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &[rows, cols] in SHAPES {
        let [x, t, dloss] = inputs(rows, cols);
        let (tx, tt) = (gpu.tensor(&x, [rows, cols]).unwrap(), gpu.tensor(&t, [rows, cols]).unwrap());
        let tdloss = gpu.tensor(&dloss, [rows]).unwrap();
        let what = |name: &str| format!("[{rows}, {cols}] {name}");
        let loss = forward(gpu, &tx, &tt).unwrap().read().unwrap();
        compare(&what("loss"), &label(gpu), &loss, &cpu::forward(cols, &wide(&x), &wide(&t), rows), &TOLERANCE)?;
        let dx = backward(gpu, &tx, &tt, &tdloss).unwrap().read().unwrap();
        let want = cpu::backward(cols, &wide(&x), &wide(&t), &wide(&dloss));
        compare(&what("gradient"), &label(gpu), &dx, &want, &TOLERANCE)?;
        same_bits(&what("two runs"), &loss, &forward(gpu, &tx, &tt).unwrap().read().unwrap())?;
        same_bits(&what("two runs"), &dx, &backward(gpu, &tx, &tt, &tdloss).unwrap().read().unwrap())?;
        let half = rows / 2;
        let first = gpu.tensor(&x[..half * cols], [half, cols]).unwrap();
        let first_targets = gpu.tensor(&t[..half * cols], [half, cols]).unwrap();
        same_bits(
            &what("half of the rows"),
            &loss[..half],
            &forward(gpu, &first, &first_targets).unwrap().read().unwrap(),
        )?;
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
    let [x, t, dloss] = inputs(3, 4).map(|v| wide(&v));
    let x: Vec<f64> = x.iter().map(|x| x / 4.0).collect();
    let f = |x: &[f64]| cpu::forward(4, x, &t, 3).iter().zip(&dloss).map(|(l, g)| l * g).sum();
    assert_gradient(
        "bernoulli_loss",
        f,
        &x,
        &cpu::backward(4, &x, &t, &dloss),
        &Tolerance::new(1e-8, 1e-7, "central differences"),
    );
}

#[test]
fn nan_stays_in_its_row() {
    for gpu in gpus() {
        let mut x = vec![0.5f32; 3 * 70];
        x[71] = f32::NAN;
        let (tx, t) = (gpu.tensor(&x, [3, 70]).unwrap(), gpu.tensor(&[0.25f32; 210], [3, 70]).unwrap());
        let loss = forward(gpu, &tx, &t).unwrap().read().unwrap();
        assert!(loss[0].is_finite() && loss[1].is_nan() && loss[2].is_finite(), "{loss:?}");
        let ones = gpu.tensor(&[1.0f32; 3], [3]).unwrap();
        let dx = backward(gpu, &tx, &t, &ones).unwrap().read().unwrap();
        assert!(dx[..70].iter().chain(&dx[140..]).all(|d| d.is_finite()) && dx[71].is_nan());
    }
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let (x, t) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([3, 2]).unwrap());
    assert!(matches!(forward(gpu, &x, &t), Err(Error::Shape { argument: "targets", .. })));
    assert!(matches!(forward(gpu, &t.reshape([6]).unwrap(), &t), Err(Error::Shape { argument: "logits", .. })));
    assert!(matches!(backward(gpu, &x, &x, &t), Err(Error::Shape { argument: "dloss", .. })));
}
