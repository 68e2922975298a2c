// Fisher's noncentral hypergeometric law of several groups: P(x) ~ prod_i C(m_i, x_i) w_i^x_i on sum x = n, by the chain of conditionals
// P_p(k | s) ~ C(m_p, k) w_p^k c_{p+1}(s - k) over positions p of an order of the groups. Exact: c_p(s) is the coefficient of t^s in
// prod_{j >= p} (1 + w_j t)^m_j. Merged (MERGED): the later groups are taken as one group of their mean weight.
//
// Everything is tilted: odds w t with sum_i m_i w_i t / (1 + w_i t) = n, so that neighbouring coefficients c(s + 1) / c(s) near the draws are
// near 1, and only such ratios are kept, on windows whose complement has less than e^-tail of the probability. A conditional is a running
// product of ratios from its mode: no logarithm, no gamma function, no cancellation.
#import fisher_law
#import fisher_tables

// ---- Draws: one invocation per row.
@group(0) @binding(3) var<storage, read_write> counts: array<f32>; // [rows, groups]
// Per row and position but the last: log of the relaxation's sum, its reference, its mean of k, count, remaining draws, first value; where
// SCORED, the relaxation's mean of log P and the log of the sum of P.
@group(0) @binding(4) var<storage, read_write> saved: array<f32>; // [rows, groups - 1, 8]
@group(0) @binding(5) var<storage, read_write> log_prob_of_draw: array<f32>; // [rows]

const SAVED: u32 = 8u;

// What a draw sums over a window, in units of 2^reference. The relaxation is y = (P e^noise)^(1 / temperature), relative to the largest so far
// where the temperature is not 1.
struct Sums {
  reference: i32,
  best: f32,
  value: i32,
  best_score: f32, // log P
  largest: f32,
  sum: f32,
  moment: f32, // of start - k
  score: f32, // of log P
  total: f32,
}

// Keeps the sums finite where a walk climbs far.
fn rebase(sums: ptr<function, Sums>, draw: Settings, e: i32) {
  if (e <= (*sums).reference + 60) { return; }
  let scale = pow2i((*sums).reference - e);
  (*sums).best *= scale;
  (*sums).total *= scale;
  if (draw.unit) {
    (*sums).sum *= scale;
    (*sums).moment *= scale;
    (*sums).score *= scale;
  }
  (*sums).reference = e;
}

fn add(sums: ptr<function, Sums>, draw: Settings, point: Point, word: u32, p: u32, k: i32, below: f32) {
  if (point.p > 0.0) { rebase(sums, draw, point.e); }
  let raw = perturbed(draw, point.p, word, p, k);
  let unit = pow2i(point.e - (*sums).reference);
  let q = raw * unit;
  let better = q > (*sums).best;
  (*sums).best = select((*sums).best, q, better);
  (*sums).value = select((*sums).value, k, better);
  var y = q;
  var scale = 1.0;
  if (!draw.unit) {
    let v = (f_log(raw) + f32(point.e) * LN_2) / draw.temperature;
    let e = f_exp(-abs(v - (*sums).largest));
    let larger = v > (*sums).largest;
    scale = select(1.0, e, larger);
    (*sums).largest = select((*sums).largest, v, larger);
    y = select(e, 1.0, larger);
    (*sums).sum *= scale;
    (*sums).moment *= scale;
  }
  (*sums).sum += y;
  (*sums).moment += y * below;
  if (SCORED) {
    let score = f_log(max(point.p, 1.0)) + f32(point.e) * LN_2;
    (*sums).best_score = select((*sums).best_score, score, better);
    (*sums).score = (*sums).score * scale + y * score;
    (*sums).total += point.p * unit;
  }
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= select(params.count, params.rows, params.law_rows == 1u)) { return; }
  let row = params.first + i;
  let w = select(row, 0u, params.law_rows == 1u);
  let bad = frame[flag_at(w)] != 0u;
  let draw = settings(row);
  var s = bitcast<f32>(frame[draws_of(w)]);
  var log_prob = 0.0;
  for (var p = 0u; p + 1u < GROUPS; p++) {
    let here = position(p, w);
    let left = remaining(s);
    var start = 0;
    var sums: Sums;
    var widening = 1.0;
    loop {
      start = start_of(here, left, widening);
      sums = Sums(40, 0.0, start, 0.0, -3.4e38, 0.0, 0.0, 0.0, 0.0);
      var walk = walk_from(here, left, start);
      var state: Recurrence;
      var ratio = run_up(here, left, walk, &state);
      var below = f32(start) - walk.kf;
      while (walk.live) {
        let k = walk.k;
        let words = noise_words(draw, p, k);
        ratio = ratio_at(here, walk.kf, left, &state);
        add(&sums, draw, take(here, left, ratio, &walk), words.w, p, k, below);
        ratio = ratio_at(here, walk.kf, left, &state);
        add(&sums, draw, take(here, left, ratio, &walk), words.z, p, k - 1, below + 1.0);
        ratio = ratio_at(here, walk.kf, left, &state);
        add(&sums, draw, take(here, left, ratio, &walk), words.y, p, k - 2, below + 2.0);
        ratio = ratio_at(here, walk.kf, left, &state);
        add(&sums, draw, take(here, left, ratio, &walk), words.x, p, k - 3, below + 3.0);
        below += 4.0;
      }
      if (began_outside(here, left, walk)) { break; }
      widening *= 2.0;
    }
    let center = f32(start) - sums.moment / sums.sum;
    let count = select(f32(sums.value), center, RELAXED);
    let score = sums.score / sums.sum;
    var log_total = 0.0;
    if (SCORED) {
      log_total = f_log(sums.total) + f32(sums.reference) * LN_2;
      log_prob += select(sums.best_score, score, RELAXED) - log_total;
    }
    let slot = (row * (GROUPS - 1u) + p) * SAVED;
    saved[slot] = f_log(sums.sum) + select(sums.largest, 0.0, draw.unit);
    saved[slot + 1u] = f32(sums.reference);
    saved[slot + 2u] = center;
    saved[slot + 3u] = count;
    saved[slot + 4u] = s;
    saved[slot + 5u] = f32(start);
    if (SCORED) {
      saved[slot + 6u] = score;
      saved[slot + 7u] = log_total;
    }
    counts[row * GROUPS + frame[at(GROUP, p, w)]] = select(count, quiet_nan(), bad);
    s -= count;
  }
  counts[row * GROUPS + frame[at(GROUP, GROUPS - 1u, w)]] = select(s, quiet_nan(), bad);
  if (SCORED) { log_prob_of_draw[row] = select(log_prob, quiet_nan(), bad); }
}

