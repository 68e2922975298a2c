// Losses of logits l with soft labels y, p = softmax(l), y at least 1e-8 (KIND 0: reverse cross-entropy, 1: collision cross-entropy):
//   0: loss = sum_j p_j c_j, c = -log y,   dl = dloss p (c - sum p c);   1: loss = -log sum_j p_j y_j,   dl = dloss p (1 - y / sum p y).
// LANES invocations own a row; lane l owns fours l, l + LANES ...

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override KIND: u32 = 0u;
#import reduce
#import online

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> logits: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> targets: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> loss: array<f32>; // [rows]
@group(1) @binding(0) var<uniform> params: Params;

fn logits4(base: u32, end: u32, c: u32) -> vec4<f32> {
  let at = places4(base, end, c);
  return select(vec4<f32>(minus_infinity()), vec4<f32>(logits[at.x], logits[at.y], logits[at.z], logits[at.w]), inside4(end, c));
}

// c or y of the labels, by KIND.
fn weights4(base: u32, end: u32, c: u32) -> vec4<f32> {
  let at = places4(base, end, c);
  let y = nan_max4(vec4<f32>(targets[at.x], targets[at.y], targets[at.z], targets[at.w]), vec4<f32>(1e-8));
  if (KIND == 0u) { return select(-f_log4(y), y, is_nan4(y)); }
  return y;
}

// The largest logit, the sum of exponentials below it, and the mean weight under the softmax.
fn walk(base: u32, end: u32, local: vec2<u32>) -> vec3<f32> {
  var highs = vec4<f32>(minus_infinity());
  for (var c = 4u * local.x; c < end; c += 4u * LANES) { highs = nan_max4(highs, logits4(base, end, c)); }
  let high = row_max(max4(highs), local);
  var sums = vec4<f32>(0.0);
  var costs = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    let p = select(vec4<f32>(0.0), exp_below4(logits4(base, end, c), vec4<f32>(high), 1.0), inside4(end, c));
    sums += p;
    costs += p * weights4(base, end, c);
  }
  let sum = row_sum(sum4(sums), local);
  return vec3<f32>(high, sum, row_sum(sum4(costs), local) / sum);
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cost = walk(row * params.cols, select(0u, params.cols, row < params.rows), local).z;
  if (local.x == 0u && row < params.rows) {
    if (KIND == 0u) { loss[row] = cost; } else { loss[row] = -f_log(cost); }
  }
}

@group(0) @binding(2) var<storage, read> dloss: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>; // [rows, cols]

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = row * params.cols;
  let end = select(0u, params.cols, row < params.rows);
  let walked = walk(base, end, local);
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    let p = exp_below4(logits4(base, end, c), vec4<f32>(walked.x), 1.0) / walked.y;
    var d = weights4(base, end, c) - walked.z;
    if (KIND == 1u) { d = -d / walked.z; }
    d = dloss[row] * p * d;
    dlogits[base + c] = d.x;
    if (c + 1u < end) { dlogits[base + c + 1u] = d.y; }
    if (c + 2u < end) { dlogits[base + c + 2u] = d.z; }
    if (c + 3u < end) { dlogits[base + c + 3u] = d.w; }
  }
}
