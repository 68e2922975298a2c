//! Tests of the log-probability of an ordered selection.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, compare, same_bits};

use super::{backward, cpu, forward};
use crate::testing::{golden, gpus, label, numbers, special_matrix, thirds, wide};
use crate::{Error, Gpu};

/// Of a logarithm, as the golden data promise; above 1 the roundings of each step are relative to the sum of them.
const TOLERANCE: Tolerance = Tolerance::new(1e-5, 2e-6, "roundings of k logarithms and of sums built in k steps");
/// Shares below 1 at each step, off by some 1e-6 relative: their sum is of the size of the gradient itself plus 1.
const BACKWARD: Tolerance = Tolerance::new(1e-5, 1e-5, "relative roundings of k shares that sum up to |d| + 1");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("ranks are marked from 0", "i % params.picks + 1u", "i % params.picks", "both"),
    mutant("marks of the next row", "i / params.picks * params.cols", "(i / params.picks + 1u) * params.cols", "both"),
    mutant("what is selected stays to the end", "free & inside4", "vec4<bool>(true) & inside4", "both"),
    mutant("elements past the end", "free & inside4(cols, c)", "free", "both"),
    mutant("sums keep their old reference", "sum * ratio4(peak, top) + ratio4(v, top)", "sum + ratio4(v, top)", "both"),
    mutant("fours keep their own reference", "sum4(sum * ratio4(peak, vec4<f32>(high)))", "sum4(sum)", "both"),
    mutant("the running sum keeps its reference", "sum * both.x + both.y", "sum + both.y", "both"),
    mutant("equal infinities", "select(a - b, vec4<f32>(0.0), a == b)", "a - b", "both"),
    mutant("the last block is lost", "if (i % 64u == 1u)", "if (i % 64u == 0u)", "both"),
    mutant("a selection of -inf", "select(below, minus_infinity(), v == minus_infinity())", "below", "both"),
    mutant("the same twice", "rank[e] == i", "rank[e] > 0u", "both"),
    mutant("gradients of bad rows", "if (!good)", "if (false)", "both"),
    mutant("NaN hidden", "valid && !is_nan(peak)", "valid", "both"),
    mutant("only the last step has weight", "weight = weight * ratio4", "weight = 0.0 * ratio4", "both"),
    mutant("weights keep their reference", "ratio4(vec4<f32>(peak), vec4<f32>(before)).x + 1.0", "1.0 + 1.0", "both"),
    mutant(
        "what was selected is there to the end",
        "select(step, vec4<u32>(picks), never)",
        "vec4<u32>(picks)",
        "both",
    ),
    mutant("the indicator has the wrong sign", "(select(vec4<f32>(1.0)", "(select(vec4<f32>(-1.0)", "both"),
    mutant(
        "-inf takes a gradient",
        "(v == vec4<f32>(minus_infinity())) & !is_nan4(share)",
        "vec4<bool>(false)",
        "both",
    ),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str, plan: &'static str) -> Mutant {
    Mutant { op: "plackett_luce", name, shader: "plackett_luce", from, to, plan, hidden: None }
}

