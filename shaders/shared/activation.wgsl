// What follows a product, f. ACTIVATION: 0 none, 1 relu, 2 tanh, 3 sigmoid.
#import math

override ACTIVATION: u32 = 0u;

fn activated(v: f32) -> f32 {
  switch ACTIVATION {
    case 1u: { return select(max(v, 0.0), v, is_nan(v)); }
    case 2u: { return f_tanh(v); }
    case 3u: { return f_sigmoid(v); }
    default: { return v; }
  }
}
