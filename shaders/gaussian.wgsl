// A draw from N(m, e^s) with its gradient, and the divergence from N(0, 1), row by row:
//   z = m + e^(s/2) eps,   kl = 1/2 sum_j (e^s + m^2 - 1 - s);
//   dm = dz + dkl m,   ds = 1/2 dz eps e^(s/2) + 1/2 dkl (e^s - 1).
// eps of element e is word pair e mod 2 of counter (e / 2, 0, 0, 4); it is made again in `backward`. LANES invocations own a row in
// `forward`, one owns an element in `backward`. `*_fours`: for rows that are a multiple of four, four at a time.
// NOISE: 0 for none, 1 for eps made from the key, 2 for eps that is bound.

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override NOISE: u32 = 1u;
#import reduce
#import random

struct Params { rows: u32, cols: u32, key_low: u32, key_high: u32 }

const STREAM: u32 = 4u;

@group(0) @binding(0) var<storage, read> mean: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> log_variance: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read> noise: array<f32>; // [rows, cols]
@group(0) @binding(3) var<storage, read_write> z: array<f32>; // [rows, cols]
@group(0) @binding(4) var<storage, read_write> divergence: array<f32>; // [rows]
@group(0) @binding(0) var<storage, read> mean4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> log_variance4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> noise4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> z4: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

fn words(pair: u32) -> vec4<u32> { return philox(vec4<u32>(pair, 0u, 0u, STREAM), vec2<u32>(params.key_low, params.key_high)); }

fn epsilon(e: u32) -> vec4<f32> {
  if (NOISE == 0u) { return vec4<f32>(0.0); }
  if (NOISE == 2u) { return vec4<f32>(noise[e]); }
  let r = words(e / 2u);
  return vec4<f32>(normal_from(select(r.z, r.x, e % 2u == 0u), select(r.w, r.y, e % 2u == 0u)));
}

// Of elements 4 i .. 4 i + 3.
fn epsilon4(i: u32) -> vec4<f32> {
  if (NOISE == 0u) { return vec4<f32>(0.0); }
  if (NOISE == 2u) { return noise4[i]; }
  let r = words(2u * i);
  let s = words(2u * i + 1u);
  return normal4_from(vec4<u32>(r.xz, s.xz), vec4<u32>(r.yw, s.yw));
}

fn draw(m: vec4<f32>, s: vec4<f32>, eps: vec4<f32>) -> vec4<f32> { return select(m + f_exp4(0.5 * s) * eps, s, is_nan4(s)); }

// Twice the divergence.
fn distance(m: vec4<f32>, s: vec4<f32>) -> vec4<f32> { return m * m + (f_expm1_4(s) - s); }

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  var sum = 0.0;
  for (var j = local.x; j < cols; j += LANES) {
    let m = vec4<f32>(mean[base + j]);
    let s = vec4<f32>(log_variance[base + j]);
    z[base + j] = draw(m, s, epsilon(base + j)).x;
    sum += distance(m, s).x;
  }
  let total = row_sum(sum, local);
  if (local.x == 0u && row < params.rows) { divergence[row] = 0.5 * total; }
}

@compute @workgroup_size(LANES * ROWS)
fn forward_fours(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let fours = select(0u, params.cols / 4u, row < params.rows);
  let base = row * (params.cols / 4u);
  var sums = vec4<f32>(0.0);
  for (var j = local.x; j < fours; j += LANES) {
    let m = mean4[base + j];
    let s = log_variance4[base + j];
    z4[base + j] = draw(m, s, epsilon4(base + j));
    sums += distance(m, s);
  }
  let total = row_sum(sum4(sums), local);
  if (local.x == 0u && row < params.rows) { divergence[row] = 0.5 * total; }
}

@group(0) @binding(3) var<storage, read> dz: array<f32>; // [rows, cols]
@group(0) @binding(4) var<storage, read> ddivergence: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> dmean: array<f32>; // [rows, cols]
@group(0) @binding(6) var<storage, read_write> dlog_variance: array<f32>; // [rows, cols]
@group(0) @binding(3) var<storage, read> dz4: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dmean4: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dlog_variance4: array<vec4<f32>>;

fn slope(s: vec4<f32>, eps: vec4<f32>, g: vec4<f32>, h: f32) -> vec4<f32> {
  return select(0.5 * (g * eps * f_exp4(0.5 * s) + h * f_expm1_4(s)), s, is_nan4(s));
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.cols) { return; }
  let g = dz[i];
  let h = ddivergence[i / params.cols];
  dmean[i] = g + h * mean[i];
  dlog_variance[i] = slope(vec4<f32>(log_variance[i]), epsilon(i), vec4<f32>(g), h).x;
}

@compute @workgroup_size(64)
fn backward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let fours = params.cols / 4u;
  if (i >= params.rows * fours) { return; }
  let g = dz4[i];
  let h = ddivergence[i / fours];
  dmean4[i] = g + h * mean4[i];
  dlog_variance4[i] = slope(log_variance4[i], epsilon4(i), g, h);
}
