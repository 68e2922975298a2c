// A draw from N(m, e^s) with its gradient, and the divergence from N(0, 1), row by row:
//   z = m + e^(s/2) eps,   kl = 1/2 sum_j (e^s + m^2 - 1 - s);
//   dm = dz + dkl m,   ds = 1/2 dz eps e^(s/2) + 1/2 dkl (e^s - 1).
// eps of element e is word pair e mod 2 of counter (e / 2, 0, 0, 4); it is made again in `backward`. LANES invocations own a row in
// `forward`, one owns an element in `backward`. NOISE: 0 for none, 1 for eps made from the key, 2 for eps that is bound.

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
@group(1) @binding(0) var<uniform> params: Params;

fn epsilon(e: u32) -> f32 {
  if (NOISE == 0u) { return 0.0; }
  if (NOISE == 2u) { return noise[e]; }
  let r = philox(vec4<u32>(e / 2u, 0u, 0u, STREAM), vec2<u32>(params.key_low, params.key_high));
  if (e % 2u == 0u) { return normal_from(r.x, r.y); }
  return normal_from(r.z, r.w);
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  var sum = 0.0;
  for (var j = local.x; j < cols; j += LANES) {
    let m = mean[base + j];
    let s = log_variance[base + j];
    z[base + j] = m + f_exp(0.5 * s) * epsilon(base + j);
    sum += m * m + (f_expm1(s) - s);
  }
  let total = row_sum(sum, local);
  if (local.x == 0u && row < params.rows) { divergence[row] = 0.5 * total; }
}

@group(0) @binding(3) var<storage, read> dz: array<f32>; // [rows, cols]
@group(0) @binding(4) var<storage, read> ddivergence: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> dmean: array<f32>; // [rows, cols]
@group(0) @binding(6) var<storage, read_write> dlog_variance: array<f32>; // [rows, cols]

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.cols) { return; }
  let s = log_variance[i];
  let g = dz[i];
  let h = ddivergence[i / params.cols];
  dmean[i] = g + h * mean[i];
  dlog_variance[i] = 0.5 * (g * epsilon(i) * f_exp(0.5 * s) + h * f_expm1(s));
}
