//! The hypergeometric distributions as a user meets them: shapes, laws, gradients, and what bad input is told.

use std::sync::OnceLock;

use softurn_autodiff::Tape;
use softurn_kernels::ops::fisher_hypergeometric::cpu::Law as Twin;
use softurn_kernels::{Gpu, GpuConfig, Key};
use softurn_models::distributions::{
    FisherHypergeometric, Law, MultivariateFisherHypergeometric, Noise, Order, Sampling, Temperature, Urn,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}")))
}

fn close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs();
        assert!(error <= tolerance * (1.0 + want.abs()), "{i}: {got} for {want}");
    }
}

#[test]
fn moments_of_several_groups() -> Result {
    let (sizes, weights) = ([30u32, 0, 50, 20], [0.5f32, 3.0, -0.3, 1.0]);
    let tape = Tape::new(gpu());
    let law = MultivariateFisherHypergeometric::new(tape.leaf(&gpu().tensor(&weights, [1, 4])?)?, &sizes, 40)?;
    assert_eq!((law.event_shape(), law.batch_shape()), ([4], [1]));
    assert_eq!(law.support(0), [(0, 30), (0, 0), (0, 40), (0, 20)]);
    let wide = weights.map(f64::from);
    let twin = Twin { sizes: &sizes, draws: 40, log_weights: &wide };
    close(&law.mean()?.read()?, &twin.mean(), 1e-5);
    close(&law.covariance()?.read()?, &twin.covariance(), 1e-4);
    let covariance = twin.covariance();
    close(&law.variance()?.read()?, &[covariance[0], covariance[5], covariance[10], covariance[15]], 1e-4);
    close(&law.entropy()?.read()?, &[twin.entropy()], 1e-5);
    let mode = law.mode()?;
    assert_eq!(mode.read()?, twin.mode().iter().map(|&x| x as f32).collect::<Vec<_>>());
    close(&law.log_prob(&mode)?.read()?, &[twin.log_prob(&twin.mode())], 1e-5);
    Ok(())
}

#[test]
fn everything_per_row() -> Result {
    // Ragged: the second row has two groups only.
    let urn = Urn::per_row(gpu(), 3, &[5, 6, 7, 8, 9, 0], &[6, 10])?;
    let weights = [0.1f32, 0.9, -0.4, 1.2, 0.0, 0.0];
    let tape = Tape::new(gpu());
    let log_weights = tape.leaf(&gpu().tensor(&weights, [2, 3])?)?;
    let law = MultivariateFisherHypergeometric::with_urn(log_weights.clone(), &urn)?;
    law.check()?;
    assert_eq!(law.batch_shape(), [2]);
    assert_eq!(law.support(1), [(1, 8), (2, 9), (0, 0)]);
    let counts = law.rsample(Key::new(1), Temperature::new(1.0)?)?;
    let drawn = counts.read()?;
    assert_eq!(drawn.chunks(3).map(|row| row.iter().sum::<f32>()).collect::<Vec<_>>(), [6.0, 10.0]);
    let wide = weights.map(f64::from);
    let twins = [
        Twin { sizes: &[5, 6, 7], draws: 6, log_weights: &wide[..3] },
        Twin { sizes: &[8, 9, 0], draws: 10, log_weights: &wide[3..] },
    ];
    let means: Vec<f64> = twins.iter().flat_map(Twin::mean).collect();
    close(&law.mean()?.read()?, &means, 1e-5);
    let log_prob = law.log_prob(counts.value())?;
    let x: Vec<u32> = drawn.iter().map(|&x| x as u32).collect();
    close(&log_prob.read()?, &[twins[0].log_prob(&x[..3]), twins[1].log_prob(&x[3..])], 1e-5);
    // The score's gradient is x - E[x].
    let gradient = tape.backward(&log_prob.sum()?)?.of(&log_weights).unwrap().read()?;
    let want: Vec<f64> = drawn.iter().zip(&means).map(|(&x, mean)| f64::from(x) - mean).collect();
    close(&gradient, &want, 1e-5);
    Ok(())
}

