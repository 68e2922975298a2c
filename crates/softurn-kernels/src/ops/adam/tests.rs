//! Tests of AdamW.

use softurn_tests::{Inputs, Mismatch, Mutant, SIZES, Tolerance, compare, same_bits};

use super::{Settings, cpu, step};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu, Tensor};

/// Sums of two terms that may cancel, of size 4 at most; the second moment squares the gradient.
const TOLERANCE: Tolerance = Tolerance::new(1e-6, 2e-6, "8 roundings of 2^-24 of terms up to 4, 2 more in the square");

/// Rounding of 100 updates that pull back to the minimum, so that errors do not grow.
const TRAJECTORY: Tolerance =
    Tolerance::new(2e-5, 2e-5, "100 updates of 1e-7 each, amplified at most by the step size");

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        op: "adam",
        name: "wrong sign of the update",
        shader: "adam",
        from: "x - (params.decay",
        to: "x + (params.decay",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "adam",
        name: "no bias correction of the second moment",
        shader: "adam",
        from: "v * params.second_factor",
        to: "v",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "adam",
        name: "gradients are always scaled to the norm",
        shader: "adam",
        from: "norm > params.max_norm",
        to: "norm > 0.0",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "adam",
        name: "a non-finite gradient is hidden",
        shader: "adam",
        from: "is_finite4(m) & is_finite4(v)",
        to: "vec4<bool>(true)",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "adam",
        name: "the last element is left out",
        shader: "adam",
        from: "(i >= params.length)",
        to: "(i + 1u >= params.length)",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "adam",
        name: "the last four elements are left out",
        shader: "adam",
        from: "4u * i >= params.length",
        to: "4u * i + 4u >= params.length",
        plan: "both",
        hidden: None,
    },
];

const SETTINGS: &[(Settings, Option<f32>)] = &[
    (Settings { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, step: 1 }, None),
    (Settings { learning_rate: 0.03, beta1: 0.8, beta2: 0.99, epsilon: 1e-3, weight_decay: 0.2, step: 7 }, Some(0.5)),
    (Settings { learning_rate: 0.01, beta1: 0.0, beta2: 0.9, epsilon: 0.1, weight_decay: 0.0, step: 1000 }, Some(1e4)),
];

fn read(tensors: &[Tensor; 3]) -> Vec<Vec<f32>> {
    tensors.iter().map(|tensor| tensor.read().unwrap()).collect()
}

pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    let adapter = label(gpu);
    for (case, &(settings, max_norm)) in SETTINGS.iter().enumerate() {
        for &n in SIZES {
            let mut inputs = Inputs::new((n + case) as u64);
            let (x, g, m) = (inputs.normal(n), inputs.normal(n), inputs.uniform(-1.0, 1.0, n));
            let v = inputs.uniform(0.01, 1.0, n);
            let squared: f32 = g.iter().map(|g| g * g).sum();
            let run = || {
                let state = [&x, &m, &v].map(|data| gpu.tensor(data, [n]).unwrap());
                let norm = gpu.tensor(&[squared], [1]).unwrap();
                let clip = max_norm.map(|max_norm| (&norm, max_norm));
                step(gpu, &state[0], &gpu.tensor(&g, [n]).unwrap(), &state[1], &state[2], &settings, clip).unwrap();
                read(&state)
            };
            let got = run();
            let (mut wx, mut wm, mut wv) = (wide(&x), wide(&m), wide(&v));
            let clip = max_norm.map(|max_norm| (f64::from(squared), f64::from(max_norm)));
            cpu::step(&mut wx, &wide(&g), &mut wm, &mut wv, &settings, clip);
            for (name, (got, want)) in ["values", "first", "second"].iter().zip(got.iter().zip([wx, wm, wv])) {
                compare(&format!("{name} [{n}], settings {case}"), &adapter, got, &want, &TOLERANCE)?;
            }
            for (a, b) in got.iter().zip(run()) {
                same_bits(&format!("adam [{n}] twice"), a, &b)?;
            }
        }
    }
    non_finite_gradients_reach_the_values(gpu)
}

