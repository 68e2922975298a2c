// The largest value of a row and the sum of exponentials below it in one pass, as four running pairs. Blocks of sixteen, so that four
// loads are on their way at once and four exponentials rescale sixteen.
#import math
#import fours

struct Running { high: vec4<f32>, sum: vec4<f32> }

fn nothing_yet() -> Running { return Running(vec4<f32>(minus_infinity()), vec4<f32>(0.0)); }

// (v - high) / temperature, and 0 for equal infinities.
fn below4(v: vec4<f32>, high: vec4<f32>, temperature: f32) -> vec4<f32> {
  return select((v - high) / temperature, vec4<f32>(0.0), v == high);
}

fn exp_below4(v: vec4<f32>, high: vec4<f32>, temperature: f32) -> vec4<f32> {
  let difference = below4(v, high, temperature);
  return select(f_exp4(difference), difference, is_nan4(difference));
}

fn absorb(old: Running, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>, temperature: f32) -> Running {
  let high = nan_max4(old.high, nan_max4(nan_max4(v0, v1), nan_max4(v2, v3)));
  let first = exp_below4(v0, high, temperature) + exp_below4(v1, high, temperature);
  let last = exp_below4(v2, high, temperature) + exp_below4(v3, high, temperature);
  return Running(high, old.sum * exp_below4(old.high, high, temperature) + (first + last));
}

// Of all four, below the row's largest.
fn sum_below(part: Running, high: f32, temperature: f32) -> f32 {
  return sum4(part.sum * exp_below4(part.high, vec4<f32>(high), temperature));
}
