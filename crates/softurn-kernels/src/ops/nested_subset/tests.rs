//! Tests of nested subsets. The worked numbers are those of the project's notes on sparse latent models, section 9.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_close_f64, assert_gradient, compare, same_bits};

use super::{Draw, backward, cpu, forward, hard, hard_backward, hard_prefixes, prefixes, prefixes_backward, walk};
use crate::ops::{Noise, gumbel_softmax, subset, top_k};
use crate::testing::{gpus, label, special_matrix, wide};
use crate::{Error, Gpu, Key, Tensor};

const FORWARD: Tolerance = Tolerance::new(1e-5, 1e-4, "scores to 2e-7 of up to 10, over T, in every slot");
const KEYED: Tolerance = Tolerance::new(1e-4, 2e-3, "1.6e-5 in scores made from a key, over T, in every slot");
/// Relative to the largest gradient of the row.
const BACKWARD: Tolerance = Tolerance::new(1e-5, 1e-4, "the same, times |dy| / T of every slot");
const KEYED_BACKWARD: Tolerance = Tolerance::new(1e-2, 1e-2, "2e-3 in what slots take, times |dy| / T of every slot");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the largest leaves nothing", "let left = held * inverse;", "let left = 0.0;"),
    mutant("the largest of a row walked whole leaves nothing", "let left = parts.y * inverse;", "let left = 0.0;"),
    mutant("what does not lead has no part in a slot", "+ faint * inner(series, sums);", ";"),
    mutant("what does not lead loses nothing", "select(0.0, 1.0, steep * reach <= 0.25)", "0.0"),
    mutant("1 / T missing from the decay", "decay4(rest4(w, left), power)", "decay4(rest4(w, left), 1.0)"),
    mutant(
        "1 / T missing from the decay in logarithms",
        "score + power * f_log4(max(rest4(w, left)",
        "score + f_log4(max(rest4(w, left)",
    ),
    mutant("more is left of an element", "LEAST_LEFT: f32 = 1e-6", "LEAST_LEFT: f32 = 1e-3"),
    mutant(
        "slots of higher counts are used in full",
        "near));
        if (OUTPUT == 1u) { used -= shares[first_share + l + 1u - least]; }",
        "near));",
    ),
    mutant(
        "the share of no element counts",
        "OUTPUT == 1u && least == 0u) * shares",
        "OUTPUT == 1u && least == 2u) * shares",
    ),
    mutant("coarse series are good enough", "(empty || (smallest > 1e-26 && steep * reach <= 0.25))", "true"),
    mutant(
        "the gradient of the decay misses 1 / T",
        "select(vec4<f32>(0.0), power * after / max(rest",
        "select(vec4<f32>(0.0), after / max(rest",
    ),
    mutant("the largest by a difference", "select(dw - mean, left * dw - others, w > vec4<f32>(0.5))", "dw - mean"),
    mutant(
        "sums of what does not lead are constant",
        "var d = at_x4(times_power(sums_gradient), over);",
        "var d = vec4<f32>(0.0);",
    ),
    mutant(
        "the gradient of the decay of what does not lead",
        "after = plus(transposed(after, through),",
        "after = plus(zero(),",
    ),
    mutant(
        "a count uses its own slot only",
        "      sum += dshares[at * counts + j];",
        "      sum = dshares[at * counts + j];",
    ),
    mutant("a slot is in its own mask only", "sum += of_masks[(row", "sum = of_masks[(row"),
    mutant("hard counts use all slots", "{ used += hard_shares[row", "{ used = 1.0 + 0.0 * hard_shares[row"),
];

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
    for (rows, cols, bound) in [(67, 12, 4), (9, 63, 5)] {
        for (least, temperature) in [(1, 0.5), (0, 0.2)] {
            Case::new(rows, cols, bound, least, temperature).agrees(gpu, "random")?;
        }
    }
    // All alike: nothing leads.
    let mut flat = Case::new(5, 60, 8, 1, 0.5);
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
        for (rows, cols, bound) in [(3, 1, 1), (9, 2, 2), (5, 300, 16), (2, 1030, 7)] {
            for (least, temperature) in [(1, 0.5), (0, 1.0), (1, 0.2), (0, 3.0)] {
                Case::new(rows, cols, bound, least, temperature).agrees(gpu, "random").unwrap();
            }
        }
    }
}

