// The exact law of subsets of k elements, P(S) = Π_{i in S} w_i / e_k(w), through a sum of independent Bernoulli variables: with
// q_i = sigmoid(log w_i - lambda) that sum to k, e_k = P(Σ B = k) Π (1 + w_i / e^lambda) e^{k lambda}. The probability is the mean of
//   Π_i (1 - q_i + q_i z) z^-k   over the points z = e^{2 pi i m / M} of the unit circle,
// exact but for totals that are M away (docs/numerics.md). M is odd and some six standard deviations, so that 16 points and their conjugates
// hold all that is not negligible, whatever k is. Marginals leave one factor out; their covariances two.
// One invocation does one row.
#import index
#import random

struct Params { rows: u32, cols: u32, k: u32, first: u32, last: u32, row_offset: u32, key_low: u32, key_high: u32 }

@group(0) @binding(0) var<storage, read> log_weights: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> level: array<f32>; // [rows]: lambda, -inf where all elements are chosen
@group(1) @binding(0) var<uniform> params: Params;

const STREAM: u32 = 9u;
const TURN: f32 = 6.283185307179586;

// 16 complex numbers.
struct Points { re0: vec4<f32>, re1: vec4<f32>, re2: vec4<f32>, re3: vec4<f32>, im0: vec4<f32>, im1: vec4<f32>, im2: vec4<f32>, im3: vec4<f32> }
struct Complex { re: vec4<f32>, im: vec4<f32> }

fn times(a: Complex, b: Complex) -> Complex { return Complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re); }

// sin and cos of x in [0, pi / 2].
fn sine4(x: vec4<f32>) -> vec4<f32> {
  let z = x * x;
  return x * (1.0 + z * (-1.6666667e-1 + z * (8.3333333e-3 + z * (-1.9841270e-4 + z * (2.7557319e-6 - 2.5052108e-8 * z)))));
}

// e^{2 pi i f} of fractions f in [0, 1).
fn circle4(f: vec4<f32>) -> Complex {
  // By quarters: the angle within one, from both of its ends.
  let quarter = floor(f * 4.0);
  let x = (f * 4.0 - quarter) * (0.25 * TURN);
  let s = sine4(x);
  let c = sine4(0.25 * TURN - x);
  let odd = (quarter == vec4<f32>(1.0)) | (quarter == vec4<f32>(3.0));
  let cosine = select(c, -s, odd);
  let sine = select(s, c, odd);
  let back = quarter >= vec4<f32>(2.0);
  return Complex(select(cosine, -cosine, back), select(sine, -sine, back));
}

// Four points of the circle: their sines and 1 - cosines.
struct Nodes { sine: vec4<f32>, less: vec4<f32> }

fn nodes(m: vec4<f32>, count: f32) -> Nodes {
  let half = circle4(m / (2.0 * count)); // at half the angle: 1 - cos x = 2 sin^2 (x / 2)
  return Nodes(2.0 * half.im * half.re, 2.0 * half.im * half.im);
}

// The factor of an element.
fn factor(node: Nodes, q: f32) -> Complex { return Complex(1.0 - q * node.less, q * node.sine); }

// p times the factor of an element; what it changes is small, and rounds otherwise every time.
fn grow(p: Complex, node: Nodes, q: f32) -> Complex {
  let change = times(p, Complex(-node.less, node.sine));
  return Complex(p.re + q * change.re, p.im + q * change.im);
}

fn element(row: u32, c: u32, lambda: f32) -> f32 {
  let l = log_weights[row * params.cols + c];
  let e = f_exp(-abs(l - lambda));
  let p = select(1.0, e, l < lambda) / (1.0 + e);
  return select(p, 0.0, l == minus_infinity());
}

const FIRST4: vec4<f32> = vec4<f32>(0.0, 1.0, 2.0, 3.0);

