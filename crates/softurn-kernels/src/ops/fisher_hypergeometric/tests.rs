//! Tests of the noncentral hypergeometric law.

use std::f32::consts::{LN_2, LN_10};

use softurn_tests::{
    Inputs, Mismatch, Mutant, Tolerance, assert_gradient, chi_square_p, compare, compare_f64, same_bits,
};

use super::cpu::{self, Law as Twin};
use super::{
    Law, Noise, Order, Prepared, Sampling, Tables, Upstream, Urn, backward, covariance_and_entropy, forward, log_prob,
    log_prob_backward, masks, mean, mode,
};
use crate::testing::{gpus, label, open, wide};
use crate::{Error, Gpu, GpuConfig, Key, Plan, Tensor};

/// The stated accuracy: 2e-6 relative above 1, and 1e-5.
const LOG_PROB: Tolerance = Tolerance::new(1e-5, 2e-6, "stated: a point evaluation, and a sum over a window");
/// A mean is an average under probabilities good to a few 1e-6, of numbers that spread over a few standard deviations.
const MEAN: Tolerance = Tolerance::new(5e-5, 3e-6, "an average under probabilities good to 5e-6 relative");
/// Relaxed probabilities divide the error of the logits by the temperature, and multiply it by squares of the spread.
const GRADIENT: Tolerance =
    Tolerance::new(1e-3, 2e-4, "variance of the relaxation times the error of its logits over the temperature");
