// Successive softmaxes of a row's scores (shared/score), each without what the ones before took:
//   w[l] = softmax(s[l] / T),   s[l + 1] = s[l] + log(max(1 - w[l], 1e-6)),   mask = Σ g[l] w[l],   g[l] = Σ of shares of counts of at least l.
// Few elements of a row can take much of a slot. These leaders are walked one by one. Of all others, x = e^(s / T) relative to the
// least leader, what is left after l slots is the same power series u[l](x) = x + .. x^8, since u[l + 1] = u (1 - u / Z)^(1 / T), and a sum over
// them needs the sums of their powers only: a row costs O(columns + leaders * bound). A row is walked again with more leaders where
// the series would not be good to rounding, and with all its elements, in logarithms, where nothing else helps.
// Rows are padded to fours. LANES invocations share a row; lane l owns fours l, l + LANES ..; its leaders are listed in the places of its fours.

// Before the import: naga 30 resolves overrides in order and fails on one that follows an array sized by others.
override OUTPUT: u32 = 1u; // 0: none, 1: the mask, 2: the masks of 1 .. bound elements
#import score
#import reduce

struct Params { rows: u32, fours: u32, bound: u32, least: u32, inverse: f32, key_low: u32, key_high: u32, row_offset: u32, cols: u32, fill: f32 }

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // [rows, fours], -inf past the last column
@group(0) @binding(1) var<storage, read> noise: array<vec4<f32>>; // [rows, fours], read where NOISE is 2
@group(0) @binding(2) var<storage, read> shares: array<f32>; // [rows, bound + 1 - least], read where OUTPUT is 1
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // [rows, fours] or [rows, bound, fours]
@group(0) @binding(4) var<storage, read_write> weights: array<vec4<f32>>; // [rows, fours]: e^((s - max s) / T), or its logarithm in rows walked whole
@group(0) @binding(5) var<storage, read_write> list: array<vec4<u32>>; // [rows, fours]: columns of leaders, ended by the number of columns
@group(0) @binding(6) var<storage, read_write> state: array<vec4<f32>>; // [rows, fours, 2]: their weights (scores over T in rows walked whole), and what they took
@group(0) @binding(7) var<storage, read_write> steps: array<vec4<f32>>; // [rows, bound + 1, 3]
@group(1) @binding(0) var<uniform> params: Params;

const ROUNDS: u32 = 3u;
const LEAST_LEFT: f32 = 1e-6;
const NONE: f32 = -3e38; // a score of nothing
// Of a step: 8 coefficients; 1 / Z in units of x, the largest score of rows walked whole, 1 / Z relative to that, what the others than the largest hold. Of
// the last: sums of 8 powers; 1 / weight of the least leader (0 where all are), and NaN where the row is.
const STRIDE: u32 = 3u;

// Where a row's fours begin, and how many there are: none past the last row.
struct Place { at: u32, base: u32, fours: u32 }

fn place_of(at: u32, in_part: u32) -> Place {
  let fours = params.fours;
  return Place(at, at * fours, select(0u, fours, in_part < params.rows));
}

fn scores4(row: Place, f: u32, high: f32) -> vec4<f32> {
  var g = vec4<f32>(0.0);
  if (NOISE == 1u) { g = made4(4u * f, row.at, vec2<u32>(params.key_low, params.key_high)); }
  if (NOISE == 2u) { g = noise[row.base + f]; }
  return score_of4(x[row.base + f], high, g);
}

// Terms x .. x^8.
struct Series { low: vec4<f32>, high: vec4<f32> }

fn zero() -> Series { return Series(vec4<f32>(0.0), vec4<f32>(0.0)); }
fn scaled(a: Series, by: f32) -> Series { return Series(a.low * by, a.high * by); }
fn plus(a: Series, b: Series) -> Series { return Series(a.low + b.low, a.high + b.high); }
fn inner(a: Series, b: Series) -> f32 { return sum4(a.low * b.low) + sum4(a.high * b.high); }
fn up(a: Series) -> Series { return Series(vec4<f32>(0.0, a.low.xyz), vec4<f32>(a.low.w, a.high.xyz)); }
fn down(a: Series) -> Series { return Series(vec4<f32>(a.low.yzw, a.high.x), vec4<f32>(a.high.yzw, 0.0)); }

