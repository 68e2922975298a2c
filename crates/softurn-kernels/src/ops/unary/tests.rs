//! Tests of the element-wise functions.

use softurn_tests::{Inputs, Mismatch, SIZES, Tolerance, assert_gradient, compare, same_bits};

use super::{Unary, backward, cpu, forward};
use crate::shader::Patch;
use crate::testing::{config, gpus, label, open, wide};
use crate::{Error, Gpu, GpuConfig, Plan};

const FUNCTIONS: &[Unary] = &[
    Unary::Affine { scale: -1.5, shift: 0.25 },
    Unary::Exp,
    Unary::Log,
    Unary::Log1p,
    Unary::Expm1,
    Unary::Tanh,
    Unary::Relu,
    Unary::Sigmoid,
    Unary::Softplus,
    Unary::Square,
    Unary::Sqrt,
    Unary::Abs,
    Unary::Reciprocal,
];

/// The arithmetic's worst case is expm1 at 4.5 ulp; a derivative multiplies up to four such roundings.
const TOLERANCE: Tolerance =
    Tolerance::new(1e-37, 1.5e-6, "at most 12 ulp of 2^-23 by the error bounds of shared/math");

fn inputs(function: Unary, seed: u64, n: usize) -> Vec<f32> {
    let mut inputs = Inputs::new(seed);
    match function {
        Unary::Log | Unary::Sqrt | Unary::Reciprocal => inputs.uniform(1e-3, 30.0, n),
        Unary::Log1p => inputs.uniform(-0.9, 30.0, n),
        _ => inputs.uniform(-20.0, 20.0, n),
    }
}

/// Everything that must hold on one device; the mutation table runs it on broken kernels.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &function in FUNCTIONS {
        for &n in SIZES {
            let (x, dy) = (inputs(function, n as u64, n), Inputs::new(9).normal(n));
            let (tx, tdy) = (gpu.tensor(&x, [n]).unwrap(), gpu.tensor(&dy, [n]).unwrap());
            let y = forward(gpu, function, &tx).unwrap();
            let what = format!("{function:?} [{n}]");
            compare(&what, &label(gpu), &y.read().unwrap(), &cpu::forward(function, &wide(&x)), &TOLERANCE)?;
            let dx = backward(gpu, function, &tx, &tdy).unwrap().read().unwrap();
            let want = cpu::backward(function, &wide(&x), &wide(&dy));
            compare(&format!("{what} backward"), &label(gpu), &dx, &want, &TANH_TAIL_ALLOWANCE)?;
            same_bits(&what, &dx, &backward(gpu, function, &tx, &tdy).unwrap().read().unwrap())?;
        }
    }
    Ok(())
}

/// `1 - tanh²` cancels: 2 ulp of a number near 1, absolute.
const TANH_TAIL_ALLOWANCE: Tolerance =
    Tolerance::new(2e-6, 2e-6, "1 - tanh(x)^2 cancels to an absolute 2^-22 times |dy| <= 4; the rest as forward");

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn several_workgroup_rows() {
    let gpu = &gpus()[0];
    let n = 65_535 * 64 + 77;
    let x = Inputs::new(3).uniform(-4.0, 4.0, n);
    let y = forward(gpu, Unary::Tanh, &gpu.tensor(&x, [n]).unwrap()).unwrap().read().unwrap();
    compare("tanh, folded dispatch", &label(gpu), &y, &cpu::forward(Unary::Tanh, &wide(&x)), &TOLERANCE).unwrap();
}

#[test]
fn twin_agrees_with_central_differences() {
    for &function in FUNCTIONS {
        // Small values: a sum over terms of very different sizes would drown the small gradients in rounding.
        let x: Vec<f64> = wide(&inputs(function, 5, 9)).iter().map(|x| x / 8.0).collect();
        let dy = wide(&Inputs::new(6).normal(9));
        let f = |x: &[f64]| cpu::forward(function, x).iter().zip(&dy).map(|(y, g)| y * g).sum();
        let tolerance = Tolerance::new(1e-7, 1e-6, "central differences in f64");
        assert_gradient(&format!("{function:?}"), f, &x, &cpu::backward(function, &x, &dy), &tolerance);
    }
}