// ---- Their gradient.
@group(0) @binding(3) var<storage, read> kept: array<f32>; // `saved`
@group(0) @binding(4) var<storage, read> dcounts: array<f32>; // [rows, groups]
@group(0) @binding(5) var<storage, read> dlog_prob: array<f32>; // [rows], read where SCORED
@group(0) @binding(6) var<storage, read> dmasks: array<f32>; // [rows, groups, noise_width], read where MASKED
@group(0) @binding(7) var<storage, read_write> gradient: array<f32>; // of the log weights [rows, groups]; from draws_at, of the draws [rows]

// d log c / ds of the rest at s - k, s real.
fn sensitivity(here: Position, k: i32, s: Remaining) -> f32 {
  let i = s.base - k;
  let slope = cubic_slope(log_ratio(here, i - 1), log_ratio(here, i), log_ratio(here, i + 1), s.fraction);
  let u = max(inside(here, i, s.fraction), 1e-6);
  let fading = 6.0 * (1.0 - u) / (u * (3.0 - 2.0 * u));
  return slope + select(-fading, fading, i < here.low);
}

// E[x_j] of the rest at a total of i + f, interpolated as log c is.
fn mean_at(here: Position, table: u32, i: i32) -> f32 {
  let here_mean = tables[table + offset(here, i)];
  if (here.high == here.low) { return here_mean; }
  if (i < here.low) { return here_mean - f32(here.low - i) * (tables[table + params.count] - here_mean); }
  if (i > here.high) { return here_mean + f32(i - here.high) * (here_mean - tables[table + offset(here, here.high - 1)]); }
  return here_mean;
}

fn rest_mean(here: Position, table: u32, k: i32, s: Remaining) -> f32 {
  let i = s.base - k;
  if (!RELAXED) { return tables[table + offset(here, i)]; }
  let e0 = mean_at(here, table, i);
  let e1 = mean_at(here, table, i + 1);
  return e0 + cubic(e0 - mean_at(here, table, i - 1), e1 - e0, mean_at(here, table, i + 2) - e1, s.fraction);
}

// The means of positions j .. j + 3, 0 where there is no table.
fn rest_mean4(here: Position, table: u32, j: u32, k: i32, s: Remaining) -> vec4<f32> {
  let stride = params.width * params.count;
  var mean = vec4<f32>(0.0);
  if (j + 1u < GROUPS) { mean.x = rest_mean(here, table, k, s); }
  if (j + 2u < GROUPS) { mean.y = rest_mean(here, table + stride, k, s); }
  if (j + 3u < GROUPS) { mean.z = rest_mean(here, table + 2u * stride, k, s); }
  if (j + 4u < GROUPS) { mean.w = rest_mean(here, table + 3u * stride, k, s); }
  return mean;
}

