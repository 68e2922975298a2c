// Relaxed sorting operators of each row of scores, applied without their matrix. With t the scores in descending order, P in the order of t is
//   NeuralSort  P[i, r] = softmax_r(((n - 1 - 2 i) t_r - Σ_l |t_r - t_l|) / T),  SoftSort  P[i, r] = softmax_r(-|t_i - t_r| / T).
// Both exponents are 0 at r = i, the largest, and fall away from it by gaps g of neighbouring t, which all have one sign:
//   along a row, from distance d - 1 to d     NeuralSort  -g (2 d - 1) / T             SoftSort  -g / T
//   along a column                            NeuralSort  -(2 Σ of gaps before + g) / T   SoftSort  -g / T
// So nothing cancels, outliers do no harm, and a walk away from the diagonal may end where exponents are below -CUT. An invocation owns TILE
// rows or columns, as the components of a mat4x4, and walks up, then down: what it loads in a turn serves all of them.
#import index
#import math

override NEURAL: bool = true; // or SoftSort
override TILE: u32 = 16u; // 8 or 16
override COLUMNS: u32 = 8u; // of x in a turn: 1, 4 or 8
override PRODUCT: bool = true; // in `backward_columns`: the product
override SLOPES: bool = true; // in `backward_columns`: the sums for the scores
override SCATTER: bool = false; // in `permute`

struct Params { rows: u32, length: u32, columns: u32, first: u32, chunks: u32, temperature: f32 }

@group(0) @binding(0) var<storage, read> sorted: array<f32>; // [rows, length], descending
@group(0) @binding(1) var<storage, read> order: array<u32>; // [rows, length], where they stand in the row
@group(0) @binding(2) var<storage, read> x: array<f32>; // [rows, length, columns]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [rows, length, columns]
@group(0) @binding(4) var<storage, read_write> inverse_out: array<f32>; // [rows, length]
@group(1) @binding(0) var<uniform> params: Params;

const CUT: f32 = -40.0; // n^2 e^-40 is nothing beside 1
const ONES: mat4x4<f32> = mat4x4<f32>(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0);
const COUNT: mat4x4<f32> = mat4x4<f32>(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0);

// Neighbouring invocations own neighbouring tiles of a row. live is false past the last.
struct Place { live: bool, row: u32, base: u32, first: u32, length: u32, columns: u32, column: u32, temperature: f32 }

fn place_of(id: u32) -> Place {
  let length = params.length;
  let tiles = (length + TILE - 1u) / TILE;
  let row = (id / tiles) % params.rows;
  let column = params.first + id / (tiles * params.rows) * COLUMNS;
  let live = id < tiles * params.rows * params.chunks;
  return Place(live, row, row * length, id % tiles * TILE, length, params.columns, column, params.temperature);
}

struct Walk { at: i32, step: i32, last: f32, beyond: f32, distance: mat4x4<f32>, exponent: mat4x4<f32>, away: mat4x4<f32> }

// Up from the first of the tile, which takes the diagonal along, or down from its last.
fn walk_from(place: Place, side: u32) -> Walk {
  var walk: Walk;
  walk.at = i32(place.first);
  walk.step = 1;
  walk.beyond = -0.5;
  walk.distance = -1.0 * COUNT;
  if (side == 1u) {
    let last = min(place.first + TILE, place.length) - 1u;
    walk.at = i32(last);
    walk.step = -1;
    walk.beyond = 0.5;
    walk.distance = COUNT - f32(last - place.first) * ONES;
  }
  walk.last = sorted[place.base + u32(walk.at)];
  return walk;
}

// The gap to the next score, over the temperature; finite, so that its product with 0 is 0.
fn gap_to(walk: ptr<function, Walk>, t: f32, temperature: f32) -> f32 {
  let gap = min(abs(t - (*walk).last) / temperature, 1e30);
  (*walk).last = t;
  return gap;
}

