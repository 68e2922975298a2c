// lse[r] = log Σ_c exp(x[r, c]), the row's largest value taken out; backward dx[r, c] = dlse[r] exp(x[r, c] - lse[r]).
// Forward: LANES invocations share a row, lane l owns fours l, l + LANES ... Backward: one invocation owns one element.
#import index
#import math
#import reduce
#import online

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

fn load4(base: u32, end: u32, c: u32) -> vec4<f32> {
  let at = places4(base, end, c);
  return select(vec4<f32>(minus_infinity()), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside4(end, c));
}

fn finish(part: Running, row: u32, local: vec2<u32>) {
  let high = row_max(max4(part.high), local);
  let sum = row_sum(sum_below(part, high, 1.0), local);
  if (local.x == 0u && row < params.rows) { lse[row] = high + f_log(sum); }
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = row * params.cols;
  let end = select(0u, params.cols, row < params.rows);
  var part = nothing_yet();
  let step = 4u * LANES;
  for (var c = 4u * local.x; c < end; c += 4u * step) {
    part = absorb(part, load4(base, end, c), load4(base, end, c + step), load4(base, end, c + 2u * step), load4(base, end, c + 3u * step), 1.0);
  }
  finish(part, row, local);
}

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;

fn load_four(base: u32, end: u32, c: u32) -> vec4<f32> { return select(vec4<f32>(minus_infinity()), x4[(base + min(c, end - 4u)) / 4u], c < end); }

// As `forward`, for rows of whole fours.
@compute @workgroup_size(LANES * ROWS)
fn forward_fours(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = row * params.cols;
  let end = select(0u, params.cols, row < params.rows);
  var part = nothing_yet();
  let step = 4u * LANES;
  for (var c = 4u * local.x; c < end; c += 4u * step) {
    part = absorb(part, load_four(base, end, c), load_four(base, end, c + step), load_four(base, end, c + 2u * step), load_four(base, end, c + 3u * step), 1.0);
  }
  finish(part, row, local);
}

@group(0) @binding(1) var<storage, read> known_lse: array<f32>;
@group(0) @binding(2) var<storage, read> dlse: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.cols) { return; }
  let row = i / params.cols;
  let total = known_lse[row];
  dx[i] = select(dlse[row] * f_exp(select(x[i] - total, 0.0, x[i] == total)), 0.0, total == minus_infinity());
}