// The gradient of mask entry k of a group: entries beyond its size have none.
fn dmask(row: u32, group: u32, k: i32, size: f32) -> f32 {
  if (k < 0 || f32(k) > size || k >= i32(params.noise_width)) { return 0.0; }
  return dmasks[(row * GROUPS + group) * params.noise_width + u32(k)];
}

// What the kernel kept of a position, and its upstream gradients.
struct Kept {
  log_sum: f32,
  unit: f32, // of the relaxation at temperature 1: 1 / sum
  reference: i32,
  center: f32,
  drawn: f32,
  start: i32,
  mean_score: f32,
  log_total: f32,
  upstream: f32,
  score: f32,
  mask_mean: f32,
  group: u32,
}

fn kept_at(slot: u32) -> Kept {
  var state: Kept;
  state.log_sum = kept[slot];
  state.unit = f_exp(-kept[slot]);
  state.reference = i32(kept[slot + 1u]);
  state.center = kept[slot + 2u];
  state.drawn = kept[slot + 3u];
  state.start = i32(kept[slot + 5u]);
  if (SCORED) {
    state.mean_score = kept[slot + 6u];
    state.log_total = kept[slot + 7u];
  }
  return state;
}

fn relaxation(state: Kept, draw: Settings, point: Point, word: u32, p: u32, k: i32) -> f32 {
  let q = perturbed(draw, point.p, word, p, k);
  if (draw.unit) { return q * pow2i(point.e - state.reference) * state.unit; }
  return f_exp((f_log(q) + f32(point.e) * LN_2) / draw.temperature - state.log_sum);
}

// The derivative of the loss with respect to the conditional's log P(k), which sum to 0 over k. `prefix` sums the masks' gradients from the
// first value down, negatively.
fn delta_of(state: Kept, draw: Settings, point: Point, y: f32, k: i32, size: f32, prefix: ptr<function, f32>) -> f32 {
  var delta = (f32(k) - state.center) * state.upstream;
  let log_probability = f_log(max(point.p, 1.0)) + f32(point.e) * LN_2;
  if (SCORED) { delta += state.score * (log_probability - state.mean_score); }
  if (MASKED) {
    delta += *prefix - state.mask_mean;
    if (point.p > 0.0) { *prefix -= dmask(draw.row, state.group, k, size); }
  }
  delta *= y / draw.temperature;
  if (SCORED) {
    let value = select(select(0.0, 1.0, f32(k) == state.drawn), y, RELAXED);
    delta += state.score * (value - f_exp(log_probability - state.log_total));
  }
  return select(0.0, delta, point.p > 0.0);
}

