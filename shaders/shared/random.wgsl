// Philox4x32-10 (Salmon et al. 2011) and what is made of its bits. Counter = (element, element high, draw, stream of the op), key = the
// caller's 64 bits: nothing depends on workgroups, batch splits or adapters. WGSL has no high multiply: 16-bit halves.
#import math

fn mul_hi(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu; let ah = a >> 16u;
  let bl = b & 0xffffu; let bh = b >> 16u;
  let low = al * bl;
  let mid = ah * bl + (low >> 16u);
  let cross = al * bh + (mid & 0xffffu);
  return ah * bh + (mid >> 16u) + (cross >> 16u);
}

fn philox_round(c: vec4<u32>, k: vec2<u32>) -> vec4<u32> {
  return vec4<u32>(mul_hi(0xCD9E8D57u, c.z) ^ c.y ^ k.x, 0xCD9E8D57u * c.z, mul_hi(0xD2511F53u, c.x) ^ c.w ^ k.y, 0xD2511F53u * c.x);
}

// Without a loop: on software adapters a turn costs as much as half a round.
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
  let weyl = vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
  var c = philox_round(counter, key);
  c = philox_round(c, key + weyl);
  c = philox_round(c, key + 2u * weyl);
  c = philox_round(c, key + 3u * weyl);
  c = philox_round(c, key + 4u * weyl);
  c = philox_round(c, key + 5u * weyl);
  c = philox_round(c, key + 6u * weyl);
  c = philox_round(c, key + 7u * weyl);
  c = philox_round(c, key + 8u * weyl);
  return philox_round(c, key + 9u * weyl);
}

// [0, 1), a multiple of 2^-24.
fn uniform_from(bits: u32) -> f32 { return f32(bits >> 8u) * 5.9604644775390625e-8; }

// Exp(1) = -log(u) with u = (bits + 1/2) 2^-32; near 1 by the complement, so that values down to 2^-33 occur. One polynomial for both.
fn exponential4_from(bits: vec4<u32>) -> vec4<f32> {
  let high = bits > vec4<u32>(0xb8000000u); // u above 0.72
  let x = (vec4<f32>(select(bits, ~bits, high)) + 0.5) * 2.3283064365386963e-10;
  let word = bitcast<vec4<u32>>(x);
  let m = bitcast<vec4<f32>>((word & vec4<u32>(0x007fffffu)) | vec4<u32>(0x3f000000u));
  let small = m < vec4<f32>(0.70710678);
  let z = select(select(m, m + m, small) - 1.0, -x, high);
  let exponent = select(vec4<f32>(vec4<i32>(word >> vec4<u32>(23u)) - select(vec4<i32>(126), vec4<i32>(127), small)), vec4<f32>(0.0), high);
  return -log_near4(z, exponent);
}

fn exponential_from(bits: u32) -> f32 { return exponential4_from(vec4<u32>(bits)).x; }

// Gumbel(0, 1) = -log(Exp(1)), from -3.13 to 22.9.
fn gumbel4_from(bits: vec4<u32>) -> vec4<f32> { return -f_log4(exponential4_from(bits)); }

fn gumbel_from(bits: u32) -> f32 { return gumbel4_from(vec4<u32>(bits)).x; }

// N(0, 1) by Box and Muller; the angle is a quarter turn by its top bits and a polynomial within it.
fn normal4_from(a: vec4<u32>, b: vec4<u32>) -> vec4<f32> {
  let x = vec4<f32>(b & vec4<u32>(0x3fffffffu)) * (1.5707963267948966 / 1073741824.0);
  let z = x * x;
  let s = x * (1.0 + z * (-1.6666667e-1 + z * (8.3333333e-3 + z * (-1.9841270e-4 + z * (2.7557319e-6 + z * (-2.5052108e-8 + z * 1.6059044e-10))))));
  let c = 1.0 + z * (-0.5 + z * (4.1666667e-2 + z * (-1.3888889e-3 + z * (2.4801587e-5 + z * (-2.7557319e-7 + z * 2.0876757e-9)))));
  let quarter = b >> vec4<u32>(30u);
  var cosine = select(c, s, (quarter & vec4<u32>(1u)) == vec4<u32>(1u));
  cosine = select(cosine, -cosine, (quarter == vec4<u32>(1u)) | (quarter == vec4<u32>(2u)));
  return sqrt(2.0 * exponential4_from(a)) * cosine;
}

fn normal_from(a: u32, b: u32) -> f32 { return normal4_from(vec4<u32>(a), vec4<u32>(b)).x; }