fn row_weight(distance: vec4<f32>) -> vec4<f32> {
  if (NEURAL) { return max(2.0 * distance - 1.0, vec4<f32>(0.0)); }
  return clamp(distance, vec4<f32>(0.0), vec4<f32>(1.0));
}

fn along_rows(walk: ptr<function, Walk>, gap: f32) {
  let d = (*walk).distance;
  (*walk).exponent -= gap * mat4x4<f32>(row_weight(d[0]), row_weight(d[1]), row_weight(d[2]), row_weight(d[3]));
}

fn begun(distance: vec4<f32>) -> vec4<f32> { return clamp(distance, vec4<f32>(0.0), vec4<f32>(1.0)); }

fn along_columns(walk: ptr<function, Walk>, gap: f32) {
  let d = (*walk).distance;
  let step = gap * mat4x4<f32>(begun(d[0]), begun(d[1]), begun(d[2]), begun(d[3]));
  if (NEURAL) {
    (*walk).exponent -= 2.0 * (*walk).away + step;
    (*walk).away += step;
  } else {
    (*walk).exponent -= step;
  }
}

// The exponent of the nearest of the tile, which is the largest.
fn nearest(walk: Walk) -> f32 { return select(walk.exponent[0].x, walk.exponent[TILE / 4u - 1u].w, walk.step > 0); }

fn inside(walk: Walk, place: Place) -> bool { return walk.at >= 0 && walk.at < i32(place.length); }

fn cell4(exponent: vec4<f32>, distance: vec4<f32>, beyond: f32) -> vec4<f32> {
  return select(vec4<f32>(0.0), f_exp4(exponent), distance > vec4<f32>(beyond));
}

fn cells(walk: Walk) -> mat4x4<f32> {
  let e = walk.exponent;
  let d = walk.distance;
  return mat4x4<f32>(cell4(e[0], d[0], walk.beyond), cell4(e[1], d[1], walk.beyond), cell4(e[2], d[2], walk.beyond), cell4(e[3], d[3], walk.beyond));
}

// Row sums are 1 at least. NaN where the row of scores holds NaN: from here it spreads to everything.
fn inverses(sum: mat4x4<f32>, t: f32) -> mat4x4<f32> {
  let one = select(1.0, t, is_nan(t)) * ONES;
  return mat4x4<f32>(one[0] / sum[0], one[1] / sum[1], one[2] / sum[2], one[3] / sum[3]);
}

fn times(a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> { return mat4x4<f32>(a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]); }

// Up to eight columns of x, those past the end in the place of its last.
struct Eight { a: vec4<f32>, b: vec4<f32> }

fn x_at(element: u32, place: Place) -> Eight {
  let e = element * place.columns;
  let c = place.column;
  let last = place.columns - 1u;
  var r: Eight;
  r.a.x = x[e + c];
  if (COLUMNS > 1u) {
    r.a.y = x[e + min(c + 1u, last)];
    r.a.z = x[e + min(c + 2u, last)];
    r.a.w = x[e + min(c + 3u, last)];
  }
  if (COLUMNS > 4u) {
    r.b.x = x[e + min(c + 4u, last)];
    r.b.y = x[e + min(c + 5u, last)];
    r.b.z = x[e + min(c + 6u, last)];
    r.b.w = x[e + min(c + 7u, last)];
  }
  return r;
}

struct Tile { c: array<mat4x4<f32>, 8> } // a matrix for each column

fn add_outer(sums: ptr<function, Tile>, e: mat4x4<f32>, v: Eight) {
  (*sums).c[0] += v.a.x * e;
  if (COLUMNS > 1u) {
    (*sums).c[1] += v.a.y * e;
    (*sums).c[2] += v.a.z * e;
    (*sums).c[3] += v.a.w * e;
  }
  if (COLUMNS > 4u) {
    (*sums).c[4] += v.b.x * e;
    (*sums).c[5] += v.b.y * e;
    (*sums).c[6] += v.b.z * e;
    (*sums).c[7] += v.b.w * e;
  }
}