// What the gradient sums over a walk.
struct Parts { own: f32, rest: f32, total: f32, slope: f32, middle: f32, part0: vec4<f32>, part1: vec4<f32>, part2: vec4<f32>, part3: vec4<f32> }

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= select(params.count, params.rows, params.law_rows == 1u)) { return; }
  let row = params.first + i;
  let w = select(row, 0u, params.law_rows == 1u);
  let base = row * GROUPS;
  let bad = frame[flag_at(w)] != 0u;
  for (var j = 0u; j < GROUPS; j++) { gradient[base + j] = select(0.0, quiet_nan(), bad); }
  gradient[params.draws_at + row] = select(0.0, quiet_nan(), bad);
  if (bad) { return; }
  let draw = settings(row);
  let last = frame[at(GROUP, GROUPS - 1u, w)];
  // a: the gradient of the draws that remain after position p; the last position takes them all.
  var a = dcounts[base + last];
  if (MASKED) {
    var s = bitcast<f32>(frame[draws_of(w)]);
    if (GROUPS > 1u) {
      let slot = (row * (GROUPS - 1u) + GROUPS - 2u) * SAVED;
      s = kept[slot + 4u] - kept[slot + 3u];
    }
    let size = f32(frame[at(SIZE, GROUPS - 1u, w)]);
    let k = i32(max(s, 0.0));
    if (!RELAXED) {
      // A central difference: mask k + 1 is what one draw more sets, mask k what one fewer takes away; one-sided at the ends.
      let one_sided = k == 0 || f32(k) == size;
      let share = select(0.5, 1.0, one_sided);
      a += share * dmask(row, last, k + 1, size);
      if (k > 0) { a += share * dmask(row, last, k, size); }
    } else if (s > 0.0) { a += dmask(row, last, i32(ceil(s)), size); }
  }
  for (var q = GROUPS - 1u; q > 0u; q--) {
    let p = q - 1u;
    let group = frame[at(GROUP, p, w)];
    let here = position(p, w);
    let slot = (row * (GROUPS - 1u) + p) * SAVED;
    var state = kept_at(slot);
    state.group = group;
    state.upstream = dcounts[base + group] - a;
    if (SCORED) { state.score = dlog_prob[row]; }
    let left = remaining(kept[slot + 4u]);
    let fused = FUSED && !here.closed;
    var sums: Parts;
    // The mean of the masks' part under the relaxation.
    if (MASKED) {
      var walk = walk_from(here, left, state.start);
      var recurrence: Recurrence;
      var ratio = run_up(here, left, walk, &recurrence);
      var prefix = 0.0;
      while (walk.live) {
        let k = walk.k;
        let words = noise_words(draw, p, k);
        for (var c = 3; c >= 0; c--) {
          ratio = ratio_at(here, walk.kf, left, &recurrence);
          let point = take(here, left, ratio, &walk);
          if (point.p > 0.0) {
            state.mask_mean += relaxation(state, draw, point, words[c], p, k - 3 + c) * prefix;
            prefix -= dmask(row, group, k - 3 + c, here.size);
          }
        }
      }
    }
    // The deltas sum to zero: what they multiply is taken relative to a value near the mean, or rounding is multiplied by its size.
    let middle = i32(state.center);
    var slope_at_middle = 0.0;
    if (RELAXED && !MERGED) { slope_at_middle = sensitivity(here, middle, left); }
    // Means of sixteen groups a walk, of which one is enough for up to eighteen groups.
    var j = q;
    loop {
      let has_means = !MERGED && !fused && j + 1u < GROUPS;
      var table = 0u;
      var middle0 = vec4<f32>(0.0);
      var middle1 = vec4<f32>(0.0);
      var middle2 = vec4<f32>(0.0);
      var middle3 = vec4<f32>(0.0);
      let stride = 4u * params.width * params.count;
      if (has_means) {
        table = mean_table(q, j, w);
        middle0 = rest_mean4(here, table, j, middle, left);
        if (GROUPS > 6u) { middle1 = rest_mean4(here, table + stride, j + 4u, middle, left); }
        if (GROUPS > 10u) { middle2 = rest_mean4(here, table + 2u * stride, j + 8u, middle, left); }
        if (GROUPS > 14u) { middle3 = rest_mean4(here, table + 3u * stride, j + 12u, middle, left); }
      }
      sums.part0 = vec4<f32>(0.0);
      sums.part1 = vec4<f32>(0.0);
      sums.part2 = vec4<f32>(0.0);
      sums.part3 = vec4<f32>(0.0);
      var prefix = 0.0;
      var walk = walk_from(here, left, state.start);
      var recurrence: Recurrence;
      var before = run_up(here, left, walk, &recurrence);
      while (walk.live) {
        let k0 = walk.k;
        let words = noise_words(draw, p, k0);
        for (var c = 3; c >= 0; c--) {
          let k = k0 - 3 + c;
          let free = left.value - walk.kf;
          let mean0 = recurrence.mean0;
          let mean1 = recurrence.mean1;
          let mean2 = recurrence.mean2;
          let mean3 = recurrence.mean3;
          var ratio = ratio_at(here, walk.kf, left, &recurrence);
          let point = take(here, left, ratio, &walk);
          let delta = delta_of(state, draw, point, relaxation(state, draw, point, words[c], p, k), k, here.size, &prefix);
          if (j == q) {
            sums.own += f32(k - middle) * delta;
            sums.total += delta;
            if (MERGED) {
              sums.rest += delta * sums.slope;
              sums.middle = select(sums.middle, sums.slope, k == middle);
              let fall = 1.0 / max(here.rest - free, 1e-6) + 1.0 / max(free + 1.0, 1e-6);
              sums.slope -= select(0.0, fall, point.p > 0.0);
            } else if (RELAXED) {
              sums.rest += delta * (sensitivity(here, k, left) - slope_at_middle);
            } else if (here.high > here.low) {
              // Central differences of log c, one-sided at the ends.
              if (here.closed) { ratio = here.rest_odds * (here.rest - free) / (free + 1.0); }
              let above = select(ratio, before, free >= f32(here.high));
              let below = select(before, ratio, free <= f32(here.low));
              if (point.p > 0.0) {
                sums.slope = 0.5 * f_log(above * below);
                sums.rest += delta * sums.slope;
                sums.middle = select(sums.middle, sums.slope, k == middle);
              }
              before = ratio;
            }
          }
          if (fused) {
            let here_now = k == middle;
            sums.part0 += delta * mean0;
            middle0 = select(middle0, mean0, here_now);
            if (GROUPS > 5u) { sums.part1 += delta * mean1; middle1 = select(middle1, mean1, here_now); }
            if (GROUPS > 9u) { sums.part2 += delta * mean2; middle2 = select(middle2, mean2, here_now); }
            if (GROUPS > 13u) { sums.part3 += delta * mean3; middle3 = select(middle3, mean3, here_now); }
          }
          if (has_means && delta != 0.0) {
            sums.part0 += delta * (rest_mean4(here, table, j, k, left) - middle0);
            if (GROUPS > 6u && j + 5u < GROUPS) { sums.part1 += delta * (rest_mean4(here, table + stride, j + 4u, k, left) - middle1); }
            if (GROUPS > 10u && j + 9u < GROUPS) { sums.part2 += delta * (rest_mean4(here, table + 2u * stride, j + 8u, k, left) - middle2); }
            if (GROUPS > 14u && j + 13u < GROUPS) { sums.part3 += delta * (rest_mean4(here, table + 3u * stride, j + 12u, k, left) - middle3); }
          }
        }
      }
      if (fused) {
        sums.part0 -= sums.total * middle0;
        sums.part1 -= sums.total * middle1;
        sums.part2 -= sums.total * middle2;
        sums.part3 -= sums.total * middle3;
      }
      if (has_means || fused) {
        // The recurrence has positions from 1 on; those before q are 0 there.
        let first = select(j, 1u, fused);
        var from_rest = spread(base, first, w, sums.part0);
        if (GROUPS > 5u) { from_rest += spread(base, first + 4u, w, sums.part1); }
        if (GROUPS > 9u) { from_rest += spread(base, first + 8u, w, sums.part2); }
        if (GROUPS > 13u) { from_rest += spread(base, first + 12u, w, sums.part3); }
        gradient[base + last] -= from_rest;
      }
      j += 16u;
      if (MERGED || fused || j + 1u >= GROUPS) { break; }
    }
    gradient[base + group] += sums.own;
    sums.rest -= sums.total * sums.middle; // 0 where the tables' values were relative already
    if (MERGED) {
      for (var other = q; other < GROUPS; other++) {
        let share = f32(frame[at(SIZE, other, w)]) * bitcast<f32>(frame[at(ODDS, other, w)]) / max(here.rest * here.rest_odds, 1e-37);
        gradient[base + frame[at(GROUP, other, w)]] -= sums.own * share;
      }
    } else { gradient[base + last] -= sums.own; }
    a += sums.rest;
  }
  gradient[params.draws_at + row] = a;
}

