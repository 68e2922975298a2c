//! The k largest of rows, with Gumbel noise or without. Saves the indices; the gradient of an element is that of its value.

use softurn_kernels::ops::{Noise, top_k};
use softurn_kernels::{Gpu, Key, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct TopK {
    indices: Tensor,
    cols: usize,
}

impl Rule for TopK {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(top_k::backward(gpu, &self.indices, self.cols, only(dy)?)?)])
    }
}

impl<'t> Var<'t> {
    /// The `k` largest of each row in descending order `[.., k]`, and their columns as `u32`.
    ///
    /// # Errors
    /// When `k` is 0, more than a row has, or more than 4,096.
    pub fn top_k(&self, k: usize) -> Result<(Self, Tensor)> {
        self.largest("top_k", Noise::None, k)
    }

    /// As [`Var::top_k`] of the elements with the Gumbel noise of `key`: the indices are a draw without replacement by the
    /// weights `exp(x)`, in the order in which they are drawn.
    ///
    /// # Errors
    /// As [`Var::top_k`].
    pub fn gumbel_top_k(&self, k: usize, key: Key) -> Result<(Self, Tensor)> {
        self.largest("gumbel_top_k", Noise::Key(key), k)
    }

    fn largest(&self, name: &'static str, noise: Noise<'_>, k: usize) -> Result<(Self, Tensor)> {
        let chosen = top_k::forward(self.tape().gpu(), self.value(), noise, k)?;
        let rule = TopK { indices: chosen.indices.clone(), cols: self.shape().rows_cols().1 };
        let [values] = self.tape().record(name, &[self], [chosen.values], rule)?;
        Ok((values, chosen.indices))
    }
}
