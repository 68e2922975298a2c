//! Tests of nested subsets. The worked numbers are those of the project's notes on sparse latent models, section 9.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, compare, same_bits};

use super::{
    Draw, Output, backward, cpu, forward, hard, hard_backward, hard_prefixes, prefixes, prefixes_backward, walk,
};
use crate::ops::{Noise, gumbel_softmax, top_k};
use crate::testing::{gpus, label, special_matrix, wide};
use crate::{Error, Gpu, Key, Tensor};

const FORWARD: Tolerance = Tolerance::new(1e-5, 1e-4, "scores to 2e-7 of up to 10, over T, in every slot");
const KEYED: Tolerance = Tolerance::new(1e-4, 2e-3, "1.6e-5 in scores made from a key, over T, in every slot");
/// Relative to the largest gradient of the row.
const BACKWARD: Tolerance = Tolerance::new(1e-5, 1e-4, "the same, times |dy| / T of every slot");
const KEYED_BACKWARD: Tolerance = Tolerance::new(1e-2, 1e-2, "2e-3 in what slots take, times |dy| / T of every slot");

pub(crate) const MUTANTS: &[Mutant] = &[];

#[expect(dead_code, reason = "until there are mutants")]
const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "nested_subset", name, shader: "nested_subset", from, to, plan: "both", hidden: None }
}

/// A case: inputs of `rows` rows and what the twin says of them.
struct Case {
    cols: usize,
    bound: usize,
    least: usize,
    temperature: f32,
    x: Vec<f32>,
    given: Vec<f32>,
    shares: Vec<f32>,
}

impl Case {
    fn new(rows: usize, cols: usize, bound: usize, least: usize, temperature: f32) -> Self {
        let mut inputs = Inputs::new((cols * 31 + bound) as u64);
        let counts = bound + 1 - least;
        let mut shares = inputs.uniform(0.01, 1.0, rows * counts);
        for row in shares.chunks_mut(counts) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|share| *share /= sum);
        }
        let (x, given) = (inputs.uniform(-3.0, 3.0, rows * cols), inputs.uniform(-2.0, 5.0, rows * cols));
        Self { cols, bound, least, temperature, x, given, shares }
    }

    fn counts(&self) -> usize {
        self.bound + 1 - self.least
    }

    fn rows(&self) -> usize {
        self.x.len() / self.cols
    }

    fn agrees(&self, gpu: &Gpu, what: &str) -> Result<(), Mismatch> {
        let key = Key::new(self.cols as u64);
        let made = gumbel_softmax::cpu::noise(self.rows(), self.cols, key);
        let given = gpu.tensor(&self.given, [self.rows(), self.cols]).unwrap();
        self.agrees_with(gpu, what, Noise::Given(&given), &wide(&self.given), [FORWARD, BACKWARD])?;
        self.agrees_with(gpu, what, Noise::Key(key), &made, [KEYED, KEYED_BACKWARD])
    }

    fn agrees_with(
        &self,
        gpu: &Gpu,
        what: &str,
        noise: Noise<'_>,
        g: &[f64],
        [tolerance, steep]: [Tolerance; 2],
    ) -> Result<(), Mismatch> {
        let Self { cols, bound, least, temperature, .. } = *self;
        let (rows, counts, t) = (self.rows(), self.counts(), f64::from(temperature));
        let of = |part: &str| {
            format!("{part} of {what} [{rows}, {cols}], {least}..={bound}, temperature {temperature}, {noise:?}")
        };
        let draw = Draw { noise, temperature };
        let (x, shares) = (wide(&self.x), wide(&self.shares));
        let tx = gpu.tensor(&self.x, [rows, cols]).unwrap();
        let tshares = gpu.tensor(&self.shares, [rows, counts]).unwrap();
        let (y, saved) = forward(gpu, &tx, draw, &tshares, least).unwrap();
        let y = y.read().unwrap();
        compare(&of("mask"), &label(gpu), &y, &cpu::forward(&x, g, cols, &shares, counts, least, t), &tolerance)?;
        same_bits(&of("two runs"), &y, &forward(gpu, &tx, draw, &tshares, least).unwrap().0.read().unwrap())?;
        let dy = Inputs::new(3).normal(rows * cols);
        let tdy = gpu.tensor(&dy, [rows, cols]).unwrap();
        let want = cpu::backward(&x, g, cols, &shares, counts, least, t, &wide(&dy));
        for saved in [saved, walk(gpu, &tx, draw, bound, false).unwrap()] {
            let got = backward(gpu, &saved, &tshares, least, &tdy).unwrap();
            by_rows(gpu, &of("gradient"), &got[0], &want[0], cols, &steep)?;
            by_rows(gpu, &of("gradient of shares"), &got[1], &want[1], counts, &steep)?;
        }
        let (y, saved) = prefixes(gpu, &tx, draw, bound).unwrap();
        let want = cpu::prefixes(&x, g, cols, bound, t);
        compare(&of("masks of 1, 2 .. elements"), &label(gpu), &y.read().unwrap(), &want, &tolerance)?;
        let dy = Inputs::new(4).normal(rows * bound * cols);
        let got = prefixes_backward(gpu, &saved, &gpu.tensor(&dy, [rows, bound, cols]).unwrap()).unwrap();
        let want = cpu::prefixes_backward(&x, g, cols, bound, t, &wide(&dy));
        by_rows(gpu, &of("gradient of masks of 1, 2 .."), &got, &want, cols, &steep)
    }
}

