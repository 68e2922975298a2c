//! Pairs of images that share some of their factors: what weak supervision learns from.
//!
//! The first image of a pair is uniform over all, the set of factors that differ uniform over the sets of their number, and
//! each of these takes another of its values, uniformly: none keeps its value by chance.

use softurn_kernels::Key;

use super::{DataError, FactorImages};
use crate::train::batches::below;

/// Pairs of images with exactly `shared` equal factors.
///
/// ```
/// use ndarray::array;
/// use softurn_kernels::Key;
/// use softurn_models::data::{Factor, FactorImages, ImageShape, Pairs};
///
/// let factors = ["shape", "place"].map(|name| Factor { name: name.into(), size: 2 }).to_vec();
/// let shape = ImageShape { height: 1, width: 1, channels: 1 };
/// let classes = array![[0, 0], [0, 1], [1, 0], [1, 1]];
/// let images = FactorImages::new("dots", vec![0, 85, 170, 255], shape, factors, classes)?;
/// for [first, second] in Pairs::new(&images, 0)?.sample(100, Key::new(7)) {
///     assert_eq!(first + second, 3);
/// }
/// # Ok::<(), softurn_models::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    images: &'a FactorImages,
    shared: usize,
}

impl<'a> Pairs<'a> {
    /// Pairs of images of a full grid: each combination of factors has one image.
    ///
    /// # Errors
    /// [`DataError::Shared`], naming `--shared`, unless it is less than the number of factors; [`DataError::FactorTable`],
    /// naming `--factors`, if the grid is not full.
    pub fn new(images: &'a FactorImages, shared: usize) -> Result<Self, DataError> {
        let factors = images.factors().len();
        if shared >= factors {
            return Err(DataError::Shared { shared, factors });
        }
        images.check_full()?;
        Ok(Self { images, shared })
    }

    /// Rows of `count` pairs. The first pairs of a key are the same however many are drawn;
    /// [`FactorImages::shared`] tells which factors a pair shares.
    pub fn sample(&self, count: usize, key: Key) -> Vec<[u32; 2]> {
        (0..count).map(|pair| self.pair(key.child(pair as u64))).collect()
    }

    fn pair(&self, key: Key) -> [u32; 2] {
        let [row, set, value] = key.split();
        let first = below(row, self.images.n_images());
        let mut classes = self.images.classes().row(first).to_vec();
        // The start of a shuffle is a uniform set.
        let mut factors: Vec<usize> = (0..classes.len()).collect();
        for place in 0..classes.len() - self.shared {
            factors.swap(place, place + below(set.child(place as u64), classes.len() - place));
            let factor = factors[place];
            let size = self.images.factors()[factor].size;
            let step = 1 + below(value.child(place as u64), size - 1);
            classes[factor] = ((classes[factor] as usize + step) % size) as u32;
        }
        [first as u32, self.images.row_of(&classes).expect("the grid is full")]
    }
}
