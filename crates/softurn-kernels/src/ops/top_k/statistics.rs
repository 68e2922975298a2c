//! What many draws say of the noise that is made where it is needed, with fixed keys; and what all relaxations have in
//! common.

use softurn_tests::{Inputs, chi_square_p, ks_p};

use super::{forward, k_hot};
use crate::ops::entmax::Alpha;
use crate::ops::relaxed_sort::{Kind, Relaxation, Wanted};
use crate::ops::{Noise, entmax, gumbel_softmax, relaxed_sort, sigmoid_top_k, subset};
use crate::testing::{gpus, label};
use crate::{Gpu, Key, Tensor};

const LOGITS: [f32; 7] = [0.0, 1.5, -1.0, 0.5, -2.5, 2.0, -0.25];
/// The bits of three columns, for all 35 choices of them.
fn triples() -> Vec<u32> {
    (0u32..1 << 7).filter(|bits| bits.count_ones() == 3).collect()
}

/// Chances of the ordered triples `(a, b, c)`, at `49 a + 7 b + c`, with logits times `scale`: the law of Plackett and Luce.
fn ordered(scale: f64) -> Vec<f64> {
    let w = LOGITS.map(|x| (f64::from(x) * scale).exp());
    let all: f64 = w.iter().sum();
    let chance = |e: usize| {
        let (a, b, c) = (e / 49, e / 7 % 7, e % 7);
        let distinct = a != b && a != c && b != c;
        if distinct { w[a] / all * w[b] / (all - w[a]) * w[c] / (all - w[a] - w[b]) } else { 0.0 }
    };
    (0..343).map(chance).collect()
}

/// The same of the sets, in the order of [`triples`].
fn unordered(of_ordered: &[f64]) -> Vec<f64> {
    let bits = |e: usize| (1u32 << (e / 49)) | (1 << (e / 7 % 7)) | (1 << (e % 7));
    triples().iter().map(|&set| (0..343).filter(|&e| bits(e) == set).map(|e| of_ordered[e]).sum()).collect()
}

#[test]
fn chosen_triples_have_the_law_of_plackett_and_luce() {
    let rows = 1_000_000;
    for (gpu, key) in gpus().iter().zip([21, 22]) {
        let x = gpu.tensor(&LOGITS.repeat(rows), [rows, 7]).unwrap();
        let at = forward(gpu, &x, Noise::Key(Key::new(key)), 3).unwrap().indices.read_u32().unwrap();
        let mut observed = vec![0u64; 343];
        at.chunks(3).for_each(|row| observed[(49 * row[0] + 7 * row[1] + row[2]) as usize] += 1);
        let sets: Vec<u64> =
            unordered(&observed.iter().map(|&o| o as f64).collect::<Vec<_>>()).iter().map(|&o| o as u64).collect();
        let test = |scale: f64| {
            let law: Vec<f64> = ordered(scale).iter().map(|p| p * rows as f64).collect();
            [chi_square_p(&sets, &unordered(&law)), chi_square_p(&observed, &law)]
        };
        let right = test(1.0);
        println!("{}: p of sets and of ordered triples {right:?}", label(gpu));
        assert!(right.iter().all(|&p| p > 1e-6), "{}: {right:?}", label(gpu));
        for scale in [0.98, 1.02] {
            let wrong = test(scale);
            assert!(wrong.iter().all(|&p| p < 1e-6), "{}: logits times {scale} pass, {wrong:?}", label(gpu));
        }
    }
}

#[test]
fn subsets_have_their_law() {
    let rows = 1_000_000;
    let gpu = &gpus()[0];
    let x = gpu.tensor(&LOGITS.repeat(rows), [rows, 7]).unwrap();
    let hot = subset::sample(gpu, &subset::forward(gpu, &x, 3).unwrap(), Key::new(23)).unwrap().read().unwrap();
    let sets = triples();
    let mut observed = vec![0u64; 128];
    for row in hot.chunks(7) {
        observed[(0..7).map(|c| (row[c] as usize) << c).sum::<usize>()] += 1;
    }
    assert!((0..128).all(|bits| sets.contains(&bits) || observed[bits as usize] == 0), "not 3 of 7: {observed:?}");
    let observed: Vec<u64> = sets.iter().map(|&bits| observed[bits as usize]).collect();
    let test = |scale: f64| {
        let weight = |bits: &u32| (0..7).filter(|c| bits >> c & 1 == 1).map(|c| f64::from(LOGITS[c])).sum::<f64>();
        let weights: Vec<f64> = sets.iter().map(|bits| (weight(bits) * scale).exp()).collect();
        let all: f64 = weights.iter().sum();
        chi_square_p(&observed, &weights.iter().map(|w| rows as f64 * w / all).collect::<Vec<_>>())
    };
    let p = test(1.0);
    println!("p of sets {p}");
    assert!(p > 1e-6, "{p}");
    assert!(test(1.02) < 1e-6 && test(0.98) < 1e-6, "the test can fail");
    // The first of Gumbel-top-k go in another law: one draw after the other is not one draw of them all.
    let expected: Vec<f64> = unordered(&ordered(1.0)).iter().map(|p| p * rows as f64).collect();
    assert!(chi_square_p(&observed, &expected) < 1e-6, "the laws of sets are not told apart");
}

