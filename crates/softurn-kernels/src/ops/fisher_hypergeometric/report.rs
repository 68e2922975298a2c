//! Prints the figures of docs/numerics.md: errors of ratios, log-probabilities and gradients, and straight-through means.

use softurn_tests::Inputs;

use super::cpu::{self, Law as Twin};
use super::prepare::Need;
use super::{Law, Prepared, Sampling, Tables, Upstream, Urn, backward, forward, log_prob, mean};
use crate::shader::Patch;
use crate::testing::{config, gpus, label, open, wide};
use crate::{Gpu, GpuConfig, Key, Plan};

fn prepare(gpu: &Gpu, sizes: &[u32], draws: u32, log_weights: &[f32]) -> Prepared {
    let urn = Urn::new(gpu, sizes, draws).unwrap();
    Prepared::new(gpu, &urn, &Law::Exact, &gpu.tensor(log_weights, [1, sizes.len()]).unwrap()).unwrap()
}

/// Odds of a law of one row, and the windows of all positions.
fn frame(prepared: &Prepared) -> (Vec<f32>, Vec<[usize; 2]>) {
    let groups = prepared.groups();
    let frame = prepared.frame().read_u32().unwrap();
    let odds = frame[6 * groups..7 * groups].iter().map(|&bits| f32::from_bits(bits)).collect();
    let window = |q: usize| [frame[3 * groups + q] as usize, frame[4 * groups + q] as usize];
    (odds, (0..groups).map(window).collect())
}

