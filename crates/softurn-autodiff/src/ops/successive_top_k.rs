//! Relaxed choices of k by successive softmaxes. Saves the scores; the steps are made again in the backward pass.

use softurn_kernels::ops::{Noise, successive_top_k, top_k};
use softurn_kernels::{Gpu, Key, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct SuccessiveTopK {
    x: Tensor,
    key: Option<Key>,
    k: usize,
    temperature: f32,
}

impl Rule for SuccessiveTopK {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let noise = self.key.map_or(Noise::None, Noise::Key);
        let dx = successive_top_k::backward(gpu, &self.x, noise, self.k, self.temperature, only(dy)?)?;
        Ok(vec![Some(dx)])
    }
}

impl Var<'_> {
    /// With these as scores: the sum of `k` softmaxes, each without what the ones before chose (Xie and Ermon 2019), with the
    /// Gumbel noise of the key or without. Rows sum to k, but entries may be above 1: [`Var::sigmoid_top_k`] stays inside.
    ///
    /// # Errors
    /// When `k` is 0 or more than a row has, or the temperature is not positive and finite.
    pub fn successive_top_k(&self, k: usize, temperature: f32, key: Option<Key>) -> Result<Self> {
        let noise = key.map_or(Noise::None, Noise::Key);
        let y = successive_top_k::forward(self.tape().gpu(), self.value(), noise, k, temperature)?;
        let rule = SuccessiveTopK { x: self.value().clone(), key, k, temperature };
        let [y] = self.tape().record("successive_top_k", &[self], [y], rule)?;
        Ok(y)
    }

    /// The k largest of the same scores as rows of zeros with k ones, with the gradient of [`Var::successive_top_k`] in their
    /// place.
    ///
    /// # Errors
    /// As [`Var::successive_top_k`], and when `k` is more than 4,096.
    pub fn successive_top_k_straight_through(&self, k: usize, temperature: f32, key: Option<Key>) -> Result<Self> {
        let (gpu, noise) = (self.tape().gpu(), key.map_or(Noise::None, Noise::Key));
        successive_top_k::check(gpu, self.value(), noise, k, temperature)?;
        let indices = top_k::forward(gpu, self.value(), noise, k)?.indices;
        let hard = top_k::k_hot(gpu, &indices, self.shape().rows_cols().1)?;
        let rule = SuccessiveTopK { x: self.value().clone(), key, k, temperature };
        let [hard] = self.tape().record("successive_top_k_straight_through", &[self], [hard], rule)?;
        Ok(hard)
    }
}