// Adds to the gradients of positions j .. j + 3 but the last, and returns what it added.
fn spread(base: u32, j: u32, w: u32, part: vec4<f32>) -> f32 {
  var sum = 0.0;
  if (j + 1u < GROUPS) { gradient[base + frame[at(GROUP, j, w)]] += part.x; sum += part.x; }
  if (j + 2u < GROUPS) { gradient[base + frame[at(GROUP, j + 1u, w)]] += part.y; sum += part.y; }
  if (j + 3u < GROUPS) { gradient[base + frame[at(GROUP, j + 2u, w)]] += part.z; sum += part.z; }
  if (j + 4u < GROUPS) { gradient[base + frame[at(GROUP, j + 3u, w)]] += part.w; sum += part.w; }
  return sum;
}

// ---- Masks of a draw: entry k is 1 up to the count, 0 above it; relaxed, the relaxation's weight on counts of k and more.
@group(0) @binding(4) var<storage, read> drawn_counts: array<f32>; // [rows, groups]
@group(0) @binding(5) var<storage, read_write> masks_out: array<f32>; // [rows, groups, noise_width]

@compute @workgroup_size(64)
fn masks(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= select(params.count, params.rows, params.law_rows == 1u) * GROUPS) { return; }
  let row = params.first + i / GROUPS;
  let p = i % GROUPS;
  let w = select(row, 0u, params.law_rows == 1u);
  let group = frame[at(GROUP, p, w)];
  let out = (row * GROUPS + group) * params.noise_width;
  let count = drawn_counts[row * GROUPS + group];
  let size = frame[at(SIZE, p, w)];
  for (var k = 0u; k < params.noise_width; k++) {
    var entry = clamp(count - f32(k) + 1.0, 0.0, 1.0);
    if (k > size) { entry = 0.0; }
    masks_out[out + k] = select(entry, count, is_nan(count));
  }
  if (!RELAXED || p + 1u == GROUPS || is_nan(count)) { return; }
  let here = position(p, w);
  let slot = (row * (GROUPS - 1u) + p) * SAVED;
  let left = remaining(kept[slot + 4u]);
  let draw = settings(row);
  let state = kept_at(slot);
  for (var k = state.start + 1; f32(k) <= here.size; k++) { masks_out[out + u32(k)] = 0.0; }
  var above = 0.0;
  var walk = walk_from(here, left, state.start);
  while (walk.live) {
    let k = walk.k;
    let words = noise_words(draw, p, k);
    for (var c = 3; c >= 0; c--) {
      let point = take(here, left, 0.0, &walk);
      if (point.p > 0.0) {
        above += relaxation(state, draw, point, words[c], p, k - 3 + c);
        masks_out[out + u32(k - 3 + c)] = min(above, 1.0);
        for (var rest = k - 4 + c; !walk.live && rest >= 0; rest--) { masks_out[out + u32(rest)] = 1.0; }
      }
    }
  }
}

