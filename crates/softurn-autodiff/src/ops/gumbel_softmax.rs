//! Draws from the categorical law of each row of logits, relaxed or exact. A relaxed draw saves itself; an exact one saves
//! logits, key and temperature, and its relaxation is made again.

use softurn_kernels::ops::{Noise, gumbel_softmax};
use softurn_kernels::{Error as KernelError, Gpu, Key, Tensor};

use super::only;
use super::softmax::Softmax;
use crate::{Result, Rule, Var};

struct GumbelSoftmax {
    logits: Tensor,
    key: Key,
    temperature: f32,
}

impl Rule for GumbelSoftmax {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let noise = Noise::Key(self.key);
        Ok(vec![Some(gumbel_softmax::backward(gpu, &self.logits, noise, self.temperature, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// With this as logits: `softmax((x + g) / temperature)` of each row, `g` the Gumbel noise of `key`.
    ///
    /// # Errors
    /// When the temperature is not positive and finite.
    pub fn gumbel_softmax(&self, key: Key, temperature: f32) -> Result<Self> {
        let y = gumbel_softmax::forward(self.tape().gpu(), self.value(), Noise::Key(key), temperature)?;
        let rule = Softmax { y: y.clone(), log: false, temperature };
        let [y] = self.tape().record("gumbel_softmax", &[self], [y], rule)?;
        Ok(y)
    }

    /// The exact draw of the same noise, as rows of zeros with a one, with the gradient of [`Var::gumbel_softmax`] in its
    /// place: a biased estimate, after Bengio, Léonard and Courville (2013).
    ///
    /// # Errors
    /// As [`Var::gumbel_softmax`].
    pub fn gumbel_softmax_straight_through(&self, key: Key, temperature: f32) -> Result<Self> {
        if !(temperature.is_finite() && temperature > 0.0) {
            let what = format!("is {temperature}, not a positive number");
            return Err(KernelError::argument("gumbel_softmax", "temperature", what).into());
        }
        let y = gumbel_softmax::hard(self.tape().gpu(), self.value(), Noise::Key(key))?;
        let rule = GumbelSoftmax { logits: self.value().clone(), key, temperature };
        let [y] = self.tape().record("gumbel_softmax_straight_through", &[self], [y], rule)?;
        Ok(y)
    }
}
