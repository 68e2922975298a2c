// C[r] = f(A[r] B[g(r)] + bias[g(r)]): A [rows, inner], B [heads, inner, cols] (stored [heads, cols, inner] with TRANSPOSE_B), bias
// [heads, cols], g(r) the head of row r. `order` lists the rows by head, in their own order within one; those of head h stand at
// starts[h] .. starts[h + 1]. Behind the last head come the rows of none: they are NaN. Only the inner indices first..last are summed;
// with ACCUMULATE they are added to what the output holds.
//
// Work is cut into tiles of positions in `order` that all belong to one head. `forward` is the plan for software adapters: one invocation
// owns 8 positions and 8 columns, in registers. `forward_tiled` is the plan for GPUs: a workgroup owns 32 positions and 64 columns, through
// workgroup memory, 2 x 4 per invocation.
// `backward` and `backward_tiled`, cut alike, of the weights: d[h] = sum over the rows r of head h of x[r]' y[r], x [rows, inner], y
// [rows, cols]; of each head only its positions first..last. `backward_bias`: the sums of rows of y by head; one invocation owns a column of a head.
// `count`, `scan` and `place` sort the rows: an invocation owns a head and a block of rows, in `scan` one workgroup all.
#import index
#import activation

struct Params { rows: u32, heads: u32, inner: u32, cols: u32, first: u32, last: u32 }

override TRANSPOSE_B: bool = false;
override BIAS: bool = false;
override ACCUMULATE: bool = false;

@group(0) @binding(0) var<storage, read> order: array<u32>; // [rows]
@group(0) @binding(1) var<storage, read> starts: array<u32>; // [heads + 2]
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

// Positions first..last of one head, none where a tile is empty.
struct Tile { head: u32, first: u32, last: u32 }

// Tiles of head h begin at number starts[h] / size + h: those before never reach it, and at most rows / size + heads + 1 are needed.
fn tile_of(number: u32, size: u32) -> Tile {
  var head = 0u;
  var above = params.heads + 1u;
  while (above - head > 1u) {
    let middle = (head + above) / 2u;
    if (starts[middle] / size + middle <= number) { head = middle; } else { above = middle; }
  }
  let first = starts[head] + (number - starts[head] / size - head) * size;
  return Tile(head, first, min(first + size, starts[head + 1u]));
}

fn load_b(head: u32, k: u32, col: u32) -> f32 {
  if (TRANSPOSE_B) { return b[(head * params.cols + col) * params.inner + k]; }
  return b[(head * params.inner + k) * params.cols + col];
}

fn store(tile: Tile, i: u32, col: u32, value: f32) {
  if (tile.first + i >= tile.last || col >= params.cols) { return; }
  let at = order[tile.first + i] * params.cols + col;
  var v = value;
  if (ACCUMULATE) { v += c[at]; }
  if (BIAS) { v += bias[min(tile.head, params.heads - 1u) * params.cols + col]; }
  let nan = 0x7fc00000u;
  c[at] = select(activated(v), bitcast<f32>(nan), tile.head == params.heads);
}

