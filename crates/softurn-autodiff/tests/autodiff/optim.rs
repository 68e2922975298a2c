use softurn_autodiff::{Adam, Error, Param, ParameterState, Parameters, Schedule, Tape};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::{Gpu, GpuConfig, Key};
use softurn_tests::assert_same_bits;

use crate::{Result, gpu, values};

/// Least squares `y = x W + b` with a known answer; returns the parameters and the last loss.
fn fit(gpu: &Gpu, adam: &mut Adam, steps: usize) -> Result<(Vec<ParameterState>, f32)> {
    let (rows, inputs, outputs) = (33, 5, 3);
    let weight: Vec<f32> = (0..inputs * outputs).map(|i| (i as f32 - 7.0) / 5.0).collect();
    let x = values([rows, inputs], 1).read()?;
    let mut y = vec![0.0; rows * outputs];
    for i in 0..rows {
        for j in 0..outputs {
            y[i * outputs + j] = 0.5 + (0..inputs).map(|k| x[i * inputs + k] * weight[k * outputs + j]).sum::<f32>();
        }
    }
    let (x, y) = (gpu.tensor(&x, [rows, inputs])?, gpu.tensor(&y, [rows, outputs])?);
    let mut parameters = Parameters::new(gpu);
    let w = parameters.uniform("w", [inputs, outputs], 0.5, Key::new(2))?;
    let b = parameters.zeros("b", [outputs])?;
    let mut last = f32::NAN;
    for step in 0..steps {
        let tape = Tape::new(gpu);
        let (w, b) = (tape.param(&parameters, &w)?, tape.param(&parameters, &b)?);
        let loss = tape.constant(&x).linear(&w, Some(&b), Activation::None)?.squared_error(&y)?.mean()?;
        adam.step(&mut parameters, &tape.backward(&loss)?)?;
        if step + 1 == steps {
            last = loss.item()?;
        }
    }
    Ok((parameters.state()?, last))
}

#[test]
fn adam_fits_least_squares_and_repeats_itself() -> Result {
    let schedule = Schedule::Cosine { initial: 0.1, last: 1e-3, steps: 200 }.warm_up(5);
    let run = || fit(gpu(), &mut Adam::new(schedule.clone()).clip(5.0), 205);
    let (state, loss) = run()?;
    assert!(loss < 1e-4, "{loss}");
    for (i, w) in state[0].values.iter().enumerate() {
        assert!((w - (i as f32 - 7.0) / 5.0).abs() < 0.02, "{i}: {w}");
    }
    let (again, _) = run()?;
    for (a, b) in state.iter().zip(&again) {
        assert_same_bits("value", &a.values, &b.values);
        assert_same_bits("first", &a.first_moment, &b.first_moment);
        assert_same_bits("second", &a.second_moment, &b.second_moment);
    }
    Ok(())
}

/// The same formulas in f64, one parameter after the other.
fn reference(start: &[f32], gradients: &[Vec<f32>], rate: f64, decay: f64, clip: Option<f64>) -> Vec<f64> {
    let mut x: Vec<f64> = start.iter().map(|&x| f64::from(x)).collect();
    let (mut m, mut v) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for (t, gradient) in (1..).zip(gradients) {
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let scale = clip.map_or(1.0, |clip| (clip / norm).min(1.0));
        for i in 0..x.len() {
            let g = scale * f64::from(gradient[i]);
            m[i] = 0.8 * m[i] + 0.2 * g;
            v[i] = 0.95 * v[i] + 0.05 * g * g;
            let (mean, square): (f64, f64) = (m[i] / (1.0 - 0.8f64.powi(t)), v[i] / (1.0 - 0.95f64.powi(t)));
            x[i] -= rate * (decay * x[i] + mean / (square.sqrt() + 1e-6));
        }
    }
    x
}

#[test]
fn adam_follows_its_formula_over_parameters_and_chunks() -> Result {
    // The second device has room for one parameter per chunk.
    let limited = Gpu::new(GpuConfig { poison: true, max_binding_bytes: Some(256 * 4), ..GpuConfig::default() })?;
    let start = values([20, 10], 3).read()?;
    let gradients: Vec<Vec<f32>> = (0..4)
        .map(|t| values([20, 10], 10 + t).read().map(|g| g.iter().map(|g| g * (t + 1) as f32).collect()))
        .collect::<std::result::Result<_, _>>()?;
    for gpu in [gpu(), &limited] {
        for (decay, clip) in [(0.0, None), (0.1, None), (0.0, Some(10.0)), (0.1, Some(1e6))] {
            let mut adam = Adam::new(0.05).betas(0.8, 0.95).epsilon(1e-6).weight_decay(decay);
            if let Some(clip) = clip {
                adam = adam.clip(clip);
            }
            let mut parameters = Parameters::new(gpu);
            let a = parameters.from_values("a", [15, 10], &start[..150])?;
            let b = parameters.from_values("b", [50], &start[150..])?;
            for gradient in &gradients {
                step_with(&mut adam, &mut parameters, &[(&a, &gradient[..150]), (&b, &gradient[150..])])?;
            }
            let expected = reference(&start, &gradients, 0.05, f64::from(decay), clip.map(f64::from));
            let mut got = parameters.read(&a)?;
            got.extend(parameters.read(&b)?);
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let close = (f64::from(*got) - expected).abs() <= 2e-6 * (1.0 + expected.abs());
                assert!(close, "{i}: {got} for {expected}, decay {decay}, clip {clip:?}");
            }
        }
    }
    Ok(())
}

