// Sparse laws of the rows of x (Martins & Astudillo 2016; Peters, Niculae & Martins 2019): with v = scale (x - max x),
//   sparsemax    p = max(v - t, 0), scale 1;      dx = s (dy - Σ s dy / Σ s), s = 1 where p > 0
//   1.5-entmax   p = max(v - t, 0)^2, scale 1/2;  the same with s = sqrt p
// and t such that Σ p = 1. f(t) = Σ p - 1 is convex and falls, f(-1) >= 0, so Newton's steps from -1 rise to the root. Only what lies above
// the running maximum - 1 is walked by them: each lane packs its own such elements at the start of its own places in y.
// LANES invocations share a row; lane l owns fours of columns l, l + LANES ...

// 1.5-entmax, sparsemax otherwise.
override SQUARED: bool = false;
#import fours
#import reduce

struct Params { rows: u32, cols: u32, rounds: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [rows, cols]
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> latest: atomic<u32>; // the last round in which a threshold of the workgroup moved
var<workgroup> go_on: u32;

// cols is 0 past the last row.
struct Row { base: u32, cols: u32 }

fn row_of(local: vec2<u32>, group: vec3<u32>, groups: vec3<u32>) -> Row {
  let at = linear_group(group, groups) * ROWS + local.y;
  let cols = params.cols;
  return Row(at * cols, select(0u, cols, at < params.rows));
}

// scale (v - high), and 0 for equal infinities.
fn below4(v: vec4<f32>, high: f32) -> vec4<f32> {
  return select((v - high) * select(1.0, 0.5, SQUARED), vec4<f32>(0.0), v == vec4<f32>(high));
}

struct Kept { count: u32, high: f32 }

// Packs what may lie above the threshold; the lane's largest element, or NaN.
fn pack(row: Row, local: vec2<u32>) -> Kept {
  let reach = select(1.0, 2.0, SQUARED);
  var count = 0u;
  var high = minus_infinity();
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let at = places4(row.base, row.cols, c);
    let v = vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
    high = nan_max(high, max4(v));
    let near = (v == vec4<f32>(high)) | (v - high > vec4<f32>(-reach));
    let keep = near & inside4(row.cols, c) & (v > vec4<f32>(minus_infinity()));
    for (var i = 0u; i < 4u; i++) {
      if (keep[i]) {
        y[row.base + place(count, local.x)] = v[i];
        count++;
      }
    }
  }
  return Kept(count, high);
}

// The column of the nth element that a lane owns.
fn place(n: u32, lane: u32) -> u32 { return n / 4u * (4u * LANES) + 4u * lane + n % 4u; }

struct Totals { p: f32, s: f32, count: u32 }

// Over a lane's elements: Σ p and Σ s. Dropping takes out what lies below t: no later threshold is lower.
fn totals(row: Row, kept: Kept, t: f32, lane: u32, drop: bool) -> Totals {
  var sum = vec4<f32>(0.0);
  var slope = vec4<f32>(0.0);
  var count = 0u;
  for (var n = 0u; n < kept.count; n += 4u) {
    let at = places4(row.base, row.cols, place(n, lane));
    let v = vec4<f32>(y[at.x], y[at.y], y[at.z], y[at.w]);
    let d = max(below4(v, kept.high) - t, vec4<f32>(0.0));
    let e = select(vec4<f32>(0.0), d, inside4(kept.count, n));
    sum += select(e, e * e, SQUARED);
    slope += select(select(vec4<f32>(0.0), vec4<f32>(1.0), e > vec4<f32>(0.0)), e, SQUARED);
    if (drop) {
      for (var i = 0u; i < 4u; i++) {
        if (e[i] > 0.0) {
          y[row.base + place(count, lane)] = v[i];
          count++;
        }
      }
    }
  }
  return Totals(sum4(sum), sum4(slope), select(kept.count, count, drop));
}

fn row_totals(own: Totals, local: vec2<u32>) -> Totals { return Totals(row_sum(own.p, local), row_sum(own.s, local), own.count); }

// The step of 1.5-entmax is that of sqrt Σ p - 1, convex as well and closer to a line.
fn newton(t: f32, total: Totals) -> f32 {
  let norm = sqrt(total.p);
  return t + select(total.p - 1.0, norm * (norm - 1.0), SQUARED) / total.s;
}

