// Negative log-likelihood of targets t in [0, 1] under Bernoulli logits l, summed along a row:
//   loss = sum_j max(l, 0) - l t + log(1 + e^-|l|),   dl = dloss (sigmoid(l) - t).
// LANES invocations own a row; in `backward` one owns an element.
#import reduce

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> logits: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> targets: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> loss: array<f32>; // [rows]
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  // Rows past the end go through the reductions with nothing in them.
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  var sum = 0.0;
  for (var j = local.x; j < cols; j += LANES) {
    let l = logits[base + j];
    sum += select(max(l, 0.0), l, is_nan(l)) - l * targets[base + j] + f_log1p(f_exp(-abs(l)));
  }
  let total = row_sum(sum, local);
  if (local.x == 0u && row < params.rows) { loss[row] = total; }
}

@group(0) @binding(2) var<storage, read> dloss: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>; // [rows, cols]

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.cols) { return; }
  dlogits[i] = dloss[i / params.cols] * (f_sigmoid(logits[i]) - targets[i]);
}
