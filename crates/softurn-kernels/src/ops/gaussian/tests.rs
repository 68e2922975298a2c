//! Tests of the Gaussian reparameterisation.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, ks_p, same_bits};

use super::{backward, cpu, forward};
use crate::ops::Noise;
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu, Key};

/// Normals are good to 1.2e-6 and multiplied by e^(s/2) <= 4.5; divergences sum up to 300 terms of size 20.
const TOLERANCE: Tolerance = Tolerance::new(1e-4, 3e-6, "300 terms of size 20, 2^-24 each, and 4 ulp of the functions");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("variance for deviation", "m + f_exp4(0.5 * s) * eps", "m + f_exp4(s) * eps"),
    mutant("the log-variance itself for deviation", "m + f_exp4(0.5 * s) * eps", "m + s * eps"),
    mutant("the divergence has the wrong sign of s", "(f_expm1_4(s) - s)", "(f_expm1_4(s) + s)"),
    mutant("other noise for every second pair", "words(2u * i + 1u)", "words(2u * i)"),
    mutant(
        "other noise in the backward",
        "slope(vec4<f32>(log_variance[i]), epsilon(i)",
        "slope(vec4<f32>(log_variance[i]), epsilon(i + 1u)",
    ),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "gaussian", name, shader: "gaussian", from, to, plan: "both", hidden: None }
}

const SHAPES: &[[usize; 2]] = &[[0, 3], [3, 0], [1, 1], [2, 3], [7, 65], [130, 10], [130, 12], [3, 300]];

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &[rows, cols] in SHAPES {
        let mut inputs = Inputs::new((rows * 31 + cols) as u64);
        let n = rows * cols;
        let (m, s) = (inputs.normal(n), inputs.uniform(-6.0, 3.0, n));
        let (dz, dkl, given) = (inputs.normal(n), inputs.normal(rows), inputs.normal(n));
        let matrix = |x: &[f32]| gpu.tensor(x, [rows, cols]).unwrap();
        let (tm, ts, tdz, tgiven) = (matrix(&m), matrix(&s), matrix(&dz), matrix(&given));
        let tdkl = gpu.tensor(&dkl, [rows]).unwrap();
        let key = Key::new(cols as u64);
        for (noise, epsilon) in [(Noise::Key(key), cpu::noise(n, key)), (Noise::Given(&tgiven), wide(&given))] {
            let what = |name: &str| format!("[{rows}, {cols}] {name}");
            let run = || forward(gpu, &tm, &ts, noise).unwrap();
            let (z, kl) = run();
            let (z, kl) = (z.read().unwrap(), kl.read().unwrap());
            let (want_z, mut want_kl) = cpu::forward(cols.max(1), &wide(&m), &wide(&s), &epsilon);
            want_kl.resize(rows, 0.0);
            compare(&what("z"), &label(gpu), &z, &want_z, &TOLERANCE)?;
            compare(&what("kl"), &label(gpu), &kl, &want_kl, &TOLERANCE)?;
            same_bits(&what("two runs"), &z, &run().0.read().unwrap())?;
            let (dm, ds) = backward(gpu, &tm, &ts, noise, Some(&tdz), Some(&tdkl)).unwrap();
            let (want_m, want_s) = cpu::backward(cols.max(1), &wide(&m), &wide(&s), &epsilon, &wide(&dz), &wide(&dkl));
            compare(&what("dm"), &label(gpu), &dm.read().unwrap(), &want_m, &TOLERANCE)?;
            compare(&what("ds"), &label(gpu), &ds.read().unwrap(), &want_s, &TOLERANCE)?;
        }
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
fn divergence_of_the_method_page() {
    // cluster_specific.md, section 3: mu = (.5, -1), s = (.2, -.4) -> .670861
    let (_, kl) = cpu::forward(2, &[0.5, -1.0], &[0.2, -0.4], &[0.0; 2]);
    assert!((kl[0] - 0.670_861).abs() < 1e-6, "{kl:?}");
}

#[test]
fn twin_agrees_with_central_differences() {
    let mut inputs = Inputs::new(1);
    let [m, s, noise, dz] = [0; 4].map(|_| wide(&inputs.normal(6)));
    let dkl = wide(&inputs.normal(2));
    let f = |m: &[f64], s: &[f64]| {
        let (z, kl) = cpu::forward(3, m, s, &noise);
        z.iter().zip(&dz).chain(kl.iter().zip(&dkl)).map(|(y, g)| y * g).sum::<f64>()
    };
    let (dm, ds) = cpu::backward(3, &m, &s, &noise, &dz, &dkl);
    let tolerance = Tolerance::new(1e-8, 1e-7, "central differences in f64");
    assert_gradient("dm", |m| f(m, &s), &m, &dm, &tolerance);
    assert_gradient("ds", |s| f(&m, s), &s, &ds, &tolerance);
}

#[test]
fn draws_are_normal() {
    let gpu = &gpus()[0];
    let n = 50_000;
    let (m, s) = (gpu.zeros([n / 10, 10]).unwrap(), gpu.zeros([n / 10, 10]).unwrap());
    let (z, _) = forward(gpu, &m, &s, Noise::Key(Key::new(3))).unwrap();
    let z = wide(&z.read().unwrap());
    // Φ by its continued relation to erf, good to 1e-7: Abramowitz and Stegun 7.1.26.
    let phi = |x: f64| {
        let t = 1.0 / (1.0 + 0.327_591_1 * x.abs() / 2f64.sqrt());
        let poly =
            t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
        let tail = 0.5 * poly * (-0.5 * x * x).exp();
        if x < 0.0 { tail } else { 1.0 - tail }
    };
    assert!(ks_p(&z, phi) > 1e-3);
    assert!(ks_p(&z, |x| phi(1.1 * x)) < 1e-6, "the test can fail");
}

#[test]
fn nan_and_bad_arguments() {
    let gpu = &gpus()[0];
    let m = gpu.tensor(&[f32::NAN, 0.0, 1.0, 2.0], [2, 2]).unwrap();
    let s = gpu.zeros([2, 2]).unwrap();
    let (z, kl) = forward(gpu, &m, &s, Noise::Key(Key::new(0))).unwrap();
    let (z, kl) = (z.read().unwrap(), kl.read().unwrap());
    assert!(z[0].is_nan() && z[1..].iter().all(|z| z.is_finite()) && kl[0].is_nan() && kl[1].is_finite());
    let wrong = gpu.zeros([2, 3]).unwrap();
    assert!(matches!(
        forward(gpu, &m, &wrong, Noise::Key(Key::new(0))),
        Err(Error::Shape { argument: "log_variance", .. })
    ));
    assert!(matches!(forward(gpu, &m, &s, Noise::Given(&wrong)), Err(Error::Shape { argument: "noise", .. })));
    let result = backward(gpu, &m, &s, Noise::Key(Key::new(0)), Some(&wrong), None);
    assert!(matches!(result, Err(Error::Shape { argument: "dz", .. })));
}