fn store_row(tile: Tile, i: u32, col: u32, x: vec4<f32>, y: vec4<f32>) {
  for (var j = 0u; j < 4u; j++) {
    store(tile, i, col + j, x[j]);
    store(tile, i, col + 4u + j, y[j]);
  }
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let number = linear_id(global, groups, 64u);
  let across = (params.cols + 7u) / 8u;
  let tile = tile_of(number / across, 8u);
  if (tile.first >= tile.last) { return; }
  let head = min(tile.head, params.heads - 1u);
  let col = number % across * 8u;
  let end = tile.last - 1u;
  let r0 = order[tile.first];
  let r1 = order[min(tile.first + 1u, end)];
  let r2 = order[min(tile.first + 2u, end)];
  let r3 = order[min(tile.first + 3u, end)];
  let r4 = order[min(tile.first + 4u, end)];
  let r5 = order[min(tile.first + 5u, end)];
  let r6 = order[min(tile.first + 6u, end)];
  let r7 = order[min(tile.first + 7u, end)];
  let q1 = min(col + 1u, params.cols - 1u);
  let q2 = min(col + 2u, params.cols - 1u);
  let q3 = min(col + 3u, params.cols - 1u);
  let q4 = min(col + 4u, params.cols - 1u);
  let q5 = min(col + 5u, params.cols - 1u);
  let q6 = min(col + 6u, params.cols - 1u);
  let q7 = min(col + 7u, params.cols - 1u);
  var c0a = vec4<f32>(0.0); var c0b = vec4<f32>(0.0);
  var c1a = vec4<f32>(0.0); var c1b = vec4<f32>(0.0);
  var c2a = vec4<f32>(0.0); var c2b = vec4<f32>(0.0);
  var c3a = vec4<f32>(0.0); var c3b = vec4<f32>(0.0);
  var c4a = vec4<f32>(0.0); var c4b = vec4<f32>(0.0);
  var c5a = vec4<f32>(0.0); var c5b = vec4<f32>(0.0);
  var c6a = vec4<f32>(0.0); var c6b = vec4<f32>(0.0);
  var c7a = vec4<f32>(0.0); var c7b = vec4<f32>(0.0);
  for (var k = params.first; k < params.last; k++) {
    let ba = vec4<f32>(load_b(head, k, col), load_b(head, k, q1), load_b(head, k, q2), load_b(head, k, q3));
    let bb = vec4<f32>(load_b(head, k, q4), load_b(head, k, q5), load_b(head, k, q6), load_b(head, k, q7));
    let a0 = a[r0 * params.inner + k]; c0a += a0 * ba; c0b += a0 * bb;
    let a1 = a[r1 * params.inner + k]; c1a += a1 * ba; c1b += a1 * bb;
    let a2 = a[r2 * params.inner + k]; c2a += a2 * ba; c2b += a2 * bb;
    let a3 = a[r3 * params.inner + k]; c3a += a3 * ba; c3b += a3 * bb;
    let a4 = a[r4 * params.inner + k]; c4a += a4 * ba; c4b += a4 * bb;
    let a5 = a[r5 * params.inner + k]; c5a += a5 * ba; c5b += a5 * bb;
    let a6 = a[r6 * params.inner + k]; c6a += a6 * ba; c6b += a6 * bb;
    let a7 = a[r7 * params.inner + k]; c7a += a7 * ba; c7b += a7 * bb;
  }
  store_row(tile, 0u, col, c0a, c0b);
  store_row(tile, 1u, col, c1a, c1b);
  store_row(tile, 2u, col, c2a, c2b);
  store_row(tile, 3u, col, c3a, c3b);
  store_row(tile, 4u, col, c4a, c4b);
  store_row(tile, 5u, col, c5a, c5b);
  store_row(tile, 6u, col, c6a, c6b);
  store_row(tile, 7u, col, c7a, c7b);
}

const DEPTH: u32 = 16u;
const ROWS: u32 = 32u;
const COLS: u32 = 64u;
var<workgroup> tile_a: array<f32, 512>; // [DEPTH, ROWS]
var<workgroup> tile_b: array<f32, 1024>; // [DEPTH, COLS]

// One inner index of the two rows and four columns that an invocation owns.
fn row_of_b(k: u32, tx: u32) -> vec4<f32> {
  let at = k * COLS + tx;
  return vec4<f32>(tile_b[at], tile_b[at + 1u], tile_b[at + 2u], tile_b[at + 3u]);
}

@compute @workgroup_size(256)
fn forward_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) index: u32) {
  let number = linear_group(group, groups);
  let across = (params.cols + COLS - 1u) / COLS;
  let tile = tile_of(number / across, ROWS);
  let head = min(tile.head, params.heads - 1u);
  let col = number % across * COLS;
  let ty = 2u * (index / 16u);
  let tx = 4u * (index % 16u);
  var c0 = vec4<f32>(0.0);
  var c1 = vec4<f32>(0.0);
  let last = select(0u, params.last, tile.first < tile.last);
  for (var start = params.first; start < last; start += DEPTH) {
    for (var e = index; e < DEPTH * ROWS; e += 256u) {
      let k = e % DEPTH;
      let r = e / DEPTH;
      var v = 0.0;
      if (start + k < last && tile.first + r < tile.last) { v = a[order[tile.first + r] * params.inner + start + k]; }
      tile_a[k * ROWS + r] = v;
    }
    for (var e = index; e < DEPTH * COLS; e += 256u) {
      // Neighbours in e are neighbours in memory, whichever way B is stored.
      let k = select(e / COLS, e % DEPTH, TRANSPOSE_B);
      let q = select(e % COLS, e / DEPTH, TRANSPOSE_B);
      var v = 0.0;
      if (start + k < last && col + q < params.cols) { v = load_b(head, start + k, col + q); }
      tile_b[k * COLS + q] = v;
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let vb = row_of_b(k, tx);
      c0 += tile_a[k * ROWS + ty] * vb;
      c1 += tile_a[k * ROWS + ty + 1u] * vb;
    }
    workgroupBarrier();
  }
  for (var j = 0u; j < 4u; j++) {
    store(tile, ty, col + tx + j, c0[j]);
    store(tile, ty + 1u, col + tx + j, c1[j]);
  }
}

@group(0) @binding(2) var<storage, read> x: array<f32>; // [rows, inner]
@group(0) @binding(3) var<storage, read> y: array<f32>; // [rows, cols]
@group(0) @binding(4) var<storage, read_write> d: array<f32>; // [heads, inner, cols]

