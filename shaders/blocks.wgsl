// Counts of groups to block masks of the positions of a row: y[i, k] = F_k(i) - F_{k-1}(i), F_k(i) = clamp(C_k - i, 0, 1), with C_k the sum of
// the counts of the first k + 1 groups, the length for the last. Backward: F_k rises at the position floor C_k, at a whole C_k at the two
// around it by half each. One invocation owns four positions of a row, in `backward` a row.
#import index
#import math

struct Params { rows: u32, length: u32, groups: u32 }

@group(0) @binding(0) var<storage, read> counts: array<f32>; // [rows, groups]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [rows, length, groups]
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let id = linear_id(global, groups, 64u);
  let n = params.length;
  let kinds = params.groups;
  let fours = (n + 3u) / 4u;
  let row = id / fours;
  if (row >= params.rows) { return; }
  let first = 4u * (id % fours);
  let at = vec4<f32>(f32(first)) + vec4<f32>(0.0, 1.0, 2.0, 3.0);
  var sum = 0.0;
  var below = vec4<f32>(0.0);
  for (var k = 0u; k < kinds; k++) {
    sum += counts[row * kinds + k];
    let rest = vec4<f32>(sum) - at;
    var up_to = select(clamp(rest, vec4<f32>(0.0), vec4<f32>(1.0)), rest, is_nan(sum));
    if (k + 1u == kinds && !is_nan(sum)) { up_to = vec4<f32>(1.0); }
    let share = up_to - below;
    let e = (row * n + first) * kinds + k;
    y[e] = share.x;
    if (first + 1u < n) { y[e + kinds] = share.y; }
    if (first + 2u < n) { y[e + 2u * kinds] = share.z; }
    if (first + 3u < n) { y[e + 3u * kinds] = share.w; }
    below = up_to;
  }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>; // [rows, length, groups]
@group(0) @binding(2) var<storage, read_write> dcounts: array<f32>; // [rows, groups]

// What the boundary behind group k gains as F_k rises at position i.
fn rise(row: u32, i: i32, k: u32, kinds: u32) -> f32 {
  let e = (row * params.length + u32(i)) * kinds + k;
  return dy[e] - dy[e + 1u];
}

// By the boundary at `sum` behind group k.
fn slope(row: u32, sum: f32, k: u32, kinds: u32) -> f32 {
  let n = i32(params.length);
  if (is_nan(sum)) { return sum; }
  if (sum < 0.0 || sum > f32(n)) { return 0.0; }
  let i = i32(floor(sum));
  if (floor(sum) != sum) { return rise(row, i, k, kinds); }
  if (i == 0) { return rise(row, 0, k, kinds); }
  if (i == n) { return rise(row, n - 1, k, kinds); }
  return 0.5 * (rise(row, i - 1, k, kinds) + rise(row, i, k, kinds));
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let kinds = params.groups;
  let base = row * kinds;
  var sum = 0.0;
  for (var k = 0u; k + 1u < kinds; k++) {
    sum += counts[base + k];
    dcounts[base + k] = slope(row, sum, k, kinds);
  }
  var total = select(0.0, counts[base + kinds - 1u], is_nan(counts[base + kinds - 1u]));
  dcounts[base + kinds - 1u] = total;
  for (var i = 1u; i < kinds; i++) {
    let k = base + kinds - 1u - i;
    total += dcounts[k];
    dcounts[k] = total;
  }
}
