//! Explicit randomness: a 64-bit key that is split, never reused (`child = mix(parent + (i + 1)·φ)`, SplitMix64).
//!
//! Every random kernel takes a [`Key`] and numbers its draws with Philox4x32-10, so that the bits depend on the key
//! and the logical element alone: not on the workgroup size, the batch split or the adapter.

/// The seed of one random operation.
///
/// ```
/// use softurn_kernels::Key;
/// let [a, b] = Key::new(7).split();
/// assert_ne!(a, b);
/// assert_eq!(a, Key::new(7).split::<2>()[0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// A key from a user's seed.
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5af7_u64.rotate_left(40)))
    }

    /// The `index`-th child of this key.
    pub const fn child(self, index: u64) -> Self {
        Self(mix(self.0.wrapping_add((index.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15))))
    }

    /// The first `N` children.
    pub fn split<const N: usize>(self) -> [Self; N] {
        std::array::from_fn(|i| self.child(i as u64))
    }

    /// All children, one after the other.
    pub fn split_forever(self) -> impl Iterator<Item = Self> {
        (0u64..).map(move |i| self.child(i))
    }

    /// The 64 bits, for host-side generators and checkpoints.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// 53 of the bits as a number on `[0, 1)`.
    pub const fn unit(self) -> f64 {
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The key with exactly these bits: the inverse of [`Key::bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The two words that a kernel takes.
    pub(crate) const fn words(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
