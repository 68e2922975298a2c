// Reductions along a row that LANES invocations share, of the ROWS rows of a workgroup. LANES = 1 is the plan for software adapters, where a
// barrier costs more than the row: nothing below is reached then. Every call is in uniform control flow, rows past the end included.
#import index
#import math

override LANES: u32 = 1u;
override ROWS: u32 = 64u;

var<workgroup> scratch: array<f32, LANES * ROWS>;
var<workgroup> scratch_index: array<u32, LANES * ROWS>;

// A workgroup has one dimension: software adapters put only the first on vector lanes.
fn lane_and_row(invocation: u32) -> vec2<u32> { return vec2<u32>(invocation % LANES, invocation / LANES); }

fn row_sum(value: f32, lane: vec2<u32>) -> f32 {
  if (LANES == 1u) { return value; }
  let base = lane.y * LANES;
  scratch[base + lane.x] = value;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (lane.x < step) { scratch[base + lane.x] += scratch[base + lane.x + step]; }
    workgroupBarrier();
  }
  let total = scratch[base];
  workgroupBarrier();
  return total;
}

// The larger; NaN wins.
fn nan_max(a: f32, b: f32) -> f32 { return nan_max4(vec4<f32>(a), vec4<f32>(b)).x; }

fn row_max(value: f32, lane: vec2<u32>) -> f32 {
  if (LANES == 1u) { return value; }
  let base = lane.y * LANES;
  scratch[base + lane.x] = value;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (lane.x < step) { scratch[base + lane.x] = nan_max(scratch[base + lane.x], scratch[base + lane.x + step]); }
    workgroupBarrier();
  }
  let total = scratch[base];
  workgroupBarrier();
  return total;
}

// Whether (a, i) comes before (b, j) in an argmax: NaN first, then the larger value, then the lower index.
fn comes_first(a: f32, i: u32, b: f32, j: u32) -> bool {
  let na = is_nan(a);
  let nb = is_nan(b);
  if (na || nb) { return na && (!nb || i < j); }
  return a > b || (a == b && i < j);
}

fn row_argmax(value: f32, index: u32, lane: vec2<u32>) -> u32 {
  if (LANES == 1u) { return index; }
  let base = lane.y * LANES;
  scratch[base + lane.x] = value;
  scratch_index[base + lane.x] = index;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step /= 2u) {
    if (lane.x < step) {
      let a = base + lane.x;
      let b = a + step;
      if (comes_first(scratch[b], scratch_index[b], scratch[a], scratch_index[a])) {
        scratch[a] = scratch[b];
        scratch_index[a] = scratch_index[b];
      }
    }
    workgroupBarrier();
  }
  let first = scratch_index[base];
  workgroupBarrier();
  return first;
}