// Four rows of a column of the results, from position k of the tile on.
fn put_y(v: vec4<f32>, k: u32, c: u32, place: Place) {
  let at = place.first + k;
  let e = (place.base + at) * place.columns + place.column + c;
  if (at < place.length) { y[e] = v.x; }
  if (at + 1u < place.length) { y[e + place.columns] = v.y; }
  if (at + 2u < place.length) { y[e + 2u * place.columns] = v.z; }
  if (at + 3u < place.length) { y[e + 3u * place.columns] = v.w; }
}

fn put_column(m: mat4x4<f32>, c: u32, place: Place) {
  if (c >= COLUMNS || place.column + c >= place.columns) { return; }
  put_y(m[0], 0u, c, place);
  put_y(m[1], 4u, c, place);
  if (TILE > 8u) {
    put_y(m[2], 8u, c, place);
    put_y(m[3], 12u, c, place);
  }
}

fn put_inverse(v: vec4<f32>, k: u32, place: Place) {
  let at = place.first + k;
  if (at < place.length) { inverse_out[place.base + at] = v.x; }
  if (at + 1u < place.length) { inverse_out[place.base + at + 1u] = v.y; }
  if (at + 2u < place.length) { inverse_out[place.base + at + 2u] = v.z; }
  if (at + 3u < place.length) { inverse_out[place.base + at + 3u] = v.w; }
}

// y = P x, and the reciprocals of the sums of rows.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let place = place_of(linear_id(global, groups, 64u));
  if (!place.live) { return; }
  var sums: Tile;
  var total = mat4x4<f32>();
  for (var side = 0u; side < 2u; side++) {
    var walk = walk_from(place, side);
    for (; inside(walk, place); walk.at += walk.step) {
      let p = place.base + u32(walk.at);
      let gap = gap_to(&walk, sorted[p], place.temperature);
      along_rows(&walk, gap);
      if (nearest(walk) < CUT) { break; }
      let e = cells(walk);
      total += e;
      add_outer(&sums, e, x_at(place.base + order[p], place));
      walk.distance += ONES;
    }
  }
  let inverse = inverses(total, sorted[place.base]);
  if (place.column == 0u) {
    put_inverse(inverse[0], 0u, place);
    put_inverse(inverse[1], 4u, place);
    if (TILE > 8u) {
      put_inverse(inverse[2], 8u, place);
      put_inverse(inverse[3], 12u, place);
    }
  }
  put_column(times(sums.c[0], inverse), 0u, place);
  put_column(times(sums.c[1], inverse), 1u, place);
  put_column(times(sums.c[2], inverse), 2u, place);
  put_column(times(sums.c[3], inverse), 3u, place);
  put_column(times(sums.c[4], inverse), 4u, place);
  put_column(times(sums.c[5], inverse), 5u, place);
  put_column(times(sums.c[6], inverse), 6u, place);
  put_column(times(sums.c[7], inverse), 7u, place);
}

@group(0) @binding(1) var<storage, read_write> sums_of_rows: array<f32>; // [rows, length]

fn put_sum(v: vec4<f32>, k: u32, place: Place) {
  let at = place.first + k;
  if (at < place.length) { sums_of_rows[place.base + at] = v.x; }
  if (at + 1u < place.length) { sums_of_rows[place.base + at + 1u] = v.y; }
  if (at + 2u < place.length) { sums_of_rows[place.base + at + 2u] = v.z; }
  if (at + 3u < place.length) { sums_of_rows[place.base + at + 3u] = v.w; }
}

