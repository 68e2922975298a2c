// Relaxed choice of k by k softmaxes, one after another (Xie and Ermon 2019): with keys a[0] the scores of shared/scores,
//   p[t] = softmax(a[t] / T),   a[t + 1] = a[t] + log(1 - p[t]),   y = Σ p[t].
// Weights e^(a / T) are kept relative to a reference m; 1 - p of the one above 1/2 is what the others hold, so that it is known to all
// digits. Eight steps are taken in registers before weights are written again: a step is a sum over the row and two numbers.
// LANES invocations share a row; lane l owns fours of columns l, l + LANES ...
#import scores

override POWER: u32 = 0u; // 1 / T where it is a whole number up to 15
override PATH: bool = false; // every p is written
#import reduce

struct Params { rows: u32, cols: u32, k: u32, inverse: f32, key_low: u32, key_high: u32, row_offset: u32 }

@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, cols]
@group(0) @binding(3) var<storage, read_write> weights: array<f32>; // [rows, cols]
@group(0) @binding(4) var<storage, read_write> decay: array<f32>; // [rows, cols]: Π (1 - p)^(1 / T)
@group(0) @binding(5) var<storage, read_write> steps: array<f32>; // [rows, k, 2]: 1 / Σ weights, and 1 - p of the largest
@group(0) @binding(6) var<storage, read_write> path: array<f32>; // [k, rows, cols] where PATH
@group(1) @binding(0) var<uniform> params: Params;

fn row_of(local: vec2<u32>, group: vec3<u32>, groups: vec3<u32>) -> Row {
  let at = linear_group(group, groups) * ROWS + local.y;
  let cols = params.cols;
  let inside = at < params.rows;
  return Row(at + params.row_offset, (at + params.row_offset) * cols, select(0u, cols, inside), vec2<u32>(params.key_low, params.key_high));
}

// Four elements past a row's end are its last.
fn slots(row: Row, c: u32) -> vec4<u32> { return min(vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row.cols - 1u)) + row.base - params.row_offset * params.cols; }

fn inside(row: Row, c: u32) -> vec4<bool> { return vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(row.cols); }

// Up to eight steps that are in registers: 0 where one is not taken.
struct Taken { inverse0: vec4<f32>, inverse1: vec4<f32>, rest0: vec4<f32>, rest1: vec4<f32>, count: u32 }

fn none_taken() -> Taken { return Taken(vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(1.0), vec4<f32>(1.0), 0u); }

struct State { weight: vec4<f32>, factor: vec4<f32>, sum: vec4<f32> }

// (1 - p)^(1 / T)
fn left(p: vec4<f32>, rest: f32, inverse: f32) -> vec4<f32> {
  let q = select(1.0 - p, vec4<f32>(rest), p > vec4<f32>(0.5));
  if (POWER == 0u) { return select(f_exp4(f_log4(max(q, vec4<f32>(1.2e-38))) * inverse), vec4<f32>(1.0), p == vec4<f32>(0.0)); }
  let q2 = q * q;
  let q4 = q2 * q2;
  var power = vec4<f32>(1.0);
  if ((POWER & 1u) != 0u) { power *= q; }
  if ((POWER & 2u) != 0u) { power *= q2; }
  if ((POWER & 4u) != 0u) { power *= q4; }
  if ((POWER & 8u) != 0u) { power *= q4 * q4; }
  return power;
}

fn one_step(state: State, inverse_sum: f32, rest: f32, inverse: f32) -> State {
  let p = state.weight * inverse_sum;
  let q = left(p, rest, inverse);
  return State(state.weight * q, state.factor * q, state.sum + p);
}

fn take(weight: vec4<f32>, taken: Taken, inverse: f32) -> State {
  var state = State(weight, vec4<f32>(1.0), vec4<f32>(0.0));
  if (POWER == 0u) {
    // Powers cost more than a loop.
    for (var i = 0u; i < taken.count; i++) {
      let sums = select(taken.inverse0, taken.inverse1, vec4<bool>(i >= 4u));
      let rests = select(taken.rest0, taken.rest1, vec4<bool>(i >= 4u));
      state = one_step(state, element4(sums, i % 4u), element4(rests, i % 4u), inverse);
    }
    return state;
  }
  state = one_step(state, taken.inverse0.x, taken.rest0.x, inverse);
  state = one_step(state, taken.inverse0.y, taken.rest0.y, inverse);
  state = one_step(state, taken.inverse0.z, taken.rest0.z, inverse);
  state = one_step(state, taken.inverse0.w, taken.rest0.w, inverse);
  state = one_step(state, taken.inverse1.x, taken.rest1.x, inverse);
  state = one_step(state, taken.inverse1.y, taken.rest1.y, inverse);
  state = one_step(state, taken.inverse1.z, taken.rest1.z, inverse);
  return one_step(state, taken.inverse1.w, taken.rest1.w, inverse);
}