/// The largest of 2^30 draws. All are below 22.9, which is what the largest word gives; a chance of e^-18 of each to be above
/// 18 leaves e^-16.3 = 8e-8 that none is. Noise of 24 bits ends at 17.3, and of a uniform that is rounded to 1 is infinite.
#[test]
fn noise_reaches_its_tail() {
    let gpu = &gpus()[0];
    let (rows, cols) = (1024, 1 << 15);
    let x = gpu.zeros([rows, cols]).unwrap();
    let mut largest = Vec::new();
    for key in Key::new(24).split_forever().take(32) {
        largest.extend(forward(gpu, &x, Noise::Key(key), 1).unwrap().values.read().unwrap());
    }
    assert!(largest.iter().all(|g| g.is_finite()));
    let top = largest.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    println!("largest of 2^30: {top}");
    assert!(18.0 < top && top < 23.0, "{top}");
    // The largest of each row, some 10 to 23, against the law of the largest of 2^15.
    let largest: Vec<f64> = largest.iter().map(|&g| f64::from(g)).collect();
    let test = |offset: f64| ks_p(&largest, |g| (-((cols as f64).ln() + offset - g).exp()).exp());
    println!("p of the largest of rows {}", test(0.0));
    assert!(test(0.0) > 1e-6, "{}", test(0.0));
    assert!(test(0.04) < 1e-6 && test(-0.04) < 1e-6, "the test can fail");
}

/// Rows where all but the first element have chances of 1e-7 each.
#[test]
fn rare_events_happen_as_often_as_they_should() {
    let gpu = &gpus()[0];
    let (rows, cols, below) = (1 << 20, 32, -16.1f32);
    let row: Vec<f32> = (0..cols).map(|c| if c == 0 { 0.0 } else { below }).collect();
    let x = gpu.tensor(&row.repeat(rows), [rows, cols]).unwrap();
    let mut observed = 0u64;
    let keys = 32;
    for key in Key::new(25).split_forever().take(keys) {
        let at = gumbel_softmax::sample(gpu, &x, Noise::Key(key)).unwrap().read_u32().unwrap();
        observed += at.iter().filter(|&&at| at != 0).count() as u64;
    }
    let expected = |logit: f64| {
        let odds = (cols - 1) as f64 * logit.exp();
        (rows * keys) as f64 * odds / (1.0 + odds)
    };
    let off = |expected: f64| (observed as f64 - expected).abs() / expected.sqrt();
    let want = expected(f64::from(below));
    println!("{observed} rare events of {want}");
    assert!(want > 20.0 && off(want) < 5.0, "{observed} of {want}");
    for factor in [0.5f64, 2.0] {
        assert!(off(factor * want) > 5.0, "{observed} passes for {} as well", factor * want);
    }
}

const COLS: usize = 9;
const K: usize = 3;
const FAR: f32 = 1e30;
const CLOSED: [f32; COLS] = [f32::NEG_INFINITY; COLS];

/// Rows of nine: random ones, then all `-inf`, one finite, two finite, two `+inf`, some far apart, and one with NaN.
fn rows() -> Vec<[f32; COLS]> {
    let random = Inputs::new(7).normal(64 * COLS);
    let mut rows: Vec<[f32; COLS]> = random.chunks(COLS).map(|row| row.try_into().unwrap()).collect();
    let with = |entries: &[(usize, f32)], mut row: [f32; COLS]| {
        entries.iter().for_each(|&(c, x)| row[c] = x);
        row
    };
    rows.push(CLOSED);
    rows.push(with(&[(5, -3.0)], CLOSED));
    rows.push(with(&[(2, 0.5), (7, 1e30)], CLOSED));
    rows.push(with(&[(1, f32::INFINITY), (8, f32::INFINITY)], [0.5; COLS]));
    rows.push(std::array::from_fn(|c| -FAR * ((5 * c) % COLS) as f32));
    rows.push(with(&[(4, f32::NAN)], [0.5; COLS]));
    rows
}

