//! Tests of the categorical draws and their relaxation.

use softurn_tests::{
    Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, chi_square_p, compare, same_bits,
};

use super::{backward, cpu, forward, hard, sample, scores};
use crate::ops::Noise;
use crate::ops::random::cpu::{exponential_from, gumbel_from};
use crate::testing::{golden, gpus, label, numbers, special_matrix, thirds, wide};
use crate::{Error, Gpu, Key};

/// Scores are good to 1.2e-6 (1 + |g|) of the noise and 40 · 2^-24 of the logits, twice, over temperatures from 0.3;
/// noise above 10 is rare.
const TOLERANCE: Tolerance = Tolerance::new(1e-37, 1.2e-4, "1.3e-5 + 3e-6 in each of two scores, over T = 0.3");
/// `(dy - Σ y dy) / T` is below 24, and `y` off by the above; the products are summed over the row.
const BACKWARD: Tolerance = Tolerance::new(4e-4, 4e-4, "1.2e-4 in y and in Σ y dy, |dy| / T below 12");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("another stream", "shared/score", "STREAM: u32 = 3u", "STREAM: u32 = 2u"),
    mutant("every four has the same noise", "shared/score", "vec4<u32>(c / 4u, at", "vec4<u32>(0u, at"),
    mutant("every row has the same noise", "shared/score", "c / 4u, at, 0u", "c / 4u, 0u, 0u"),
    mutant("no noise", "shared/score", "select(below + noise,", "select(below + 0.0 * noise,"),
    mutant("noise with the wrong sign", "shared/score", "select(below + noise,", "select(below - noise,"),
    mutant(
        "largest logit not taken out",
        "shared/score",
        "select(v - high, vec4<f32>(0.0), v",
        "select(v, vec4<f32>(0.0), v",
    ),
    mutant(
        "an element past the end of fours",
        "shared/scores",
        "3u) < vec4<u32>(row.cols)",
        "3u) <= vec4<u32>(row.cols)",
    ),
    mutant(
        "a wrong logarithm of four",
        "shared/math",
        "vec4<i32>(bits >> vec4<u32>(23u)) - 126",
        "vec4<i32>(bits >> vec4<u32>(24u)) - 126",
    ),
    mutant("temperature missing in backward", "gumbel_softmax", "1.0 / (sum * params.temperature)", "1.0 / sum"),
    mutant("large exponents without a reference", "gumbel_softmax", "exponent = (s - reference) /", "exponent = s /"),
    mutant("rows without a finite logit draw an index", "gumbel_softmax", "vec4<u32>(row.cols);", "vec4<u32>(0u);"),
    mutant("NaN hidden by the exact draw", "gumbel_softmax", ", choice.score, is_nan(choice.score))", ", 0.0, false)"),
];

const fn mutant(name: &'static str, shader: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "gumbel_softmax", name, shader, from, to, plan: "both", hidden: None }
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, cols) in [(3, 1), (65, 2), (1, 63), (300, 7), (67, 257), (2, 2047), (1, 5000)] {
        let mut inputs = Inputs::new(cols as u64);
        let n = rows * cols;
        let (x, dy, given) = (inputs.uniform(-20.0, 20.0, n), inputs.normal(n), inputs.normal(n));
        for temperature in [0.3, 0.5, 7.0] {
            agrees(gpu, "random", &x, &given, &dy, cols, temperature)?;
        }
        let run = |rows: std::ops::Range<usize>| {
            let part = rows.start * cols..rows.end * cols;
            let tensor = |x: &[f32]| gpu.tensor(&x[part.clone()], [rows.len(), cols]).unwrap();
            forward(gpu, &tensor(&x), Noise::Given(&tensor(&given)), 0.5).unwrap().read().unwrap()
        };
        let split: Vec<f32> = thirds(rows).into_iter().flat_map(run).collect();
        same_bits("split in three", &run(0..rows), &split)?;
    }
    for cols in [1, 7, 257] {
        let x = special_matrix(cols);
        let (given, dy) = (Inputs::new(5).normal(x.len()), Inputs::new(3).normal(x.len()));
        agrees(gpu, "special rows", &x, &given, &dy, cols, 0.5)?;
    }
    // Large logits with a common offset: the noise still decides.
    let x: Vec<f32> = Inputs::new(8).uniform(-4.0, 4.0, 600).iter().map(|x| x.round() + 1e7).collect();
    agrees(gpu, "offset", &x, &Inputs::new(5).normal(600), &Inputs::new(3).normal(600), 6, 0.5)
}

