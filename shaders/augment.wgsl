// Random views of rows.
//
// `forward`: an image under a random affine map. (u, v) of an output pixel lies in [-1, 1]^2, its source is A (u, v) + t with
// A = R(theta) [[1, tan phi], [0, 1]] diag(1 / s_x, 1 / s_y), times (1 - c) and about o with a crop; bilinear, 0 outside. Worked out in pixels from the image's centre, so that
// no map gives back the image bit by bit. LANES invocations share an image; each draws its map again and strides over the pixels.
// `corrupt`: y = x + noise N(0, 1), or 0 with probability `dropout`. One invocation owns one feature.
#import angle
#import random
#import reduce

struct Params {
  rows: u32, height: u32, width: u32, channels: u32, key_low: u32, key_high: u32,
  max_rotation: f32, max_scale: f32, max_shear: f32, max_shift: f32, max_crop: f32, noise: f32, dropout: f32,
}

const STREAM: u32 = 7u;

@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, height * width * channels]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

fn words(row: u32, element: u32, draw: u32) -> vec4<u32> {
  return philox(vec4<u32>(row, element, draw, STREAM), vec2<u32>(params.key_low, params.key_high));
}

// Uniform on [-bound, bound).
fn symmetric(bits: u32, bound: f32) -> f32 { return bound * (2.0 * uniform_from(bits) - 1.0); }

// A tap of weight 0 does not count, whatever it holds.
fn tap(image: u32, row: i32, col: i32, channel: u32, weight: f32) -> f32 {
  if (weight == 0.0 || row < 0 || col < 0 || row >= i32(params.height) || col >= i32(params.width)) { return 0.0; }
  let pixel = (image * params.height + u32(row)) * params.width + u32(col);
  return weight * x[pixel * params.channels + channel];
}

@compute @workgroup_size(LANES * ROWS)
fn forward(
  @builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>
) {
  let local = lane_and_row(invocation);
  let image = linear_group(group, groups) * ROWS + local.y;
  if (image >= params.rows) { return; }
  let first = words(image, 0u, 0u);
  let second = words(image, 1u, 0u);
  let third = words(image, 2u, 0u);
  let theta = symmetric(first.x, params.max_rotation);
  let across = 1.0 / (1.0 + symmetric(first.y, params.max_scale));
  let down = 1.0 / (1.0 + symmetric(first.z, params.max_scale));
  let phi = symmetric(first.w, params.max_shear);
  let shear = sine(phi) / cosine(phi);
  let crop = params.max_crop * uniform_from(second.z);
  let seen = 1.0 - crop;
  let s = sine(theta) * seen;
  let c = cosine(theta) * seen;

  let width = f32(params.width);
  let height = f32(params.height);
  let center_col = 0.5 * (width - 1.0);
  let center_row = 0.5 * (height - 1.0);
  let col_by_col = c * across;
  let col_by_row = (c * shear - s) * down * (width / height);
  let row_by_col = s * across * (height / width);
  let row_by_row = (s * shear + c) * down;
  let col_shift = 0.5 * width * (seen * symmetric(second.x, params.max_shift) + symmetric(second.w, crop));
  let row_shift = 0.5 * height * (seen * symmetric(second.y, params.max_shift) + symmetric(third.x, crop));

  for (var i = local.x; i < params.height * params.width; i += LANES) {
    let right = f32(i % params.width) - center_col;
    let below = f32(i / params.width) - center_row;
    // Beyond the border by more than a pixel all is 0: the clamp keeps the conversion to integers in range.
    let col = clamp(col_by_col * right + col_by_row * below + col_shift + center_col, -2.0, width + 1.0);
    let row = clamp(row_by_col * right + row_by_row * below + row_shift + center_row, -2.0, height + 1.0);
    let left = floor(col);
    let top = floor(row);
    let q = i32(left);
    let r = i32(top);
    let a = col - left;
    let b = row - top;
    for (var channel = 0u; channel < params.channels; channel++) {
      y[(image * params.height * params.width + i) * params.channels + channel] =
        tap(image, r, q, channel, (1.0 - b) * (1.0 - a)) + tap(image, r, q + 1, channel, (1.0 - b) * a)
        + tap(image, r + 1, q, channel, b * (1.0 - a)) + tap(image, r + 1, q + 1, channel, b * a);
    }
  }
}

@compute @workgroup_size(64)
fn corrupt(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.width) { return; }
  let r = words(i / params.width, i % params.width, 1u);
  var value = x[i] + params.noise * normal_from(r.x, r.y);
  // NaN stays: a 0 in its place would look like data.
  if (uniform_from(r.z) < params.dropout && !is_nan(value)) { value = 0.0; }
  y[i] = value;
}