// The reciprocals alone.
@compute @workgroup_size(64)
fn normalise(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let place = place_of(linear_id(global, groups, 64u));
  if (!place.live) { return; }
  var total = mat4x4<f32>();
  for (var side = 0u; side < 2u; side++) {
    var walk = walk_from(place, side);
    for (; inside(walk, place); walk.at += walk.step) {
      let gap = gap_to(&walk, sorted[place.base + u32(walk.at)], place.temperature);
      along_rows(&walk, gap);
      if (nearest(walk) < CUT) { break; }
      total += cells(walk);
      walk.distance += ONES;
    }
  }
  let inverse = inverses(total, sorted[place.base]);
  put_sum(inverse[0], 0u, place);
  put_sum(inverse[1], 4u, place);
  if (TILE > 8u) {
    put_sum(inverse[2], 8u, place);
    put_sum(inverse[3], 12u, place);
  }
}

@group(0) @binding(2) var<storage, read> inverse_of: array<f32>; // [rows, length]
@group(0) @binding(3) var<storage, read_write> p_out: array<f32>; // [rows, length, length]

fn put_p(v: vec4<f32>, k: u32, item: u32, place: Place, beyond: f32, distance: vec4<f32>) {
  let at = place.first + k;
  let p = place.base + at;
  let e = p * place.length + item;
  if (at < place.length && distance.x > beyond) { p_out[e] = v.x * inverse_of[p]; }
  if (at + 1u < place.length && distance.y > beyond) { p_out[e + place.length] = v.y * inverse_of[p + 1u]; }
  if (at + 2u < place.length && distance.z > beyond) { p_out[e + 2u * place.length] = v.z * inverse_of[p + 2u]; }
  if (at + 3u < place.length && distance.w > beyond) { p_out[e + 3u * place.length] = v.w * inverse_of[p + 3u]; }
}

// P itself, to the last entry.
@compute @workgroup_size(64)
fn matrix(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let place = place_of(linear_id(global, groups, 64u));
  if (!place.live) { return; }
  for (var side = 0u; side < 2u; side++) {
    var walk = walk_from(place, side);
    for (; inside(walk, place); walk.at += walk.step) {
      let p = place.base + u32(walk.at);
      let gap = gap_to(&walk, sorted[p], place.temperature);
      along_rows(&walk, gap);
      let e = cells(walk);
      let item = order[p];
      put_p(e[0], 0u, item, place, walk.beyond, walk.distance[0]);
      put_p(e[1], 4u, item, place, walk.beyond, walk.distance[1]);
      if (TILE > 8u) {
        put_p(e[2], 8u, item, place, walk.beyond, walk.distance[2]);
        put_p(e[3], 12u, item, place, walk.beyond, walk.distance[3]);
      }
      walk.distance += ONES;
    }
  }
}

// Of the columns of P. x stands at the places of rows of P (positions), items at those of its columns; pulls[i] = Σ_c x[i, c] (P items)[i, c].
// With dz[i, r] = P[i, r] (Σ_c x[i, c] items[r, c] - pulls[i]) / T, slopes are Σ_i dz and Σ_i dz w: NeuralSort w = 2 (r - i),
// SoftSort w = sign(t_i - t_r). A dispatch adds what `COLUMNS` columns of x give, the first of them writes.
@group(0) @binding(3) var<storage, read> inverse_in: array<f32>; // [rows, length]
@group(0) @binding(4) var<storage, read> items: array<f32>; // [rows, length, columns]
@group(0) @binding(5) var<storage, read> pulls: array<f32>; // [rows, length]
@group(0) @binding(6) var<storage, read_write> product: array<f32>; // [rows, length, columns]
@group(0) @binding(7) var<storage, read_write> slopes: array<f32>; // [rows, length, 2]

// Where the four items from k of the tile on stand, the last of the row in the place of those past its end.
fn items4(place: Place, k: u32) -> vec4<u32> {
  let p = min(vec4<u32>(place.first + k) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(place.length - 1u)) + place.base;
  return vec4<u32>(order[p.x], order[p.y], order[p.z], order[p.w]) + place.base;
}