// The product of two, without terms past x^8.
fn product(a: Series, b: Series) -> Series {
  var s = up(a);
  var r = scaled(s, b.low.x);
  s = up(s);
  r = plus(r, scaled(s, b.low.y));
  s = up(s);
  r = plus(r, scaled(s, b.low.z));
  s = up(s);
  r = plus(r, scaled(s, b.low.w));
  s = up(s);
  r = plus(r, scaled(s, b.high.x));
  s = up(s);
  r = plus(r, scaled(s, b.high.y));
  s = up(s);
  return plus(r, scaled(s, b.high.z));
}

// What `a -> a (1 + b)` makes of a gradient.
fn transposed(a: Series, b: Series) -> Series {
  var s = down(a);
  var r = plus(a, scaled(s, b.low.x));
  s = down(s);
  r = plus(r, scaled(s, b.low.y));
  s = down(s);
  r = plus(r, scaled(s, b.low.z));
  s = down(s);
  r = plus(r, scaled(s, b.low.w));
  s = down(s);
  r = plus(r, scaled(s, b.high.x));
  s = down(s);
  r = plus(r, scaled(s, b.high.y));
  s = down(s);
  return plus(r, scaled(s, b.high.z));
}

// (1 - w)^power - 1 by the binomial series.
fn power_of_rest(w: Series, power: f32) -> Series {
  var r = zero();
  for (var j = 8u; j > 0u; j--) { r = scaled(plus(w, product(w, r)), (f32(j) - 1.0 - power) / f32(j)); }
  return r;
}

fn at_x4(a: Series, x: vec4<f32>) -> vec4<f32> {
  let high = ((a.high.w * x + a.high.z) * x + a.high.y) * x + a.high.x;
  return ((((high * x + a.low.w) * x + a.low.z) * x + a.low.y) * x + a.low.x) * x;
}

// Σ by x^p, p = 1 .. 8, of four elements. Past the first, powers of what is below 2e-5 are nothing beside it, and slow: they are subnormal.
fn powers_by(by: vec4<f32>, x: vec4<f32>) -> Series {
  let large = select(vec4<f32>(0.0), x, x > vec4<f32>(2e-5));
  let x2 = large * large;
  let x4 = x2 * x2;
  let second = by * x2;
  let third = second * large;
  let fourth = by * x4;
  let fifth = fourth * large;
  let sixth = second * x4;
  return Series(
    vec4<f32>(sum4(by * x), sum4(second), sum4(third), sum4(fourth)),
    vec4<f32>(sum4(fifth), sum4(sixth), sum4(sixth * large), sum4(fourth * x4)),
  );
}

fn row_sum4(a: vec4<f32>, local: vec2<u32>) -> vec4<f32> {
  return vec4<f32>(row_sum(a.x, local), row_sum(a.y, local), row_sum(a.z, local), row_sum(a.w, local));
}

fn row_series(a: Series, local: vec2<u32>) -> Series {
  if (LANES == 1u) { return a; }
  return Series(row_sum4(a.low, local), row_sum4(a.high, local));
}

// What is left of an element after a slot, given what the others of the largest hold.
fn rest4(w: vec4<f32>, others: f32) -> vec4<f32> { return select(1.0 - w, vec4<f32>(others), w > vec4<f32>(0.5)); }

fn weight_of(score: vec4<f32>, largest: f32) -> vec4<f32> { return f_exp4(max(score - largest, vec4<f32>(-200.0))); }

// What a slot leaves of weights, given what is left of each of 1.
fn decay4(rest: vec4<f32>, power: f32) -> vec4<f32> { return f_exp4(power * f_log4(max(rest, vec4<f32>(LEAST_LEFT)))); }

fn step_series(at: u32) -> Series { return Series(steps[at], steps[at + 1u]); }

// Σ 1 / Z over the slots, nearly: each element is shared out between the two levels around it, so that the sum stays, and what is below all levels
// is as one that loses nothing. Given the sum of all, and Σ min(element, level): how many are above follows from the differences.
fn likely_reach(all: f32, levels: array<vec4<f32>, 2>, least: array<vec4<f32>, 2>, bound: u32, power: f32) -> f32 {
  var low = vec4<f32>(1.0, levels[0].xyz);
  var high = vec4<f32>(levels[0].w, levels[1].xyz);
  let above_low = (vec4<f32>(all, least[0].xyz) - least[0]) / (low - levels[0]);
  let above_high = (vec4<f32>(least[0].w, least[1].xyz) - least[1]) / (high - levels[1]);
  let many_low = max(above_low - vec4<f32>(0.0, above_low.xyz), vec4<f32>(0.0));
  let many_high = max(above_high - vec4<f32>(above_low.w, above_high.xyz), vec4<f32>(0.0));
  let small = max(least[1].w - above_high.w * levels[1].w, 1e-30);
  var reach = 0.0;
  for (var l = 0u; l < bound; l++) {
    let inverse = 1.0 / (sum4(many_low * low + many_high * high) + small);
    reach += inverse;
    low = max(low * decay4(1.0 - low * inverse, power), vec4<f32>(1e-30));
    high = max(high * decay4(1.0 - high * inverse, power), vec4<f32>(1e-30));
  }
  return reach;
}

