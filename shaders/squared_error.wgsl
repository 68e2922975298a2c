// Squared error summed along a row: loss = sum_j (x - t)^2,   dx = 2 dloss (x - t).
// LANES invocations own a row; in `backward` one owns an element.
#import reduce

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> targets: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> loss: array<f32>; // [rows]
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) invocation: u32) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  // Rows past the end go through the reductions with nothing in them.
  let cols = select(0u, params.cols, row < params.rows);
  let base = row * params.cols;
  var sum = 0.0;
  for (var j = local.x; j < cols; j += LANES) {
    let d = x[base + j] - targets[base + j];
    sum += d * d;
  }
  let total = row_sum(sum, local);
  if (local.x == 0u && row < params.rows) { loss[row] = total; }
}

@group(0) @binding(2) var<storage, read> dloss: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // [rows, cols]

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.cols) { return; }
  dx[i] = 2.0 * dloss[i / params.cols] * (x[i] - targets[i]);
}
