//! Tests of the product by groups.

use softurn_tests::{Inputs, Mismatch, Mutant, SIZES, Tolerance, assert_gradient, compare, same_bits};

use super::{Groups, Options, backward, cpu, forward};
use crate::ops::matmul::tests::host;
use crate::ops::matmul::{self, Activation};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu, Tensor};

/// A sum of k products of normals has error about sqrt(k) 2^-24 of its terms; k is at most 300 here, and slopes up to 1.
const TOLERANCE: Tolerance =
    Tolerance::new(3e-5, 3e-6, "k <= 300 products of normals: 300 * 2^-24, plus one activation");
const EXACT: Tolerance = Tolerance::new(0.0, 0.0, "integers below 2^24");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("rows in the order of their heads", "let r0 = order[tile.first];", "let r0 = tile.first;", "cpu"),
    mutant("the last inner index is dropped", "k < params.last; k++", "k + 1u < params.last; k++", "cpu"),
    mutant(
        "rows of no head are multiplied",
        "bitcast<f32>(nan), tile.head == params.heads)",
        "bitcast<f32>(nan), false)",
        "both",
    ),
    mutant("a tile reaches into the next head", "min(first + size, starts[head + 1u])", "first + size", "both"),
    mutant(
        "tiles of a head begin too early",
        "starts[middle] / size + middle <= number",
        "starts[middle] / size <= number",
        "both",
    ),
    mutant(
        "columns past the edge are stored over the next row",
        "tile.first + i >= tile.last || col >= params.cols",
        "tile.first + i >= tile.last",
        "both",
    ),
    mutant(
        "bias of the first head",
        "v += bias[min(tile.head, params.heads - 1u) * params.cols + col]",
        "v += bias[col]",
        "both",
    ),
    mutant(
        "transpose of B is ignored",
        "b[(head * params.cols + col) * params.inner + k]",
        "b[(head * params.inner + k) * params.cols + col]",
        "both",
    ),
    mutant(
        "weights: every row counts for every head",
        "return start + min(vec2<u32>(params.first, params.last), vec2<u32>(count));",
        "return vec2<u32>(0u, params.rows + 0u * (start + count));",
        "both",
    ),
    mutant("weights: rows as they stand", "let r = order[p];", "let r = p + 0u * order[p];", "cpu"),
    mutant(
        "weights: columns past the edge are stored over the next row",
        "row >= params.inner || col >= params.cols",
        "row >= params.inner",
        "both",
    ),
    mutant(
        "forward: no barrier before the tile is read",
        "load_b(head, start + k, col + q); }\n      tile_b[k * COLS + q] = v;\n    }\n    workgroupBarrier();",
        "load_b(head, start + k, col + q); }\n      tile_b[k * COLS + q] = v;\n    }",
        "gpu",
    ),
    mutant(
        "forward: no barrier before the tile is overwritten",
        "c1 += tile_a[k * ROWS + ty + 1u] * vb;\n    }\n    workgroupBarrier();",
        "c1 += tile_a[k * ROWS + ty + 1u] * vb;\n    }",
        "gpu",
    ),
    mutant(
        "weights: no barrier before the tile is read",
        "order[start + k] * params.cols + col + q]; }\n      tile_b[k * COLS + q] = v;\n    }\n    workgroupBarrier();",
        "order[start + k] * params.cols + col + q]; }\n      tile_b[k * COLS + q] = v;\n    }",
        "gpu",
    ),
    mutant(
        "weights: no barrier before the tile is overwritten",
        "d1 += tile_a[k * ROWS + ty + 1u] * vb;\n    }\n    workgroupBarrier();",
        "d1 += tile_a[k * ROWS + ty + 1u] * vb;\n    }",
        "gpu",
    ),
    mutant(
        "biases: the first column",
        "summed[order[p] * params.cols + i % params.cols]",
        "summed[order[p] * params.cols]",
        "both",
    ),
    mutant(
        "numbers of no head are wrapped",
        "min(assignment[row], params.heads)",
        "assignment[row] % params.heads",
        "both",
    ),
    mutant("the sums of other lanes are left out", "sum += lane_sums[other];", "sum += 0u * lane_sums[other];", "both"),
    mutant("the rows of a block lie in one place", "placed[at] = row;\n      at++;", "placed[at] = row;", "both"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str, plan: &'static str) -> Mutant {
    Mutant { op: "grouped_matmul", name, shader: "grouped_matmul", from, to, plan, hidden: None }
}

