//! Relaxed choices of k by sigmoids. Saves the choice; the exact one under its gradient saves the relaxed one.

use softurn_kernels::ops::{Noise, sigmoid_top_k, top_k};
use softurn_kernels::{Gpu, Key, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct SigmoidTopK {
    y: Tensor,
    temperature: f32,
}

impl Rule for SigmoidTopK {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(sigmoid_top_k::backward(gpu, &self.y, only(dy)?, self.temperature)?)])
    }
}

fn noise(key: Option<Key>) -> Noise<'static> {
    key.map_or(Noise::None, Noise::Key)
}

impl Var<'_> {
    /// With these as scores: `sigmoid((x + g - λ) / temperature)`, each row summing to `k`; `g` is the Gumbel noise of the key,
    /// or none.
    ///
    /// # Errors
    /// When `k` is 0 or more than a row has, or the temperature is not positive and finite.
    pub fn sigmoid_top_k(&self, k: usize, temperature: f32, key: Option<Key>) -> Result<Self> {
        let y = sigmoid_top_k::forward(self.tape().gpu(), self.value(), noise(key), k, temperature)?;
        let rule = SigmoidTopK { y: y.clone(), temperature };
        let [y] = self.tape().record("sigmoid_top_k", &[self], [y], rule)?;
        Ok(y)
    }

    /// The k largest of the same scores as rows of zeros with k ones, with the gradient of [`Var::sigmoid_top_k`] in their
    /// place.
    ///
    /// # Errors
    /// As [`Var::sigmoid_top_k`], and when `k` is more than 4,096.
    pub fn sigmoid_top_k_straight_through(&self, k: usize, temperature: f32, key: Option<Key>) -> Result<Self> {
        let gpu = self.tape().gpu();
        let y = sigmoid_top_k::forward(gpu, self.value(), noise(key), k, temperature)?;
        let indices = top_k::forward(gpu, self.value(), noise(key), k)?.indices;
        let hard = top_k::k_hot(gpu, &indices, self.shape().rows_cols().1)?;
        let rule = SigmoidTopK { y, temperature };
        let [hard] = self.tape().record("sigmoid_top_k_straight_through", &[self], [hard], rule)?;
        Ok(hard)
    }
}
