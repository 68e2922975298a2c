//! What many draws of the noncentral hypergeometric law say, with fixed seeds.

use softurn_tests::{benjamini_hochberg, chi_square_p, discrete_ks_p};

use super::cpu::Law as Twin;
use super::{Law, Order, Prepared, Sampling, Upstream, Urn, backward, forward};
use crate::testing::{gpus, wide};
use crate::{Gpu, Key};

fn draws(gpu: &Gpu, law: &Law, sizes: &[u32], n: u32, log_weights: &[f32], rows: usize, seed: u64) -> Vec<f32> {
    let urn = Urn::new(gpu, sizes, n).unwrap();
    let weights = gpu.tensor(log_weights, [1, sizes.len()]).unwrap();
    let prepared = Prepared::new(gpu, &urn, law, &weights).unwrap();
    forward(gpu, &prepared, rows, &Sampling::straight_through(Key::new(seed), 1.0)).unwrap().counts.read().unwrap()
}

/// The paper's figure, against exact marginals: three groups of 200, 180 draws, weights 1, w, 1 for w = 1 .. 10; 50,000 draws a
/// setting, a Kolmogorov-Smirnov test a group, false discoveries by Benjamini and Hochberg at 0.05.
#[test]
fn marginals_are_exact_and_those_of_the_merged_law_are_not() {
    let rows = 50_000;
    let gpu = &gpus()[0];
    for law in [Law::Exact, Law::Merged(Order::Natural)] {
        let mut p = Vec::new();
        for w in 1..=10u8 {
            let log_weights = [0.0, f32::from(w).ln(), 0.0];
            let counts = draws(gpu, &law, &[200; 3], 180, &log_weights, rows, u64::from(w));
            let wide_weights = wide(&log_weights);
            let twin = Twin { sizes: &[200; 3], draws: 180, log_weights: &wide_weights };
            for group in 0..3 {
                let expected = twin.marginal(group);
                let mut observed = vec![0u64; expected.len()];
                counts.chunks(3).for_each(|x| observed[x[group] as usize] += 1);
                p.push(discrete_ks_p(&observed, &expected));
            }
        }
        let rejected = benjamini_hochberg(&p, 0.05);
        match law {
            Law::Exact => assert!(rejected.iter().all(|r| !r), "{p:?}"),
            // For w = 1 all weights are equal, and merging is exact.
            Law::Merged(_) => assert!(rejected[3..].iter().all(|&r| r) && rejected[..3].iter().all(|&r| !r), "{p:?}"),
        }
    }
}

#[test]
fn joint_laws_of_tiny_cases() {
    let rows = 100_000;
    let cases: [([u32; 3], u32, [f32; 3]); 3] =
        [([3, 4, 5], 6, [0.0, 1.2, -0.7]), ([6, 2, 6], 7, [0.5, -1.0, 2.0]), ([4, 4, 4], 4, [0.0, 0.7, 1.4])];
    for (gpu, seed) in gpus().iter().zip([1, 2]) {
        for (sizes, n, log_weights) in cases {
            let wide_weights = wide(&log_weights);
            let twin = Twin { sizes: &sizes, draws: n, log_weights: &wide_weights };
            let mut support = Vec::new();
            for a in 0..=sizes[0].min(n) {
                for b in 0..=sizes[1].min(n - a) {
                    if n - a - b <= sizes[2] {
                        support.push(vec![a, b, n - a - b]);
                    }
                }
            }
            let expected: Vec<f64> = twin.log_probs(&support).iter().map(|l| rows as f64 * l.exp()).collect();
            assert!((expected.iter().sum::<f64>() / rows as f64 - 1.0).abs() < 1e-12);
            let test = |law: &Law| {
                let counts = draws(gpu, law, &sizes, n, &log_weights, rows, seed);
                let mut observed = vec![0u64; support.len()];
                for x in counts.chunks(3) {
                    let x: Vec<u32> = x.iter().map(|&x| x as u32).collect();
                    observed[support.iter().position(|y| *y == x).expect("a draw inside the support")] += 1;
                }
                chi_square_p(&observed, &expected)
            };
            let p = test(&Law::Exact);
            assert!(p > 1e-3, "{sizes:?}: chi-square p = {p}");
            let p = test(&Law::Merged(Order::Natural));
            assert!(p < 1e-6, "{sizes:?}: the merged law passes as exact, p = {p}");
        }
    }
}

/// Section 1.4: weights 1, 10, 1; 4,096 draws at temperature 1; entries of the exact covariance above 1 within 5 %.
#[test]
fn straight_through_gradient_is_the_exact_covariance_on_average() {
    let log_weights = [0.0, 10f32.ln(), 0.0];
    let wide_weights = wide(&log_weights);
    let exact = Twin { sizes: &[200; 3], draws: 180, log_weights: &wide_weights }.covariance();
    for gpu in gpus() {
        for weight_rows in [1, 4096] {
            let rows = 4096;
            let urn = Urn::new(gpu, &[200; 3], 180).unwrap();
            let weights = gpu.tensor(&log_weights.repeat(weight_rows), [weight_rows, 3]).unwrap();
            let prepared = Prepared::new(gpu, &urn, &Law::Exact, &weights).unwrap();
            let sampling = Sampling::straight_through(Key::new(11), 1.0);
            let draw = forward(gpu, &prepared, rows, &sampling).unwrap();
            let mut by_row = vec![0f32; rows * 3];
            for i in 0..3 {
                let dcounts: Vec<f32> = (0..rows * 3).map(|at| f32::from(u8::from(at % 3 == i))).collect();
                let dcounts = gpu.tensor(&dcounts, [rows, 3]).unwrap();
                let upstream = Upstream { counts: &dcounts, log_prob: None, masks: None };
                let [gradient, _] = backward(gpu, &prepared, &draw, &upstream, &sampling).unwrap();
                let gradient = gradient.read().unwrap();
                for j in 0..3 {
                    let mean = gradient.chunks(3).map(|row| f64::from(row[j])).sum::<f64>() / rows as f64;
                    let want = exact[3 * i + j];
                    assert!(want.abs() > 1.0 && (mean - want).abs() <= 0.05 * want.abs(), "{i} {j}: {mean} for {want}");
                }
                by_row.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
                let worst = gradient.chunks(3).map(|row| row.iter().sum::<f32>().abs()).fold(0.0, f32::max);
                assert!(worst < 1e-3, "gradients of a count sum to {worst} over weights");
            }
            // The counts sum to n whatever the weights.
            let worst = by_row.iter().map(|g| g.abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3, "gradients of all counts sum to {worst}");
        }
    }
}
