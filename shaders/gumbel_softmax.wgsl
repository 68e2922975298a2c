// Draws from the law softmax(x) of each row: with scores s[c] = x[c] - max x + g[c],
//   forward  y[c] = exp(s[c] / T) / Σ exp(s / T);  backward  dx = y (dy - Σ y dy) / T;  sample  argmax s;  hard  its one-hot row.
// LANES invocations share a row; lane l owns fours of columns l, l + LANES ...
#import scores

// Scores are at most 23, and the largest at least -4: where T is not small, exp(s / T) needs no other reference.
override BOUNDED: bool = true;
#import reduce

struct Params { rows: u32, cols: u32, temperature: f32, key_low: u32, key_high: u32 }

@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, cols]
@group(1) @binding(0) var<uniform> params: Params;

fn row_of(local: vec2<u32>, group: vec3<u32>, groups: vec3<u32>) -> Row {
  let at = linear_group(group, groups) * ROWS + local.y;
  let cols = params.cols;
  return Row(at, at * cols, select(0u, cols, at < params.rows), vec2<u32>(params.key_low, params.key_high));
}

fn largest(row: Row, local: vec2<u32>) -> f32 {
  var high = vec4<f32>(minus_infinity());
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) { high = nan_max4(high, load4(row, c)); }
  return row_max(max4(high), local);
}

// The largest score.
fn leader(row: Row, high: f32, local: vec2<u32>) -> f32 {
  var top = vec4<f32>(minus_infinity());
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) { top = nan_max4(top, score4(row, c, high)); }
  return row_max(max4(top), local);
}

// exp((s - reference) / T), NaN of NaN; without a reference where BOUNDED.
fn weight4(row: Row, c: u32, high: f32, reference: f32, temperature: f32) -> vec4<f32> {
  let s = score4(row, c, high);
  var exponent = s * temperature; // its inverse
  if (!BOUNDED) { exponent = (s - reference) / temperature; }
  return select(f_exp4(exponent), s, is_nan4(s));
}

// What scores are divided by, or multiplied with where BOUNDED.
fn scale() -> f32 { return select(params.temperature, 1.0 / params.temperature, BOUNDED); }

fn store4(row: Row, c: u32, v: vec4<f32>) {
  let e = row.base + c;
  y[e] = v.x;
  if (c + 1u < row.cols) { y[e + 1u] = v.y; }
  if (c + 2u < row.cols) { y[e + 2u] = v.z; }
  if (c + 3u < row.cols) { y[e + 3u] = v.w; }
}

@compute @workgroup_size(LANES * ROWS)
fn forward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  let high = largest(row, local);
  var top = 0.0;
  if (!BOUNDED) { top = leader(row, high, local); }
  let temperature = scale();
  var sum = vec4<f32>(0.0);
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let e = weight4(row, c, high, top, temperature);
    sum += e;
    store4(row, c, e);
  }
  let total = row_sum(sum4(sum), local);
  let inverse = select(1.0 / total, 0.0, high == minus_infinity());
  // The same fours as before: no lane reads what another wrote.
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    for (var i = row.base + c; i < row.base + min(c + 4u, row.cols); i++) { y[i] = y[i] * inverse; }
  }
}

// The scores themselves.
@compute @workgroup_size(LANES * ROWS)
fn perturb(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  let high = largest(row, local);
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) { store4(row, c, score4(row, c, high)); }
}

struct Choice { at: u32, score: f32 }

// The first of the largest scores, the first NaN where there is one; past the end where there is nothing to choose.
fn choose(row: Row, local: vec2<u32>) -> Choice {
  let high = largest(row, local);
  var top = vec4<f32>(minus_infinity());
  var block = vec4<u32>(row.cols);
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let s = score4(row, c, high);
    let better = (s > top) | (is_nan4(s) & !is_nan4(top));
    top = select(top, s, better);
    block = select(block, vec4<u32>(c), better);
  }
  var best = Choice(block.x, top.x);
  for (var i = 1u; i < 4u; i++) {
    if (comes_first(top[i], block[i] + i, best.score, best.at)) { best = Choice(block[i] + i, top[i]); }
  }
  let score = row_max(best.score, local);
  let first = row_argmax(best.score, best.at, local);
  return Choice(first, score);
}

@compute @workgroup_size(LANES * ROWS)
fn hard(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  let choice = choose(row, local);
  for (var c = local.x; c < row.cols; c += LANES) {
    y[row.base + c] = select(select(0.0, 1.0, c == choice.at), choice.score, is_nan(choice.score));
  }
}

@group(0) @binding(2) var<storage, read_write> index: array<u32>; // [rows]

@compute @workgroup_size(LANES * ROWS)
fn sample(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  let choice = choose(row, local);
  if (local.x == 0u && row.at < params.rows) { index[row.at] = choice.at; }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>; // [rows, cols]
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // [rows, cols]

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_of(local, group, groups);
  let high = largest(row, local);
  var top = 0.0;
  if (!BOUNDED) { top = leader(row, high, local); }
  let temperature = scale();
  var sum = 0.0;
  var dot = 0.0;
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let e = weight4(row, c, high, top, temperature);
    sum += sum4(e);
    for (var i = 0u; i < min(4u, row.cols - c); i++) {
      dx[row.base + c + i] = e[i];
      dot += e[i] * dy[row.base + c + i];
    }
  }
  sum = row_sum(sum, local);
  dot = row_sum(dot, local) / sum;
  let inverse = select(1.0 / (sum * params.temperature), 0.0, high == minus_infinity());
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    for (var i = row.base + c; i < row.base + min(c + 4u, row.cols); i++) { dx[i] = select(dx[i] * (dy[i] - dot) * inverse, 0.0, inverse == 0.0); }
  }
}
