// What the entry points of fisher_hypergeometric share: parameters, the frame of a law, conditionals, the recurrence and walks.
#import index
#import random

override GROUPS: u32 = 2u;
override MERGED: bool = false;
override RELAXED: bool = false; // counts are means of the relaxation, the remaining draws real
override NOISE: u32 = 1u; // 0: none, 1: from the key, 2: given
override FUSED: bool = false; // ratios and means come from the recurrence, not from tables
override SCORED: bool = false; // the log-probability of the draw is asked for, or has a gradient
override MASKED: bool = false; // the masks of the draw have a gradient

struct Params {
  rows: u32, // draws or scores
  first: u32, // of the law's rows, the first in `tables`
  count: u32, // of the law's rows, how many are in `tables`
  law_rows: u32,
  weight_rows: u32,
  size_rows: u32,
  draw_rows: u32,
  urn_draw_rows: u32,
  order_rows: u32, // 0: the natural order
  width: u32, // of a window in `tables`
  level: u32,
  means: u32, // whether `tables` holds means
  key_low: u32,
  key_high: u32,
  temperature: f32,
  tail: f32,
  noise_width: u32, // of a row of given noise or of masks
  draws_at: u32, // where the gradient of the draws starts in `gradient`
}

const STREAM: u32 = 5u;
const TAIL: f32 = 40.0; // sums leave out terms below e^-TAIL of the largest
const ORDER_STREAM: u32 = 8u;

@group(1) @binding(0) var<uniform> params: Params;

// The frame of a law's row: ten words per position, then a flag (1: impossible, results are NaN) and the draws.
const GROUP: u32 = 0u;
const SIZE: u32 = 1u; // 0 where the weight is
const REST: u32 = 2u; // the sizes of all later positions
const LOW: u32 = 3u; // the window of what this and later positions draw
const HIGH: u32 = 4u;
const MODE: u32 = 5u;
const ODDS: u32 = 6u;
const REST_ODDS: u32 = 7u; // the mean of the later positions
const MEAN: u32 = 8u; // of what this and later positions draw, were draws independent
const VARIANCE: u32 = 9u;
const FIELDS: u32 = 10u;

fn at(field: u32, p: u32, w: u32) -> u32 { return (field * GROUPS + p) * params.law_rows + w; }
fn flag_at(w: u32) -> u32 { return FIELDS * GROUPS * params.law_rows + w; }
fn draws_of(w: u32) -> u32 { return (FIELDS * GROUPS + 1u) * params.law_rows + w; }

fn quiet_nan() -> f32 { let bits = 0x7fc00000u; return bitcast<f32>(bits); }

// ---- What the other entry points read.

@group(0) @binding(0) var<storage, read> frame: array<u32>;
// Ratios c_q(s + 1) / c_q(s), [q = 1 .. groups - 2, width, count], then means E[x_j | positions q.. draw s], [(q, j >= q), width, count].
@group(0) @binding(1) var<storage, read> tables: array<f32>;

struct Position {
  size: f32,
  rest: f32,
  low: i32, // the window of what the later positions draw
  high: i32,
  odds: f32,
  rest_odds: f32,
  closed: bool, // the rest is one group, of size `rest` and odds `rest_odds`
  table: u32, // where the rest's ratios start in `tables`
  q: u32, // the first later position
  w: u32,
}

fn ratio_table(q: u32, w: u32) -> u32 { return (q - 1u) * params.width * params.count + (w - params.first); }

// Where the means of the group at position j >= q start, for totals of positions q.., q = 1 .. groups - 2; the last position has none.
fn mean_table(q: u32, j: u32, w: u32) -> u32 {
  let slot = (q - 1u) * (GROUPS - 1u) - q * (q - 1u) / 2u + (j - q);
  return ((GROUPS - 2u) + slot) * params.width * params.count + (w - params.first);
}

