// Cross-entropy of logits l with soft targets t (any non-negative row): with the largest logit m and s = sum_j e^(l - m),
//   loss = sum_j t_j (m + log s - l_j),   dl = dloss (softmax(l) sum_j t_j - t).
// A target of 0 contributes nothing, whatever its logit. LANES invocations own a row.
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
  var largest = minus_infinity();
  for (var j = local.x; j < cols; j += LANES) { largest = nan_max(largest, logits[base + j]); }
  largest = row_max(largest, local);
  var sum = 0.0;
  for (var j = local.x; j < cols; j += LANES) { sum += exp_below(logits[base + j], largest); }
  let log_sum = f_log(row_sum(sum, local));
  var cost = 0.0;
  for (var j = local.x; j < cols; j += LANES) {
    let t = targets[base + j];
    if (t != 0.0 || is_nan(t)) { cost += t * (log_sum - (logits[base + j] - largest)); }
  }
  let total = row_sum(cost, local);
  if (local.x == 0u && row < params.rows) { loss[row] = total; }
}

// e^(l - largest), also where the largest is infinite: a difference of infinities is folded to 0 by drivers.
fn exp_below(l: f32, largest: f32) -> f32 {
  if (l == largest) { return 1.0; }
  return f_exp(l - largest);
}

@group(0) @binding(2) var<storage, read> dloss: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>; // [rows, cols]

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  var largest = minus_infinity();
  for (var j = local.x; j < cols; j += LANES) { largest = nan_max(largest, logits[base + j]); }
  largest = row_max(largest, local);
  var sum = 0.0;
  var mass = 0.0;
  for (var j = local.x; j < cols; j += LANES) {
    sum += exp_below(logits[base + j], largest);
    mass += targets[base + j];
  }
  let total = row_sum(sum, local);
  mass = row_sum(mass, local);
  for (var j = local.x; j < cols; j += LANES) {
    dlogits[base + j] = dloss[row] * (exp_below(logits[base + j], largest) / total * mass - targets[base + j]);
  }
}