// The largest of a row and what all others sum to, of each column's largest and the sums of what is smaller.
fn largest_and_others(best4: vec4<f32>, rest: vec4<f32>, local: vec2<u32>) -> vec2<f32> {
  let pair = max(best4.x, best4.y);
  let other = max(best4.z, best4.w);
  let best = max(pair, other);
  let others = (min(best4.x, best4.y) + min(best4.z, best4.w)) + min(pair, other) + sum4(rest);
  let winner = row_argmax(best, local.x, local);
  return vec2<f32>(row_max(best, local), row_sum(others + select(best, 0.0, local.x == winner), local));
}

// Σ e^(score - best) over what is not the best, with one more.
fn with_score4(rest: vec4<f32>, best: vec4<f32>, score: vec4<f32>) -> vec4<f32> {
  let e = weight_of(-abs(score - best), 0.0);
  return select(rest + e, (rest + 1.0) * e, score > best);
}

// Writes four leaders' numbers, of which so many exist, to their columns.
fn scatter4(base: u32, four: u32, exist: u32, values: vec4<f32>) {
  for (var i = 0u; i < min(4u, exist); i++) {
    let c = list[four][i];
    y[base + c / 4u][c % 4u] = element4(values, i);
  }
}

@compute @workgroup_size(LANES * ROWS)
fn walk(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let lane = local.x;
  let at = linear_group(group, groups) * ROWS + local.y;
  let row = place_of(at, at);
  let fours = row.fours;
  let exists = fours > 0u;
  let bound = params.bound;
  let power = params.inverse;
  let least = params.least;
  let first = at * (bound + 1u) * STRIDE;
  let first_share = select(0u, at * (bound + 1u - least), exists);
  let none_used = select(0.0, 1.0, OUTPUT == 1u && least == 0u) * shares[first_share];
  var high4 = vec4<f32>(minus_infinity());
  for (var f = lane; f < fours; f += LANES) { high4 = nan_max4(high4, x[row.base + f]); }
  let high = row_max(max4(high4), local);
  var top4 = vec4<f32>(minus_infinity());
  for (var f = lane; f < fours; f += LANES) {
    let s = scores4(row, f, high);
    top4 = max(top4, s);
    weights[row.base + f] = s;
  }
  let top = row_max(max4(top4), local);
  let empty = is_nan(high) || top == minus_infinity();
  let steep = max(power, 1.0);
  let levels = array<vec4<f32>, 2>(
    f_exp4(-min(1.2 * steep, 10.0) * vec4<f32>(1.0, 2.0, 3.0, 4.0)),
    f_exp4(-min(1.2 * steep, 10.0) * vec4<f32>(5.0, 6.0, 7.0, 8.0)),
  );
  var total = vec4<f32>(0.0);
  var low = vec4<f32>(0.0);
  var lower = vec4<f32>(0.0);
  for (var f = lane; f < fours; f += LANES) {
    let e = select(weight_of((weights[row.base + f] - top) * power, 0.0), vec4<f32>(0.0), vec4<bool>(empty));
    weights[row.base + f] = e;
    total += e;
    low += min(vec4<f32>(e.x), levels[0]) + min(vec4<f32>(e.y), levels[0]) + (min(vec4<f32>(e.z), levels[0]) + min(vec4<f32>(e.w), levels[0]));
    lower += min(vec4<f32>(e.x), levels[1]) + min(vec4<f32>(e.y), levels[1]) + (min(vec4<f32>(e.z), levels[1]) + min(vec4<f32>(e.w), levels[1]));
  }
  let least_sums = array<vec4<f32>, 2>(row_sum4(low, local), row_sum4(lower, local));
  var lift = clamp(4.0 * steep * likely_reach(row_sum(sum4(total), local), levels, least_sums, bound, power), 1e-3, 1e30);

  // Leaders take more than about a tenth of a slot in all slots together. So many may lead that a walk of the whole row costs no more.
  let crowd = 64u + fours / (4u * LANES);
  var done = !exists;
  var whole = false;
  var sums = zero();
  var answer = zero(); // the mask of what does not lead
  var leaders = 0u;
  for (var round = 0u; round < ROUNDS; round++) {
    let walked = done || whole;
    // Fours that hold leaders are noted in the places of their state.
    var noted = 0u;
    var mine = zero();
    for (var f = select(lane, fours, walked); f < fours; f += LANES) {
      let over = weights[row.base + f] * lift;
      let leads = over > vec4<f32>(1.0);
      mine = plus(mine, powers_by(vec4<f32>(1.0), select(over, vec4<f32>(0.0), leads)));
      state[2u * (row.base + lane + noted / 4u * LANES)][noted % 4u] = f32(f);
      noted += select(0u, 1u, any(leads));
    }
    var n = 0u;
    for (var j = 0u; j < select(noted, 0u, noted > crowd); j++) {
      let f = u32(state[2u * (row.base + lane + j / 4u * LANES)][j % 4u]);
      let leads = weights[row.base + f] * lift > vec4<f32>(1.0);
      var hits = select(0u, 1u, leads.x) | select(0u, 2u, leads.y) | select(0u, 4u, leads.z) | select(0u, 8u, leads.w);
      while (hits != 0u) {
        let i = firstTrailingBit(hits);
        hits &= hits - 1u;
        list[row.base + lane + n / 4u * LANES][n % 4u] = 4u * f + i;
        n++;
      }
    }
    let found = row_series(mine, local);
    let crowded = row_max(select(0.0, 1.0, max(n, noted) > crowd), local) > 0.0;
    let walks = !walked && !crowded;
    if (walks) {
      sums = found;
      leaders = n;
    }
    let listed = select(0u, (n + 3u) / 4u, walks);
    var best4 = vec4<f32>(0.0);
    var rest = vec4<f32>(0.0);
    for (var j = 0u; j < listed; j++) {
      let four = row.base + lane + j * LANES;
      let exist = inside4(n, 4u * j);
      let c = select(vec4<u32>(0u), list[four], exist);
      let at4 = c / 4u + row.base;
      let i = c % 4u;
      let e = select(vec4<f32>(0.0), vec4<f32>(weights[at4.x][i.x], weights[at4.y][i.y], weights[at4.z][i.z], weights[at4.w][i.w]), exist);
      rest += min(best4, e);
      best4 = max(best4, e);
      state[2u * four] = e;
      state[2u * four + 1u] = vec4<f32>(0.0);
    }
    let faint = 1.0 / lift;
    var series = Series(vec4<f32>(1.0, 0.0, 0.0, 0.0), vec4<f32>(0.0));
    var mask = zero();
    var reach = 0.0; // Σ 1 / Z
    var smallest = 1.0;
    var used = 1.0 - none_used;
    for (var l = 0u; l < bound; l++) {
      let parts = largest_and_others(best4, rest, local);
      let held = parts.y + faint * inner(series, sums);
      let sum = parts.x + held;
      let inverse = select(0.0, 1.0 / sum, sum > 0.0);
      let left = held * inverse;
      let iota = faint * inverse;
      reach += iota;
      smallest = min(smallest, sum);
      best4 = vec4<f32>(0.0);
      rest = vec4<f32>(0.0);
      for (var j = 0u; j < listed; j++) {
        let four = row.base + lane + j * LANES;
        let e = state[2u * four];
        let w = e * inverse;
        let after = e * decay4(rest4(w, left), power);
        rest += min(best4, after);
        best4 = max(best4, after);
        let taken = state[2u * four + 1u] + used * w;
        state[2u * four] = after;
        state[2u * four + 1u] = taken;
        if (OUTPUT == 2u) { scatter4((at * bound + l) * fours, four, n - 4u * j, taken); }
      }
      for (var once = 0u; once < select(0u, 1u, walks); once++) {
        if (lane == 0u) {
          let to = first + l * STRIDE;
          steps[to] = series.low;
          steps[to + 1u] = series.high;
          steps[to + 2u] = vec4<f32>(iota, 0.0, inverse, left);
        }
        mask = plus(mask, scaled(series, used * iota));
        // Past its reach the series is left as it is, so that what is said of slots stays near enough to choose leaders by.
        let near = select(0.0, 1.0, steep * reach <= 0.25);
        series = plus(series, scaled(product(series, power_of_rest(scaled(series, iota * near), power)), near));
        if (OUTPUT == 1u) { used -= shares[first_share + l + 1u - least]; }
      }
    }
    if (walks && (empty || (smallest > 1e-26 && steep * reach <= 0.25))) {
      answer = mask;
      done = true;
    }
    if (!done) {
      whole = whole || crowded || smallest <= 1e-26 || round + 1u >= ROUNDS;
      lift = min(lift * max(steep * reach / 0.15, 1.0), 1e30);
    }
  }

  // Rows that are walked whole, in logarithms. Of each column of the fours: its largest score, and what the others sum to relative to that.
  var best4 = vec4<f32>(NONE);
  var rest = vec4<f32>(0.0);
  for (var f = select(fours, lane, whole); f < fours; f += LANES) {
    let four = row.base + f;
    let score = max((scores4(row, f, high) - top) * power, vec4<f32>(NONE));
    weights[four] = score;
    list[four] = vec4<u32>(4u * f) + vec4<u32>(0u, 1u, 2u, 3u);
    state[2u * four] = score;
    state[2u * four + 1u] = vec4<f32>(0.0);
    rest = with_score4(rest, best4, score);
    best4 = max(best4, score);
  }
  var used = 1.0 - none_used;
  for (var l = 0u; l < bound; l++) {
    let m = row_max(max4(best4), local);
    let e = weight_of(best4, m);
    let parts = largest_and_others(e, rest * e, local);
    let inverse = 1.0 / (parts.x + parts.y);
    let left = parts.y * inverse;
    best4 = vec4<f32>(NONE);
    rest = vec4<f32>(0.0);
    for (var f = select(fours, lane, whole); f < fours; f += LANES) {
      let four = row.base + f;
      let score = state[2u * four];
      let w = weight_of(score, m) * inverse;
      let after = score + power * f_log4(max(rest4(w, left), vec4<f32>(LEAST_LEFT)));
      rest = with_score4(rest, best4, after);
      best4 = max(best4, after);
      let taken = state[2u * four + 1u] + used * w;
      state[2u * four] = after;
      state[2u * four + 1u] = taken;
      if (OUTPUT == 1u) { y[four] = taken; }
      if (OUTPUT == 2u) { y[(at * bound + l) * fours + f] = taken; }
    }
    if (whole) {
      if (lane == 0u) {
        let to = first + l * STRIDE;
        steps[to] = vec4<f32>(0.0);
        steps[to + 1u] = vec4<f32>(0.0);
        steps[to + 2u] = vec4<f32>(0.0, m, inverse, left);
      }
      if (OUTPUT == 1u) { used -= shares[first_share + l + 1u - least]; }
    }
  }
  let begin = select(lane, fours, whole);
  if (whole) {
    sums = zero();
    leaders = 0u;
  }
  if (lane == 0u && exists) {
    let to = first + bound * STRIDE;
    steps[to] = sums.low;
    steps[to + 1u] = sums.high;
    steps[to + 2u] = vec4<f32>(select(lift, 0.0, whole), select(0.0, high, is_nan(high)), 0.0, 0.0);
  }
  let stop = lane + leaders / 4u * LANES;
  if (!whole && stop < fours) { list[row.base + stop][leaders % 4u] = 4u * fours; }
  let nan = vec4<bool>(is_nan(high));
  if (OUTPUT == 1u) {
    for (var f = begin; f < fours; f += LANES) {
      y[row.base + f] = select(at_x4(answer, weights[row.base + f] * lift), vec4<f32>(high), nan);
    }
    for (var j = 0u; j < (leaders + 3u) / 4u; j++) {
      let four = row.base + lane + j * LANES;
      scatter4(row.base, four, leaders - 4u * j, state[2u * four + 1u]);
    }
  }
  if (OUTPUT == 2u) {
    if (LANES > 1u) { storageBarrier(); }
    var sum = zero();
    for (var l = 0u; l < bound; l++) {
      let step = select(0u, first + l * STRIDE, exists);
      sum = plus(sum, scaled(step_series(step), steps[step + 2u].x));
      for (var f = begin; f < fours; f += LANES) {
        let over = weights[row.base + f] * lift;
        let to = (at * bound + l) * fours + f;
        y[to] = select(select(at_x4(sum, over), y[to], over > vec4<f32>(1.0)), vec4<f32>(high), nan);
      }
    }
  }
}