/// Relative to the largest of each row: slots that are sure amplify.
fn by_rows(
    gpu: &Gpu,
    what: &str,
    got: &Tensor,
    want: &[f64],
    cols: usize,
    tolerance: &Tolerance,
) -> Result<(), Mismatch> {
    for (row, (got, want)) in got.read().unwrap().chunks(cols).zip(want.chunks(cols)).enumerate() {
        let largest = want.iter().fold(1.0f64, |a, b| a.max(b.abs()));
        let tolerance = Tolerance::new(tolerance.abs * largest, tolerance.rel, tolerance.why);
        compare(&format!("row {row} of the {what}"), &label(gpu), got, want, &tolerance)?;
    }
    Ok(())
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (rows, cols, bound) in [(3, 1, 1), (9, 2, 2), (67, 12, 4), (9, 63, 5), (5, 300, 16), (2, 1030, 7)] {
        for (least, temperature) in [(1, 0.5), (0, 1.0), (1, 0.2), (0, 3.0)] {
            Case::new(rows, cols, bound, least, temperature).agrees(gpu, "random")?;
        }
    }
    // All alike: nothing leads.
    let mut flat = Case::new(5, 600, 8, 1, 0.5);
    flat.x.fill(0.25);
    flat.given.fill(0.0);
    flat.agrees(gpu, "flat")?;
    // Sure choices, again by what is left of them, then others that are far below.
    let mut far = Case::new(4, 40, 9, 1, 0.5);
    far.x.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 40 == 7 { 60.0 } else { *x });
    let given = gpu.tensor(&far.given, [4, 40]).unwrap();
    far.agrees_with(gpu, "far apart", Noise::Given(&given), &wide(&far.given), [FORWARD, BACKWARD])?;
    for (cols, bound) in [(1, 1), (7, 2)] {
        let x = special_matrix(cols);
        let rows = x.len() / cols;
        let shares = gpu.tensor(&vec![1.0 / bound as f32; rows * bound], [rows, bound]).unwrap();
        let tx = gpu.tensor(&x, [rows, cols]).unwrap();
        let draw = Draw { noise: Noise::None, temperature: 1.0 };
        let y = forward(gpu, &tx, draw, &shares, 1).unwrap().0.read().unwrap();
        let want = cpu::forward(&wide(&x), &vec![0.0; x.len()], cols, &wide(&shares.read().unwrap()), bound, 1, 1.0);
        compare(&format!("special rows of {cols}"), &label(gpu), &y, &want, &FORWARD)?;
    }
    hard_masks(gpu)
}

/// Hard masks against what they say, and the gradient of their counts.
fn hard_masks(gpu: &Gpu) -> Result<(), Mismatch> {
    let order = gpu.tensor(&[2u32, 0, 4, 1, 3, 5], [2, 3]).unwrap();
    let shares = gpu.tensor(&[0.0f32, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [2, 4]).unwrap();
    let exact = Tolerance::new(0.0, 0.0, "zeros and ones");
    let y = hard(gpu, &order, &shares, 0, 5).unwrap().read().unwrap();
    compare("hard masks", &label(gpu), &y, &[1., 0., 1., 0., 0., 0., 1., 0., 0., 0.], &exact)?;
    let dy = gpu.tensor(&[1.0f32, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0], [2, 5]).unwrap();
    let d = hard_backward(gpu, &order, &shares, 0, &dy).unwrap().read().unwrap();
    compare("gradient of shares", &label(gpu), &d, &[0., 4., 5., 21., 0., 64., 320., 320.], &exact)?;
    let masks = hard_prefixes(gpu, &order, 5).unwrap().read().unwrap();
    let want = [
        [0., 0., 1., 0., 0.],
        [1., 0., 1., 0., 0.],
        [1., 0., 1., 0., 1.],
        [0., 1., 0., 0., 0.],
        [0., 1., 0., 1., 0.],
        [0., 1., 0., 1., 0.],
    ];
    compare("hard masks of 1, 2 ..", &label(gpu), &masks, want.as_flattened(), &exact)?;
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn debug_case() {
    let gpu = &Gpu::new(crate::GpuConfig::default()).unwrap();
    let cpu = || -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let f: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) * 10.0
    };
    for (rows, cols, bound) in [(256, 4096, 16), (256, 4096, 1), (256, 128, 8)] {
        let x = gpu.tensor(&Inputs::new(1).normal(rows * cols), [rows, cols]).unwrap();
        let shares = gpu.tensor(&vec![1.0 / bound as f32; rows * bound], [rows, bound]).unwrap();
        let draw = |i: u64| Draw { noise: Noise::Key(Key::new(i)), temperature: 0.5 };
        let run = |i: u64| {
            let (y, walk) = forward(gpu, &x, draw(i), &shares, 1).unwrap();
            y.view(0, [1]).unwrap().read().unwrap();
            walk
        };
        let back = |walk: &super::Walk| {
            let d = backward(gpu, walk, &shares, 1, &x).unwrap();
            d[0].view(0, [1]).unwrap().read().unwrap();
        };
        let walk = run(0);
        back(&walk);
        let c = cpu();
        (0..10).for_each(|i| drop(run(i)));
        let f = (cpu() - c) / 10.0;
        let c = cpu();
        (0..10).for_each(|_| back(&walk));
        let b = (cpu() - c) / 10.0;
        let c = cpu();
        (0..10).for_each(|i| drop(gumbel_softmax::forward(gpu, &x, draw(i).noise, 0.5).unwrap().read().unwrap()));
        println!("N {cols} {bound} forward {f} backward {b} gumbel_softmax {}", (cpu() - c) / 10.0);
    }
}