// Conjugates count twice; points past half of the circle not at all. Times z^-k.
fn weigh(value: Complex, m: vec4<f32>, count: f32, k: f32) -> Complex {
  let turns = m * k; // below 2^24
  let phase = (turns - floor(turns / count) * count) / count;
  let z = circle4(clamp(phase, vec4<f32>(0.0), vec4<f32>(0.99999994)));
  let share = select(select(vec4<f32>(2.0), vec4<f32>(1.0), m == vec4<f32>(0.0)), vec4<f32>(0.0), m * 2.0 > vec4<f32>(count)) / count;
  return times(Complex(value.re * share, value.im * share), Complex(z.re, -z.im));
}

fn total(p: Points) -> f32 {
  let s = (p.re0 + p.re1) + (p.re2 + p.re3);
  return (s.x + s.y) + (s.z + s.w);
}

// M of a row whose q have this variance.
fn points_of(variance: f32) -> f32 { return 2.0 * floor(3.0 * sqrt(variance) + 5.0) + 1.0; }

@group(0) @binding(2) var<storage, read_write> log_sum: array<f32>; // [rows]: log e_k
@group(0) @binding(3) var<storage, read_write> saved: array<f32>; // [rows, 36]: the points' weights, then M
@group(0) @binding(4) var<storage, read_write> marginals: array<f32>; // [rows, cols]

const SAVED: u32 = 33u;

fn keep(at: u32, re: vec4<f32>, im: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    saved[at + i] = re[i];
    saved[at + 16u + i] = im[i];
  }
}

// Re Σ of weights times conj(f) / |f|^2, of one element: what is left without it.
fn without(weight: Complex, f: Complex) -> vec4<f32> {
  return (weight.re * f.re + weight.im * f.im) / (f.re * f.re + f.im * f.im);
}

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let cols = params.cols;
  let k = f32(params.k);
  let base = row * cols;
  let lambda = level[row];
  var variance = 0.0;
  var scale = 0.0; // Σ log(1 + w / e^lambda)
  var all = 0.0; // Σ log w
  var bad = 0.0;
  var count = 0.0;
  for (var c = 0u; c < cols; c++) {
    let l = log_weights[base + c];
    let q = element(row, c, lambda);
    variance += q * (1.0 - q);
    let open = l != minus_infinity();
    if (open) { scale += f_softplus(l - lambda); all += l; count += 1.0; }
    if (is_nan(l) || l > 3.4e38) { bad = 1.0; }
  }
  let size = points_of(variance);
  let n0 = nodes(FIRST4, size);
  let n1 = nodes(FIRST4 + 4.0, size);
  let n2 = nodes(FIRST4 + 8.0, size);
  let n3 = nodes(FIRST4 + 12.0, size);
  var p0 = Complex(vec4<f32>(1.0), vec4<f32>(0.0));
  var p1 = p0;
  var p2 = p0;
  var p3 = p0;
  for (var c = 0u; c < cols; c++) {
    let q = element(row, c, lambda);
    p0 = grow(p0, n0, q);
    p1 = grow(p1, n1, q);
    p2 = grow(p2, n2, q);
    p3 = grow(p3, n3, q);
  }
  p0 = weigh(p0, FIRST4, size, k);
  p1 = weigh(p1, FIRST4 + 4.0, size, k);
  p2 = weigh(p2, FIRST4 + 8.0, size, k);
  p3 = weigh(p3, FIRST4 + 12.0, size, k);
  let probability = total(Points(p0.re, p1.re, p2.re, p3.re, p0.im, p1.im, p2.im, p3.im));
  let inverse = 1.0 / probability;
  p0 = Complex(p0.re * inverse, p0.im * inverse);
  p1 = Complex(p1.re * inverse, p1.im * inverse);
  p2 = Complex(p2.re * inverse, p2.im * inverse);
  p3 = Complex(p3.re * inverse, p3.im * inverse);
  let at = row * SAVED;
  keep(at, p0.re, p0.im);
  keep(at + 4u, p1.re, p1.im);
  keep(at + 8u, p2.re, p2.im);
  keep(at + 12u, p3.re, p3.im);
  saved[at + 32u] = size;
  let nan = quiet_nan();
  var result = f_log(probability) + scale + k * lambda;
  let forced = lambda == minus_infinity();
  if (forced) { result = select(minus_infinity(), all, count == k); }
  if (bad > 0.0) { result = nan; }
  log_sum[row] = result;
  // Without one: with z^1 back in, and q. 1 - pi has the same form without z, for q near 1.
  for (var c = 0u; c < cols; c++) {
    let q = element(row, c, lambda);
    let g0 = factor(n0, q);
    let g1 = factor(n1, q);
    let g2 = factor(n2, q);
    let g3 = factor(n3, q);
    let out = sum4((without(p0, g0) + without(p1, g1)) + (without(p2, g2) + without(p3, g3)));
    var marginal = clamp(1.0 - (1.0 - q) * out, 0.0, 1.0);
    if (q < 0.5) {
      let z0 = times(p0, Complex(1.0 - n0.less, n0.sine));
      let z1 = times(p1, Complex(1.0 - n1.less, n1.sine));
      let z2 = times(p2, Complex(1.0 - n2.less, n2.sine));
      let z3 = times(p3, Complex(1.0 - n3.less, n3.sine));
      marginal = clamp(q * sum4((without(z0, g0) + without(z1, g1)) + (without(z2, g2) + without(z3, g3))), 0.0, 1.0);
    }
    if (forced) { marginal = select(nan, select(1.0, 0.0, log_weights[base + c] == minus_infinity()), count == k); }
    marginals[base + c] = select(marginal, nan, bad > 0.0);
  }
}

