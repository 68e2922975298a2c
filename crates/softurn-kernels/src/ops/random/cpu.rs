//! Philox4x32-10 with its integer stream bit for bit, and the transforms of its words in f64.

use crate::Key;

/// Ten rounds of Philox4x32.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let (a, b) = (u64::from(c[0]) * 0xD251_1F53, u64::from(c[2]) * 0xCD9E_8D57);
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// `[0, 1)`, a multiple of 2⁻²⁴.
pub fn uniform_from(bits: u32) -> f64 {
    f64::from(bits >> 8) / f64::from(1 << 24)
}

/// `-log u` with `u = (bits + 1/2) / 2³²`.
pub fn exponential_from(bits: u32) -> f64 {
    let scale = 1.0 / 4_294_967_296.0;
    if bits < 1 << 31 { -((f64::from(bits) + 0.5) * scale).ln() } else { -(-(f64::from(!bits) + 0.5) * scale).ln_1p() }
}

/// `-log(-log u)`.
pub fn gumbel_from(bits: u32) -> f64 {
    -exponential_from(bits).ln()
}

/// Box and Muller: the radius from `a`, the angle from `b`.
pub fn normal_from(a: u32, b: u32) -> f64 {
    let angle = f64::from(b) / 4_294_967_296.0 * std::f64::consts::TAU;
    (2.0 * exponential_from(a)).sqrt() * angle.cos()
}

/// The first `length` values of a stream: `distribution` 0 bits, 1 uniform, 2 normal, 3 Gumbel.
pub fn forward(length: usize, key: Key, distribution: u32) -> Vec<f64> {
    let per = if distribution == 2 { 2 } else { 4 };
    let value = |i: usize| {
        let words = philox([(i / per) as u32, 0, distribution, 1], key.words());
        let word = words[i % per];
        match distribution {
            0 => f64::from(word),
            1 => uniform_from(word),
            2 => normal_from(words[2 * (i % 2)], words[2 * (i % 2) + 1]),
            _ => gumbel_from(word),
        }
    };
    (0..length).map(value).collect()
}
