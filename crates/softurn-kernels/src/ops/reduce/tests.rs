//! Tests of the reductions.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::{Axis, Reduction, all, argmax, argmin, backward, cpu, over_cols, over_rows};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu, Tensor};

/// A serial sum of 1,000 normals passes through partial sums of size 60, each rounded to 2^-24 of that.
const TOLERANCE: Tolerance = Tolerance::new(1e-4, 1e-6, "serial sums of up to 1,000 normals: 1,000 * 2^-24 * 2");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "the last element of a row is dropped",
        "i < stop; i += LANES) { part = combine(part, value(vec4",
        "i + 1u < stop; i += LANES) { part = combine(part, value(vec4",
    ),
    mutant(
        "rows of a block beyond the end",
        "let end = min(start + params.block, params.rows);\n  var a = start_value();\n  for (var i = start; i < end; i++) { a = combine(a, value(x4",
        "let end = start + params.block;\n  var a = start_value();\n  for (var i = start; i < end; i++) { a = combine(a, value(x4",
    ),
    mutant("two of four are left out", "combine(pairs, pairs.yxwz).x", "pairs.x"),
    mutant("the smallest is not negated back", "if (KIND == 2u) { return -a; }", ""),
    mutant("a mean is a sum", "return params.scale * a;", "return a;"),
    mutant("the gradient of a column goes to a row", "case 1u: { return i % cols; }", "case 1u: { return i / cols; }"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "reduce", name, shader: "reduce", from, to, plan: "both", hidden: None }
}

