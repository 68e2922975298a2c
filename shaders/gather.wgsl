// Rows by index: y[b] = x[index[b]]; an index past the end gives NaN. Backward: dx[index[b]] += dy[b] in the order of b, so that two runs
// have the same bits. One invocation owns an element of y, or four where rows are a multiple of four; in `backward`, which wants dx zeroed, a column, and first..last of the index.
#import index
#import math

struct Params { rows: u32, cols: u32, count: u32, first: u32, last: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> index: array<u32>; // [count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [count, cols]
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.count * params.cols) { return; }
  let row = index[i / params.cols];
  if (row < params.rows) {
    y[i] = x[row * params.cols + i % params.cols];
  } else {
    let nan = 0x7fc00000u;
    y[i] = bitcast<f32>(nan);
  }
}

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;

@compute @workgroup_size(64)
fn forward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let fours = params.cols / 4u;
  if (i >= params.count * fours) { return; }
  let b = i / fours;
  let row = index[b];
  let nan = 0x7fc00000u;
  let taken = x4[min(row, params.rows - 1u) * fours + (i - b * fours)];
  y4[i] = select(vec4<f32>(bitcast<f32>(nan)), taken, row < params.rows);
}

@group(0) @binding(0) var<storage, read> rows_of: array<u32>; // [count]
@group(0) @binding(1) var<storage, read> dy: array<f32>; // [count, cols]
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // [rows, cols]

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let j = linear_id(global, groups, 64u);
  if (j >= params.cols) { return; }
  for (var b = params.first; b < params.last; b++) {
    let row = rows_of[b];
    if (row < params.rows) { dx[row * params.cols + j] += dy[b * params.cols + j]; }
  }
}

@group(0) @binding(0) var<storage, read> labels: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> picked: array<u32>; // [count]

@compute @workgroup_size(64)
fn pick(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let b = linear_id(global, groups, 64u);
  if (b >= params.count) { return; }
  if (index[b] < params.rows) { picked[b] = labels[index[b]]; } else { picked[b] = 0xffffffffu; }
}