const RELAXED: Tolerance = Tolerance::new(1e-4, 1e-5, "a mean under the relaxation at temperatures down to 0.3");
const MEAN_TIMES_GRADIENT: Tolerance = Tolerance::new(2e-4, 3e-6, "the mean's error times |dscore| <= 4");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the recurrence forgets the draws", "shared/fisher_law", "(size - s) + (vec4<f32>(", "(size) + (vec4<f32>("),
    mutant("the average lacks the later groups", "shared/fisher_tables", "+ f32(s - k + 1u) * r)", "+ 0.0 * r)"),
    mutant("the walk ends too early", "shared/fisher_law", "- (*walk).tail;", "- 2;"),
    mutant(
        "no sensitivity to the remaining draws",
        "fisher_hypergeometric",
        "a += sums.rest;",
        "a += 0.0 * sums.rest;",
    ),
    mutant("the temperature is ignored", "fisher_hypergeometric", "delta *= y / draw.temperature;", "delta *= y;"),
    mutant(
        "noise is shared by the groups",
        "shared/fisher_law",
        "vec4<u32>(draw.row, p, u32(k) / 4u, STREAM)",
        "vec4<u32>(draw.row, 0u, u32(k) / 4u, STREAM)",
    ),
    mutant(
        "score against the wrong mean",
        "fisher_hypergeometric",
        "(scored[i] - score_means",
        "(scored[i] + score_means",
    ),
    mutant("log-factorials lose their fractions", "fisher_hypergeometric", "(a.fraction - b.fraction) +", "0.0 +"),
    mutant(
        "the merged weight is not a mean",
        "shared/fisher_tables",
        "rest_weight / max(f32(rest), 1.0)",
        "rest_weight",
    ),
    mutant("masks are off by one", "fisher_hypergeometric", "clamp(count - f32(k) + 1.0", "clamp(count - f32(k)"),
    mutant("masks have no gradient", "fisher_hypergeometric", "delta += *prefix - state.mask_mean;", "delta += 0.0;"),
    mutant("the cubic has no slope", "shared/fisher_law", "return slope + f * (2.0 *", "return f * (2.0 *"),
    mutant(
        "the fused means are forgotten",
        "fisher_hypergeometric",
        "sums.part0 += delta * mean0;",
        "sums.part0 += 0.0 * mean0;",
    ),
    mutant(
        "values leave the support with a jump",
        "shared/fisher_law",
        "return u * u * (3.0 - 2.0 * u);",
        "return 1.0;",
    ),
];

const fn mutant(name: &'static str, shader: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "fisher_hypergeometric", name, shader, from, to, plan: "cpu", hidden: None }
}

/// Sizes, draws, log weights: one group, empty groups, everything drawn, nothing drawn, skewed weights, many groups, a
/// group of weight zero, and sizes for which tables are made either way. The first [`FEW`] make most mistakes show.
const CASES: &[(&[u32], u32, &[f32])] = &[
    (&[3, 4, 5], 6, &[0.0, LN_2, -LN_2]),
    (&[40, 30, 50], 70, &[3.0, -2.0, 0.5]),
    (&[60, 60, 60], 54, &[0.0, LN_10, 0.0]),
    (&[5], 3, &[0.7]),
    (&[5, 7], 6, &[LN_2, 0.0]),
    (&[3, 0, 5], 4, &[0.3, 2.0, -0.5]),
    (&[3, 4, 5], 12, &[0.1, 0.2, 0.3]),
    (&[3, 4, 5], 0, &[0.1, 0.2, 0.3]),
    (&[30, 30, 30, 30], 25, &[1.5, f32::NEG_INFINITY, 0.0, -1.0]),
    (&[32, 32, 32, 32, 32, 32], 32, &[0.0, 0.4, 0.8, 1.2, -1.0, 0.1]),
    (&[20, 9, 14, 30, 11, 7], 40, &[0.0, 2.4, -0.8, 1.2, -1.0, 0.3]),
];
const FEW: usize = 3;

fn twin<'a>(sizes: &'a [u32], draws: u32, log_weights: &'a [f64]) -> Twin<'a> {
    Twin { sizes, draws, log_weights }
}

fn weights(gpu: &Gpu, values: &[f32], groups: usize) -> Tensor {
    gpu.tensor(values, [values.len() / groups, groups]).unwrap()
}

fn exact(gpu: &Gpu, sizes: &[u32], draws: u32, log_weights: &[f32]) -> Prepared {
    let urn = Urn::new(gpu, sizes, draws).unwrap();
    Prepared::new(gpu, &urn, &Law::Exact, &weights(gpu, log_weights, sizes.len())).unwrap()
}

/// What must hold on one device, on the cases that make mistakes show.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    check_cases(gpu, &CASES[..FEW])
}

fn check_cases(gpu: &Gpu, cases: &[(&[u32], u32, &[f32])]) -> Result<(), Mismatch> {
    for (case, &(sizes, draws, log_weights)) in cases.iter().enumerate() {
        let plans =
            if sizes.len() > 2 { vec![Tables::Recurrence, Tables::Convolution] } else { vec![Tables::Convolution] };
        for plan in plans {
            let prepared = exact(gpu, sizes, draws, log_weights);
            if plan == Tables::Recurrence && prepared.plan() != plan {
                continue;
            }
            let prepared = prepared.with_tables(gpu, plan).unwrap();
            check_exact(gpu, case as u64, sizes, draws, log_weights, &prepared)?;
            let samplings = [(false, 0.3f32, true), (true, 1.0, true), (true, 4.0, false), (false, 1.0, false)];
            for (relaxed, temperature, scored) in samplings {
                let law = (sizes, draws, log_weights);
                check_draws(gpu, case as u64, law, &prepared, draws as f32, None, relaxed, temperature, scored)?;
            }
            if draws > 0 {
                let real = draws as f32 - 0.37;
                let tensor = gpu.tensor(&[real], [1]).unwrap();
                let (urn, weights) = (prepared.urn().clone(), weights(gpu, log_weights, sizes.len()));
                let prepared = Prepared::with_draws(gpu, &urn, &Law::Exact, &weights, &tensor).unwrap();
                let prepared = prepared.with_tables(gpu, plan).unwrap();
                let law = (sizes, draws, log_weights);
                check_draws(gpu, case as u64, law, &prepared, real, None, true, 1.0, true)?;
            }
        }
        let order: Vec<usize> = (0..sizes.len()).rev().collect();
        let given = Law::Merged(Order::Given(order.iter().map(|&g| g as u32).collect()));
        let urn = Urn::new(gpu, sizes, draws).unwrap();
        let prepared = Prepared::new(gpu, &urn, &given, &weights(gpu, log_weights, sizes.len())).unwrap();
        for (relaxed, temperature, scored) in [(false, 0.7f32, true), (true, 1.0, true)] {
            let law = (sizes, draws, log_weights);
            check_draws(gpu, case as u64, law, &prepared, draws as f32, Some(&order), relaxed, temperature, scored)?;
        }
        check_merged_score(gpu, sizes, draws, log_weights, &prepared, &order)?;
    }
    Ok(())
}

/// Moments and scores.
fn check_exact(
    gpu: &Gpu,
    seed: u64,
    sizes: &[u32],
    draws: u32,
    log_weights: &[f32],
    prepared: &Prepared,
) -> Result<(), Mismatch> {
    let (groups, rows) = (sizes.len(), 70);
    let wide_weights = wide(log_weights);
    let law = twin(sizes, draws, &wide_weights);
    let what = |name: &str| format!("{sizes:?} draws {draws} by {:?}: {name}", prepared.plan());
    let read = |tensor: &Tensor| tensor.read().unwrap();
    compare(&what("mean"), &label(gpu), &read(&mean(gpu, prepared).unwrap()), &law.mean(), &MEAN)?;
    let [covariance, entropy] = covariance_and_entropy(gpu, prepared).unwrap();
    let tolerance = Tolerance::new(5e-4, 1e-4, "an average of squares");
    compare(&what("covariance"), &label(gpu), &read(&covariance), &law.covariance(), &tolerance)?;
    compare(&what("entropy"), &label(gpu), &read(&entropy), &[law.entropy()], &MEAN)?;
    let peak: Vec<f64> = law.mode().into_iter().map(f64::from).collect();
    let whole = Tolerance::new(0.0, 0.0, "counts are whole");
    compare(&what("mode"), &label(gpu), &read(&mode(gpu, prepared).unwrap()), &peak, &whole)?;

    let counts = forward(gpu, prepared, rows, &Sampling::straight_through(Key::new(seed), 1.0)).unwrap().counts;
    let drawn: Vec<Vec<u32>> =
        read(&counts).chunks(groups).map(|row| row.iter().map(|&x| x as u32).collect()).collect();
    let score = log_prob(gpu, prepared, &counts).unwrap();
    compare(&what("log_prob"), &label(gpu), &read(&score.log_prob), &law.log_probs(&drawn), &LOG_PROB)?;
    let dscore = Inputs::new(1).normal(rows);
    let dscore_tensor = gpu.tensor(&dscore, [rows]).unwrap();
    let got = read(&log_prob_backward(gpu, prepared, &score, &counts, &dscore_tensor).unwrap());
    let means = law.mean();
    let want: Vec<f64> = (0..rows * groups)
        .map(|i| f64::from(dscore[i / groups]) * (f64::from(drawn[i / groups][i % groups]) - means[i % groups]))
        .collect();
    compare(&what("log_prob backward"), &label(gpu), &got, &want, &MEAN_TIMES_GRADIENT)?;
    Ok(())
}

/// Draws of a shared law, and of as many laws as there are rows.
#[expect(clippy::too_many_arguments, reason = "a test over every way to draw")]
fn check_draws(
    gpu: &Gpu,
    seed: u64,
    law: (&[u32], u32, &[f32]),
    prepared: &Prepared,
    real_draws: f32,
    merged: Option<&[usize]>,
    relaxed: bool,
    temperature: f32,
    scored: bool,
) -> Result<(), Mismatch> {
    for prepared in [prepared.clone(), prepared.repeated(gpu, ROWS).unwrap()] {
        check_rows(gpu, seed, law, &prepared, real_draws, merged, relaxed, temperature, scored)?;
    }
    Ok(())
}

const ROWS: usize = 20;

/// Draws, their masks and their gradients.
#[expect(clippy::too_many_arguments, reason = "a test over every way to draw")]
fn check_rows(
    gpu: &Gpu,
    seed: u64,
    (sizes, draws, log_weights): (&[u32], u32, &[f32]),
    prepared: &Prepared,
    real_draws: f32,
    merged: Option<&[usize]>,
    relaxed: bool,
    temperature: f32,
    scored: bool,
) -> Result<(), Mismatch> {
    let (groups, rows, key) = (sizes.len(), ROWS, Key::new(seed));
    let wide_weights = wide(log_weights);
    let law = twin(sizes, draws, &wide_weights);
    let widest = *sizes.iter().max().unwrap() as usize;
    let what = |name: &str| {
        let kind = if relaxed { "relaxed" } else { "exact" };
        format!(
            "{sizes:?} draws {real_draws} of {} rows {:?} merged {merged:?}: {kind} {name} at {temperature}",
            prepared.law_rows(),
            prepared.plan()
        )
    };
    let read = |tensor: &Tensor| tensor.read().unwrap();
    let sampling = Sampling { noise: Noise::Key(key), temperature, relaxed, scored };
    let draw = forward(gpu, prepared, rows, &sampling).unwrap();
    let noises: Vec<_> = (0..rows).map(|row| cpu::noise(row, key)).collect();
    let how = |row: usize| cpu::Draw { merged, relaxed, temperature: f64::from(temperature), noise: &noises[row] };
    let want: Vec<cpu::Drawn> = (0..rows).map(|row| law.draw(&how(row), f64::from(real_draws))).collect();
    let counts: Vec<f64> = want.iter().flat_map(|drawn| drawn.counts.clone()).collect();
    let tolerance = if relaxed { RELAXED } else { Tolerance::new(0.0, 0.0, "counts are whole") };
    compare(&what("draws"), &label(gpu), &read(&draw.counts), &counts, &tolerance)?;
    if let Some(log_prob) = &draw.log_prob {
        let want: Vec<f64> = want.iter().map(|drawn| drawn.log_prob).collect();
        let tolerance = Tolerance::new(1e-4, 1e-5, "a mean of log-probabilities under the relaxation");
        compare(&what("log_prob of the draw"), &label(gpu), &read(log_prob), &want, &tolerance)?;
    }
    let mask_tensor = masks(gpu, prepared, &draw, &sampling).unwrap();
    let want_masks: Vec<f64> =
        want.iter().enumerate().flat_map(|(row, drawn)| law.masks(&how(row), drawn).concat()).collect();
    compare(&what("masks"), &label(gpu), &read(&mask_tensor), &want_masks, &RELAXED)?;

    let mut inputs = Inputs::new(2);
    let dcounts = inputs.normal(rows * groups);
    let dlog_prob = inputs.normal(rows);
    let dmasks = inputs.normal(rows * groups * (widest + 1));
    let tensors = [
        gpu.tensor(&dcounts, [rows, groups]).unwrap(),
        gpu.tensor(&dlog_prob, [rows]).unwrap(),
        gpu.tensor(&dmasks, [rows, groups, widest + 1]).unwrap(),
    ];
    for masked in [false, true] {
        let upstream = Upstream {
            counts: &tensors[0],
            log_prob: scored.then_some(&tensors[1]),
            masks: masked.then_some(&tensors[2]),
        };
        let run = || backward(gpu, prepared, &draw, &upstream, &sampling).unwrap().map(|tensor| read(&tensor));
        let [dweights, ddraws] = run();
        let mut want_weights = Vec::new();
        let mut want_draws = Vec::new();
        for (row, drawn) in want.iter().enumerate() {
            let by_group: Vec<Vec<f64>> =
                dmasks[row * groups * (widest + 1)..][..groups * (widest + 1)].chunks(widest + 1).map(wide).collect();
            let row_counts = wide(&dcounts[row * groups..(row + 1) * groups]);
            let up = cpu::Upstream {
                counts: &row_counts,
                log_prob: if scored { f64::from(dlog_prob[row]) } else { 0.0 },
                masks: masked.then_some(by_group.as_slice()),
            };
            let (weights, draws) = law.backward(&how(row), f64::from(real_draws), drawn, &up);
            want_weights.extend(weights);
            want_draws.push(draws);
        }
        let name = if masked { "backward with masks" } else { "backward" };
        compare(&what(name), &label(gpu), &dweights, &want_weights, &GRADIENT)?;
        compare(&what(&format!("{name}, of draws")), &label(gpu), &ddraws, &want_draws, &GRADIENT)?;
        for row in dweights.chunks(groups) {
            let size: f32 = row.iter().map(|g| g.abs()).sum();
            let sum: f32 = row.iter().sum();
            assert!(sum.abs() <= 1e-5 * size + 1e-6, "{}: gradients sum to {sum} of {size}", what(name));
        }
        let again = run();
        same_bits(&what("two runs"), &dweights, &again[0])?;
    }
    Ok(())
}

fn check_merged_score(
    gpu: &Gpu,
    sizes: &[u32],
    draws: u32,
    log_weights: &[f32],
    prepared: &Prepared,
    order: &[usize],
) -> Result<(), Mismatch> {
    let (groups, rows) = (sizes.len(), 20);
    let what = |name: &str| format!("merged {sizes:?} draws {draws}: {name}");
    let sampling = Sampling { scored: true, ..Sampling::straight_through(Key::new(5), 1.0) };
    let draw = forward(gpu, prepared, rows, &sampling).unwrap();
    let drawn = draw.counts.read().unwrap();
    let score = log_prob(gpu, prepared, &draw.counts).unwrap();
    let got = score.log_prob.read().unwrap();
    // The log-probability of an exact draw is its score.
    compare(&what("score"), &label(gpu), &got, &wide(&draw.log_prob.unwrap().read().unwrap()), &LOG_PROB)?;
    let dscore = Inputs::new(1).normal(rows);
    let tensor = gpu.tensor(&dscore, [rows]).unwrap();
    let got = log_prob_backward(gpu, prepared, &score, &draw.counts, &tensor).unwrap().read().unwrap();
    let wide_weights = wide(log_weights);
    let law = twin(sizes, draws, &wide_weights);
    let mut want = Vec::new();
    for (row, x) in drawn.chunks(groups).enumerate() {
        // Noise that picks this row's counts: the score's gradient is that of the draw without its relaxation.
        let pick = |p: usize, k: usize| if x[order[p]] as usize == k { 1e3 } else { 0.0 };
        let how = cpu::Draw { merged: Some(order), relaxed: false, temperature: 1e-3, noise: &pick };
        let zeros = vec![0.0; groups];
        let up = cpu::Upstream { counts: &zeros, log_prob: f64::from(dscore[row]), masks: None };
        let drawn = law.draw(&how, f64::from(draws));
        want.extend(law.backward(&how, f64::from(draws), &drawn, &up).0);
    }
    compare(&what("score backward"), &label(gpu), &got, &want, &MEAN_TIMES_GRADIENT)?;
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check_cases(gpu, CASES).unwrap();
    }
}

/// A linear function of relaxed counts, log-probability and masks of one row, with real draws.
fn objective(law: &Twin<'_>, how: &cpu::Draw<'_>, draws: f64, dmasks: &[Vec<f64>]) -> f64 {
    let drawn = law.draw(how, draws);
    let counts: f64 = drawn.counts.iter().zip([1.0, 2.0, -0.5, 0.7]).map(|(x, c)| x * c).sum();
    let masks: f64 = law.masks(how, &drawn).concat().iter().zip(dmasks.concat()).map(|(m, d)| m * d).sum();
    counts + 0.3 * drawn.log_prob + masks
}

#[test]
fn relaxed_twin_agrees_with_central_differences() {
    let (sizes, weights, draws) = ([9u32, 8, 10, 4], [0.2, -0.1, 0.4, -0.9], 8.3);
    let noise = cpu::noise(0, Key::new(8));
    let mut inputs = Inputs::new(4);
    let dmasks: Vec<Vec<f64>> = (0..4).map(|_| wide(&inputs.normal(11))).collect();
    let tolerance = Tolerance::new(1e-6, 1e-6, "central differences in f64 of a C1 function");
    for merged in [None, Some([2usize, 0, 3, 1])] {
        // At a whole number a value enters the support: the merged law has a kink there.
        for relaxed_draws in [draws, 8.02, 7.55] {
            let how =
                cpu::Draw { merged: merged.as_ref().map(|o| &o[..]), relaxed: true, temperature: 0.9, noise: &noise };
            let law = |weights| Twin { sizes: &sizes, draws: 8, log_weights: weights };
            let drawn = law(&weights).draw(&how, relaxed_draws);
            let up = cpu::Upstream { counts: &[1.0, 2.0, -0.5, 0.7], log_prob: 0.3, masks: Some(&dmasks) };
            let (gradient, of_draws) = law(&weights).backward(&how, relaxed_draws, &drawn, &up);
            let f =
                |w: &[f64]| objective(&Twin { sizes: &sizes, draws: 8, log_weights: w }, &how, relaxed_draws, &dmasks);
            assert_gradient(&format!("{merged:?} {relaxed_draws}: weights"), f, &weights, &gradient, &tolerance);
            let f = |n: &[f64]| objective(&law(&weights), &how, n[0], &dmasks);
            assert_gradient(
                &format!("{merged:?} {relaxed_draws}: draws"),
                f,
                &[relaxed_draws],
                &[of_draws],
                &tolerance,
            );
        }
    }
}
/// Windows end with the support of the totals, not with a whole number of draws: the slope there is the same from both sides.
#[test]
fn gradients_of_draws_are_continuous_at_whole_numbers() {
    let gpu = &gpus()[0];
    let tolerance = Tolerance::new(1e-5, 1e-5, "central differences in f64 of a C1 function");
    for (sizes, whole) in [([3u32, 4, 5], 6u32), ([3, 4, 5], 5), ([6, 7, 8], 6), ([3, 4, 5], 10)] {
        let log_weights = [0.4f32, -0.2, 0.1];
        let wide = log_weights.map(f64::from);
        let noise = cpu::noise(0, Key::new(3));
        let how = cpu::Draw { merged: None, relaxed: true, temperature: 1.0, noise: &noise };
        let law = Twin { sizes: &sizes, draws: whole, log_weights: &wide };
        let up = cpu::Upstream { counts: &[1.0, 2.0, -0.5], log_prob: 0.0, masks: None };
        let urn = Urn::new(gpu, &sizes, whole).unwrap();
        for draws in [f64::from(whole) - 1e-3, f64::from(whole), f64::from(whole) + 1e-3] {
            let draws = f64::from(draws as f32);
            let value = |n: f64| law.draw(&how, n).counts.iter().zip(up.counts).map(|(x, c)| x * c).sum::<f64>();
            let difference = (value(draws + 1e-6) - value(draws - 1e-6)) / 2e-6;
            let drawn = law.draw(&how, draws);
            let (_, of_draws) = law.backward(&how, draws, &drawn, &up);
            let label = format!("{sizes:?} {draws}");
            compare(&label, "twin", &[of_draws as f32], &[difference], &tolerance).unwrap();
            let real = gpu.tensor(&[draws as f32], [1]).unwrap();
            let prepared = Prepared::with_draws(gpu, &urn, &Law::Exact, &weights(gpu, &log_weights, 3), &real).unwrap();
            let sampling = Sampling { relaxed: true, ..Sampling::straight_through(Key::new(3), 1.0) };
            for plan in [Tables::Recurrence, Tables::Convolution] {
                let prepared = prepared.with_tables(gpu, plan).unwrap();
                let draw = forward(gpu, &prepared, 1, &sampling).unwrap();
                let counts = gpu.tensor(&[1.0f32, 2.0, -0.5], [1, 3]).unwrap();
                let up = Upstream { counts: &counts, log_prob: None, masks: None };
                let [_, ddraws] = backward(gpu, &prepared, &draw, &up, &sampling).unwrap();
                compare(&label, &format!("{plan:?}"), &ddraws.read().unwrap(), &[of_draws], &RELAXED).unwrap();
            }
        }
    }
}

#[test]
fn laws_of_a_batch_are_apart() {
    // Other weights, sizes and draws in every row; more rows than one group of invocations.
    let (groups, rows, key) = (4, 70, Key::new(3));
    let mut inputs = Inputs::new(5);
    let log_weights = inputs.normal(rows * groups);
    let draws: Vec<u32> = (0..rows).map(|row| 5 + (row * 11 % 40) as u32).collect();
    let dcounts = inputs.normal(rows * groups);
    for (gpu, smallest) in gpus().iter().zip([20, 45]) {
        let sizes: Vec<u32> = (0..rows * groups).map(|i| smallest + (i * 7 % 13) as u32).collect();
        let urn = Urn::per_row(gpu, groups, &sizes, &draws).unwrap();
        let prepared = Prepared::new(gpu, &urn, &Law::Exact, &weights(gpu, &log_weights, groups)).unwrap();
        assert_eq!(prepared.plan() == Tables::Recurrence, smallest == 45);
        let tensor = gpu.tensor(&dcounts, [rows, groups]).unwrap();
        for relaxed in [false, true] {
            let sampling = Sampling { relaxed, ..Sampling::straight_through(key, 1.3) };
            let draw = forward(gpu, &prepared, rows, &sampling).unwrap();
            let upstream = Upstream { counts: &tensor, log_prob: None, masks: None };
            let [got, _] = backward(gpu, &prepared, &draw, &upstream, &sampling).unwrap();
            let (mut counts, mut gradients) = (Vec::new(), Vec::new());
            for row in 0..rows {
                let at = row * groups..(row + 1) * groups;
                let weights = wide(&log_weights[at.clone()]);
                let law = twin(&sizes[at.clone()], draws[row], &weights);
                let noise = cpu::noise(row, key);
                let how = cpu::Draw { merged: None, relaxed, temperature: f64::from(1.3f32), noise: &noise };
                let drawn = law.draw(&how, f64::from(draws[row]));
                let up = cpu::Upstream { counts: &wide(&dcounts[at]), log_prob: 0.0, masks: None };
                gradients.extend(law.backward(&how, f64::from(draws[row]), &drawn, &up).0);
                counts.extend(drawn.counts);
            }
            compare("counts", &label(gpu), &draw.counts.read().unwrap(), &counts, &RELAXED).unwrap();
            compare("gradients", &label(gpu), &got.read().unwrap(), &gradients, &GRADIENT).unwrap();
        }
    }
}

#[test]
fn many_groups() {
    // Blocks of four in the recurrence, and more groups than it takes.
    for (gpu, all) in gpus().iter().zip([[8usize, 12], [17, 21]]) {
        for groups in all {
            let (rows, key, draws) = (9, Key::new(4), 30);
            let (sizes, mut inputs) = (vec![30u32; groups], Inputs::new(6));
            let log_weights = inputs.normal(rows * groups);
            let urn = Urn::new(gpu, &sizes, draws).unwrap();
            let prepared = Prepared::new(gpu, &urn, &Law::Exact, &weights(gpu, &log_weights, groups)).unwrap();
            assert_eq!(prepared.plan() == Tables::Recurrence, groups <= 17);
            let sampling = Sampling::straight_through(key, 1.0);
            let draw = forward(gpu, &prepared, rows, &sampling).unwrap();
            let dcounts = inputs.normal(rows * groups);
            let tensor = gpu.tensor(&dcounts, [rows, groups]).unwrap();
            let upstream = Upstream { counts: &tensor, log_prob: None, masks: None };
            let [got, _] = backward(gpu, &prepared, &draw, &upstream, &sampling).unwrap();
            let (mut counts, mut gradients) = (Vec::new(), Vec::new());
            for row in 0..rows {
                let weights = wide(&log_weights[row * groups..(row + 1) * groups]);
                let law = twin(&sizes, draws, &weights);
                let noise = cpu::noise(row, key);
                let how = cpu::Draw { merged: None, relaxed: false, temperature: 1.0, noise: &noise };
                let drawn = law.draw(&how, f64::from(draws));
                let up = wide(&dcounts[row * groups..(row + 1) * groups]);
                let up = cpu::Upstream { counts: &up, log_prob: 0.0, masks: None };
                gradients.extend(law.backward(&how, f64::from(draws), &drawn, &up).0);
                counts.extend(drawn.counts);
            }
            let what = format!("{groups} groups");
            compare(&what, &label(gpu), &draw.counts.read().unwrap(), &counts, &RELAXED).unwrap();
            compare(&what, &label(gpu), &got.read().unwrap(), &gradients, &GRADIENT).unwrap();
        }
    }
}

#[test]
fn facts_of_the_method_page() {
    // Section 7.1 and 7.2: enumeration and scipy's nchypergeom_fisher(12, 5, 6, 2).
    let tight = Tolerance::new(1e-11, 1e-11, "printed to 12 digits");
    let two = [2f64.ln(), 0.0];
    let uni = twin(&[5, 7], 6, &two);
    let got: Vec<f64> = (0..6).map(|k| uni.log_prob(&[k, 6 - k])).collect();
    let want = [-6.805722553417, -3.404525171755, -1.507405186869, -0.814258006309, -1.325083630075, -3.339986650617];
    compare_f64("7.1", "twin", &got, &want, &tight).unwrap();
    compare_f64("7.1 mean", "twin", &uni.mean()[..1], &[3.045404208195], &tight).unwrap();
    compare_f64("7.1 variance", "twin", &uni.covariance()[..1], &[0.769809997192], &tight).unwrap();
    let half = [0.5f64.ln(), 0.0];
    let short = twin(&[5, 3], 6, &half);
    let got: Vec<f64> = (3..6).map(|k| short.log_prob(&[k, 6 - k])).collect();
    compare_f64("7.1 short", "twin", &got, &[-0.601579987034, -0.889262059486, -3.191847152480], &tight).unwrap();
    let weights_of_three = [0.0, 2f64.ln(), 0.5f64.ln()];
    let multi = twin(&[3, 4, 5], 6, &weights_of_three);
    let got: Vec<f64> = [[1, 3, 2], [3, 3, 0], [0, 4, 2], [2, 2, 2]].iter().map(|x| multi.log_prob(x)).collect();
    let want = [-1.573405860094135, -3.5883088806364, -3.36516532932219, -1.861087932545916];
    compare_f64("7.2", "twin", &got, &want, &tight).unwrap();
    compare_f64("7.2 mean", "twin", &multi.mean(), &[1.5509030533733, 2.78243027996, 1.6666666666667], &tight).unwrap();
    let covariance = [0.594699719037, -0.255346029882, -0.339353689155, 0.64122474086, -0.385878710978, 0.725232400133];
    let got = multi.covariance();
    let got = [got[0], got[1], got[2], got[4], got[5], got[8]];
    compare_f64("7.2 covariance", "twin", &got, &covariance, &tight).unwrap();
    // The merged law of (1, 3, 2), by which group goes first.
    for (order, want) in [([0, 1, 2], -1.469372423426), ([1, 0, 2], -1.589692404229), ([2, 0, 1], -1.605271699696)] {
        let x = [1usize, 3, 2];
        let pick = |p: usize, k: usize| if x[order[p]] == k { 1e3 } else { 0.0 };
        let how = cpu::Draw { merged: Some(&order), relaxed: false, temperature: 1.0, noise: &pick };
        compare_f64("7.2 merged", "twin", &[multi.draw(&how, 6.0).log_prob], &[want], &tight).unwrap();
    }
    for gpu in gpus() {
        let read = |tensor: &Tensor| tensor.read().unwrap();
        let rows = |gpu: &Gpu, x: &[f32], groups: usize| gpu.tensor(x, [x.len() / groups, groups]).unwrap();
        // m, M, n, log odds, mode, log P(mode), mean, variance: the reference fails the first two and the fourth.
        #[expect(clippy::type_complexity, reason = "a table as the page prints it")]
        let table: [(u32, u32, u32, f32, u32, f64, f64, f64); 8] = [
            (1000, 1000, 100, 6.0, 100, -0.27465501056284, 99.72580004162, 0.27329217983),
            (1000, 1000, 100, 5.5, 100, -0.45234365736834, 99.54888921403, 0.44865540241),
            (200, 400, 180, LN_10, 124, -2.5065903373656, 124.06650745607, 23.875058030617),
            (20000, 20000, 100, 0.0, 50, -2.5296248545322, 50.0, 24.938123453086),
            (100000, 100000, 50000, 0.3, 27803, -5.4869254771229, 27803.308388474, 9283.1430969763),
            (1000000, 1000000, 500000, 0.0, 250000, -6.6431325467877, 250000.0, 93750.046875023),
            (1000, 1000, 1000, -30.0, 0, -9.35762274949e-8, 9.35762253e-8, 9.35762209e-8),
            (1000, 1000, 1000, 30.0, 1000, -9.35762274949e-8, 999.99999990642, 9.35762209e-8),
        ];
        for (m, rest, n, log_odds, peak, at_peak, average, variance) in table {
            let law = exact(gpu, &[m, rest], n, &[log_odds, 0.0]);
            let what = format!("7.1 m {m} M {rest} n {n} log odds {log_odds}");
            let x = [peak as f32, (n - peak) as f32];
            assert_eq!(read(&mode(gpu, &law).unwrap()), x, "{what}");
            let got = read(&log_prob(gpu, &law, &rows(gpu, &x, 2)).unwrap().log_prob);
            let tolerance =
                if at_peak > -1e-5 { Tolerance::new(0.0, 1e-5, "stated for tiny values") } else { LOG_PROB };
            compare(&what, &label(gpu), &got, &[at_peak], &tolerance).unwrap();
            let [covariance, _] = covariance_and_entropy(gpu, &law).unwrap();
            let tolerance = Tolerance::new(1e-12, 3e-6, "sums of thousands of f32");
            // Log odds are f32: a mean moves by its variance times their rounding.
            let mean_tolerance = Tolerance::new(variance * 1e-7 + 1e-12, 1e-6, "the odds' rounding, and the sum's");
            compare(&what, &label(gpu), &read(&mean(gpu, &law).unwrap())[..1], &[average], &mean_tolerance).unwrap();
            compare(&what, &label(gpu), &read(&covariance)[..1], &[variance], &tolerance).unwrap();
        }
        // 7.3
        let law = exact(gpu, &[200; 3], 180, &[0.0, LN_10, 0.0]);
        let got = read(&log_prob(gpu, &law, &rows(gpu, &[28.0, 124.0, 28.0], 3)).unwrap().log_prob);
        compare("7.3", &label(gpu), &got, &[-4.6742118829], &LOG_PROB).unwrap();
        let printed = Tolerance::new(6e-4, 0.0, "printed to 3 digits");
        let got = read(&mean(gpu, &law).unwrap());
        compare("7.3 mean", &label(gpu), &got, &[27.967, 124.067, 27.967], &printed).unwrap();
        let equal = exact(gpu, &[200; 3], 180, &[0.0; 3]);
        let [covariance, _] = covariance_and_entropy(gpu, &equal).unwrap();
        let want = [28.0467, -14.0234, -14.0234, -14.0234, 28.0467, -14.0234, -14.0234, -14.0234, 28.0467];
        compare("7.3 covariance", &label(gpu), &read(&covariance), &want, &printed).unwrap();
        let urn = Urn::new(gpu, &[200; 3], 180).unwrap();
        for (order, want) in [(Order::Natural, -6.0205098204), (Order::Given(vec![1, 0, 2]), -4.6742118829)] {
            let weights = weights(gpu, &[0.0, LN_10, 0.0], 3);
            let law = Prepared::new(gpu, &urn, &Law::Merged(order), &weights).unwrap();
            let got = read(&log_prob(gpu, &law, &rows(gpu, &[28.0, 124.0, 28.0], 3)).unwrap().log_prob);
            compare("7.3 merged", &label(gpu), &got, &[want], &LOG_PROB).unwrap();
        }
    }
}

/// Section 7.4: given noise, the merged law, L = x_0 + 2 x_1 - x_2 / 2 + 0.3 log p with its path through the counts.
#[test]
fn deterministic_draws_and_their_gradients() {
    let golden = |p: usize, k: usize| {
        let u = ((31 * p + k + 1) as f64 * 0.618_033_988_749_894_9).fract();
        -(-u.ln()).ln()
    };
    #[rustfmt::skip]
    #[expect(clippy::type_complexity, reason = "a table as the page prints it")]
    let cases: [(bool, [u32; 3], [f64; 3], f64, [f64; 3]); 4] = [
        (true, [0, 1, 2], [1.926992646015, 1.022188503619, 3.050818850367], -2.540395532853, [-0.00729522559, 3.186875587604, -3.179580362014]),
        (true, [2, 0, 1], [1.803940067376, 2.018934262773, 2.177125669851], -2.787442943607, [-1.267462526623, 1.785752888006, -0.518290361383]),
        (false, [0, 1, 2], [2.0, 1.0, 3.0], -1.732982075966, [0.042752553894, 2.965724489334, -3.008477043228]),
        (false, [2, 0, 1], [3.0, 1.0, 2.0], -3.007770974430, [-0.770852168677, 1.444789329524, -0.673937160847]),
    ];
    for (relaxed, order, x, log_p, gradient) in cases {
        let what = format!("7.4 relaxed {relaxed} {order:?}");
        let positions = order.map(|g| g as usize);
        let weights_of_three = [0.2, -0.1, 0.4];
        let law = twin(&[3, 4, 5], 6, &weights_of_three);
        let how = cpu::Draw { merged: Some(&positions), relaxed, temperature: 0.7, noise: &golden };
        let drawn = law.draw(&how, 6.0);
        let tight = Tolerance::new(2e-11, 2e-11, "printed to 12 digits");
        compare_f64(&what, "twin", &drawn.counts, &x, &tight).unwrap();
        compare_f64(&what, "twin", &[drawn.log_prob], &[log_p], &tight).unwrap();
        let up = cpu::Upstream { counts: &[1.0, 2.0, -0.5], log_prob: 0.3, masks: None };
        compare_f64(&what, "twin", &law.backward(&how, 6.0, &drawn, &up).0, &gradient, &tight).unwrap();
        for gpu in gpus() {
            let urn = Urn::new(gpu, &[3, 4, 5], 6).unwrap();
            let merged = Law::Merged(Order::Given(order.to_vec()));
            let prepared = Prepared::new(gpu, &urn, &merged, &weights(gpu, &[0.2, -0.1, 0.4], 3)).unwrap();
            let noise: Vec<f32> = (0..12).map(|i| golden(i / 6, i % 6) as f32).collect();
            let noise = gpu.tensor(&noise, [1, 2, 6]).unwrap();
            let sampling = Sampling { noise: Noise::Given(&noise), temperature: 0.7, relaxed, scored: true };
            let draw = forward(gpu, &prepared, 1, &sampling).unwrap();
            let single = Tolerance::new(1e-5, 1e-6, "stated");
            compare(&what, &label(gpu), &draw.counts.read().unwrap(), &x, &single).unwrap();
            let got = draw.log_prob.clone().unwrap().read().unwrap();
            compare(&what, &label(gpu), &got, &[log_p], &single).unwrap();
            let dcounts = gpu.tensor(&[1.0f32, 2.0, -0.5], [1, 3]).unwrap();
            let dlog_prob = gpu.tensor(&[0.3f32], [1]).unwrap();
            let upstream = Upstream { counts: &dcounts, log_prob: Some(&dlog_prob), masks: None };
            let [got, _] = backward(gpu, &prepared, &draw, &upstream, &sampling).unwrap();
            compare(&what, &label(gpu), &got.read().unwrap(), &gradient, &single).unwrap();
        }
    }
}

#[test]
fn where_the_reference_fails() {
    for gpu in gpus() {
        let sum = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>();
        let key = Key::new(9);
        // Skewed weights, large sizes, empty groups, a million elements a group: every draw sums to n, inside the support.
        let cases: [(&[u32], u32, &[f32]); 5] = [
            (&[1000; 3], 100, &[6.0, 0.0, 0.0]),
            (&[20_000; 3], 100, &[0.0, 0.5, -0.5]),
            (&[0, 50, 0, 70], 40, &[1.0, 0.0, 0.0, 2.0]),
            (&[1_000_000, 1_000_000], 500_000, &[0.0, 0.4]),
            (&[100_000; 3], 1000, &[2.3, 0.0, -2.3]),
        ];
        for (sizes, draws, log_weights) in cases {
            let prepared = exact(gpu, sizes, draws, log_weights);
            for relaxed in [false, true] {
                let sampling = Sampling { relaxed, scored: true, ..Sampling::straight_through(key, 0.5) };
                let draw = forward(gpu, &prepared, 64, &sampling).unwrap();
                let counts = draw.counts.read().unwrap();
                for row in counts.chunks(sizes.len()) {
                    assert!((sum(row) - f64::from(draws)).abs() < 1e-3 + 1e-7 * f64::from(draws), "{sizes:?}: {row:?}");
                    let inside = row.iter().zip(sizes).all(|(&x, &m)| x > -1.0 && x <= m as f32);
                    assert!(inside && (relaxed || row.iter().all(|x| x.fract() == 0.0)), "{sizes:?}: {row:?}");
                }
                let dcounts = gpu.tensor(&Inputs::new(1).normal(64 * sizes.len()), [64, sizes.len()]).unwrap();
                let upstream = Upstream { counts: &dcounts, log_prob: None, masks: None };
                let [gradient, _] = backward(gpu, &prepared, &draw, &upstream, &sampling).unwrap();
                assert!(gradient.read().unwrap().iter().all(|g| g.is_finite()), "{sizes:?}");
            }
        }
        // Nearly all of the heavy group, as 7.5 says.
        let prepared = exact(gpu, &[1000; 3], 100, &[6.0, 0.0, 0.0]);
        let counts = forward(gpu, &prepared, 4096, &Sampling::straight_through(key, 1.0)).unwrap().counts;
        assert!(counts.read().unwrap().chunks(3).all(|row| row[0] >= 95.0));
        // All three million of three groups in one urn, through windows of thousands.
        let prepared = exact(gpu, &[1_000_000; 3], 300_000, &[0.0, 0.3, -0.3]);
        let counts = forward(gpu, &prepared, 8, &Sampling::straight_through(key, 1.0)).unwrap().counts.read().unwrap();
        assert!(counts.chunks(3).all(|row| sum(row) == 300_000.0));
    }
}

#[test]
fn weights_far_apart() {
    let cases: [(&[u32], u32, &[f32]); 9] = [
        (&[30, 40, 50], 60, &[0.0, 25.0, 0.0]),
        (&[30, 40, 50], 60, &[0.0, 60.0, 0.0]),
        (&[50, 30, 40], 60, &[0.0, 0.0, 24.0]),
        (&[50, 30, 40], 60, &[35.0, 0.0, -35.0]),
        (&[200; 3], 180, &[0.0, 35.0, 0.0]),
        (&[200; 3], 180, &[30.0, 0.0, -30.0]),
        (&[3, 4, 5], 6, &[1000.0, 0.0, -1000.0]),
        (&[12, 8, 5, 9], 20, &[0.0, 60.0, 0.0, -60.0]),
        (&[30, 40], 35, &[-35.0, 0.0]),
    ];
    for gpu in gpus() {
        for (sizes, draws, log_weights) in cases {
            let groups = sizes.len();
            let what = format!("{sizes:?} draws {draws} {log_weights:?}");
            let wide_weights = wide(log_weights);
            let law = twin(sizes, draws, &wide_weights);
            let shared = exact(gpu, sizes, draws, log_weights);
            let mean_of_shared = mean(gpu, &shared).unwrap().read().unwrap();
            compare(&what, &label(gpu), &mean_of_shared, &law.mean(), &MEAN).unwrap();
            for prepared in [shared.clone(), shared.repeated(gpu, ROWS).unwrap()] {
                for relaxed in [false, true] {
                    let key = Key::new(7);
                    let sampling = Sampling { relaxed, scored: true, ..Sampling::straight_through(key, 1.0) };
                    let draw = forward(gpu, &prepared, ROWS, &sampling).unwrap();
                    let noises: Vec<_> = (0..ROWS).map(|row| cpu::noise(row, key)).collect();
                    let drawn = (0..ROWS).flat_map(|row| {
                        let how = cpu::Draw { merged: None, relaxed, temperature: 1.0, noise: &noises[row] };
                        law.draw(&how, f64::from(draws)).counts
                    });
                    let want: Vec<f64> = drawn.collect();
                    // Values less likely than e^-22 against the mode are left out, and noise of e^16 would show them.
                    let tolerance = if relaxed { Tolerance::new(1e-2, 1e-4, "the window's end") } else { RELAXED };
                    compare(&what, &label(gpu), &draw.counts.read().unwrap(), &want, &tolerance).unwrap();
                    let dcounts = gpu.tensor(&Inputs::new(1).normal(ROWS * groups), [ROWS, groups]).unwrap();
                    let ones = gpu.tensor(&[1.0f32; ROWS], [ROWS]).unwrap();
                    let upstream = Upstream { counts: &dcounts, log_prob: Some(&ones), masks: None };
                    let [gradient, _] = backward(gpu, &prepared, &draw, &upstream, &sampling).unwrap();
                    assert!(gradient.read().unwrap().iter().all(|g| g.is_finite()), "{what} relaxed {relaxed}");
                }
            }
        }
    }
}

#[test]
fn noise_free_draws_are_the_most_probable() {
    for gpu in gpus() {
        let prepared = exact(gpu, &[60, 60, 60], 54, &[0.0, 1.0, -0.4]);
        let sampling = Sampling { noise: Noise::None, temperature: 1.0, relaxed: false, scored: true };
        let draw = forward(gpu, &prepared, 2, &sampling).unwrap();
        let counts = draw.counts.read().unwrap();
        assert_eq!(counts[..3], counts[3..]);
        let wide_weights = [0.0, 1.0, f64::from(-0.4f32)];
        let law = twin(&[60, 60, 60], 54, &wide_weights);
        let none = |_: usize, _: usize| 0.0;
        let how = cpu::Draw { merged: None, relaxed: false, temperature: 1.0, noise: &none };
        let drawn = law.draw(&how, 54.0);
        assert_eq!(wide(&counts[..3]), drawn.counts);
        let relaxed = forward(gpu, &prepared, 1, &Sampling { relaxed: true, ..sampling }).unwrap().counts;
        let drawn = law.draw(&cpu::Draw { relaxed: true, ..how }, 54.0);
        compare("noise-free", &label(gpu), &relaxed.read().unwrap(), &drawn.counts, &RELAXED).unwrap();
    }
}

#[test]
fn outside_the_support_and_nan() {
    for gpu in gpus() {
        for law in [Law::Exact, Law::Merged(Order::Natural)] {
            let urn = Urn::new(gpu, &[3, 4, 5], 6).unwrap();
            let prepared = |w: [f32; 3]| Prepared::new(gpu, &urn, &law, &weights(gpu, &w, 3)).unwrap();
            let fine = prepared([0.0; 3]);
            let x = [4.0f32, 1.0, 1.0, -1.0, 4.0, 3.0, 1.5, 2.5, 2.0, 1.0, 1.0, 1.0, f32::NAN, 3.0, 3.0, 3.0, 3.0, 0.0];
            let score = log_prob(gpu, &fine, &gpu.tensor(&x, [6, 3]).unwrap()).unwrap().log_prob.read().unwrap();
            assert!(score[..5].iter().all(|&s| s == f32::NEG_INFINITY), "{law:?} {score:?}");
            assert!(score[5].is_finite());
            // NaN, +inf, and too few elements of positive weight.
            for bad in [[0.0, f32::NAN, 0.0], [f32::INFINITY, 0.0, 0.0], [0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]] {
                let bad = prepared(bad);
                assert!(bad.check().unwrap_err().to_string().contains("row 0"), "{:?}", bad.check());
                let draw = forward(gpu, &bad, 2, &Sampling::straight_through(Key::new(0), 1.0)).unwrap();
                assert!(draw.counts.read().unwrap().iter().all(|x| x.is_nan()));
                let upstream = Upstream { counts: &draw.counts, log_prob: None, masks: None };
                let sampling = Sampling::straight_through(Key::new(0), 1.0);
                let [gradient, _] = backward(gpu, &bad, &draw, &upstream, &sampling).unwrap();
                assert!(gradient.read().unwrap().iter().all(|x| x.is_nan()));
                let x = gpu.tensor(&[3.0f32, 3.0, 0.0], [1, 3]).unwrap();
                assert!(log_prob(gpu, &bad, &x).unwrap().log_prob.item().unwrap().is_nan());
            }
            // A weight of zero where the rest can take the draws.
            let closed = prepared([0.0, f32::NEG_INFINITY, 0.5]);
            closed.check().unwrap();
            let draw = forward(gpu, &closed, 100, &Sampling::straight_through(Key::new(0), 1.0)).unwrap();
            assert!(draw.counts.read().unwrap().chunks(3).all(|row| row[1] == 0.0 && row[0] + row[2] == 6.0));
        }
    }
}

#[test]
fn bad_arguments_and_empty_batches() {
    let gpu = &gpus()[0];
    let argument = |error: Error| match error {
        Error::Argument { argument, message, .. } => (argument, message),
        other => panic!("{other}"),
    };
    assert_eq!(argument(Urn::new(gpu, &[], 0).unwrap_err()).0, "sizes");
    assert_eq!(argument(Urn::new(gpu, &[1 << 23, 1 << 23], 6).unwrap_err()).0, "sizes");
    let (name, message) = argument(Urn::per_row(gpu, 2, &[2, 3, 4, 5], &[5, 10]).unwrap_err());
    assert!(name == "draws" && message.contains("row 1"), "{message}");
    assert_eq!(argument(Urn::per_row(gpu, 2, &[2, 3, 4], &[5]).unwrap_err()).0, "sizes");
    assert_eq!(argument(Urn::per_row(gpu, 2, &[2, 3, 4, 5, 6, 7], &[5, 4]).unwrap_err()).0, "draws");
    // 900 groups of 50 need more loop turns than a software adapter grants: an error, not a wrong number.
    if gpu.is_software() {
        let many = exact(gpu, &[50; 900], 50, &[0.0; 900]);
        let error = forward(gpu, &many, 1, &Sampling::straight_through(Key::new(0), 1.0)).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        let wide = exact(gpu, &[70_000, 70_000], 20, &[0.0; 2]);
        let sampling = Sampling::straight_through(Key::new(0), 1.0);
        let draw = forward(gpu, &wide, 1, &sampling).unwrap();
        assert!(matches!(masks(gpu, &wide, &draw, &sampling), Err(Error::TooLarge { .. })));
    }
    // Means of 1,000 groups are not made where nobody asks for them.
    let thousand = exact(gpu, &[1; 1000], 20, &[0.0; 1000]);
    let draw = forward(gpu, &thousand, 2, &Sampling::straight_through(Key::new(0), 1.0)).unwrap();
    assert!(draw.counts.read().unwrap().chunks(1000).all(|row| row.iter().sum::<f32>() == 20.0));
    let urn = Urn::new(gpu, &[2, 3], 4).unwrap();
    let prepared = |rows: usize, cols: usize| Prepared::new(gpu, &urn, &Law::Exact, &gpu.zeros([rows, cols]).unwrap());
    assert!(matches!(prepared(1, 3), Err(Error::Shape { argument: "log_weights", .. })));
    let two = prepared(2, 2).unwrap();
    let sampling = Sampling::straight_through(Key::new(0), 1.0);
    assert!(matches!(forward(gpu, &two, 3, &sampling), Err(Error::Argument { argument: "rows", .. })));
    let shared = prepared(1, 2).unwrap();
    let none = forward(gpu, &shared, 0, &sampling).unwrap();
    assert!(none.counts.is_empty() && log_prob(gpu, &shared, &none.counts).unwrap().log_prob.is_empty());
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let result = forward(gpu, &shared, 3, &Sampling { temperature, ..sampling });
        assert!(matches!(result, Err(Error::Argument { argument: "temperature", .. })));
    }
    for order in [vec![0, 0], vec![0, 2], vec![0, 1, 0]] {
        let law = Law::Merged(Order::Given(order));
        let result = Prepared::new(gpu, &urn, &law, &gpu.zeros([1, 2]).unwrap());
        assert_eq!(argument(result.unwrap_err()).0, "order");
    }
    let many = exact(gpu, &[5; 18], 5, &[0.0; 18]).with_tables(gpu, Tables::Recurrence);
    assert_eq!(argument(many.unwrap_err()).0, "plan");
    let merged = Prepared::new(gpu, &urn, &Law::Merged(Order::Natural), &gpu.zeros([1, 2]).unwrap()).unwrap();
    assert_eq!(argument(mean(gpu, &merged).unwrap_err()).0, "law");
}

