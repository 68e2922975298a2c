// How fisher_hypergeometric prepares a law: orders, frames and tables.
#import fisher_law

// ---- prepare: one invocation per row of the law.

@group(0) @binding(0) var<storage, read> log_weights: array<f32>; // [weight_rows, groups]
@group(0) @binding(1) var<storage, read> sizes: array<u32>; // [size_rows, groups]
@group(0) @binding(2) var<storage, read> draws: array<f32>; // [draw_rows]
@group(0) @binding(3) var<storage, read> order: array<u32>; // [order_rows, groups]
@group(0) @binding(4) var<storage, read> urn_draws: array<f32>; // [urn_draw_rows], of which draws are less than one away
@group(0) @binding(5) var<storage, read_write> frame_out: array<u32>;

// A random order of every row: positions sorted by Philox words, the lower group first where they are equal.
@group(0) @binding(0) var<storage, read_write> order_out: array<u32>; // [law_rows, groups]

@compute @workgroup_size(64)
fn shuffle(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let w = linear_id(global, groups, 64u);
  if (w >= params.law_rows) { return; }
  for (var g = 0u; g < GROUPS; g++) {
    let word = order_word(w, g);
    var p = 0u;
    for (var other = 0u; other < GROUPS; other++) {
      let rival = order_word(w, other);
      if (rival < word || (rival == word && other < g)) { p++; }
    }
    order_out[w * GROUPS + p] = g;
  }
}

fn order_word(w: u32, g: u32) -> u32 {
  return philox(vec4<u32>(w, g, 0u, ORDER_STREAM), vec2<u32>(params.key_low, params.key_high)).x;
}

fn group_at(w: u32, p: u32) -> u32 {
  if (params.order_rows == 0u) { return p; }
  return order[select(w, 0u, params.order_rows == 1u) * GROUPS + p];
}

