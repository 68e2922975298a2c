// Expected log density of a diagonal Gaussian q(z) = N(m, e^s) under each of K diagonal Gaussians N(mu_c, e^v_c):
//   out[i, c] = -1/2 sum_j [ log 2 pi + v_cj + (e^s_ij + (m_ij - mu_cj)^2) e^-v_cj ];   POINT: without e^s, the log density of m.
// `forward`: one invocation owns (i, c). `backward`: (i, j) for dm and ds. `differentiate_components`: (c, j) of a block of rows.
#import index
#import math

struct Params { rows: u32, dims: u32, components: u32, block: u32 }

override POINT: bool = false;

@group(0) @binding(0) var<storage, read> mean: array<f32>; // [rows, dims]
@group(0) @binding(1) var<storage, read> log_variance: array<f32>; // [rows, dims]
@group(0) @binding(2) var<storage, read> means: array<f32>; // [components, dims]
@group(0) @binding(3) var<storage, read> log_variances: array<f32>; // [components, dims]
@group(0) @binding(4) var<storage, read_write> density: array<f32>; // [rows, components]
@group(1) @binding(0) var<uniform> params: Params;

fn spread(at: u32) -> f32 {
  if (POINT) { return 0.0; }
  return f_exp(log_variance[at]);
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = linear_id(global, groups, 64u);
  if (at >= params.rows * params.components) { return; }
  let i = at / params.components;
  let c = at % params.components;
  var sum = 0.0;
  for (var j = 0u; j < params.dims; j++) {
    let v = log_variances[c * params.dims + j];
    let d = mean[i * params.dims + j] - means[c * params.dims + j];
    sum += 1.8378770664 + v + (spread(i * params.dims + j) + d * d) * f_exp(-v);
  }
  density[at] = -0.5 * sum;
}

@group(0) @binding(4) var<storage, read> ddensity: array<f32>; // [rows, components]
@group(0) @binding(5) var<storage, read_write> dmean: array<f32>; // [rows, dims]
@group(0) @binding(6) var<storage, read_write> dlog_variance: array<f32>; // [rows, dims]

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = linear_id(global, groups, 64u);
  if (at >= params.rows * params.dims) { return; }
  let i = at / params.dims;
  let j = at % params.dims;
  var pull = 0.0;
  var sharpness = 0.0;
  for (var c = 0u; c < params.components; c++) {
    let weight = ddensity[i * params.components + c] * f_exp(-log_variances[c * params.dims + j]);
    pull += weight * (means[c * params.dims + j] - mean[at]);
    sharpness += weight;
  }
  dmean[at] = pull;
  dlog_variance[at] = -0.5 * sharpness * spread(at);
}

@group(0) @binding(5) var<storage, read_write> dmeans: array<f32>; // [blocks, components, dims]
@group(0) @binding(6) var<storage, read_write> dlog_variances: array<f32>; // [blocks, components, dims]

@compute @workgroup_size(64)
fn differentiate_components(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = linear_id(global, groups, 64u);
  let cells = params.components * params.dims;
  let start = at / cells * params.block;
  if (start >= params.rows) { return; }
  let cell = at % cells;
  let c = cell / params.dims;
  let j = cell % params.dims;
  let sharpness = f_exp(-log_variances[cell]);
  var dm = 0.0;
  var dv = 0.0;
  for (var i = start; i < min(start + params.block, params.rows); i++) {
    let g = ddensity[i * params.components + c];
    let d = mean[i * params.dims + j] - means[cell];
    dm += g * d * sharpness;
    dv += -0.5 * g * (1.0 - (spread(i * params.dims + j) + d * d) * sharpness);
  }
  dmeans[at] = dm;
  dlog_variances[at] = dv;
}
