// Fisher's noncentral hypergeometric law of several groups, exact: P(x) ~ prod_i C(m_i, x_i) w_i^x_i on sum x = n, by the chain of
// conditionals P_p(k | s) ~ C(m_p, k) w_p^k c_{p+1}(s - k), where c_p(s) is the coefficient of t^s in prod_{j >= p} (1 + w_j t)^m_j.
//
// Only log ratios R_p(s) = log c_p(s + 1) - log c_p(s) are kept. From f' = sum_j m_j w_j / (1 + w_j t) f follows an average of positive terms,
//   (s + 1) r_p(s) = sum_k P_p(k | s) [ w_p (m_p - k) + (s - k + 1) r_{p+1}(s - k) ],
// so that nothing cancels. A conditional is walked over the window around its mode where it is above e^-TAIL of it: the terms
// left out sum to less than e^-TAIL times the window's length.
//
// `tabulate`: one invocation per (row of weights, s), level by level from the last group. `forward`, `backward`, `score`, `differentiate_score`:
// one invocation per row.
#import index
#import random

struct Params { rows: u32, weight_rows: u32, groups: u32, draws: u32, level: u32, key_low: u32, key_high: u32, temperature: f32 }

const STREAM: u32 = 5u;
const TAIL: f32 = 40.0;

@group(0) @binding(0) var<storage, read> log_weights: array<f32>; // [weight_rows, groups]
@group(0) @binding(1) var<storage, read> sizes: array<u32>; // m [groups], then the sizes of all later groups [groups]
@group(1) @binding(0) var<uniform> params: Params;

// Where the table of (weight row, level) starts in `ratios`.
fn table(weights: u32, level: u32) -> u32 { return (weights * params.groups + level) * (params.draws + 1u); }

fn has_nan(weights: u32) -> bool {
  for (var j = 0u; j < params.groups; j++) { if (is_nan(log_weights[weights * params.groups + j])) { return true; } }
  return false;
}

struct Window { low: u32, high: u32, log_low: f32 } // first and last k, and the log of the first's probability against the mode's

@group(0) @binding(2) var<storage, read_write> ratios: array<f32>; // [weight_rows, groups, draws + 1]
@group(0) @binding(3) var<storage, read_write> means: array<f32>; // [weight_rows, groups (level), groups (j), draws + 1]

// log P_p(k + 1 | s) - log P_p(k | s), with R_{p+1} starting at `next`.
fn step_while_tabulating(log_weight: f32, m: u32, k: u32, s: u32, next: u32) -> f32 {
  return log_weight + f_log(f32(m - k) / f32(k + 1u)) - ratios[next + s - k - 1u];
}

