// y = f(a, b), element by element, with b of the same shape, a row, a column or a scalar; backward da = dy f_a(a, b), db = dy f_b(a, b)
// in full shape. One invocation owns one element of a, or four where rows, or without rows all, are a multiple of four.
// FUNCTION: 0 add, 1 subtract, 2 multiply, 3 divide, 4 max, 5 min (ties to a). BROADCAST: 0 same shape, 1 row, 2 column, 3 scalar.
#import index
#import math

struct Params { length: u32, cols: u32 }

override FUNCTION: u32 = 0u;
override BROADCAST: u32 = 0u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(0) var<storage, read> a4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

// Where in b the partner of place i is, in rows of cols elements or of cols fours.
fn partner(i: u32, cols: u32) -> u32 {
  switch BROADCAST {
    case 1u: { return i % cols; }
    case 2u: { return i / cols; }
    case 3u: { return 0u; }
    default: { return i; }
  }
}

fn value(p: vec4<f32>, q: vec4<f32>) -> vec4<f32> {
  switch FUNCTION {
    case 1u: { return p - q; }
    case 2u: { return p * q; }
    case 3u: { return p / q; }
    case 4u: { return select(select(q, p, p >= q), p + q, is_nan4(p) | is_nan4(q)); }
    case 5u: { return select(select(q, p, p <= q), p + q, is_nan4(p) | is_nan4(q)); }
    default: { return p + q; }
  }
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i < params.length) { y[i] = value(vec4<f32>(a[i]), vec4<f32>(b[partner(i, params.cols)])).x; }
}

@compute @workgroup_size(64)
fn forward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i < params.length) { y4[i] = value(a4[i], b4[partner(i, params.cols / 4u)]); }
}

// As `forward_fours`, where four elements of a have one partner.
@compute @workgroup_size(64)
fn forward_fours_with_one(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i < params.length) { y4[i] = value(a4[i], vec4<f32>(b[partner(i, params.cols / 4u)])); }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> da: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;
@group(0) @binding(2) var<storage, read> dy4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> da4: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> db4: array<vec4<f32>>;

struct Gradients { a: vec4<f32>, b: vec4<f32> }

fn gradients(p: vec4<f32>, q: vec4<f32>, g: vec4<f32>) -> Gradients {
  let zero = vec4<f32>(0.0);
  var r = Gradients(g, g);
  switch FUNCTION {
    case 1u: { r.b = -g; }
    case 2u: { r = Gradients(g * q, g * p); }
    case 3u: { r = Gradients(g / q, -g * p / q / q); }
    case 4u: { r = Gradients(select(zero, g, p >= q), select(g, zero, p >= q)); }
    case 5u: { r = Gradients(select(zero, g, p <= q), select(g, zero, p <= q)); }
    default: {}
  }
  if (FUNCTION >= 4u) {
    let nan = is_nan4(p) | is_nan4(q);
    r = Gradients(select(r.a, p + q, nan), select(r.b, p + q, nan));
  }
  return r;
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.length) { return; }
  let r = gradients(vec4<f32>(a[i]), vec4<f32>(b[partner(i, params.cols)]), vec4<f32>(dy[i]));
  da[i] = r.a.x;
  db[i] = r.b.x;
}

@compute @workgroup_size(64)
fn backward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i >= params.length) { return; }
  let r = gradients(a4[i], b4[partner(i, params.cols / 4u)], dy4[i]);
  da4[i] = r.a;
  db4[i] = r.b;
}

@compute @workgroup_size(64)
fn backward_fours_with_one(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i >= params.length) { return; }
  let r = gradients(a4[i], vec4<f32>(b[partner(i, params.cols / 4u)]), dy4[i]);
  da4[i] = r.a;
  db4[i] = r.b;
}
