// Relaxed choice of k: y[c] = sigmoid((s[c] - lambda) / T) with lambda such that Σ y = k, s the scores of shared/scores. Inside [0, 1] always.
// Backward from y alone: w = y (1 - y), dx = w (dy - Σ w dy / Σ w) / T.
// LANES invocations share a row; lane l owns fours of columns l, l + LANES ...
#import scores
#import reduce

struct Params { rows: u32, cols: u32, k: f32, temperature: f32, key_low: u32, key_high: u32 }

@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, cols]: scores over T while lambda is sought
@group(0) @binding(3) var<storage, read_write> level: array<f32>; // [rows]: lambda, -inf where all are chosen
@group(1) @binding(0) var<uniform> params: Params;

const ROUNDS: u32 = 32u;

fn row_of(local: vec2<u32>, group: vec3<u32>, groups: vec3<u32>) -> Row {
  let at = linear_group(group, groups) * ROWS + local.y;
  let cols = params.cols;
  return Row(at, at * cols, select(0u, cols, at < params.rows), vec2<u32>(params.key_low, params.key_high));
}

fn known4(row: Row, c: u32) -> vec4<f32> {
  let at = min(vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row.cols - 1u)) + row.base;
  let inside = vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(row.cols);
  return select(vec4<f32>(minus_infinity()), vec4<f32>(y[at.x], y[at.y], y[at.z], y[at.w]), inside);
}

fn sigmoid4(z: vec4<f32>) -> vec4<f32> {
  let e = f_exp4(-abs(z));
  return select(vec4<f32>(1.0), e, z < vec4<f32>(0.0)) / (1.0 + e);
}

fn finite4(z: vec4<f32>) -> vec4<bool> { return z > vec4<f32>(minus_infinity()); }

// Of a lane: Σ sigmoid(z - origin - mu) and Σ of its derivative.
fn sums(row: Row, local: vec2<u32>, origin: f32, mu: f32) -> vec2<f32> {
  var total = vec4<f32>(0.0);
  var slope = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let z = known4(row, c);
    let p = select(vec4<f32>(0.0), sigmoid4((z - origin) - mu), finite4(z));
    total += p;
    slope += p * (1.0 - p);
  }
  return vec2<f32>(sum4(total), sum4(slope));
}

// An interval around mu, and mu.
struct Search { low: f32, high: f32, mu: f32, step: f32 }

// sign(v) log(1 + |v|) and its inverse.
fn squeeze(v: f32) -> f32 { return sign(v) * f_log(1.0 + abs(v)); }
fn stretch(v: f32) -> f32 { return sign(v) * (f_exp(abs(v)) - 1.0); }

// Newton's step for log Σ = log k, or half of the interval where that leaves it or the sum is flat: half of its digits from `origin` on
// where that is an element, which 32 turns get through whatever the temperature is.
fn improve(search: Search, total: f32, slope: f32, k: f32, digits: bool) -> Search {
  var next = search;
  if (total > k) { next.low = search.mu; } else { next.high = search.mu; }
  next.mu = search.mu + f_log(max(total, 1e-30) / k) * total / max(slope, 1e-30);
  let flat = slope < 1e-3 * min(total, 1.0) || total < 1e-20;
  let close = abs(total - k) <= 1e-6 * k;
  if (close) { next.mu = select(clamp(next.mu, search.mu - 1e-3, search.mu + 1e-3), search.mu, flat || total == k); }
  else if (flat || !(next.mu > next.low && next.mu < next.high)) {
    next.mu = 0.5 * next.low + 0.5 * next.high;
    if (digits) { next.mu = stretch(0.5 * squeeze(next.low) + 0.5 * squeeze(next.high)); }
  }
  next.step = select(abs(next.mu - search.mu), 0.0, close);
  return next;
}

