// C = f(op(A) op(B) + bias): A [m, k] (or its transpose as stored), B [k, n] (or its transpose), bias [n].
// Only the inner indices first..last are summed; with ACCUMULATE they are added to what C holds.
// TRANSPOSE_A/B tell how the operands are stored; `activated` is f, of shared/activation.
//
// `forward` is the plan for software adapters: one invocation owns an 8 x 8 tile of C in registers, no workgroup memory; rows and columns
// past the edge are clamped while loading and skipped while storing. `multiply_tiled` and `multiply_wide` are the plans for GPUs, through
// tiles in workgroup memory: 64 x 64 of C, 4 x 4 per invocation; or 128 x 128, 8 x 8 per invocation, with loads of four elements, where the
// rows of both operands are whole fours. With few tiles and many inner indices workgroups share a tile (split k): slice z of `slice` inner
// indices writes its own product, and `fold` adds them up.
// `backward` is the activation's: dy f'(.) from the output, the operands' gradients being products themselves.
#import index
#import activation

struct Params { m: u32, n: u32, k: u32, first: u32, last: u32, slice: u32 }

override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override BIAS: bool = false;
override ACCUMULATE: bool = false;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

fn load_a(row: u32, k: u32) -> f32 {
  if (TRANSPOSE_A) { return a[k * params.m + row]; }
  return a[row * params.k + k];
}

fn load_b(k: u32, col: u32) -> f32 {
  if (TRANSPOSE_B) { return b[col * params.k + k]; }
  return b[k * params.n + col];
}

fn store(row: u32, col: u32, value: f32) {
  if (row >= params.m || col >= params.n) { return; }
  var v = value;
  if (ACCUMULATE) { v += c[row * params.n + col]; }
  if (BIAS) { v += bias[col]; }
  c[row * params.n + col] = activated(v);
}

fn store_row(row: u32, col: u32, x: vec4<f32>, y: vec4<f32>) {
  for (var j = 0u; j < 4u; j++) {
    store(row, col + j, x[j]);
    store(row, col + 4u + j, y[j]);
  }
}

@compute @workgroup_size(8, 8)
fn forward(@builtin(global_invocation_id) global: vec3<u32>) {
  let row = global.y * 8u;
  let col = global.x * 8u;
  if (row >= params.m || col >= params.n) { return; }
  let r0 = min(row + 0u, params.m - 1u);
  let r1 = min(row + 1u, params.m - 1u);
  let r2 = min(row + 2u, params.m - 1u);
  let r3 = min(row + 3u, params.m - 1u);
  let r4 = min(row + 4u, params.m - 1u);
  let r5 = min(row + 5u, params.m - 1u);
  let r6 = min(row + 6u, params.m - 1u);
  let r7 = min(row + 7u, params.m - 1u);
  let q0 = min(col + 0u, params.n - 1u);
  let q1 = min(col + 1u, params.n - 1u);
  let q2 = min(col + 2u, params.n - 1u);
  let q3 = min(col + 3u, params.n - 1u);
  let q4 = min(col + 4u, params.n - 1u);
  let q5 = min(col + 5u, params.n - 1u);
  let q6 = min(col + 6u, params.n - 1u);
  let q7 = min(col + 7u, params.n - 1u);
  var c0a = vec4<f32>(0.0);
  var c0b = vec4<f32>(0.0);
  var c1a = vec4<f32>(0.0);
  var c1b = vec4<f32>(0.0);
  var c2a = vec4<f32>(0.0);
  var c2b = vec4<f32>(0.0);
  var c3a = vec4<f32>(0.0);
  var c3b = vec4<f32>(0.0);
  var c4a = vec4<f32>(0.0);
  var c4b = vec4<f32>(0.0);
  var c5a = vec4<f32>(0.0);
  var c5b = vec4<f32>(0.0);
  var c6a = vec4<f32>(0.0);
  var c6b = vec4<f32>(0.0);
  var c7a = vec4<f32>(0.0);
  var c7b = vec4<f32>(0.0);
  for (var k = params.first; k < params.last; k++) {
    let a0 = load_a(r0, k);
    let a1 = load_a(r1, k);
    let a2 = load_a(r2, k);
    let a3 = load_a(r3, k);
    let a4 = load_a(r4, k);
    let a5 = load_a(r5, k);
    let a6 = load_a(r6, k);
    let a7 = load_a(r7, k);
    let ba = vec4<f32>(load_b(k, q0), load_b(k, q1), load_b(k, q2), load_b(k, q3));
    let bb = vec4<f32>(load_b(k, q4), load_b(k, q5), load_b(k, q6), load_b(k, q7));
    c0a += a0 * ba; c0b += a0 * bb;
    c1a += a1 * ba; c1b += a1 * bb;
    c2a += a2 * ba; c2b += a2 * bb;
    c3a += a3 * ba; c3b += a3 * bb;
    c4a += a4 * ba; c4b += a4 * bb;
    c5a += a5 * ba; c5b += a5 * bb;
    c6a += a6 * ba; c6b += a6 * bb;
    c7a += a7 * ba; c7b += a7 * bb;
  }
  store_row(row + 0u, col, c0a, c0b);
  store_row(row + 1u, col, c1a, c1b);
  store_row(row + 2u, col, c2a, c2b);
  store_row(row + 3u, col, c3a, c3b);
  store_row(row + 4u, col, c4a, c4b);
  store_row(row + 5u, col, c5a, c5b);
  store_row(row + 6u, col, c6a, c6b);
  store_row(row + 7u, col, c7a, c7b);
}

