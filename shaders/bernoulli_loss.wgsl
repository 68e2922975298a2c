// Negative log-likelihood of targets t in [0, 1] under Bernoulli logits l, summed along a row:
//   loss = sum_j max(l, 0) - l t + log(1 + e^-|l|),   dl = dloss (sigmoid(l) - t).
// LANES invocations own a row; in `backward` one owns an element. `*_fours`: for rows that are a multiple of four, four at a time.
#import reduce

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> logits: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> targets: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> loss: array<f32>; // [rows]
@group(1) @binding(0) var<uniform> params: Params;

fn costs(l: vec4<f32>, t: vec4<f32>) -> vec4<f32> {
  return select((max(l, vec4<f32>(0.0)) - l * t) + softplus_rest4(l), l, is_nan4(l));
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  // Rows past the end go through the reductions with nothing in them.
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  var sum = 0.0;
  for (var j = local.x; j < cols; j += LANES) { sum += costs(vec4<f32>(logits[base + j]), vec4<f32>(targets[base + j])).x; }
  let total = row_sum(sum, local);
  if (local.x == 0u && row < params.rows) { loss[row] = total; }
}

@group(0) @binding(0) var<storage, read> logits4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> targets4: array<vec4<f32>>;

@compute @workgroup_size(LANES * ROWS)
fn forward_fours(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let fours = select(0u, params.cols / 4u, row < params.rows);
  let base = row * (params.cols / 4u);
  var sums = vec4<f32>(0.0);
  for (var j = local.x; j < fours; j += LANES) { sums += costs(logits4[base + j], targets4[base + j]); }
  let total = row_sum(sum4(sums), local);
  if (local.x == 0u && row < params.rows) { loss[row] = total; }
}

@group(0) @binding(2) var<storage, read> dloss: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>; // [rows, cols]

@group(0) @binding(3) var<storage, read_write> dlogits4: array<vec4<f32>>;

fn gradient(l: vec4<f32>, t: vec4<f32>, row: u32) -> vec4<f32> {
  return dloss[row] * (select(f_sigmoid4(l), l, is_nan4(l)) - t);
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.cols) { return; }
  dlogits[i] = gradient(vec4<f32>(logits[i]), vec4<f32>(targets[i]), i / params.cols).x;
}

@compute @workgroup_size(64)
fn backward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let fours = params.cols / 4u;
  if (i >= params.rows * fours) { return; }
  dlogits4[i] = gradient(logits4[i], targets4[i], i / fours);
}
