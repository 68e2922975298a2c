// Log-probability of an ordered selection o_1 .. o_k under log-scores x (Plackett 1975, Luce 1959):
//   log p = Σ_i (x[o_i] - R_i),  R_i = log Σ exp x over what remains at step i = peak_i + log sum_i, peak_i the largest score there.
// Sums are built backwards, from what is never selected, one item at a time: positive terms only. Gradient, with W_r = exp(peak_r) Σ_{i<=r} exp(-R_i):
//   dx[j] = dlog_p (1[selected] - exp(x[j] - peak_r) W_r),  r the last step at which j was there.
// Peaks fall from step to step and scores at step r are at most peak_r, so that no exponent is positive.
#import fours
#import reduce

struct Params { rows: u32, cols: u32, picks: u32 }

@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(0) var<storage, read> order: array<u32>; // [rows, picks]
@group(0) @binding(1) var<storage, read_write> ranks: array<atomic<u32>>; // [rows, cols], zeros: becomes the step + 1

// One invocation per pick.
@compute @workgroup_size(64)
fn mark(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.picks) { return; }
  let item = order[i];
  if (item < params.cols) { atomicMax(&ranks[i / params.picks * params.cols + item], i % params.picks + 1u); }
}

@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> rank: array<u32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> rest: array<f32>; // [rows, 2]

// exp(a - b) of a <= b: 1 of equal infinities, and of NaN whatever.
fn ratio4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> { return f_exp4(select(a - b, vec4<f32>(0.0), a == b)); }

// Largest score and sum over what is never selected. LANES invocations share a row; lane l owns fours of columns l, l + LANES ...
@compute @workgroup_size(LANES * ROWS)
fn unselected(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  var peak = vec4<f32>(minus_infinity());
  var sum = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < cols; c += 4u * LANES) {
    let at = places4(base, cols, c);
    let free = vec4<u32>(rank[at.x], rank[at.y], rank[at.z], rank[at.w]) == vec4<u32>(0u);
    let v = select(vec4<f32>(minus_infinity()), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), free & inside4(cols, c));
    let top = nan_max4(peak, v);
    sum = sum * ratio4(peak, top) + ratio4(v, top);
    peak = top;
  }
  let high = row_max(max4(peak), local);
  let total = row_sum(sum4(sum * ratio4(peak, vec4<f32>(high))), local);
  if (local.x == 0u && row < params.rows) {
    rest[2u * row] = high;
    rest[2u * row + 1u] = total;
  }
}

@group(0) @binding(2) var<storage, read> picked: array<u32>; // [rows, picks]
@group(0) @binding(3) var<storage, read> last: array<f32>; // [rows, 2]
@group(0) @binding(4) var<storage, read_write> log_p: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> peaks: array<f32>; // [rows, picks]
@group(0) @binding(6) var<storage, read_write> sums: array<f32>; // [rows, picks]

// One invocation per row, from the last step to the first. Steps are summed in blocks of 64, for the roundings.
@compute @workgroup_size(64)
fn chain(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let cols = params.cols;
  let picks = params.picks;
  var peak = last[2u * row];
  var sum = last[2u * row + 1u];
  var valid = true;
  var total = 0.0;
  var block = 0.0;
  for (var i = picks; i > 0u; i--) {
    let at = row * picks + i - 1u;
    let item = picked[at];
    let e = row * cols + min(item, cols - 1u);
    let v = x[e];
    valid = valid && rank[e] == i; // neither of an index past the end nor of one that comes again
    let top = nan_max(peak, v);
    let both = ratio4(vec4<f32>(peak, v, 0.0, 0.0), vec4<f32>(top));
    sum = sum * both.x + both.y;
    peak = top;
    let below = select(v - top, 0.0, v == top) - f_log4(vec4<f32>(sum)).x;
    block += select(below, minus_infinity(), v == minus_infinity());
    if (i % 64u == 1u) {
      total += block;
      block = 0.0;
    }
    peaks[at] = peak;
    sums[at] = sum;
  }
  let bits = 0x7fc00000u;
  let nan = bitcast<f32>(bits);
  let good = valid && !is_nan(peak);
  log_p[row] = select(nan, total, good);
  // The gradient of such a row is NaN as well.
  if (!good) { sums[row * picks] = nan; }
}

@group(0) @binding(0) var<storage, read> known_peaks: array<f32>; // [rows, picks]
@group(0) @binding(1) var<storage, read> known_sums: array<f32>; // [rows, picks]
@group(0) @binding(2) var<storage, read_write> weights: array<f32>; // [rows, picks]

// W of each step: one invocation per row.
@compute @workgroup_size(64)
fn accumulate(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let picks = params.picks;
  var before = known_peaks[row * picks];
  var weight = 0.0;
  for (var at = row * picks; at < (row + 1u) * picks; at++) {
    let peak = known_peaks[at];
    weight = weight * ratio4(vec4<f32>(peak), vec4<f32>(before)).x + 1.0 / known_sums[at];
    weights[at] = weight;
    before = peak;
  }
}

@group(0) @binding(2) var<storage, read> peak_of: array<f32>; // [rows, picks]
@group(0) @binding(3) var<storage, read> weight_of: array<f32>; // [rows, picks]
@group(0) @binding(4) var<storage, read> dlog_p: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> dx: array<f32>; // [rows, cols]

// LANES invocations share a row; lane l owns fours of columns l, l + LANES ...
@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cols = select(0u, params.cols, row < params.rows);
  if (cols == 0u) { return; }
  let base = row * cols;
  let picks = params.picks;
  let steps = row * picks;
  let g = dlog_p[row];
  for (var c = 4u * local.x; c < cols; c += 4u * LANES) {
    let at = places4(base, cols, c);
    let v = vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
    let step = vec4<u32>(rank[at.x], rank[at.y], rank[at.z], rank[at.w]);
    let never = step == vec4<u32>(0u);
    let s = steps + select(step, vec4<u32>(picks), never) - 1u;
    let share = ratio4(v, vec4<f32>(peak_of[s.x], peak_of[s.y], peak_of[s.z], peak_of[s.w]))
      * vec4<f32>(weight_of[s.x], weight_of[s.y], weight_of[s.z], weight_of[s.w]);
    let constant = (v == vec4<f32>(minus_infinity())) & !is_nan4(share);
    let d = select(g * (select(vec4<f32>(1.0), vec4<f32>(0.0), never) - share), vec4<f32>(0.0), constant);
    dx[at.x] = d.x;
    if (c + 1u < cols) { dx[at.y] = d.y; }
    if (c + 2u < cols) { dx[at.z] = d.z; }
    if (c + 3u < cols) { dx[at.w] = d.w; }
  }
}
