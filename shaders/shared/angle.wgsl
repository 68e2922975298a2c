// Sines and cosines whose error is known: a driver's may be off by 2^-11.

// Taylor's, for |a| <= pi / 4.
fn sine(a: f32) -> f32 {
  let z = a * a;
  return a * (1.0 + z * (-1.6666667e-1 + z * (8.3333333e-3 + z * (-1.9841270e-4 + z * 2.7557319e-6))));
}

fn cosine(a: f32) -> f32 {
  let z = a * a;
  return 1.0 + z * (-0.5 + z * (4.1666667e-2 + z * (-1.3888889e-3 + z * (2.4801587e-5 + z * -2.7557319e-7))));
}
