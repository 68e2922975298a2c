//! Tests of the matrix product.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::{Activation, Kernel, Options, backward, cpu, forward, multiply};
use crate::ops::unary::{self, Unary};
use crate::testing::{config, gpus, label, open, wide};
use crate::{Error, Gpu, GpuConfig, Plan};

/// A sum of k products of normals has error about sqrt(k) 2^-24 of its terms; k is at most 300 here, and slopes up to 1.
const TOLERANCE: Tolerance =
    Tolerance::new(3e-5, 3e-6, "k <= 300 products of normals: 300 * 2^-24, plus one activation");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the last inner index is dropped", "k < params.last; k++", "k + 1u < params.last; k++", "cpu"),
    mutant(
        "columns past the edge are stored over the next row",
        "row >= params.m || col >= params.n) { return; }\n  var v",
        "row >= params.m) { return; }\n  var v",
        "both",
    ),
    Mutant {
        hidden: Some("drivers discard what is stored past the end of a binding"),
        ..mutant(
            "rows past the edge are stored",
            "row >= params.m || col >= params.n) { return; }\n  var v",
            "col >= params.n) { return; }\n  var v",
            "both",
        )
    },
    mutant("bias by row", "v += bias[col]", "v += bias[row]", "both"),
    mutant("the bias of a sliced product by row", "fold_bias[i % params.n]", "fold_bias[i / params.n]", "gpu"),
    mutant("the last slice is left out", "z < params.slice; z++", "z + 1u < params.slice; z++", "gpu"),
    mutant("slices overlap", "min(first + params.slice, params.last)", "params.last", "gpu"),
    mutant(
        "wide: rows of the lower half repeat",
        "c7a += wide_a[ra + 67u] * ba;",
        "c7a += wide_a[ra + 66u] * ba;",
        "gpu",
    ),
    mutant(
        "wide: B taken as stored",
        "(col + pb.x) * params.k + kb, TRANSPOSE_B)",
        "(col + pb.x) * params.k + kb, false)",
        "gpu",
    ),
    mutant(
        "wide: no barrier before the tile is read",
        "= vb[j];\n    }\n    workgroupBarrier();",
        "= vb[j];\n    }",
        "gpu",
    ),
    mutant("transpose of B is ignored", "b[col * params.k + k]", "b[k * params.n + col]", "both"),
    mutant(
        "no barrier before the tile is overwritten",
        "* vb; }\n    }\n    workgroupBarrier();",
        "* vb; }\n    }",
        "gpu",
    ),
    mutant(
        "no barrier before the tile is read",
        "start + kb, col + cb); }\n    }\n    workgroupBarrier();",
        "start + kb, col + cb); }\n    }",
        "gpu",
    ),
    mutant("sigmoid's slope without 1 - y", "y[i] * (1.0 - y[i])", "y[i]", "both"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str, plan: &'static str) -> Mutant {
    Mutant { op: "matmul", name, shader: "matmul", from, to, plan, hidden: None }
}

/// `[m, n, k]`: empty, thin, not multiples of any tile, several workgroups.
const SIZES: &[[usize; 3]] =
    &[[1, 1, 1], [3, 2, 5], [7, 65, 17], [64, 64, 64], [65, 9, 257], [130, 70, 33], [1, 300, 3], WIDE];
