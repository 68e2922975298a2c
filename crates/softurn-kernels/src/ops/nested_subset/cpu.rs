//! Nested subsets in f64, straight from the recursion.

use crate::ops::gumbel_softmax::cpu::scores;

/// What is left of `1 - w` at least.
const LEAST_LEFT: f64 = 1e-6;

/// The softmax of every slot, and what each leaves of an element, `1 - w`: `[rows, bound, cols]` both.
fn slots(x: &[f64], noise: &[f64], cols: usize, bound: usize, temperature: f64) -> [Vec<f64>; 2] {
    let (mut chosen, mut left) = (Vec::new(), Vec::new());
    for row in scores(x, noise, cols).chunks(cols) {
        let mut s = row.to_vec();
        for _ in 0..bound {
            let top = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<f64> = s.iter().map(|s| if *s == top { 1.0 } else { ((s - top) / temperature).exp() }).collect();
            let empty = top == f64::NEG_INFINITY && !s.iter().any(|s| s.is_nan());
            let first = s.iter().position(|s| *s == top).unwrap_or(0);
            let others: f64 = e.iter().enumerate().filter(|(i, _)| *i != first).map(|(_, e)| e).sum();
            for (i, s) in s.iter_mut().enumerate() {
                let w = if empty { 0.0 } else { e[i] / (e[first] + others) };
                let rest = if i == first && !empty { others / (e[first] + others) } else { 1.0 - w };
                chosen.push(w);
                left.push(rest);
                *s += rest.max(LEAST_LEFT).ln();
            }
        }
    }
    [chosen, left]
}

/// `[rows, bound]`: how much of each slot is used, from the shares `[rows, counts]` of the counts `least`, `least + 1` ...
pub fn slot_weights(shares: &[f64], counts: usize, least: usize) -> Vec<f64> {
    let bound = counts + least - 1;
    let row = |shares: &[f64]| -> Vec<f64> { (1..=bound).map(|l| shares[l - least..].iter().sum()).collect() };
    shares.chunks(counts).flat_map(row).collect()
}

/// The relaxed mask.
pub fn forward(
    x: &[f64],
    noise: &[f64],
    cols: usize,
    shares: &[f64],
    counts: usize,
    least: usize,
    temperature: f64,
) -> Vec<f64> {
    let bound = counts + least - 1;
    let [chosen, _] = slots(x, noise, cols, bound, temperature);
    let used = slot_weights(shares, counts, least);
    let sum = |i: usize| {
        (0..bound).map(|l| used[i / cols * bound + l] * chosen[(i / cols * bound + l) * cols + i % cols]).sum()
    };
    (0..x.len()).map(sum).collect()
}

/// Relaxed masks of 1, 2 .. `bound` elements, `[rows, bound, cols]`.
pub fn prefixes(x: &[f64], noise: &[f64], cols: usize, bound: usize, temperature: f64) -> Vec<f64> {
    let [mut y, _] = slots(x, noise, cols, bound, temperature);
    for i in 0..y.len() {
        if !(i / cols).is_multiple_of(bound) {
            y[i] += y[i - cols];
        }
    }
    y
}

/// The gradient of the elements from that of the slots, `[rows, bound, cols]`, backwards through the slots.
fn backward_of_slots(
    [chosen, left]: &[Vec<f64>; 2],
    cols: usize,
    bound: usize,
    temperature: f64,
    dslots: &[f64],
) -> Vec<f64> {
    let row = |row: usize| -> Vec<f64> {
        let mut ds = vec![0.0; cols];
        for l in (0..bound).rev() {
            let at = (row * bound + l) * cols;
            let (w, left) = (&chosen[at..at + cols], &left[at..at + cols]);
            let decay = |i: usize| if left[i] > LEAST_LEFT { ds[i] / left[i] } else { 0.0 };
            let dw: Vec<f64> = (0..cols).map(|i| dslots[at + i] - decay(i)).collect();
            let mean: f64 = w.iter().zip(&dw).map(|(w, dw)| w * dw).sum();
            (0..cols).for_each(|i| ds[i] += w[i] * (dw[i] - mean) / temperature);
        }
        ds
    };
    (0..chosen.len() / (bound * cols)).flat_map(row).collect()
}

/// The gradients of the elements and of the shares from that of the mask.
#[expect(clippy::too_many_arguments, reason = "those of the forward pass, and the gradient")]
pub fn backward(
    x: &[f64],
    noise: &[f64],
    cols: usize,
    shares: &[f64],
    counts: usize,
    least: usize,
    temperature: f64,
    dy: &[f64],
) -> [Vec<f64>; 2] {
    let bound = counts + least - 1;
    let walk = slots(x, noise, cols, bound, temperature);
    let used = slot_weights(shares, counts, least);
    let dslots: Vec<f64> =
        (0..walk[0].len()).map(|i| used[i / cols] * dy[i / (bound * cols) * cols + i % cols]).collect();
    let dused =
        |slot: usize| -> f64 { (0..cols).map(|c| walk[0][slot * cols + c] * dy[slot / bound * cols + c]).sum() };
    let dshares = sums_of_slots(&(0..used.len()).map(dused).collect::<Vec<_>>(), counts, least);
    [backward_of_slots(&walk, cols, bound, temperature, &dslots), dshares]
}

/// The gradient of the elements from that of [`prefixes`].
pub fn prefixes_backward(
    x: &[f64],
    noise: &[f64],
    cols: usize,
    bound: usize,
    temperature: f64,
    dy: &[f64],
) -> Vec<f64> {
    let mut dslots = dy.to_vec();
    for i in (0..dy.len()).rev() {
        if i / cols % bound + 1 < bound {
            dslots[i] += dslots[i + cols];
        }
    }
    backward_of_slots(&slots(x, noise, cols, bound, temperature), cols, bound, temperature, &dslots)
}

/// The gradient of shares from that of the slots' weights: a count uses all slots up to it.
pub fn sums_of_slots(dused: &[f64], counts: usize, least: usize) -> Vec<f64> {
    let bound = counts + least - 1;
    let row = |d: &[f64]| -> Vec<f64> { (0..counts).map(|j| d[..j + least].iter().sum()).collect() };
    dused.chunks(bound).flat_map(row).collect()
}
