// Successive softmaxes of a row's scores (shared/score), each without what the ones before took:
//   w[l] = softmax(s[l] / T),   s[l + 1] = s[l] + log(max(1 - w[l], 1e-6)),   mask = Σ g[l] w[l],   g[l] = Σ of shares of counts of at least l.
// Few elements of a row can take much of a slot. These leaders are walked one by one, in logarithms. Of all others, x = e^(s / T) relative to the
// least leader, what is left after l slots is the same power series u[l](x) = x + .. x^8, since u[l + 1] = u (1 - u / Z)^(1 / T), and a sum over
// them needs the sums of their powers only: a row costs O(columns + leaders * bound). A row is walked again with more leaders where
// the series would not be good to rounding, and with all its elements where nothing else helps.
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
@group(0) @binding(6) var<storage, read_write> state: array<vec4<f32>>; // [rows, fours, 2]: their scores over T, and what they took
@group(0) @binding(7) var<storage, read_write> steps: array<vec4<f32>>; // [rows, bound + 1, 3]
@group(1) @binding(0) var<uniform> params: Params;

const ROUNDS: u32 = 5u;
const LEAST_LEFT: f32 = 1e-6;
const NONE: f32 = -3e38; // a score of nothing
// Of a step: 8 coefficients; 1 / Z in units of x, the largest leader's score, 1 / Z relative to that, what the others than the largest hold. Of
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

fn row_series(a: Series, local: vec2<u32>) -> Series {
  if (LANES == 1u) { return a; }
  return Series(
    vec4<f32>(row_sum(a.low.x, local), row_sum(a.low.y, local), row_sum(a.low.z, local), row_sum(a.low.w, local)),
    vec4<f32>(row_sum(a.high.x, local), row_sum(a.high.y, local), row_sum(a.high.z, local), row_sum(a.high.w, local)),
  );
}

// What is left of an element after a slot, given what the others of the largest hold.
fn rest4(w: vec4<f32>, others: f32) -> vec4<f32> { return select(1.0 - w, vec4<f32>(others), w > vec4<f32>(0.5)); }

fn weight_of(score: vec4<f32>, largest: f32) -> vec4<f32> { return f_exp4(max(score - largest, vec4<f32>(-200.0))); }

// Scores of four leaders, of which so many exist.
fn states4(four: u32, exist: u32) -> vec4<f32> { return select(vec4<f32>(NONE), state[2u * four], inside4(exist, 0u)); }

fn step_series(at: u32) -> Series { return Series(steps[at], steps[at + 1u]); }

