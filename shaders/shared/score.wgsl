// The score of an element, x - max x + g, with g of the Gumbel law: of four at a time. Element c of a row has word c mod 4 of counter
// (c / 4, row, 0, 3), made again wherever it is needed: what is drawn with the same key agrees, whatever draws it.
#import fours
#import math
#import random

override NOISE: u32 = 1u; // 0: none, 1: from the key, 2: given

const STREAM: u32 = 3u;

// The noise of elements c .. c + 3 of a row.
fn made4(c: u32, at: u32, key: vec2<u32>) -> vec4<f32> { return gumbel4_from(philox(vec4<u32>(c / 4u, at, 0u, STREAM), key)); }

// Given the largest element of the row: -inf where the law has no mass; of a row with NaN only the NaN itself is one.
fn score_of4(v: vec4<f32>, high: f32, noise: vec4<f32>) -> vec4<f32> {
  let below = select(v - high, vec4<f32>(0.0), v == vec4<f32>(high));
  let none = (v == vec4<f32>(minus_infinity())) | (below == vec4<f32>(minus_infinity()));
  if (is_nan(high)) { return select(select(vec4<f32>(0.0), v, is_nan4(v)), vec4<f32>(minus_infinity()), none); }
  return select(below + noise, vec4<f32>(minus_infinity()), none);
}