#[test]
fn relaxed_counts_masks_and_real_draws() -> Result {
    let urn = Urn::new(gpu(), &[20, 30, 25], 18)?;
    for law in [Law::Exact, Law::Merged(Order::Random(Key::new(4)))] {
        let tape = Tape::new(gpu());
        let log_weights = tape.leaf(&gpu().tensor(&[0.3f32, 0.0, -0.2], [1, 3])?)?;
        let draws = tape.leaf(&gpu().tensor(&[17.6f32], [1])?)?;
        let relaxed =
            MultivariateFisherHypergeometric::with_real_draws(log_weights.clone(), draws.clone(), &urn, &law)?;
        let sampling = Sampling { noise: Noise::Key(Key::new(2)), temperature: 0.8, relaxed: true, scored: true };
        let draw = relaxed.rsample_with(5, &sampling, true)?;
        for row in draw.counts.read()?.chunks(3) {
            assert!((row.iter().sum::<f32>() - 17.6).abs() < 1e-4, "{row:?}");
        }
        // Entries from 1 on sum to the count.
        let masks = draw.masks.as_ref().unwrap();
        assert_eq!(masks.shape().dims(), [5, 3, 31]);
        let counts: Vec<f64> = draw.counts.read()?.iter().map(|&x| f64::from(x)).collect();
        let sums: Vec<f32> = masks.read()?.chunks(31).map(|mask| mask[1..].iter().sum()).collect();
        close(&sums, &counts, 1e-4);
        let loss = (draw.counts.square()?.sum()? + &draw.sampled_log_prob.unwrap().sum()?)?;
        let gradients = tape.backward(&(loss + &masks.sum()?)?)?;
        assert!(gradients.of(&draws).unwrap().item()?.is_finite());
        let sum: f32 = gradients.of(&log_weights).unwrap().read()?.iter().sum();
        assert!(sum.abs() < 1e-2, "gradients of weights sum to {sum}");
        // Exact counts of 17.6 elements there are none.
        let error = relaxed.sample(5, Key::new(0)).unwrap_err().to_string();
        assert!(error.starts_with("draws: "), "{error}");
    }
    Ok(())
}

#[test]
fn two_groups() -> Result {
    let tape = Tape::new(gpu());
    let odds = tape.leaf(&gpu().tensor(&[2f32.ln(), -0.5], [2])?)?;
    let law = FisherHypergeometric::per_row(odds.clone(), &[5], &[7, 9], &[6, 8])?;
    assert_eq!((law.event_shape(), law.batch_shape(), law.support(1)), ([], [2], (0, 5)));
    let wide = [[f64::from(2f32.ln()), 0.0], [-0.5, 0.0]];
    let twins = [
        Twin { sizes: &[5, 7], draws: 6, log_weights: &wide[0] },
        Twin { sizes: &[5, 9], draws: 8, log_weights: &wide[1] },
    ];
    let first = |values: [Vec<f64>; 2]| values.map(|values| values[0]);
    close(&law.mean()?.read()?, &first(twins.map(|twin| twin.mean())), 1e-5);
    close(&law.variance()?.read()?, &first(twins.map(|twin| twin.covariance())), 1e-4);
    close(&law.entropy()?.read()?, &twins.map(|twin| twin.entropy()), 1e-5);
    assert_eq!(law.mode()?.read()?, [3.0, 2.0]);
    let log_prob = law.log_prob(&gpu().tensor(&[3.0f32, 1.0], [2])?)?;
    close(&log_prob.read()?, &[twins[0].log_prob(&[3, 3]), twins[1].log_prob(&[1, 7])], 1e-5);
    let x = law.rsample(2, Key::new(3), Temperature::new(1.0)?)?;
    assert_eq!(x.shape().dims(), [2]);
    let relaxed = law.rsample_relaxed(2, Key::new(3), Temperature::new(1.0)?)?;
    let loss = ((&x + &relaxed)? + &log_prob)?.sum()?;
    assert!(tape.backward(&loss)?.of(&odds).unwrap().read()?.iter().all(|g| g.is_finite() && *g != 0.0));
    assert_eq!(law.sample(2, Key::new(3))?.read()?.len(), 2);
    // Outside the support.
    let tape = Tape::new(gpu());
    let law = FisherHypergeometric::new(tape.constant(&gpu().tensor(&[0.0f32], [1])?), 5, 3, 6)?;
    assert_eq!(law.support(0), (3, 5));
    let log_prob = law.log_prob(&gpu().tensor(&[2.0f32, 3.0, 6.0], [3])?)?.read()?;
    assert!(log_prob[0] == f32::NEG_INFINITY && log_prob[1].is_finite() && log_prob[2] == f32::NEG_INFINITY);
    Ok(())
}

