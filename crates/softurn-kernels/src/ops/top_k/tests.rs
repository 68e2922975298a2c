//! Tests of the k largest.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, compare, same_bits};

use super::{Search, backward, cpu, forward, k_hot, search_by};
use crate::ops::Noise;
use crate::ops::gumbel_softmax::cpu::{noise as gumbel, scores};
use crate::testing::{gpus, label, special_matrix, wide};
use crate::{Error, Gpu, Key};

/// Scores are good to 1.2e-6 (1 + |g|) of the noise and some 2^-24 of the logits, up to 80 apart.
const SCORES: f64 = 5e-5;
const EXACT: Tolerance = Tolerance::new(0.0, 0.0, "an index");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("of equals the last", "(other == s) & (there < place)", "(other == s) & (there > place)", "both"),
    mutant("a smaller one first", "(other > s) |", "(other < s) |", "both"),
    mutant(
        "an equal that comes later goes first",
        "let stays = old >= vec4<f32>(s);",
        "let stays = old > vec4<f32>(s);",
        "cpu",
    ),
    mutant("fours do not hand on their last", "stays, old.w, old_places.w", "stays, old.z, old_places.w", "cpu"),
    mutant("one hit of a four at most", "hits &= hits - 1u;", "hits = 0u;", "cpu"),
    mutant("a byte of the key is skipped", "let shift = 24u - 8u * pass_;", "let shift = 24u - 6u * pass_;", "both"),
    mutant(
        "one too many of a byte",
        "here < left) {\n        left -= here;",
        "here <= left) {\n        left -= here;",
        "both",
    ),
    mutant("the sort goes one way only", "let up = ((2u * i) & size) == 0u;", "let up = true;", "gpu"),
    mutant("values without noise", "return v + (s - (v - high));", "return v;", "both"),
    mutant("gradients at the wrong row", "dx[i / params.k * params.cols + c]", "dx[c]", "both"),
    mutant("ones at the wrong row", "hot[i / params.k * params.cols + c]", "hot[c]", "both"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str, plan: &'static str) -> Mutant {
    Mutant { op: "top_k", name, shader: "top_k", from, to, plan, hidden: None }
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, cols, k) in
        [(3, 1, 1), (65, 2, 2), (70, 63, 5), (300, 10, 8), (67, 257, 64), (3, 1024, 200), (2, 5000, 300)]
    {
        let mut inputs = Inputs::new(cols as u64);
        let x = inputs.uniform(-20.0, 20.0, rows * cols);
        let given = inputs.normal(rows * cols);
        agrees(gpu, "random", &x, &given, cols, k)?;
        // Few values: most are equal to others.
        let ties: Vec<f32> = x.iter().map(|x| (x / 10.0).round()).collect();
        agrees(gpu, "ties", &ties, &vec![0.0; rows * cols], cols, k)?;
    }
    for (cols, k) in [(1, 1), (7, 3), (257, 40)] {
        let x = special_matrix(cols);
        agrees(gpu, "special rows", &x, &Inputs::new(5).normal(x.len()), cols, k)?;
    }
    // Far apart, and in the order that fills the space again and again.
    let x: Vec<f32> = (0..700).map(|i| (i as f32 - 350.0) * 10f32.powi(i % 37)).collect();
    let rising: Vec<f32> = (0..700).map(|i| i as f32).collect();
    for x in [x, rising] {
        agrees(gpu, "far apart", &x, &vec![0.0; 700], 700, 9)?;
    }
    Ok(())
}