@group(0) @binding(1) var<storage, read_write> mode_out: array<f32>; // [law_rows, groups]

@compute @workgroup_size(64)
fn most_probable(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.law_rows * GROUPS) { return; }
  let w = i / GROUPS;
  let p = i % GROUPS;
  let bad = frame[flag_at(w)] != 0u;
  mode_out[w * GROUPS + frame[at(GROUP, p, w)]] = select(f32(frame[at(MODE, p, w)]), quiet_nan(), bad);
}

// ---- Moments of the exact law: one invocation per row of the law.
@group(0) @binding(2) var<storage, read_write> mean_out: array<f32>; // [law_rows, groups]
@group(0) @binding(3) var<storage, read_write> covariance_out: array<f32>; // [law_rows, groups]: of the first position's group with every group
// log P(mode); and of the first position's count x, the mean of log C(m, x) w^x above its value at the mode.
@group(0) @binding(4) var<storage, read_write> summary: array<f32>; // [law_rows, 2]

// Sums over a conditional's values, against the probability of one value: of all others, and of their distance from it.
struct Around { others: f32, moment: f32 }

fn around(here: Position, s: Remaining, value: f32) -> Around {
  let range = values(here, s);
  let cut = f_exp(-TAIL);
  var sums = Around(0.0, 0.0);
  var probability = 1.0;
  for (var k = value; k < f32(range.high) && probability >= cut; k += 1.0) {
    probability *= step(here, k, s.value);
    sums.others += probability;
    sums.moment += probability * (k + 1.0 - value);
  }
  probability = 1.0;
  for (var k = value; k > f32(range.low) && probability >= cut; k -= 1.0) {
    probability /= step(here, k - 1.0, s.value);
    sums.others += probability;
    sums.moment += probability * (k - 1.0 - value);
  }
  return sums;
}

@compute @workgroup_size(64)
fn moments(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.count) { return; }
  let w = params.first + i;
  if (frame[flag_at(w)] != 0u) {
    for (var j = 0u; j < GROUPS; j++) { mean_out[w * GROUPS + j] = quiet_nan(); covariance_out[w * GROUPS + j] = quiet_nan(); }
    summary[2u * w] = quiet_nan();
    summary[2u * w + 1u] = quiet_nan();
    return;
  }
  let last = frame[at(GROUP, GROUPS - 1u, w)];
  // By the mode's own path: -log P(mode) is the sum over positions of log(1 + everything else / the mode).
  var log_prob = 0.0;
  let n = bitcast<f32>(frame[draws_of(w)]);
  var s = n;
  for (var p = 0u; p + 1u < GROUPS; p++) {
    let mode = frame[at(MODE, p, w)];
    log_prob -= f_log1p(around(position(p, w), remaining(s), f32(mode)).others);
    s -= f32(mode);
  }
  summary[2u * w] = log_prob;
  // Sums over the first position's window.
  var excess = 0.0;
  if (GROUPS > 1u) {
    let here = position(0u, w);
    let mode = frame[at(MODE, 0u, w)];
    let left = remaining(n);
    let sums = around(here, left, f32(mode));
    let own = sums.moment / (1.0 + sums.others);
    for (var j = 0u; j < GROUPS; j++) { covariance_out[w * GROUPS + j] = 0.0; mean_out[w * GROUPS + j] = 0.0; }
    var variance = 0.0;
    var sum = 0.0;
    let range = values(here, left);
    let cut = f_exp(-TAIL);
    // Up from the mode, then down from the value below it.
    for (var direction = 1; direction >= -1; direction -= 2) {
      var k = i32(mode);
      var weight = 1.0;
      var level = 0.0; // log C(m, k) w^k above that at the mode
      while (weight >= cut) {
        if (direction == 1 || k < i32(mode)) {
          let deviation = f32(k) - f32(mode) - own;
          sum += weight;
          variance += weight * deviation * deviation;
          excess += weight * level;
          for (var j = 1u; j + 1u < GROUPS; j++) {
            let group = w * GROUPS + frame[at(GROUP, j, w)];
            let table = mean_table(1u, j, w);
            let mean = rest_mean(here, table, k, left);
            mean_out[group] += weight * mean;
            covariance_out[group] += weight * deviation * (mean - rest_mean(here, table, i32(mode), left));
          }
        }
        if (direction == 1) {
          if (k >= range.high) { break; }
          weight *= step(here, f32(k), n);
          level += f_log(here.odds * (here.size - f32(k)) / f32(k + 1));
        } else {
          if (k <= range.low) { break; }
          weight /= step(here, f32(k - 1), n);
          level -= f_log(here.odds * (here.size - f32(k - 1)) / f32(k));
        }
        k += direction;
      }
    }
    for (var j = 0u; j < GROUPS; j++) { covariance_out[w * GROUPS + j] /= sum; mean_out[w * GROUPS + j] /= sum; }
    let first = w * GROUPS + frame[at(GROUP, 0u, w)];
    mean_out[first] = f32(mode) + own;
    covariance_out[first] = variance / sum;
    excess /= sum;
  }
  summary[2u * w + 1u] = excess;
  // The last position takes the rest, so that means sum to n and covariances to 0.
  var mean = n;
  var covariance = 0.0;
  for (var j = 0u; j + 1u < GROUPS; j++) {
    let group = w * GROUPS + frame[at(GROUP, j, w)];
    mean -= mean_out[group];
    covariance -= covariance_out[group];
  }
  mean_out[w * GROUPS + last] = mean;
  covariance_out[w * GROUPS + last] = covariance;
}

