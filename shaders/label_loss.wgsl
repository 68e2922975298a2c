// Losses of logits l with soft labels y, p = softmax(l), y at least 1e-8 (KIND 0: reverse cross-entropy, 1: collision cross-entropy):
//   0: loss = sum_j p_j c_j, c = -log y,   dl = dloss p (c - sum p c);   1: loss = -log sum_j p_j y_j,   dl = dloss p (1 - y / sum p y).
// LANES invocations own a row; lane l owns fours l, l + LANES ... `*_fours`: for rows that are a multiple of four.

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override KIND: u32 = 0u;
#import reduce

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> logits: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> targets: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> loss: array<f32>; // [rows]
@group(0) @binding(0) var<storage, read> logits4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> targets4: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

// Of a part of a row: the largest logit, sum e^(l - high), and sum e^(l - high) w.
struct Part { high: f32, sum: f32, cost: f32 }

// e^(l - high), also where both are infinite: a difference of infinities is folded to 0 by drivers.
fn exp_below4(l: vec4<f32>, high: f32) -> vec4<f32> { return select(f_exp4(l - high), vec4<f32>(1.0), l == vec4<f32>(high)); }

// The same part below a larger logit.
fn below(part: Part, high: f32) -> Part {
  let scale = f_exp(select(part.high - high, 0.0, high == part.high));
  return Part(high, part.sum * scale, part.cost * scale);
}

// What a softmax is weighed with, by KIND: c or y of the labels.
fn weights4(labels: vec4<f32>) -> vec4<f32> {
  let y = nan_max4(labels, vec4<f32>(1e-8));
  if (KIND == 0u) { return select(-f_log4(y), y, is_nan4(y)); }
  return y;
}

fn add4(part: Part, l: vec4<f32>, t: vec4<f32>, inside: vec4<bool>) -> Part {
  let high = nan_max(part.high, max4(select(vec4<f32>(minus_infinity()), l, inside)));
  let old = below(part, high);
  let p = select(vec4<f32>(0.0), exp_below4(l, high), inside);
  return Part(high, old.sum + sum4(p), old.cost + sum4(p * weights4(t)));
}

fn load4(at: vec4<u32>) -> vec4<f32> { return vec4<f32>(logits[at.x], logits[at.y], logits[at.z], logits[at.w]); }

fn target4(at: vec4<u32>) -> vec4<f32> { return vec4<f32>(targets[at.x], targets[at.y], targets[at.z], targets[at.w]); }

fn part_of_row(base: u32, cols: u32, lane: u32) -> Part {
  var part = Part(minus_infinity(), 0.0, 0.0);
  for (var c = 4u * lane; c < cols; c += 4u * LANES) {
    let at = places4(base, cols, c);
    part = add4(part, load4(at), target4(at), inside4(cols, c));
  }
  return part;
}

fn part_of_fours(base: u32, fours: u32, lane: u32) -> Part {
  var part = Part(minus_infinity(), 0.0, 0.0);
  for (var j = lane; j < fours; j += LANES) { part = add4(part, logits4[base + j], targets4[base + j], vec4<bool>(true)); }
  return part;
}

// The whole row of the parts of its lanes; the cost becomes the mean weight under the softmax.
fn whole(part: Part, local: vec2<u32>) -> Part {
  let own = below(part, row_max(part.high, local));
  let sum = row_sum(own.sum, local);
  return Part(own.high, sum, row_sum(own.cost, local) / sum);
}

fn loss_of(row: Part) -> f32 {
  if (KIND == 0u) { return row.cost; }
  return -f_log(row.cost);
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  // Rows past the end go through the reductions with nothing in them.
  let cols = select(0u, params.cols, row < params.rows);
  let all = whole(part_of_row(row * params.cols, cols, local.x), local);
  if (local.x == 0u && row < params.rows) { loss[row] = loss_of(all); }
}

@compute @workgroup_size(LANES * ROWS)
fn forward_fours(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cols = select(0u, params.cols, row < params.rows);
  let all = whole(part_of_fours(row * (params.cols / 4u), cols / 4u, local.x), local);
  if (local.x == 0u && row < params.rows) { loss[row] = loss_of(all); }
}

@group(0) @binding(2) var<storage, read> dloss: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>; // [rows, cols]
@group(0) @binding(3) var<storage, read_write> dlogits4: array<vec4<f32>>;

fn gradient4(l: vec4<f32>, t: vec4<f32>, all: Part, dloss: f32) -> vec4<f32> {
  let rise = weights4(t) - all.cost;
  return dloss * exp_below4(l, all.high) / all.sum * select(rise, -rise / all.cost, KIND == 1u);
}

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  let all = whole(part_of_row(base, cols, local.x), local);
  for (var c = 4u * local.x; c < cols; c += 4u * LANES) {
    let at = places4(base, cols, c);
    let d = gradient4(load4(at), target4(at), all, dloss[row]);
    dlogits[at.x] = d.x;
    if (c + 1u < cols) { dlogits[at.y] = d.y; }
    if (c + 2u < cols) { dlogits[at.z] = d.z; }
    if (c + 3u < cols) { dlogits[at.w] = d.w; }
  }
}

@compute @workgroup_size(LANES * ROWS)
fn backward_fours(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let fours = select(0u, params.cols / 4u, row < params.rows);
  let base = row * (params.cols / 4u);
  let all = whole(part_of_fours(base, fours, local.x), local);
  for (var j = local.x; j < fours; j += LANES) {
    dlogits4[base + j] = gradient4(logits4[base + j], targets4[base + j], all, dloss[row]);
  }
}
