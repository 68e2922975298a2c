//! Subsets of a drawn number of elements, nested: the first l of the same order make the subset of l. Straight-through masks save
//! nothing but their inputs; the relaxation is walked in the backward pass.

use softurn_kernels::ops::nested_subset::{self, Draw, Walk};
use softurn_kernels::ops::{Noise, gumbel_softmax, top_k};
use softurn_kernels::{Gpu, Key, Tensor};

use super::only;
use crate::{Result, Rule, Var};

/// The noise of counts and that of elements.
fn noises(key: Option<Key>) -> [Noise<'static>; 2] {
    match key.map(Key::split) {
        Some(keys) => keys.map(Noise::Key),
        None => [Noise::None; 2],
    }
}

/// What a mask keeps besides its inputs.
enum Kept {
    /// A relaxed mask: the walk through its slots.
    Walk(Walk),
    /// A hard mask: its elements in their order, `[.., bound]`.
    Order(Tensor),
}

/// A mask from count logits and element logits, relaxed or hard.
struct NestedSubset {
    kept: Kept,
    x: Tensor,
    counts: Tensor,
    shares: Tensor,
    least: usize,
    temperatures: [f32; 2],
    key: Option<Key>,
}

impl Rule for NestedSubset {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = only(dy)?;
        let [count_noise, noise] = noises(self.key);
        let [of_counts, of_choice] = self.temperatures;
        let draw = Draw { noise, temperature: of_choice };
        let [dx, dshares] = match &self.kept {
            Kept::Walk(walk) => nested_subset::backward(gpu, walk, &self.shares, self.least, dy)?,
            Kept::Order(order) => {
                let walk = nested_subset::walk(gpu, &self.x, draw, order.shape().rows_cols().1, false)?;
                let [dx, _] = nested_subset::backward(gpu, &walk, &self.shares, self.least, dy)?;
                [dx, nested_subset::hard_backward(gpu, order, &self.shares, self.least, dy)?]
            }
        };
        let dcounts = gumbel_softmax::backward(gpu, &self.counts, count_noise, of_counts, &dshares)?;
        Ok(vec![Some(dx), Some(dcounts)])
    }
}

/// Masks of one, two .. elements, relaxed or hard.
struct NestedPrefixes {
    walk: Option<Walk>,
    x: Tensor,
    bound: usize,
    temperature: f32,
    key: Option<Key>,
}

impl Rule for NestedPrefixes {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let draw = Draw { noise: self.key.map_or(Noise::None, Noise::Key), temperature: self.temperature };
        let walk = match &self.walk {
            Some(walk) => walk,
            None => &nested_subset::walk(gpu, &self.x, draw, self.bound, true)?,
        };
        Ok(vec![Some(nested_subset::prefixes_backward(gpu, walk, only(dy)?)?)])
    }
}

impl Var<'_> {
    /// With these as element logits `[.., n]` and `counts` `[.., c]` as logits of the counts `least`, `least + 1` ..: the relaxed
    /// mask `[.., n]` of a subset whose size is drawn first and whose elements are then drawn without replacement, by two
    /// Gumbel-softmax steps with the temperatures of the count and of the choice, with noise of the key or without. Rows sum
    /// to the mean relaxed count, which never exceeds the bound `c - 1 + least`.
    ///
    /// # Errors
    /// When `least` is neither 0 nor 1, leading axes differ, the bound is 0 or more than n, or a temperature is not positive.
    pub fn nested_subset(&self, counts: &Self, least: usize, temperatures: [f32; 2], key: Option<Key>) -> Result<Self> {
        let gpu = self.tape().gpu();
        let [count_noise, noise] = noises(key);
        let shares = gumbel_softmax::forward(gpu, counts.value(), count_noise, temperatures[0])?;
        let draw = Draw { noise, temperature: temperatures[1] };
        let (mask, walk) = nested_subset::forward(gpu, self.value(), draw, &shares, least)?;
        let rule = NestedSubset {
            kept: Kept::Walk(walk),
            x: self.value().clone(),
            counts: counts.value().clone(),
            shares,
            least,
            temperatures,
            key,
        };
        let [mask] = self.tape().record("nested_subset", &[self, counts], [mask], rule)?;
        Ok(mask)
    }

    /// The same draw without relaxation, a row of zeros with as many ones as drawn, with a gradient in which counts see the
    /// true effect of the next element and elements that of the relaxation: straight-through in each factor.
    ///
    /// # Errors
    /// As [`Var::nested_subset`].
    pub fn nested_subset_straight_through(
        &self,
        counts: &Self,
        least: usize,
        temperatures: [f32; 2],
        key: Option<Key>,
    ) -> Result<Self> {
        let gpu = self.tape().gpu();
        let [count_noise, noise] = noises(key);
        let shares = gumbel_softmax::hard(gpu, counts.value(), count_noise)?;
        let bound = nested_subset::bound(&shares, least)?;
        nested_subset::check(gpu, self.value(), Draw { noise, temperature: temperatures[1] }, bound)?;
        let order = top_k::forward(gpu, self.value(), noise, bound)?.indices;
        let mask = nested_subset::hard(gpu, &order, &shares, least, self.shape().rows_cols().1)?;
        let rule = NestedSubset {
            kept: Kept::Order(order),
            x: self.value().clone(),
            counts: counts.value().clone(),
            shares,
            least,
            temperatures,
            key,
        };
        let [mask] = self.tape().record("nested_subset_straight_through", &[self, counts], [mask], rule)?;
        Ok(mask)
    }

    /// With these as element logits `[.., n]`: the relaxed masks `[.., bound, n]` of the nested subsets of 1, 2 .. `bound`
    /// elements of one draw without replacement, for sums over all counts.
    ///
    /// # Errors
    /// When the bound is 0 or more than n, or the temperature is not positive.
    pub fn nested_prefixes(&self, bound: usize, temperature: f32, key: Option<Key>) -> Result<Self> {
        let draw = Draw { noise: key.map_or(Noise::None, Noise::Key), temperature };
        let (masks, walk) = nested_subset::prefixes(self.tape().gpu(), self.value(), draw, bound)?;
        let rule = NestedPrefixes { walk: Some(walk), x: self.value().clone(), bound, temperature, key };
        let [masks] = self.tape().record("nested_prefixes", &[self], [masks], rule)?;
        Ok(masks)
    }

    /// The same without relaxation, rows of zeros with 1, 2 .. `bound` ones, with the gradient of [`Var::nested_prefixes`] in
    /// their place.
    ///
    /// # Errors
    /// As [`Var::nested_prefixes`], and when the bound is more than 4,096.
    pub fn nested_prefixes_straight_through(&self, bound: usize, temperature: f32, key: Option<Key>) -> Result<Self> {
        let gpu = self.tape().gpu();
        let noise = key.map_or(Noise::None, Noise::Key);
        nested_subset::check(gpu, self.value(), Draw { noise, temperature }, bound)?;
        let order = top_k::forward(gpu, self.value(), noise, bound)?.indices;
        let masks = nested_subset::hard_prefixes(gpu, &order, self.shape().rows_cols().1)?;
        let rule = NestedPrefixes { walk: None, x: self.value().clone(), bound, temperature, key };
        let [masks] = self.tape().record("nested_prefixes_straight_through", &[self], [masks], rule)?;
        Ok(masks)
    }
}
