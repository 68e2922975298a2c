// y[b, c] = 1 where c is label[b], else 0; a label past the classes gives a row of zeros. One invocation owns an element of y,
// or four where rows are a multiple of four.
#import index

struct Params { count: u32, classes: u32 }

@group(0) @binding(0) var<storage, read> labels: array<u32>; // [count]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [count, classes]
@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read_write> y4: array<vec4<f32>>;

@compute @workgroup_size(64)
fn forward_fours(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let fours = params.classes / 4u;
  if (i >= params.count * fours) { return; }
  let b = i / fours;
  let classes = vec4<u32>(4u * (i - b * fours)) + vec4<u32>(0u, 1u, 2u, 3u);
  y4[i] = select(vec4<f32>(0.0), vec4<f32>(1.0), classes == vec4<u32>(labels[b]));
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.count * params.classes) { return; }
  y[i] = select(0.0, 1.0, labels[i / params.classes] == i % params.classes);
}