fn non_finite_gradients_reach_the_values(gpu: &Gpu) -> Result<(), Mismatch> {
    let gradients = [1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1.0];
    let state = [[0.5; 6], [0.0; 6], [0.0; 6]].map(|data| gpu.tensor(&data, [6]).unwrap());
    let g = gpu.tensor(&gradients, [6]).unwrap();
    let settings = Settings { learning_rate: 0.25, ..Settings::default() };
    step(gpu, &state[0], &g, &state[1], &state[2], &settings, None).unwrap();
    let want = [0.25, f64::NAN, f64::NAN, f64::NAN, f64::NAN, 0.75];
    compare("non-finite gradients", &label(gpu), &state[0].read().unwrap(), &want, &TOLERANCE)?;
    for squared in [f32::INFINITY, f32::NAN] {
        let state = [[0.5; 2], [0.0; 2], [0.0; 2]].map(|data| gpu.tensor(&data, [2]).unwrap());
        let (g, norm) = (gpu.tensor(&[1.0f32, 2.0], [2]).unwrap(), gpu.tensor(&[squared], [1]).unwrap());
        step(gpu, &state[0], &g, &state[1], &state[2], &settings, Some((&norm, 1.0))).unwrap();
        compare("non-finite norm", &label(gpu), &state[0].read().unwrap(), &[f64::NAN; 2], &TOLERANCE)?;
    }
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn a_hundred_updates() {
    // Minimises sum a (x - c)^2 / 2; the fifth element stands for padding and must stay exactly 0.
    let (a, c) = ([1.0f32, 0.1, 10.0, 3.0, 0.0], [1.0f32, -2.0, 0.5, 0.0, 0.0]);
    for gpu in gpus() {
        let state = [[0.0f32; 5]; 3].map(|data| gpu.tensor(&data, [5]).unwrap());
        let (mut x, mut m, mut v) = (vec![0.0f64; 5], vec![0.0f64; 5], vec![0.0f64; 5]);
        for t in 1..=100 {
            let settings = Settings { learning_rate: 0.05, weight_decay: 0.01, step: t, ..Settings::default() };
            let host = state[0].read().unwrap();
            let g: Vec<f32> = (0..5).map(|i| a[i] * (host[i] - c[i])).collect();
            let norm = gpu.tensor(&[g.iter().map(|g| g * g).sum::<f32>()], [1]).unwrap();
            let g = gpu.tensor(&g, [5]).unwrap();
            step(gpu, &state[0], &g, &state[1], &state[2], &settings, Some((&norm, 2.0))).unwrap();
            let g: Vec<f64> = (0..5).map(|i| f64::from(a[i]) * (x[i] - f64::from(c[i]))).collect();
            let squared = g.iter().map(|g| g * g).sum();
            cpu::step(&mut x, &g, &mut m, &mut v, &settings, Some((squared, 2.0)));
        }
        let got = state[0].read().unwrap();
        compare("trajectory", &label(gpu), &got, &x, &TRAJECTORY).unwrap();
        assert_eq!(got[4].to_bits(), 0, "padding moved");
        assert!((got[0] - 1.0).abs() < 0.1 && (got[2] - 0.5).abs() < 0.1, "not near the minimum: {got:?}");
    }
}

#[test]
fn the_first_update_is_the_sign_times_the_learning_rate() {
    let (mut x, mut m, mut v) = ([2.0, 2.0], [0.0; 2], [0.0; 2]);
    let settings = Settings { learning_rate: 0.5, epsilon: 1e-12, ..Settings::default() };
    cpu::step(&mut x, &[1e-3, -40.0], &mut m, &mut v, &settings, None);
    assert!((x[0] - 1.5).abs() < 1e-8 && (x[1] - 2.5).abs() < 1e-8, "{x:?}");
}

#[test]
fn several_workgroup_rows() {
    let gpu = &gpus()[0];
    let n = 65_535 * 64 + 77;
    let [x, m, v] = [0; 3].map(|_| gpu.zeros([n]).unwrap());
    let g = gpu.tensor(&vec![1.0f32; n], [n]).unwrap();
    step(gpu, &x, &g, &m, &v, &Settings { learning_rate: 0.5, ..Settings::default() }, None).unwrap();
    compare("folded dispatch", &label(gpu), &x.read().unwrap(), &vec![-0.5; n], &TOLERANCE).unwrap();
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let [x, g, m, v] = [0; 4].map(|_| gpu.zeros([128]).unwrap());
    let argument = |settings: Settings| match step(gpu, &x, &g, &m, &v, &settings, None) {
        Err(Error::Argument { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    let good = Settings::default();
    assert_eq!(argument(Settings { learning_rate: -1.0, ..good }), "learning_rate");
    assert_eq!(argument(Settings { beta1: 1.0, ..good }), "beta1");
    assert_eq!(argument(Settings { beta2: f32::NAN, ..good }), "beta2");
    assert_eq!(argument(Settings { epsilon: 0.0, ..good }), "epsilon");
    assert_eq!(argument(Settings { weight_decay: f32::INFINITY, ..good }), "weight_decay");
    assert_eq!(argument(Settings { step: 0, ..good }), "step");
    let short = gpu.zeros([3]).unwrap();
    let labels = gpu.tensor(&[1u32; 128], [128]).unwrap();
    assert!(matches!(step(gpu, &x, &short, &m, &v, &good, None), Err(Error::Shape { argument: "gradients", .. })));
    assert!(matches!(step(gpu, &x, &g, &labels, &v, &good, None), Err(Error::Argument { argument: "first", .. })));
    assert!(matches!(step(gpu, &x, &g, &m, &x, &good, None), Err(Error::Argument { argument: "second", .. })));
    let clip = |norm: &Tensor, max: f32| step(gpu, &x, &g, &m, &v, &good, Some((norm, max)));
    assert!(matches!(clip(&short, 1.0), Err(Error::Shape { argument: "norm_squared", .. })));
    let one = gpu.zeros([1]).unwrap();
    assert!(matches!(clip(&one, 0.0), Err(Error::Argument { argument: "max_norm", .. })));
    assert!(matches!(clip(&x.view(0, [1]).unwrap(), 1.0), Err(Error::Argument { argument: "norm_squared", .. })));
}