const DEPTH: u32 = 16u;
const TILE: u32 = 64u;
var<workgroup> tile_a: array<f32, 1024>; // [DEPTH, TILE]
var<workgroup> tile_b: array<f32, 1024>;

@compute @workgroup_size(16, 16)
fn multiply_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>,
                  @builtin(local_invocation_index) index: u32) {
  let row = group.y * TILE;
  let col = group.x * TILE;
  var sums: array<vec4<f32>, 4>;
  for (var i = 0u; i < 4u; i++) { sums[i] = vec4<f32>(0.0); }
  let range = slice_of(group.z);
  for (var start = range.x; start < range.y; start += DEPTH) {
    for (var e = index; e < DEPTH * TILE; e += 256u) {
      // Neighbours in e are neighbours in memory, whichever way the operand is stored.
      let ka = select(e % DEPTH, e / TILE, TRANSPOSE_A);
      let ra = select(e / DEPTH, e % TILE, TRANSPOSE_A);
      tile_a[ka * TILE + ra] = 0.0;
      if (start + ka < range.y && row + ra < params.m) { tile_a[ka * TILE + ra] = load_a(row + ra, start + ka); }
      let kb = select(e / TILE, e % DEPTH, TRANSPOSE_B);
      let cb = select(e % TILE, e / DEPTH, TRANSPOSE_B);
      tile_b[kb * TILE + cb] = 0.0;
      if (start + kb < range.y && col + cb < params.n) { tile_b[kb * TILE + cb] = load_b(start + kb, col + cb); }
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let at = k * TILE + local.x * 4u;
      let vb = vec4<f32>(tile_b[at], tile_b[at + 1u], tile_b[at + 2u], tile_b[at + 3u]);
      for (var i = 0u; i < 4u; i++) { sums[i] += tile_a[k * TILE + local.y * 4u + i] * vb; }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    for (var j = 0u; j < 4u; j++) { store_slice(group.z, row + local.y * 4u + i, col + local.x * 4u + j, sums[i][j]); }
  }
}

// 8 inner indices of 128 rows and of 128 columns, an invocation's rows being 4 ty .. 4 ty + 3 and 64 further on, its columns likewise.
const WIDE_DEPTH: u32 = 8u;
const WIDE: u32 = 128u;
var<workgroup> wide_a: array<f32, 1024>; // [WIDE_DEPTH, WIDE]
var<workgroup> wide_b: array<f32, 1024>;

@group(0) @binding(0) var<storage, read> a4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b4: array<vec4<f32>>;

// Where the four elements that an invocation loads stand: (line of the tile, inner index), lines being rows of A or columns of B. ALONG:
// the four are neighbours along the inner index.
fn place(index: u32, along: bool) -> vec2<u32> {
  return select(vec2<u32>(4u * (index % 32u), index / 32u), vec2<u32>(index / 2u, 4u * (index % 2u)), along);
}

fn wide_row(at: u32) -> vec4<f32> { return vec4<f32>(wide_b[at], wide_b[at + 1u], wide_b[at + 2u], wide_b[at + 3u]); }

@compute @workgroup_size(256)
fn multiply_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = group.y * WIDE;
  let col = group.x * WIDE;
  let ty = 4u * (index / 16u);
  let tx = 4u * (index % 16u);
  let pa = place(index, !TRANSPOSE_A);
  let pb = place(index, TRANSPOSE_B);
  let range = slice_of(group.z);
  var c0a = vec4<f32>(0.0); var c0b = vec4<f32>(0.0);
  var c1a = vec4<f32>(0.0); var c1b = vec4<f32>(0.0);
  var c2a = vec4<f32>(0.0); var c2b = vec4<f32>(0.0);
  var c3a = vec4<f32>(0.0); var c3b = vec4<f32>(0.0);
  var c4a = vec4<f32>(0.0); var c4b = vec4<f32>(0.0);
  var c5a = vec4<f32>(0.0); var c5b = vec4<f32>(0.0);
  var c6a = vec4<f32>(0.0); var c6b = vec4<f32>(0.0);
  var c7a = vec4<f32>(0.0); var c7b = vec4<f32>(0.0);
  for (var start = range.x; start < range.y; start += WIDE_DEPTH) {
    let ka = start + pa.y;
    let kb = start + pb.y;
    var va = vec4<f32>(0.0);
    var vb = vec4<f32>(0.0);
    if (ka < range.y && row + pa.x < params.m) {
      va = a4[select((row + pa.x) * params.k + ka, ka * params.m + row + pa.x, TRANSPOSE_A) / 4u];
    }
    if (kb < range.y && col + pb.x < params.n) {
      vb = b4[select(kb * params.n + col + pb.x, (col + pb.x) * params.k + kb, TRANSPOSE_B) / 4u];
    }
    for (var j = 0u; j < 4u; j++) {
      wide_a[select((pa.y + j) * WIDE + pa.x, pa.y * WIDE + pa.x + j, TRANSPOSE_A)] = va[j];
      wide_b[select(pb.y * WIDE + pb.x + j, (pb.y + j) * WIDE + pb.x, TRANSPOSE_B)] = vb[j];
    }
    workgroupBarrier();
    for (var k = 0u; k < WIDE_DEPTH; k++) {
      let ra = k * WIDE + ty;
      let ba = wide_row(k * WIDE + tx);
      let bb = wide_row(k * WIDE + 64u + tx);
      c0a += wide_a[ra] * ba; c0b += wide_a[ra] * bb;
      c1a += wide_a[ra + 1u] * ba; c1b += wide_a[ra + 1u] * bb;
      c2a += wide_a[ra + 2u] * ba; c2b += wide_a[ra + 2u] * bb;
      c3a += wide_a[ra + 3u] * ba; c3b += wide_a[ra + 3u] * bb;
      c4a += wide_a[ra + 64u] * ba; c4b += wide_a[ra + 64u] * bb;
      c5a += wide_a[ra + 65u] * ba; c5b += wide_a[ra + 65u] * bb;
      c6a += wide_a[ra + 66u] * ba; c6b += wide_a[ra + 66u] * bb;
      c7a += wide_a[ra + 67u] * ba; c7b += wide_a[ra + 67u] * bb;
    }
    workgroupBarrier();
  }
  let r = row + ty;
  let q = col + tx;
  store_wide(group.z, r, q, c0a, c0b);
  store_wide(group.z, r + 1u, q, c1a, c1b);
  store_wide(group.z, r + 2u, q, c2a, c2b);
  store_wide(group.z, r + 3u, q, c3a, c3b);
  store_wide(group.z, r + 64u, q, c4a, c4b);
  store_wide(group.z, r + 65u, q, c5a, c5b);
  store_wide(group.z, r + 66u, q, c6a, c6b);
  store_wide(group.z, r + 67u, q, c7a, c7b);
}

