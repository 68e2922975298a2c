//! Tests of the relaxed sorts.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, compare, same_bits};

use super::{
    Gradients, Kind, Relaxation, Wanted, backward, backward_transposed, cpu, forward, hard, hard_transposed, matrix,
    normalisers, prepare, transposed,
};
use crate::testing::{golden, gpus, label, numbers, thirds, wide};
use crate::{Error, Gpu, Tensor};

const BOTH: Wanted = Wanted { scores: true, x: true };
/// Exponents down to -40 are sums of gaps of one sign: 40 · 10 · 2^-24 where entries matter, in every entry of a sum.
const TOLERANCE: Tolerance = Tolerance::new(2e-6, 3e-5, "40 · 10 · 2^-24 in exponents, values up to 4");
/// Of the largest gradient of the call: sums of terms 2 (r - i) dz, which cancel in part.
const BACKWARD: f64 = 3e-5;

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("weights of rows", "max(2.0 * distance - 1.0, vec4<f32>(0.0))", "max(2.0 * distance - 2.0, vec4<f32>(0.0))"),
    mutant(
        "gaps before forgotten along columns",
        "(*walk).exponent -= 2.0 * (*walk).away + step;",
        "(*walk).exponent -= step;",
    ),
    mutant("the diagonal twice", "walk.beyond = 0.5;", "walk.beyond = -0.5;"),
    mutant("no temperature", "abs(t - (*walk).last) / temperature", "abs(t - (*walk).last)"),
    mutant("the walk ends early", "CUT: f32 = -40.0", "CUT: f32 = -4.0"),
    mutant("the farthest ends the walk", "walk.step > 0); }", "walk.step < 0); }"),
    mutant("a tile past the end", "min(place.first + TILE, place.length) - 1u;", "place.first + TILE - 1u;"),
    mutant("columns in the place of the first", "x[e + min(c + 5u, last)]", "x[e + min(c, last)]"),
    mutant("sums not inverted", "one[1] / sum[1]", "one[1] / one[1]"),
    mutant("NaN loses its row", "select(1.0, t, is_nan(t))", "select(1.0, t, false)"),
    mutant("no normaliser in columns", "inverse_in[p] * cells(walk)", "cells(walk) + 0.0 * inverse_in[p] * ONES"),
    mutant("pulls of every chunk", "let pull = select(0.0, pulls[p], place.column == 0u);", "let pull = pulls[p];"),
    mutant("slopes of one chunk", "select(slopes[e], 0.0, place.column == 0u) + share", "share"),
    mutant("leans the other way", "let away = f32(-walk.step);", "let away = f32(walk.step);"),
    mutant(
        "tied scores pull",
        "vec4<f32>(0.0), exponent == vec4<f32>(0.0)",
        "vec4<f32>(1.0), exponent == vec4<f32>(0.0)",
    ),
    mutant("rows without their pull", "(sum - total * pull)", "sum"),
    mutant("rows without temperature", "inverse_in[p] / place.temperature", "inverse_in[p]"),
    mutant("scores above left out", "(share * (bound - f32(r)) + before)", "(share * (bound - f32(r)))"),
    mutant("scores below left out", "share * (bound - f32(r)) - before", "share * (bound - f32(r))"),
    mutant("ties above one another", "if (t != last) {\n        before", "if (true) {\n        before"),
    mutant("SoftSort's rows left out", "lean - leans_in[p]", "lean + 0.0 * leans_in[p]"),
    mutant("permutes one way", "permuted[select(id, from_item, SCATTER)]", "permuted[id]"),
    mutant("of equal scores the last first", "(distance < vec4<f32>(0.0))", "(distance > vec4<f32>(0.0))"),
    mutant("infinite gaps", "clamp(s, -1e38, 1e38)", "s"),
    mutant(
        "one sum of all rows",
        "for (var c = 0u; c < columns; c++) { sum +=",
        "for (var c = 0u; c < 1u; c++) { sum +=",
    ),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "relaxed_sort", name, shader: "relaxed_sort", from, to, plan: "both", hidden: None }
}

/// What the twin says of rows of scores: `P`, then `P x` and `Pᵀ x`, and of both the gradients of scores and `x`.
struct Want {
    p: Vec<f64>,
    products: [Vec<f64>; 2],
    ds: [Vec<f64>; 2],
    dx: [Vec<f64>; 2],
}