fn position(p: u32, w: u32) -> Position {
  var here: Position;
  here.size = f32(frame[at(SIZE, p, w)]);
  here.rest = f32(frame[at(REST, p, w)]);
  here.odds = bitcast<f32>(frame[at(ODDS, p, w)]);
  here.rest_odds = bitcast<f32>(frame[at(REST_ODDS, p, w)]);
  here.closed = MERGED || p + 2u >= GROUPS;
  here.q = p + 1u;
  here.w = w;
  here.low = 0;
  here.high = i32(here.rest);
  here.table = 0u;
  if (!MERGED) {
    here.low = i32(frame[at(LOW, p + 1u, w)]);
    here.high = i32(frame[at(HIGH, p + 1u, w)]);
    if (!here.closed && !FUSED) { here.table = ratio_table(p + 1u, w); }
  }
  return here;
}

// Where totals of the rest stand in a table; beyond the window, at its end.
fn offset(here: Position, i: i32) -> u32 { return u32(clamp(i, here.low, here.high) - here.low) * params.count; }

// c(i + 1) / c(i) of the rest.
fn rest_ratio(here: Position, i: i32) -> f32 {
  if (here.closed) { return here.rest_odds * (here.rest - f32(i)) / f32(i + 1); }
  return tables[here.table + offset(here, i)];
}

// P(k + 1 | s) / P(k | s)
fn step(here: Position, k: f32, s: f32) -> f32 {
  let free = s - k;
  if (here.closed) { return here.odds * (here.size - k) * free / ((k + 1.0) * here.rest_odds * (here.rest - free + 1.0)); }
  return here.odds * (here.size - k) / ((k + 1.0) * tables[here.table + offset(here, i32(free) - 1)]);
}

struct Range { low: i32, high: i32 }

// The remaining draws s = base + fraction; the fraction is 0 unless RELAXED.
struct Remaining { base: i32, fraction: f32, value: f32 }

fn remaining(s: f32) -> Remaining {
  if (!RELAXED) { return Remaining(i32(s), 0.0, s); }
  return Remaining(i32(floor(s)), s - floor(s), s);
}

// log c(i + 1) - log c(i) of the rest; beyond its window, as at the window's end, so that the interpolated log c goes on straight. There c
// fades to 0 within one unit: a value enters and leaves the support without a jump.
fn log_ratio(here: Position, i: i32) -> f32 {
  if (here.high <= here.low) { return 0.0; }
  return f_log(rest_ratio(here, clamp(i, here.low, here.high - 1)));
}

// A C1 cubic through log c at the integers with central differences as slopes (Catmull and Rom): its value at i + f above log c(i) from the
// ratios at i - 1, i, i + 1, and its derivative.
fn cubic(before: f32, here: f32, after: f32, f: f32) -> f32 {
  let slope = 0.5 * (before + here);
  let next = 0.5 * (here + after);
  return f * (slope + f * ((3.0 * here - 2.0 * slope - next) + f * (slope + next - 2.0 * here)));
}

fn cubic_slope(before: f32, here: f32, after: f32, f: f32) -> f32 {
  let slope = 0.5 * (before + here);
  let next = 0.5 * (here + after);
  return slope + f * (2.0 * (3.0 * here - 2.0 * slope - next) + 3.0 * f * (slope + next - 2.0 * here));
}

// How much of the unit beyond the window's end lies between i + f and nothing; 1 inside.
fn inside(here: Position, i: i32, f: f32) -> f32 {
  if (i < here.low) { return f; }
  if (i >= here.high) { return 1.0 - f; }
  return 1.0;
}

fn fade(u: f32) -> f32 { return u * u * (3.0 - 2.0 * u); }

