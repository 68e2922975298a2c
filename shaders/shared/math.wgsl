// exp, expm1, log, log1p, tanh, sigmoid and softplus in f32, within a few ulp on every driver: builtins are only absolutely accurate in
// places (docs/numerics.md). Cephes coefficients. No step relies on (a + b) - a surviving: drivers fold it.
// NaN propagates, tested by bits: `x != x` is compiled to an ordered comparison. Forms of four numbers hide it unless they say otherwise:
// callers look for it themselves.
#import fours

fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u; }

// -inf, by way of a run-time value: constant expressions may not hold it.
fn minus_infinity() -> f32 { let bits = 0xff800000u; return bitcast<f32>(bits); }

// Of four numbers at a time: software adapters wait for one long chain of operations, and do four in the time of one. The compiler leaves
// out what nobody reads, so that one number costs no more.

fn pow2i4(n: vec4<i32>) -> vec4<f32> { return bitcast<vec4<f32>>(vec4<u32>(clamp(n, vec4<i32>(-126), vec4<i32>(127)) + 127) << vec4<u32>(23u)); }

fn pow2i(n: i32) -> f32 { return pow2i4(vec4<i32>(n)).x; }

fn exp_poly4(r: vec4<f32>) -> vec4<f32> { // exp(r) - 1 for |r| < 0.35
  return (((((1.9875691500e-4 * r + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r + 1.6666665459e-1) * r + 5.0000001201e-1) * r * r + r;
}

fn exp_poly(r: f32) -> f32 { return exp_poly4(vec4<f32>(r)).x; }

fn f_exp4(x0: vec4<f32>) -> vec4<f32> {
  let x = clamp(x0, vec4<f32>(-104.0), vec4<f32>(89.0));
  let n = floor(x * 1.44269504 + 0.5);
  let r = (x - n * 0.693359375) + n * 2.12194440e-4;
  let i = vec4<i32>(n);
  let h = i / 2;
  return (exp_poly4(r) + 1.0) * pow2i4(h) * pow2i4(i - h);
}

fn f_exp(x: f32) -> f32 { return select(f_exp4(vec4<f32>(x)).x, x, is_nan(x)); }

fn f_expm1_4(x: vec4<f32>) -> vec4<f32> {
  return select(f_exp4(x) - 1.0, exp_poly4(x), abs(x) < vec4<f32>(0.35));
}

fn f_expm1(x: f32) -> f32 { return select(f_expm1_4(vec4<f32>(x)).x, x, is_nan(x)); }

fn log_poly4(z: vec4<f32>) -> vec4<f32> { // log(1 + z) - z + z * z / 2 for |z| < 0.42
  return ((((((((7.0376836292e-2 * z - 1.1514610310e-1) * z + 1.1676998740e-1) * z - 1.2420140846e-1) * z + 1.4249322787e-1) * z - 1.6668057665e-1) * z + 2.0000714765e-1) * z - 2.4999993993e-1) * z + 3.3333331174e-1) * z * z * z;
}

// log(1 + z) + fe log 2 for |z| < 0.42.
fn log_near4(z: vec4<f32>, fe: vec4<f32>) -> vec4<f32> {
  return (z + ((log_poly4(z) + fe * -2.12194440e-4) - 0.5 * z * z)) + fe * 0.693359375;
}

// Of numbers m 2^exponent, m in [0.5, 1) by its bits.
fn log_of_parts(mantissa: vec4<f32>, exponent: vec4<i32>) -> vec4<f32> {
  let small = mantissa < vec4<f32>(0.70710678);
  let z = select(mantissa, mantissa + mantissa, small) - 1.0;
  return log_near4(z, vec4<f32>(exponent - select(vec4<i32>(0), vec4<i32>(1), small)));
}

// Of positive numbers that are normal and finite.
fn f_log4(x: vec4<f32>) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(x);
  let mantissa = bitcast<vec4<f32>>((bits & vec4<u32>(0x007fffffu)) | vec4<u32>(0x3f000000u));
  return log_of_parts(mantissa, vec4<i32>(bits >> vec4<u32>(23u)) - 126);
}

// Of any numbers, NaN included.
fn f_log_any4(x: vec4<f32>) -> vec4<f32> {
  let original = bitcast<vec4<u32>>(x);
  // Subnormals: the mantissa as an integer, times 2^-149.
  let subnormal = original < vec4<u32>(0x00800000u);
  let bits = select(original, bitcast<vec4<u32>>(vec4<f32>(original)), subnormal);
  let mantissa = bitcast<vec4<f32>>((bits & vec4<u32>(0x007fffffu)) | vec4<u32>(0x3f000000u));
  let exponent = vec4<i32>(bits >> vec4<u32>(23u)) - select(vec4<i32>(126), vec4<i32>(126 + 149), subnormal);
  let nan = 0x7fc00000u;
  var r = select(log_of_parts(mantissa, exponent), x, original >= vec4<u32>(0x7f800000u));
  r = select(r, vec4<f32>(bitcast<f32>(nan)), original > vec4<u32>(0x80000000u));
  return select(r, vec4<f32>(minus_infinity()), (original & vec4<u32>(0x7fffffffu)) == vec4<u32>(0u));
}

fn f_log(x: f32) -> f32 { return f_log_any4(vec4<f32>(x)).x; }

// Of any numbers, NaN included.
fn f_log1p4(x: vec4<f32>) -> vec4<f32> {
  return select(f_log_any4(1.0 + x), log_near4(x, vec4<f32>(0.0)), (x > vec4<f32>(-0.29)) & (x < vec4<f32>(0.41)));
}

fn f_log1p(x: f32) -> f32 { return f_log1p4(vec4<f32>(x)).x; }

fn f_tanh4(x: vec4<f32>) -> vec4<f32> {
  let a = min(abs(x), vec4<f32>(10.0));
  let z = x * x;
  let small = ((((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z - 3.33332819422e-1) * z * x + x;
  let large = 1.0 - 2.0 / (f_exp4(2.0 * a) + 1.0);
  return select(select(large, -large, x < vec4<f32>(0.0)), small, a < vec4<f32>(0.625));
}

fn f_tanh(x: f32) -> f32 { return select(f_tanh4(vec4<f32>(x)).x, x, is_nan(x)); }

fn f_sigmoid4(x: vec4<f32>) -> vec4<f32> {
  let e = f_exp4(-abs(x));
  return select(vec4<f32>(1.0), e, x < vec4<f32>(0.0)) / (1.0 + e);
}

fn f_sigmoid(x: f32) -> f32 { return select(f_sigmoid4(vec4<f32>(x)).x, x, is_nan(x)); }

// log(1 + e^-|x|): between 1 and 2 a logarithm needs one polynomial.
fn softplus_rest4(x: vec4<f32>) -> vec4<f32> {
  let e = f_exp4(-abs(x));
  let high = e > vec4<f32>(0.41421356);
  return log_near4(select(e, 0.5 * e - 0.5, high), select(vec4<f32>(0.0), vec4<f32>(1.0), high));
}

fn f_softplus4(x: vec4<f32>) -> vec4<f32> { return max(x, vec4<f32>(0.0)) + softplus_rest4(x); } // log(1 + e^x)

fn f_softplus(x: f32) -> f32 { return select(f_softplus4(vec4<f32>(x)).x, x, is_nan(x)); }