// ---- Backwards from the last slot, with Y the gradient of leaders' scores over T after a slot, A that of the series, B = Σ r x^p and S = Σ x^p over
// what does not lead: dw = g r - Y / (T (1 - w)), D = Σ w dw, Y += w (dw - D). The series of the others are differentiated as they were made.

@group(0) @binding(0) var<storage, read> known_weights: array<vec4<f32>>; // [all rows, fours]
@group(0) @binding(1) var<storage, read> known_list: array<vec4<u32>>; // [all rows, fours]
@group(0) @binding(2) var<storage, read> known_steps: array<vec4<f32>>; // [all rows, bound + 1, 3]
@group(0) @binding(3) var<storage, read> known_shares: array<f32>; // [all rows, bound + 1 - least], read where OUTPUT is 1
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>; // [all rows, fours], or of every slot [all rows, bound, fours]
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>; // [all rows, fours]
@group(0) @binding(6) var<storage, read_write> path: array<vec4<f32>>; // [rows, fours, bound + 2]: what leaders take of every slot, Y, and their gradients
@group(0) @binding(7) var<storage, read_write> dshares: array<f32>; // as shares, written where OUTPUT is 1

fn known_series(at: u32) -> Series { return Series(known_steps[at], known_steps[at + 1u]); }

// x of four columns, 0 of leaders.
fn others4(four: u32, lift: f32) -> vec4<f32> {
  let over = known_weights[four] * lift;
  return select(over, vec4<f32>(0.0), over > vec4<f32>(1.0));
}