struct Items { a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32> }

fn items_of(place: Place) -> Items {
  var r: Items;
  r.a = items4(place, 0u);
  r.b = items4(place, 4u);
  if (TILE > 8u) {
    r.c = items4(place, 8u);
    r.d = items4(place, 12u);
  }
  return r;
}

fn item_column4(at: vec4<u32>, column: u32, place: Place) -> vec4<f32> {
  let e = at * place.columns + min(column, place.columns - 1u);
  let v = vec4<f32>(items[e.x], items[e.y], items[e.z], items[e.w]);
  return select(vec4<f32>(0.0), v, column < place.columns);
}

// Column c of the items of the tile: zeros past the last.
fn item_column(all: Items, c: u32, place: Place) -> mat4x4<f32> {
  var m: mat4x4<f32>;
  if (c >= COLUMNS) { return m; }
  m[0] = item_column4(all.a, place.column + c, place);
  m[1] = item_column4(all.b, place.column + c, place);
  if (TILE > 8u) {
    m[2] = item_column4(all.c, place.column + c, place);
    m[3] = item_column4(all.d, place.column + c, place);
  }
  return m;
}

fn dots(all: Tile, v: Eight) -> mat4x4<f32> {
  var d = v.a.x * all.c[0];
  if (COLUMNS > 1u) { d += v.a.y * all.c[1] + v.a.z * all.c[2] + v.a.w * all.c[3]; }
  if (COLUMNS > 4u) { d += (v.b.x * all.c[4] + v.b.y * all.c[5]) + (v.b.z * all.c[6] + v.b.w * all.c[7]); }
  return d;
}

// +1 or -1 away from the diagonal, 0 for a score that is tied with it.
fn apart(exponent: vec4<f32>) -> vec4<f32> { return select(vec4<f32>(1.0), vec4<f32>(0.0), exponent == vec4<f32>(0.0)); }

fn lean_of(walk: Walk) -> mat4x4<f32> {
  let away = f32(-walk.step);
  if (NEURAL) { return (2.0 * away) * walk.distance; }
  let e = walk.exponent;
  return away * mat4x4<f32>(apart(e[0]), apart(e[1]), apart(e[2]), apart(e[3]));
}

fn put_product(m: mat4x4<f32>, c: u32, all: Items, place: Place) {
  if (c >= COLUMNS || place.column + c >= place.columns) { return; }
  let column = place.column + c;
  put_product4(m[0], 0u, all.a * place.columns + column, place);
  put_product4(m[1], 4u, all.b * place.columns + column, place);
  if (TILE > 8u) {
    put_product4(m[2], 8u, all.c * place.columns + column, place);
    put_product4(m[3], 12u, all.d * place.columns + column, place);
  }
}

fn put_product4(v: vec4<f32>, k: u32, e: vec4<u32>, place: Place) {
  let at = place.first + k;
  if (at < place.length) { product[e.x] = v.x; }
  if (at + 1u < place.length) { product[e.y] = v.y; }
  if (at + 2u < place.length) { product[e.z] = v.z; }
  if (at + 3u < place.length) { product[e.w] = v.w; }
}

fn put_slope(at: u32, share: f32, lean: f32, place: Place) {
  if (at >= place.length) { return; }
  let e = 2u * (place.base + at);
  slopes[e] = select(slopes[e], 0.0, place.column == 0u) + share;
  slopes[e + 1u] = select(slopes[e + 1u], 0.0, place.column == 0u) + lean;
}

fn put_slopes(share: vec4<f32>, lean: vec4<f32>, k: u32, place: Place) {
  put_slope(place.first + k, share.x, lean.x, place);
  put_slope(place.first + k + 1u, share.y, lean.y, place);
  put_slope(place.first + k + 2u, share.z, lean.z, place);
  put_slope(place.first + k + 3u, share.w, lean.w, place);
}

