// y[b, c] = 1 where c is label[b], else 0; a label past the classes gives a row of zeros. One invocation owns an element of y.
#import index

struct Params { count: u32, classes: u32 }

@group(0) @binding(0) var<storage, read> labels: array<u32>; // [count]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [count, classes]
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.count * params.classes) { return; }
  y[i] = select(0.0, 1.0, labels[i / params.classes] == i % params.classes);
}