#[test]
fn special_values() {
    let special =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-45, 1e-38, -1.0, 3e38, -3e38, 88.7, -103.9];
    // WGSL lets an adapter read a subnormal as 0, or write 0 for one: lavapipe keeps them, SwiftShader does not. What it
    // writes, an absolute 1e-37 covers; what it read as 0 has the value at 0.
    let flushed = special.map(|x| if x.is_subnormal() { 0.0 } else { x });
    let twin = |function, x: &[f32]| cpu::forward(function, &wide(x)).iter().map(|&y| f64::from(y as f32)).collect();
    // All are done by fours, all but the last one by one.
    for (gpu, n) in gpus().iter().flat_map(|gpu| [(gpu, special.len()), (gpu, special.len() - 1)]) {
        let (special, flushed) = (&special[..n], &flushed[..n]);
        for &function in FUNCTIONS {
            let y = forward(gpu, function, &gpu.tensor(special, [n]).unwrap()).unwrap().read().unwrap();
            let (mut want, at_zero): (Vec<f64>, Vec<f64>) = (twin(function, special), twin(function, flushed));
            for (i, want) in want.iter_mut().enumerate().filter(|&(i, _)| special[i].is_subnormal()) {
                if f64::from(y[i]) == at_zero[i] {
                    *want = at_zero[i];
                }
            }
            compare(&format!("{function:?} of special values"), &label(gpu), &y, &want, &TOLERANCE).unwrap();
        }
    }
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let labels = gpu.tensor(&[1u32], [1]).unwrap();
    assert!(matches!(forward(gpu, Unary::Exp, &labels), Err(Error::Argument { argument: "x", .. })));
    let (x, dy) = (gpu.zeros([3]).unwrap(), gpu.zeros([2]).unwrap());
    assert!(matches!(backward(gpu, Unary::Exp, &x, &dy), Err(Error::Shape { argument: "dy", .. })));
}

/// Prints the tables of docs/numerics.md: the driver's builtins against ours, and what becomes of two identities.
#[test]
#[ignore = "prints figures; asserts nothing that other tests do not"]
fn numerics_report() {
    // The driver's own function in the place of ours.
    let builtins: &[(Unary, &str, &str)] = &[
        (Unary::Exp, "r = f_exp4(v)", "r = exp(v)"),
        (Unary::Log, "r = f_log_any4(v)", "r = log(v)"),
        (Unary::Log1p, "r = f_log1p4(v)", "r = log(1.0 + v)"),
        (Unary::Expm1, "r = f_expm1_4(v)", "r = exp(v) - 1.0"),
        (Unary::Tanh, "r = f_tanh4(v)", "r = tanh(v)"),
    ];
    let ranges: &[(Unary, f32, f32)] = &[
        (Unary::Exp, -87.0, 88.0),
        (Unary::Exp, -1.0, 1.0),
        (Unary::Log, 1e-3, 1e3),
        (Unary::Log, 0.9, 1.1),
        (Unary::Log1p, -0.99, 30.0),
        (Unary::Log1p, -1e-3, 1e-3),
        (Unary::Expm1, -20.0, 20.0),
        (Unary::Expm1, -1e-3, 1e-3),
        (Unary::Tanh, -10.0, 10.0),
        (Unary::Tanh, -1e-3, 1e-3),
    ];
    let patched = |from, to| {
        let patch = Patch { shader: "unary", from, to };
        open(GpuConfig { patches: vec![patch], plan: Some(Plan::Cpu), ..config() })
    };
    let ours = &gpus()[0];
    println!("{}, {}", label(ours), ours.capabilities().driver);
    println!("function, range: builtin ulp, builtin absolute | our ulp, our absolute");
    for &(function, low, high) in ranges {
        let x = Inputs::new(1).uniform(low, high, 1_000_000);
        let want = cpu::forward(function, &wide(&x));
        let errors = |gpu: &Gpu| {
            let y = forward(gpu, function, &gpu.tensor(&x, [x.len()]).unwrap()).unwrap().read().unwrap();
            y.iter().zip(&want).fold((0f64, 0f64), |(ulp, absolute), (&y, &want)| {
                let error = (f64::from(y) - want).abs();
                let spacing = (want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() - 23.0).exp2();
                (ulp.max(error / spacing), absolute.max(error))
            })
        };
        let &(_, from, to) = builtins.iter().find(|row| row.0 == function).unwrap();
        let (before, after) = (errors(&patched(from, to)), errors(ours));
        println!("{function:?} [{low}, {high}]: {:.1}, {:.1e} | {:.1}, {:.1e}", before.0, before.1, after.0, after.1);
    }
    let affine = Unary::Affine { scale: 1.0, shift: 0.1 };
    let run = |to, x: &[f32]| {
        let gpu = patched("return select(r, v, is_nan4(v))", to);
        forward(&gpu, affine, &gpu.tensor(x, [x.len()]).unwrap()).unwrap().read().unwrap()
    };
    let x = Inputs::new(2).uniform(1.0, 1000.0, 10_000);
    let y = run("return (v + params.shift) - v", &x);
    let folded = y.iter().filter(|&&y| y == 0.1).count();
    let rounded = x.iter().filter(|&&x| (x + 0.1) - x == 0.1).count();
    println!("(x + y) - x equal to y in {folded} of {} cases; in correct f32 arithmetic {rounded}", x.len());
    let x = [f32::NAN, -f32::NAN, 1.0];
    println!("x != x for NaN, -NaN, 1: {:?}", run("return select(vec4<f32>(0.0), vec4<f32>(1.0), v != v)", &x));
    println!("is_nan for NaN, -NaN, 1: {:?}", run("return select(vec4<f32>(0.0), vec4<f32>(1.0), is_nan4(v))", &x));
}