// Σ r x^p of a lane.
fn moments(row: Place, base: u32, begin: u32, lift: f32) -> Series {
  var r = zero();
  for (var f = begin; f < row.fours; f += LANES) { r = plus(r, powers_by(dy[base + f], others4(row.base + f, lift))); }
  return r;
}

// Gradients of four columns.
fn gathered4(base: u32, c: vec4<u32>) -> vec4<f32> {
  let at = c / 4u + base;
  let i = c % 4u;
  return vec4<f32>(dy[at.x][i.x], dy[at.y][i.y], dy[at.z][i.z], dy[at.w][i.w]);
}

fn times_power(a: Series) -> Series { return Series(a.low * vec4<f32>(1.0, 2.0, 3.0, 4.0), a.high * vec4<f32>(5.0, 6.0, 7.0, 8.0)); }

// Gradients of what four elements take of a slot, given those of their scores after it.
fn gradient_of_slot(direct: vec4<f32>, w: vec4<f32>, after: vec4<f32>, left: f32, power: f32) -> vec4<f32> {
  let rest = rest4(w, left);
  return direct - select(vec4<f32>(0.0), power * after / max(rest, vec4<f32>(LEAST_LEFT)), rest > vec4<f32>(LEAST_LEFT));
}

@compute @workgroup_size(LANES * ROWS)
fn backward(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let local = lane_and_row(invocation);
  let lane = local.x;
  let in_part = linear_group(group, groups) * ROWS + local.y;
  let at = in_part + params.row_offset;
  let row = place_of(at, in_part);
  let fours = row.fours;
  let exists = fours > 0u;
  let bound = params.bound;
  let power = params.inverse;
  let first = select(0u, at * (bound + 1u) * STRIDE, exists);
  let summary = first + bound * STRIDE;
  let sums = known_series(summary);
  let lift = known_steps[summary + 2u].x;
  let nan = known_steps[summary + 2u].y;
  let whole = lift == 0.0;
  let begin = select(lane, fours, whole);
  let width = 4u * fours;
  var n = 0u;
  for (var f = lane; f < fours; f += LANES) {
    let listed = known_list[row.base + f] < vec4<u32>(width);
    let more = select(0u, select(1u, select(2u, select(3u, 4u, listed.w), listed.z), listed.y), listed.x);
    n += more;
    if (more < 4u) { break; }
  }
  let listed = (n + 3u) / 4u;
  let stride = bound + 2u;
  for (var j = 0u; j < listed; j++) {
    let four = row.base + lane + j * LANES;
    let c = min(known_list[four], vec4<u32>(max(width, 1u) - 1u));
    let of_list = (in_part * fours + lane + j * LANES) * stride;
    let f = c / 4u + row.base;
    let i = c % 4u;
    let e = vec4<f32>(known_weights[f.x][i.x], known_weights[f.y][i.y], known_weights[f.z][i.z], known_weights[f.w][i.w]);
    let exist = inside4(n, 4u * j);
    // As they were walked, to the bit: what is left of sure choices amplifies differences.
    var weight = select(vec4<f32>(0.0), e, exist);
    for (var l = 0u; l < select(bound, 0u, whole); l++) {
      let step = known_steps[first + l * STRIDE + 2u];
      let w = weight * step.z;
      weight = weight * decay4(rest4(w, step.w), power);
      path[of_list + l] = w;
    }
    var score = select(vec4<f32>(NONE), e, exist);
    for (var l = 0u; l < select(0u, bound, whole); l++) {
      let step = known_steps[first + l * STRIDE + 2u];
      let w = weight_of(score, step.y) * step.z;
      score += power * f_log4(max(rest4(w, step.w), vec4<f32>(LEAST_LEFT)));
      path[of_list + l] = w;
    }
    path[of_list + bound] = vec4<f32>(0.0);
    if (OUTPUT == 1u) { path[of_list + bound + 1u] = gathered4(row.base, c); }
  }
  var b = zero();
  if (OUTPUT == 1u) { b = row_series(moments(row, row.base, begin, lift), local); }
  let counts = bound + 1u - params.least;
  var after = zero(); // A
  var sums_gradient = zero();
  var by = zero(); // Σ g u / Z
  var used = select(1.0, 0.0, OUTPUT == 1u);
  for (var l = bound; l > 0u; l--) {
    let step = select(0u, first + (l - 1u) * STRIDE, exists);
    let series = known_series(step);
    let iota = known_steps[step + 2u].x;
    let left = known_steps[step + 2u].w;
    let base = select(row.base, (at * bound + l - 1u) * fours, OUTPUT == 2u);
    if (OUTPUT == 1u && exists) { used += known_shares[at * counts + l - params.least]; }
    if (OUTPUT == 2u) { b = row_series(moments(row, base, begin, lift), local); }
    var dot = vec4<f32>(0.0);
    var heavy = vec4<f32>(0.0); // of the one that takes most
    var gain = vec4<f32>(0.0);
    for (var j = 0u; j < listed; j++) {
      let of_list = (in_part * fours + lane + j * LANES) * stride;
      let w = path[of_list + l - 1u];
      if (OUTPUT == 2u) { path[of_list + bound + 1u] = gathered4(base, min(known_list[row.base + lane + j * LANES], vec4<u32>(width - 1u))); }
      let r = path[of_list + bound + 1u];
      gain += w * r;
      let part = w * gradient_of_slot(used * r, w, path[of_list + bound], left, power);
      let most = w > vec4<f32>(0.5);
      dot += select(part, vec4<f32>(0.0), most);
      heavy += select(vec4<f32>(0.0), part, most);
    }
    let w = scaled(series, iota);
    let slope = power_of_rest(w, power - 1.0);
    let through = plus(slope, scaled(plus(w, product(w, slope)), -(1.0 + power)));
    let by_inverse = scaled(product(series, plus(series, product(series, slope))), -power);
    let taken = inner(series, b);
    let others = row_sum(sum4(dot), local) + iota * (used * taken + inner(after, by_inverse));
    let mean = others + row_sum(sum4(heavy), local);
    let slot = row_sum(sum4(gain), local) + iota * taken;
    after = plus(transposed(after, through), plus(scaled(b, used * iota), scaled(sums, -mean * iota)));
    sums_gradient = plus(sums_gradient, scaled(series, -mean * iota));
    by = plus(by, scaled(series, used * iota));
    for (var j = 0u; j < listed; j++) {
      let of_list = (in_part * fours + lane + j * LANES) * stride;
      let w = path[of_list + l - 1u];
      let before = path[of_list + bound];
      let dw = gradient_of_slot(used * path[of_list + bound + 1u], w, before, left, power);
      // dw - D of the one that takes most, without the difference of what is nearly equal.
      path[of_list + bound] = before + w * select(dw - mean, left * dw - others, w > vec4<f32>(0.5));
    }
    if (OUTPUT == 1u && lane == 0u && exists) { dshares[at * counts + l - params.least] = slot; }
  }
  if (OUTPUT == 1u && lane == 0u && exists) {
    if (params.least == 0u) { dshares[at * counts] = 0.0; }
    var sum = 0.0;
    for (var j = 0u; j < counts; j++) {
      sum += dshares[at * counts + j];
      dshares[at * counts + j] = select(sum, nan, is_nan(nan));
    }
  }
  for (var f = begin; f < fours; f += LANES) {
    let over = others4(row.base + f, lift);
    var d = at_x4(times_power(sums_gradient), over);
    if (OUTPUT == 1u) { d += dy[row.base + f] * at_x4(times_power(by), over); }
    if (OUTPUT == 2u) {
      for (var l = 0u; l < bound; l++) {
        let step = first + l * STRIDE;
        d += dy[(at * bound + l) * fours + f] * at_x4(times_power(scaled(known_series(step), known_steps[step + 2u].x)), over);
      }
    }
    dx[row.base + f] = select(power * d, vec4<f32>(nan), vec4<bool>(is_nan(nan)));
  }
  for (var j = 0u; j < listed; j++) {
    let d = power * path[(in_part * fours + lane + j * LANES) * stride + bound];
    for (var i = 0u; i < min(4u, n - 4u * j); i++) {
      let c = known_list[row.base + lane + j * LANES][i];
      dx[row.base + c / 4u][c % 4u] = element4(d, i);
    }
  }
}

