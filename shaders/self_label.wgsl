// Soft labels y for predictions s by expectation maximisation (KIND 0: reverse cross-entropy, 1: collision cross-entropy; see the op's page).
// A pass makes y of all rows from the means of y's columns: factors f = lambda u / mean, then per row
//   0: y <- (s + f y) / sum(s + f y);   1: y <- a / (b + q d), a = f y, q = s / max s, b = (1 + sum a)(1 - q), d such that sum y = 1.
// A workgroup owns `block` rows: LANES invocations share a row, and afterwards an invocation adds up a slice of a column. Passes are told
// apart by halves of `work`, so that no workgroup reads what another writes in the same dispatch. A change of -1 says: ended earlier.

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override KIND: u32 = 0u;
#import reduce
#import fours

struct Params { rows: u32, cols: u32, block: u32, groups: u32, first: u32, count: u32, iterations: u32, lambda: f32, tolerance: f32 }

@group(0) @binding(0) var<storage, read> sigma: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> proportions: array<f32>; // [cols]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, cols]
// Sums of columns [2, groups, cols], factors [groups, cols], largest changes [2, groups].
@group(0) @binding(3) var<storage, read_write> work: array<f32>;
@group(0) @binding(4) var<storage, read_write> means: array<f32>; // [cols]
@group(0) @binding(5) var<storage, read_write> state: array<u32>; // iterations taken, bits of the last change
@group(1) @binding(0) var<uniform> params: Params;

fn size() -> u32 { return LANES * ROWS; }
const FLOOR: f32 = 1e-8; // of predictions and of means
const LABEL_FLOOR: f32 = 1e-10; // of the labels of KIND 1, where zeros would stay
const NEWTON: u32 = 24u;

var<workgroup> largest_change: f32;

fn sum_at(half: u32, group: u32) -> u32 { return (half * params.groups + group) * params.cols; }
fn factors_at(group: u32) -> u32 { return (2u * params.groups + group) * params.cols; }
fn change_at(half: u32, group: u32) -> u32 { return 3u * params.groups * params.cols + half * params.groups + group; }

fn sigma4(base: u32, end: u32, c: u32) -> vec4<f32> {
  let at = places4(base, end, c);
  return nan_max4(vec4<f32>(sigma[at.x], sigma[at.y], sigma[at.z], sigma[at.w]), vec4<f32>(FLOOR));
}

fn y4(base: u32, end: u32, c: u32) -> vec4<f32> {
  let at = places4(base, end, c);
  return vec4<f32>(y[at.x], y[at.y], y[at.z], y[at.w]);
}

fn factor4(group: u32, end: u32, c: u32) -> vec4<f32> {
  let at = places4(factors_at(group), end, c);
  return vec4<f32>(work[at.x], work[at.y], work[at.z], work[at.w]);
}

fn inside(end: u32, c: u32, v: vec4<f32>) -> vec4<f32> { return select(vec4<f32>(0.0), v, inside4(end, c)); }

// Writes the labels c .. c + 3 and returns how much they changed at most.
fn put4(base: u32, end: u32, c: u32, v: vec4<f32>) -> f32 {
  let change = inside(end, c, abs(v - y4(base, end, c)));
  y[base + c] = v.x;
  if (c + 1u < end) { y[base + c + 1u] = v.y; }
  if (c + 2u < end) { y[base + c + 2u] = v.z; }
  if (c + 3u < end) { y[base + c + 3u] = v.w; }
  return max4(change);
}

fn reverse4(base: u32, end: u32, c: u32, group: u32) -> vec4<f32> {
  return sigma4(base, end, c) + factor4(group, end, c) * y4(base, end, c);
}

fn reverse_row(base: u32, end: u32, local: vec2<u32>, group: u32) -> f32 {
  var sums = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < end; c += 4u * LANES) { sums += inside(end, c, reverse4(base, end, c, group)); }
  let total = row_sum(sum4(sums), local);
  var change = 0.0;
  for (var c = 4u * local.x; c < end; c += 4u * LANES) { change = nan_max(change, put4(base, end, c, reverse4(base, end, c, group) / total)); }
  return change;
}

// a, and what stands below it.
struct Terms { a: vec4<f32>, q: vec4<f32>, b: vec4<f32> }

fn terms4(base: u32, end: u32, c: u32, group: u32, high: f32, mass: f32) -> Terms {
  let s = sigma4(base, end, c);
  let a = nan_max4(factor4(group, end, c) * nan_max4(y4(base, end, c), vec4<f32>(LABEL_FLOOR)), vec4<f32>(1e-30));
  let q = select(s / high, vec4<f32>(1.0), s >= vec4<f32>(high));
  return Terms(a, q, (1.0 + mass) * (1.0 - q));
}