/// What rows of a relaxation hold: a sum, or NaN throughout.
fn sums_are(what: &str, y: &[f32], want: impl Fn(&[f32; COLS]) -> f64) {
    for (x, y) in rows().iter().zip(y.chunks(COLS)) {
        let (sum, want) = (y.iter().map(|&y| f64::from(y)).sum::<f64>(), want(x));
        match want.is_nan() {
            true => assert!(y.iter().all(|y| y.is_nan()), "{what} of {x:?}: {y:?}, not NaN throughout"),
            false => assert!((sum - want).abs() < 1e-5, "{what} of {x:?}: {y:?}, of sum {sum} for {want}"),
        }
        assert!(want.is_nan() || y.iter().all(|&y| (-1e-6..=1.000_001).contains(&y)), "{what} of {x:?}: {y:?}");
    }
}

/// Gradients of those sums: nothing but rounding, and NaN where `nan` says so.
fn nothing(what: &str, dx: &[f32], limit: f32, nan: impl Fn(&[f32; COLS]) -> bool) {
    for (x, dx) in rows().iter().zip(dx.chunks(COLS)) {
        let right = |d: f32| if nan(x) { true } else { d.abs() <= limit };
        assert!(dx.iter().all(|&d| right(d)), "gradient of the sum of {what} of {x:?}: {dx:?}");
    }
}

fn has_nan(x: &[f32; COLS]) -> bool {
    x.iter().any(|x| x.is_nan())
}

/// How many can be chosen.
fn open(x: &[f32; COLS]) -> usize {
    let infinite = x.iter().filter(|&&x| x == f32::INFINITY).count();
    if infinite > 0 { infinite } else { x.iter().filter(|&&x| x > f32::NEG_INFINITY).count() }
}

fn tensors(gpu: &Gpu) -> [Tensor; 2] {
    let rows = rows();
    let x = gpu.tensor(&rows.concat(), [rows.len(), COLS]).unwrap();
    [x, gpu.tensor(&vec![1.0; rows.len() * COLS], [rows.len(), COLS]).unwrap()]
}

#[test]
fn sums_of_relaxed_rows_are_constants() {
    for gpu in gpus() {
        let [x, ones] = tensors(gpu);
        let none = gpu.zeros([rows().len()]).unwrap();
        let read = |x: Tensor| x.read().unwrap();
        let one_or = |x: &[f32; COLS], closed: f64| match () {
            () if has_nan(x) => f64::NAN,
            () if open(x) == 0 => closed,
            () => 1.0,
        };
        for alpha in [Alpha::Two, Alpha::OneAndAHalf] {
            let y = entmax::forward(gpu, &x, alpha).unwrap();
            nothing("entmax", &read(entmax::backward(gpu, &y, &ones, alpha).unwrap()), 1e-6, has_nan);
            sums_are("entmax", &read(y), |x| one_or(x, 0.0));
        }
        for noise in [Noise::None, Noise::Key(Key::new(26))] {
            for t in [0.2, 0.7, 5.0] {
                let y = gumbel_softmax::forward(gpu, &x, noise, t).unwrap();
                sums_are("gumbel_softmax", &read(y), |x| one_or(x, 0.0));
                let dx = gumbel_softmax::backward(gpu, &x, noise, t, &ones).unwrap();
                nothing("gumbel_softmax", &read(dx), 1e-6 / t, has_nan);
                let y = sigmoid_top_k::forward(gpu, &x, noise, K, t).unwrap();
                let dx = sigmoid_top_k::backward(gpu, &y, &ones, t).unwrap();
                nothing("sigmoid_top_k", &read(dx), 1e-6 / t, has_nan);
                sums_are("sigmoid_top_k", &read(y), |x| if has_nan(x) { f64::NAN } else { open(x).min(K) as f64 });
            }
        }
        for k in [1, 2, K] {
            let impossible = |x: &[f32; COLS]| {
                has_nan(x) || x.contains(&f32::INFINITY) || x.iter().filter(|x| x.is_finite()).count() < k
            };
            let subsets = subset::forward(gpu, &x, k).unwrap();
            nothing("subset", &read(subset::backward(gpu, &subsets, &ones, &none).unwrap()), 1e-5, impossible);
            sums_are("subset", &read(subsets.marginals), |x| if impossible(x) { f64::NAN } else { k as f64 });
        }
        // Rows of P; the gradient of their sums, which are P 1, whatever they are multiplied with.
        for kind in [Kind::Neural, Kind::Soft] {
            for temperature in [0.5, 1e-6] {
                let relaxation = Relaxation { kind, temperature };
                let sorted = relaxed_sort::prepare(gpu, &x).unwrap();
                let p = read(relaxed_sort::matrix(gpu, &sorted, relaxation).unwrap());
                for i in 0..COLS {
                    let rows: Vec<f32> =
                        p.chunks(COLS * COLS).flat_map(|p| p[i * COLS..(i + 1) * COLS].to_vec()).collect();
                    sums_are("relaxed_sort", &rows, |x| one_or(x, 1.0));
                }
                let shape = [rows().len(), COLS, 1];
                let column = gpu.tensor(&vec![1.0; rows().len() * COLS], shape).unwrap();
                let (y, inverse) = relaxed_sort::forward(gpu, &sorted, relaxation, &column).unwrap();
                let wanted = Wanted { scores: true, x: false };
                let got = relaxed_sort::backward(gpu, &sorted, relaxation, &inverse, &column, &y, &column, wanted);
                let limit = 1e-4f32.max(1e-5 / temperature);
                nothing("relaxed_sort", &read(got.unwrap().scores.unwrap()), limit, has_nan);
            }
        }
    }
}