fn weights4(row: Row, c: u32) -> vec4<f32> {
  let at = slots(row, c);
  return select(vec4<f32>(0.0), vec4<f32>(weights[at.x], weights[at.y], weights[at.z], weights[at.w]), inside(row, c));
}

struct Sums { total: f32, best: f32, rest: f32 }

// Of a lane: the sum of weights after the steps taken, the largest, and the sum of the others.
fn measure(row: Row, begin: u32, taken: Taken, inverse: f32) -> Sums {
  var best = vec4<f32>(0.0);
  var rest = vec4<f32>(0.0);
  for (var c = begin; c < row.cols; c += 4u * LANES) {
    let w = take(weights4(row, c), taken, inverse).weight;
    rest += min(best, w);
    best = max(best, w);
  }
  let first = max(best.x, best.y);
  let second = max(best.z, best.w);
  let largest = max(first, second);
  let others = (min(best.x, best.y) + min(best.z, best.w)) + min(first, second) + sum4(rest);
  return Sums(largest + others, largest, others);
}

// The sums of the row's lanes.
fn gather(mine: Sums, local: vec2<u32>) -> Sums {
  let best = row_max(mine.best, local);
  let winner = row_argmax(mine.best, local.x, local);
  let rest = row_sum(mine.rest + select(mine.best, 0.0, local.x == winner), local);
  return Sums(best + rest, best, rest);
}

fn write4(row: Row, c: u32, state: State, fresh: bool) {
  let at = slots(row, c);
  write1(at.x, state.weight.x, state.factor.x, state.sum.x, fresh);
  if (c + 1u < row.cols) { write1(at.y, state.weight.y, state.factor.y, state.sum.y, fresh); }
  if (c + 2u < row.cols) { write1(at.z, state.weight.z, state.factor.z, state.sum.z, fresh); }
  if (c + 3u < row.cols) { write1(at.w, state.weight.w, state.factor.w, state.sum.w, fresh); }
}

// Without a loop: software adapters count every turn.
fn write1(at: u32, weight: f32, factor: f32, sum: f32, fresh: bool) {
  weights[at] = weight;
  decay[at] = select(decay[at] * factor, 1.0, fresh);
  y[at] = select(y[at] + sum, 0.0, fresh);
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  let k = params.k;
  let inverse = params.inverse;
  let begin = 4u * local.x;
  let in_part = row.at - params.row_offset;
  var high4 = vec4<f32>(minus_infinity());
  for (var c = begin; c < row.cols; c += 4u * LANES) { high4 = nan_max4(high4, load4(row, c)); }
  let high = row_max(max4(high4), local);
  var top4 = vec4<f32>(minus_infinity());
  for (var c = begin; c < row.cols; c += 4u * LANES) { top4 = max(top4, score4(row, c, high)); }
  let top = row_max(max4(top4), local);
  for (var c = begin; c < row.cols; c += 4u * LANES) {
    let w = f_exp4(max((score4(row, c, high) - top) * inverse, vec4<f32>(-200.0)));
    write4(row, c, State(select(w, vec4<f32>(0.0), vec4<bool>(top == minus_infinity())), vec4<f32>(1.0), vec4<f32>(0.0)), true);
  }
  var taken = none_taken();
  for (var t = 0u; t < k; t++) {
    var sums = gather(measure(row, begin, taken, inverse), local);
    // Little is left of the reference: the largest of what is left becomes one. Loops that are not needed end at once.
    let faint = sums.total < 1e-25 && row.cols > 0u;
    let rebase = select(row.cols, begin, faint);
    for (var c = rebase; c < row.cols; c += 4u * LANES) { write4(row, c, take(weights4(row, c), taken, inverse), false); }
    if (faint) { taken = none_taken(); }
    var m4 = vec4<f32>(minus_infinity());
    for (var c = rebase; c < row.cols; c += 4u * LANES) {
      let at = slots(row, c);
      let u = vec4<f32>(decay[at.x], decay[at.y], decay[at.z], decay[at.w]);
      let s = score4(row, c, high);
      let open = (u > vec4<f32>(1.2e-38)) & inside(row, c) & (s > vec4<f32>(minus_infinity()));
      m4 = max(m4, select(vec4<f32>(minus_infinity()), max((s - top) * inverse, vec4<f32>(-1e37)) + f_log4(max(u, vec4<f32>(1.2e-38))), open));
    }
    let m = row_max(max4(m4), local);
    for (var c = rebase; c < row.cols; c += 4u * LANES) {
      let at = slots(row, c);
      let u = vec4<f32>(decay[at.x], decay[at.y], decay[at.z], decay[at.w]);
      let s = score4(row, c, high);
      let open = (u > vec4<f32>(1.2e-38)) & vec4<bool>(m > -3e38) & (s > vec4<f32>(minus_infinity()));
      let exponent = max((s - top) * inverse, vec4<f32>(-1e37)) + f_log4(max(u, vec4<f32>(1.2e-38))) - m;
      let w = select(vec4<f32>(0.0), f_exp4(max(exponent, vec4<f32>(-200.0))), open);
      for (var i = 0u; i < min(4u, row.cols - c); i++) { weights[at[i]] = w[i]; }
    }
    let again = gather(measure(row, rebase, taken, inverse), local);
    if (faint) { sums = again; }
    let inverse_sum = select(0.0, 1.0 / sums.total, sums.total > 0.0);
    let rest = sums.rest * inverse_sum;
    if (local.x == 0u && row.cols > 0u) {
      steps[(in_part * k + t) * 2u] = inverse_sum;
      steps[(in_part * k + t) * 2u + 1u] = rest;
    }
    let previous = taken;
    // Into the first free place; all are free after a flush.
    let slot = vec4<f32>(f32(t % 8u)) - vec4<f32>(0.0, 1.0, 2.0, 3.0);
    taken.inverse0 = select(taken.inverse0, vec4<f32>(inverse_sum), slot == vec4<f32>(0.0));
    taken.rest0 = select(taken.rest0, vec4<f32>(rest), slot == vec4<f32>(0.0));
    taken.inverse1 = select(taken.inverse1, vec4<f32>(inverse_sum), slot == vec4<f32>(4.0));
    taken.rest1 = select(taken.rest1, vec4<f32>(rest), slot == vec4<f32>(4.0));
    taken.count = t % 8u + 1u;
    if (PATH) {
      for (var c = begin; c < row.cols; c += 4u * LANES) {
        let p = take(weights4(row, c), previous, inverse).weight * inverse_sum;
        let at = (t * params.rows + in_part) * params.cols + c;
        path[at] = p.x;
        if (c + 1u < row.cols) { path[at + 1u] = p.y; }
        if (c + 2u < row.cols) { path[at + 2u] = p.z; }
        if (c + 3u < row.cols) { path[at + 3u] = p.w; }
      }
    }
    if (t % 8u == 7u || t + 1u == k) {
      for (var c = begin; c < row.cols; c += 4u * LANES) { write4(row, c, take(weights4(row, c), taken, inverse), false); }
      taken = none_taken();
    }
  }
  if (is_nan(high)) {
    for (var c = begin; c < row.cols; c += 4u * LANES) {
      for (var i = 0u; i < min(4u, row.cols - c); i++) { y[in_part * params.cols + c + i] = high; }
    }
  }
}

