// AdamW over flat buffers, one invocation per element:
//   g = s dy, m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, x <- x - decay x - step_size m / (sqrt(v / c2) + epsilon).
// s is 1, or max_norm / |dy| where the gradient is longer than max_norm. A zero with zero gradient and moments stays zero.
#import index
#import math

struct Params {
  length: u32, clipped: u32, max_norm: f32, beta1: f32, beta2: f32, decay: f32, step_size: f32, second_factor: f32, epsilon: f32
}

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read> norm_squared: array<f32>; // [1]; without clipping, the gradients again
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> first: array<f32>;
@group(0) @binding(4) var<storage, read_write> second: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

struct State { value: vec4<f32>, first: vec4<f32>, second: vec4<f32> }

fn is_finite4(x: vec4<f32>) -> vec4<bool> { return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) < vec4<u32>(0x7f800000u); }

fn updated(old: State, gradient: vec4<f32>) -> State {
  let nan_bits = 0x7fc00000u;
  let nan = vec4<f32>(bitcast<f32>(nan_bits));
  var g = gradient;
  if (params.clipped != 0u) {
    // An overflowing norm would scale everything to 0 and hide what happened.
    let squared = norm_squared[0];
    let norm = sqrt(squared);
    g = select(g * select(1.0, params.max_norm / norm, norm > params.max_norm), nan, !is_finite(squared));
  }
  let m = params.beta1 * old.first + (1.0 - params.beta1) * g;
  let v = params.beta2 * old.second + (1.0 - params.beta2) * g * g;
  let x = old.value;
  let y = x - (params.decay * x + params.step_size * m / (sqrt(v * params.second_factor) + params.epsilon));
  // v overflows long before m: dividing by infinity would freeze the value in silence.
  return State(select(nan, y, is_finite4(m) & is_finite4(v)), m, v);
}

@compute @workgroup_size(64)
fn update(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.length) { return; }
  let old = State(vec4<f32>(values[i]), vec4<f32>(first[i]), vec4<f32>(second[i]));
  let next = updated(old, vec4<f32>(gradients[i]));
  values[i] = next.value.x;
  first[i] = next.first.x;
  second[i] = next.second.x;
}

@group(0) @binding(0) var<storage, read> gradients4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> values4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> first4: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> second4: array<vec4<f32>>;

// As `update`, four elements an invocation, for lengths that are multiples of four.
@compute @workgroup_size(64)
fn update_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (4u * i >= params.length) { return; }
  let next = updated(State(values4[i], first4[i], second4[i]), gradients4[i]);
  values4[i] = next.value;
  first4[i] = next.first;
  second4[i] = next.second;
}