#[test]
fn bad_input_is_named() -> Result {
    let tape = Tape::new(gpu());
    let var = |values: &[f32], rows: usize| {
        Ok::<_, Box<dyn std::error::Error>>(tape.constant(&gpu().tensor(values, [rows, values.len() / rows])?))
    };
    let message =
        |result: softurn_models::Result<MultivariateFisherHypergeometric<'_>>| result.unwrap_err().to_string();
    let new = MultivariateFisherHypergeometric::new;
    assert!(message(new(var(&[0.0; 3], 1)?, &[2, 3], 4)).contains("log_weights"));
    assert!(message(new(var(&[0.0; 2], 1)?, &[2, 3], 6)).contains("draws of row 0 is 6, more than the 5"));
    let nan = message(new(var(&[0.0, 0.0, f32::NAN, 0.0], 2)?, &[2, 3], 4));
    assert!(nan.contains("log_weights of row 1 is NaN at group 0"), "{nan}");
    let closed = message(new(var(&[0.0, f32::NEG_INFINITY], 1)?, &[2, 3], 4));
    assert!(closed.contains("row 0") && closed.contains("-inf for all but 2 elements"), "{closed}");
    let urn = Urn::new(gpu(), &[2, 3], 4)?;
    let merged = MultivariateFisherHypergeometric::with_law(var(&[0.0; 2], 1)?, &urn, &Law::Merged(Order::Natural))?;
    assert!(merged.mean().unwrap_err().to_string().contains("law is the merged one"));
    let order = Law::Merged(Order::Given(vec![1, 1]));
    assert!(
        message(MultivariateFisherHypergeometric::with_law(var(&[0.0; 2], 1)?, &urn, &order))
            .contains("order of row 0")
    );
    let odds = FisherHypergeometric::new(var(&[0.0; 2], 2)?, 5, 7, 6).unwrap_err().to_string();
    assert!(odds.contains("log_odds"), "{odds}");
    let row = |value: f32| tape.constant(&gpu().tensor(&[0.0, value], [2]).unwrap());
    for (value, draws, message) in [
        (f32::NAN, 6, "log_odds: of row 1 are NaN"),
        (f32::INFINITY, 6, "log_odds: of row 1 are inf"),
        (f32::NEG_INFINITY, 8, "log_odds: of row 1 are -inf, though only 7 of 8 draws can be failures"),
    ] {
        let error = FisherHypergeometric::new(row(value), 5, 7, draws).unwrap_err().to_string();
        assert_eq!(error, message);
    }
    let closed = FisherHypergeometric::new(row(f32::NEG_INFINITY), 5, 7, 6)?;
    assert_eq!(closed.sample(2, Key::new(0))?.read()?[1], 0.0);
    assert_eq!(closed.mean()?.read()?[1], 0.0);
    // Real draws belong to their urn.
    let urn = Urn::new(gpu(), &[2, 3, 4], 4)?;
    for (draws, message) in
        [(5.0f32, "draws of row 0 is 5, not within one of the urn's 4"), (f32::NAN, "draws of row 0 is NaN")]
    {
        let draws = tape.constant(&gpu().tensor(&[draws], [1])?);
        let law = MultivariateFisherHypergeometric::with_real_draws(var(&[0.0; 3], 1)?, draws, &urn, &Law::Exact)?;
        let error = law.check().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(law.rsample_relaxed(1, Key::new(0), Temperature::new(1.0)?)?.read()?.iter().all(|x| x.is_nan()));
    }
    Ok(())
}