// ---- With g the gradient of y and l that of a[t + 1], from the last step: l += (p g - l p / (1 - p) - p D) / T, D = Σ (p g - l p / (1 - p)).

@group(0) @binding(0) var<storage, read> known_path: array<f32>; // [k, rows, cols]
@group(0) @binding(1) var<storage, read> known_steps: array<f32>; // [rows, k, 2]
@group(0) @binding(2) var<storage, read> dy: array<f32>; // [all rows, cols]
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // [all rows, cols]

fn odds(p: vec4<f32>, rest: f32) -> vec4<f32> { return p / max(select(1.0 - p, vec4<f32>(rest), p > vec4<f32>(0.5)), vec4<f32>(1e-30)); }

fn path4(row: Row, c: u32, t: u32) -> vec4<f32> {
  let at = slots(row, c) + t * params.rows * params.cols;
  return select(vec4<f32>(0.0), vec4<f32>(known_path[at.x], known_path[at.y], known_path[at.z], known_path[at.w]), inside(row, c));
}

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  let k = params.k;
  let inverse = params.inverse;
  let in_part = row.at - params.row_offset;
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    for (var i = 0u; i < min(4u, row.cols - c); i++) { dx[row.base + c + i] = 0.0; }
  }
  var mean = 0.0; // D of the step after
  var rest_after = 1.0;
  for (var t = k + 1u; t > 0u; t--) {
    // Step t - 1 in turn; the gradient passes step t first. At the end, step 0 is passed.
    let now = max(t, 2u) - 2u;
    let last = t == 1u;
    let rest = known_steps[select(0u, (in_part * k + now) * 2u + 1u, row.cols > 0u)];
    var dot = vec4<f32>(0.0);
    for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
      let at = min(vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row.cols - 1u)) + row.base;
      let g = vec4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
      var l = vec4<f32>(dx[at.x], dx[at.y], dx[at.z], dx[at.w]);
      if (t <= k) {
        let p = path4(row, c, t - 1u);
        l += (p * g - l * odds(p, rest_after) - p * mean) * inverse;
        dx[at.x] = l.x;
        if (c + 1u < row.cols) { dx[at.y] = l.y; }
        if (c + 2u < row.cols) { dx[at.z] = l.z; }
        if (c + 3u < row.cols) { dx[at.w] = l.w; }
      }
      let p = path4(row, c, now);
      dot += select(vec4<f32>(0.0), p * g - l * odds(p, rest), inside(row, c));
    }
    mean = row_sum(sum4(dot), local);
    rest_after = rest;
    if (last) { mean = 0.0; }
  }
}