/// `[rows, heads, n, k]`: empty, thin, not multiples of any tile, more heads than rows, several blocks of rows.
const SHAPES: &[[usize; 4]] = &[
    [0, 3, 2, 4],
    [1, 1, 1, 1],
    [7, 3, 2, 5],
    [5, 9, 3, 1],
    [65, 4, 17, 33],
    [130, 2, 70, 9],
    [600, 20, 8, 40],
    [300, 1, 3, 7],
];

/// Heads of rows; one in a few is of no head.
fn assignment(inputs: &mut Inputs, rows: usize, heads: usize) -> Vec<u32> {
    let drawn = inputs.index(rows, heads as u32 + 1);
    drawn.into_iter().map(|head| if head == heads as u32 { u32::MAX - 3 } else { head }).collect()
}

/// The sorted rows against a stable sort on the host.
fn check_groups(gpu: &Gpu, heads: usize, assignment: &[u32], groups: &Groups) -> Result<(), Mismatch> {
    let head_of = |row: usize| (assignment[row] as usize).min(heads);
    let mut order: Vec<usize> = (0..assignment.len()).collect();
    order.sort_by_key(|&row| head_of(row));
    let starts: Vec<usize> =
        (0..heads + 2).map(|head| order.iter().filter(|&&row| head_of(row) < head).count()).collect();
    for (name, got, want) in [("order", &groups.order, order), ("starts", &groups.starts, starts)] {
        let got: Vec<f32> = got.read_u32().unwrap().iter().map(|&i| i as f32).collect();
        let want: Vec<f64> = want.iter().map(|&i| i as f64).collect();
        compare(&format!("{} rows, {heads} heads: {name}", assignment.len()), &label(gpu), &got, &want, &EXACT)?;
    }
    Ok(())
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &rows in SIZES {
        for heads in [1, 2, 63, 70] {
            let assignment = assignment(&mut Inputs::new((rows + heads) as u64), rows, heads);
            let groups = Groups::new(gpu, &gpu.tensor(&assignment, [rows]).unwrap(), heads).unwrap();
            check_groups(gpu, heads, &assignment, &groups)?;
        }
    }
    let activations = [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid];
    for (at, &[rows, heads, n, k]) in SHAPES.iter().enumerate() {
        for flags in 0..4 {
            // Each activation meets B stored either way, over the shapes.
            let options = Options { transpose_b: flags & 1 == 1, activation: activations[(at + flags) % 4] };
            let mut inputs = Inputs::new((at * 4 + flags) as u64);
            // Half of the time every head has as many rows.
            let (assignment, groups) = if flags & 2 == 2 {
                let each = rows.div_ceil(heads);
                let assignment: Vec<u32> = (0..heads as u32).flat_map(|head| vec![head; each]).collect();
                (assignment, Groups::every(gpu, each, heads).unwrap())
            } else {
                let assignment = assignment(&mut inputs, rows, heads);
                let groups = Groups::new(gpu, &gpu.tensor(&assignment, [rows]).unwrap(), heads).unwrap();
                (assignment, groups)
            };
            check_groups(gpu, heads, &assignment, &groups)?;
            check_products(gpu, options, &assignment, &groups, [n, k], at % 2 == 0, &mut inputs)?;
        }
    }
    Ok(())
}

