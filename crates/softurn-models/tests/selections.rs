//! Categorical laws, subsets, orders and partitions, as a user meets them.

use std::sync::OnceLock;

use softurn_autodiff::Tape;
use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};
use softurn_models::distributions::{
    Kind, OneHotCategoricalStraightThrough, PlackettLuce, RandomPartition, Relaxation, RelaxedCategorical, SubsetK,
    Temperature,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap())
}

fn close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() <= tolerance * want.abs().max(1.0), "{got} for {want}");
    }
}

fn rows(values: &[f32], rows: usize) -> Result<Tensor> {
    Ok(gpu().tensor(values, [rows, values.len() / rows])?)
}

#[test]
fn categorical() -> Result {
    let tape = Tape::new(gpu());
    let logits = tape.leaf(&rows(&[0.0, 1.0, f32::NEG_INFINITY, 2.0], 1)?)?;
    let law = OneHotCategoricalStraightThrough::new(logits.clone())?;
    assert_eq!((law.event_shape(), law.batch_shape()), ([4], [1]));
    let p: Vec<f64> =
        [0.0f64, 1.0, f64::NEG_INFINITY, 2.0].iter().map(|l| l.exp() / (1.0 + 1f64.exp() + 2f64.exp())).collect();
    close(&law.probabilities()?.read()?, &p, 1e-6);
    let entropy: f64 = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    close(&law.entropy()?.read()?, &[entropy], 1e-6);
    assert_eq!(law.mode()?.read()?, [0.0, 0.0, 0.0, 1.0]);
    let drawn = law.rsample(Key::new(3), Temperature::new(0.7)?)?;
    assert_eq!(drawn.read()?, law.sample(Key::new(3))?.read()?);
    let log_prob = law.log_prob(&rows(&[0.0, 1.0, 0.0, 0.0], 1)?)?;
    close(&log_prob.read()?, &[p[1].ln()], 1e-6);
    let gradient = tape.backward(&(log_prob.sum()? + &drawn.square()?.sum()?)?)?.of(&logits).unwrap().read()?;
    assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    assert!(
        OneHotCategoricalStraightThrough::new(tape.constant(&gpu().zeros([3])?))
            .unwrap_err()
            .to_string()
            .contains("logits")
    );
    Ok(())
}