/// Section 9.1 of the notes: every printed digit.
#[test]
fn worked_numbers() {
    let (alpha, g) = ([1.0, 0.0, -1.0, 0.5, 0.2], [0.3, 1.1, -0.2, 0.0, -0.6]);
    let (lambda, g_count) = ([0.2, 0.5, -0.3], [0.1, -0.4, 0.8]);
    let shares = gumbel_softmax::cpu::forward(&lambda, &g_count, 3, 0.5);
    let printed = Tolerance::new(1e-6, 0.0, "printed digits");
    assert_close_f64("9.1", "shares", &shares, &[0.316241, 0.211983, 0.471776], &printed);
    assert_close_f64("9.1", "g", &cpu::slot_weights(&shares, 3, 1), &[1.0, 0.683759, 0.471776], &printed);
    let slots = [
        [0.522923, 0.350526, 0.003523, 0.105576, 0.017452],
        [0.320215, 0.397806, 0.009413, 0.227238, 0.045329],
        [0.309258, 0.301495, 0.019304, 0.283602, 0.086341],
    ];
    let masks = cpu::prefixes(&alpha, &g, 5, 3, 0.5);
    let sums: Vec<f64> = (0..15).map(|i| slots[..=i / 5].iter().map(|slot| slot[i % 5]).sum()).collect();
    // Sums of up to three printed digits.
    assert_close_f64("9.1", "masks", &masks, &sums, &Tolerance::new(1.5e-6, 0.0, "printed digits, three added"));
    let mask = [0.887774, 0.764767, 0.019067, 0.394749, 0.089179];
    let y = cpu::forward(&alpha, &g, 5, &shares, 3, 1, 0.5);
    assert_close_f64("9.1", "mask", &y, &mask, &printed);
    let c = [0.5, -1.0, 2.0, 0.25, -0.75];
    let [dalpha, dshares] = cpu::backward(&alpha, &g, 5, &shares, 3, 1, 0.5, &c);
    let want_alpha = [0.371563, -0.549680, 0.079528, 0.203297, -0.104708];
    assert_close_f64("9.1", "dalpha", &dalpha, &want_alpha, &printed);
    let dlambda = gumbel_softmax::cpu::backward(&lambda, &g_count, 3, 0.5, &dshares);
    let want_lambda = [0.115258, -0.005862, -0.109396];
    assert_close_f64("9.1", "dlambda", &dlambda, &want_lambda, &printed);
    let close = Tolerance::new(2e-6, 1e-5, "printed digits, and f32");
    for gpu in gpus() {
        let row = |x: &[f64]| gpu.tensor(&x.iter().map(|&x| x as f32).collect::<Vec<_>>(), [1, x.len()]).unwrap();
        let (noise, count_noise) = (row(&g), row(&g_count));
        let draw = Draw { noise: Noise::Given(&noise), temperature: 0.5 };
        let (x, counts) = (row(&alpha), row(&lambda));
        let shares = gumbel_softmax::forward(gpu, &counts, Noise::Given(&count_noise), 0.5).unwrap();
        let (y, walk) = forward(gpu, &x, draw, &shares, 1).unwrap();
        compare("mask", &label(gpu), &y.read().unwrap(), &mask, &close).unwrap();
        let [dx, dshares] = backward(gpu, &walk, &shares, 1, &row(&c)).unwrap();
        compare("dalpha", &label(gpu), &dx.read().unwrap(), &want_alpha, &close).unwrap();
        let d = gumbel_softmax::backward(gpu, &counts, Noise::Given(&count_noise), 0.5, &dshares).unwrap();
        compare("dlambda", &label(gpu), &d.read().unwrap(), &want_lambda, &close).unwrap();
        let order = top_k::forward(gpu, &x, draw.noise, 3).unwrap().indices;
        let count = gumbel_softmax::hard(gpu, &counts, Noise::Given(&count_noise)).unwrap();
        assert_eq!(count.read().unwrap(), [0.0, 0.0, 1.0]);
        assert_eq!(hard(gpu, &order, &count, 1, 5).unwrap().read().unwrap(), [1.0, 1.0, 0.0, 1.0, 0.0]);
    }
}