// sum y falls with d, and 1 / sum y is concave: Newton's method on it rises to the root from a d at which some y is 1.
fn collision_row(base: u32, end: u32, local: vec2<u32>, group: u32) -> f32 {
  var highs = vec4<f32>(0.0);
  var sums = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    highs = nan_max4(highs, inside(end, c, sigma4(base, end, c)));
    sums += inside(end, c, terms4(base, end, c, group, 1.0, 0.0).a);
  }
  let high = row_max(max4(highs), local);
  let mass = row_sum(sum4(sums), local);
  var start = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    let t = terms4(base, end, c, group, high, mass);
    start = nan_max4(start, inside(end, c, (t.a - t.b) / t.q));
  }
  var d = row_max(max4(start), local);
  var open = true;
  for (var n = 0u; n < NEWTON; n++) {
    var sum = vec4<f32>(0.0);
    var slope = vec4<f32>(0.0);
    for (var c = 4u * local.x; c < select(0u, end, open); c += 4u * LANES) {
      let t = terms4(base, end, c, group, high, mass);
      let label = inside(end, c, t.a / (t.b + t.q * d));
      sum += label;
      slope += inside(end, c, label * t.q / (t.b + t.q * d));
    }
    let total = row_sum(sum4(sum), local);
    let steepness = row_sum(sum4(slope), local);
    // Rounding ends it; a row that is closed has a total of 0.
    open = total > 1.0 + 1e-6;
    if (open) { d += total * (total - 1.0) / steepness; }
  }
  sums = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    let t = terms4(base, end, c, group, high, mass);
    sums += inside(end, c, t.a / (t.b + t.q * d));
  }
  let total = row_sum(sum4(sums), local);
  var change = 0.0;
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    let t = terms4(base, end, c, group, high, mass);
    change = nan_max(change, put4(base, end, c, t.a / (t.b + t.q * d) / total));
  }
  return change;
}

fn start_row(base: u32, end: u32, local: vec2<u32>) {
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    let v = sigma4(base, end, c);
    y[base + c] = v.x;
    if (c + 1u < end) { y[base + c + 1u] = v.y; }
    if (c + 2u < end) { y[base + c + 2u] = v.z; }
    if (c + 3u < end) { y[base + c + 3u] = v.w; }
  }
}

// Factors from the sums of the pass before, and the largest change in it.
fn gather_columns(invocation: u32, group: u32, half: u32) {
  for (var c = invocation; c < params.cols; c += size()) {
    var sums = vec4<f32>(0.0);
    for (var g = 0u; g < params.groups; g += 4u) {
      let four = min(vec4<u32>(g) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.groups - 1u));
      let v = vec4<f32>(work[sum_at(half, four.x) + c], work[sum_at(half, four.y) + c], work[sum_at(half, four.z) + c], work[sum_at(half, four.w) + c]);
      sums += inside(params.groups, g, v);
    }
    let mean = sum4(sums) / f32(params.rows);
    work[factors_at(group) + c] = params.lambda * proportions[c] / nan_max(mean, FLOOR);
    if (group == 0u) { means[c] = mean; }
  }
  if (invocation == 0u) {
    var change = work[change_at(half, 0u)];
    for (var g = 1u; g < params.groups; g++) { change = nan_max(change, work[change_at(half, g)]); }
    largest_change = change;
  }
  storageBarrier();
}

// Sums of this workgroup's rows and its largest change, by the lanes' own.
fn write_columns(invocation: u32, group: u32, half: u32, change: f32) {
  let rows = min(params.block, params.rows - group * params.block);
  let base = group * params.block * params.cols;
  let width = min(params.cols, size());
  let ways = size() / width;
  // Non-negative floats and NaN are in order as integers.
  scratch_index[invocation] = bitcast<u32>(change);
  for (var first = 0u; first < params.cols; first += width) {
    let c = first + invocation % width;
    let way = invocation / width;
    let end = select(0u, rows, way < ways && c < params.cols);
    var sums = vec4<f32>(0.0);
    for (var i = way; i < end; i += 4u * ways) {
      let four = min(vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u) * ways, vec4<u32>(end - 1u));
      let at = base + four * params.cols + c;
      let v = vec4<f32>(y[at.x], y[at.y], y[at.z], y[at.w]);
      sums += select(vec4<f32>(0.0), v, vec4<u32>(i) + vec4<u32>(0u, 1u, 2u, 3u) * ways < vec4<u32>(end));
    }
    scratch[invocation] = sum4(sums);
    workgroupBarrier();
    if (invocation < width && c < params.cols) {
      var sum = 0.0;
      for (var w = 0u; w < ways; w++) { sum += scratch[invocation + w * width]; }
      work[sum_at(half, group) + c] = sum;
    }
    workgroupBarrier();
  }
  if (invocation == 0u) {
    var highest = 0u;
    for (var i = 0u; i < size(); i++) { highest = max(highest, scratch_index[i]); }
    work[change_at(half, group)] = bitcast<f32>(highest);
  }
}

// Passes first .. first + count; pass 0 copies the predictions, and the one after the last iteration only looks at its change.
@compute @workgroup_size(LANES * ROWS)
fn iterate(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let group = linear_group(group_id, groups);
  for (var pass_ = params.first; pass_ < params.first + params.count; pass_++) {
    let half = pass_ % 2u;
    if (pass_ > 0u) {
      gather_columns(invocation, group, 1u - half);
      let change = workgroupUniformLoad(&largest_change);
      if (pass_ > params.iterations || change < 0.0 || (pass_ > 1u && change < params.tolerance)) {
        if (invocation == 0u) {
          if (group == 0u && change >= 0.0) { state[0] = pass_ - 1u; state[1] = bitcast<u32>(change); }
          work[change_at(half, group)] = -1.0;
          // One workgroup alone may leave out passes.
          if (params.groups == 1u) { work[change_at(1u - half, group)] = -1.0; }
        }
        break;
      }
    }
    var change = 0.0;
    for (var i = 0u; i < params.block; i += ROWS) {
      let row = group * params.block + i + local.y;
      let end = select(0u, params.cols, i + local.y < params.block && row < params.rows);
      let base = row * params.cols;
      if (pass_ == 0u) {
        start_row(base, end, local);
      } else if (KIND == 0u) {
        change = nan_max(change, reverse_row(base, end, local, group));
      } else {
        change = nan_max(change, collision_row(base, end, local, group));
      }
    }
    storageBarrier();
    write_columns(invocation, group, half, change);
    storageBarrier();
  }
}