@compute @workgroup_size(64)
fn prepare(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let w = linear_id(global, groups, 64u);
  if (w >= params.law_rows) { return; }
  let weights = select(w, 0u, params.weight_rows == 1u) * GROUPS;
  let sizes_at = select(w, 0u, params.size_rows == 1u) * GROUPS;
  var n = draws[select(w, 0u, params.draw_rows == 1u)];
  var total = 0u;
  var largest = -3.4e38;
  var smallest = 3.4e38;
  var bad = false;
  for (var p = 0u; p < GROUPS; p++) {
    let g = group_at(w, p);
    let l = log_weights[weights + g];
    var m = sizes[sizes_at + g];
    if (is_nan(l) || (!is_finite(l) && l > 0.0)) { bad = true; }
    if (!is_finite(l)) { m = 0u; }
    if (m > 0u) {
      largest = max(largest, l);
      smallest = min(smallest, l);
    }
    total += m;
    frame_out[at(GROUP, p, w)] = g;
    frame_out[at(SIZE, p, w)] = m;
  }
  let whole_draws = urn_draws[select(w, 0u, params.urn_draw_rows == 1u)];
  if (!(n >= 0.0 && n <= f32(total) && abs(n - whole_draws) < 1.0)) { bad = true; }
  if (bad) {
    n = 0.0;
    total = 0u;
    for (var p = 0u; p < GROUPS; p++) { frame_out[at(SIZE, p, w)] = 0u; }
  }
  frame_out[flag_at(w)] = u32(bad);
  frame_out[draws_of(w)] = bitcast<u32>(n);

  // The tilt t = e^u: at the ends of the bracket every group is at most, and at least, as full as all together.
  let fill = f_log(max(n, 0.5)) - f_log(max(f32(total) - n, 0.5));
  var lower = fill - largest;
  var upper = fill - smallest;
  var u = 0.5 * (lower + upper);
  // Newton's steps, halved intervals where they leave the bracket; any tilt will do that is near.
  for (var turn = 0; turn < 64; turn++) {
    var sum = 0.0;
    var slope = 0.0;
    for (var g = 0u; g < GROUPS; g++) {
      let l = log_weights[weights + g];
      if (is_finite(l)) {
        let share = f_sigmoid(l + u);
        let part = f32(sizes[sizes_at + g]) * share;
        sum += part;
        slope += part * (1.0 - share);
      }
    }
    let excess = sum - n;
    if (abs(excess) <= 1e-2 + 1e-6 * n) { break; }
    if (excess < 0.0) { lower = u; } else { upper = u; }
    u -= excess / max(slope, 1e-30);
    if (!(u > lower && u < upper)) { u = 0.5 * (lower + upper); }
  }

  // Odds, mode, and the mean and variance of independent draws.
  var drawn = 0u;
  var variance = 0.0;
  for (var p = 0u; p < GROUPS; p++) {
    let m = frame_out[at(SIZE, p, w)];
    var odds = 0.0;
    var mode = 0u;
    if (m > 0u) {
      odds = f_exp(clamp(log_weights[weights + frame_out[at(GROUP, p, w)]] + u, -38.0, 38.0)); // beyond, a group is full or empty to rounding
      let share = odds / (1.0 + odds);
      mode = min(m, u32(f32(m + 1u) * share));
      variance += f32(m) * share / (1.0 + odds);
    }
    drawn += mode;
    frame_out[at(ODDS, p, w)] = bitcast<u32>(odds);
    frame_out[at(MODE, p, w)] = mode;
  }
  // The mode holds the steps of largest gain odds (m - x) / (x + 1): add the best and take away the worst until it sums to n.
  let whole = u32(n + 0.5);
  while (drawn != whole) {
    var best = 0u;
    var best_gain = -1.0;
    for (var p = 0u; p < GROUPS; p++) {
      let m = frame_out[at(SIZE, p, w)];
      let x = frame_out[at(MODE, p, w)];
      let odds = bitcast<f32>(frame_out[at(ODDS, p, w)]);
      var gain = -1.0;
      if (drawn < whole && x < m) { gain = odds * f32(m - x) / f32(x + 1u); }
      if (drawn > whole && x > 0u) { gain = f32(x) / (odds * f32(m - x + 1u)); }
      // The order of the groups must not matter where two are as good.
      let earlier = frame_out[at(GROUP, p, w)] < frame_out[at(GROUP, best, w)];
      if (gain > best_gain || (gain == best_gain && earlier == (drawn < whole))) { best = p; best_gain = gain; }
    }
    if (best_gain < 0.0) { break; }
    if (drawn < whole) { frame_out[at(MODE, best, w)] += 1u; drawn++; } else { frame_out[at(MODE, best, w)] -= 1u; drawn--; }
  }

  // From the last position: what remains, its mean weight, and the window of what it draws. Tails of a sum of independent Bernoulli
  // variables of variance v over a range L (which it is, all zeros of its generating function being real): Bernstein's and Hoeffding's bounds.
  let tail = params.tail;
  var rest = 0u;
  var rest_weight = 0.0;
  var mean = 0.0;
  var v = 0.0;
  var low = 0u;
  var high = 0u;
  for (var q = GROUPS; q > 0u; q--) {
    let p = q - 1u;
    let m = frame_out[at(SIZE, p, w)];
    let odds = bitcast<f32>(frame_out[at(ODDS, p, w)]);
    frame_out[at(REST, p, w)] = rest;
    frame_out[at(REST_ODDS, p, w)] = bitcast<u32>(rest_weight / max(f32(rest), 1.0));
    rest += m;
    rest_weight += f32(m) * odds;
    let share = odds / (1.0 + odds);
    mean += f32(m) * share;
    v += f32(m) * share / (1.0 + odds);
    frame_out[at(MEAN, p, w)] = bitcast<u32>(mean);
    frame_out[at(VARIANCE, p, w)] = bitcast<u32>(v);
    let conditional = max(0.0, v * (variance - v) / max(variance, 1e-30));
    // One total more at either end, for the slopes of relaxed draws there.
    let support_low = u32(max(0.0, floor(n) - f32(total - rest) - 1.0));
    let support_high = u32(min(ceil(n) + 1.0, f32(rest)));
    let hoeffding = sqrt(0.5 * tail * f32(support_high - support_low));
    let bernstein = tail / 3.0 + sqrt(tail * tail / 9.0 + 2.0 * tail * (1.1 * conditional + 1.0));
    let reach = min(hoeffding, bernstein) + 4.0;
    var from_low = max(support_low, u32(max(0.0, floor(mean - reach))));
    var to_high = min(support_high, u32(ceil(mean + reach)));
    // Every total in this window can be split into a count here and a total in the next window.
    from_low = max(from_low, low);
    if (q < GROUPS) { to_high = min(to_high, high + m); }
    low = min(from_low, support_high);
    high = max(to_high, low);
    if (p == 0u) { low = u32(floor(n)); high = u32(ceil(n)); }
    frame_out[at(LOW, p, w)] = low;
    frame_out[at(HIGH, p, w)] = high;
  }
}

// ---- Tables by the recurrence: one invocation per (position q, row), q = 1 .. groups - 2.
@group(0) @binding(1) var<storage, read_write> tables_out: array<f32>;

fn store4(q: u32, j: u32, w: u32, offset: u32, mean: vec4<f32>) {
  if (j >= q && j + 1u < GROUPS) { tables_out[mean_table(q, j, w) + offset] = mean.x; }
  if (j + 1u >= q && j + 2u < GROUPS) { tables_out[mean_table(q, j + 1u, w) + offset] = mean.y; }
  if (j + 2u >= q && j + 3u < GROUPS) { tables_out[mean_table(q, j + 2u, w) + offset] = mean.z; }
  if (j + 3u >= q && j + 4u < GROUPS) { tables_out[mean_table(q, j + 3u, w) + offset] = mean.w; }
}