#[test]
fn twin_agrees_with_central_differences() {
    let mut inputs = Inputs::new(1);
    let tolerance = Tolerance::new(1e-7, 1e-6, "central differences in f64");
    for (least, bound, t) in [(1, 3, 0.5), (0, 4, 1.0), (1, 1, 2.0), (0, 5, 0.7)] {
        let counts = bound + 1 - least;
        let [x, noise, dy] = [0; 3].map(|_| wide(&inputs.normal(15)));
        let shares = wide(&inputs.uniform(0.1, 0.5, 3 * counts));
        let dot = |y: Vec<f64>, dy: &[f64]| y.iter().zip(dy).map(|(y, g)| y * g).sum::<f64>();
        let [dx, dshares] = cpu::backward(&x, &noise, 5, &shares, counts, least, t, &dy);
        let f = |x: &[f64]| dot(cpu::forward(x, &noise, 5, &shares, counts, least, t), &dy);
        assert_gradient("nested_subset", f, &x, &dx, &tolerance);
        let f = |shares: &[f64]| dot(cpu::forward(&x, &noise, 5, shares, counts, least, t), &dy);
        assert_gradient("nested_subset, shares", f, &shares, &dshares, &tolerance);
        let dy = wide(&inputs.normal(15 * bound));
        let f = |x: &[f64]| dot(cpu::prefixes(x, &noise, 5, bound, t), &dy);
        let dx = cpu::prefixes_backward(&x, &noise, 5, bound, t, &dy);
        assert_gradient("nested_subset, prefixes", f, &x, &dx, &tolerance);
    }
}

/// Logits of `rows` rows, of many sizes, and the same for counts.
fn random_rows(gpu: &Gpu, rows: usize, cols: usize, counts: usize) -> [Tensor; 2] {
    let mut inputs = Inputs::new(cols as u64);
    let scales = inputs.uniform(0.01, 6.0, rows);
    let mut of = |cols: usize| {
        let x: Vec<f32> = inputs.normal(rows * cols).iter().enumerate().map(|(i, x)| x * scales[i / cols]).collect();
        gpu.tensor(&x, [rows, cols]).unwrap()
    };
    [of(cols), of(counts)]
}

#[test]
fn no_mask_is_above_its_bound() {
    let (rows, cols, bound) = (50_000, 11, 4);
    for (gpu, least) in gpus().iter().zip([0usize, 1]) {
        let [x, counts] = random_rows(gpu, rows, cols, bound + 1 - least);
        let [count_noise, noise] = Key::new(9).split().map(Noise::Key);
        let order = top_k::forward(gpu, &x, noise, bound).unwrap().indices;
        let one_hot = gumbel_softmax::hard(gpu, &counts, count_noise).unwrap();
        let masks = hard(gpu, &order, &one_hot, least, cols).unwrap().read().unwrap();
        let drawn = gumbel_softmax::sample(gpu, &counts, count_noise).unwrap().read_u32().unwrap();
        for (mask, count) in masks.chunks(cols).zip(drawn) {
            assert!(mask.iter().all(|&m| m == 0.0 || m == 1.0));
            assert_eq!(mask.iter().sum::<f32>() as usize, count as usize + least);
        }
        for temperature in [0.01, 0.5] {
            let shares = gumbel_softmax::forward(gpu, &counts, count_noise, 0.5).unwrap();
            let draw = Draw { noise, temperature };
            let mask = forward(gpu, &x, draw, &shares, least).unwrap().0.read().unwrap();
            let shares = shares.read().unwrap();
            for (mask, shares) in mask.chunks(cols).zip(shares.chunks(bound + 1 - least)) {
                let mean: f32 = shares.iter().enumerate().map(|(j, share)| (j + least) as f32 * share).sum();
                let sum: f32 = mask.iter().sum();
                assert!((sum - mean).abs() < 1e-5 * (1.0 + mean) && sum <= bound as f32 + 1e-5, "{sum} {mean}");
            }
            if temperature == 0.01 {
                // Of one-hot counts: the hard mask, but where two scores are nearly the same.
                let soft = forward(gpu, &x, draw, &one_hot, least).unwrap().0.read().unwrap();
                let differ = soft.iter().zip(&masks).filter(|(s, h)| (**s - **h).abs() > 1e-3).count();
                assert!(differ < rows * cols / 20, "{differ}");
                let scores = gumbel_softmax::scores(gpu, &x, noise).unwrap().read().unwrap();
                for (row, (soft, hard)) in scores.chunks(cols).zip(soft.chunks(cols).zip(masks.chunks(cols))) {
                    let mut sorted = row.to_vec();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    // Nor where what is left of an element, 10^-6, is still more than the next.
                    let near = sorted[0] - sorted[bound] < 13.0;
                    if near && sorted.windows(2).take(bound).all(|pair| pair[0] - pair[1] > 0.12) {
                        assert!(soft.iter().zip(hard).all(|(s, h)| (s - h).abs() < 1e-3), "{soft:?} {hard:?}");
                    }
                }
            }
        }
    }
}