/// Of two elements the density is known: y_0 is the logistic function of a logistic variable over T.
#[test]
fn relaxed_categorical() -> Result {
    let (difference, t) = (0.6f64, 0.8f64);
    let tape = Tape::new(gpu());
    let law = RelaxedCategorical::new(tape.leaf(&rows(&[0.6, 0.0], 1)?)?, Temperature::new(0.8)?)?;
    let y = law.rsample(Key::new(1))?;
    assert!((y.read()?.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert_eq!(y.read()?, law.sample(Key::new(1))?.read()?);
    let sharp = RelaxedCategorical::new(tape.constant(&rows(&[0.0, 30.0], 1)?), Temperature::new(0.1)?)?;
    assert!(sharp.log_prob(&sharp.sample(Key::new(1))?)?.item()?.is_finite());
    for y in [0.2f64, 0.5, 0.93] {
        let logit = (y / (1.0 - y)).ln();
        let x = t * logit - difference;
        // Of x the logistic density, of y by d logit / dy.
        let density = (-x).exp() / (1.0 + (-x).exp()).powi(2) * t / (y * (1.0 - y));
        let point = rows(&[y as f32, 1.0 - y as f32], 1)?;
        close(&law.log_prob(&point)?.read()?, &[density.ln()], 1e-5);
    }
    Ok(())
}

#[test]
fn subsets() -> Result {
    let tape = Tape::new(gpu());
    let weights = [0.3f32, -1.0, 0.8, f32::NEG_INFINITY, 0.0];
    let log_weights = tape.leaf(&rows(&weights, 1)?)?;
    let law = SubsetK::new(log_weights.clone(), 2)?;
    let open = [0usize, 1, 2, 4];
    let pairs: Vec<[usize; 2]> =
        (0..4).flat_map(|a| (a + 1..4).map(move |b| [a, b])).map(|[a, b]| [open[a], open[b]]).collect();
    let weight = |pair: &[usize; 2]| f64::from(weights[pair[0]] + weights[pair[1]]).exp();
    let total: f64 = pairs.iter().map(weight).sum();
    let mut entropy = 0.0;
    for pair in &pairs {
        let mask: Vec<f32> = (0..5).map(|i| f32::from(pair.contains(&i))).collect();
        let log_p = (weight(pair) / total).ln();
        entropy -= log_p.exp() * log_p;
        close(&law.log_prob(&rows(&mask, 1)?)?.read()?, &[log_p], 1e-5);
    }
    close(&law.entropy()?.read()?, &[entropy], 1e-5);
    close(&law.log_normaliser().read()?, &[total.ln()], 1e-5);
    assert_eq!(law.mode()?.read()?, [1.0, 0.0, 1.0, 0.0, 0.0]);
    let drawn = law.rsample(Key::new(4))?;
    assert_eq!(drawn.read()?, law.sample(Key::new(4))?.read()?);
    let gradients = tape.backward(&(drawn.sum()? + &law.entropy()?.sum()?)?)?;
    assert!(gradients.of(&log_weights).unwrap().read()?.iter().all(|g| g.is_finite()));
    let tape = Tape::new(gpu());
    let law = SubsetK::new(tape.constant(&rows(&weights, 1)?), 2)?;
    let error = law.log_prob(&rows(&[1.0, 0.0, 0.0, 0.0, 0.0], 1)?).unwrap_err().to_string();
    assert!(error.starts_with("draws: of row 0"), "{error}");
    assert!(SubsetK::new(tape.constant(&rows(&weights, 1)?), 6).is_err());
    Ok(())
}

#[test]
fn orders() -> Result {
    let tape = Tape::new(gpu());
    let scores = tape.leaf(&rows(&[0.3, -0.2, 0.5, 0.1, 0.0, 1.0, -1.0, 2.0], 2)?)?;
    let law = PlackettLuce::new(scores.clone())?;
    assert_eq!(law.mode(4)?.read_u32()?, [2, 0, 3, 1, 3, 1, 0, 2]);
    let x = tape.leaf(&gpu().tensor(&(0..16).map(|i| i as f32).collect::<Vec<_>>(), [2, 4, 2])?)?;
    let relaxation = Relaxation { kind: Kind::Soft, temperature: 0.5 };
    let hard = law.rsample(&x, Key::new(7), relaxation)?;
    // The rows of x in some order, and the same as the sharp relaxation.
    let sharp = law.rsample_relaxed(&x, Key::new(7), Relaxation { temperature: 1e-4, ..relaxation })?;
    close(&sharp.read()?, &hard.read()?.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(), 1e-3);
    let soft = law.rsample_relaxed(&x, Key::new(7), relaxation)?;
    assert_eq!(soft.shape().dims(), [2, 4, 2]);
    // With the same key the order is that of a sample, also far from 0.
    let order = law.sample(4, Key::new(7))?.read_u32()?;
    let firsts: Vec<u32> = hard.read()?.iter().step_by(2).map(|&v| v as u32 / 2 % 4).collect();
    assert_eq!(firsts, order);
    let far = PlackettLuce::new(tape.constant(&rows(&[1e8; 64], 1)?))?;
    assert_ne!(far.sample(64, Key::new(1))?.read_u32()?, (0..64).collect::<Vec<u32>>());
    let permutation = law.permutation(Key::new(7), relaxation)?.read()?;
    assert!(permutation.chunks(4).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    let log_prob = law.log_prob(&law.sample(2, Key::new(1))?)?;
    let loss = ((hard.square()?.sum()? + &soft.square()?.sum()?)? + &log_prob.sum()?)?;
    let gradient = tape.backward(&loss)?.of(&scores).unwrap().read()?;
    assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|g| *g != 0.0));
    Ok(())
}

/// Section 7.6 of the method's page.
#[test]
fn facts_of_a_partition() -> Result {
    let tape = Tape::new(gpu());
    let log_weights = tape.leaf(&rows(&[0.0, 2f32.ln()], 1)?)?;
    let scores = tape.leaf(&rows(&[0.3, -0.2, 0.5, 0.1], 1)?)?;
    let law = RandomPartition::new(log_weights, scores)?;
    let labels = |labels: &[u32]| gpu().tensor(labels, [1, 4]);
    let ours = labels(&[0, 1, 0, 1])?;
    close(&[law.log_prob(&ours)?[0] as f32], &[-2.130_959_463_738], 1e-6);
    let of_sizes = law.sizes().log_prob(&rows(&[2.0, 2.0], 1)?)?;
    close(&of_sizes.read()?, &[-0.801_627_823_554], 1e-6);
    let bounds = law.log_prob_bounds(&ours)?;
    close(&bounds.lower.read()?, &[-3.335_735_209_634], 1e-6);
    // The page's upper bound takes the likeliest of all orders: -1.949440848514. Ours, of this partition's, is no higher.
    let mode = law.order().mode(4)?;
    assert_eq!(mode.read_u32()?, [2, 0, 3, 1]);
    close(&law.order().log_prob(&mode)?.read()?, &[-2.534_107_386_080], 1e-6);
    let page = -0.801_627_823_554 + 4f64.ln() - 2.534_107_386_080;
    assert!((page + 1.949_440_848_514).abs() < 1e-9);
    let upper = f64::from(bounds.upper.read()?[0]);
    assert!(upper <= page + 1e-6 && upper >= -2.130_959, "{upper}");
    // Over all partitions probabilities sum to 1.
    let total: f64 = (0..16u32)
        .map(|code| {
            labels(&[code & 1, code >> 1 & 1, code >> 2 & 1, code >> 3 & 1]).map(|labels| law.log_prob(&labels))
        })
        .map(|log_prob| log_prob.unwrap().unwrap()[0].exp())
        .sum();
    assert!((total - 1.0).abs() < 1e-5, "{total}");
    let error = law.log_prob(&labels(&[0, 1, 2, 1])?).unwrap_err().to_string();
    assert!(error.starts_with("labels: of row 0 hold 2"), "{error}");
    // Elements that are never before others, and scores beyond what exponentials bear.
    use softurn_models::distributions::log_prob_of_groups;
    assert_eq!(log_prob_of_groups(&[0.0, f64::NEG_INFINITY, -900.0], &[0, 1, 1], 2), 0.0);
    assert!((log_prob_of_groups(&[0.0, -800.0, -900.0], &[0, 1, 1], 2)).abs() < 1e-12);
    assert!((log_prob_of_groups(&[0.0, -800.0, -900.0], &[0, 1, 0], 2) + 100.0).abs() < 1e-9);
    Ok(())
}

/// Draws of partitions have their law, element by element.
#[test]
fn partitions_have_their_law() -> Result {
    let (n, groups, draws) = (4usize, 3usize, 20_000usize);
    let (weights, scores) = ([0.4f32, -0.3, 0.2], [0.5f32, -0.4, 1.1, 0.0]);
    let tape = Tape::new(gpu());
    let law =
        RandomPartition::new(tape.constant(&rows(&weights, 1)?), tape.constant(&rows(&scores.repeat(draws), draws)?))?;
    let drawn = law.sample(Key::new(2))?.read()?;
    let mut counts = vec![0.0f64; n * groups];
    for draw in drawn.chunks(n * groups) {
        assert!(draw.chunks(groups).all(|element| element.iter().sum::<f32>() == 1.0));
        draw.iter().zip(&mut counts).for_each(|(x, count)| *count += f64::from(*x) / draws as f64);
    }
    let (mut exact, tape) = (vec![0.0; n * groups], Tape::new(gpu()));
    let labels: Vec<u32> = (0..81u32).flat_map(|code| (0..4).map(move |i| code / 3u32.pow(i) % 3)).collect();
    let law = RandomPartition::new(tape.constant(&rows(&weights, 1)?), tape.constant(&rows(&scores.repeat(81), 81)?))?;
    let log_prob = law.log_prob(&gpu().tensor(&labels, [81, 4])?)?;
    for (labels, log_prob) in labels.chunks(4).zip(log_prob) {
        labels.iter().enumerate().for_each(|(i, &group)| exact[i * groups + group as usize] += log_prob.exp());
    }
    for (count, exact) in counts.iter().zip(exact) {
        assert!((count - exact).abs() < 5.0 * (0.25 / draws as f64).sqrt(), "{count} for {exact}");
    }
    Ok(())
}

/// The expectation of a linear function of the assignment, by all 6,561 partitions.
fn expectation(weights: &[f32], scores: &[f32], cost: &[f32]) -> Result<f64> {
    let (n, groups) = (scores.len(), weights.len());
    let count = groups.pow(n as u32);
    let labels: Vec<u32> =
        (0..count).flat_map(|code| (0..n).map(move |i| (code / groups.pow(i as u32) % groups) as u32)).collect();
    let tape = Tape::new(gpu());
    let law =
        RandomPartition::new(tape.constant(&rows(weights, 1)?), tape.constant(&rows(&scores.repeat(count), count)?))?;
    let log_prob = law.log_prob(&gpu().tensor(&labels, [count, n])?)?;
    let value = |labels: &[u32]| -> f64 {
        labels.iter().enumerate().map(|(i, &group)| f64::from(cost[i * groups + group as usize])).sum()
    };
    Ok(labels.chunks(n).zip(log_prob).map(|(labels, log_prob)| log_prob.exp() * value(labels)).sum())
}

/// The mean straight-through gradient of 20,000 draws beside differences of the exact expectation.
#[test]
fn gradients_of_a_partition() -> Result {
    let (n, groups, draws, step) = (8usize, 3usize, 20_000usize, 0.05f32);
    let (weights, scores) = ([0.4f32, -0.3, 0.2], [0.5f32, -0.4, 1.1, 0.0, -0.8, 0.3, -0.1, 0.9]);
    // Groups cost differently, and elements differently in each.
    let cost: Vec<f32> = (0..n * groups)
        .map(|e| [2.5, 0.0, 1.0][e % groups] + 0.5 * (e / groups) as f32 * [1.0, -0.5, 0.3][e % groups])
        .collect();
    let difference = |moved: &dyn Fn(f32) -> Result<f64>| -> Result<f64> {
        Ok((moved(step)? - moved(-step)?) / (2.0 * f64::from(step)))
    };
    let moved = |values: &[f32], at: usize, by: f32| -> Vec<f32> {
        values.iter().enumerate().map(|(i, v)| if i == at { v + by } else { *v }).collect()
    };
    let of_weights = (0..groups)
        .map(|j| difference(&|by| expectation(&moved(&weights, j, by), &scores, &cost)))
        .collect::<Result<Vec<_>>>()?;
    let of_scores = (0..n)
        .map(|j| difference(&|by| expectation(&weights, &moved(&scores, j, by), &cost)))
        .collect::<Result<Vec<_>>>()?;

    let tape = Tape::new(gpu());
    let log_weights = tape.leaf(&rows(&weights, 1)?)?;
    let all_scores = tape.leaf(&rows(&scores.repeat(draws), draws)?)?;
    let law = RandomPartition::new(log_weights.clone(), all_scores.clone())?;
    let relaxation = Relaxation { kind: Kind::Neural, temperature: 0.3 };
    let drawn = law.rsample(Key::new(5), Temperature::new(0.7)?, relaxation)?;
    let gradients = tape.backward_with(&drawn, &gpu().tensor(&cost.repeat(draws), [draws, n, groups])?)?;
    let mean = |sum: f64| sum / draws as f64;
    let got_weights: Vec<f64> =
        gradients.of(&log_weights).unwrap().read()?.iter().map(|&g| mean(f64::from(g))).collect();
    let by_draw = gradients.of(&all_scores).unwrap().read()?;
    let got_scores: Vec<f64> =
        (0..n).map(|j| mean(by_draw.iter().skip(j).step_by(n).map(|&g| f64::from(g)).sum())).collect();
    println!("weights {got_weights:.3?} for {of_weights:.3?}\nscores {got_scores:.3?} for {of_scores:.3?}");
    for (what, got, want) in [("weights", got_weights, of_weights), ("scores", got_scores, of_scores)] {
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let size = norm(&mut want.iter().copied());
        assert!(norm(&mut got.iter().zip(&want).map(|(g, w)| g - w)) < 0.1 * size, "{what}: {got:?} for {want:?}");
        for (got, want) in got.iter().zip(&want).filter(|(_, want)| want.abs() > 0.08 * size) {
            assert!((got - want).abs() < 0.1 * want.abs(), "{what}: {got} for {want}");
        }
    }
    Ok(())
}

/// A partition of 4,096 elements into 10 groups, with its gradients, takes less than 64 MB.
#[test]
fn large_partitions_fit() -> Result {
    let gpu = Gpu::new(GpuConfig::default())?;
    let (n, groups) = (4096usize, 10usize);
    let tape = Tape::new(&gpu);
    let log_weights = tape.leaf(&gpu.tensor(&(0..groups).map(|k| 0.1 * k as f32).collect::<Vec<_>>(), [1, groups])?)?;
    let scores = tape.leaf(&gpu.tensor(&(0..n).map(|i| (i % 97) as f32 / 40.0).collect::<Vec<_>>(), [1, n])?)?;
    let cost = gpu.tensor(&(0..n * groups).map(|e| (e % 13) as f32).collect::<Vec<_>>(), [1, n, groups])?;
    gpu.reset_high_water();
    let law = RandomPartition::new(log_weights.clone(), scores.clone())?;
    let relaxation = Relaxation { kind: Kind::Neural, temperature: 1.0 };
    let drawn = law.rsample(Key::new(1), Temperature::new(1.0)?, relaxation)?;
    assert!(drawn.read()?.chunks(groups).all(|element| element.iter().sum::<f32>() == 1.0));
    let gradients = tape.backward_with(&drawn, &cost)?;
    for parameter in [&log_weights, &scores] {
        assert!(gradients.of(parameter).unwrap().read()?.iter().any(|g| *g != 0.0));
    }
    let bytes = gpu.pool_statistics().high_water_bytes;
    println!("{:.1} MB", bytes as f64 / 1e6);
    assert!(bytes < 64_000_000, "{bytes}");
    Ok(())
}
