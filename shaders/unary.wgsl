// y = f(x), element by element; backward dx = dy f'(x). One invocation owns one element, or four where their number is a multiple of four.
// FUNCTION as in `Unary::code`.
#import index
#import math

struct Params { length: u32, scale: f32, shift: f32 }

override FUNCTION: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y4: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

fn value(v: vec4<f32>) -> vec4<f32> {
  var r = v;
  switch FUNCTION {
    case 0u: { r = params.scale * v + params.shift; }
    case 1u: { r = f_exp4(v); }
    case 2u: { r = f_log_any4(v); }
    case 3u: { r = f_log1p4(v); }
    case 4u: { r = f_expm1_4(v); }
    case 5u: { r = f_tanh4(v); }
    case 6u: { r = max(v, vec4<f32>(0.0)); }
    case 7u: { r = f_sigmoid4(v); }
    case 8u: { r = f_softplus4(v); }
    case 9u: { r = v * v; }
    case 10u: { r = sqrt(v); }
    case 11u: { r = abs(v); }
    case 12u: { r = 1.0 / v; }
    default: {}
  }
  return select(r, v, is_nan4(v));
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i < params.length) { y[i] = value(vec4<f32>(x[i])).x; }
}

@compute @workgroup_size(64)
fn forward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i < params.length) { y4[i] = value(x4[i]); }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(1) var<storage, read> dy4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx4: array<vec4<f32>>;

fn derivative(v: vec4<f32>) -> vec4<f32> {
  var d = vec4<f32>(1.0);
  switch FUNCTION {
    case 0u: { d = vec4<f32>(params.scale); }
    case 1u, 4u: { d = f_exp4(v); }
    case 2u: { d = 1.0 / v; }
    case 3u: { d = 1.0 / (1.0 + v); }
    case 5u: { let t = f_tanh4(v); d = 1.0 - t * t; }
    case 6u: { d = select(vec4<f32>(0.0), vec4<f32>(1.0), v > vec4<f32>(0.0)); }
    case 7u: { d = f_sigmoid4(v) * f_sigmoid4(-v); }
    case 8u: { d = f_sigmoid4(v); }
    case 9u: { d = 2.0 * v; }
    case 10u: { d = 0.5 / sqrt(v); }
    case 11u: { d = sign(v); }
    case 12u: { let r = 1.0 / v; d = -r * r; }
    default: {}
  }
  if (FUNCTION == 0u || FUNCTION == 6u) { return d; }
  return select(d, v, is_nan4(v));
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i < params.length) { dx[i] = dy[i] * derivative(vec4<f32>(x[i])).x; }
}

@compute @workgroup_size(64)
fn backward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i < params.length) { dx4[i] = dy4[i] * derivative(x4[i]); }
}