/// NaN is worse than anything.
fn worse(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

fn relative(got: f32, log_want: f64) -> f64 {
    (f64::from(got) / log_want.exp() - 1.0).abs()
}

/// `log P(groups q.. draw s)`, up to a constant of q.
fn log_probabilities_of_totals(twin: &Twin<'_>, z: &[Vec<f64>], q: usize) -> Vec<f64> {
    let sizes: Vec<u32> = std::iter::once(0).chain(twin.sizes[..q].iter().copied()).collect();
    let log_weights: Vec<f64> = std::iter::once(0.0).chain(twin.log_weights[..q].iter().copied()).collect();
    let before = &Twin { sizes: &sizes, draws: twin.draws, log_weights: &log_weights }.log_suffix()[1];
    let n = twin.draws as usize;
    (0..=n).map(|s| z[q][s] + before[n - s]).collect()
}

/// The worst relative error of the ratios of a law's tables: between totals that are at least e^-32 as likely as the most
/// likely one, and in all of a window.
fn table_errors(gpu: &Gpu, prepared: &Prepared, twin: &Twin<'_>, z: &[Vec<f64>]) -> [f64; 2] {
    let (_, windows) = frame(prepared);
    let mut worst = [0.0; 2];
    prepared
        .for_each_part(gpu, 1, Need::Ratios, |tables, params| {
            let tables = tables.read()?;
            for (q, &[low, high]) in windows.iter().enumerate().take(windows.len() - 1).skip(1) {
                let log_p = log_probabilities_of_totals(twin, z, q);
                let top = log_p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                for s in low..high {
                    let got = tables[(q - 1) * params.width as usize + s - low];
                    let error = relative(got, z[q][s + 1] - z[q][s]);
                    if log_p[s].min(log_p[s + 1]) >= top - 32.0 {
                        worst[0] = worse(worst[0], error);
                    }
                    worst[1] = worse(worst[1], error);
                }
            }
            Ok(())
        })
        .unwrap();
    worst
}

/// The largest log of the probability that a total is outside its window.
fn log_probability_outside(prepared: &Prepared, twin: &Twin<'_>, z: &[Vec<f64>]) -> f64 {
    let (_, windows) = frame(prepared);
    let mut largest = f64::NEG_INFINITY;
    for (q, &[low, high]) in windows.iter().enumerate().skip(1) {
        let log_p = log_probabilities_of_totals(twin, z, q);
        let top = log_p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = |inside: bool| -> f64 {
            let totals = (0..log_p.len()).filter(|s| (low..=high).contains(s) == inside);
            totals.map(|s| (log_p[s] - top).exp()).sum()
        };
        largest = largest.max(sum(false).ln() - (sum(false) + sum(true)).ln());
    }
    largest
}

/// The recurrence over all groups but the first in f32, with `m - E` as it stands, or as a sum of positive terms.
fn recurrence_error(sizes: &[u32], odds: &[f32], z: &[f64], positive: bool) -> f64 {
    let groups = sizes.len() - 1;
    let mut means = vec![0f32; groups];
    let mut worst = 0.0;
    for s in (0..z.len() - 1).take_while(|&s| z[s + 1] > f64::NEG_INFINITY) {
        let pull = |j: usize| {
            let m = sizes[j + 1] as f32;
            let others = || (0..groups).filter(|&l| l != j).map(|l| means[l]).sum::<f32>();
            odds[j + 1] * if positive { (m - s as f32) + others() } else { m - means[j] }
        };
        let pulls: Vec<f32> = (0..groups).map(pull).collect();
        let ratio = pulls.iter().sum::<f32>() / (s as f32 + 1.0);
        worst = worse(worst, relative(ratio, z[s + 1] - z[s]));
        means = pulls.iter().map(|pull| pull / ratio).collect();
    }
    worst
}

/// 300 urns of 2 to 11 groups after the first, 20 to 120 draws, log weights in [-9, 9]; sizes from the draws to three times
/// the draws (every fourth urn: all as large as the draws), or from 1 to the draws.
#[test]
#[ignore = "prints figures; asserts nothing that other tests do not"]
fn numerics_report_of_ratios() {
    let gpu = &gpus()[0];
    println!("{}, {}", label(gpu), gpu.capabilities().driver);
    let mut inputs = Inputs::new(1);
    for (what, suited) in [("no group smaller than the draws", true), ("groups smaller than the draws", false)] {
        let [mut recurred, mut convolved, mut host] = [[0f64; 2]; 3];
        let mut outside = f64::NEG_INFINITY;
        let raise = |worst: &mut [f64; 2], errors: [f64; 2]| *worst = [0, 1].map(|i| worst[i].max(errors[i]));
        for urn in 0..300usize {
            let groups = 3 + urn % 10;
            let draws = 20 + (inputs.unit() * 101.0) as u32;
            let (low, high) = match (suited, urn % 4) {
                (true, 0) => (draws, draws),
                (true, _) => (draws, 3 * draws),
                (false, _) => (1, draws),
            };
            let mut sizes = vec![draws];
            sizes.extend((1..groups).map(|_| low + (inputs.unit() * f64::from(high - low + 1)) as u32));
            let prepared = prepare(gpu, &sizes, draws, &inputs.uniform(-9.0, 9.0, groups));
            assert!(!suited || prepared.plan() == Tables::Recurrence);
            let odds = frame(&prepared).0;
            let log_odds: Vec<f64> = odds.iter().map(|&odds| f64::from(odds).ln()).collect();
            let twin = Twin { sizes: &sizes, draws, log_weights: &log_odds };
            let z = twin.log_suffix();
            outside = outside.max(log_probability_outside(&prepared, &twin, &z));
            for (plan, worst) in [(Tables::Recurrence, &mut recurred), (Tables::Convolution, &mut convolved)] {
                raise(worst, table_errors(gpu, &prepared.with_tables(gpu, plan).unwrap(), &twin, &z));
            }
            raise(&mut host, [true, false].map(|positive| recurrence_error(&sizes, &odds, &z[1], positive)));
        }
        println!("{what}: totals are outside their window with a probability of at most e^{outside:.1}");
        for (plan, [likely, all]) in [("recurrence", recurred), ("convolution", convolved)] {
            println!("{what}: kernel's {plan} {likely:.1e} between likely totals, {all:.1e} in the windows");
        }
        println!("{what}: recurrence over all totals on the host {:.1e}, with m - E {:.1e}", host[0], host[1]);
    }
}

/// `log P` the plain way: every number an f32, binomials from a table of log-factorials.
fn plain_log_prob(sizes: &[u32], draws: u32, log_weights: &[f32], rows: &[Vec<u32>]) -> Vec<f64> {
    let mut exact = 0f64;
    let mut factorials = vec![0f32];
    for i in 1..=*sizes.iter().max().unwrap() {
        exact += f64::from(i).ln();
        factorials.push(exact as f32);
    }
    let term = |p: usize, k: usize| {
        let m = sizes[p] as usize;
        factorials[m] - factorials[k] - factorials[m - k] + k as f32 * log_weights[p]
    };
    let mut z = vec![f32::NEG_INFINITY; draws as usize + 1];
    z[0] = 0.0;
    for p in (0..sizes.len()).rev() {
        let at = |s: usize| {
            let terms: Vec<f32> = (0..=s.min(sizes[p] as usize)).map(|k| term(p, k) + z[s - k]).collect();
            let largest = terms.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if largest == f32::NEG_INFINITY {
                return largest;
            }
            largest + terms.iter().map(|t| (t - largest).exp()).sum::<f32>().ln()
        };
        z = (0..z.len()).map(at).collect();
    }
    let row = |x: &Vec<u32>| x.iter().enumerate().map(|(p, &k)| term(p, k as usize)).sum::<f32>();
    rows.iter().map(|x| f64::from(row(x) - z[draws as usize])).collect()
}

#[test]
#[ignore = "prints figures; asserts nothing that other tests do not"]
fn numerics_report_of_log_probabilities() {
    let gpu = &gpus()[0];
    println!("{}, {}", label(gpu), gpu.capabilities().driver);
    let worst = |got: &[f64], want: &[f64]| got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, worse);
    let tens: Vec<f32> = (1..=10u8).map(|w| f32::from(w).ln()).collect();
    let cases: [(&str, Vec<u32>, u32, Vec<f32>); 2] = [
        ("3 x 200, 180 draws, weights 1, 10, 1", vec![200; 3], 180, vec![0.0, 10f32.ln(), 0.0]),
        ("10 x 256, 256 draws, weights 1 .. 10", vec![256; 10], 256, tens),
    ];
    for (name, sizes, draws, log_weights) in cases {
        let (groups, rows) = (sizes.len(), 512);
        let weights = wide(&log_weights);
        let twin = Twin { sizes: &sizes, draws, log_weights: &weights };
        let prepared = prepare(gpu, &sizes, draws, &log_weights);
        let drawn = forward(gpu, &prepared, rows, &Sampling::straight_through(Key::new(3), 1.0)).unwrap();
        let counts = drawn.counts.read().unwrap();
        let drawn: Vec<Vec<u32>> = counts.chunks(groups).map(|x| x.iter().map(|&x| x as u32).collect()).collect();
        // All draws from as few groups as possible, far from the mode.
        let corner = |first: usize| {
            let mut left = draws;
            let mut x = vec![0; groups];
            for p in (first..groups).chain(0..first) {
                x[p] = left.min(sizes[p]);
                left -= x[p];
            }
            x
        };
        for (what, x) in [("draws", drawn), ("corners", (0..groups).map(corner).collect())] {
            let flat: Vec<f32> = x.iter().flatten().map(|&x| x as f32).collect();
            let counts = gpu.tensor(&flat, [x.len(), groups]).unwrap();
            let want = twin.log_probs(&x);
            let got = wide(&log_prob(gpu, &prepared, &counts).unwrap().log_prob.read().unwrap());
            let lowest = want.iter().copied().fold(0.0, f64::min);
            let plain = worst(&plain_log_prob(&sizes, draws, &log_weights, &x), &want);
            let ours = worst(&got, &want);
            println!("{name}: log P of {} {what} down to {lowest:.1}: plain {plain:.1e}, ours {ours:.1e}", x.len());
        }
        let got = wide(&mean(gpu, &prepared).unwrap().read().unwrap());
        println!("{name}: E[x] {:.1e}", worst(&got, &twin.mean()));
    }
}

