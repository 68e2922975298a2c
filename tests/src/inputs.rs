//! Deterministic test inputs: awkward sizes, seeded numbers, rows that break naive kernels.

/// Sizes around the borders of subgroups and workgroups, never only squares or powers of two.
pub const SIZES: &[usize] = &[0, 1, 2, 3, 7, 63, 64, 65, 255, 257, 1000];

/// The small ones, for ops whose cost grows with a product of sizes.
pub const SMALL_SIZES: &[usize] = &[0, 1, 2, 3, 7, 17, 65];

/// A seeded stream of test numbers (SplitMix64): the same on every machine, for ever.
#[derive(Clone, Debug)]
pub struct Inputs {
    state: u64,
}

impl Inputs {
    /// A stream that depends on `seed` only.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in the open interval (0, 1), a multiple of 2^-53 plus 2^-54.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
    }

    /// `n` numbers uniform in `[lo, hi]`.
    pub fn uniform(&mut self, lo: f32, hi: f32, n: usize) -> Vec<f32> {
        let (lo, hi) = (f64::from(lo), f64::from(hi));
        (0..n).map(|_| (lo + (hi - lo) * self.unit()) as f32).collect()
    }

    /// `n` standard normal numbers (Box-Muller).
    pub fn normal(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| {
                let radius = (-2.0 * self.unit().ln()).sqrt();
                (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
            })
            .collect()
    }

    /// `n` integers uniform in `0..below`.
    ///
    /// # Panics
    /// When `below` is 0 and `n` is not.
    pub fn index(&mut self, n: usize, below: u32) -> Vec<u32> {
        assert!(below > 0 || n == 0, "no index is below 0");
        // The high half of a 96-bit product: biased by less than 2^-32, which no test here can see.
        (0..n).map(|_| (((self.bits() >> 32) * u64::from(below)) >> 32) as u32).collect()
    }
}

/// Named rows of `cols` values that every row-wise op must survive.
///
/// All equal, all -inf, some -inf, one +inf, a NaN, a spread of 6e30, tiny values (normal numbers down to the smallest:
/// subnormals are flushed by some adapters), ascending.
pub fn special_rows(cols: usize) -> Vec<(&'static str, Vec<f32>)> {
    let row = |f: &dyn Fn(usize) -> f32| (0..cols).map(f).collect::<Vec<f32>>();
    let middle = cols / 2;
    vec![
        ("all equal", row(&|_| 0.75)),
        ("all -inf", row(&|_| f32::NEG_INFINITY)),
        (
            "some -inf",
            row(&|i| {
                if i % 3 == 1 { f32::NEG_INFINITY } else { 0.1 * (i % 7) as f32 }
            }),
        ),
        (
            "one +inf",
            row(&|i| {
                if i == middle { f32::INFINITY } else { 0.1 * (i % 7) as f32 }
            }),
        ),
        (
            "a NaN",
            row(&|i| {
                if i == middle { f32::NAN } else { 0.1 * (i % 7) as f32 }
            }),
        ),
        (
            "huge spread",
            row(&|i| match i % 4 {
                0 => 3e30,
                1 => -3e30,
                2 => 1.0,
                _ => -3e10,
            }),
        ),
        (
            "tiny values",
            row(&|i| {
                let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                sign * f32::MIN_POSITIVE * (1 + i % 5) as f32
            }),
        ),
        ("ascending", row(&|i| i as f32 * (8.0 / cols as f32) - 4.0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_is_the_published_one() {
        // First outputs for seed 1234567, from the Rosetta Code page of the generator.
        let mut inputs = Inputs::new(1_234_567);
        assert_eq!(inputs.bits(), 6_457_827_717_110_365_317);
        assert_eq!(inputs.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let mut inputs = Inputs::new(seed);
            (inputs.uniform(-1.0, 2.0, 100), inputs.normal(100), inputs.index(100, 7))
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1).0, numbers(2).0);
    }

    #[test]
    fn numbers_stay_in_range_and_have_the_moments_of_their_law() {
        let mut inputs = Inputs::new(5);
        let moments = |x: &[f32]| {
            let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
            let square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / x.len() as f64;
            (mean, square - mean * mean)
        };
        let uniform = inputs.uniform(-1.0, 2.0, 20_000);
        assert!(uniform.iter().all(|x| (-1.0..=2.0).contains(x)));
        let (mean, variance) = moments(&uniform);
        assert!((mean - 0.5).abs() < 0.03 && (variance - 0.75).abs() < 0.03);
        let (mean, variance) = moments(&inputs.normal(20_000));
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05);
        let index = inputs.index(7000, 7);
        let mut counts = [0u64; 7];
        index.iter().for_each(|&i| counts[i as usize] += 1);
        assert!(crate::chi_square_p(&counts, &[1000.0; 7]) > 1e-3);
        assert!(inputs.index(0, 0).is_empty());
    }

    #[test]
    fn special_rows_are_what_their_names_say() {
        for cols in [0, 1, 2, 5, 64] {
            let rows = special_rows(cols);
            assert!(rows.iter().all(|(_, row)| row.len() == cols));
            let get = |name: &str| &rows.iter().find(|(n, _)| *n == name).expect(name).1;
            let one = usize::from(cols > 0);
            let infinite = |row: &[f32]| row.iter().filter(|x| **x == f32::INFINITY).count();
            assert_eq!(infinite(get("one +inf")), one);
            assert_eq!(get("a NaN").iter().filter(|x| x.is_nan()).count(), one);
            assert!(get("all -inf").iter().all(|x| *x == f32::NEG_INFINITY));
            assert!(get("all equal").iter().all(|x| *x == get("all equal")[0]));
            assert!(get("ascending").is_sorted_by(|a, b| a < b));
            assert!(get("tiny values").iter().all(|x| x.is_normal()));
            assert!(get("huge spread").iter().all(|x| x.is_finite()));
        }
    }
}