// ---- Hard masks: the ordered elements themselves.

@group(0) @binding(0) var<storage, read> order: array<u32>; // [rows, bound]
@group(0) @binding(1) var<storage, read> hard_shares: array<f32>; // [rows, bound + 1 - least]
@group(0) @binding(2) var<storage, read_write> hot: array<f32>; // [rows, cols], zeros

// One invocation per slot.
@compute @workgroup_size(64)
fn hard(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.bound) { return; }
  let row = i / params.bound;
  let counts = params.bound + 1u - params.least;
  var used = 0.0;
  for (var count = i % params.bound + 1u; count <= params.bound; count++) { used += hard_shares[row * counts + count - params.least]; }
  let c = order[i];
  if (c < params.cols) { hot[row * params.cols + c] = used; }
}

@group(0) @binding(1) var<storage, read> hard_dy: array<f32>; // [rows, cols]
@group(0) @binding(2) var<storage, read_write> hard_dshares: array<f32>; // [rows, bound + 1 - least]

// One invocation per row: a count uses all slots up to it.
@compute @workgroup_size(64)
fn hard_backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let counts = params.bound + 1u - params.least;
  var sum = 0.0;
  if (params.least == 0u) { hard_dshares[row * counts] = 0.0; }
  for (var l = 0u; l < params.bound; l++) {
    let c = order[row * params.bound + l];
    if (c < params.cols) { sum += hard_dy[row * params.cols + c]; }
    hard_dshares[row * counts + l + 1u - params.least] = sum;
  }
}

