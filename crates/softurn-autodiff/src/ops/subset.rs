//! The exact law of subsets of k elements: marginals, the logarithm of the sum over subsets, and draws. Saves 34 numbers a row
//! beside the marginals.

use softurn_kernels::ops::subset::{self, Subsets};
use softurn_kernels::{Gpu, Key, Tensor};

use crate::{Result, Rule, Var};

/// Gradients of marginals, or of what stands in their place, and of the logarithm of the sum where it is asked for.
struct Law(Subsets);

impl Rule for Law {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self(subsets) = self;
        let or_zeros = |dy: Option<&Option<Tensor>>, like: &Tensor| match dy {
            Some(Some(dy)) => Ok(dy.clone()),
            _ => gpu.zeros(like.shape().clone()),
        };
        let dmarginals = or_zeros(dy.first(), &subsets.marginals)?;
        let dlog_sum = or_zeros(dy.get(1), &subsets.log_sum)?;
        Ok(vec![Some(subset::backward(gpu, subsets, &dmarginals, &dlog_sum)?)])
    }
}

impl Var<'_> {
    /// With these as log weights `[.., n]`: how often each element is in a subset of `k`, drawn by the product of its weights,
    /// and `ln e_k(w)`, the logarithm of the sum of those products over all subsets, in the shape of the leading axes.
    ///
    /// # Errors
    /// When `k` is 0 or more than a row has.
    pub fn subset_marginals(&self, k: usize) -> Result<[Self; 2]> {
        let subsets = subset::forward(self.tape().gpu(), self.value(), k)?;
        let outputs = [subsets.marginals.clone(), subsets.log_sum.clone()];
        self.tape().record("subset_marginals", &[self], outputs, Law(subsets))
    }

    /// A subset of `k` of each row, drawn exactly, as rows of zeros with k ones, with the gradient of the marginals in its place
    /// (Ahmed, Zeng, Niepert and Van den Broeck 2023).
    ///
    /// # Errors
    /// As [`Var::subset_marginals`].
    pub fn subset_straight_through(&self, k: usize, key: Key) -> Result<Self> {
        let gpu = self.tape().gpu();
        let subsets = subset::forward(gpu, self.value(), k)?;
        let hot = subset::sample(gpu, &subsets, key)?;
        let [hot] = self.tape().record("subset_straight_through", &[self], [hot], Law(subsets))?;
        Ok(hot)
    }
}