fn agrees(gpu: &Gpu, what: &str, x: &[f32], given: &[f32], cols: usize, k: usize) -> Result<(), Mismatch> {
    let (rows, key) = (x.len() / cols, Key::new(cols as u64));
    let [tx, tgiven] = [x, given].map(|x| gpu.tensor(x, [rows, cols]).unwrap());
    let noises = [
        (Noise::None, None),
        (Noise::Key(key), Some(gumbel(rows, cols, key))),
        (Noise::Given(&tgiven), Some(wide(given))),
    ];
    let mut searches = vec![Search::Radix];
    if gpu.plan() == crate::Plan::Gpu && cols <= super::SORTED {
        searches.push(Search::Sort);
    }
    if gpu.plan() == crate::Plan::Cpu && k <= super::INSERTED.1 {
        searches.push(Search::Insert);
    }
    for search in searches {
        for (noise, g) in &noises {
            let of = |part: &str| format!("{part} of {what} [{rows}, {cols}], k {k}, {search:?}, {noise:?}");
            let chosen = search_by(gpu, search, &tx, *noise, k).unwrap();
            let at = chosen.indices.read_u32().unwrap();
            let want = cpu::indices(&wide(x), g.as_deref(), cols, k);
            // Where two scores are closer than their error either may be first.
            let s = g.as_ref().map_or_else(|| wide(x), |g| scores(&wide(x), g, cols));
            let score = |i: usize, c: usize| if c < cols { s[i / k * cols + c] } else { f64::NAN };
            let near = if g.is_some() && what != "ties" { SCORES } else { 0.0 };
            let settled = |i: usize| (score(i, at[i] as usize) - score(i, want[i])).abs() < near;
            let got: Vec<f32> = (0..at.len()).map(|i| if settled(i) { want[i] as f32 } else { at[i] as f32 }).collect();
            let expected: Vec<f64> = want.iter().map(|&c| c as f64).collect();
            compare(&of("indices"), &label(gpu), &got, &expected, &EXACT)?;
            let values = chosen.values.read().unwrap();
            let expected = cpu::values(&wide(x), g.as_deref(), cols, k, &want);
            let largest = x.iter().filter(|x| x.is_finite()).fold(0f32, |a, b| a.max(b.abs()));
            let tolerance = Tolerance::new(SCORES + 2e-7 * f64::from(largest), 3e-7, "two roundings of the score");
            compare(&of("values"), &label(gpu), &values, &expected, &tolerance)?;
            let again = search_by(gpu, search, &tx, *noise, k).unwrap();
            same_bits(&of("two runs"), &values, &again.values.read().unwrap())?;

            let at: Vec<usize> = at.iter().map(|&c| c as usize).collect();
            let dvalues = Inputs::new(3).normal(rows * k);
            let tdvalues = gpu.tensor(&dvalues, [rows, k]).unwrap();
            let dx = backward(gpu, &chosen.indices, cols, &tdvalues).unwrap().read().unwrap();
            compare(&of("backward"), &label(gpu), &dx, &cpu::backward(&at, rows, cols, &wide(&dvalues)), &EXACT)?;
            let hot = k_hot(gpu, &chosen.indices, cols).unwrap().read().unwrap();
            compare(&of("k_hot"), &label(gpu), &hot, &cpu::backward(&at, rows, cols, &vec![1.0; rows * k]), &EXACT)?;
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
fn long_rows() {
    // 2^20 elements, of which 4,096: the plans search them by their bytes.
    let gpu = &gpus()[0];
    let cols = 1 << 20;
    let x = Inputs::new(9).uniform(-1.0, 1.0, cols);
    let chosen = forward(gpu, &gpu.tensor(&x, [1, cols]).unwrap(), Noise::None, super::MAX_K).unwrap();
    let want = cpu::indices(&wide(&x), None, cols, super::MAX_K);
    let got: Vec<usize> = chosen.indices.read_u32().unwrap().iter().map(|&c| c as usize).collect();
    assert_eq!(got, want);
    let mut x = x;
    x[1000] = f32::NAN;
    let chosen = forward(gpu, &gpu.tensor(&x, [1, cols]).unwrap(), Noise::None, 2).unwrap();
    assert_eq!(chosen.indices.read_u32().unwrap(), [1000, cols as u32]);
}

#[test]
fn bad_arguments_and_empty_batches() {
    let gpu = &gpus()[0];
    let x = gpu.zeros([2, 5]).unwrap();
    for k in [0, 6] {
        let result = forward(gpu, &x, Noise::None, k);
        assert!(matches!(result, Err(Error::Argument { argument: "k", .. })), "{k}");
    }
    let none = forward(gpu, &gpu.zeros([0, 5]).unwrap(), Noise::Key(Key::new(0)), 2).unwrap();
    assert_eq!((none.values.shape().dims(), none.indices.len()), (&[0, 2][..], 0));
    assert!(k_hot(gpu, &none.indices, 5).unwrap().is_empty());
    let chosen = forward(gpu, &x, Noise::None, 2).unwrap();
    assert_eq!(chosen.indices.read_u32().unwrap(), [0, 1, 0, 1]);
    assert!(matches!(backward(gpu, &chosen.indices, 5, &x), Err(Error::Shape { argument: "dvalues", .. })));
    assert!(matches!(k_hot(gpu, &x, 5), Err(Error::Argument { argument: "indices", .. })));
    assert!(matches!(forward(gpu, &chosen.indices, Noise::None, 1), Err(Error::Argument { argument: "x", .. })));
}