/// `rows` orders of `picks` among `cols`.
fn orders(inputs: &mut Inputs, rows: usize, cols: usize, picks: usize) -> Vec<u32> {
    let order = |_| {
        let mut items: Vec<u32> = (0..cols as u32).collect();
        for i in 0..picks {
            items.swap(i, i + inputs.index(1, (cols - i) as u32)[0] as usize);
        }
        items.truncate(picks);
        items
    };
    (0..rows).flat_map(order).collect()
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    let shapes =
        [(3, 1, 1), (65, 2, 1), (4, 2, 2), (1, 63, 63), (200, 7, 3), (67, 257, 9), (3, 2047, 2), (2, 300, 200)];
    for (rows, cols, picks) in shapes {
        let mut inputs = Inputs::new(cols as u64);
        let order = orders(&mut inputs, rows, cols, picks);
        let (x, dy) = (inputs.normal(rows * cols), inputs.normal(rows));
        for scale in [1.0, 1e-6, 30.0, 2e4] {
            let x: Vec<f32> = x.iter().map(|x| x * scale).collect();
            agrees(gpu, &format!("scale {scale}"), &x, &order, cols, picks, &dy)?;
        }
        let run = |part: std::ops::Range<usize>| {
            let scores = &x[part.start * cols..part.end * cols];
            let order = &order[part.start * picks..part.end * picks];
            let scores = gpu.tensor(scores, [part.len(), cols]).unwrap();
            let order = gpu.tensor(order, [part.len(), picks]).unwrap();
            let (log_p, saved) = forward(gpu, &scores, &order).unwrap();
            let dy = gpu.tensor(&dy[part], [log_p.len()]).unwrap();
            [log_p, backward(gpu, &scores, &saved, &dy).unwrap()].map(|x| x.read().unwrap())
        };
        let parts = thirds(rows).map(run);
        for (i, whole) in run(0..rows).iter().enumerate() {
            let split: Vec<f32> = parts.iter().flat_map(|part| part[i].clone()).collect();
            same_bits("split in three", whole, &split)?;
        }
    }
    for (cols, picks) in [(1, 1), (2, 2), (7, 3), (257, 5)] {
        let x = special_matrix(cols);
        let rows = x.len() / cols;
        let order = orders(&mut Inputs::new(9), rows, cols, picks);
        agrees(gpu, "special rows", &x, &order, cols, picks, &Inputs::new(3).normal(rows))?;
        // The largest first.
        let order: Vec<u32> = x.chunks(cols).flat_map(|row| largest_first(row, picks)).collect();
        agrees(gpu, "special rows, sorted", &x, &order, cols, picks, &Inputs::new(3).normal(rows))?;
    }
    // A right order, an index past the end, the same twice, and NaN among what is never selected.
    let mut x = Inputs::new(4).normal(16);
    x[12..].copy_from_slice(&[f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NAN]);
    agrees(gpu, "bad orders", &x, &[0, 3, 1, 1, 4, 2, 2, 0, 2, 0, 1, 2], 4, 3, &[1.0, -2.0, 3.0, 1.0])
}

fn largest_first(row: &[f32], picks: usize) -> Vec<u32> {
    let mut items: Vec<u32> = (0..row.len() as u32).collect();
    items.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
    items.truncate(picks);
    items
}

fn agrees(
    gpu: &Gpu,
    what: &str,
    x: &[f32],
    order: &[u32],
    cols: usize,
    picks: usize,
    dy: &[f32],
) -> Result<(), Mismatch> {
    let rows = dy.len();
    let of = |part: &str| format!("{part} of {what} [{rows}, {cols}], {picks} picks");
    let [log_p, dx] = run(gpu, x, order, rows, dy);
    let want = cpu::forward(&wide(x), order, cols, picks);
    compare(&of("log-probability"), &label(gpu), &log_p, &want, &TOLERANCE)?;
    let want = cpu::backward(&wide(x), order, cols, picks, &wide(dy));
    compare(&of("backward"), &label(gpu), &dx, &want, &BACKWARD)?;
    let again = run(gpu, x, order, rows, dy);
    same_bits(&of("two runs"), &log_p, &again[0])?;
    same_bits(&of("two runs, backward"), &dx, &again[1])?;
    let sum = |row: &[f32]| row.iter().map(|&d| f64::from(d)).sum::<f64>();
    let got: Vec<f32> = dx.chunks(cols).map(|row| sum(row) as f32).collect();
    let want: Vec<f64> =
        want.chunks(cols).map(|row| row.iter().sum::<f64>()).map(|d| if d.abs() < 1e-9 { 0.0 } else { d }).collect();
    let none = Tolerance::new(2e-6 * (picks + 10) as f64 * 3.0, 1e-5, "roundings of as many ones as there are picks");
    compare(&of("sum of gradients"), &label(gpu), &got, &want, &none).map(drop)
}