// P(k + 1 | s) / P(k | s) with s real.
fn relaxed_step(here: Position, k: f32, s: Remaining) -> f32 {
  if (MERGED) { return step(here, k, s.value); }
  let i = s.base - i32(k);
  let r2 = log_ratio(here, i - 2);
  let r1 = log_ratio(here, i - 1);
  let r0 = log_ratio(here, i);
  let difference = r1 + cubic(r1, r0, log_ratio(here, i + 1), s.fraction) - cubic(r2, r1, r0, s.fraction);
  let faded = fade(inside(here, i - 1, s.fraction)) / max(fade(inside(here, i, s.fraction)), 1e-37);
  return here.odds * (here.size - k) / (k + 1.0) * f_exp(-difference) * faded;
}

// Values for which the rest's window holds s - k; relaxed, or misses it by less than a unit.
fn values(here: Position, s: Remaining) -> Range {
  var low = s.value - f32(here.high);
  var high = s.value - f32(here.low);
  if (RELAXED) {
    low = floor(low);
    high = ceil(high);
  }
  low = clamp(low, 0.0, here.size);
  return Range(i32(low), i32(clamp(high, low, here.size)));
}

// ---- The recurrence (docs/numerics.md). With E_j(s) = E[x_j | positions q.. draw s],
//   r(s) = sum_j odds_j (m_j - E_j(s)) / (s + 1),   E_j(s + 1) = odds_j (m_j - E_j(s)) / r(s),
// and m_j - E_j = (m_j - s) + sum_{l != j} E_l: sums of positive terms, because no group is smaller than the draws.
struct Four { mean: vec4<f32>, sum: f32 }

// odds (m - E) of four positions: m - E is m - s and the means of all others.
fn pull(odds: vec4<f32>, size: vec4<f32>, mean: vec4<f32>, s: f32, others: f32) -> Four {
  let a = mean.x + mean.y;
  let b = mean.z + mean.w;
  let part = odds * ((size - s) + (vec4<f32>(mean.y + b, mean.x + b, a + mean.w, a + mean.z) + others));
  return Four(part, (part.x + part.y) + (part.z + part.w));
}

// A field of positions j .. j + 3 that are not before q, 0 elsewhere.
fn odds4(q: u32, j: u32, w: u32) -> vec4<f32> {
  return vec4<f32>(odds_from(q, j, w), odds_from(q, j + 1u, w), odds_from(q, j + 2u, w), odds_from(q, j + 3u, w));
}

fn odds_from(q: u32, j: u32, w: u32) -> f32 {
  if (j < q || j >= GROUPS) { return 0.0; }
  return bitcast<f32>(frame[at(ODDS, j, w)]);
}

fn size4(j: u32, w: u32) -> vec4<f32> { return vec4<f32>(size_of(j, w), size_of(j + 1u, w), size_of(j + 2u, w), size_of(j + 3u, w)); }

fn size_of(j: u32, w: u32) -> f32 {
  if (j >= GROUPS) { return 0.0; }
  return f32(frame[at(SIZE, j, w)]);
}

// Positions 1 .. 16 in four vectors; positions before q have no odds.
struct Recurrence {
  odds0: vec4<f32>, odds1: vec4<f32>, odds2: vec4<f32>, odds3: vec4<f32>,
  size0: vec4<f32>, size1: vec4<f32>, size2: vec4<f32>, size3: vec4<f32>,
  mean0: vec4<f32>, mean1: vec4<f32>, mean2: vec4<f32>, mean3: vec4<f32>,
  s: f32,
}

fn start_recurrence(q: u32, w: u32, s: f32) -> Recurrence {
  var state: Recurrence;
  state.s = s;
  state.odds0 = odds4(q, 1u, w);
  state.size0 = size4(1u, w);
  if (GROUPS > 5u) { state.odds1 = odds4(q, 5u, w); state.size1 = size4(5u, w); }
  if (GROUPS > 9u) { state.odds2 = odds4(q, 9u, w); state.size2 = size4(9u, w); }
  if (GROUPS > 13u) { state.odds3 = odds4(q, 13u, w); state.size3 = size4(13u, w); }
  return state;
}