// ---- log P(x) of the exact law, one invocation per row: log P(mode) plus differences of log C(m_i, x_i) w_i^x_i, summed as whole numbers and
// fractions, so that numbers of millions that cancel leave no error.
@group(0) @binding(1) var<storage, read> weights_of_score: array<f32>; // [weight_rows, groups]
@group(0) @binding(2) var<storage, read> scored: array<f32>; // [rows, groups]
@group(0) @binding(3) var<storage, read> factorials: array<u32>; // log k! for k = 0 .. : whole part, then the fraction's bits
@group(0) @binding(4) var<storage, read> summary_in: array<f32>;
@group(0) @binding(5) var<storage, read_write> log_prob_out: array<f32>; // [rows]

struct Split { whole: i32, fraction: f32 }

fn log_factorial(k: u32) -> Split { return Split(bitcast<i32>(factorials[2u * k]), bitcast<f32>(factorials[2u * k + 1u])); }

// log C(m, x) - log C(m, y)
fn log_choose_difference(m: u32, x: u32, y: u32) -> Split {
  let a = log_factorial(y);
  let b = log_factorial(x);
  let c = log_factorial(m - y);
  let d = log_factorial(m - x);
  return Split((a.whole - b.whole) + (c.whole - d.whole), (a.fraction - b.fraction) + (c.fraction - d.fraction));
}

// d l without rounding but of the last fraction: the fraction of l in units of 2^-31, times |d| < 2^24, in 64 bits.
fn exact_product(d: i32, l: f32) -> Split {
  let whole = clamp(round(l), -127.0, 127.0);
  let fraction = l - whole;
  if (abs(fraction) > 0.5) { return Split(0, f32(d) * l); } // weights beyond e^127
  let units = u32(abs(fraction) * 2147483648.0);
  let size = u32(abs(d));
  let high = mul_hi(size, units);
  let low = size * units;
  let sign = select(1, -1, (d < 0) != (fraction < 0.0));
  let part = f32(low & 0x7fffffffu) * 4.656612873077393e-10;
  return Split(d * i32(whole) + sign * i32((high << 1u) | (low >> 31u)), f32(sign) * part);
}

fn count_of(value: f32) -> u32 { return u32(clamp(value, 0.0, 16777216.0)); }

@compute @workgroup_size(64)
fn score(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let w = select(row, 0u, params.law_rows == 1u);
  let weights = select(w, 0u, params.weight_rows == 1u) * GROUPS;
  var whole = 0;
  var fraction = 0.0;
  var drawn = 0u;
  var outside = false;
  for (var p = 0u; p < GROUPS; p++) {
    let group = frame[at(GROUP, p, w)];
    let m = frame[at(SIZE, p, w)];
    let value = scored[row * GROUPS + group];
    var x = count_of(value);
    // Not a count, or more than there are: no probability.
    if (is_nan(value) || f32(x) != value || x > m) { outside = true; x = 0u; }
    drawn += x;
    let mode = frame[at(MODE, p, w)];
    if (x != mode && m > 0u) {
      let choose = log_choose_difference(m, x, mode);
      let power = exact_product(i32(x) - i32(mode), weights_of_score[weights + group]);
      whole += choose.whole + power.whole;
      fraction += choose.fraction + power.fraction;
    }
  }
  if (f32(drawn) != bitcast<f32>(frame[draws_of(w)])) { outside = true; }
  var result = f32(whole) + fraction + summary_in[2u * w];
  if (outside) { result = minus_infinity(); }
  if (frame[flag_at(w)] != 0u) { result = quiet_nan(); }
  log_prob_out[row] = result;
}

