// Pictures of a square, an ellipse or a heart, from five factors: shape (3), scale (6), angle (40), column (32) and row (32).
// The sprite lies in a circle of radius R = 0.15 (0.5 + 0.1 scale) about (0.2, 0.2) + 0.6 (column, row) / 31, in sides of the picture, turned
// by angle / 40 of a full turn. With v the place of a pixel's centre in the sprite's frame, in units of R, and d(v) its distance from the
// outline (exact for the square, f / |grad f| of the implicit curve f for the others), the pixel is clamp(1/2 - d R side, 0, 1). A class that
// does not exist gives NaN. One invocation owns a pixel, or four where a side is a multiple of four.
#import angle
#import index

struct Params { rows: u32, side: u32 }

const STEP: f32 = 0.15707963; // 2 pi / 40
const HALF: f32 = 0.70710678; // half a side of the square

@group(0) @binding(0) var<storage, read> factors: array<u32>; // [rows, 5]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [rows, side * side]
@group(0) @binding(1) var<storage, read_write> y4: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

// By way of a run-time value: constant expressions may not hold it.
fn nan() -> f32 { let bits = 0x7fc00000u; return bitcast<f32>(bits); }

struct Sprite { shape: u32, radius: f32, turn: vec2<f32>, center: vec2<f32>, exists: bool }

fn sprite_of(row: u32) -> Sprite {
  let at = 5u * row;
  let radius = 0.15 * (0.5 + 0.1 * f32(factors[at + 1u]));
  // A tenth of a turn at a time, of a quarter: at most half of it is asked of the series.
  let angle = factors[at + 2u];
  let steps = angle % 10u;
  let near = STEP * f32(min(steps, 10u - steps));
  let first = select(vec2<f32>(sine(near), cosine(near)), vec2<f32>(cosine(near), sine(near)), steps <= 5u);
  var turn = first;
  switch (angle / 10u) {
    case 1u: { turn = vec2<f32>(-first.y, first.x); }
    case 2u: { turn = -first; }
    case 3u: { turn = vec2<f32>(first.y, -first.x); }
    default: {}
  }
  let center = 0.2 + 0.6 / 31.0 * vec2<f32>(f32(factors[at + 3u]), f32(factors[at + 4u]));
  let exists = factors[at] < 3u && factors[at + 1u] < 6u && angle < 40u && factors[at + 3u] < 32u && factors[at + 4u] < 32u;
  return Sprite(factors[at], radius, turn, center, exists);
}

fn square(v: vec2<f32>) -> f32 {
  let d = abs(v) - HALF;
  return length(max(d, vec2<f32>(0.0))) + min(max(d.x, d.y), 0.0);
}

// Semi-axes 1 and 1/2.
fn ellipse(v: vec2<f32>) -> f32 {
  let gradient = length(vec2<f32>(2.0 * v.x, 8.0 * v.y));
  return (v.x * v.x + 4.0 * v.y * v.y - 1.0) / max(gradient, 0.5);
}

// (x^2 + y^2 - 1)^3 = x^2 y^3 in units of 4/5, point down.
fn heart(v: vec2<f32>) -> f32 {
  let q = 1.25 * vec2<f32>(v.x, -v.y);
  let u = dot(q, q) - 1.0;
  let cube = q.y * q.y * q.y;
  let gradient = length(vec2<f32>(6.0 * q.x * u * u - 2.0 * q.x * cube, 6.0 * q.y * u * u - 3.0 * q.x * q.x * q.y * q.y));
  return 0.8 * (u * u * u - q.x * q.x * cube) / max(gradient, 0.5);
}

fn pixel(sprite: Sprite, column: u32, row: u32) -> f32 {
  let side = f32(params.side);
  let offset = ((vec2<f32>(f32(column), f32(row)) + 0.5) / side - sprite.center) / sprite.radius;
  // Turned back into the sprite's frame.
  let v = vec2<f32>(
    sprite.turn.x * offset.x + sprite.turn.y * offset.y, sprite.turn.x * offset.y - sprite.turn.y * offset.x
  );
  // Beyond this all shapes are far away, and the heart's polynomial grows with the sixth power.
  let near = clamp(v, vec2<f32>(-2.0), vec2<f32>(2.0));
  var distance = heart(near);
  if (sprite.shape == 0u) { distance = square(near); }
  if (sprite.shape == 1u) { distance = ellipse(near); }
  let cover = clamp(0.5 - distance * sprite.radius * side, 0.0, 1.0);
  return select(nan(), cover, sprite.exists);
}

@compute @workgroup_size(64)
fn forward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let fours = params.side / 4u;
  if (i >= params.rows * params.side * fours) { return; }
  let line = i / fours;
  let column = 4u * (i - line * fours);
  let row = line % params.side;
  let sprite = sprite_of(line / params.side);
  y4[i] = vec4<f32>(
    pixel(sprite, column, row), pixel(sprite, column + 1u, row), pixel(sprite, column + 2u, row), pixel(sprite, column + 3u, row)
  );
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.side * params.side) { return; }
  let line = i / params.side;
  y[i] = pixel(sprite_of(line / params.side), i - line * params.side, line % params.side);
}