/// The twin keeps the sum to rounding: `Σ m = Σ count share`.
#[test]
fn the_twin_sums_to_the_mean_count() {
    let (rows, cols, bound) = (1000, 9, 4);
    let mut inputs = Inputs::new(2);
    let x: Vec<f64> = wide(&inputs.normal(rows * cols)).iter().map(|x| 3.0 * x).collect();
    let shares = gumbel_softmax::cpu::forward(&wide(&inputs.normal(rows * 4)), &vec![0.0; rows * 4], 4, 0.5);
    let y = cpu::forward(&x, &vec![0.0; rows * cols], cols, &shares, bound, 1, 0.5);
    for (mask, shares) in y.chunks(cols).zip(shares.chunks(bound)) {
        let mean: f64 = shares.iter().enumerate().map(|(j, share)| (j + 1) as f64 * share).sum();
        assert!((mask.iter().sum::<f64>() - mean).abs() < 1e-12 && mean <= bound as f64);
    }
}

/// Section 9.2 of the notes: 200,000 draws, inclusion by the law of Plackett and Luce with counts of (0.5, 0.3, 0.2).
#[test]
fn hard_draws_have_the_inclusion_probabilities_of_the_law() {
    let (rows, ln) = (200_000, |p: [f32; 4]| p.map(f32::ln));
    for (gpu, key) in gpus().iter().zip([5, 6]) {
        let x = gpu.tensor(&ln([0.4, 0.3, 0.2, 0.1]).repeat(rows), [rows, 4]).unwrap();
        let [count_noise, noise] = Key::new(key).split().map(Noise::Key);
        let order = top_k::forward(gpu, &x, noise, 3).unwrap().indices;
        let inclusion = |shares: &Tensor| -> Vec<f64> {
            let masks = hard(gpu, &order, shares, 1, 4).unwrap().read().unwrap();
            (0..4).map(|c| masks.iter().skip(c).step_by(4).map(|&m| f64::from(m)).sum::<f64>() / rows as f64).collect()
        };
        let fixed = |count: usize| {
            let one: Vec<f32> = (0..3).map(|j| f32::from(u8::from(j + 1 == count))).collect();
            gpu.tensor(&one.repeat(rows), [rows, 3]).unwrap()
        };
        let counts = gpu.tensor(&[0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()].repeat(rows), [rows, 3]).unwrap();
        let drawn = gumbel_softmax::hard(gpu, &counts, count_noise).unwrap();
        let tolerance = Tolerance::new(0.0045, 0.0, "four standard deviations of 200,000 draws");
        let cases = [
            (fixed(2), [0.715873, 0.608333, 0.441270, 0.234524]),
            (fixed(3), [0.922222, 0.870238, 0.758730, 0.448810]),
            (drawn, [0.599206, 0.506548, 0.384127, 0.210119]),
        ];
        for (shares, want) in cases {
            assert_close_f64("9.2", &label(gpu), &inclusion(&shares), &want, &tolerance);
        }
    }
}

