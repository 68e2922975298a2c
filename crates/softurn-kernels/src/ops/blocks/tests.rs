//! Tests of the block masks.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::{backward, cpu, forward};
use crate::testing::{gpus, label, thirds, wide};
use crate::{Error, Gpu};

/// Sums of up to 70 counts to 2000 are off by 70 roundings of at most 2000 · 2^-24.
const TOLERANCE: Tolerance = Tolerance::new(1e-3, 1e-6, "roundings of sums of counts");
const EXACT: Tolerance = Tolerance::new(0.0, 0.0, "sums of whole numbers");
/// Four gradients are added for each of up to 70 boundaries.
const BACKWARD: Tolerance = Tolerance::new(1e-4, 1e-5, "sums of up to 280 gradients");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("every group starts over", "below = up_to;", "below = vec4<f32>(0.0) * up_to;"),
    mutant("the last boundary is a sum", "{ up_to = vec4<f32>(1.0); }", "{ up_to = up_to; }"),
    mutant("four positions are one", "+ vec4<f32>(0.0, 1.0, 2.0, 3.0)", "+ vec4<f32>(0.0)"),
    mutant("the wrong side of a boundary", "return dy[e] - dy[e + 1u]", "return dy[e + 1u] - dy[e]"),
    mutant("one side of whole boundaries", "0.5 * (rise(row, i - 1, k, kinds) +", "0.5 * (rise(row, i, k, kinds) +"),
    mutant("half at the end", "return rise(row, n - 1, k, kinds)", "return 0.5 * rise(row, n - 1, k, kinds)"),
    mutant("half at the start", "return rise(row, 0, k, kinds)", "return 0.5 * rise(row, 0, k, kinds)"),
    mutant("counts move one boundary", "total += dcounts[k]", "total = dcounts[k]"),
    mutant("boundaries outside have a gradient", "sum < 0.0 || sum > f32(n)", "sum < 0.0 || sum > f32(n) + 0.9"),
    mutant("NaN is clamped", "rest, is_nan(sum))", "rest, false)"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "blocks", name, shader: "blocks", from, to, plan: "both", hidden: None }
}

/// `rows` rows of whole counts that sum to `length`, the first with all in the first group, the second in the last.
fn whole(rows: usize, groups: usize, length: usize) -> Vec<f32> {
    let mut inputs = Inputs::new(length as u64);
    let mut counts = vec![0.0; rows * groups];
    for (row, counts) in counts.chunks_mut(groups).enumerate() {
        match row {
            0 => counts[0] = length as f32,
            1 => counts[groups - 1] = length as f32,
            _ => inputs.index(length, groups as u32).iter().for_each(|&k| counts[k as usize] += 1.0),
        }
    }
    counts
}

/// Real counts, in quarters so that no sum is rounded, with boundaries off the whole numbers by an eighth.
fn real(rows: usize, groups: usize, length: usize) -> Vec<f32> {
    let mut counts = whole(rows, groups, length);
    let mut inputs = Inputs::new(length as u64 + 7);
    for counts in counts.chunks_mut(groups) {
        let shift: Vec<f32> = inputs.index(groups, 4).iter().map(|&i| i as f32 / 4.0 - 0.375).collect();
        let bounded = (0..groups).map(|k| if k + 1 < groups { shift[k] } else { 0.0 });
        let moved: Vec<f32> = bounded.collect();
        (0..groups).for_each(|k| counts[k] += moved[k] - if k > 0 { moved[k - 1] } else { 0.0 });
    }
    counts
}

pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, groups, length) in
        [(1, 1, 1), (3, 2, 2), (65, 3, 7), (7, 8, 63), (2, 5, 1000), (5, 70, 257), (129, 2, 64)]
    {
        agrees(gpu, "whole", &whole(rows, groups, length), groups, length, &EXACT)?;
        agrees(gpu, "real", &real(rows, groups, length), groups, length, &EXACT)?;
        let scale = 2.0 * length as f32 / groups as f32;
        let rough = Inputs::new(3).uniform(0.0, scale, rows * groups);
        let y = forward(gpu, &gpu.tensor(&rough, [rows, groups]).unwrap(), length).unwrap().read().unwrap();
        compare("rough", &label(gpu), &y, &cpu::forward(&wide(&rough), groups, length), &TOLERANCE)?;
    }
    // NaN, boundaries just outside, and far.
    let special = [1.0, f32::NAN, 3.0, 4.5, 1.0, -0.5, -2.0, 3.0, 3.0, 1.0, f32::NAN, f32::NAN, 3.0, 1.0, f32::NAN];
    agrees(gpu, "special", &special, 3, 4, &EXACT)
}