@group(0) @binding(1) var<storage, read_write> nested: array<f32>; // [rows, bound, cols], zeros

// One invocation per slot: its element is in all masks from there on.
@compute @workgroup_size(64)
fn hard_prefixes(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.bound) { return; }
  let c = order[i];
  let end = (i / params.bound + 1u) * params.bound;
  for (var mask = i; mask < select(end, 0u, c >= params.cols); mask++) { nested[mask * params.cols + c] = 1.0; }
}

@group(0) @binding(0) var<storage, read> of_masks: array<f32>; // [rows, bound, cols]
@group(0) @binding(1) var<storage, read_write> of_slots: array<f32>; // [rows, bound, 4 fours]

// One invocation per padded element: a slot is in all masks from there on.
@compute @workgroup_size(64)
fn suffixes(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let width = 4u * params.fours;
  if (i >= params.rows * width) { return; }
  let row = i / width;
  let c = i % width;
  var sum = 0.0;
  for (var l = params.bound; l > 0u; l--) {
    if (c < params.cols) { sum += of_masks[(row * params.bound + l - 1u) * params.cols + c]; }
    of_slots[(row * params.bound + l - 1u) * width + c] = sum;
  }
}

// ---- Rows that are no fours, with what fills them up and without.

@group(0) @binding(0) var<storage, read> narrow: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read_write> wide: array<f32>; // [rows, 4 fours]

@compute @workgroup_size(64)
fn pad(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  let width = 4u * params.fours;
  if (i >= params.rows * width) { return; }
  let c = i % width;
  wide[i] = select(params.fill, narrow[i / width * params.cols + min(c, params.cols - 1u)], c < params.cols);
}

@group(0) @binding(0) var<storage, read> padded: array<f32>; // [rows, 4 fours]
@group(0) @binding(1) var<storage, read_write> cut: array<f32>; // [rows, cols]

@compute @workgroup_size(64)
fn unpad(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = linear_id(global, groups, 64u);
  if (i >= params.rows * params.cols) { return; }
  cut[i] = padded[i / params.cols * 4u * params.fours + i % params.cols];
}
