// Noise from a counter-based generator. One invocation owns one counter, that is four words: four values of the stream, or two normals.
// DISTRIBUTION: 0 bits, 1 uniform, 2 normal, 3 Gumbel.
#import index
#import random

struct Params { length: u32, key_low: u32, key_high: u32 }

override DISTRIBUTION: u32 = 0u;
const STREAM: u32 = 1u;

@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let r = philox(vec4<u32>(i, 0u, DISTRIBUTION, STREAM), vec2<u32>(params.key_low, params.key_high));
  let per = select(4u, 2u, DISTRIBUTION == 2u);
  for (var j = 0u; j < per; j++) {
    let at = i * per + j;
    if (at >= params.length) { return; }
    var word = r[j];
    switch DISTRIBUTION {
      case 1u: { word = bitcast<u32>(uniform_from(r[j])); }
      case 2u: { word = bitcast<u32>(normal_from(r[2u * j], r[2u * j + 1u])); }
      case 3u: { word = bitcast<u32>(gumbel_from(r[j])); }
      default: {}
    }
    y[at] = word;
  }
}
