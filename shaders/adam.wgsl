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

@compute @workgroup_size(64)
fn update(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.length) { return; }
  let nan_bits = 0x7fc00000u;
  let nan = bitcast<f32>(nan_bits);
  var g = gradients[i];
  if (params.clipped != 0u) {
    // An overflowing norm would scale everything to 0 and hide what happened.
    let squared = norm_squared[0];
    let norm = sqrt(squared);
    g = select(g * select(1.0, params.max_norm / norm, norm > params.max_norm), nan, !is_finite(squared));
  }
  let m = params.beta1 * first[i] + (1.0 - params.beta1) * g;
  let v = params.beta2 * second[i] + (1.0 - params.beta2) * g * g;
  first[i] = m;
  second[i] = v;
  let x = values[i];
  let y = x - (params.decay * x + params.step_size * m / (sqrt(v * params.second_factor) + params.epsilon));
  // v overflows long before m: dividing by infinity would freeze the value in silence.
  values[i] = select(y, nan, !is_finite(m) || !is_finite(v));
}