/// As cold as f32 can be, below its normal numbers too.
#[test]
fn cold_relaxations_are_the_draws_with_the_same_key() {
    for gpu in gpus() {
        let [x, _] = tensors(gpu);
        let dy = gpu.tensor(&Inputs::new(9).normal(x.len()), x.shape().clone()).unwrap();
        for noise in [Noise::None, Noise::Key(Key::new(27))] {
            // Without noise two of +inf are equal, and relaxations share. Elements, unlike scores, can be second to them.
            let settled = |x: &[f32; COLS]| matches!(noise, Noise::Key(_)) || !x.contains(&f32::INFINITY);
            let chosen = forward(gpu, &x, noise, K).unwrap();
            let hot = k_hot(gpu, &chosen.indices, COLS).unwrap().read().unwrap();
            let hard = gumbel_softmax::hard(gpu, &x, noise).unwrap().read().unwrap();
            for t in [1e-6, 1e-30, f32::MIN_POSITIVE, 1e-40, 1e-45] {
                let soft = gumbel_softmax::forward(gpu, &x, noise, t).unwrap().read().unwrap();
                let soft_slopes = gumbel_softmax::backward(gpu, &x, noise, t, &dy).unwrap().read().unwrap();
                let relaxed = sigmoid_top_k::forward(gpu, &x, noise, K, t).unwrap();
                let slopes = sigmoid_top_k::backward(gpu, &relaxed, &dy, t).unwrap().read().unwrap();
                let relaxed = relaxed.read().unwrap();
                for (r, row) in rows().iter().enumerate() {
                    let at = r * COLS..(r + 1) * COLS;
                    let results =
                        [("gumbel_softmax", &soft, &hard, &soft_slopes), ("sigmoid_top_k", &relaxed, &hot, &slopes)];
                    // Over these temperatures all but the first are as far as numbers go, and share.
                    let shared = t < 1e-7 && row.contains(&-FAR);
                    for (what, y, want, dx) in results {
                        let (y, want, dx) = (&y[at.clone()], &want[at.clone()], &dx[at.clone()]);
                        let of = || format!("{what} at {t}, {noise:?}, {}, of {row:?}: {y:?} for {want:?}", label(gpu));
                        if has_nan(row) {
                            assert!(y.iter().all(|y| y.is_nan()), "{}", of());
                            continue;
                        }
                        assert!(y.iter().chain(dx).all(|y| !y.is_nan()), "{}, gradient {dx:?}", of());
                        let same = y.iter().zip(want).all(|(y, want)| (y - want).abs() < 1e-3);
                        let sum = |y: &[f32]| y.iter().sum::<f32>();
                        let close = shared && what == "sigmoid_top_k" && (sum(y) - sum(want)).abs() < 1e-5;
                        assert!(same || close || !settled(row), "{}", of());
                    }
                }
            }
        }
    }
}
