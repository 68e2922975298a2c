// y[r, c] = exp(x[r, c] / T) / Σ exp(x[r, ·] / T), or its logarithm (LOG), the row's largest value taken out; backward
// dx = y (dy - Σ y dy) / T, or (dy - exp(y) Σ dy) / T. LANES invocations share a row; lane l owns columns l, l + LANES ...

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override LOG: bool = false;
#import reduce
#import fours

struct Params { rows: u32, cols: u32, temperature: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

// (v - high) / T, and 0 for equal infinities.
fn below(v: f32, high: f32) -> f32 { return select((v - high) / params.temperature, 0.0, v == high); }

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = row * params.cols;
  let end = select(0u, params.cols, row < params.rows);
  var high = minus_infinity();
  for (var c = local.x; c < end; c += LANES) { high = nan_max(high, x[base + c]); }
  high = row_max(high, local);
  var sum = 0.0;
  for (var c = local.x; c < end; c += LANES) {
    let e = f_exp(below(x[base + c], high));
    sum += e;
    if (!LOG) { y[base + c] = e; }
  }
  sum = row_sum(sum, local);
  let nothing = high == minus_infinity();
  if (LOG) {
    let shift = f_log(sum);
    for (var c = local.x; c < end; c += LANES) { y[base + c] = select(below(x[base + c], high) - shift, high, nothing); }
  } else {
    for (var c = local.x; c < end; c += LANES) { y[base + c] = select(y[base + c] / sum, 0.0, nothing); }
  }
}

@group(0) @binding(0) var<storage, read> known_y: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = row * params.cols;
  let end = select(0u, params.cols, row < params.rows);
  let temperature = params.temperature;
  var sums = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    let at = places4(base, end, c);
    let p = vec4<f32>(known_y[at.x], known_y[at.y], known_y[at.z], known_y[at.w]);
    let g = vec4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
    var part = p * g;
    if (LOG) { part = select(g, vec4<f32>(0.0), p == vec4<f32>(minus_infinity())); }
    sums += select(vec4<f32>(0.0), part, inside4(end, c));
  }
  let sum = row_sum(sum4(sums), local);
  for (var c = 4u * local.x; c < end; c += 4u * LANES) {
    let at = places4(base, end, c);
    let p = vec4<f32>(known_y[at.x], known_y[at.y], known_y[at.z], known_y[at.w]);
    let g = vec4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
    var d = p * (g - sum);
    if (LOG) { d = select(g - select(f_exp4(p), p, is_nan4(p)) * sum, vec4<f32>(0.0), p == vec4<f32>(minus_infinity())); }
    d /= temperature;
    dx[at.x] = d.x;
    if (c + 1u < end) { dx[at.y] = d.y; }
    if (c + 2u < end) { dx[at.z] = d.z; }
    if (c + 3u < end) { dx[at.w] = d.w; }
  }
}