fn quiet_nan() -> f32 { let bits = 0x7fc00000u; return bitcast<f32>(bits); }

// ---- The product of the covariance of the choices with dy, which is the gradient of the marginals, and log e_k's.

@group(0) @binding(2) var<storage, read> known: array<f32>; // saved
@group(0) @binding(3) var<storage, read> chosen: array<f32>; // marginals
@group(0) @binding(4) var<storage, read> dmarginals: array<f32>; // [rows, cols]
@group(0) @binding(5) var<storage, read> dlog_sum: array<f32>; // [rows]
@group(0) @binding(6) var<storage, read_write> dweights: array<f32>; // [rows, cols]

// q z / f of an element: how much more it is chosen at this point.
fn pull(node: Nodes, q: f32) -> Complex {
  let f = factor(node, q);
  let share = q / (f.re * f.re + f.im * f.im);
  // z conj(f)
  return Complex(share * ((1.0 - node.less) * f.re + node.sine * f.im), share * (node.sine * f.re - (1.0 - node.less) * f.im));
}

fn known4(at: u32) -> Complex {
  return Complex(vec4<f32>(known[at], known[at + 1u], known[at + 2u], known[at + 3u]), vec4<f32>(known[at + 16u], known[at + 17u], known[at + 18u], known[at + 19u]));
}

fn add(a: Complex, b: Complex, scale: f32) -> Complex { return Complex(a.re + scale * b.re, a.im + scale * b.im); }

