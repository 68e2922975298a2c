// lse[r] = log Σ_c exp(x[r, c]), the row's largest value taken out; backward dx[r, c] = dlse[r] exp(x[r, c] - lse[r]).
// Forward: LANES invocations share a row, lane l owns columns l, l + LANES ... Backward: one invocation owns one element.
#import index
#import math
#import reduce

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

// v - high, and 0 for equal infinities.
fn below(v: f32, high: f32) -> f32 { return select(v - high, 0.0, v == high); }

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = row * params.cols;
  let end = select(0u, params.cols, row < params.rows);
  var high = minus_infinity();
  for (var c = local.x; c < end; c += LANES) { high = nan_max(high, x[base + c]); }
  high = row_max(high, local);
  var sum = 0.0;
  for (var c = local.x; c < end; c += LANES) { sum += f_exp(below(x[base + c], high)); }
  sum = row_sum(sum, local);
  if (local.x == 0u && row < params.rows) { lse[row] = high + f_log(sum); }
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
  dx[i] = select(dlse[row] * f_exp(below(x[i], total)), 0.0, total == minus_infinity());
}