// Until steps are no more than rounding, or the sum is k to rounding.
fn solve(row: Row, local: vec2<u32>, origin: f32, start: Search, k: f32, all: bool, digits: bool) -> Search {
  var search = start;
  if (LANES == 1u) {
    for (var turn = 0u; turn < min(4u * ROUNDS, 26000u / max(row.cols / 4u, 1u)) && search.step > 1.2e-7 * abs(search.mu) && !all; turn++) {
      let found = sums(row, local, origin, search.mu);
      search = improve(search, found.x, found.y, k, digits);
    }
  } else {
    for (var turn = 0u; turn < ROUNDS; turn++) {
      let found = sums(row, local, origin, search.mu);
      search = improve(search, row_sum(found.x, local), row_sum(found.y, local), k, digits);
    }
  }
  return search;
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  var high4 = vec4<f32>(minus_infinity());
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) { high4 = nan_max4(high4, load4(row, c)); }
  let high = row_max(max4(high4), local);
  let inverse = 1.0 / params.temperature;
  let k = params.k;
  var largest = vec4<f32>(minus_infinity());
  var smallest = vec4<f32>(minus_infinity()); // its negative
  var chosen_from = 0.0;
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    // Products that overflow are as good as a large number; differences and sums of two do not overflow.
    let s = score4(row, c, high);
    let z = select(clamp(s * inverse, vec4<f32>(-5e37), vec4<f32>(5e37)), s, !finite4(s));
    largest = max(largest, z);
    smallest = max(smallest, select(vec4<f32>(minus_infinity()), -z, finite4(z)));
    chosen_from += sum4(select(vec4<f32>(0.0), vec4<f32>(1.0), finite4(z)));
    for (var i = 0u; i < min(4u, row.cols - c); i++) { y[row.base + c + i] = z[i]; }
  }
  let top = row_max(max4(largest), local);
  let bottom = -row_max(max4(smallest), local);
  let count = row_sum(chosen_from, local);
  // Were all equal, mu would be z + log((n - k) / k).
  let all = k >= count;
  let shift = f_log(max(count - k, 0.5) / k);
  var search = Search(bottom + shift - 1e-3 * abs(bottom + shift) - 1e-3, top + shift + 1e-3 * abs(top + shift) + 1e-3, 0.0, 3e38);
  // A start from the mean field: near where the k-th largest would be.
  search.mu = clamp(top + min(shift, 0.0), search.low, search.high);
  search = solve(row, local, 0.0, search, k, all, false);
  // Where mu is too large to be known to a fraction, the element next to it as the origin: differences to it are exact where it matters,
  // and equals share what is left. Other rows skip these loops.
  let far = abs(search.mu) > 1000.0 || LANES > 1u;
  let start = select(row.cols, 4u * local.x, far);
  var nearest = vec4<f32>(minus_infinity()); // its negative distance
  for (var c = start; c < row.cols; c += 4u * LANES) { nearest = max(nearest, -abs(known4(row, c) - search.mu)); }
  let distance = -row_max(max4(nearest), local);
  var origin4 = vec4<f32>(minus_infinity());
  for (var c = start; c < row.cols; c += 4u * LANES) {
    let z = known4(row, c);
    origin4 = max(origin4, select(vec4<f32>(minus_infinity()), z, abs(z - search.mu) <= vec4<f32>(distance)));
  }
  let origin = select(0.0, row_max(max4(origin4), local), far);
  if (far) { search = Search(search.low - origin - 1.0, search.high - origin + 1.0, search.mu - origin, 3e38); }
  search = solve(row, local, origin, search, k, all || !far, true);
  if (local.x == 0u && row.at < params.rows) {
    level[row.at] = select((origin + search.mu) * params.temperature + high, minus_infinity(), all);
  }
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let z = known4(row, c);
    var p = select(vec4<f32>(0.0), select(sigmoid4((z - origin) - search.mu), vec4<f32>(1.0), vec4<bool>(all)), finite4(z));
    if (is_nan(high)) { p = vec4<f32>(high); }
    for (var i = 0u; i < min(4u, row.cols - c); i++) { y[row.base + c + i] = p[i]; }
  }
}

@group(0) @binding(0) var<storage, read> chosen: array<f32>; // [rows, cols]: y
@group(0) @binding(1) var<storage, read> dy: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // [rows, cols]

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  let end = row.base + row.cols;
  var weight = 0.0;
  var dot = 0.0;
  for (var e = row.base + local.x; e < end; e += LANES) {
    let p = chosen[e];
    let w = p * (1.0 - p);
    weight += w;
    dot += w * dy[e];
  }
  weight = row_sum(weight, local);
  dot = row_sum(dot, local);
  let mean = select(dot / weight, 0.0, weight == 0.0);
  let inverse = 1.0 / params.temperature;
  for (var e = row.base + local.x; e < end; e += LANES) {
    let p = chosen[e];
    dx[e] = p * (1.0 - p) * (dy[e] - mean) * inverse;
  }
}
