// Patches of images for convolutions as matrix products; channels lie innermost. The patch of output pixel (o, q) holds, at (i, j, channel),
// x[o * stride + i - padding, q * stride + j - padding, channel], 0 outside the image. `forward` (unfold, im2col) writes them, `backward` (fold, col2im),
// its transpose, sums for every element of the image the entries that hold it, in the order of the patches, plus the channel's bias.
// LANES invocations own a patch, in `backward` a pixel. `*_fours`: for channels that are a multiple of four, which count fours then;
// `forward_to_fours`: for other channels, where a row of the kernel is a multiple of four.
#import reduce

struct Params {
  images: u32, height: u32, width: u32, channels: u32, out_height: u32, out_width: u32, kernel_height: u32, kernel_width: u32,
  stride_height: u32, stride_width: u32, padding_height: u32, padding_width: u32,
}

override BIAS: bool = false;

@group(0) @binding(0) var<storage, read> x: array<f32>; // [images, height, width, channels]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [images, out_height, out_width, kernel_height, kernel_width, channels]
@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y4: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

// Where an invocation stands in its patch: an entry of row `i`, number `j` in it; in the image its rows and a row's entries lie together.
struct Walk { image: u32, top: i32, left: i32, i: u32, j: u32, entries: u32 }

fn start(patch_id: u32, lane: u32) -> Walk {
  let column = patch_id % params.out_width;
  let rest = patch_id / params.out_width;
  let top = i32((rest % params.out_height) * params.stride_height) - i32(params.padding_height);
  let left = (i32(column * params.stride_width) - i32(params.padding_width)) * i32(params.channels);
  let entries = params.kernel_width * params.channels;
  return Walk(rest / params.out_height, top, left, lane / entries, lane % entries, entries);
}

// The element of the image, -1 outside.
fn source(at: Walk) -> i32 {
  let row = at.top + i32(at.i);
  let entry = at.left + i32(at.j);
  let length = i32(params.width * params.channels);
  let inside = row >= 0 && row < i32(params.height) && entry >= 0 && entry < length;
  return select(-1, (i32(at.image * params.height) + row) * length + entry, inside);
}

// LANES entries on: `over` rows and `along` entries.
fn advance(at: Walk, over: u32, along: u32) -> Walk {
  var next = at;
  let j = at.j + along;
  let wraps = j >= at.entries;
  next.i = at.i + over + select(0u, 1u, wraps);
  next.j = select(j, j - at.entries, wraps);
  return next;
}

@compute @workgroup_size(LANES * ROWS)
fn forward(
  @builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>
) {
  let local = lane_and_row(invocation);
  let patch_id = linear_group(group, groups) * ROWS + local.y;
  if (patch_id >= params.images * params.out_height * params.out_width) { return; }
  var at = start(patch_id, local.x);
  let over = LANES / at.entries;
  let along = LANES % at.entries;
  let size = params.kernel_height * at.entries;
  for (var t = local.x; t < size; t += LANES) {
    let e = source(at);
    y[patch_id * size + t] = select(0.0, x[max(e, 0)], e >= 0);
    at = advance(at, over, along);
  }
}

@compute @workgroup_size(LANES * ROWS)
fn forward_fours(
  @builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>
) {
  let local = lane_and_row(invocation);
  let patch_id = linear_group(group, groups) * ROWS + local.y;
  if (patch_id >= params.images * params.out_height * params.out_width) { return; }
  var at = start(patch_id, local.x);
  let over = LANES / at.entries;
  let along = LANES % at.entries;
  let size = params.kernel_height * at.entries;
  for (var t = local.x; t < size; t += LANES) {
    let e = source(at);
    y4[patch_id * size + t] = select(vec4<f32>(0.0), x4[max(e, 0)], e >= 0);
    at = advance(at, over, along);
  }
}