#[test]
fn memory_grows_with_groups_not_with_sizes() {
    let gpu = open(GpuConfig { plan: Some(Plan::Cpu), ..GpuConfig::default() });
    // The published layer takes 705 MB and 3.2 GB at the first two; everything does at the others.
    for (groups, size, draws, rows, limit) in [
        (3, 200, 180, 1024, 7.05e6),
        (10, 256, 256, 1024, 32e6),
        (10, 1000, 256, 16384, 1e9),
        (4, 4096, 1024, 16384, 1e9),
    ] {
        let urn = Urn::new(&gpu, &vec![size; groups], draws).unwrap();
        let log_weights = weights(&gpu, &Inputs::new(1).normal(rows * groups), groups);
        let inputs = gpu.pool_statistics().in_use_bytes;
        gpu.reset_high_water();
        let prepared = Prepared::new(&gpu, &urn, &Law::Exact, &log_weights).unwrap();
        let sampling = Sampling::straight_through(Key::new(0), 1.0);
        let draw = forward(&gpu, &prepared, rows, &sampling).unwrap();
        let upstream = Upstream { counts: &draw.counts, log_prob: None, masks: None };
        let [gradient, _] = backward(&gpu, &prepared, &draw, &upstream, &sampling).unwrap();
        assert!(gradient.view(0, [1]).unwrap().item().unwrap().is_finite());
        let peak = (gpu.pool_statistics().high_water_bytes - inputs) as f64;
        assert!(peak < limit, "{groups} groups of {size}, {rows} rows: {peak} bytes");
    }
}

#[test]
fn random_orders_differ_by_row_and_are_orders() {
    for gpu in gpus() {
        let urn = Urn::new(gpu, &[30; 4], 40).unwrap();
        let law = Law::Merged(Order::Random(Key::new(2)));
        let log_weights = weights(gpu, &[0.0, 1.0, 2.0, 3.0], 4);
        let prepared = Prepared::with_rows(gpu, &urn, &law, &log_weights, 500).unwrap();
        let order = prepared.order().unwrap().read_u32().unwrap();
        let mut first = [0; 4];
        for row in order.chunks(4) {
            let mut sorted = row.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            first[row[0] as usize] += 1;
        }
        assert!(chi_square_p(&first, &[125.0; 4]) > 1e-3, "{first:?}");
        let draw = forward(gpu, &prepared, 500, &Sampling::straight_through(Key::new(3), 1.0)).unwrap();
        assert!(draw.counts.read().unwrap().chunks(4).all(|row| row.iter().sum::<f32>() == 40.0));
    }
}
