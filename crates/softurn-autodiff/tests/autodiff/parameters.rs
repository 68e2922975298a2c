use softurn_autodiff::{Error, ParameterState, Parameters, Tape};
use softurn_kernels::{Gpu, GpuConfig, Key};

use crate::{Result, gpu};

#[test]
fn growth_keeps_values() -> Result {
    let mut parameters = Parameters::new(gpu());
    let mut expected = Vec::new();
    for i in 0..40usize {
        let values: Vec<f32> = (0..i * 7).map(|j| (i * 1000 + j) as f32).collect();
        let param = parameters.from_values(format!("p{i}"), [i, 7], &values)?;
        expected.push((param, values));
    }
    for (param, values) in &expected {
        assert_eq!(&parameters.read(param)?, values, "{param:?}");
    }
    assert_eq!(parameters.len(), 40);
    assert_eq!(parameters.elements(), (0..40).map(|i| i * 7).sum::<usize>());
    assert_eq!(parameters.iter().map(|param| param.index()).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn at_the_binding_limit_a_new_chunk_opens() -> Result {
    let limited = Gpu::new(GpuConfig { poison: true, max_binding_bytes: Some(2048 * 4), ..GpuConfig::default() })?;
    let mut parameters = Parameters::new(&limited);
    let params = (0..5)
        .map(|i| parameters.constant(format!("p{i}"), [900], i as f32 + 1.0))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let error = parameters.zeros("large", [2049]).unwrap_err();
    assert_eq!(error, Error::TooLarge { name: "large".into(), needed: 2112 * 4, limit: 2048 * 4 });
    assert!(parameters.zeros("huge", [usize::MAX, 2]).is_err());
    for (i, param) in params.iter().enumerate() {
        assert_eq!(parameters.read(param)?, vec![i as f32 + 1.0; 900]);
    }
    let tape = Tape::new(&limited);
    let mut loss = tape.param(&parameters, &params[0])?.sum()?;
    for param in &params[1..4] {
        loss = (loss + tape.param(&parameters, param)?.sum()?)?;
    }
    // The fifth parameter is not in the loss.
    let norm = parameters.gradient_norm(&tape.backward(&loss)?)?;
    assert!((norm - 60.0).abs() < 1e-3, "{norm}");
    Ok(())
}

#[test]
fn names_are_unique_and_handles_belong_to_a_store() -> Result {
    let (mut one, mut other) = (Parameters::new(gpu()), Parameters::new(gpu()));
    let param = one.zeros("w", [2])?;
    assert_eq!(one.zeros("w", [3]).unwrap_err(), Error::DuplicateParameter { name: "w".into() });
    assert_eq!(one.get("w"), Some(&param));
    let twin = other.zeros("w", [2])?;
    assert_ne!(param, twin);
    assert_eq!(other.read(&param).unwrap_err(), Error::UnknownParameter { name: "w".into() });
    assert!(Tape::new(gpu()).param(&other, &param).is_err());
    assert!(matches!(one.set(&param, &[1.0]), Err(Error::ParameterShape { got: 1, .. })));
    assert!(matches!(one.from_values("v", [3], &[1.0]), Err(Error::ParameterShape { got: 1, .. })));
    assert!(one.uniform("u", [2], f32::NAN, Key::new(0)).is_err());
    one.set(&param, &[1.0, 2.0])?;
    let value = one.tensor(&param)?;
    let copy = one.zeros("copy", [2])?;
    one.set_tensor(&copy, &value)?;
    assert_eq!(one.read(&copy)?, [1.0, 2.0]);
    Ok(())
}

#[test]
fn a_parameter_read_twice_is_one_leaf() -> Result {
    let mut parameters = Parameters::new(gpu());
    let param = parameters.from_values("x", [1], &[3.0])?;
    let unused = parameters.zeros("unused", [1])?;
    let tape = Tape::new(gpu());
    let (a, b) = (tape.param(&parameters, &param)?, tape.param(&parameters, &param)?);
    tape.param(&parameters, &unused)?;
    let gradients = tape.backward(&(&a * &b)?)?;
    assert_eq!(gradients.param(&param).unwrap().item()?, 6.0);
    assert_eq!(gradients.of(&a).unwrap().item()?, 6.0);
    assert!(gradients.param(&unused).is_none());
    Ok(())
}

#[test]
fn initial_values_follow_their_key() -> Result {
    let mut parameters = Parameters::new(gpu());
    let key = Key::new(5);
    let uniform = parameters.uniform("uniform", [50, 40], 0.5, key)?;
    let again = parameters.uniform("again", [2000], 0.5, key)?;
    let other = parameters.uniform("other", [2000], 0.5, Key::new(6))?;
    let x = parameters.read(&uniform)?;
    assert_eq!(x, parameters.read(&again)?);
    assert_ne!(x, parameters.read(&other)?);
    assert!(x.iter().all(|x| (-0.5..0.5).contains(x)));
    let moments = |x: &[f32]| {
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32)
    };
    let (mean, variance) = moments(&x);
    assert!(mean.abs() < 0.03 && (variance - 1.0 / 12.0).abs() < 0.008, "{mean} {variance}");
    let normal = parameters.normal("normal", [2000], 3.0, key)?;
    let (mean, variance) = moments(&parameters.read(&normal)?);
    assert!(mean.abs() < 0.3 && (variance - 9.0).abs() < 1.2, "{mean} {variance}");
    Ok(())
}

#[test]
fn state_round_trips_and_misfits_are_named() -> Result {
    let mut parameters = Parameters::new(gpu());
    let weight = parameters.uniform("weight", [3, 5], 1.0, Key::new(1))?;
    parameters.constant("bias", [5], 2.0)?;
    let mut state = parameters.state()?;
    assert_eq!(state[0].values, parameters.read(&weight)?);
    assert_eq!((state[1].name.as_str(), &state[1].values[..]), ("bias", &[2.0; 5][..]));
    state[0].first_moment[14] = 7.0;
    state[1].second_moment[4] = 8.0;
    state.reverse();

    let mut copy = Parameters::new(gpu());
    copy.zeros("weight", [3, 5])?;
    copy.zeros("bias", [5])?;
    copy.load_state(&state)?;
    state.reverse();
    assert_eq!(copy.state()?, state);
    copy.reset_moments()?;
    assert_eq!(copy.state()?[0].first_moment, [0.0; 15]);

    let error = |change: &dyn Fn(&mut Vec<ParameterState>)| {
        let mut state = state.clone();
        change(&mut state);
        let mut target = Parameters::new(gpu());
        target.zeros("weight", [3, 5])?;
        target.zeros("bias", [5])?;
        let error = target.load_state(&state).unwrap_err();
        assert!(target.state()?.iter().all(|state| state.values.iter().all(|&x| x == 0.0)), "nothing changes");
        Ok::<_, Error>(error)
    };
    assert_eq!(error(&|state| drop(state.pop()))?, Error::MissingParameter { name: "bias".into() });
    assert_eq!(error(&|state| state.push(state_of("extra")))?, Error::UnknownParameter { name: "extra".into() });
    let wrong = error(&|state| state[0].shape = [5, 3].into())?;
    assert_eq!(wrong.to_string(), "parameter 'weight': 15 values in shape [5, 3], expected shape [3, 5]");
    assert!(matches!(error(&|state| state[1].values.truncate(4))?, Error::ParameterShape { got: 4, .. }));
    Ok(())
}

fn state_of(name: &str) -> ParameterState {
    ParameterState {
        name: name.into(),
        shape: [1].into(),
        values: vec![1.0],
        first_moment: vec![0.0],
        second_moment: vec![0.0],
    }
}