// Re of weight rho (sum - d rho)
fn pairs(weight: Complex, rho: Complex, sum: Complex, d: f32) -> vec4<f32> {
  let rest = Complex(sum.re - d * rho.re, sum.im - d * rho.im);
  let product = times(weight, rho);
  return product.re * rest.re - product.im * rest.im;
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = linear_id(global, groups, 64u);
  if (row >= params.rows) { return; }
  let cols = params.cols;
  let base = row * cols;
  let lambda = level[row];
  let dlog = dlog_sum[row];
  var mean = 0.0;
  for (var c = 0u; c < cols; c++) { mean += chosen[base + c] * dmarginals[base + c]; }
  mean /= f32(params.k);
  let at = row * SAVED;
  let size = known[at + 32u];
  let n0 = nodes(FIRST4, size);
  let n1 = nodes(FIRST4 + 4.0, size);
  let n2 = nodes(FIRST4 + 8.0, size);
  let n3 = nodes(FIRST4 + 12.0, size);
  var h0 = Complex(vec4<f32>(0.0), vec4<f32>(0.0));
  var h1 = h0;
  var h2 = h0;
  var h3 = h0;
  var centre = 0.0;
  for (var c = 0u; c < cols; c++) {
    let d = dmarginals[base + c] - mean;
    let q = element(row, c, lambda);
    centre += chosen[base + c] * d;
    h0 = add(h0, pull(n0, q), d);
    h1 = add(h1, pull(n1, q), d);
    h2 = add(h2, pull(n2, q), d);
    h3 = add(h3, pull(n3, q), d);
  }
  let w0 = known4(at);
  let w1 = known4(at + 4u);
  let w2 = known4(at + 8u);
  let w3 = known4(at + 12u);
  for (var c = 0u; c < cols; c++) {
    let d = dmarginals[base + c] - mean;
    let q = element(row, c, lambda);
    let both = sum4((pairs(w0, pull(n0, q), h0, d) + pairs(w1, pull(n1, q), h1, d)) + (pairs(w2, pull(n2, q), h2, d) + pairs(w3, pull(n3, q), h3, d)));
    let p = chosen[base + c];
    var gradient = both + p * (d - centre);
    if (lambda == minus_infinity()) { gradient = 0.0; }
    dweights[base + c] = gradient + p * dlog;
  }
}

// ---- Draws. Probabilities of the totals of elements i .. cols - 1, from the last; then from the first one choice after another.

@group(0) @binding(2) var<storage, read_write> tables: array<f32>; // [cols + 1, k + 1, rows]

@compute @workgroup_size(64)
fn tabulate(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = linear_id(global, groups, 64u);
  let rows = params.rows;
  if (at >= rows) { return; }
  let row = at + params.row_offset;
  let lambda = level[row];
  let width = params.k + 1u;
  if (params.last == params.cols) {
    for (var s = 0u; s < width; s++) { tables[(params.cols * width + s) * rows + at] = select(0.0, 1.0, s == 0u); }
  }
  for (var i = params.last; i > params.first; i--) {
    let q = element(row, i - 1u, lambda);
    let from_ = i * width;
    let to = (i - 1u) * width;
    var before = 0.0;
    for (var s = 0u; s < width; s++) {
      let here = tables[(from_ + s) * rows + at];
      tables[(to + s) * rows + at] = here * (1.0 - q) + before * q;
      before = here;
    }
  }
}

@group(0) @binding(2) var<storage, read> known_tables: array<f32>;
@group(0) @binding(3) var<storage, read_write> hot: array<f32>; // [rows, cols]

@compute @workgroup_size(64)
fn sample(@builtin(global_invocation_id) global: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let at = linear_id(global, groups, 64u);
  let rows = params.rows;
  if (at >= rows) { return; }
  let row = at + params.row_offset;
  let cols = params.cols;
  let lambda = level[row];
  let forced = lambda == minus_infinity();
  let key = vec2<u32>(params.key_low, params.key_high);
  let width = params.k + 1u;
  var left = params.k;
  for (var c = 0u; c < cols; c++) {
    let q = element(row, c, lambda);
    let before = max(left, 1u) - 1u;
    let taken = q * known_tables[((c + 1u) * width + before) * rows + at];
    let passed = (1.0 - q) * known_tables[((c + 1u) * width + left) * rows + at];
    let words = philox(vec4<u32>(c / 4u, row, 0u, STREAM), key);
    let noise = exponential_from(words[c % 4u]);
    // u < p, as -log u > -log p: rare choices too.
    var choice = left > 0u && noise > f_log1p(passed / taken);
    if (forced) { choice = left > 0u && log_weights[row * cols + c] != minus_infinity(); }
    hot[row * cols + c] = select(0.0, 1.0, choice);
    left -= select(0u, 1u, choice);
  }
  // Fewer than k that can be chosen, or NaN.
  if (left > 0u) {
    for (var c = 0u; c < cols; c++) { hot[row * cols + c] = quiet_nan(); }
  }
}
