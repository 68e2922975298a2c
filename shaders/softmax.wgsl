// y[r, c] = exp(x[r, c] / T) / Σ exp(x[r, ·] / T), or its logarithm (LOG), the row's largest value taken out; backward
// dx = y (dy - Σ y dy) / T, or (dy - exp(y) Σ dy) / T. LANES invocations share a row; lane l owns fours l, l + LANES ...

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override LOG: bool = false;
#import reduce
#import online

struct Params { rows: u32, cols: u32, temperature: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

fn load4(base: u32, end: u32, c: u32) -> vec4<f32> {
  let at = places4(base, end, c);
  return select(vec4<f32>(minus_infinity()), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside4(end, c));
}

// The row's largest value, and the sum of exponentials below it or its logarithm.
fn total(part: Running, local: vec2<u32>) -> vec2<f32> {
  let high = row_max(max4(part.high), local);
  let sum = row_sum(sum_below(part, high, params.temperature), local);
  if (LOG) { return vec2<f32>(high, f_log(sum)); }
  return vec2<f32>(high, sum);
}

fn result(v: vec4<f32>, high_and_sum: vec2<f32>) -> vec4<f32> {
  let high = vec4<f32>(high_and_sum.x);
  let nothing = high_and_sum.x == minus_infinity();
  if (LOG) { return select(below4(v, high, params.temperature) - high_and_sum.y, high, nothing); }
  return select(exp_below4(v, high, params.temperature) / high_and_sum.y, vec4<f32>(0.0), nothing);
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = row * params.cols;
  let end = select(0u, params.cols, row < params.rows);
  var part = nothing_yet();
  let step = 4u * LANES;
  for (var c = 4u * local.x; c < end; c += 4u * step) {
    part = absorb(part, load4(base, end, c), load4(base, end, c + step), load4(base, end, c + 2u * step), load4(base, end, c + 3u * step), params.temperature);
  }
  let high_and_sum = total(part, local);
  for (var c = 4u * local.x; c < end; c += step) {
    let r = result(load4(base, end, c), high_and_sum);
    y[base + c] = r.x;
    if (c + 1u < end) { y[base + c + 1u] = r.y; }
    if (c + 2u < end) { y[base + c + 2u] = r.z; }
    if (c + 3u < end) { y[base + c + 3u] = r.w; }
  }
}

@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y4: array<vec4<f32>>;

fn load_four(base: u32, end: u32, c: u32) -> vec4<f32> { return select(vec4<f32>(minus_infinity()), x4[(base + min(c, end - 4u)) / 4u], c < end); }

// As `forward`, for rows of whole fours.
@compute @workgroup_size(LANES * ROWS)
fn forward_fours(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = linear_group(group, groups) * ROWS + local.y;
  let base = row * params.cols;
  let end = select(0u, params.cols, row < params.rows);
  var part = nothing_yet();
  let step = 4u * LANES;
  for (var c = 4u * local.x; c < end; c += 4u * step) {
    part = absorb(part, load_four(base, end, c), load_four(base, end, c + step), load_four(base, end, c + 2u * step), load_four(base, end, c + 3u * step), params.temperature);
  }
  let high_and_sum = total(part, local);
  for (var c = 4u * local.x; c < end; c += step) { y4[(base + c) / 4u] = result(x4[(base + c) / 4u], high_and_sum); }
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