@compute @workgroup_size(64)
fn backward_columns(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let place = place_of(linear_id(global, groups, 64u));
  if (!place.live) { return; }
  let all = items_of(place);
  var values: Tile;
  if (SLOPES) {
    values.c[0] = item_column(all, 0u, place);
    values.c[1] = item_column(all, 1u, place);
    values.c[2] = item_column(all, 2u, place);
    values.c[3] = item_column(all, 3u, place);
    values.c[4] = item_column(all, 4u, place);
    values.c[5] = item_column(all, 5u, place);
    values.c[6] = item_column(all, 6u, place);
    values.c[7] = item_column(all, 7u, place);
  }
  var sums: Tile;
  var share = mat4x4<f32>();
  var lean = mat4x4<f32>();
  for (var side = 0u; side < 2u; side++) {
    var walk = walk_from(place, side);
    for (; inside(walk, place); walk.at += walk.step) {
      let p = place.base + u32(walk.at);
      let gap = gap_to(&walk, sorted[p], place.temperature);
      along_columns(&walk, gap);
      if (nearest(walk) < CUT) { break; }
      let e = inverse_in[p] * cells(walk);
      let v = x_at(p, place);
      if (PRODUCT) { add_outer(&sums, e, v); }
      if (SLOPES) {
        let pull = select(0.0, pulls[p], place.column == 0u);
        let dz = times(e, dots(values, v) - pull * ONES);
        share += dz;
        lean += times(dz, lean_of(walk));
      }
      walk.distance += ONES;
    }
  }
  if (PRODUCT) {
    put_product(sums.c[0], 0u, all, place);
    put_product(sums.c[1], 1u, all, place);
    put_product(sums.c[2], 2u, all, place);
    put_product(sums.c[3], 3u, all, place);
    put_product(sums.c[4], 4u, all, place);
    put_product(sums.c[5], 5u, all, place);
    put_product(sums.c[6], 6u, all, place);
    put_product(sums.c[7], 7u, all, place);
  }
  if (SLOPES) {
    put_slopes(share[0] / place.temperature, lean[0] / place.temperature, 0u, place);
    put_slopes(share[1] / place.temperature, lean[1] / place.temperature, 4u, place);
    if (TILE > 8u) {
      put_slopes(share[2] / place.temperature, lean[2] / place.temperature, 8u, place);
      put_slopes(share[3] / place.temperature, lean[3] / place.temperature, 12u, place);
    }
  }
}

// SoftSort, of the rows of P: Σ_r dz[i, r] sign(t_i - t_r), what its score at the position pulls at. x stands at the items here.
@group(0) @binding(4) var<storage, read> positions: array<f32>; // [rows, length, columns]
@group(0) @binding(6) var<storage, read_write> leans: array<f32>; // [rows, length]

fn positions4(place: Place, k: u32, c: u32) -> vec4<f32> {
  let p = min(vec4<u32>(place.first + k) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(place.length - 1u)) + place.base;
  let e = p * place.columns + min(place.column + c, place.columns - 1u);
  let v = vec4<f32>(positions[e.x], positions[e.y], positions[e.z], positions[e.w]);
  return select(vec4<f32>(0.0), v, c < COLUMNS && place.column + c < place.columns);
}

fn lean_row4(sums: Tile, q: u32, total: vec4<f32>, place: Place) {
  let k = 4u * q;
  var sum = positions4(place, k, 0u) * sums.c[0][q];
  if (COLUMNS > 1u) { sum += positions4(place, k, 1u) * sums.c[1][q] + positions4(place, k, 2u) * sums.c[2][q] + positions4(place, k, 3u) * sums.c[3][q]; }
  if (COLUMNS > 4u) {
    sum += positions4(place, k, 4u) * sums.c[4][q] + positions4(place, k, 5u) * sums.c[5][q];
    sum += positions4(place, k, 6u) * sums.c[6][q] + positions4(place, k, 7u) * sums.c[7][q];
  }
  put_lean(place.first + k, sum.x, total.x, place);
  put_lean(place.first + k + 1u, sum.y, total.y, place);
  put_lean(place.first + k + 2u, sum.z, total.z, place);
  put_lean(place.first + k + 3u, sum.w, total.w, place);
}