fn twin(kind: Kind, t: f64, s: &[f64], n: usize, x: &[f64], dy: &[f64]) -> Want {
    let mut want = Want { p: vec![], products: [vec![], vec![]], ds: [vec![], vec![]], dx: [vec![], vec![]] };
    let size = x.len() / s.len() * n;
    let columns = size / n;
    for ((s, x), dy) in s.chunks(n).zip(x.chunks(size)).zip(dy.chunks(size)) {
        let p = cpu::matrix(kind, s, t);
        for (i, transpose) in [false, true].into_iter().enumerate() {
            want.products[i].extend(cpu::product(&p, n, x, transpose));
            want.dx[i].extend(cpu::product(&p, n, dy, !transpose));
            let (by_row, by_column) = if transpose { (x, dy) } else { (dy, x) };
            let dp: Vec<f64> = (0..n * n)
                .map(|e| (0..columns).map(|c| by_row[e / n * columns + c] * by_column[e % n * columns + c]).sum())
                .collect();
            want.ds[i].extend(cpu::backward(kind, s, t, &dp));
        }
        want.p.extend(p);
    }
    want
}

/// All results of a call: `P`, products, their gradients by scores, and by `x`.
fn run(gpu: &Gpu, relaxation: Relaxation, s: &[f32], n: usize, x: &[f32], dy: &[f32]) -> [Vec<f32>; 7] {
    let (rows, columns) = (s.len() / n, x.len() / s.len());
    let sorted = prepare(gpu, &gpu.tensor(s, [rows, n]).unwrap()).unwrap();
    let [x, dy] = [x, dy].map(|x| gpu.tensor(x, [rows, n, columns]).unwrap());
    let (y, inverse) = forward(gpu, &sorted, relaxation, &x).unwrap();
    let yt = transposed(gpu, &sorted, relaxation, &normalisers(gpu, &sorted, relaxation).unwrap(), &x).unwrap();
    let one = backward(gpu, &sorted, relaxation, &inverse, &x, &y, &dy, BOTH).unwrap();
    let two = backward_transposed(gpu, &sorted, relaxation, &inverse, &x, &dy, BOTH).unwrap();
    let read = |x: &Tensor| x.read().unwrap();
    let both = |g: &Gradients| [g.scores.as_ref().unwrap().read().unwrap(), g.x.as_ref().unwrap().read().unwrap()];
    let ([ds, dx], [dst, dxt]) = (both(&one), both(&two));
    [read(&matrix(gpu, &sorted, relaxation).unwrap()), read(&y), read(&yt), ds, dst, dx, dxt]
}

pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    let sizes = [(1, 1, 1), (3, 2, 4), (70, 7, 3), (2, 63, 8), (5, 16, 20), (2, 65, 9), (1, 257, 5)];
    for (rows, n, columns) in sizes {
        for t in [0.3, 2.0] {
            let mut inputs = Inputs::new(n as u64);
            let mut s = inputs.normal(rows * n);
            agrees(gpu, "random", &s, n, columns, t)?;
            // Ties, many of them.
            s.iter_mut().for_each(|s| *s = s.round());
            agrees(gpu, "tied", &s, n, columns, t)?;
        }
    }
    // An outlier, which costs the others no accuracy, infinities and NaN.
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let outlier = [0.25, 1e6, 0.5, -0.125, 0.75, -3e6];
    agrees(gpu, "outliers", &outlier, 6, 2, 1.0)?;
    let special = [0.25, inf, 0.5, -inf, -inf, 0.75, 0.25, inf, nan, -inf, 1.0, 0.5, inf, inf, -inf, -inf, inf, inf];
    let special: Vec<f32> = special.iter().copied().chain([1.0, 0.5, 0.25, 2.0, 3.0, 0.0]).collect();
    let mut inputs = Inputs::new(4);
    let x = inputs.normal(special.len() * 2);
    for kind in [Kind::Neural, Kind::Soft] {
        let got = run(gpu, Relaxation { kind, temperature: 1.0 }, &special, 6, &x, &x);
        let want = twin(kind, 1.0, &wide(&special), 6, &wide(&x), &wide(&x));
        compare("special P", &label(gpu), &got[0], &want.p, &TOLERANCE)?;
        compare("special P x", &label(gpu), &got[1], &want.products[0], &TOLERANCE)?;
        compare("special P' x", &label(gpu), &got[2], &want.products[1], &TOLERANCE)?;
        let shown = |x: &[f32]| x.iter().map(|x| if x.is_nan() { *x } else { 0.0 }).collect::<Vec<_>>();
        let want: Vec<f64> = (0..special.len()).map(|i| if i / 6 == 1 { f64::NAN } else { 0.0 }).collect();
        compare("NaN in gradients", &label(gpu), &shown(&got[3]), &want, &TOLERANCE)?;
        compare("NaN in transposed gradients", &label(gpu), &shown(&got[4]), &want, &TOLERANCE)?;
    }
    permutes(gpu)
}

