// The k largest scores of each row (shared/scores; without noise, of the elements themselves), in descending order, the lower index first
// where two are equal. An element at -inf is never chosen: slots that nothing is left for hold -inf and the index cols. Of a row with NaN
// all values are NaN, the first index is that of the first NaN, and the others are cols.
//   sort    GPUs, short rows: a bitonic sort in workgroup memory.
//   radix   long rows: the k-th largest by four passes over its bytes, then what is not below it.
//   insert  software adapters, k up to 64: one invocation a row inserts what is larger than the last of its k.
//   rank    puts what `radix` found in order.
// Scores are made again in every pass: noise is never in memory.
#import scores

override FOURS: u32 = 2u; // of `insert`: at least k / 4, at most 16
override SIZE: u32 = 2u; // of `sort`: a power of two, at least cols
#import reduce

struct Params { rows: u32, cols: u32, k: u32, key_low: u32, key_high: u32 }

@group(1) @binding(0) var<uniform> params: Params;

@group(0) @binding(2) var<storage, read_write> candidates: array<f32>; // [k, rows]
@group(0) @binding(3) var<storage, read_write> places: array<u32>; // [k, rows]
@group(0) @binding(4) var<storage, read_write> summary: array<u32>; // [2, rows]: how many, then the largest element of the row

fn row_at(at: u32) -> Row {
  let cols = params.cols;
  return Row(at, at * cols, select(0u, cols, at < params.rows), vec2<u32>(params.key_low, params.key_high));
}

// What scores are relative to. Without noise they are the elements.
fn reference(high: f32) -> f32 {
  if (NOISE == 0u) { return select(0.0, high, is_nan(high)); }
  return high;
}

// An element with its noise, given its score.
fn perturbed(row: Row, c: u32, s: f32, high: f32) -> f32 {
  let v = x[row.base + c];
  if (NOISE == 0u || v == high) { return select(v + s, v, NOISE == 0u); }
  return v + (s - (v - high));
}

// ---- insert: one invocation a row.