fn put_lean(at: u32, sum: f32, total: f32, place: Place) {
  if (at >= place.length) { return; }
  let p = place.base + at;
  let first = place.column == 0u;
  let pull = select(0.0, pulls[p], first);
  leans[p] = select(leans[p], 0.0, first) + (sum - total * pull) * inverse_in[p] / place.temperature;
}

@compute @workgroup_size(64)
fn backward_rows(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let place = place_of(linear_id(global, groups, 64u));
  if (!place.live) { return; }
  var sums: Tile;
  var total = mat4x4<f32>();
  for (var side = 0u; side < 2u; side++) {
    var walk = walk_from(place, side);
    for (; inside(walk, place); walk.at += walk.step) {
      let p = place.base + u32(walk.at);
      let gap = gap_to(&walk, sorted[p], place.temperature);
      along_rows(&walk, gap);
      if (nearest(walk) < CUT) { break; }
      let z = walk.exponent;
      let side_of = f32(walk.step) * mat4x4<f32>(apart(z[0]), apart(z[1]), apart(z[2]), apart(z[3]));
      let e = times(cells(walk), side_of);
      total += e;
      add_outer(&sums, e, x_at(place.base + order[p], place));
      walk.distance += ONES;
    }
  }
  lean_row4(sums, 0u, total[0], place);
  lean_row4(sums, 1u, total[1], place);
  if (TILE > 8u) {
    lean_row4(sums, 2u, total[2], place);
    lean_row4(sums, 3u, total[3], place);
  }
}

@group(0) @binding(0) var<storage, read> a: array<f32>; // [rows, length, columns]
@group(0) @binding(1) var<storage, read> b: array<f32>; // [rows, length, columns]
@group(0) @binding(2) var<storage, read_write> products: array<f32>; // [rows, length]

@compute @workgroup_size(64)
fn pull(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.length) { return; }
  let columns = params.columns;
  var sum = 0.0;
  for (var c = 0u; c < columns; c++) { sum += a[i * columns + c] * b[i * columns + c]; }
  products[i] = sum;
}

@group(0) @binding(2) var<storage, read> slopes_in: array<f32>; // [rows, length, 2]
@group(0) @binding(3) var<storage, read> leans_in: array<f32>; // [rows, length], of SoftSort
@group(0) @binding(4) var<storage, read_write> ds: array<f32>; // [rows, length]

// The gradient of the scores from the sums. With c the sums Σ_i dz of columns, NeuralSort adds Σ of c above - Σ of c below; of tied scores,
// which stand at the positions first..last, none is above another: the derivative of |x| at 0 is 0. An invocation owns a row.
@compute @workgroup_size(64)
fn finish(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let length = params.length;
  let base = row * length;
  var total = 0.0; // of c up to here, and before the ties
  var before = 0.0;
  var bound = 0.0;
  var last = sorted[base];
  for (var r = 0u; r < length; r++) {
    let p = base + r;
    let share = slopes_in[2u * p];
    let lean = slopes_in[2u * p + 1u];
    if (NEURAL) {
      let t = sorted[p];
      if (t != last) {
        before = total;
        bound = f32(r);
      }
      last = t;
      total += share;
      ds[base + order[p]] = lean + (share * (bound - f32(r)) + before);
    } else {
      ds[base + order[p]] = lean - leans_in[p];
    }
  }
  if (!NEURAL) { return; }
  total = 0.0;
  before = 0.0;
  bound = f32(length - 1u);
  for (var i = 0u; i < length; i++) {
    let r = length - 1u - i;
    let p = base + r;
    let share = slopes_in[2u * p];
    let t = sorted[p];
    if (t != last) {
      before = total;
      bound = f32(r);
    }
    last = t;
    total += share;
    ds[base + order[p]] += share * (bound - f32(r)) - before;
  }
}

