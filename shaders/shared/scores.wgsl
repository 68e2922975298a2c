// Scores of the elements of a row (shared/score), four at a time.
#import score

@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> noise: array<f32>; // [rows, cols], read where NOISE is 2

// cols is 0 past the last row. Settings are read once: a uniform costs as much as ten operations on software adapters.
struct Row { at: u32, base: u32, cols: u32, key: vec2<u32> }

// Elements c .. c + 3 of a row, -inf past its end. Without branches: software adapters walk both sides.
fn load4(row: Row, c: u32) -> vec4<f32> {
  let at = min(vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row.cols - 1u)) + row.base;
  let inside = vec4<u32>(c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(row.cols);
  return select(vec4<f32>(minus_infinity()), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
}

fn noise4(row: Row, c: u32) -> vec4<f32> {
  if (NOISE == 0u) { return vec4<f32>(0.0); }
  if (NOISE == 1u) { return made4(c, row.at, row.key); }
  let e = row.base + c;
  let last = row.base + row.cols - 1u;
  return vec4<f32>(noise[min(e, last)], noise[min(e + 1u, last)], noise[min(e + 2u, last)], noise[min(e + 3u, last)]);
}

// Scores of elements c .. c + 3, given the largest of the row: -inf past its end.
fn score4(row: Row, c: u32, high: f32) -> vec4<f32> { return score_of4(load4(row, c), high, noise4(row, c)); }
