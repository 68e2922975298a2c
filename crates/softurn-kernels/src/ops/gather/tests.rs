//! Tests of rows by index.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::{backward, cpu, forward, labels};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu};

const EXACT: Tolerance = Tolerance::new(0.0, 0.0, "copies");
const TOLERANCE: Tolerance = Tolerance::new(3e-5, 1e-6, "sums of up to 100 normals in order: 100 * 2^-24 * 4");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "the row number instead of the index",
        "let row = index[i / params.cols];",
        "let row = i / params.cols + 0u * index[0];",
    ),
    mutant("four of the first columns", "fours + (i - b * fours)]", "fours]"),
    mutant("the last copy wins", "+ j] += dy[b", "+ j] = dy[b"),
    mutant(
        "indices past the end are wrapped",
        "let row = index[i / params.cols];",
        "let row = index[i / params.cols] % params.rows;",
    ),
    mutant("the last label is left out", "if (index[b] < params.rows)", "if (index[b] + 1u < params.rows)"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "gather", name, shader: "gather", from, to, plan: "both", hidden: None }
}

/// `[rows, cols, count]`
const SHAPES: &[[usize; 3]] = &[[1, 1, 1], [3, 2, 5], [65, 7, 300], [257, 64, 256], [2, 1000, 7], [4, 3, 0], [0, 3, 2]];

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &[rows, cols, count] in SHAPES {
        let mut inputs = Inputs::new((rows + 3 * cols + 7 * count) as u64);
        let (x, dy) = (inputs.normal(rows * cols), inputs.normal(count * cols));
        // One in a few is past the end.
        let index = inputs.index(count, rows as u32 + 1);
        let (tx, tindex) = (gpu.tensor(&x, [rows, cols]).unwrap(), gpu.tensor(&index, [count]).unwrap());
        let what = |name: &str| format!("[{rows}, {cols}] by {count} indices: {name}");
        let y = forward(gpu, &tx, &tindex).unwrap().read().unwrap();
        compare(&what("y"), &label(gpu), &y, &cpu::forward(cols, &wide(&x), &index), &EXACT)?;
        let run = || backward(gpu, rows, &tindex, &gpu.tensor(&dy, [count, cols]).unwrap()).unwrap().read().unwrap();
        let want = cpu::backward(rows, cols, &index, &wide(&dy));
        compare(&what("dx"), &label(gpu), &run(), &want, &TOLERANCE)?;
        same_bits(&what("two runs"), &run(), &run())?;
        // Labels below 2^24 keep their value as f32, and so does u32::MAX, as 2^32.
        let table = inputs.index(rows, 1000);
        let got = labels(gpu, &gpu.tensor(&table, [rows]).unwrap(), &tindex).unwrap().read_u32().unwrap();
        let got: Vec<f32> = got.iter().map(|&label| label as f32).collect();
        let want: Vec<f64> = cpu::labels(&table, &index).iter().map(|&label| f64::from(label as f32)).collect();
        compare(&what("labels"), &label(gpu), &got, &want, &EXACT)?;
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
    let (x, dy) = (wide(&Inputs::new(1).normal(6)), wide(&Inputs::new(2).normal(8)));
    let index = [2, 0, 2, 2];
    let f = |x: &[f64]| cpu::forward(2, x, &index).iter().zip(&dy).map(|(y, g)| y * g).sum();
    let tolerance = Tolerance::new(1e-9, 1e-8, "central differences in f64");
    assert_gradient("gather", f, &x, &cpu::backward(3, 2, &index, &dy), &tolerance);
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let (x, index) = (gpu.zeros([2, 3]).unwrap(), gpu.tensor(&[0u32, 1], [2]).unwrap());
    assert!(matches!(forward(gpu, &x, &x), Err(Error::Argument { argument: "index", .. })));
    assert!(matches!(forward(gpu, &gpu.zeros([6]).unwrap(), &index), Err(Error::Shape { argument: "x", .. })));
    assert!(matches!(labels(gpu, &x, &index), Err(Error::Argument { argument: "labels", .. })));
    assert!(matches!(labels(gpu, &index, &x), Err(Error::Argument { argument: "index", .. })));
    let matrix = index.reshape([1, 2]).unwrap();
    assert!(matches!(labels(gpu, &matrix, &index), Err(Error::Shape { argument: "labels", .. })));
    assert!(matches!(backward(gpu, 4, &index, &gpu.zeros([3, 2]).unwrap()), Err(Error::Shape { argument: "dy", .. })));
}

#[test]
fn more_indices_than_a_driver_lets_a_loop_turn() {
    // lavapipe ends all loops of an invocation after 65,536 turns in total, without an error.
    let gpu = &gpus()[0];
    let index = gpu.tensor(&vec![0u32; 70_000], [70_000]).unwrap();
    let dy = gpu.tensor(&vec![1.0f32; 70_000], [70_000, 1]).unwrap();
    assert_eq!(backward(gpu, 1, &index, &dy).unwrap().read().unwrap(), [70_000.0]);
}