fn agrees(
    gpu: &Gpu,
    what: &str,
    x: &[f32],
    given: &[f32],
    dy: &[f32],
    cols: usize,
    temperature: f32,
) -> Result<(), Mismatch> {
    let shape = [x.len() / cols, cols];
    let [tx, tgiven, tdy] = [x, given, dy].map(|x| gpu.tensor(x, shape).unwrap());
    let t = f64::from(temperature);
    let key = Key::new(cols as u64);
    let of = |part: &str| format!("{part} of {what} {shape:?}, temperature {temperature}");
    for (noise, g) in [(Noise::Key(key), cpu::noise(x.len() / cols, cols, key)), (Noise::Given(&tgiven), wide(given))] {
        let y = forward(gpu, &tx, noise, temperature).unwrap().read().unwrap();
        compare(&of("draws"), &label(gpu), &y, &cpu::forward(&wide(x), &g, cols, t), &TOLERANCE)?;
        same_bits(&of("two runs"), &y, &forward(gpu, &tx, noise, temperature).unwrap().read().unwrap())?;
        let dx = backward(gpu, &tx, noise, temperature, &tdy).unwrap().read().unwrap();
        let want = cpu::backward(&wide(x), &g, cols, t, &wide(dy));
        compare(&of("backward"), &label(gpu), &dx, &want, &BACKWARD)?;

        let s = scores(gpu, &tx, noise).unwrap().read().unwrap();
        let clean: Vec<usize> =
            (0..rows_of(x, cols)).filter(|r| !x[r * cols..(r + 1) * cols].iter().any(|x| x.is_nan())).collect();
        let rows =
            |v: Vec<f64>| -> Vec<f64> { clean.iter().flat_map(|r| v[r * cols..(r + 1) * cols].to_vec()).collect() };
        let got: Vec<f32> = rows(wide(&s)).iter().map(|&s| s as f32).collect();
        let close = Tolerance::new(5e-5, 3e-7, "two roundings of the score");
        compare(&of("scores"), &label(gpu), &got, &rows(cpu::scores(&wide(x), &g, cols)), &close)?;
        // Close to the argmax exponents are large: no overflow, and rows still sum to 1.
        let sums = |y: Vec<f32>| -> Vec<f32> { y.chunks(cols).map(|row| row.iter().sum()).collect() };
        let sharp = sums(forward(gpu, &tx, noise, 1e-3).unwrap().read().unwrap());
        let want: Vec<f64> = wide(&sums(y));
        compare(&of("sum of sharp draws"), &label(gpu), &sharp, &want, &Tolerance::new(1e-4, 0.0, "a sum of draws"))?;

        let at = sample(gpu, &tx, noise).unwrap().read_u32().unwrap();
        // Where two scores are closer than their error either may be drawn.
        let known = cpu::scores(&wide(x), &g, cols);
        let want: Vec<f64> = cpu::sample(&wide(x), &g, cols).iter().map(|&i| i as f64).collect();
        let score = |row: usize, at: usize| if at < cols { known[row * cols + at] } else { f64::NAN };
        let settled = |row: usize| (score(row, at[row] as usize) - score(row, want[row] as usize)).abs() < 5e-5;
        let drawn = |row: usize| if settled(row) { want[row] as f32 } else { at[row] as f32 };
        let got: Vec<f32> = (0..at.len()).map(drawn).collect();
        let exact = Tolerance::new(0.0, 0.0, "an index");
        compare(&of("sample"), &label(gpu), &got, &want, &exact)?;

        let rows = at.iter().zip(known.chunks(cols)).flat_map(|(&at, scores)| {
            scores.iter().enumerate().map(move |(c, s)| if s.is_nan() { *s } else { f64::from(c == at as usize) })
        });
        let one_hot = hard(gpu, &tx, noise).unwrap().read().unwrap();
        compare(&of("hard"), &label(gpu), &one_hot, &rows.collect::<Vec<_>>(), &exact)?;
    }
    Ok(())
}