fn agrees(gpu: &Gpu, what: &str, s: &[f32], n: usize, columns: usize, t: f32) -> Result<(), Mismatch> {
    let mut inputs = Inputs::new(columns as u64);
    let [x, dy] = [0; 2].map(|_| inputs.normal(s.len() * columns));
    let rows = s.len() / n;
    for kind in [Kind::Neural, Kind::Soft] {
        let relaxation = Relaxation { kind, temperature: t };
        let got = run(gpu, relaxation, s, n, &x, &dy);
        let want = twin(kind, f64::from(t), &wide(s), n, &wide(&x), &wide(&dy));
        let of = |part: &str| format!("{part} of {what} scores [{rows}, {n}], {columns} columns, {relaxation:?}");
        let [y, yt] = want.products;
        let [ds, dst] = want.ds;
        let [dx, dxt] = want.dx;
        for (i, (part, want)) in
            [("P", want.p), ("P x", y), ("P' x", yt), ("dx", dx), ("dx of P'", dxt)].iter().enumerate()
        {
            let got = [&got[0], &got[1], &got[2], &got[5], &got[6]][i];
            compare(&of(part), &label(gpu), got, want, &TOLERANCE)?;
        }
        for (part, got, want) in [("ds", &got[3], ds), ("ds of P'", &got[4], dst)] {
            let largest = want.iter().fold(1e-2, |a: f64, b| a.max(b.abs()));
            let tolerance = Tolerance::new(BACKWARD * largest, 0.0, "of the largest gradient, see above");
            compare(&of(part), &label(gpu), got, &want, &tolerance)?;
        }
        if rows < 5 {
            continue;
        }
        let split: Vec<[Vec<f32>; 7]> = thirds(rows)
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| {
                let of = |x: &[f32], size: usize| x[part.start * size..part.end * size].to_vec();
                run(gpu, relaxation, &of(s, n), n, &of(&x, n * columns), &of(&dy, n * columns))
            })
            .collect();
        for (i, got) in got.iter().enumerate() {
            let parts: Vec<f32> = split.iter().flat_map(|part| part[i].clone()).collect();
            same_bits(&of("split in three"), got, &parts)?;
        }
    }
    Ok(())
}