// Positions first..last of a head, as far as it has them.
fn positions(head: u32) -> vec2<u32> {
  let start = starts[head];
  let count = starts[head + 1u] - start;
  return start + min(vec2<u32>(params.first, params.last), vec2<u32>(count));
}

fn store_weight(head: u32, row: u32, col: u32, value: f32) {
  if (row >= params.inner || col >= params.cols) { return; }
  let at = (head * params.inner + row) * params.cols + col;
  var v = value;
  if (ACCUMULATE) { v += d[at]; }
  d[at] = v;
}

fn store_weights(head: u32, row: u32, col: u32, u: vec4<f32>, v: vec4<f32>) {
  for (var j = 0u; j < 4u; j++) {
    store_weight(head, row, col + j, u[j]);
    store_weight(head, row, col + 4u + j, v[j]);
  }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let number = linear_id(global, groups, 64u);
  let across = (params.cols + 7u) / 8u;
  let down = (params.inner + 7u) / 8u;
  let head = number / (across * down);
  if (head >= params.heads) { return; }
  let row = number / across % down * 8u;
  let col = number % across * 8u;
  let range = positions(head);
  let s1 = min(row + 1u, params.inner - 1u);
  let s2 = min(row + 2u, params.inner - 1u);
  let s3 = min(row + 3u, params.inner - 1u);
  let s4 = min(row + 4u, params.inner - 1u);
  let s5 = min(row + 5u, params.inner - 1u);
  let s6 = min(row + 6u, params.inner - 1u);
  let s7 = min(row + 7u, params.inner - 1u);
  let q1 = min(col + 1u, params.cols - 1u);
  let q2 = min(col + 2u, params.cols - 1u);
  let q3 = min(col + 3u, params.cols - 1u);
  let q4 = min(col + 4u, params.cols - 1u);
  let q5 = min(col + 5u, params.cols - 1u);
  let q6 = min(col + 6u, params.cols - 1u);
  let q7 = min(col + 7u, params.cols - 1u);
  var d0a = vec4<f32>(0.0); var d0b = vec4<f32>(0.0);
  var d1a = vec4<f32>(0.0); var d1b = vec4<f32>(0.0);
  var d2a = vec4<f32>(0.0); var d2b = vec4<f32>(0.0);
  var d3a = vec4<f32>(0.0); var d3b = vec4<f32>(0.0);
  var d4a = vec4<f32>(0.0); var d4b = vec4<f32>(0.0);
  var d5a = vec4<f32>(0.0); var d5b = vec4<f32>(0.0);
  var d6a = vec4<f32>(0.0); var d6b = vec4<f32>(0.0);
  var d7a = vec4<f32>(0.0); var d7b = vec4<f32>(0.0);
  for (var p = range.x; p < range.y; p++) {
    let r = order[p];
    let at_x = r * params.inner;
    let at_y = r * params.cols;
    let ya = vec4<f32>(y[at_y + col], y[at_y + q1], y[at_y + q2], y[at_y + q3]);
    let yb = vec4<f32>(y[at_y + q4], y[at_y + q5], y[at_y + q6], y[at_y + q7]);
    let x0 = x[at_x + row]; d0a += x0 * ya; d0b += x0 * yb;
    let x1 = x[at_x + s1]; d1a += x1 * ya; d1b += x1 * yb;
    let x2 = x[at_x + s2]; d2a += x2 * ya; d2b += x2 * yb;
    let x3 = x[at_x + s3]; d3a += x3 * ya; d3b += x3 * yb;
    let x4 = x[at_x + s4]; d4a += x4 * ya; d4b += x4 * yb;
    let x5 = x[at_x + s5]; d5a += x5 * ya; d5b += x5 * yb;
    let x6 = x[at_x + s6]; d6a += x6 * ya; d6b += x6 * yb;
    let x7 = x[at_x + s7]; d7a += x7 * ya; d7b += x7 * yb;
  }
  store_weights(head, row, col, d0a, d0b);
  store_weights(head, row + 1u, col, d1a, d1b);
  store_weights(head, row + 2u, col, d2a, d2b);
  store_weights(head, row + 3u, col, d3a, d3b);
  store_weights(head, row + 4u, col, d4a, d4b);
  store_weights(head, row + 5u, col, d5a, d5b);
  store_weights(head, row + 6u, col, d6a, d6b);
  store_weights(head, row + 7u, col, d7a, d7b);
}

