//! Contrastive pretraining: rows and their neighbours are to lie together on the sphere, and apart from all others.

use ndarray::Array2;
use softurn_autodiff::Var;
use softurn_kernels::ops::matmul::Options;
use softurn_kernels::{Gpu, Key, Tensor};

use crate::Result;
use crate::neighbours::nearest_neighbours;
use crate::train::batches::below;

/// Similarities of unit vectors are divided by this before their softmax.
const TEMPERATURE: f32 = 0.5;

/// What the contrast needs besides the encoder.
#[derive(Debug)]
pub(super) struct Contrast {
    neighbours: Array2<u32>,
    /// Constants, `[2B, 2B]`: nothing is its own neighbour, and row `a`'s partner is `a ± B`.
    not_itself: Tensor,
    partners: Tensor,
}

impl Contrast {
    /// For batches of `batch` of these rows; `count` nearest rows of each count as alike.
    pub(super) fn new(gpu: &Gpu, features: &Array2<f32>, count: usize, batch: usize) -> Result<Self> {
        let pairs = 2 * batch;
        let square = |f: fn(usize, usize, usize) -> f32| -> Vec<f32> {
            (0..pairs * pairs).map(|at| f(at / pairs, at % pairs, pairs / 2)).collect()
        };
        Ok(Self {
            neighbours: nearest_neighbours(features, count)?,
            not_itself: gpu.tensor(&square(|a, b, _| if a == b { -1e9 } else { 0.0 }), [pairs, pairs])?,
            partners: gpu.tensor(&square(|a, b, n| if (a + n) % (2 * n) == b { 1.0 } else { 0.0 }), [pairs, pairs])?,
        })
    }

    /// The rows of a batch, and then a random neighbour of each.
    pub(super) fn pairs(&self, rows: Vec<u32>, key: Key) -> Vec<u32> {
        let count = self.neighbours.ncols();
        let neighbour = |(i, &row): (usize, &u32)| self.neighbours[[row as usize, below(key.child(i as u64), count)]];
        let neighbours: Vec<u32> = rows.iter().enumerate().map(neighbour).collect();
        [rows, neighbours].concat()
    }

    /// Mean cross-entropy of finding each row's partner among all other rows by the cosine of their encodings
    /// (InfoNCE: van den Oord et al. 2018; Chen et al. 2020).
    pub(super) fn loss<'t>(&self, unit: &Var<'t>) -> Result<Var<'t>> {
        let similarity = unit.matmul_with(unit, None, Options { transpose_b: true, ..Options::default() })?;
        let logits = (similarity.affine(1.0 / TEMPERATURE, 0.0)? + &self.not_itself)?;
        Ok(logits.cross_entropy(&self.partners)?.mean()?)
    }
}