/// Two wide tiles a side, none of them full, in rows of whole fours.
const WIDE: [usize; 3] = [136, 204, 52];

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    let activations = [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid];
    for (at, &sizes @ [m, n, k]) in SIZES.iter().enumerate() {
        for flags in 0..4 {
            // Each activation meets each pair of flags over the sizes.
            let options = Options {
                transpose_a: flags & 1 == 1,
                transpose_b: flags & 2 == 2,
                activation: activations[(at + flags) % 4],
            };
            let mut inputs = Inputs::new((at * 4 + flags) as u64);
            let (a, b, bias) = (inputs.normal(m * k), inputs.normal(k * n), inputs.normal(n));
            let shape = |rows, cols, transposed: bool| if transposed { [cols, rows] } else { [rows, cols] };
            let ta = gpu.tensor(&a, shape(m, k, options.transpose_a)).unwrap();
            let tb = gpu.tensor(&b, shape(k, n, options.transpose_b)).unwrap();
            let tbias = gpu.tensor(&bias, [n]).unwrap();
            let with_bias = at % 2 == 0;
            let c = forward(gpu, options, &ta, &tb, with_bias.then_some(&tbias)).unwrap();
            let what = format!("{options:?} {sizes:?}");
            let (wa, wb) = (wide(&a), wide(&b));
            let want = cpu::forward(options, sizes, &wa, &wb, with_bias.then_some(&wide(&bias)));
            compare(&what, &label(gpu), &c.read().unwrap(), &want, &TOLERANCE)?;
            let dc = inputs.normal(m * n);
            let tdc = gpu.tensor(&dc, [m, n]).unwrap();
            let run = || backward(gpu, options, &ta, &tb, &c, &tdc, [true, true], true).unwrap();
            let (da, db, dbias) = cpu::backward(options, sizes, &wa, &wb, &wide(&c.read().unwrap()), &wide(&dc));
            let got = run();
            for (name, got, want) in [("da", got.a, da), ("db", got.b, db), ("dbias", got.bias, dbias)] {
                compare(&format!("{what} {name}"), &label(gpu), &got.unwrap().read().unwrap(), &want, &TOLERANCE)?;
            }
            if gpu.plan() == Plan::Gpu && sizes == WIDE {
                // The plan chooses it for larger ones; whole and in slices.
                for slices in [1, 3] {
                    let kernel = Kernel { entry: "multiply_wide", tile: 128, slices }.even(k);
                    let c = gpu.zeros([m, n]).unwrap();
                    multiply(gpu, kernel, options, sizes, &ta, &tb, with_bias.then_some(&tbias), &c).unwrap();
                    compare(&format!("{what} wide / {slices}"), &label(gpu), &c.read().unwrap(), &want, &TOLERANCE)?;
                }
            }
            let again = [run().a, run().a].map(|da| da.unwrap().read().unwrap());
            same_bits(&what, &again[0], &again[1])?;
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

/// A device whose products all run on the host, where it can.
pub(crate) fn host() -> Gpu {
    open(GpuConfig { plan: Some(Plan::Cpu), host_matmul: Some(0), ..config() })
}

#[test]
fn host_products_agree_with_the_twin() {
    check(&host()).unwrap();
}

#[test]
fn host_products_keep_order_and_share_buffers() {
    let gpu = host();
    let mut inputs = Inputs::new(9);
    let values = inputs.normal(2 * 64 * 64);
    let both = gpu.tensor(&values, [2, 64, 64]).unwrap();
    let (a, b) = (both.view(0, [64, 64]).unwrap(), both.view(64 * 64, [64, 64]).unwrap());
    // Both operands in one buffer; what was recorded before is seen, and what is recorded later comes after.
    let negative = Unary::Affine { scale: -1.0, shift: 0.0 };
    let scaled = unary::forward(&gpu, negative, &a).unwrap();
    let c = forward(&gpu, Options::default(), &scaled, &b, None).unwrap();
    let square = forward(&gpu, Options::default(), &b, &b, None).unwrap();
    let copy = unary::forward(&gpu, negative, &c).unwrap();
    gpu.copy(&scaled, &c).unwrap();
    let (wa, wb) = (wide(&values[..4096]), wide(&values[4096..]));
    let want = cpu::forward(Options::default(), [64, 64, 64], &wa, &wb, None);
    compare("-(-A B)", &label(&gpu), &copy.read().unwrap(), &want, &TOLERANCE).unwrap();
    let want = cpu::forward(Options::default(), [64, 64, 64], &wb, &wb, None);
    compare("B B", &label(&gpu), &square.read().unwrap(), &want, &TOLERANCE).unwrap();
    assert_eq!(c.read().unwrap(), scaled.read().unwrap());
}

#[test]
fn twin_agrees_with_central_differences() {
    let sizes @ [m, n, k] = [3, 4, 5];
    let mut inputs = Inputs::new(1);
    let (a, b, bias) = (wide(&inputs.normal(m * k)), wide(&inputs.normal(k * n)), wide(&inputs.normal(n)));
    let dc = wide(&inputs.normal(m * n));
    for activation in [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        for (transpose_a, transpose_b) in [(false, false), (true, true)] {
            let options = Options { transpose_a, transpose_b, activation };
            let f = |a: &[f64], b: &[f64], bias: &[f64]| -> f64 {
                cpu::forward(options, sizes, a, b, Some(bias)).iter().zip(&dc).map(|(c, g)| c * g).sum()
            };
            let c = cpu::forward(options, sizes, &a, &b, Some(&bias));
            let (da, db, dbias) = cpu::backward(options, sizes, &a, &b, &c, &dc);
            let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
            assert_gradient("da", |a| f(a, &b, &bias), &a, &da, &tolerance);
            assert_gradient("db", |b| f(&a, b, &bias), &b, &db, &tolerance);
            assert_gradient("dbias", |bias| f(&a, &b, bias), &bias, &dbias, &tolerance);
        }
    }
}

#[test]
fn rows_do_not_depend_on_the_batch() {
    for gpu in gpus() {
        let mut inputs = Inputs::new(4);
        let (a, b) = (inputs.normal(192 * 40), inputs.normal(40 * 30));
        let tb = gpu.tensor(&b, [40, 30]).unwrap();
        let rows = |range: std::ops::Range<usize>| {
            let ta = gpu.tensor(&a[range.start * 40..range.end * 40], [range.len(), 40]).unwrap();
            forward(gpu, Options::default(), &ta, &tb, None).unwrap().read().unwrap()
        };
        let parts: Vec<f32> = [0..64, 64..100, 100..192].into_iter().flat_map(rows).collect();
        same_bits("split in three", &rows(0..192), &parts).unwrap();
    }
}

#[test]
fn nan_and_empty() {
    for gpu in gpus() {
        let a = gpu.tensor(&[f32::NAN, 1.0, 2.0, 3.0], [2, 2]).unwrap();
        let b = gpu.tensor(&[1.0f32, 0.0, 0.0, 1.0], [2, 2]).unwrap();
        for activation in [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
            let c = forward(gpu, Options { activation, ..Options::default() }, &a, &b, None).unwrap().read().unwrap();
            assert!(c[0].is_nan() && c[1].is_nan() && c[2].is_finite() && c[3].is_finite(), "{activation:?}: {c:?}");
        }
        let (empty, wide) = (gpu.zeros([2, 0]).unwrap(), gpu.zeros([0, 3]).unwrap());
        assert_eq!(forward(gpu, Options::default(), &empty, &wide, None).unwrap().read().unwrap(), [0.0; 6]);
        assert!(forward(gpu, Options::default(), &wide, &gpu.zeros([3, 4]).unwrap(), None).unwrap().is_empty());
    }
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let (a, b) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([4, 5]).unwrap());
    assert!(matches!(forward(gpu, Options::default(), &a, &b, None), Err(Error::Shape { argument: "b", .. })));
    let b = gpu.zeros([3, 5]).unwrap();
    let bias = gpu.zeros([4]).unwrap();
    assert!(matches!(
        forward(gpu, Options::default(), &a, &b, Some(&bias)),
        Err(Error::Shape { argument: "bias", .. })
    ));
    assert!(matches!(forward(gpu, Options::default(), &bias, &b, None), Err(Error::Shape { argument: "a", .. })));
}

#[test]
fn more_inner_indices_than_a_driver_lets_a_loop_turn() {
    // lavapipe ends all loops of an invocation after 65,536 turns in total, without an error.
    for gpu in gpus() {
        let (a, bias) = (gpu.tensor(&vec![1.0f32; 140_000], [2, 70_000]).unwrap(), gpu.tensor(&[0.5f32], [1]).unwrap());
        let b = a.reshape([140_000, 1]).unwrap().view(0, [70_000, 1]).unwrap();
        let options = Options { activation: Activation::Relu, ..Options::default() };
        let c = forward(gpu, options, &a, &b, Some(&bias)).unwrap().read().unwrap();
        assert_eq!(c, [70_000.5, 70_000.5], "{}", label(gpu));
    }
}