@compute @workgroup_size(64)
fn tabulate(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let width = params.draws + 1u;
  if (i >= params.weight_rows * width) { return; }
  let w = i / width;
  let s = i % width;
  let p = params.level;
  let K = params.groups;
  let m = sizes[p];
  let rest = sizes[K + p];
  let here = table(w, p);
  let mean_here = ((w * K + p) * K) * width + s;
  // Past the sizes there is nothing to draw; the first level is only ever asked for all draws.
  if (s > m + rest || (p == 0u && s != params.draws)) {
    ratios[here + s] = 0.0;
    for (var j = 0u; j < K; j++) { means[mean_here + j * width] = 0.0; }
    return;
  }
  let log_weight = log_weights[w * K + p];
  if (has_nan(w)) {
    let nan = 0x7fc00000u;
    ratios[here + s] = bitcast<f32>(nan);
    for (var j = 0u; j < K; j++) { means[mean_here + j * width] = bitcast<f32>(nan); }
    return;
  }
  for (var j = 0u; j < p; j++) { means[mean_here + j * width] = 0.0; }
  if (p + 1u == K) {
    means[mean_here + p * width] = f32(s);
    ratios[here + s] = 0.0;
    if (s < m) { ratios[here + s] = log_weight + f_log(f32(m - s) / f32(s + 1u)); }
    return;
  }
  let next = table(w, p + 1u);
  let window = window_while_tabulating(log_weight, m, rest, s, next);
  // Sums over k of P, k P, (m - k) P and (s - k + 1) r_{p+1}(s - k) P, the last against the ratio at the first k that has one.
  var total = 0.0;
  var own = 0.0;
  var free = 0.0;
  var others = 0.0;
  var reference = 0.0;
  var started = false;
  var log_p = window.log_low;
  for (var k = window.low; k <= window.high; k++) {
    let e = f_exp(log_p);
    total += e;
    own += f32(k) * e;
    free += f32(m - k) * e;
    if (s - k < rest) {
      let r = ratios[next + s - k];
      let at = log_p + r;
      if (!started) { reference = at; started = true; }
      if (at > reference) { others *= f_exp(reference - at); reference = at; }
      others += f32(s - k + 1u) * f_exp(at - reference);
    }
    if (k < window.high) { log_p += step_while_tabulating(log_weight, m, k, s, next); }
  }
  means[mean_here + p * width] = own / total;
  var log_sum = minus_infinity();
  if (free > 0.0) { log_sum = log_weight + f_log(free); }
  if (started) {
    let b = reference + f_log(others);
    let high = max(log_sum, b);
    log_sum = high + f_log1p(f_exp(min(log_sum, b) - high));
  }
  ratios[here + s] = log_sum - f_log(total) - f_log(f32(s + 1u));
  // The last group takes the rest, so that the means of a total sum to it and gradients of all weights to zero.
  var left = f32(s) - own / total;
  for (var j = p + 1u; j + 1u < K; j++) {
    let source = ((w * K + p + 1u) * K + j) * width + s;
    var sum = 0.0;
    log_p = window.log_low;
    for (var k = window.low; k <= window.high; k++) {
      sum += f_exp(log_p) * means[source - k];
      if (k < window.high) { log_p += step_while_tabulating(log_weight, m, k, s, next); }
    }
    means[mean_here + j * width] = sum / total;
    left -= sum / total;
  }
  means[mean_here + (K - 1u) * width] = left;
}

fn window_while_tabulating(log_weight: f32, m: u32, rest: u32, s: u32, next: u32) -> Window {
  var low = s - min(s, rest);
  var high = min(m, s);
  // The steps fall with k: the mode is the first k whose step is not positive.
  var a = low;
  var b = high;
  while (a < b) {
    let k = (a + b) / 2u;
    if (step_while_tabulating(log_weight, m, k, s, next) > 0.0) { a = k + 1u; } else { b = k; }
  }
  var log_p = 0.0;
  var k = a;
  while (k < high && log_p > -TAIL) { log_p += step_while_tabulating(log_weight, m, k, s, next); k++; }
  high = k;
  log_p = 0.0;
  k = a;
  while (k > low && log_p > -TAIL) { k--; log_p -= step_while_tabulating(log_weight, m, k, s, next); }
  return Window(k, high, log_p);
}

// The same walks over finished tables, which are bound for reading.
@group(0) @binding(2) var<storage, read> table_of_ratios: array<f32>;

fn step(log_weight: f32, m: u32, k: u32, s: u32, next: u32) -> f32 {
  return log_weight + f_log(f32(m - k) / f32(k + 1u)) - table_of_ratios[next + s - k - 1u];
}

fn mode(log_weight: f32, m: u32, rest: u32, s: u32, next: u32) -> u32 {
  var a = s - min(s, rest);
  var b = min(m, s);
  while (a < b) {
    let k = (a + b) / 2u;
    if (step(log_weight, m, k, s, next) > 0.0) { a = k + 1u; } else { b = k; }
  }
  return a;
}

