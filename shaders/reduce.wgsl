// Reductions: y = sum (times scale), max or min of rows or columns, and the index of a row's largest or smallest.
// KIND: 0 sum, 1 max, 2 min. `forward`: LANES invocations own a row of `cols` elements; the last row may be short (`length` elements
// in all). `fold_rows`: one invocation owns a column of a block of rows. `backward` spreads the gradient of a sum. `find`: argmax, argmin.
// `*_fours`: for rows that are a multiple of four, four elements at a time.
// SPREAD, in `backward`: 0 to the elements of a row, 1 to those of a column, 2 to all.

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override KIND: u32 = 0u;
override SPREAD: u32 = 0u;
#import reduce

struct Params { rows: u32, cols: u32, length: u32, block: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y4: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

const BLOCK: u32 = 256u;

fn start_value() -> vec4<f32> {
  if (KIND == 0u) { return vec4<f32>(0.0); }
  return vec4<f32>(minus_infinity());
}

// Minima are maxima of the negative.
fn value(v: vec4<f32>) -> vec4<f32> {
  if (KIND == 2u) { return -v; }
  return v;
}

fn combine(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
  if (KIND == 0u) { return a + b; }
  return nan_max4(a, b);
}

fn result(a: vec4<f32>) -> vec4<f32> {
  if (KIND == 0u) { return params.scale * a; }
  if (KIND == 2u) { return -a; }
  return a;
}

fn of_row(a: f32, local: vec2<u32>) -> f32 {
  var r = 0.0;
  if (KIND == 0u) { r = row_sum(a, local); } else { r = row_max(a, local); }
  return result(vec4<f32>(r)).x;
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = min(row * params.cols, params.length);
  let end = select(base, min(base + params.cols, params.length), row < params.rows);
  var a = start_value();
  // In blocks, which keeps the rounding error near that of pairwise summation.
  for (var start = base; start < end; start += BLOCK * LANES) {
    let stop = min(start + BLOCK * LANES, end);
    var part = start_value();
    for (var i = start + local.x; i < stop; i += LANES) { part = combine(part, value(vec4<f32>(x[i]))); }
    a = combine(a, part);
  }
  let r = of_row(a.x, local);
  if (local.x == 0u && row < params.rows) { y[row] = r; }
}

// As `forward`, where rows and all are multiples of four.
@compute @workgroup_size(LANES * ROWS)
fn forward_fours(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = min(row * params.cols, params.length) / 4u;
  let end = select(base, min(base + params.cols / 4u, params.length / 4u), row < params.rows);
  var a = start_value();
  for (var start = base; start < end; start += BLOCK * LANES) {
    let stop = min(start + BLOCK * LANES, end);
    var part = start_value();
    for (var i = start + local.x; i < stop; i += LANES) { part = combine(part, value(x4[i])); }
    a = combine(a, part);
  }
  let pairs = combine(a, a.zwxy);
  let r = of_row(combine(pairs, pairs.yxwz).x, local);
  if (local.x == 0u && row < params.rows) { y[row] = r; }
}

@compute @workgroup_size(64)
fn fold_rows(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = linear_id(global, groups, 64u);
  let column = at % params.cols;
  let start = at / params.cols * params.block;
  if (start >= params.rows) { return; }
  let end = min(start + params.block, params.rows);
  var a = start_value();
  for (var i = start; i < end; i++) { a = combine(a, value(vec4<f32>(x[i * params.cols + column]))); }
  y[at] = result(a).x;
}

@compute @workgroup_size(64)
fn fold_rows_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = linear_id(global, groups, 64u);
  let fours = params.cols / 4u;
  let column = at % fours;
  let start = at / fours * params.block;
  if (start >= params.rows) { return; }
  let end = min(start + params.block, params.rows);
  var a = start_value();
  for (var i = start; i < end; i++) { a = combine(a, value(x4[i * fours + column])); }
  y4[at] = result(a);
}

@group(0) @binding(1) var<storage, read_write> index: array<u32>;

@compute @workgroup_size(LANES * ROWS)
fn find(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  // An index past the end loses against every element, also against -inf: no element comes later.
  var best = minus_infinity();
  var at = 0xffffffffu;
  for (var j = local.x; j < cols; j += LANES) {
    let v = value(vec4<f32>(x[base + j])).x;
    if (comes_first(v, j, best, at)) { best = v; at = j; }
  }
  at = row_argmax(best, at, local);
  if (local.x == 0u && row < params.rows) { index[row] = at; }
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(0) var<storage, read> dy4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx4: array<vec4<f32>>;

// Where the gradient of place i is, in rows of cols elements or of cols fours.
fn source(i: u32, cols: u32) -> u32 {
  switch SPREAD {
    case 0u: { return i / cols; }
    case 1u: { return i % cols; }
    default: { return 0u; }
  }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i < params.length) { dx[i] = params.scale * dy[source(i, params.cols)]; }
}

@compute @workgroup_size(64)
fn backward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i < params.length) { dx4[i] = params.scale * dy4[source(i, params.cols / 4u)]; }
}

// As `backward_fours`, where four elements have one gradient.
@compute @workgroup_size(64)
fn backward_fours_from_one(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i < params.length) { dx4[i] = vec4<f32>(params.scale * dy[source(i, params.cols / 4u)]); }
}