fn check_products(
    gpu: &Gpu,
    options: Options,
    assignment: &[u32],
    groups: &Groups,
    [n, k]: [usize; 2],
    with_bias: bool,
    inputs: &mut Inputs,
) -> Result<(), Mismatch> {
    let (rows, heads) = (groups.rows(), groups.heads());
    let what = format!("{options:?} [{rows}, {k}] [{heads}, {k}, {n}]");
    let (a, b, bias) = (inputs.normal(rows * k), inputs.normal(heads * k * n), inputs.normal(heads * n));
    let ta = gpu.tensor(&a, [rows, k]).unwrap();
    let tb = gpu.tensor(&b, if options.transpose_b { [heads, n, k] } else { [heads, k, n] }).unwrap();
    let tbias = gpu.tensor(&bias, [heads, n]).unwrap();
    let c = forward(gpu, options, groups, &ta, &tb, with_bias.then_some(&tbias)).unwrap();
    let (wa, wb, wbias) = (wide(&a), wide(&b), wide(&bias));
    let want = cpu::forward(options, [heads, n, k], assignment, &wa, &wb, with_bias.then_some(&wbias));
    compare(&what, &label(gpu), &c.read().unwrap(), &want, &TOLERANCE)?;
    let dc = inputs.normal(rows * n);
    let tdc = gpu.tensor(&dc, [rows, n]).unwrap();
    let run = || backward(gpu, options, groups, &ta, &tb, &c, &tdc, [true, true], true).unwrap();
    let (da, db, dbias) =
        cpu::backward(options, [heads, n, k], assignment, &wa, &wb, &wide(&c.read().unwrap()), &wide(&dc));
    let (got, again) = (run(), run());
    let pairs = [("da", got.a, again.a, da), ("db", got.b, again.b, db), ("dbias", got.bias, again.bias, dbias)];
    for (name, got, again, want) in pairs {
        let [got, again] = [got, again].map(|gradient| gradient.unwrap().read().unwrap());
        compare(&format!("{what} {name}"), &label(gpu), &got, &want, &TOLERANCE)?;
        same_bits(&format!("{what} {name}: two runs"), &got, &again)?;
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
fn host_products_agree_with_the_twin() {
    check(&host()).unwrap();
}

#[test]
fn twin_agrees_with_central_differences() {
    let sizes @ [heads, n, k] = [3, 4, 5];
    // The second head has no rows, and the last row has no head.
    let assignment = [2, 0, 0, 2, 9];
    let kept = [0, 1, 2, 3].map(|row| row * n).map(|start| start..start + n);
    let mut inputs = Inputs::new(1);
    let (a, b, bias) =
        (wide(&inputs.normal(5 * k)), wide(&inputs.normal(heads * k * n)), wide(&inputs.normal(heads * n)));
    let dc = wide(&inputs.normal(5 * n));
    for activation in [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        for transpose_b in [false, true] {
            let options = Options { transpose_b, activation };
            let f = |a: &[f64], b: &[f64], bias: &[f64]| -> f64 {
                let c = cpu::forward(options, sizes, &assignment, a, b, Some(bias));
                kept.iter().cloned().flatten().map(|i| c[i] * dc[i]).sum()
            };
            let c = cpu::forward(options, sizes, &assignment, &a, &b, Some(&bias));
            assert!(c[4 * n..].iter().all(|c| c.is_nan()));
            let (mut da, db, dbias) = cpu::backward(options, sizes, &assignment, &a, &b, &c, &dc);
            assert!(da[4 * k..].iter().all(|da| da.is_nan()));
            // `f` leaves out the row of no head.
            da[4 * k..].fill(0.0);
            let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
            assert_gradient("da", |a| f(a, &b, &bias), &a, &da, &tolerance);
            assert_gradient("db", |b| f(&a, b, &bias), &b, &db, &tolerance);
            assert_gradient("dbias", |bias| f(&a, &b, bias), &bias, &dbias, &tolerance);
        }
    }
}

/// One head is a plain product; a row's result does not depend on the other rows.
#[test]
fn rows_do_not_depend_on_the_batch_or_its_order() {
    for gpu in gpus() {
        let mut inputs = Inputs::new(4);
        let [rows, heads, n, k] = [192, 5, 30, 40];
        let (a, b, assignment) =
            (inputs.normal(rows * k), inputs.normal(heads * k * n), inputs.index(rows, heads as u32));
        let tb = gpu.tensor(&b, [heads, k, n]).unwrap();
        let run = |index: &[usize]| {
            let a: Vec<f32> = index.iter().flat_map(|&row| a[row * k..][..k].to_vec()).collect();
            let assignment: Vec<u32> = index.iter().map(|&row| assignment[row]).collect();
            let groups = Groups::new(gpu, &gpu.tensor(&assignment, [index.len()]).unwrap(), heads).unwrap();
            let a = gpu.tensor(&a, [index.len(), k]).unwrap();
            forward(gpu, Options::default(), &groups, &a, &tb, None).unwrap().read().unwrap()
        };
        let all: Vec<usize> = (0..rows).collect();
        let whole = run(&all);
        let parts: Vec<f32> = [0..64, 64..100, 100..rows].into_iter().flat_map(|range| run(&all[range])).collect();
        same_bits("split in three", &whole, &parts).unwrap();
        let backwards: Vec<usize> = all.iter().rev().copied().collect();
        let turned: Vec<f32> = run(&backwards).chunks(n).rev().flatten().copied().collect();
        same_bits("backwards", &whole, &turned).unwrap();
    }
}

#[test]
fn not_a_number_stays_in_its_row_and_its_head() {
    for gpu in gpus().iter().chain([&host()]) {
        let groups = Groups::new(gpu, &gpu.tensor(&[1u32, 0, 1, 0], [4]).unwrap(), 2).unwrap();
        let a = gpu.tensor(&[f32::NAN, 1.0, 2.0, 3.0, f32::INFINITY, 1.0, 4.0, 5.0], [4, 2]).unwrap();
        let b = gpu.tensor(&[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0], [2, 2, 2]).unwrap();
        for activation in [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
            let options = Options { activation, ..Options::default() };
            let c = forward(gpu, options, &groups, &a, &b, None).unwrap();
            let values = c.read().unwrap();
            assert!(values[..2].iter().all(|c| c.is_nan()), "{activation:?}: {values:?}");
            assert!(values[2..4].iter().chain(&values[6..]).all(|c| c.is_finite()), "{activation:?}: {values:?}");
            let bounded = matches!(activation, Activation::Tanh | Activation::Sigmoid);
            assert!(values[4..6].iter().all(|&c| c == if bounded { 1.0 } else { f32::INFINITY }), "{values:?}");
            let dc = gpu.tensor(&[1.0f32; 8], [4, 2]).unwrap();
            let gradients = backward(gpu, options, &groups, &a, &b, &c, &dc, [true, true], true).unwrap();
            let db = gradients.b.unwrap().read().unwrap();
            assert!(db[..4].iter().all(|db| db.is_finite()), "{activation:?}: {db:?}");
            assert!(db[4..6].iter().all(|db| !db.is_finite()), "{activation:?}: {db:?}");
        }
    }
}

#[test]
fn empty() {
    for gpu in gpus() {
        let groups = Groups::new(gpu, &gpu.tensor(&[1u32, 7, 0], [3]).unwrap(), 2).unwrap();
        let bias = gpu.tensor(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]).unwrap();
        for (shape, transpose_b) in [([2, 0, 2], false), ([2, 2, 0], true)] {
            let (a, b) = (gpu.zeros([3, 0]).unwrap(), gpu.zeros(shape).unwrap());
            let options = Options { transpose_b, ..Options::default() };
            let c = forward(gpu, options, &groups, &a, &b, Some(&bias)).unwrap();
            let values = c.read().unwrap();
            assert_eq!([values[0], values[1], values[4], values[5]], [3.0, 4.0, 1.0, 2.0]);
            assert!(values[2].is_nan() && values[3].is_nan());
            let gradients = backward(gpu, options, &groups, &a, &b, &c, &c, [true, true], true).unwrap();
            assert_eq!(gradients.a.unwrap().shape().dims(), [3, 0]);
            assert_eq!(gradients.b.unwrap().shape().dims(), shape);
            assert_eq!(gradients.bias.unwrap().read().unwrap(), [1.0, 2.0, 3.0, 4.0]);
        }
        let (a, b) = (gpu.zeros([3, 2]).unwrap(), gpu.zeros([2, 2, 0]).unwrap());
        assert!(forward(gpu, Options::default(), &groups, &a, &b, None).unwrap().is_empty());
    }
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let assignment = gpu.tensor(&[0u32, 1, 1], [3]).unwrap();
    let groups = Groups::new(gpu, &assignment, 2).unwrap();
    let argument = |result: crate::Result<Groups>| match result {
        Err(Error::Argument { argument, .. } | Error::Shape { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    assert_eq!(argument(Groups::new(gpu, &assignment, 0)), "heads");
    assert_eq!(argument(Groups::every(gpu, 3, 0)), "heads");
    assert_eq!(argument(Groups::new(gpu, &gpu.zeros([3]).unwrap(), 2)), "assignment");
    assert_eq!(argument(Groups::new(gpu, &assignment.reshape([1, 3]).unwrap(), 2)), "assignment");
    assert!(matches!(Groups::every(gpu, usize::MAX / 2, 3), Err(Error::TooLarge { .. })));
    let of = |a: &[usize], b: &[usize], bias: Option<&[usize]>| {
        let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
        let bias: Option<Tensor> = bias.map(zeros);
        match forward(gpu, Options::default(), &groups, &zeros(a), &zeros(b), bias.as_ref()) {
            Err(Error::Shape { argument, .. }) => argument,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of(&[2, 4], &[2, 4, 5], None), "a");
    assert_eq!(of(&[12], &[2, 4, 5], None), "a");
    assert_eq!(of(&[3, 4], &[3, 4, 5], None), "b");
    assert_eq!(of(&[3, 4], &[2, 5, 4], None), "b");
    assert_eq!(of(&[3, 4], &[8, 5], None), "b");
    assert_eq!(of(&[3, 4], &[2, 4, 5], Some(&[5])), "bias");
    let (a, b, c) = (gpu.zeros([3, 4]).unwrap(), gpu.zeros([2, 4, 5]).unwrap(), gpu.zeros([3, 5]).unwrap());
    let gradients =
        |c: &Tensor, dc: &Tensor| match backward(gpu, Options::default(), &groups, &a, &b, c, dc, [true; 2], false) {
            Err(Error::Shape { argument, .. }) => argument,
            other => panic!("{other:?}"),
        };
    assert_eq!(gradients(&a, &c), "c");
    assert_eq!(gradients(&c, &a), "dc");
}

#[test]
fn more_terms_than_a_driver_lets_a_loop_turn() {
    // lavapipe ends all loops of an invocation after 65,536 turns in total, without an error.
    for gpu in gpus() {
        let n = 70_000;
        let ones = gpu.tensor(&vec![1.0f32; 2 * n], [2 * n]).unwrap();
        let groups = Groups::new(gpu, &gpu.tensor(&[1u32, 0], [2]).unwrap(), 2).unwrap();
        let (a, b) = (ones.reshape([2, n]).unwrap(), ones.reshape([2, n, 1]).unwrap());
        let bias = gpu.tensor(&[0.5f32, 1.5], [2, 1]).unwrap();
        let c = forward(gpu, Options::default(), &groups, &a, &b, Some(&bias)).unwrap().read().unwrap();
        assert_eq!(c, [70_001.5, 70_000.5], "{}", label(gpu));
        // As many rows in one head, and one in the other.
        let assignment: Vec<u32> = (0..=n).map(|row| u32::from(row == 5)).collect();
        let groups = Groups::new(gpu, &gpu.tensor(&assignment, [n + 1]).unwrap(), 2).unwrap();
        let a = ones.view(0, [n + 1, 1]).unwrap();
        let b = gpu.tensor(&[1.0f32, 1.0], [2, 1, 1]).unwrap();
        let gradients = backward(gpu, Options::default(), &groups, &a, &b, &a, &a, [false, true], true).unwrap();
        for gradient in [gradients.b, gradients.bias] {
            assert_eq!(gradient.unwrap().read().unwrap(), [70_000.0, 1.0], "{}", label(gpu));
        }
        assert!(gradients.a.is_none());
    }
}

#[test]
fn one_head_is_a_product() {
    for gpu in gpus() {
        let mut inputs = Inputs::new(8);
        let a = gpu.tensor(&inputs.normal(37 * 21), [37, 21]).unwrap();
        let b = gpu.tensor(&inputs.normal(21 * 13), [21, 13]).unwrap();
        let plain = matmul::forward(gpu, matmul::Options::default(), &a, &b, None).unwrap().read().unwrap();
        let groups = Groups::every(gpu, 37, 1).unwrap();
        let grouped = forward(gpu, Options::default(), &groups, &a, &b.reshape([1, 21, 13]).unwrap(), None).unwrap();
        compare("one head", &label(gpu), &grouped.read().unwrap(), &wide(&plain), &TOLERANCE).unwrap();
    }
}