// What all of a row sum to, and how many there are, from what is below four levels: what is left when the largest are gone.
fn remainder(all: f32, below: vec4<f32>, above: vec4<f32>, bound: f32) -> f32 {
  var left = all;
  if (above.x <= bound) { left = below.x; }
  if (above.y <= bound) { left = below.y; }
  if (above.z <= bound) { left = below.z; }
  if (above.w <= bound) { left = below.w; }
  return max(left, 1e-20);
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
  var total = vec4<f32>(0.0);
  var below = vec4<f32>(0.0);
  var above = vec4<f32>(0.0);
  let levels = vec4<f32>(0.1, 0.01, 1e-3, 1e-4);
  for (var f = lane; f < fours; f += LANES) {
    let e = select(weight_of((weights[row.base + f] - top) * power, 0.0), vec4<f32>(0.0), vec4<bool>(empty));
    weights[row.base + f] = e;
    total += e;
    for (var i = 0u; i < 4u; i++) {
      let low = vec4<f32>(e[i]) < levels;
      below += select(vec4<f32>(0.0), vec4<f32>(e[i]), low);
      above += select(vec4<f32>(1.0), vec4<f32>(0.0), low);
    }
  }
  let all = row_sum(sum4(total), local);
  let left_below = vec4<f32>(row_sum(below.x, local), row_sum(below.y, local), row_sum(below.z, local), row_sum(below.w, local));
  let count_above = vec4<f32>(row_sum(above.x, local), row_sum(above.y, local), row_sum(above.z, local), row_sum(above.w, local));

  // Leaders take more than about a tenth of a slot in all slots together.
  let steep = max(power, 1.0);
  var lift = clamp(steep * f32(bound) / (0.3 * remainder(all, left_below, count_above, f32(bound))), 1e-3, 1e30);
  let crowd = 64u + fours / (4u * LANES);
  var whole = false;
  var done = !exists;
  var sums = zero();
  var answer = zero(); // the mask of what does not lead
  var leaders = 0u;
  for (var round = 0u; round < ROUNDS; round++) {
    let begin = select(lane, fours, done);
    for (var f = select(fours, begin, whole); f < fours; f += LANES) {
      weights[row.base + f] = max((scores4(row, f, high) - top) * power, vec4<f32>(NONE));
    }
    var n = 0u;
    var mine = zero();
    var largest = NONE;
    for (var f = begin; f < fours; f += LANES) {
      let e = weights[row.base + f];
      let over = e * lift;
      let leads = (over > vec4<f32>(1.0)) | vec4<bool>(whole);
      mine = plus(mine, powers_by(vec4<f32>(1.0), select(over, vec4<f32>(0.0), leads)));
      var hits = select(0u, 1u, leads.x) | select(0u, 2u, leads.y) | select(0u, 4u, leads.z) | select(0u, 8u, leads.w);
      if (whole) {
        hits = 0u;
        list[row.base + f] = vec4<u32>(4u * f) + vec4<u32>(0u, 1u, 2u, 3u);
        state[2u * (row.base + f)] = e;
        state[2u * (row.base + f) + 1u] = vec4<f32>(0.0);
        largest = max(largest, max4(e));
        n += 4u;
      }
      while (hits != 0u && n <= crowd) {
        let i = firstTrailingBit(hits);
        hits &= hits - 1u;
        let score = f_log4(vec4<f32>(element4(e, i))).x;
        let to = row.base + lane + n / 4u * LANES;
        list[to][n % 4u] = 4u * f + i;
        state[2u * to][n % 4u] = score;
        state[2u * to + 1u][n % 4u] = 0.0;
        largest = max(largest, score);
        n++;
      }
    }
    let stop = lane + n / 4u * LANES;
    if (!done && stop < fours) { list[row.base + stop][n % 4u] = 4u * fours; }
    // So many that a walk of the whole row costs no more.
    let crowded = row_max(select(0.0, 1.0, n > crowd && !whole), local) > 0.0;
    let found = row_series(mine, local);
    if (!done) {
      sums = found;
      leaders = n;
    }
    let edge = select(-f_log4(vec4<f32>(lift)).x, NONE, whole);
    var m = max(row_max(largest, local), edge);
    let listed = select((n + 3u) / 4u, 0u, done || crowded);
    let turns = select(1u, 0u, done || crowded);
    var series = Series(vec4<f32>(1.0, 0.0, 0.0, 0.0), vec4<f32>(0.0));
    var mask = zero();
    var reach = 0.0; // Σ 1 / Z
    var deepest = 0.0;
    var used = 1.0;
    if (OUTPUT == 1u && least == 0u) { used -= shares[first_share]; }
    for (var l = 0u; l < bound; l++) {
      var best4 = vec4<f32>(0.0);
      var rest = vec4<f32>(0.0);
      for (var j = 0u; j < listed; j++) {
        let e = weight_of(states4(row.base + lane + j * LANES, n - 4u * j), m);
        rest += min(best4, e);
        best4 = max(best4, e);
      }
      let pair = max(best4.x, best4.y);
      let other = max(best4.z, best4.w);
      let best = max(pair, other);
      let others = (min(best4.x, best4.y) + min(best4.z, best4.w)) + min(pair, other) + sum4(rest);
      let best_of_row = row_max(best, local);
      let winner = row_argmax(best, lane, local);
      let faint = select(f_exp4(vec4<f32>(max(edge - m, -200.0))).x, 0.0, whole);
      let held = row_sum(others + select(best, 0.0, lane == winner), local) + faint * inner(series, sums);
      let sum = best_of_row + held;
      let inverse = select(0.0, 1.0 / sum, sum > 0.0);
      let left = held * inverse;
      let iota = faint * inverse;
      reach += iota;
      deepest = min(deepest, m + f_log4(vec4<f32>(max(sum, 1.2e-38))).x);
      var next = vec4<f32>(NONE);
      for (var j = 0u; j < listed; j++) {
        let four = row.base + lane + j * LANES;
        let score = states4(four, n - 4u * j);
        let w = weight_of(score, m) * inverse;
        let after = score + power * f_log4(max(rest4(w, left), vec4<f32>(LEAST_LEFT)));
        next = max(next, after);
        let taken = state[2u * four + 1u] + used * w;
        state[2u * four] = after;
        state[2u * four + 1u] = taken;
        if (OUTPUT == 2u) {
          for (var i = 0u; i < min(4u, n - 4u * j); i++) {
            let c = list[four][i];
            y[(at * bound + l) * fours + c / 4u][c % 4u] = element4(taken, i);
          }
        }
      }
      for (var once = 0u; once < turns; once++) {
        if (lane == 0u) {
          let to = first + l * STRIDE;
          steps[to] = series.low;
          steps[to + 1u] = series.high;
          steps[to + 2u] = vec4<f32>(iota, m, inverse, left);
        }
        mask = plus(mask, scaled(series, used * iota));
        // Past its reach the series is left as it is, so that what is said of slots stays near enough to choose leaders by.
        let near = select(0.0, 1.0, steep * reach <= 0.25);
        series = plus(series, scaled(product(series, power_of_rest(scaled(series, iota * near), power)), near));
        if (OUTPUT == 1u) { used -= shares[first_share + l + 1u - least]; }
      }
      m = max(row_max(max4(next), local), edge);
    }
    let good = empty || whole || (deepest > -60.0 && steep * reach <= 0.25);
    if (!done && !crowded && good) {
      answer = mask;
      done = true;
    }
    if (!done) {
      whole = crowded || deepest <= -60.0 || round + 2u >= ROUNDS;
      lift = min(lift * max(steep * reach / 0.15, 1.0), 1e30);
    }
  }
  if (lane == 0u && exists) {
    let to = first + bound * STRIDE;
    steps[to] = sums.low;
    steps[to + 1u] = sums.high;
    steps[to + 2u] = vec4<f32>(select(lift, 0.0, whole), select(0.0, high, is_nan(high)), 0.0, 0.0);
  }
  let nan = vec4<bool>(is_nan(high));
  if (OUTPUT == 1u) {
    for (var f = select(lane, fours, whole); f < fours; f += LANES) {
      y[row.base + f] = select(at_x4(answer, weights[row.base + f] * lift), vec4<f32>(high), nan);
    }
    for (var j = 0u; j < (leaders + 3u) / 4u; j++) {
      let four = row.base + lane + j * LANES;
      let taken = state[2u * four + 1u];
      for (var i = 0u; i < min(4u, leaders - 4u * j); i++) {
        let c = list[four][i];
        y[row.base + c / 4u][c % 4u] = element4(taken, i);
      }
    }
  }
  if (OUTPUT == 2u) {
    if (LANES > 1u) { storageBarrier(); }
    var sum = zero();
    for (var l = 0u; l < bound; l++) {
      let step = select(0u, first + l * STRIDE, exists);
      sum = plus(sum, scaled(step_series(step), steps[step + 2u].x));
      for (var f = select(lane, fours, whole); f < fours; f += LANES) {
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
@group(0) @binding(6) var<storage, read_write> path: array<vec4<f32>>; // [rows, fours, bound + 1]: what leaders take of every slot, and Y
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
  return vec4<f32>(element4(dy[at.x], i.x), element4(dy[at.y], i.y), element4(dy[at.z], i.z), element4(dy[at.w], i.w));
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
  let stride = bound + 1u;
  for (var j = 0u; j < listed; j++) {
    let four = row.base + lane + j * LANES;
    let c = min(known_list[four], vec4<u32>(max(width, 1u) - 1u));
    let of_list = (in_part * fours + lane + j * LANES) * stride;
    let f = c / 4u + row.base;
    let i = c % 4u;
    let e = vec4<f32>(element4(known_weights[f.x], i.x), element4(known_weights[f.y], i.y), element4(known_weights[f.z], i.z), element4(known_weights[f.w], i.w));
    var score = select(select(f_log4(e), e, vec4<bool>(whole)), vec4<f32>(NONE), !inside4(n, 4u * j));
    for (var l = 0u; l < bound; l++) {
      let step = known_steps[first + l * STRIDE + 2u];
      let w = weight_of(score, step.y) * step.z;
      score += power * f_log4(max(rest4(w, step.w), vec4<f32>(LEAST_LEFT)));
      path[of_list + l] = w;
    }
    path[of_list + bound] = vec4<f32>(0.0);
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
      let c = min(known_list[row.base + lane + j * LANES], vec4<u32>(width - 1u));
      let of_list = (in_part * fours + lane + j * LANES) * stride;
      let w = path[of_list + l - 1u];
      let r = gathered4(base, c);
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
      let c = min(known_list[row.base + lane + j * LANES], vec4<u32>(width - 1u));
      let of_list = (in_part * fours + lane + j * LANES) * stride;
      let w = path[of_list + l - 1u];
      let before = path[of_list + bound];
      let dw = gradient_of_slot(used * gathered4(base, c), w, before, left, power);
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