/// Section 9.2: the same weights in sets of two by the law of their size, and draws with replacement.
#[test]
fn other_laws_of_sets_include_elements_differently() {
    let ln = [0.4f32, 0.3, 0.2, 0.1].map(f32::ln);
    for gpu in gpus() {
        let subsets = subset::forward(gpu, &gpu.tensor(&ln, [1, 4]).unwrap(), 2).unwrap();
        assert!((f64::from(subsets.log_sum.read().unwrap()[0]).exp() - 0.35).abs() < 1e-6);
        assert!((f64::from(subsets.marginals.read().unwrap()[0]) - 0.24 / 0.35).abs() < 1e-6);
        // Three draws with replacement find 2.2 of them on average: three slots without find three.
        let rows = 200_000;
        let x = gpu.tensor(&ln.repeat(3 * rows), [3 * rows, 4]).unwrap();
        let drawn = gumbel_softmax::sample(gpu, &x, Noise::Key(Key::new(8))).unwrap().read_u32().unwrap();
        let distinct = |row: &[u32]| (0..4).filter(|c| row.contains(c)).count();
        let mean = drawn.chunks(3).map(distinct).sum::<usize>() as f64 / rows as f64;
        assert!((mean - 2.2).abs() < 0.006, "{mean}");
    }
}

/// Section 9.2: how far relaxed counts are from one-hot, and their mean, by temperature.
#[test]
fn relaxed_counts_drift_from_their_mean_with_the_temperature() {
    let rows = 100_000;
    let table =
        [(2.0, 0.525, 1.932), (1.0, 0.661, 1.899), (0.5, 0.796, 1.877), (0.2, 0.913, 1.865), (0.1, 0.955, 1.865)];
    let gpu = &gpus()[0];
    let counts = gpu.tensor(&[0.2f32, 0.5, -0.3].repeat(rows), [rows, 3]).unwrap();
    for (temperature, largest, mean) in table {
        let noise = Noise::Key(Key::new(17));
        let shares = gumbel_softmax::forward(gpu, &counts, noise, temperature).unwrap().read().unwrap();
        let of = |f: &dyn Fn(&[f32]) -> f32| shares.chunks(3).map(|s| f64::from(f(s))).sum::<f64>() / rows as f64;
        assert!((of(&|s| s[0].max(s[1]).max(s[2])) - largest).abs() < 0.01, "{temperature}");
        assert!((of(&|s| s[0] + 2.0 * s[1] + 3.0 * s[2]) - mean).abs() < 0.01, "{temperature}");
    }
}

#[test]
fn bad_arguments_and_empty_batches() {
    let gpu = &gpus()[0];
    let (x, shares) = (gpu.zeros([2, 5]).unwrap(), gpu.zeros([2, 3]).unwrap());
    let draw = Draw { noise: Noise::None, temperature: 1.0 };
    for bound in [0, 6] {
        let result = prefixes(gpu, &x, draw, bound);
        assert!(matches!(result, Err(Error::Argument { argument: "bound", .. })), "{bound}");
    }
    let many = gpu.zeros([2, 6]).unwrap();
    assert!(matches!(forward(gpu, &x, draw, &many, 1), Err(Error::Argument { argument: "bound", .. })));
    assert!(matches!(forward(gpu, &x, draw, &shares, 2), Err(Error::Argument { argument: "least", .. })));
    let nothing = gpu.zeros([2, 1]).unwrap();
    assert!(matches!(forward(gpu, &x, draw, &nothing, 0), Err(Error::Argument { argument: "counts", .. })));
    let other = gpu.zeros([3, 3]).unwrap();
    assert!(matches!(forward(gpu, &x, draw, &other, 1), Err(Error::Shape { argument: "shares", .. })));
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = forward(gpu, &x, Draw { temperature, ..draw }, &shares, 1);
        assert!(matches!(result, Err(Error::Argument { argument: "temperature", .. })), "{temperature}");
    }
    let (_, walk) = forward(gpu, &x, draw, &shares, 1).unwrap();
    let wrong = gpu.zeros([5, 2]).unwrap();
    assert!(matches!(backward(gpu, &walk, &shares, 1, &wrong), Err(Error::Shape { argument: "dy", .. })));
    assert!(matches!(prefixes_backward(gpu, &walk, &wrong), Err(Error::Shape { argument: "dy", .. })));
    let (none, no_shares) = (gpu.zeros([0, 5]).unwrap(), gpu.zeros([0, 3]).unwrap());
    let (y, walk) = forward(gpu, &none, draw, &no_shares, 1).unwrap();
    assert!(y.is_empty() && backward(gpu, &walk, &no_shares, 1, &none).unwrap().iter().all(Tensor::is_empty));
    let long = gpu.zeros([1, 1 << 20]).unwrap();
    assert!(matches!(prefixes(gpu, &long, draw, 1000), Err(Error::TooLarge { .. })));
}