@group(0) @binding(3) var<storage, read_write> permuted: array<f32>; // [rows, length, columns]

// Rows of x in the order of the scores, or from it back to their places.
@compute @workgroup_size(64)
fn permute(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let id = linear_id(global, groups, 64u);
  let p = id / params.columns;
  if (p >= params.rows * params.length) { return; }
  let c = id % params.columns;
  let base = p / params.length * params.length;
  let from_item = (base + order[p]) * params.columns + c;
  let t = sorted[base];
  let v = x[select(from_item, id, SCATTER)];
  permuted[select(id, from_item, SCATTER)] = select(v, t, is_nan(t));
}

@group(0) @binding(0) var<storage, read> scores: array<f32>; // [rows, length]
@group(0) @binding(1) var<storage, read_write> order_out: array<u32>; // [rows, length]
@group(0) @binding(2) var<storage, read_write> sorted_out: array<f32>; // [rows, length]

// Infinite scores have finite gaps to all others.
fn score_at(e: u32) -> f32 { let s = scores[e]; return select(clamp(s, -1e38, 1e38), s, is_nan(s)); }

fn scores4(place: Place, k: u32) -> vec4<f32> {
  let p = min(vec4<u32>(place.first + k) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(place.length - 1u)) + place.base;
  return vec4<f32>(score_at(p.x), score_at(p.y), score_at(p.z), score_at(p.w));
}

// Of scores l and mine, mine at positions `distance` before l: 1 where l comes first.
fn before4(s: f32, mine: vec4<f32>, distance: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(0.0), vec4<f32>(1.0), (vec4<f32>(s) > mine) | ((vec4<f32>(s) == mine) & (distance < vec4<f32>(0.0))));
}

fn put_score(at: u32, rank: f32, s: f32, nan: f32, place: Place) {
  if (at >= place.length) { return; }
  let p = select(u32(rank), at, is_nan(nan));
  order_out[place.base + p] = at;
  sorted_out[place.base + p] = select(s, nan, is_nan(nan));
}

fn put_scores(rank: vec4<f32>, s: vec4<f32>, k: u32, nan: f32, place: Place) {
  put_score(place.first + k, rank.x, s.x, nan, place);
  put_score(place.first + k + 1u, rank.y, s.y, nan, place);
  put_score(place.first + k + 2u, rank.z, s.z, nan, place);
  put_score(place.first + k + 3u, rank.w, s.w, nan, place);
}

// The rank of each score: how many are larger, or equal and before it. In a row with NaN everything is NaN and stays where it is.
@compute @workgroup_size(64)
fn prepare(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let place = place_of(linear_id(global, groups, 64u));
  if (!place.live) { return; }
  let mine = mat4x4<f32>(scores4(place, 0u), scores4(place, 4u), scores4(place, 8u), scores4(place, 12u));
  var rank = mat4x4<f32>();
  var distance = -1.0 * (COUNT + f32(place.first) * ONES);
  var nan = 0.0;
  for (var l = 0u; l < place.length; l++) {
    let s = score_at(place.base + l);
    if (is_nan(s)) { nan = s; }
    rank[0] += before4(s, mine[0], distance[0]);
    rank[1] += before4(s, mine[1], distance[1]);
    rank[2] += before4(s, mine[2], distance[2]);
    rank[3] += before4(s, mine[3], distance[3]);
    distance += ONES;
  }
  put_scores(rank[0], mine[0], 0u, nan, place);
  put_scores(rank[1], mine[1], 4u, nan, place);
  if (TILE > 8u) {
    put_scores(rank[2], mine[2], 8u, nan, place);
    put_scores(rank[3], mine[3], 12u, nan, place);
  }
}
