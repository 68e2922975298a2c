// y = f(a, b), element by element, with b of the same shape, a row, a column or a scalar; backward da = dy f_a(a, b), db = dy f_b(a, b)
// in full shape. One invocation owns one element of a. FUNCTION: 0 add, 1 subtract, 2 multiply, 3 divide, 4 max, 5 min (ties to a).
// BROADCAST: 0 same shape, 1 row, 2 column, 3 scalar.
#import index
#import math

struct Params { length: u32, cols: u32 }

override FUNCTION: u32 = 0u;
override BROADCAST: u32 = 0u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

fn second(i: u32) -> f32 {
  var at = i;
  if (BROADCAST == 1u) { at = i % params.cols; }
  if (BROADCAST == 2u) { at = i / params.cols; }
  if (BROADCAST == 3u) { at = 0u; }
  return b[at];
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.length) { return; }
  let p = a[i];
  let q = second(i);
  var r = p + q;
  switch FUNCTION {
    case 1u: { r = p - q; }
    case 2u: { r = p * q; }
    case 3u: { r = p / q; }
    case 4u: { r = select(select(q, p, p >= q), p + q, is_nan(p) || is_nan(q)); }
    case 5u: { r = select(select(q, p, p <= q), p + q, is_nan(p) || is_nan(q)); }
    default: {}
  }
  y[i] = r;
}

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> da: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.length) { return; }
  let p = a[i];
  let q = second(i);
  let g = dy[i];
  var ga = g;
  var gb = g;
  switch FUNCTION {
    case 1u: { gb = -g; }
    case 2u: { ga = g * q; gb = g * p; }
    case 3u: { ga = g / q; gb = -g * p / q / q; }
    case 4u: { ga = select(0.0, g, p >= q); gb = select(g, 0.0, p >= q); }
    case 5u: { ga = select(0.0, g, p <= q); gb = select(g, 0.0, p <= q); }
    default: {}
  }
  if (FUNCTION >= 4u && (is_nan(p) || is_nan(q))) { ga = p + q; gb = ga; }
  da[i] = ga;
  db[i] = gb;
}