fn agrees(
    gpu: &Gpu,
    what: &str,
    counts: &[f32],
    groups: usize,
    length: usize,
    tolerance: &Tolerance,
) -> Result<(), Mismatch> {
    let rows = counts.len() / groups;
    let dy = Inputs::new(5).normal(rows * length * groups);
    let of = |part: &str| format!("{part} of {what} counts [{rows}, {groups}], {length} positions");
    let run = |part: std::ops::Range<usize>| -> [Vec<f32>; 2] {
        let size = length * groups;
        let x = gpu.tensor(&counts[part.start * groups..part.end * groups], [part.len(), groups]).unwrap();
        let dy = gpu.tensor(&dy[part.start * size..part.end * size], [part.len(), length, groups]).unwrap();
        [forward(gpu, &x, length).unwrap(), backward(gpu, &x, &dy).unwrap()].map(|result| result.read().unwrap())
    };
    let [y, dx] = run(0..rows);
    compare(&of("masks"), &label(gpu), &y, &cpu::forward(&wide(counts), groups, length), tolerance)?;
    let want = cpu::backward(&wide(counts), groups, length, &wide(&dy));
    compare(&of("backward"), &label(gpu), &dx, &want, &BACKWARD)?;
    let split: Vec<[Vec<f32>; 2]> = thirds(rows).into_iter().filter(|part| !part.is_empty()).map(run).collect();
    let join = |i: usize| -> Vec<f32> { split.iter().flat_map(|part| part[i].clone()).collect() };
    same_bits(&of("split masks"), &y, &join(0))?;
    same_bits(&of("split backward"), &dx, &join(1))
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn twin_agrees_with_central_differences() {
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    let dy = wide(&Inputs::new(2).normal(6 * 3));
    // Real boundaries, then whole ones inside the row, where a central difference takes half of each side.
    for counts in [[1.25, 2.5, 2.25], [2.0, 3.0, 1.0], [1.0, 0.0, 5.0]] {
        let f = |x: &[f64]| cpu::forward(x, 3, 6).iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
        assert_gradient("blocks", f, &counts, &cpu::backward(&counts, 3, 6, &dy), &tolerance);
    }
}

#[test]
fn whole_counts_cut_the_row_into_blocks() {
    for gpu in gpus() {
        let counts = gpu.tensor(&[2.0f32, 0.0, 1.0], [3]).unwrap();
        let y = forward(gpu, &counts, 3).unwrap();
        assert_eq!(y.shape().dims(), [3, 3]);
        assert_eq!(y.read().unwrap(), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}

#[test]
fn empty_inputs_and_bad_arguments() {
    let gpu = &gpus()[0];
    let counts = gpu.zeros([2, 3]).unwrap();
    assert_eq!(forward(gpu, &counts, 0).unwrap().shape().dims(), [2, 0, 3]);
    assert_eq!(backward(gpu, &counts, &gpu.zeros([2, 0, 3]).unwrap()).unwrap().read().unwrap(), [0.0; 6]);
    assert!(forward(gpu, &gpu.zeros([0, 3]).unwrap(), 4).unwrap().is_empty());
    let shape = |result| matches!(result, Err(Error::Shape { .. }));
    assert!(shape(forward(gpu, &gpu.zeros([2, 0]).unwrap(), 4)));
    assert!(shape(backward(gpu, &counts, &gpu.zeros([2, 3]).unwrap())));
    assert!(shape(backward(gpu, &counts, &gpu.zeros([2, 4, 2]).unwrap())));
    let whole = gpu.tensor(&[1u32, 2], [2]).unwrap();
    assert!(matches!(forward(gpu, &whole, 3), Err(Error::Argument { argument: "counts", .. })));
    let wide = gpu.zeros([1, 40_000]).unwrap();
    assert_eq!(gpu.is_software(), matches!(forward(gpu, &wide, 1), Err(Error::TooLarge { .. })));
}
