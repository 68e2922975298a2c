// Four elements of a row at a time: software adapters do four independent values in the time of one.

fn is_nan4(v: vec4<f32>) -> vec4<bool> { return (bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u); }

// Places of columns c .. c + 3 of a row of cols columns that starts at base: the last column's past the end.
fn places4(base: u32, cols: u32, c: u32) -> vec4<u32> {
  return min(vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(cols - 1u)) + base;
}

// Which of columns c .. c + 3 exist.
fn inside4(cols: u32, c: u32) -> vec4<bool> { return vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(cols); }

// The larger; NaN wins.
fn nan_max4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> { return select(max(a, b), a + b, is_nan4(a) | is_nan4(b)); }

fn max4(v: vec4<f32>) -> f32 {
  let pair = nan_max4(v, v.zwxy);
  return nan_max4(pair, pair.yxwz).x;
}

fn sum4(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }

// The i-th of four.
fn element4(v: vec4<f32>, i: u32) -> f32 { return select(select(v.x, v.y, i == 1u), select(v.z, v.w, i == 3u), i >= 2u); }