// In the order of numbers.
fn ordered(s: f32) -> u32 {
  let bits = bitcast<u32>(select(s, 0.0, s == 0.0)); // -0 is 0
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

// Four of the best after an insertion, which of them stayed, and the last of them before it.
struct Moved { best: vec4<f32>, places: vec4<u32>, stays: vec4<bool>, value: f32, place: u32 }

fn move_down(before: Moved, old: vec4<f32>, old_places: vec4<u32>, s: f32, place: u32) -> Moved {
  let stays = old >= vec4<f32>(s);
  let follows = vec4<bool>(before.stays.w, stays.x, stays.y, stays.z);
  let shifted = select(vec4<f32>(before.value, old.x, old.y, old.z), vec4<f32>(s), follows);
  let shifted_places = select(vec4<u32>(before.place, old_places.x, old_places.y, old_places.z), vec4<u32>(place), follows);
  return Moved(select(shifted, old, stays), select(shifted_places, old_places, stays), stays, old.w, old_places.w);
}

fn keep4(to: u32, slot: u32, k: u32, value: vec4<f32>, place: vec4<u32>) {
  if (slot < k) { sorted_values[to + slot] = value.x; sorted_indices[to + slot] = place.x; }
  if (slot + 1u < k) { sorted_values[to + slot + 1u] = value.y; sorted_indices[to + slot + 1u] = place.y; }
  if (slot + 2u < k) { sorted_values[to + slot + 2u] = value.z; sorted_indices[to + slot + 2u] = place.z; }
  if (slot + 3u < k) { sorted_values[to + slot + 3u] = value.w; sorted_indices[to + slot + 3u] = place.w; }
}

@compute @workgroup_size(64)
fn insert(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = linear_id(global, groups, 64u);
  let row = row_at(at);
  if (at >= params.rows) { return; }
  var high4 = vec4<f32>(minus_infinity());
  for (var c = 0u; c < row.cols; c += 4u) { high4 = nan_max4(high4, load4(row, c)); }
  let high = max4(high4);
  let above = reference(high);
  // Loops over FOURS are unrolled and the arrays live in registers.
  var best: array<vec4<f32>, 16>;
  var places: array<vec4<u32>, 16>;
  for (var j = 0u; j < FOURS; j++) {
    best[j] = vec4<f32>(minus_infinity());
    places[j] = vec4<u32>(row.cols);
  }
  for (var c = 0u; c < row.cols; c += 4u) {
    let s4 = score4(row, c, above);
    let over = s4 > vec4<f32>(best[FOURS - 1u].w);
    var hits = select(0u, 1u, over.x) | select(0u, 2u, over.y) | select(0u, 4u, over.z) | select(0u, 8u, over.w);
    while (hits != 0u) {
      let i = firstTrailingBit(hits);
      hits &= hits - 1u;
      let s = element4(s4, i);
      // Everything below s moves down by one. Equals came earlier and stay. In two halves: lavapipe unrolls no longer loops.
      var moved = Moved(best[0], places[0], vec4<bool>(true), s, c + i);
      for (var j = 0u; j < min(FOURS, 8u); j++) {
        moved = move_down(moved, best[j], places[j], s, c + i);
        best[j] = moved.best;
        places[j] = moved.places;
      }
      for (var j = 8u; j < FOURS; j++) {
        moved = move_down(moved, best[j], places[j], s, c + i);
        best[j] = moved.best;
        places[j] = moved.places;
      }
    }
  }
  // Short bodies, that these loops are unrolled too.
  let k = params.k;
  let to = at * k;
  for (var j = 0u; j < min(FOURS, 8u); j++) { keep4(to, 4u * j, k, best[j], places[j]); }
  for (var j = 8u; j < FOURS; j++) { keep4(to, 4u * j, k, best[j], places[j]); }
  for (var i = to; i < to + k; i++) {
    let place = sorted_indices[i];
    var value = minus_infinity();
    if (place < row.cols) { value = perturbed(row, place, sorted_values[i], high); }
    sorted_values[i] = select(value, high, is_nan(high));
    sorted_indices[i] = select(place, row.cols, is_nan(high));
  }
  if (is_nan(high)) { sorted_indices[at * k] = first_nan(row); }
}

fn first_nan(row: Row) -> u32 {
  var first = row.cols;
  for (var c = row.cols; c > 0u; c--) { first = select(first, c - 1u, is_nan(x[row.base + c - 1u])); }
  return first;
}

// ---- radix: LANES lanes, one row in a workgroup.

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> counts: array<vec2<u32>, LANES>;
var<workgroup> prefix: u32;
var<workgroup> needed: u32;

fn keys4(row: Row, c: u32, above: f32) -> vec4<u32> {
  let s = score4(row, c, above);
  return vec4<u32>(ordered(s.x), ordered(s.y), ordered(s.z), ordered(s.w));
}

const NOTHING: u32 = 0x007fffffu; // the key of -inf

@compute @workgroup_size(LANES)
fn radix(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = vec2<u32>(lane, 0u);
  let at = linear_group(group, groups);
  let row = row_at(at);
  let stride = params.rows;
  var high4 = vec4<f32>(minus_infinity());
  for (var c = 4u * lane; c < row.cols; c += 4u * LANES) { high4 = nan_max4(high4, load4(row, c)); }
  let high = row_max(max4(high4), local);
  let above = reference(high);
  if (lane == 0u) { prefix = 0u; needed = params.k; }
  for (var pass_ = 0u; pass_ < 4u; pass_++) {
    let shift = 24u - 8u * pass_;
    for (var bin = lane; bin < 256u; bin += LANES) { atomicStore(&histogram[bin], 0u); }
    workgroupBarrier();
    let mask = select(0xffffffffu << (shift + 8u), 0u, pass_ == 0u);
    let known = prefix;
    for (var c = 4u * lane; c < row.cols; c += 4u * LANES) {
      let key = keys4(row, c, above);
      for (var i = 0u; i < 4u; i++) {
        if (key[i] > NOTHING && (key[i] & mask) == known) { atomicAdd(&histogram[(key[i] >> shift) & 255u], 1u); }
      }
    }
    workgroupBarrier();
    if (lane == 0u) {
      var left = needed;
      var digit = 256u;
      var here = 0u;
      while (digit > 0u && here < left) {
        left -= here;
        digit--;
        here = atomicLoad(&histogram[digit]);
      }
      prefix = known | (digit << shift);
      needed = min(left, here);
    }
    workgroupBarrier();
  }
  // Every lane owns a stretch of the row, so that equals come in order.
  let kth = prefix;
  let stretch = 4u * ((row.cols + 4u * LANES - 1u) / (4u * LANES));
  let begin = lane * stretch;
  let end = min(begin + stretch, row.cols);
  var mine = vec2<u32>(0u);
  for (var c = begin; c < end; c += 4u) {
    let key = keys4(row, c, above);
    for (var i = 0u; i < 4u; i++) { mine += select(vec2<u32>(0u), vec2<u32>(u32(key[i] > kth), u32(key[i] == kth)), key[i] > NOTHING); }
  }
  counts[lane] = mine;
  workgroupBarrier();
  if (lane == 0u) {
    var total = vec2<u32>(0u);
    for (var l = 0u; l < LANES; l++) {
      let here = counts[l];
      counts[l] = total;
      total += here;
    }
    let bad = is_nan(high) || at >= params.rows;
    if (at < params.rows) {
      summary[at] = select(total.x + min(needed, total.y), 0u, bad);
      summary[stride + at] = bitcast<u32>(high);
    }
    prefix = total.x;
  }
  workgroupBarrier();
  let larger = prefix;
  var next = counts[lane];
  var nan_at = row.cols;
  for (var c = end; c > begin; c--) { nan_at = select(nan_at, c - 1u, is_nan(x[row.base + c - 1u])); }
  nan_at = row_argmax(select(0.0, high, nan_at < row.cols), nan_at, local);
  if (is_nan(high) && lane == 0u && row.cols > 0u) { places[at] = nan_at; }
  for (var c = select(begin, end, is_nan(high)); c < end; c += 4u) {
    let s = score4(row, c, above);
    let key = vec4<u32>(ordered(s.x), ordered(s.y), ordered(s.z), ordered(s.w));
    for (var i = 0u; i < 4u; i++) {
      var slot = params.k;
      if (key[i] > kth) { slot = next.x; next.x++; }
      if (key[i] == kth && key[i] > NOTHING) {
        if (next.y < needed) { slot = larger + next.y; }
        next.y++;
      }
      if (slot < params.k) {
        candidates[slot * stride + at] = s[i];
        places[slot * stride + at] = c + i;
      }
    }
  }
}

// ---- rank

@group(0) @binding(1) var<storage, read> known_candidates: array<f32>;
@group(0) @binding(2) var<storage, read> known_places: array<u32>;
@group(0) @binding(3) var<storage, read> known_summary: array<u32>;
@group(0) @binding(4) var<storage, read_write> ranked_values: array<f32>; // [rows, k]
@group(0) @binding(5) var<storage, read_write> ranked_indices: array<u32>; // [rows, k]

// One invocation finds the ranks of four candidates of a row.
@compute @workgroup_size(64)
fn rank(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let id = linear_id(global, groups, 64u);
  let stride = params.rows;
  let at = id % stride;
  let first = id / stride * 4u;
  let k = params.k;
  if (first >= k) { return; }
  let row = row_at(at);
  let count = known_summary[at];
  let high = bitcast<f32>(known_summary[stride + at]);
  let last = max(count, 1u) - 1u;
  let own = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
  let slot = min(own, vec4<u32>(last)) * stride + at;
  let s = vec4<f32>(known_candidates[slot.x], known_candidates[slot.y], known_candidates[slot.z], known_candidates[slot.w]);
  let place = vec4<u32>(known_places[slot.x], known_places[slot.y], known_places[slot.z], known_places[slot.w]);
  var ranks = vec4<u32>(0u);
  for (var i = 0u; i < count; i++) {
    let other = vec4<f32>(known_candidates[i * stride + at]);
    let there = vec4<u32>(known_places[i * stride + at]);
    ranks += select(vec4<u32>(0u), vec4<u32>(1u), (other > s) | ((other == s) & (there < place)));
  }
  for (var i = 0u; i < 4u; i++) {
    if (own[i] < k) {
      let found = own[i] < count;
      let to = at * k + select(own[i], ranks[i], found);
      var value = minus_infinity();
      if (found) { value = perturbed(row, place[i], s[i], high); }
      var index = select(params.cols, place[i], found);
      if (is_nan(high)) {
        value = high;
        index = select(params.cols, known_places[at], own[i] == 0u);
      }
      ranked_values[to] = value;
      ranked_indices[to] = index;
    }
  }
}

// ---- sort

var<workgroup> sorted: array<f32, SIZE * ROWS>;
var<workgroup> sorted_places: array<u32, SIZE * ROWS>;

@group(0) @binding(2) var<storage, read_write> sorted_values: array<f32>; // [rows, k]
@group(0) @binding(3) var<storage, read_write> sorted_indices: array<u32>; // [rows, k]

@compute @workgroup_size(LANES * ROWS)
fn sort(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let row = row_at(linear_group(group, groups) * ROWS + local.y);
  let base = local.y * SIZE;
  var high4 = vec4<f32>(minus_infinity());
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) { high4 = nan_max4(high4, load4(row, c)); }
  let high = row_max(max4(high4), local);
  let above = reference(high);
  for (var i = local.x; i < SIZE; i += LANES) {
    sorted[base + i] = minus_infinity();
    sorted_places[base + i] = row.cols;
  }
  workgroupBarrier();
  for (var c = 4u * local.x; c < row.cols; c += 4u * LANES) {
    let s = score4(row, c, above);
    for (var i = 0u; i < min(4u, row.cols - c); i++) {
      sorted[base + c + i] = s[i];
      sorted_places[base + c + i] = select(c + i, row.cols, s[i] == minus_infinity());
    }
  }
  for (var size = 2u; size <= SIZE; size *= 2u) {
    for (var step = size / 2u; step > 0u; step /= 2u) {
      workgroupBarrier();
      for (var i = local.x; i < SIZE / 2u; i += LANES) {
        let a = base + 2u * i - (i & (step - 1u));
        let b = a + step;
        let up = ((2u * i) & size) == 0u;
        if (comes_first(sorted[b], sorted_places[b], sorted[a], sorted_places[a]) == up) {
          let value = sorted[a];
          let place = sorted_places[a];
          sorted[a] = sorted[b];
          sorted_places[a] = sorted_places[b];
          sorted[b] = value;
          sorted_places[b] = place;
        }
      }
    }
  }
  workgroupBarrier();
  let k = select(0u, params.k, row.cols > 0u);
  for (var i = local.x; i < k; i += LANES) {
    let place = sorted_places[base + i];
    var value = minus_infinity();
    if (place < row.cols) { value = perturbed(row, place, sorted[base + i], high); }
    if (is_nan(high)) { value = high; }
    sorted_values[row.at * k + i] = value;
    sorted_indices[row.at * k + i] = select(place, row.cols, is_nan(high) && i > 0u);
  }
}

// ---- What goes with chosen elements.

@group(0) @binding(0) var<storage, read> chosen: array<u32>; // [rows, k]
@group(0) @binding(1) var<storage, read> dvalues: array<f32>; // [rows, k]
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // [rows, cols], zeros

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.k) { return; }
  let c = chosen[i];
  if (c < params.cols) { dx[i / params.k * params.cols + c] = dvalues[i]; }
}

@group(0) @binding(1) var<storage, read_write> hot: array<f32>; // [rows, cols], zeros

@compute @workgroup_size(64)
fn k_hot(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.k) { return; }
  let c = chosen[i];
  if (c < params.cols) { hot[i / params.k * params.cols + c] = 1.0; }
}