@group(0) @binding(0) var<storage, read> score_means: array<f32>; // [law_rows, groups]
@group(0) @binding(1) var<storage, read> dscore: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> dscore_weights: array<f32>; // [rows, groups]

@compute @workgroup_size(64)
fn differentiate_score(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * GROUPS) { return; }
  let row = i / GROUPS;
  let w = select(row, 0u, params.law_rows == 1u);
  dscore_weights[i] = dscore[row] * (scored[i] - score_means[w * GROUPS + i % GROUPS]);
}

// ---- log P(x) of the merged law and its gradient: a conditional per position, each with its own sum.
@group(0) @binding(4) var<storage, read_write> merged_out: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read> dmerged: array<f32>; // [rows]
@group(0) @binding(5) var<storage, read_write> dmerged_weights: array<f32>; // [rows, groups]

struct Conditional { log_prob: f32, mean: f32, inside: bool }

fn conditional(p: u32, w: u32, x: u32, s: u32) -> Conditional {
  let here = position(p, w);
  let left = remaining(f32(s));
  let range = values(here, left);
  if (i32(x) < range.low || i32(x) > range.high || f32(s - x) > here.rest) { return Conditional(0.0, 0.0, false); }
  // Steps fall with k: the mode is the first k whose step is at most 1.
  var mode = range.low;
  var b = range.high;
  while (mode < b) {
    let k = (mode + b) / 2;
    if (step(here, f32(k), left.value) > 1.0) { mode = k + 1; } else { b = k; }
  }
  let sums = around(here, left, f32(mode));
  var result = -f_log1p(sums.others);
  if (i32(x) != mode) {
    let own = log_choose_difference(u32(here.size), x, u32(mode));
    let rest = log_choose_difference(u32(here.rest), s - x, s - u32(mode));
    let power = (f32(x) - f32(mode)) * f_log(here.odds / here.rest_odds);
    result += f32(own.whole + rest.whole) + power + (own.fraction + rest.fraction);
  }
  return Conditional(result, f32(mode) + sums.moment / (1.0 + sums.others), true);
}

@compute @workgroup_size(64)
fn score_merged(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let w = select(row, 0u, params.law_rows == 1u);
  var s = u32(bitcast<f32>(frame[draws_of(w)]));
  var sum = 0.0;
  var outside = false;
  for (var p = 0u; p < GROUPS; p++) {
    let value = scored[row * GROUPS + frame[at(GROUP, p, w)]];
    let x = count_of(value);
    if (is_nan(value) || f32(x) != value || x > s || x > frame[at(SIZE, p, w)]) { outside = true; break; }
    if (p + 1u < GROUPS) {
      let here = conditional(p, w, x, s);
      sum += here.log_prob;
      if (!here.inside) { outside = true; break; }
    }
    s -= x;
  }
  if (outside || s != 0u) { sum = minus_infinity(); }
  if (frame[flag_at(w)] != 0u) { sum = quiet_nan(); }
  merged_out[row] = sum;
}

@compute @workgroup_size(64)
fn differentiate_merged(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let w = select(row, 0u, params.law_rows == 1u);
  let base = row * GROUPS;
  let bad = frame[flag_at(w)] != 0u;
  for (var j = 0u; j < GROUPS; j++) { dmerged_weights[base + j] = select(0.0, quiet_nan(), bad); }
  if (bad) { return; }
  var s = u32(bitcast<f32>(frame[draws_of(w)]));
  for (var p = 0u; p + 1u < GROUPS; p++) {
    let group = frame[at(GROUP, p, w)];
    let x = min(count_of(scored[base + group]), s);
    let here = conditional(p, w, x, s);
    let t = dmerged[row] * (f32(x) - here.mean);
    dmerged_weights[base + group] += t;
    let whole = f32(frame[at(REST, p, w)]) * bitcast<f32>(frame[at(REST_ODDS, p, w)]);
    for (var j = p + 1u; j < GROUPS; j++) {
      let share = f32(frame[at(SIZE, j, w)]) * bitcast<f32>(frame[at(ODDS, j, w)]) / max(whole, 1e-37);
      dmerged_weights[base + frame[at(GROUP, j, w)]] -= t * share;
    }
    s -= x;
  }
}