// Whether another step is worth its time: the last one rose, and not within the roundings of the sum.
fn rises(t: f32, next: f32, total: Totals) -> bool { return next > t && total.p > 1.000001; }

fn threshold_alone(row: Row, kept: Kept, start: f32) -> f32 {
  let rounds = params.rounds;
  var t = start;
  for (var round = 0u; round < rounds; round++) {
    let total = totals(row, kept, t, 0u, false);
    let next = newton(t, total);
    let moves = rises(t, next, total);
    t = max(t, next);
    if (!moves) { break; }
  }
  return t;
}

// All rows of a workgroup go on while one of them moves: what has arrived stays where it is.
fn threshold_shared(row: Row, kept: Kept, start: f32, local: vec2<u32>, invocation: u32) -> f32 {
  let rounds = params.rounds;
  var t = start;
  var moves = true;
  for (var round = 1u; round <= rounds; round++) {
    let total = row_totals(totals(row, kept, t, local.x, false), local);
    let next = newton(t, total);
    if (moves) {
      moves = rises(t, next, total);
      t = max(t, next);
    }
    if (moves) { atomicMax(&latest, round); }
    workgroupBarrier();
    if (invocation == 0u) { go_on = atomicLoad(&latest); }
    if (workgroupUniformLoad(&go_on) < round) { break; }
  }
  return t;
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  var kept = pack(row, local);
  let high = row_max(kept.high, local);
  kept.high = high;
  var t = -1.0;
  t = max(t, newton(t, row_totals(totals(row, kept, t, local.x, false), local)));
  let second = row_totals(totals(row, kept, t, local.x, true), local);
  t = max(t, newton(t, second));
  kept.count = second.count;
  if (LANES == 1u) { t = threshold_alone(row, kept, t); } else { t = threshold_shared(row, kept, t, local, invocation); }
  // Of the same law whatever the roundings of t: the row sums to 1. Rows of -inf keep nothing, and NaN is left as it is.
  let total = row_sum(totals(row, kept, t, local.x, false).p, local);
  let nan = is_nan(high);
  let none = high == minus_infinity();
  let inverse = select(select(1.0 / total, 0.0, none), high, nan);
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let at = places4(row.base, row.cols, c);
    let d = max(below4(vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), high) - t, vec4<f32>(0.0));
    var p = select(d, d * d, SQUARED) * inverse;
    if (nan || none) { p = vec4<f32>(inverse); }
    y[at.x] = p.x;
    if (c + 1u < row.cols) { y[at.y] = p.y; }
    if (c + 2u < row.cols) { y[at.z] = p.z; }
    if (c + 3u < row.cols) { y[at.w] = p.w; }
  }
}

@group(0) @binding(0) var<storage, read> known_y: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> dy: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // [rows, cols]

// s of four elements: 0 outside the support, NaN of NaN.
fn weights4(p: vec4<f32>) -> vec4<f32> {
  let s = select(select(vec4<f32>(0.0), vec4<f32>(1.0), p > vec4<f32>(0.0)), sqrt(p), SQUARED);
  return select(s, p, is_nan4(p));
}

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  var sum = vec4<f32>(0.0);
  var dot = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let at = places4(row.base, row.cols, c);
    let p = vec4<f32>(known_y[at.x], known_y[at.y], known_y[at.z], known_y[at.w]);
    let s = select(vec4<f32>(0.0), weights4(p), inside4(row.cols, c));
    sum += s;
    dot += select(s * vec4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]), vec4<f32>(0.0), s == vec4<f32>(0.0));
  }
  let total = row_sum(sum4(sum), local);
  let mean = row_sum(sum4(dot), local) / total;
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let at = places4(row.base, row.cols, c);
    let s = weights4(vec4<f32>(known_y[at.x], known_y[at.y], known_y[at.z], known_y[at.w]));
    let g = vec4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
    let d = select(s * (g - mean), vec4<f32>(0.0), s == vec4<f32>(0.0));
    dx[at.x] = d.x;
    if (c + 1u < row.cols) { dx[at.y] = d.y; }
    if (c + 2u < row.cols) { dx[at.z] = d.z; }
    if (c + 3u < row.cols) { dx[at.w] = d.w; }
  }
}