@compute @workgroup_size(256)
fn backward_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) index: u32) {
  let number = linear_group(group, groups);
  let across = (params.cols + COLS - 1u) / COLS;
  let down = (params.inner + ROWS - 1u) / ROWS;
  let head = number / (across * down);
  let row = number / across % down * ROWS;
  let col = number % across * COLS;
  let ty = 2u * (index / 16u);
  let tx = 4u * (index % 16u);
  var d0 = vec4<f32>(0.0);
  var d1 = vec4<f32>(0.0);
  var range = vec2<u32>(0u);
  // The last row of a folded dispatch may have groups of no head.
  if (head < params.heads) { range = positions(head); }
  for (var start = range.x; start < range.y; start += DEPTH) {
    for (var e = index; e < DEPTH * ROWS; e += 256u) {
      let k = e / ROWS;
      let r = e % ROWS;
      var v = 0.0;
      if (start + k < range.y && row + r < params.inner) { v = x[order[start + k] * params.inner + row + r]; }
      tile_a[k * ROWS + r] = v;
    }
    for (var e = index; e < DEPTH * COLS; e += 256u) {
      let k = e / COLS;
      let q = e % COLS;
      var v = 0.0;
      if (start + k < range.y && col + q < params.cols) { v = y[order[start + k] * params.cols + col + q]; }
      tile_b[k * COLS + q] = v;
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let vb = row_of_b(k, tx);
      d0 += tile_a[k * ROWS + ty] * vb;
      d1 += tile_a[k * ROWS + ty + 1u] * vb;
    }
    workgroupBarrier();
  }
  if (head < params.heads) {
    for (var j = 0u; j < 4u; j++) {
      store_weight(head, row + ty, col + tx + j, d0[j]);
      store_weight(head, row + ty + 1u, col + tx + j, d1[j]);
    }
  }
}

@group(0) @binding(2) var<storage, read> summed: array<f32>; // [rows, cols]
@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // [heads, cols]

@compute @workgroup_size(64)
fn backward_bias(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.heads * params.cols) { return; }
  let range = positions(i / params.cols);
  var sum = 0.0;
  for (var p = range.x; p < range.y; p++) { sum += summed[order[p] * params.cols + i % params.cols]; }
  if (ACCUMULATE) { sum += sums[i]; }
  sums[i] = sum;
}

const BLOCK: u32 = 256u;

@group(0) @binding(0) var<storage, read> assignment: array<u32>; // [rows]
@group(0) @binding(1) var<storage, read_write> counts: array<u32>; // [heads + 1, blocks]

// Of the rows of a block, those of a head; the rows of no head are those of one more.
struct Part { head: u32, first: u32, last: u32 }

fn part_of(i: u32) -> Part {
  let blocks = (params.rows + BLOCK - 1u) / BLOCK;
  let first = i % blocks * BLOCK;
  return Part(i / blocks, first, min(first + BLOCK, params.rows));
}

fn head_of(row: u32) -> u32 { return min(assignment[row], params.heads); }

@compute @workgroup_size(64)
fn count(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let part = part_of(i);
  if (part.head > params.heads) { return; }
  var n = 0u;
  for (var row = part.first; row < part.last; row++) { n += select(0u, 1u, head_of(row) == part.head); }
  counts[i] = n;
}

const LANES: u32 = 64u;
@group(0) @binding(0) var<storage, read_write> scanned: array<u32>; // [heads + 1, blocks], the counts
@group(0) @binding(1) var<storage, read_write> found: array<u32>; // [heads + 2], the starts
var<workgroup> lane_sums: array<u32, LANES>;

// Counts become the sums of all counts before them: a head's rows of a block follow those of blocks and heads before.
@compute @workgroup_size(LANES)
fn scan(@builtin(local_invocation_index) lane: u32) {
  let blocks = (params.rows + BLOCK - 1u) / BLOCK;
  let length = (params.heads + 1u) * blocks;
  let chunk = (length + LANES - 1u) / LANES;
  let first = min(lane * chunk, length);
  let last = min(first + chunk, length);
  var sum = 0u;
  for (var i = first; i < last; i++) { sum += scanned[i]; }
  lane_sums[lane] = sum;
  workgroupBarrier();
  sum = 0u;
  for (var other = 0u; other < lane; other++) { sum += lane_sums[other]; }
  for (var i = first; i < last; i++) {
    if (i % blocks == 0u) { found[i / blocks] = sum; }
    let n = scanned[i];
    scanned[i] = sum;
    sum += n;
  }
  if (lane == 0u) { found[params.heads + 1u] = params.rows; }
}

@group(0) @binding(1) var<storage, read> offsets: array<u32>; // [heads + 1, blocks]
@group(0) @binding(2) var<storage, read_write> placed: array<u32>; // [rows], the order

@compute @workgroup_size(64)
fn place(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let part = part_of(i);
  if (part.head > params.heads) { return; }
  var at = offsets[i];
  for (var row = part.first; row < part.last; row++) {
    if (head_of(row) == part.head) {
      placed[at] = row;
      at++;
    }
  }
}