fn rows_of(x: &[f32], cols: usize) -> usize {
    x.len() / cols
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
    let [x, noise, dy] = [0; 3].map(|_| wide(&inputs.normal(12)));
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    for t in [0.5, 3.0] {
        let f = |x: &[f64]| cpu::forward(x, &noise, 4, t).iter().zip(&dy).map(|(y, g)| y * g).sum::<f64>();
        assert_gradient("gumbel_softmax", f, &x, &cpu::backward(&x, &noise, 4, t, &dy), &tolerance);
    }
}

#[test]
fn golden_values() {
    let (mut compared, mut skipped) = (0, Vec::new());
    for case in golden("gumbel_softmax") {
        let [x, g, y, dy, vjp] = ["logits", "gumbel", "y", "cotangent", "vjp"].map(|name| numbers(&case[name]));
        let (t, cols, id) = (numbers(&case["tau"])[0], x.len(), case["id"].as_str().unwrap());
        // What f32 makes of the exponents: x - max x, the score and its distance from the largest are rounded once each,
        // over T, in the elements whose weight is not zero anyway.
        let high = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (scores, exponent) = (cpu::scores(&x, &g, cols), 2f64.powi(-24) / t);
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let size = |i: usize| (x[i] - high).abs() + scores[i].abs() + (top - scores[i]);
        let size = (0..cols).filter(|&i| (top - scores[i]) / t < 100.0).map(size).fold(0.0, f64::max);
        let relative = 2.0 * exponent * (size + top.abs()) + 2e-6;
        if relative > 0.02 {
            skipped.push(id.to_string());
            continue;
        }
        compared += 1;
        let shape = [1, cols];
        let [x, g, dy32] = [&x, &g, &dy].map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
        let exact = Tolerance::new(1e-300, 1e-10 + 1e-8 * relative, "f64");
        assert_close_f64("the twin", id, &cpu::forward(&wide(&x), &wide(&g), cols, t), &y, &exact);
        let tolerance = Tolerance::new(1e-37, relative, "the roundings of the exponent, see above");
        let steepest = dy.iter().fold(0.0, |a: f64, b| a.max(b.abs())) / t;
        for gpu in gpus() {
            let [x, g, dy] = [&x, &g, &dy32].map(|x| gpu.tensor(x, shape).unwrap());
            let noise = Noise::Given(&g);
            let got = forward(gpu, &x, noise, t as f32).unwrap().read().unwrap();
            compare(&format!("golden {id}"), &label(gpu), &got, &y, &tolerance).unwrap();
            let got = backward(gpu, &x, noise, t as f32, &dy).unwrap().read().unwrap();
            for i in 0..cols {
                let abs = 2.0 * steepest * (1e-37 + relative * y[i]);
                let tolerance = Tolerance { abs: abs.max(1e-37), ..tolerance };
                compare(&format!("golden {id}, vjp {i}"), &label(gpu), &got[i..=i], &vjp[i..=i], &tolerance).unwrap();
            }
        }
    }
    println!("{compared} cases compared; {} skipped, f32 does not hold their exponents: {skipped:?}", skipped.len());
    assert!(compared > 4 * skipped.len(), "{compared} compared, {} skipped", skipped.len());
}

