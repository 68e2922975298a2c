// Draws from the law softmax(x) of each row: with s[c] = x[c] - max x + g[c], g of the Gumbel law,
//   forward  y[c] = exp(s[c] / T) / Σ exp(s / T);  backward  dx = y (dy - Σ y dy) / T;  sample  argmax s;  hard  its one-hot row.
// g of element e = row cols + c is word e mod 4 of counter (e / 4, 0, 0, 3), made again wherever it is needed. LANES invocations share
// a row; lane l owns columns l, l + LANES ... NOISE: g is bound instead of made.

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override NOISE: bool = false;
#import reduce
#import random

struct Params { rows: u32, cols: u32, temperature: f32, key_low: u32, key_high: u32 }

const STREAM: u32 = 3u;

@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> noise: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, cols]
@group(1) @binding(0) var<uniform> params: Params;

struct Row { at: u32, base: u32, end: u32 }

fn row_of(local: vec3<u32>, group: vec3<u32>, groups: vec3<u32>) -> Row {
  let at = linear_group(group, groups) * ROWS + local.y;
  return Row(at, at * params.cols, select(0u, params.cols, at < params.rows));
}

fn gumbel(e: u32) -> f32 {
  if (NOISE) { return noise[e]; }
  let words = philox(vec4<u32>(e / 4u, 0u, 0u, STREAM), vec2<u32>(params.key_low, params.key_high));
  return gumbel_from(words[e % 4u]);
}

// v - high, and 0 for equal infinities.
fn below(v: f32, high: f32) -> f32 { return select(v - high, 0.0, v == high); }

// s of one element; -inf where the law has no mass; of a row with NaN only the NaN itself is one.
fn score(e: u32, high: f32) -> f32 {
  let v = x[e];
  if (is_nan(high)) { return select(0.0, v, is_nan(v)); }
  let d = below(v, high);
  if (v == minus_infinity() || d == minus_infinity()) { return minus_infinity(); }
  return d + gumbel(e);
}

fn largest(row: Row, local: vec3<u32>) -> f32 {
  var high = minus_infinity();
  for (var c = local.x; c < row.end; c += LANES) { high = nan_max(high, x[row.base + c]); }
  return row_max(high, local);
}

@compute @workgroup_size(LANES, ROWS)
fn forward(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(local, group, groups);
  let high = largest(row, local);
  var top = minus_infinity();
  for (var c = local.x; c < row.end; c += LANES) {
    let s = score(row.base + c, high);
    y[row.base + c] = s;
    top = nan_max(top, s);
  }
  top = row_max(top, local);
  var sum = 0.0;
  for (var c = local.x; c < row.end; c += LANES) {
    let e = f_exp(below(y[row.base + c], top) / params.temperature);
    y[row.base + c] = e;
    sum += e;
  }
  sum = row_sum(sum, local);
  let nothing = top == minus_infinity();
  for (var c = local.x; c < row.end; c += LANES) { y[row.base + c] = select(y[row.base + c] / sum, 0.0, nothing); }
}

struct Choice { at: u32, score: f32 }

fn choose(row: Row, local: vec3<u32>) -> Choice {
  let high = largest(row, local);
  var best = Choice(params.cols, minus_infinity());
  for (var c = local.x; c < row.end; c += LANES) {
    let s = score(row.base + c, high);
    if (comes_first(s, c, best.score, best.at)) { best = Choice(c, s); }
  }
  let top = row_max(best.score, local);
  let first = row_argmax(best.score, best.at, local);
  return Choice(select(first, params.cols, top == minus_infinity()), top);
}

@compute @workgroup_size(LANES, ROWS)
fn hard(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(local, group, groups);
  let choice = choose(row, local);
  for (var c = local.x; c < row.end; c += LANES) {
    y[row.base + c] = select(select(0.0, 1.0, c == choice.at), choice.score, is_nan(choice.score));
  }
}

@group(0) @binding(2) var<storage, read_write> index: array<u32>; // [rows]

@compute @workgroup_size(LANES, ROWS)
fn sample(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(local, group, groups);
  let choice = choose(row, local);
  if (local.x == 0u && row.at < params.rows) { index[row.at] = choice.at; }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>; // [rows, cols]
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // [rows, cols]

@compute @workgroup_size(LANES, ROWS)
fn backward(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(local, group, groups);
  let high = largest(row, local);
  var top = minus_infinity();
  for (var c = local.x; c < row.end; c += LANES) {
    let s = score(row.base + c, high);
    dx[row.base + c] = s;
    top = nan_max(top, s);
  }
  top = row_max(top, local);
  var sum = 0.0;
  var dot = 0.0;
  for (var c = local.x; c < row.end; c += LANES) {
    let e = f_exp(below(dx[row.base + c], top) / params.temperature);
    dx[row.base + c] = e;
    sum += e;
    dot += e * dy[row.base + c];
  }
  sum = row_sum(sum, local);
  dot = row_sum(dot, local) / sum;
  let nothing = top == minus_infinity();
  for (var c = local.x; c < row.end; c += LANES) {
    let p = dx[row.base + c] / sum;
    dx[row.base + c] = select(p * (dy[row.base + c] - dot) / params.temperature, 0.0, nothing);
  }
}