// The ratio at s; means move on to s + 1. At negative s means stay 0.
fn recur_once(state: ptr<function, Recurrence>) -> f32 {
  let s = (*state).s;
  let sum0 = sum4((*state).mean0);
  var sum1 = 0.0;
  var sum2 = 0.0;
  var sum3 = 0.0;
  if (GROUPS > 5u) { sum1 = sum4((*state).mean1); }
  if (GROUPS > 9u) { sum2 = sum4((*state).mean2); }
  if (GROUPS > 13u) { sum3 = sum4((*state).mean3); }
  let part0 = pull((*state).odds0, (*state).size0, (*state).mean0, s, sum1 + (sum2 + sum3));
  (*state).mean0 = part0.mean;
  var pulled = part0.sum;
  if (GROUPS > 5u) {
    let part1 = pull((*state).odds1, (*state).size1, (*state).mean1, s, sum0 + (sum2 + sum3));
    (*state).mean1 = part1.mean;
    pulled += part1.sum;
  }
  if (GROUPS > 9u) {
    let part2 = pull((*state).odds2, (*state).size2, (*state).mean2, s, (sum0 + sum1) + sum3);
    (*state).mean2 = part2.mean;
    pulled += part2.sum;
  }
  if (GROUPS > 13u) {
    let part3 = pull((*state).odds3, (*state).size3, (*state).mean3, s, (sum0 + sum1) + sum2);
    (*state).mean3 = part3.mean;
    pulled += part3.sum;
  }
  let scale = select(0.0, max(s + 1.0, 0.0) / pulled, pulled > 0.0);
  (*state).mean0 *= scale;
  if (GROUPS > 5u) { (*state).mean1 *= scale; }
  if (GROUPS > 9u) { (*state).mean2 *= scale; }
  if (GROUPS > 13u) { (*state).mean3 *= scale; }
  (*state).s = s + 1.0;
  return pulled / (s + 1.0);
}

// ---- Walks down the values k of a conditional, from above its upper tail until the lower tail is out of the window: totals s - k go up, as the
// recurrence does. A probability is p 2^e against that of the first value, p in [1, 2).
struct Walk {
  k: i32,
  kf: f32,
  start: i32,
  low: i32,
  p: f32,
  e: i32,
  top: i32, // the largest e so far
  tail: i32, // the walk ends this far below it
  live: bool,
}

const LN_2: f32 = 0.6931471805599453;

// Values whose probability is below e^-tail of the mode's are left out.
fn tail_bits() -> i32 { return i32(params.tail / LN_2) + 1; }

// The first value of a walk: `widening` times as far above the mean as a conditional matters, judged by means and
// variances of independent draws: the caller looks whether it was far enough.
fn start_of(here: Position, s: Remaining, widening: f32) -> i32 {
  let share = here.odds / (1.0 + here.odds);
  let own = here.size * share;
  let own_variance = own / (1.0 + here.odds);
  var rest = here.rest * here.rest_odds / (1.0 + here.rest_odds);
  var rest_variance = rest / (1.0 + here.rest_odds);
  if (!MERGED) {
    rest = bitcast<f32>(frame[at(MEAN, here.q, here.w)]);
    rest_variance = bitcast<f32>(frame[at(VARIANCE, here.q, here.w)]);
  }
  let part = own_variance / max(own_variance + rest_variance, 1e-30);
  let range = values(here, s);
  let mean = clamp(own + part * (s.value - own - rest), f32(range.low), f32(range.high));
  let reach = sqrt(2.0 * params.tail * part * rest_variance) + params.tail / 6.0 + 1.0;
  return i32(min(f32(range.high), ceil(mean + widening * reach)));
}

fn walk_from(here: Position, s: Remaining, start: i32) -> Walk {
  let k = start | 3; // the last of its block of four
  return Walk(k, f32(k), start, values(here, s).low, 1.0, 0, 0, tail_bits(), true);
}