/// 3 x 200, 180 draws, weights 1, 10, 1: gradients of each count, by row of draws.
fn jacobians(gpu: &Gpu, rows: usize, key: Key, temperature: f32) -> [Vec<f32>; 3] {
    let prepared = prepare(gpu, &[200; 3], 180, &[0.0, 10f32.ln(), 0.0]);
    let sampling = Sampling::straight_through(key, temperature);
    let draw = forward(gpu, &prepared, rows, &sampling).unwrap();
    [0, 1, 2].map(|i| {
        let dcounts: Vec<f32> = (0..rows * 3).map(|at| f32::from(u8::from(at % 3 == i))).collect();
        let dcounts = gpu.tensor(&dcounts, [rows, 3]).unwrap();
        let upstream = Upstream { counts: &dcounts, log_prob: None, masks: None };
        let [gradient, _] = backward(gpu, &prepared, &draw, &upstream, &sampling).unwrap();
        gradient.read().unwrap()
    })
}

#[test]
#[ignore = "prints figures; asserts nothing that other tests do not"]
fn numerics_report_of_gradients() {
    let gpu = &gpus()[0];
    println!("{}, {}", label(gpu), gpu.capabilities().driver);
    let log_weights = wide(&[0.0, 10f32.ln(), 0.0]);
    let twin = Twin { sizes: &[200; 3], draws: 180, log_weights: &log_weights };
    let exact = twin.covariance();
    for temperature in [0.5, 1.0, 2.0] {
        let rows = 4096;
        for (i, gradient) in jacobians(gpu, rows, Key::new(11), temperature).iter().enumerate() {
            for j in 0..3 {
                let of_row = || gradient.chunks(3).map(|row| f64::from(row[j]));
                let mean = of_row().sum::<f64>() / rows as f64;
                let variance = of_row().map(|g| (g - mean).powi(2)).sum::<f64>() / (rows - 1) as f64;
                println!(
                    "temperature {temperature}, entry {i} {j}: mean {mean:.2}, sd of one draw {:.1}, exact {:.2}",
                    variance.sqrt(),
                    exact[3 * i + j]
                );
            }
        }
    }

    // What deltas multiply, relative to 0 instead of the centre.
    let shader = "fisher_hypergeometric";
    let absolute = [
        ("sums.own += f32(k - middle) * delta;", "sums.own += f32(k) * delta;"),
        ("(rest_mean4(here, table, j, k, left) - middle0)", "rest_mean4(here, table, j, k, left)"),
        ("(sensitivity(here, k, left) - slope_at_middle)", "sensitivity(here, k, left)"),
    ];
    let patches = absolute.map(|(from, to)| Patch { shader, from, to }).to_vec();
    let before = open(GpuConfig { patches, plan: Some(Plan::Cpu), ..config() });
    let (rows, key) = (64, Key::new(11));
    for (name, gpu) in [("0", &before), ("the centre", gpu)] {
        let got = jacobians(gpu, rows, key, 1.0);
        let (mut worst, mut largest) = (0.0, 0f64);
        for row in 0..rows {
            let noise = cpu::noise(row, key);
            let how = cpu::Draw { merged: None, relaxed: false, temperature: 1.0, noise: &noise };
            let drawn = twin.draw(&how, 180.0);
            for (i, got) in got.iter().enumerate() {
                let mut counts = [0.0; 3];
                counts[i] = 1.0;
                let upstream = cpu::Upstream { counts: &counts, log_prob: 0.0, masks: None };
                let want = twin.backward(&how, 180.0, &drawn, &upstream).0;
                for (got, want) in got[3 * row..][..3].iter().zip(want) {
                    worst = worse(worst, (f64::from(*got) - want).abs());
                    largest = largest.max(want.abs());
                }
            }
        }
        println!("gradients relative to {name}: worst error {worst:.1e} of up to {largest:.0}");
    }
}