const SHAPES: &[[usize; 2]] = &[[1, 1], [2, 3], [7, 63], [65, 64], [3, 257], [700, 5], [700, 8], [2, 1000]];
const REDUCTIONS: [Reduction; 4] = [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min];
type Kernel = fn(&Gpu, Reduction, &Tensor) -> crate::Result<Tensor>;
const AXES: [(Axis, Kernel); 3] = [(Axis::Cols, over_cols), (Axis::Rows, over_rows), (Axis::All, all)];

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &[rows, cols] in SHAPES {
        let mut inputs = Inputs::new((rows * 77 + cols) as u64);
        let x = inputs.normal(rows * cols);
        let tx = gpu.tensor(&x, [rows, cols]).unwrap();
        for reduction in REDUCTIONS {
            for (axis, kernel) in AXES {
                let what = format!("{reduction:?} over {axis:?} of [{rows}, {cols}]");
                let y = kernel(gpu, reduction, &tx).unwrap().read().unwrap();
                compare(&what, &label(gpu), &y, &cpu::forward(reduction, axis, [rows, cols], &wide(&x)), &TOLERANCE)?;
                same_bits(&what, &y, &kernel(gpu, reduction, &tx).unwrap().read().unwrap())?;
                if matches!(reduction, Reduction::Sum | Reduction::Mean) {
                    let dy = inputs.normal(y.len());
                    let tdy = gpu.tensor(&dy, [y.len()]).unwrap();
                    let dx = backward(gpu, reduction, axis, tx.shape(), &tdy).unwrap().read().unwrap();
                    let want = cpu::backward(reduction, axis, [rows, cols], &wide(&dy));
                    compare(&format!("{what}, backward"), &label(gpu), &dx, &want, &TOLERANCE)?;
                }
            }
        }
        // Few distinct values, so that there are ties.
        let ties: Vec<f32> =
            inputs.index(rows * cols, 4).iter().map(|&i| [-1.0, 0.0, 2.5, f32::NEG_INFINITY][i as usize]).collect();
        for x in [&x, &ties] {
            let tx = gpu.tensor(x, [rows, cols]).unwrap();
            for (largest, kernel) in [(true, argmax as fn(&Gpu, &Tensor) -> crate::Result<Tensor>), (false, argmin)] {
                let got: Vec<f32> = kernel(gpu, &tx).unwrap().read_u32().unwrap().iter().map(|&i| i as f32).collect();
                let want: Vec<f64> = cpu::find(largest, cols, &wide(x)).iter().map(|&i| f64::from(i)).collect();
                let exact = Tolerance::new(0.0, 0.0, "an index");
                compare(&format!("argmax {largest} of [{rows}, {cols}]"), &label(gpu), &got, &want, &exact)?;
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
fn many_elements() {
    for gpu in gpus() {
        let n = 300_000;
        let x = Inputs::new(8).uniform(0.0, 1.0, n);
        let tx = gpu.tensor(&x, [n]).unwrap();
        let want: f64 = wide(&x).iter().sum();
        let got = all(gpu, Reduction::Sum, &tx).unwrap().item().unwrap();
        compare("sum of 300,000", &label(gpu), &[got], &[want], &Tolerance::new(0.0, 3e-6, "three levels of 256"))
            .unwrap();
        let got = over_rows(gpu, Reduction::Mean, &tx.reshape([n / 2, 2]).unwrap()).unwrap().read().unwrap();
        let want = cpu::forward(Reduction::Mean, Axis::Rows, [n / 2, 2], &wide(&x));
        compare("columns of 150,000", &label(gpu), &got, &want, &Tolerance::new(0.0, 3e-6, "three levels of 256"))
            .unwrap();
    }
}

#[test]
fn twin_agrees_with_central_differences() {
    let (x, tolerance) = (wide(&Inputs::new(2).normal(12)), Tolerance::new(1e-9, 1e-8, "central differences in f64"));
    for reduction in [Reduction::Sum, Reduction::Mean] {
        for (axis, _) in AXES {
            let dy = wide(&Inputs::new(3).normal(cpu::forward(reduction, axis, [3, 4], &x).len()));
            let f = |x: &[f64]| cpu::forward(reduction, axis, [3, 4], x).iter().zip(&dy).map(|(y, g)| y * g).sum();
            assert_gradient(
                &format!("{reduction:?} {axis:?}"),
                f,
                &x,
                &cpu::backward(reduction, axis, [3, 4], &dy),
                &tolerance,
            );
        }
    }
}

#[test]
fn special_rows() {
    for gpu in gpus() {
        for cols in [5, 300] {
            for (name, row) in softurn_tests::special_rows(cols) {
                let x = gpu.tensor(&row, [1, cols]).unwrap();
                for reduction in [Reduction::Max, Reduction::Min] {
                    let got = over_cols(gpu, reduction, &x).unwrap().read().unwrap();
                    let want = cpu::forward(reduction, Axis::Cols, [1, cols], &wide(&row));
                    compare(&format!("{reduction:?} of {name}"), &label(gpu), &got, &want, &TOLERANCE).unwrap();
                }
                assert_eq!(argmax(gpu, &x).unwrap().read_u32().unwrap(), cpu::find(true, cols, &wide(&row)), "{name}");
                assert_eq!(argmin(gpu, &x).unwrap().read_u32().unwrap(), cpu::find(false, cols, &wide(&row)), "{name}");
            }
        }
    }
}

#[test]
fn empty_and_bad_arguments() {
    let gpu = &gpus()[0];
    let x = gpu.zeros([3, 0]).unwrap();
    assert_eq!(over_cols(gpu, Reduction::Sum, &x).unwrap().read().unwrap(), [0.0; 3]);
    assert!(over_rows(gpu, Reduction::Sum, &x).unwrap().is_empty());
    assert_eq!(all(gpu, Reduction::Sum, &x).unwrap().item().unwrap(), 0.0);
    assert!(matches!(over_cols(gpu, Reduction::Max, &x), Err(Error::Shape { argument: "x", .. })));
    assert!(matches!(argmax(gpu, &x), Err(Error::Shape { argument: "x", .. })));
    let x = gpu.zeros([3, 2]).unwrap();
    assert!(matches!(backward(gpu, Reduction::Max, Axis::All, x.shape(), &x), Err(Error::Argument { .. })));
    assert!(matches!(
        backward(gpu, Reduction::Sum, Axis::Rows, x.shape(), &x),
        Err(Error::Shape { argument: "dy", .. })
    ));
}

#[test]
fn longer_rows_than_a_driver_lets_a_loop_turn() {
    // lavapipe ends all loops of an invocation after 65,536 turns in total, without an error.
    for gpu in gpus() {
        let x = gpu.tensor(&vec![1.0f32; 140_000], [2, 70_000]).unwrap();
        assert_eq!(over_cols(gpu, Reduction::Sum, &x).unwrap().read().unwrap(), [70_000.0; 2], "{}", label(gpu));
        let y = crate::ops::softmax::forward(gpu, &x, 1.0).unwrap();
        let total = all(gpu, Reduction::Sum, &y).unwrap().item().unwrap();
        assert!((total - 2.0).abs() < 1e-4, "{}: {total}", label(gpu));
        let lse = crate::ops::log_sum_exp::forward(gpu, &x).unwrap().read().unwrap();
        assert!((lse[0] - 12.156_25).abs() < 1e-4, "{}: {lse:?}", label(gpu));
    }
}