// c(s - k + 1) / c(s - k) of the rest, where a step down from k takes it from the recurrence or from a table.
fn ratio_at(here: Position, k: f32, s: Remaining, state: ptr<function, Recurrence>) -> f32 {
  var ratio = 0.0;
  if (!RELAXED && !here.closed) {
    if (FUSED) { ratio = recur_once(state); } else { ratio = tables[here.table + offset(here, i32(s.value - k))]; }
  }
  return ratio;
}

// P(k - 1) / P(k), given that ratio.
fn step_down(here: Position, k: f32, s: Remaining, ratio: f32) -> f32 {
  let free = s.value - k;
  var down = k * ratio / (here.odds * (here.size - k + 1.0));
  if (RELAXED && !MERGED) {
    down = 1.0 / relaxed_step(here, k - 1.0, s);
  } else if (here.closed) {
    down = k * here.rest_odds * (here.rest - free) / (here.odds * (here.size - k + 1.0) * (free + 1.0));
  }
  return down;
}

// The recurrence of the rest, run up to the first total of a walk; the ratio before it.
fn run_up(here: Position, s: Remaining, walk: Walk, state: ptr<function, Recurrence>) -> f32 {
  let total = s.value - walk.kf;
  var before = 0.0;
  if (FUSED && !here.closed) {
    *state = start_recurrence(here.q, here.w, min(0.0, total));
    while ((*state).s < total) { before = recur_once(state); }
  } else if (!RELAXED && !MERGED && here.high > here.low) {
    before = rest_ratio(here, clamp(i32(total) - 1, here.low, here.high - 1));
  }
  return before;
}

// p at k, 0 outside the window, and its e; moves on to k - 1. Without branches: lanes walk together.
struct Point { p: f32, e: i32 }

fn take(here: Position, s: Remaining, ratio: f32, walk: ptr<function, Walk>) -> Point {
  let k = (*walk).k;
  let inside = (*walk).live && k <= (*walk).start;
  let p = (*walk).p;
  let e = (*walk).e;
  let next = min(p * step_down(here, (*walk).kf, s, ratio), 1e37);
  let bits = bitcast<u32>(next);
  let next_e = e + i32(bits >> 23u) - 127;
  let top = max((*walk).top, next_e);
  let goes_on = k > (*walk).low && next > 1e-37 && next_e >= top - (*walk).tail;
  if (inside) {
    (*walk).p = bitcast<f32>((bits & 0x007fffffu) | 0x3f800000u);
    (*walk).e = next_e;
    (*walk).top = select((*walk).top, top, goes_on);
  }
  (*walk).live = (*walk).live && (!inside || goes_on);
  (*walk).k = k - 1;
  (*walk).kf -= 1.0;
  return Point(select(0.0, p, inside), e);
}

// Whether the walk began where values no longer matter.
fn began_outside(here: Position, s: Remaining, walk: Walk) -> bool {
  return walk.start >= values(here, s).high || walk.top >= tail_bits();
}

// exp of the Gumbel noise at (row, position, k); `words` are the four of k's block.
@group(0) @binding(2) var<storage, read> given: array<f32>; // [rows, groups - 1, noise_width], read where NOISE is 2

// Read once: a uniform costs as much as ten operations on software adapters.
struct Settings { key: vec2<u32>, row: u32, temperature: f32, unit: bool }

fn settings(row: u32) -> Settings {
  return Settings(vec2<u32>(params.key_low, params.key_high), row, params.temperature, params.temperature == 1.0);
}

fn noise_words(draw: Settings, p: u32, k: i32) -> vec4<u32> {
  if (NOISE != 1u) { return vec4<u32>(0u); }
  return philox(vec4<u32>(draw.row, p, u32(k) / 4u, STREAM), draw.key);
}

// The probability times e^noise.
fn perturbed(draw: Settings, probability: f32, word: u32, p: u32, k: i32) -> f32 {
  if (NOISE == 0u) { return probability; }
  if (NOISE == 2u) { return probability * f_exp(given[(draw.row * (GROUPS - 1u) + p) * params.noise_width + u32(k)]); }
  return probability / exponential_from(word);
}
