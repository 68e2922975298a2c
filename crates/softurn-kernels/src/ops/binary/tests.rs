//! Tests of the functions of two tensors.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::{Binary, backward, cpu, forward};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu, Shape};

/// One rounding each, three in the gradient of a quotient; a repeated operand's gradient sums up to 1,000 of them.
const TOLERANCE: Tolerance = Tolerance::new(2e-4, 1e-6, "sums of up to 1,000 terms of size 3: 1,000 * 3 * 2^-24");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("a row is repeated as a column", "case 1u: { return i % cols; }", "case 1u: { return i / cols; }"),
    mutant("the gradient of a difference is that of a sum", "case 1u: { r.b = -g; }", ""),
    mutant("a quotient's gradient without the square", "-g * p / q / q", "-g * p / q"),
    mutant("the larger loses", "select(select(q, p, p >= q)", "select(select(q, p, p < q)"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "binary", name, shader: "binary", from, to, plan: "both", hidden: None }
}

const FUNCTIONS: [Binary; 6] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];
const SHAPES: &[[usize; 2]] = &[[1, 1], [2, 3], [7, 63], [65, 64], [3, 257], [1000, 2], [3, 12]];

/// The shapes that `b` may have beside `[rows, cols]`, with the copy that each element of `a` meets.
fn broadcasts([rows, cols]: [usize; 2]) -> Vec<(Shape, Vec<usize>)> {
    let at = 0..rows * cols;
    vec![
        ([rows, cols].into(), at.clone().collect()),
        ([cols].into(), at.clone().map(|i| i % cols).collect()),
        ([1, cols].into(), at.clone().map(|i| i % cols).collect()),
        ([rows, 1].into(), at.clone().map(|i| i / cols).collect()),
        (Shape::default(), at.map(|_| 0).collect()),
    ]
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &shape @ [rows, cols] in SHAPES {
        for (b_shape, copies) in broadcasts(shape) {
            let mut inputs = Inputs::new((rows * 7 + cols + b_shape.len()) as u64);
            let (a, dy) = (inputs.normal(rows * cols), inputs.normal(rows * cols));
            // Away from zero, for quotients.
            let b: Vec<f32> = inputs.normal(b_shape.len()).iter().map(|x| x + x.signum()).collect();
            let full: Vec<f64> = copies.iter().map(|&i| f64::from(b[i])).collect();
            let (ta, tb) = (gpu.tensor(&a, shape).unwrap(), gpu.tensor(&b, b_shape.clone()).unwrap());
            let tdy = gpu.tensor(&dy, shape).unwrap();
            for function in FUNCTIONS {
                let what = |name: &str| format!("{function:?} of {shape:?} and {b_shape}: {name}");
                let y = forward(gpu, function, &ta, &tb).unwrap().read().unwrap();
                compare(&what("y"), &label(gpu), &y, &cpu::forward(function, &wide(&a), &full), &TOLERANCE)?;
                same_bits(&what("two runs"), &y, &forward(gpu, function, &ta, &tb).unwrap().read().unwrap())?;
                let (da, db) = backward(gpu, function, &ta, &tb, &tdy).unwrap();
                let (want_a, want_full) = cpu::backward(function, &wide(&a), &full, &wide(&dy));
                let mut want_b = vec![0.0; b.len()];
                copies.iter().zip(&want_full).for_each(|(&i, db)| want_b[i] += db);
                compare(&what("da"), &label(gpu), &da.read().unwrap(), &want_a, &TOLERANCE)?;
                compare(&what("db"), &label(gpu), &db.read().unwrap(), &want_b, &TOLERANCE)?;
                assert_eq!(db.shape(), &b_shape);
            }
        }
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
    let mut inputs = Inputs::new(5);
    let (a, dy) = (wide(&inputs.normal(6)), wide(&inputs.normal(6)));
    let b: Vec<f64> = wide(&inputs.normal(6)).iter().map(|x| x + x.signum()).collect();
    for function in FUNCTIONS {
        let (da, db) = cpu::backward(function, &a, &b, &dy);
        let f = |a: &[f64], b: &[f64]| cpu::forward(function, a, b).iter().zip(&dy).map(|(y, g)| y * g).sum();
        let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
        assert_gradient(&format!("{function:?} a"), |a| f(a, &b), &a, &da, &tolerance);
        assert_gradient(&format!("{function:?} b"), |b| f(&a, b), &b, &db, &tolerance);
    }
}

#[test]
fn special_values_and_ties() {
    let a = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY, 0.0, 2.0, f32::NAN, f32::INFINITY];
    let b = [1.0, f32::NAN, 1.0, 1.0, 0.0, 2.0, f32::NAN, f32::INFINITY];
    // All are done by fours, all but the last one by one.
    for (gpu, n) in gpus().iter().flat_map(|gpu| [(gpu, a.len()), (gpu, a.len() - 1)]) {
        let (a, b) = (&a[..n], &b[..n]);
        let (ta, tb) = (gpu.tensor(a, [n]).unwrap(), gpu.tensor(b, [n]).unwrap());
        for function in FUNCTIONS {
            let y = forward(gpu, function, &ta, &tb).unwrap().read().unwrap();
            // 0 / 0 may be any NaN; everything else is as IEEE says.
            compare(&format!("{function:?}"), &label(gpu), &y, &cpu::forward(function, &wide(a), &wide(b)), &TOLERANCE)
                .unwrap();
        }
        let ones = gpu.tensor(&vec![1.0f32; n], [n]).unwrap();
        let (da, db) = backward(gpu, Binary::Max, &ta, &tb, &ones).unwrap();
        assert_eq!((da.read().unwrap()[5], db.read().unwrap()[5]), (1.0, 0.0));
    }
}

#[test]
fn empty_and_bad_arguments() {
    let gpu = &gpus()[0];
    let (a, b) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([2]).unwrap());
    assert!(matches!(forward(gpu, Binary::Add, &a, &b), Err(Error::Shape { argument: "b", .. })));
    assert!(matches!(backward(gpu, Binary::Add, &a, &a, &b), Err(Error::Shape { argument: "dy", .. })));
    let empty = gpu.zeros([0, 3]).unwrap();
    assert!(forward(gpu, Binary::Add, &empty, &gpu.zeros([3]).unwrap()).unwrap().is_empty());
    let (_, db) = backward(gpu, Binary::Add, &empty, &gpu.zeros([3]).unwrap(), &empty).unwrap();
    assert_eq!(db.read().unwrap(), [0.0; 3]);
}