@compute @workgroup_size(LANES * ROWS)
fn forward_to_fours(
  @builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>
) {
  let local = lane_and_row(invocation);
  let patch_id = linear_group(group, groups) * ROWS + local.y;
  if (patch_id >= params.images * params.out_height * params.out_width) { return; }
  var at = start(patch_id, 4u * local.x);
  let over = 4u * LANES / at.entries;
  let along = 4u * LANES % at.entries;
  let size = params.kernel_height * at.entries / 4u;
  for (var t = local.x; t < size; t += LANES) {
    let entry = vec4<i32>(at.left + i32(at.j)) + vec4<i32>(0, 1, 2, 3);
    let row = at.top + i32(at.i);
    let length = i32(params.width * params.channels);
    let inside = vec4<bool>(row >= 0 && row < i32(params.height)) & (entry >= vec4<i32>(0)) & (entry < vec4<i32>(length));
    let e = select(vec4<i32>(0), (i32(at.image * params.height) + row) * length + entry, inside);
    y4[patch_id * size + t] = select(vec4<f32>(0.0), vec4<f32>(x[e.x], x[e.y], x[e.z], x[e.w]), inside);
    at = advance(at, over, along);
  }
}

@group(0) @binding(0) var<storage, read> patches: array<f32>; // as y
@group(0) @binding(1) var<storage, read> bias: array<f32>; // [channels]
@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // as x
@group(0) @binding(0) var<storage, read> patches4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> bias4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> sums4: array<vec4<f32>>;

// The patches whose kernel reaches place `at` of the padded image, along one axis: from x to before y.
fn reaching(at: u32, kernel: u32, stride: u32, count: u32) -> vec2<u32> {
  var first = 0u;
  if (at >= kernel) { first = (at - kernel) / stride + 1u; }
  return vec2<u32>(first, min(at / stride + 1u, count));
}

// A pixel of the padded image `first_patch / out_height`, and the patches that hold it.
struct Reach { first_patch: u32, row: u32, column: u32, rows: vec2<u32>, columns: vec2<u32> }

fn reach(pixel: u32) -> Reach {
  let rest = pixel / params.width;
  let row = rest % params.height + params.padding_height;
  let column = pixel % params.width + params.padding_width;
  let rows = reaching(row, params.kernel_height, params.stride_height, params.out_height);
  let columns = reaching(column, params.kernel_width, params.stride_width, params.out_width);
  return Reach(rest / params.height * params.out_height, row, column, rows, columns);
}

// Where patch (o, q) holds it, channels aside.
fn entry(at: Reach, o: u32, q: u32) -> u32 {
  let patch_id = (at.first_patch + o) * params.out_width + q;
  let i = at.row - o * params.stride_height;
  let j = at.column - q * params.stride_width;
  return (patch_id * params.kernel_height + i) * params.kernel_width + j;
}

@compute @workgroup_size(LANES * ROWS)
fn backward(
  @builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>
) {
  let local = lane_and_row(invocation);
  let pixel = linear_group(group, groups) * ROWS + local.y;
  if (pixel >= params.images * params.height * params.width) { return; }
  let at = reach(pixel);
  for (var channel = local.x; channel < params.channels; channel += LANES) {
    var sum = 0.0;
    if (BIAS) { sum = bias[channel]; }
    for (var o = at.rows.x; o < at.rows.y; o++) {
      for (var q = at.columns.x; q < at.columns.y; q++) { sum += patches[entry(at, o, q) * params.channels + channel]; }
    }
    sums[pixel * params.channels + channel] = sum;
  }
}

@compute @workgroup_size(LANES * ROWS)
fn backward_fours(
  @builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>
) {
  let local = lane_and_row(invocation);
  let pixel = linear_group(group, groups) * ROWS + local.y;
  if (pixel >= params.images * params.height * params.width) { return; }
  let at = reach(pixel);
  for (var channel = local.x; channel < params.channels; channel += LANES) {
    var sum = vec4<f32>(0.0);
    if (BIAS) { sum = bias4[channel]; }
    for (var o = at.rows.x; o < at.rows.y; o++) {
      for (var q = at.columns.x; q < at.columns.y; q++) { sum += patches4[entry(at, o, q) * params.channels + channel]; }
    }
    sums4[pixel * params.channels + channel] = sum;
  }
}