fn window_of(log_weight: f32, m: u32, rest: u32, s: u32, next: u32, tail: f32) -> Window {
  let low = s - min(s, rest);
  var high = min(m, s);
  let middle = mode(log_weight, m, rest, s, next);
  var log_p = 0.0;
  var k = middle;
  while (k < high && log_p > -tail) { log_p += step(log_weight, m, k, s, next); k++; }
  high = k;
  log_p = 0.0;
  k = middle;
  while (k > low && log_p > -tail) { k--; log_p -= step(log_weight, m, k, s, next); }
  return Window(k, high, log_p);
}

fn noise(row: u32, group: u32, k: u32) -> f32 {
  let r = philox(vec4<u32>(row, group, k / 4u, STREAM), vec2<u32>(params.key_low, params.key_high));
  return gumbel_from(r[k % 4u]);
}

@group(0) @binding(3) var<storage, read_write> counts: array<f32>; // [rows, groups]

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let K = params.groups;
  let w = select(row, 0u, params.weight_rows == 1u);
  let bad = has_nan(w);
  var s = params.draws;
  for (var p = 0u; p < K; p++) {
    var x = s;
    if (p + 1u < K) {
      let log_weight = log_weights[w * K + p];
      let next = table(w, p + 1u);
      // A value beyond this tail has a chance below e^-TAIL to win against the mode, whatever the noise.
      let window = window_of(log_weight, sizes[p], sizes[K + p], s, next, TAIL);
      var best = minus_infinity();
      var log_p = window.log_low;
      for (var k = window.low; k <= window.high; k++) {
        let v = log_p + noise(row, p, k);
        if (v > best) { best = v; x = k; }
        if (k < window.high) { log_p += step(log_weight, sizes[p], k, s, next); }
      }
    }
    var value = f32(x);
    if (bad) { let nan = 0x7fc00000u; value = bitcast<f32>(nan); }
    counts[row * K + p] = value;
    s -= x;
  }
}

@group(0) @binding(3) var<storage, read> drawn: array<f32>; // [rows, groups]
@group(0) @binding(4) var<storage, read> table_of_means: array<f32>;
@group(0) @binding(5) var<storage, read> dcounts: array<f32>; // [rows, groups]
@group(0) @binding(6) var<storage, read_write> dweights: array<f32>; // [rows, groups]

// d log c_{p+1}(s) / ds by a central difference, one-sided at the ends of the table.
fn slope(next: u32, s: u32, rest: u32) -> f32 {
  let up = s < rest && s < params.draws;
  if (up && s > 0u) { return 0.5 * (table_of_ratios[next + s] + table_of_ratios[next + s - 1u]); }
  if (up) { return table_of_ratios[next + s]; }
  if (s > 0u) { return table_of_ratios[next + s - 1u]; }
  return 0.0;
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let K = params.groups;
  let width = params.draws + 1u;
  let w = select(row, 0u, params.weight_rows == 1u);
  for (var j = 0u; j < K; j++) { dweights[row * K + j] = 0.0; }
  if (has_nan(w)) {
    let nan = 0x7fc00000u;
    for (var j = 0u; j < K; j++) { dweights[row * K + j] = bitcast<f32>(nan); }
    return;
  }
  // a: the gradient of the draws that remain after group p; the last group takes them all.
  var a = dcounts[row * K + K - 1u];
  var s = u32(drawn[row * K + K - 1u]);
  let tail = TAIL * max(1.0, params.temperature) + 26.0;
  for (var q = K - 1u; q > 0u; q--) {
    let p = q - 1u;
    s += u32(drawn[row * K + p]);
    let log_weight = log_weights[w * K + p];
    let next = table(w, p + 1u);
    let rest = sizes[K + p];
    let window = window_of(log_weight, sizes[p], rest, s, next, tail);
    // y = softmax((log p + g) / temperature): its largest logit, its sum and its mean of k, in one pass.
    var largest = minus_infinity();
    var total = 0.0;
    var moment = 0.0;
    var log_p = window.log_low;
    for (var k = window.low; k <= window.high; k++) {
      let v = (log_p + noise(row, p, k)) / params.temperature;
      if (v > largest) {
        let scale = f_exp(largest - v);
        total *= scale;
        moment *= scale;
        largest = v;
      }
      let e = f_exp(v - largest);
      total += e;
      moment += e * f32(k - window.low);
      if (k < window.high) { log_p += step(log_weight, sizes[p], k, s, next); }
    }
    let center = f32(window.low) + moment / total;
    // The deltas sum to zero: values are taken relative to those at the center, or rounding is multiplied by their size.
    let middle = u32(center);
    let upstream = (dcounts[row * K + p] - a) / params.temperature;
    var remaining = 0.0;
    var own = 0.0;
    log_p = window.log_low;
    for (var k = window.low; k <= window.high; k++) {
      let v = (log_p + noise(row, p, k)) / params.temperature;
      let delta = f_exp(v - largest) / total * (f32(k) - center) * upstream;
      if (delta != 0.0) {
        own += (f32(k) - f32(middle)) * delta;
        remaining += delta * slope(next, s - k, rest);
        for (var j = p + 1u; j < K; j++) {
          let at = ((w * K + p + 1u) * K + j) * width + s;
          dweights[row * K + j] += delta * (table_of_means[at - k] - table_of_means[at - middle]);
        }
      }
      if (k < window.high) { log_p += step(log_weight, sizes[p], k, s, next); }
    }
    dweights[row * K + p] += own;
    a += remaining;
  }
}