/// The sort itself, exactly, and the relaxations close to it.
fn permutes(gpu: &Gpu) -> Result<(), Mismatch> {
    let exact = Tolerance::new(0.0, 0.0, "a permutation");
    for n in [1, 2, 63, 257] {
        let (rows, columns) = (3, 2);
        let mut inputs = Inputs::new(n as u64);
        // No ties, and one of the rows is NaN.
        let mut s: Vec<f32> = (0..rows * n).map(|i| ((i * 101) % 263) as f32 / 16.0).collect();
        s[2 * n] = f32::NAN;
        let x = inputs.normal(rows * n * columns);
        let sorted = prepare(gpu, &gpu.tensor(&s, [rows, n]).unwrap()).unwrap();
        let tx = gpu.tensor(&x, [rows, n, columns]).unwrap();
        let orders: Vec<Vec<usize>> = wide(&s).chunks(n).map(cpu::order).collect();
        let order: Vec<f32> = sorted.order().read_u32().unwrap().iter().map(|&j| j as f32).collect();
        let want: Vec<f64> = orders.iter().flatten().map(|&j| j as f64).collect();
        compare("order", &label(gpu), &order, &want, &exact)?;
        let mut want = [vec![0.0; x.len()], vec![0.0; x.len()]];
        for (e, i, c) in (0..x.len()).map(|e| (e, e / columns, e % columns)) {
            let item = (i / n * n + orders[i / n][i % n]) * columns + c;
            want[0][e] = if i / n == 2 { f64::NAN } else { f64::from(x[item]) };
            want[1][item] = if i / n == 2 { f64::NAN } else { f64::from(x[e]) };
        }
        compare("sort", &label(gpu), &hard(gpu, &sorted, &tx).unwrap().read().unwrap(), &want[0], &exact)?;
        compare("back", &label(gpu), &hard_transposed(gpu, &sorted, &tx).unwrap().read().unwrap(), &want[1], &exact)?;
        for (kind, temperature) in
            [(Kind::Neural, 1e-3), (Kind::Soft, 1e-3), (Kind::Neural, 1e-38), (Kind::Soft, 1e-45)]
        {
            let relaxation = Relaxation { kind, temperature };
            let (y, inverse) = forward(gpu, &sorted, relaxation, &tx).unwrap();
            compare("cold sort", &label(gpu), &y.read().unwrap(), &want[0], &exact)?;
            let y = transposed(gpu, &sorted, relaxation, &inverse, &tx).unwrap();
            compare("cold back", &label(gpu), &y.read().unwrap(), &want[1], &exact)?;
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
    let mut inputs = Inputs::new(1);
    let (s, dp) = (wide(&inputs.normal(5)), wide(&inputs.normal(25)));
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    for kind in [Kind::Neural, Kind::Soft] {
        for t in [0.5, 3.0] {
            let f = |s: &[f64]| cpu::matrix(kind, s, t).iter().zip(&dp).map(|(p, g)| p * g).sum::<f64>();
            assert_gradient("relaxed_sort", f, &s, &cpu::backward(kind, &s, t, &dp), &tolerance);
        }
    }
}

#[test]
fn golden_values() {
    for case in golden("relaxed_sort") {
        let [s, dp, t] = ["scores", "cotangent", "tau"].map(|name| numbers(&case[name]));
        let (id, n, t) = (case["id"].as_str().unwrap(), s.len(), t[0]);
        for (kind, name) in [(Kind::Neural, "neuralsort"), (Kind::Soft, "softsort")] {
            let (want, vjp) = (numbers(&case[name]), numbers(&case[format!("{name}_vjp")]));
            let exact = Tolerance::new(1e-12, 1e-9, "f64");
            assert_close_f64(name, id, &cpu::matrix(kind, &s, t), &want, &exact);
            assert_close_f64(name, id, &cpu::backward(kind, &s, t, &dp), &vjp, &Tolerance { abs: 1e-9, ..exact });
            for gpu in gpus() {
                let [s, dp] = [&s, &dp].map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
                let eye: Vec<f32> = (0..n * n).map(|e| f32::from(e / n == e % n)).collect();
                let relaxation = Relaxation { kind, temperature: t as f32 };
                let [p, y, _, ds, ..] = run(gpu, relaxation, &s, n, &eye, &dp);
                compare(id, &label(gpu), &p, &want, &TOLERANCE).unwrap();
                compare(id, &label(gpu), &y, &want, &TOLERANCE).unwrap();
                let largest = |x: &[f64]| x.iter().fold(1e-2, |a: f64, b| a.max(b.abs()));
                // Where P is almost a permutation, a cotangent less its mean cancels, and is divided by T.
                let cancelled = 2f64.powi(-23) * largest(&wide(&dp)) * n as f64 / t;
                let tolerance = Tolerance::new(BACKWARD * largest(&vjp) + cancelled, 0.0, "see above");
                compare(id, &label(gpu), &ds, &vjp, &tolerance).unwrap();
            }
        }
    }
}

#[test]
fn digits_of_neural_sort() {
    let s = [0.3f32, -0.2, 0.5, 0.1];
    let want = [
        [0.34570128, 0.04233334, 0.42224049, 0.18972488],
        [0.33666264, 0.11206526, 0.27563605, 0.27563605],
        [0.27210501, 0.24621079, 0.14933439, 0.33234981],
        [0.17700364, 0.4353587, 0.065116, 0.32252166],
    ]
    .concat();
    for gpu in gpus() {
        let sorted = prepare(gpu, &gpu.tensor(&s, [4]).unwrap()).unwrap();
        let p = matrix(gpu, &sorted, Relaxation { kind: Kind::Neural, temperature: 1.0 }).unwrap();
        assert_eq!(p.shape().dims(), [4, 4]);
        compare("NeuralSort", &label(gpu), &p.read().unwrap(), &want, &Tolerance::new(1e-6, 0.0, "eight digits"))
            .unwrap();
    }
}

#[test]
fn rows_sum_to_one_and_the_sums_have_no_gradient() {
    let (rows, n) = (4, 257);
    let s = Inputs::new(2).normal(rows * n);
    for gpu in gpus() {
        for kind in [Kind::Neural, Kind::Soft] {
            let ones = vec![1.0; rows * n];
            let dy = Inputs::new(3).normal(rows * n);
            let [p, y, _, ds, ..] = run(gpu, Relaxation { kind, temperature: 0.5 }, &s, n, &ones, &dy);
            let sums: Vec<f32> = p.chunks(n).map(|row| row.iter().sum()).collect();
            let close = Tolerance::new(1e-5, 0.0, "a sum of 257 entries");
            compare("sums of rows of P", &label(gpu), &sums, &vec![1.0; rows * n], &close).unwrap();
            compare("P 1", &label(gpu), &y, &vec![1.0; rows * n], &close).unwrap();
            let close = Tolerance::new(3e-3, 0.0, "sums of 2 (r - i) dz, in which 1 - 1 is left");
            compare("gradient of sums", &label(gpu), &ds, &vec![0.0; rows * n], &close).unwrap();
        }
    }
}

#[test]
fn empty_inputs_and_bad_arguments() {
    let gpu = &gpus()[0];
    let relaxation = Relaxation { kind: Kind::Soft, temperature: 1.0 };
    for shape in [[0, 5, 2], [5, 0, 2], [2, 3, 0]] {
        let sorted = prepare(gpu, &gpu.zeros([shape[0], shape[1]]).unwrap()).unwrap();
        let x = gpu.zeros(shape).unwrap();
        let (y, inverse) = forward(gpu, &sorted, relaxation, &x).unwrap();
        assert_eq!(y.shape().dims(), shape);
        assert!(transposed(gpu, &sorted, relaxation, &inverse, &x).unwrap().is_empty());
        assert!(hard(gpu, &sorted, &x).unwrap().is_empty());
        let got = backward(gpu, &sorted, relaxation, &inverse, &x, &y, &x, BOTH).unwrap();
        assert_eq!(got.scores.unwrap().read().unwrap(), vec![0.0; shape[0] * shape[1]]);
        assert_eq!(matrix(gpu, &sorted, relaxation).unwrap().shape().dims(), [shape[0], shape[1], shape[1]]);
    }
    let sorted = prepare(gpu, &gpu.zeros([2, 3]).unwrap()).unwrap();
    let x = gpu.zeros([2, 3, 4]).unwrap();
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = forward(gpu, &sorted, Relaxation { temperature, ..relaxation }, &x);
        assert!(matches!(result, Err(Error::Argument { argument: "temperature", .. })), "{temperature}");
    }
    let wrong = gpu.zeros([2, 4, 3]).unwrap();
    assert!(matches!(forward(gpu, &sorted, relaxation, &wrong), Err(Error::Shape { argument: "x", .. })));
    assert!(matches!(hard(gpu, &sorted, &wrong), Err(Error::Shape { argument: "x", .. })));
    let result = transposed(gpu, &sorted, relaxation, &wrong, &x);
    assert!(matches!(result, Err(Error::Shape { argument: "normalisers", .. })));
    let inverse = normalisers(gpu, &sorted, relaxation).unwrap();
    let result = backward(gpu, &sorted, relaxation, &inverse, &x, &x, &wrong, BOTH);
    assert!(matches!(result, Err(Error::Shape { argument: "dy", .. })));
    let whole = gpu.tensor(&[1u32, 2], [2]).unwrap();
    assert!(matches!(prepare(gpu, &whole), Err(Error::Argument { argument: "scores", .. })));
    let long = gpu.zeros([1, 40_000]).unwrap();
    assert_eq!(gpu.is_software(), matches!(prepare(gpu, &long), Err(Error::TooLarge { .. })));
}