fn store_wide(z: u32, row: u32, col: u32, x: vec4<f32>, y: vec4<f32>) {
  for (var j = 0u; j < 4u; j++) {
    store_slice(z, row, col + j, x[j]);
    store_slice(z, row, col + 64u + j, y[j]);
  }
}

// The inner indices of a slice: all from first to last where slices is 0.
fn slice_of(z: u32) -> vec2<u32> {
  if (params.slice == 0u) { return vec2<u32>(params.first, params.last); }
  let first = params.first + z * params.slice;
  return vec2<u32>(first, min(first + params.slice, params.last));
}

fn store_slice(z: u32, row: u32, col: u32, value: f32) {
  if (params.slice == 0u) {
    store(row, col, value);
  } else if (row < params.m && col < params.n) {
    c[(z * params.m + row) * params.n + col] = value;
  }
}

@group(0) @binding(0) var<storage, read> slices: array<f32>; // [k slices, m, n]
@group(0) @binding(1) var<storage, read> fold_bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> folded: array<f32>;

// The sum of `slice` products, in order.
@compute @workgroup_size(64)
fn fold(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.m * params.n) { return; }
  var sum = 0.0;
  for (var z = 0u; z < params.slice; z++) { sum += slices[z * params.m * params.n + i]; }
  if (BIAS) { sum += fold_bias[i % params.n]; }
  folded[i] = activated(sum);
}

@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.m * params.n) { return; }
  var d = 1.0;
  switch ACTIVATION {
    case 1u: { d = select(0.0, 1.0, y[i] > 0.0); }
    case 2u: { d = 1.0 - y[i] * y[i]; }
    case 3u: { d = y[i] * (1.0 - y[i]); }
    default: {}
  }
  dx[i] = dy[i] * d;
}