/// Log-probabilities and gradients of rows.
fn run(gpu: &Gpu, x: &[f32], order: &[u32], rows: usize, dy: &[f32]) -> [Vec<f32>; 2] {
    let scores = gpu.tensor(x, [rows, x.len() / rows]).unwrap();
    let order = gpu.tensor(order, [rows, order.len() / rows]).unwrap();
    let (log_p, saved) = forward(gpu, &scores, &order).unwrap();
    let dx = backward(gpu, &scores, &saved, &gpu.tensor(dy, [rows]).unwrap()).unwrap();
    [log_p.read().unwrap(), dx.read().unwrap()]
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn twin_agrees_with_central_differences() {
    let (x, dy) = (wide(&Inputs::new(5).normal(12)), wide(&Inputs::new(6).normal(2)));
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    for picks in [1, 3, 6] {
        let order = orders(&mut Inputs::new(7), 2, 6, picks);
        let f = |x: &[f64]| cpu::forward(x, &order, 6, picks).iter().zip(&dy).map(|(y, g)| y * g).sum::<f64>();
        assert_gradient("plackett_luce", f, &x, &cpu::backward(&x, &order, 6, picks, &dy), &tolerance);
    }
}

#[test]
fn golden_values() {
    let exact = Tolerance::new(1e-12, 1e-10, "the promise of the golden data");
    let all = [("plackett_luce", "ordered"), ("plackett_luce_big", "order")];
    for (case, orders) in all.iter().flat_map(|(file, orders)| golden(file).into_iter().map(move |case| (case, orders)))
    {
        let (x, id) = (numbers(&case["scores"]), case["id"].as_str().unwrap().to_string());
        let order: Vec<u32> = numbers(&case[*orders]).iter().map(|&i| i as u32).collect();
        let picks = numbers(&case["k"])[0] as usize;
        let want = match &case["logp"] {
            serde_json::Value::Array(_) => numbers(&case["logp"]),
            one => numbers(&serde_json::json!([one])),
        };
        let (rows, cols) = (want.len(), x.len());
        let scores = x.repeat(rows);
        let ones = vec![1.0; rows];
        assert_close_f64("log p", &id, &cpu::forward(&scores, &order, cols, picks), &want, &exact);
        let gradient = (!case["grad"].is_null()).then(|| numbers(&case["grad"]));
        if let Some(gradient) = &gradient {
            assert_close_f64("gradient", &id, &cpu::backward(&scores, &order, cols, picks, &ones), gradient, &exact);
        }
        let narrow: Vec<f32> = scores.iter().map(|&x| x as f32).collect();
        for gpu in gpus() {
            let [log_p, dx] = run(gpu, &narrow, &order, rows, &vec![1.0; rows]);
            compare(&format!("golden {id}"), &label(gpu), &log_p, &want, &TOLERANCE).unwrap();
            if let Some(gradient) = &gradient {
                compare(&format!("golden {id}, gradient"), &label(gpu), &dx, gradient, &BACKWARD).unwrap();
            }
        }
    }
}

#[test]
fn long_rows_and_many_picks() {
    // The twin would take hours: a running sum in f64, from the last step to the first.
    for gpu in gpus() {
        for (cols, picks) in [(1 << 20, 4096), (70_000, 20_000)] {
            let mut inputs = Inputs::new(11);
            let order = orders(&mut inputs, 1, cols, picks);
            let x = inputs.normal(cols);
            let weight = |j: usize| f64::from(x[j]).exp();
            let mut step_of = vec![picks; cols];
            order.iter().enumerate().for_each(|(i, &j)| step_of[j as usize] = i);
            let mut sum: f64 = (0..cols).filter(|&j| step_of[j] == picks).map(weight).sum();
            let (mut log_p, mut inverses) = (0.0, vec![0.0; picks]);
            for (i, &j) in order.iter().enumerate().rev() {
                sum += weight(j as usize);
                log_p += f64::from(x[j as usize]) - sum.ln();
                inverses[i] = 1.0 / sum;
            }
            for i in 1..picks {
                inverses[i] += inverses[i - 1];
            }
            let gradient =
                |j: usize| f64::from(u8::from(step_of[j] < picks)) - weight(j) * inverses[step_of[j].min(picks - 1)];
            let [got, dx] = run(gpu, &x, &order, 1, &[1.0]);
            compare("long row", &label(gpu), &got, &[log_p], &TOLERANCE).unwrap();
            let want: Vec<f64> = (0..cols).map(gradient).collect();
            compare("gradient of a long row", &label(gpu), &dx, &want, &BACKWARD).unwrap();
        }
    }
}

#[test]
fn orders_of_a_small_case_sum_to_one() {
    let x = [0.5f32, -1.0, 2.0, 0.25, -3.0];
    let order: Vec<u32> = (0..125u32)
        .map(|i| [i / 25, i / 5 % 5, i % 5])
        .filter(|[a, b, c]| a != b && a != c && b != c)
        .flatten()
        .collect();
    for gpu in gpus() {
        let [log_p, _] = run(gpu, &x.repeat(60), &order, 60, &[1.0; 60]);
        let sum: f64 = log_p.iter().map(|&p| f64::from(p).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }
}

#[test]
fn one_pick_is_a_log_softmax() {
    let x = Inputs::new(2).uniform(-20.0, 20.0, 40 * 40);
    let at: Vec<u32> = (0..40).collect();
    for gpu in gpus() {
        let [log_p, _] = run(gpu, &x, &at, 40, &[1.0; 40]);
        let all = crate::ops::softmax::cpu::forward_log(&wide(&x), 40, 1.0);
        let want: Vec<f64> = (0..40).map(|i| all[i * 40 + i]).collect();
        compare("one pick", &label(gpu), &log_p, &want, &TOLERANCE).unwrap();
    }
}

#[test]
fn empty_inputs_and_bad_arguments() {
    let gpu = &gpus()[0];
    let none = |rows: usize| gpu.tensor::<u32>(&[], [rows, 0]).unwrap();
    for shape in [[0, 5], [5, 0], [2, 3]] {
        let scores = gpu.zeros(shape).unwrap();
        let (log_p, saved) = forward(gpu, &scores, &none(shape[0])).unwrap();
        assert_eq!(log_p.read().unwrap(), vec![0.0; shape[0]]);
        let dx = backward(gpu, &scores, &saved, &log_p).unwrap();
        assert_eq!(dx.read().unwrap(), vec![0.0; shape[0] * shape[1]]);
    }
    let scores = gpu.zeros([2, 3]).unwrap();
    let order = |shape: [usize; 2]| gpu.tensor(&vec![0u32; shape[0] * shape[1]], shape).unwrap();
    for wrong in [[2, 4], [3, 2]] {
        let result = forward(gpu, &scores, &order(wrong));
        assert!(matches!(result, Err(Error::Shape { argument: "order", .. })), "{wrong:?}");
    }
    let flat = order([1, 2]).reshape([2]).unwrap();
    assert!(matches!(forward(gpu, &scores, &flat), Err(Error::Shape { argument: "order", .. })));
    assert!(matches!(forward(gpu, &scores, &scores), Err(Error::Argument { argument: "order", .. })));
    assert!(matches!(forward(gpu, &flat, &flat), Err(Error::Argument { argument: "scores", .. })));
    let (log_p, saved) = forward(gpu, &scores, &order([2, 1])).unwrap();
    assert!(matches!(backward(gpu, &scores, &saved, &scores), Err(Error::Shape { argument: "dlog_p", .. })));
    let other = gpu.zeros([3, 2]).unwrap();
    assert!(matches!(backward(gpu, &other, &saved, &log_p), Err(Error::Shape { argument: "scores", .. })));
    if gpu.is_software() {
        let (long, order) = (gpu.zeros([1, 70_000]).unwrap(), order([1, 70_000]));
        assert!(matches!(forward(gpu, &long, &order), Err(Error::TooLarge { unit: "loop turns", .. })));
    }
}