@group(0) @binding(4) var<storage, read_write> log_prob: array<f32>; // [rows]

@compute @workgroup_size(64)
fn score(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let K = params.groups;
  let w = select(row, 0u, params.weight_rows == 1u);
  var s = params.draws;
  var sum = 0.0;
  var outside = false;
  for (var p = 0u; p < K; p++) {
    let value = drawn[row * K + p];
    let x = u32(max(value, 0.0));
    // Not a count, or more than there are: no probability.
    if (!(value >= 0.0) || f32(x) != value || x > s || x > sizes[p] || s - x > sizes[K + p]) { outside = true; break; }
    if (p + 1u < K) {
      let log_weight = log_weights[w * K + p];
      let next = table(w, p + 1u);
      let window = window_of(log_weight, sizes[p], sizes[K + p], s, next, TAIL);
      var total = 0.0;
      var log_p = window.log_low;
      for (var k = window.low; k <= window.high; k++) {
        total += f_exp(log_p);
        if (k < window.high) { log_p += step(log_weight, sizes[p], k, s, next); }
      }
      let middle = mode(log_weight, sizes[p], sizes[K + p], s, next);
      var at = 0.0;
      for (var k = middle; k < x; k++) { at += step(log_weight, sizes[p], k, s, next); }
      for (var k = middle; k > x; k--) { at -= step(log_weight, sizes[p], k - 1u, s, next); }
      sum += at - f_log(total);
    }
    s -= x;
  }
  if (outside) { sum = minus_infinity(); }
  if (has_nan(w)) { let nan = 0x7fc00000u; sum = bitcast<f32>(nan); }
  log_prob[row] = sum;
}

@group(0) @binding(0) var<storage, read> score_means: array<f32>;
@group(0) @binding(1) var<storage, read> scored: array<f32>; // [rows, groups]
@group(0) @binding(2) var<storage, read> dscore: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> dscore_weights: array<f32>; // [rows, groups]

@compute @workgroup_size(64)
fn differentiate_score(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.groups) { return; }
  let row = i / params.groups;
  let j = i % params.groups;
  let w = select(row, 0u, params.weight_rows == 1u);
  let mean = score_means[(w * params.groups * params.groups + j) * (params.draws + 1u) + params.draws];
  dscore_weights[i] = dscore[row] * (scored[i] - mean);
}