#[test]
fn golden_noise() {
    let tolerance = Tolerance::new(1e-12, 1e-12, "f64");
    let mut compared = 0;
    for case in golden("gumbel_transform") {
        let [u, g, e] = ["u", "g", "e"].map(|name| numbers(&case[name])[0]);
        // The words whose u is the golden one: (bits + 1/2) / 2^32 has no other.
        let bits = u * 4_294_967_296.0 - 0.5;
        assert_close_f64("-log(-log u)", "", &[-(-u.ln()).ln()], &[g], &tolerance);
        if bits < 1000.0 {
            continue;
        }
        // The derivatives of the two by u take the half word away.
        let (bits, half) = (bits.round() as u32, (bits.round() - bits) / 4_294_967_296.0);
        assert_close_f64(
            "e",
            "",
            &[exponential_from(bits) + half / u],
            &[e],
            &Tolerance::new(1e-12, 1e-6, "of half a word"),
        );
        assert_close_f64(
            "g",
            "",
            &[gumbel_from(bits) - half / (u * e)],
            &[g],
            &Tolerance::new(2e-2, 1e-6, "of half a word"),
        );
        compared += 1;
    }
    assert!(compared >= 9, "{compared}");
}

#[test]
fn draws_have_their_law() {
    let (gpu, rows) = (&gpus()[0], 100_000);
    let row = [1.0f32, -2.0, f32::NEG_INFINITY, 0.5, 3.0];
    let x = gpu.tensor(&row.repeat(rows), [rows, 5]).unwrap();
    let at = sample(gpu, &x, Noise::Key(Key::new(7))).unwrap().read_u32().unwrap();
    let mut observed = [0u64; 5];
    at.iter().for_each(|&at| observed[at as usize] += 1);
    let law = |shift: f64| {
        let weights: Vec<f64> = row.iter().map(|&x| (f64::from(x) * (1.0 + shift)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| rows as f64 * w / sum).collect::<Vec<_>>()
    };
    assert!(chi_square_p(&observed, &law(0.0)) > 1e-3, "{observed:?}");
    assert!(chi_square_p(&observed, &law(0.05)) < 1e-6, "the test can fail");
}

#[test]
fn of_equal_scores_the_first_wins() {
    for gpu in gpus() {
        let x = gpu.zeros([1, 300]).unwrap();
        let index = sample(gpu, &x, Noise::Given(&x)).unwrap();
        assert_eq!(index.read_u32().unwrap(), [0]);
    }
}

#[test]
fn empty_inputs_and_bad_arguments() {
    let gpu = &gpus()[0];
    let noise = Noise::Key(Key::new(0));
    for shape in [[0, 5], [5, 0]] {
        let empty = gpu.zeros(shape).unwrap();
        assert_eq!(forward(gpu, &empty, noise, 1.0).unwrap().shape().dims(), shape);
        assert!(hard(gpu, &empty, noise).unwrap().is_empty());
        assert!(backward(gpu, &empty, noise, 1.0, &empty).unwrap().is_empty());
        assert_eq!(sample(gpu, &empty, noise).unwrap().read_u32().unwrap(), vec![0; shape[0]]);
    }
    let (x, wrong) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([3, 2]).unwrap());
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = forward(gpu, &x, noise, temperature);
        assert!(matches!(result, Err(Error::Argument { argument: "temperature", .. })), "{temperature}");
    }
    let labels = gpu.tensor(&[1u32], [1]).unwrap();
    assert!(matches!(sample(gpu, &labels, noise), Err(Error::Argument { argument: "logits", .. })));
    assert!(matches!(hard(gpu, &x, Noise::Given(&wrong)), Err(Error::Shape { argument: "noise", .. })));
    assert!(matches!(backward(gpu, &x, noise, 1.0, &wrong), Err(Error::Shape { argument: "dy", .. })));
}