/// One step with exactly these gradients: those of `Σ g·x`.
fn step_with(adam: &mut Adam, parameters: &mut Parameters, gradients: &[(&Param, &[f32])]) -> Result {
    let tape = Tape::new(parameters.gpu());
    let mut loss = tape.constant(&parameters.gpu().zeros([])?);
    for (param, gradient) in gradients {
        let gradient = parameters.gpu().tensor(gradient, param.shape().clone())?;
        loss = (loss + (tape.param(parameters, param)? * &gradient)?.sum()?)?;
    }
    adam.step(parameters, &tape.backward(&loss)?)
}

#[test]
fn parameters_without_gradient_keep_still_and_resuming_changes_nothing() -> Result {
    let mut parameters = Parameters::new(gpu());
    let used = parameters.from_values("used", [3], &[1.0, 2.0, 3.0])?;
    let unused = parameters.from_values("unused", [2], &[4.0, 5.0])?;
    let mut adam = Adam::new(0.1);
    step_with(&mut adam, &mut parameters, &[(&used, &[1.0, -1.0, 0.5])])?;
    assert_eq!(parameters.read(&unused)?, [4.0, 5.0]);
    let state = parameters.state()?;
    // A parameter that arrives later makes the store grow; moments stay.
    parameters.zeros("late", [5000])?;
    assert_eq!(parameters.state()?[..2], state);

    let mut resumed = Parameters::new(gpu());
    let again = resumed.zeros("used", [3])?;
    resumed.zeros("unused", [2])?;
    resumed.load_state(&state)?;
    let mut adam_again = Adam::new(0.1).at_step(adam.steps());
    step_with(&mut adam, &mut parameters, &[(&used, &[0.5, 0.5, 0.5])])?;
    step_with(&mut adam_again, &mut resumed, &[(&again, &[0.5, 0.5, 0.5])])?;
    assert_same_bits("resumed", &resumed.read(&again)?, &parameters.read(&used)?);
    assert_eq!((adam.steps(), adam_again.steps()), (2, 2));
    Ok(())
}

#[test]
fn norms_and_settings_tell_what_is_wrong() -> Result {
    let mut parameters = Parameters::new(gpu());
    let x = parameters.from_values("x", [2], &[3.0, 4.0])?;
    let gradients = |parameters: &Parameters, scale: f32| {
        let tape = Tape::new(gpu());
        let loss = (tape.param(parameters, &x)?.square()?.sum()? * scale)?;
        tape.backward(&loss)
    };
    assert!((parameters.gradient_norm(&gradients(&parameters, 1.0)?)? - 10.0).abs() < 1e-5);
    assert!(!parameters.gradient_norm(&gradients(&parameters, f32::NAN)?)?.is_finite());
    let one = gradients(&parameters, 1.0)?;
    for adam in [
        Adam::new(-1.0),
        Adam::new(f32::NAN),
        Adam::new(0.1).betas(1.0, 0.9),
        Adam::new(0.1).epsilon(0.0),
        Adam::new(0.1).weight_decay(-0.5),
        Adam::new(0.1).clip(0.0),
    ] {
        let mut adam = adam;
        let error = adam.step(&mut parameters, &one).unwrap_err();
        assert!(matches!(error, Error::Kernel(_)) && error.to_string().starts_with("adam: "), "{error}");
        assert_eq!(adam.steps(), 0);
    }
    assert_eq!(parameters.read(&x)?, [3.0, 4.0]);
    Adam::new(0.1).step(&mut Parameters::new(gpu()), &one)?;
    Ok(())
}

#[test]
fn schedules() {
    let rates = |schedule: &Schedule, steps: &[u32]| steps.iter().map(|&step| schedule.at(step)).collect::<Vec<_>>();
    assert_eq!(rates(&0.5.into(), &[0, 7]), [0.5, 0.5]);
    let exponential = Schedule::Exponential { initial: 1.0, factor: 0.5, every: 10 };
    assert_eq!(rates(&exponential, &[0, 9, 10, 25, 30]), [1.0, 1.0, 0.5, 0.25, 0.125]);
    assert_eq!(Schedule::Exponential { initial: 1.0, factor: 0.5, every: 0 }.at(3), 0.125);
    let cosine = Schedule::Cosine { initial: 1.0, last: 0.2, steps: 4 };
    for (step, rate) in [(0, 1.0), (1, 0.2 + 0.8 * 0.853_553_4), (2, 0.6), (4, 0.2), (900, 0.2)] {
        assert!((cosine.at(step) - rate).abs() < 1e-6, "{step}: {}", cosine.at(step));
    }
    assert_eq!(Schedule::Cosine { initial: 1.0, last: 0.2, steps: 0 }.at(0), 0.2);
    let warm = exponential.warm_up(4);
    assert_eq!(rates(&warm, &[0, 1, 3, 4, 13, 14]), [0.25, 0.5, 1.0, 1.0, 1.0, 0.5]);
    assert_eq!(Schedule::from(1.0).warm_up(0).at(0), 1.0);
}