@compute @workgroup_size(64)
fn recur(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.count * (GROUPS - 2u)) { return; }
  let q = i / params.count + 1u;
  let w = params.first + i % params.count;
  var state = start_recurrence(q, w, 0.0);
  let low = frame[at(LOW, q, w)];
  let high = frame[at(HIGH, q, w)];
  let table = ratio_table(q, w);
  var offset = 0u;
  for (var s = 0u; s <= high; s++) {
    if (params.means == 1u && s >= low) {
      store4(q, 1u, w, offset, state.mean0);
      if (GROUPS > 6u) { store4(q, 5u, w, offset, state.mean1); }
      if (GROUPS > 10u) { store4(q, 9u, w, offset, state.mean2); }
      if (GROUPS > 14u) { store4(q, 13u, w, offset, state.mean3); }
    }
    let ratio = recur_once(&state);
    if (s >= low) {
      tables_out[table + offset] = ratio;
      offset += params.count;
    }
  }
}

// ---- tables, by windowed convolution, for any sizes: one invocation per (total s, row), position by position from the last but one.
//   (s + 1) r_q(s) = sum_k P_q(k | s) [ odds_q (m_q - k) + (s - k + 1) r_{q+1}(s - k) ],   E_j(s) = sum_k P_q(k | s) E_j(s - k).

fn ratio_while_convolving(q: u32, m: u32, odds: f32, low: u32, table: u32, s: u32) -> f32 {
  if (q + 1u == GROUPS) { return odds * f32(m - min(m, s)) / f32(s + 1u); }
  return tables_out[table + (s - low) * params.count];
}

@compute @workgroup_size(64)
fn convolve(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.count * params.width) { return; }
  let w = params.first + i % params.count;
  let q = params.level;
  let s = frame[at(LOW, q, w)] + i / params.count;
  if (s > frame[at(HIGH, q, w)]) { return; }
  let m = frame[at(SIZE, q, w)];
  let odds = bitcast<f32>(frame[at(ODDS, q, w)]);
  let rest = frame[at(SIZE, q + 1u, w)];
  let rest_odds = bitcast<f32>(frame[at(ODDS, q + 1u, w)]);
  let low = frame[at(LOW, q + 1u, w)];
  let high = frame[at(HIGH, q + 1u, w)];
  let last = q + 2u == GROUPS;
  var table = 0u;
  if (!last) { table = ratio_table(q + 1u, w); }
  let from_k = s - min(s, high);
  let to_k = min(m, s - min(s, low));
  var a = from_k;
  var b = to_k;
  while (a < b) {
    let k = (a + b) / 2u;
    if (odds * f32(m - k) > f32(k + 1u) * ratio_while_convolving(q + 1u, rest, rest_odds, low, table, s - k - 1u)) { a = k + 1u; } else { b = k; }
  }
  let cut = f_exp(-TAIL);
  var start = a;
  var p_start = 1.0;
  while (start > from_k) {
    let r = ratio_while_convolving(q + 1u, rest, rest_odds, low, table, s - start);
    let next = p_start * f32(start) * r / (odds * f32(m - start + 1u));
    if (!(next >= cut)) { break; }
    p_start = next;
    start--;
  }
  var end = start;
  var total = 0.0;
  var own = 0.0; // of k - start
  var sum = 0.0;
  var p = p_start;
  for (var k = start; k <= to_k; k++) {
    let r = ratio_while_convolving(q + 1u, rest, rest_odds, low, table, s - k);
    total += p;
    own += p * f32(k - start);
    sum += p * (odds * f32(m - k) + f32(s - k + 1u) * r);
    end = k;
    if (k < to_k) {
      let next = p * odds * f32(m - k) / (f32(k + 1u) * ratio_while_convolving(q + 1u, rest, rest_odds, low, table, s - k - 1u));
      if (k >= a && !(next >= cut)) { break; }
      p = next;
    }
  }
  let here = (s - frame[at(LOW, q, w)]) * params.count;
  tables_out[ratio_table(q, w) + here] = sum / (total * f32(s + 1u));
  if (params.means == 0u) { return; }
  let mean = mean_table(q, q, w) + here;
  tables_out[mean] = f32(start) + own / total;
  for (var j = q + 1u; j + 1u < GROUPS; j++) {
    var other = 0.0;
    p = p_start;
    for (var k = start; k <= end; k++) {
      other += p * tables_out[mean_table(q + 1u, j, w) + (s - k - low) * params.count];
      if (k < end) {
        p = p * odds * f32(m - k) / (f32(k + 1u) * ratio_while_convolving(q + 1u, rest, rest_odds, low, table, s - k - 1u));
      }
    }
    tables_out[mean_table(q, j, w) + here] = other / total;
  }
}
