// y = f(x), element by element; backward dx = dy f'(x). One invocation owns one element. FUNCTION as in `Unary::code`.
#import index
#import math

struct Params { length: u32, scale: f32, shift: f32 }

override FUNCTION: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.length) { return; }
  let v = x[i];
  var r = v;
  switch FUNCTION {
    case 0u: { r = params.scale * v + params.shift; }
    case 1u: { r = f_exp(v); }
    case 2u: { r = f_log(v); }
    case 3u: { r = f_log1p(v); }
    case 4u: { r = f_expm1(v); }
    case 5u: { r = f_tanh(v); }
    case 6u: { r = select(max(v, 0.0), v, is_nan(v)); }
    case 7u: { r = f_sigmoid(v); }
    case 8u: { r = f_softplus(v); }
    case 9u: { r = v * v; }
    case 10u: { r = sqrt(v); }
    case 11u: { r = abs(v); }
    case 12u: { r = 1.0 / v; }
    default: {}
  }
  y[i] = r;
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.length) { return; }
  let v = x[i];
  var d = 1.0;
  switch FUNCTION {
    case 0u: { d = params.scale; }
    case 1u: { d = f_exp(v); }
    case 2u: { d = 1.0 / v; }
    case 3u: { d = 1.0 / (1.0 + v); }
    case 4u: { d = f_exp(v); }
    case 5u: { let t = f_tanh(v); d = 1.0 - t * t; }
    case 6u: { d = select(0.0, 1.0, v > 0.0); }
    case 7u: { let s = f_sigmoid(v); d = s * f_sigmoid(-v); }
    case 8u: { d = f_sigmoid(v); }
    case 9u: { d = 2.0 * v; }
    case 10u: { d = 0.5 / sqrt(v); }
    case 11u: { d = sign(v); }
    case 12u: { let r = 1.0 / v; d = -r * r; }
    default: {}
  }
  dx[i] = dy[i] * d;
}
