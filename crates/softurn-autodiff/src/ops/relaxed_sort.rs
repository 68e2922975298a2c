//! Relaxed sorts and the sort itself. Relaxed ones save the sorted scores, the normalisers and `x`, and not transposed their
//! result; straight-through ones save the sorted scores and `x`, and their relaxation is made in the backward pass.

use softurn_kernels::ops::relaxed_sort::{self, Gradients, Kind, Relaxation, Sorted, Wanted};
use softurn_kernels::{Error as KernelError, Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct RelaxedSort {
    sorted: Sorted,
    relaxation: Relaxation,
    normalisers: Tensor,
    x: Tensor,
    /// The result, of a sort that is not transposed.
    y: Option<Tensor>,
}

fn wants(wanted: &[bool]) -> Wanted {
    Wanted { scores: wanted[0], x: wanted[1] }
}

impl Rule for RelaxedSort {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { sorted, relaxation, normalisers, x, y } = self;
        let (dy, wanted) = (only(dy)?, wants(wanted));
        let Gradients { scores, x } = match y {
            Some(y) => relaxed_sort::backward(gpu, sorted, *relaxation, normalisers, x, y, dy, wanted)?,
            None => relaxed_sort::backward_transposed(gpu, sorted, *relaxation, normalisers, x, dy, wanted)?,
        };
        Ok(vec![scores, x])
    }
}

struct StraightThrough {
    sorted: Sorted,
    relaxation: Relaxation,
    x: Tensor,
    transposed: bool,
}

impl Rule for StraightThrough {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Self { sorted, relaxation, x, transposed } = self;
        let (dy, only_scores) = (only(dy)?, Wanted { scores: true, x: false });
        let scores = match (wanted[0], transposed) {
            (false, _) => None,
            (true, false) => {
                let (y, normalisers) = relaxed_sort::forward(gpu, sorted, *relaxation, x)?;
                relaxed_sort::backward(gpu, sorted, *relaxation, &normalisers, x, &y, dy, only_scores)?.scores
            }
            (true, true) => {
                let normalisers = relaxed_sort::normalisers(gpu, sorted, *relaxation)?;
                relaxed_sort::backward_transposed(gpu, sorted, *relaxation, &normalisers, x, dy, only_scores)?.scores
            }
        };
        let dx = match (wanted[1], transposed) {
            (false, _) => None,
            (true, false) => Some(relaxed_sort::hard_transposed(gpu, sorted, dy)?),
            (true, true) => Some(relaxed_sort::hard(gpu, sorted, dy)?),
        };
        Ok(vec![scores, dx])
    }
}

impl Var<'_> {
    /// With these as scores `[.., n]`: `P x` of `x` `[.., n, columns]`, with `P` the NeuralSort of the scores, in
    /// descending order.
    ///
    /// # Errors
    /// When `x` is not the shape of the scores with an axis more, or the temperature is not positive and finite.
    pub fn neural_sort(&self, x: &Self, temperature: f32) -> Result<Self> {
        self.relaxed_sort(x, Relaxation { kind: Kind::Neural, temperature })
    }

    /// As [`Var::neural_sort`], with SoftSort.
    ///
    /// # Errors
    /// As [`Var::neural_sort`].
    pub fn soft_sort(&self, x: &Self, temperature: f32) -> Result<Self> {
        self.relaxed_sort(x, Relaxation { kind: Kind::Soft, temperature })
    }

    /// `P x` by any relaxation of the sort of these scores.
    ///
    /// # Errors
    /// As [`Var::neural_sort`].
    pub fn relaxed_sort(&self, x: &Self, relaxation: Relaxation) -> Result<Self> {
        let gpu = self.tape().gpu();
        let sorted = relaxed_sort::prepare(gpu, self.value())?;
        let (y, normalisers) = relaxed_sort::forward(gpu, &sorted, relaxation, x.value())?;
        let rule = RelaxedSort { sorted, relaxation, normalisers, x: x.value().clone(), y: Some(y.clone()) };
        let [y] = self.tape().record("relaxed_sort", &[self, x], [y], rule)?;
        Ok(y)
    }

    /// `Pᵀ x`: from positions in the order of these scores back to their places.
    ///
    /// # Errors
    /// As [`Var::neural_sort`].
    pub fn relaxed_sort_transposed(&self, x: &Self, relaxation: Relaxation) -> Result<Self> {
        let gpu = self.tape().gpu();
        let sorted = relaxed_sort::prepare(gpu, self.value())?;
        let normalisers = relaxed_sort::normalisers(gpu, &sorted, relaxation)?;
        let y = relaxed_sort::transposed(gpu, &sorted, relaxation, &normalisers, x.value())?;
        let rule = RelaxedSort { sorted, relaxation, normalisers, x: x.value().clone(), y: None };
        let [y] = self.tape().record("relaxed_sort_transposed", &[self, x], [y], rule)?;
        Ok(y)
    }

    /// `x` in the order of these scores exactly; their gradient is that of the relaxation in its place, the gradient of `x`
    /// that of the permutation.
    ///
    /// # Errors
    /// As [`Var::neural_sort`].
    pub fn sort_straight_through(&self, x: &Self, relaxation: Relaxation) -> Result<Self> {
        self.sort_exactly(x, relaxation, false)
    }

    /// The inverse of [`Var::sort_straight_through`]: from positions back to places.
    ///
    /// # Errors
    /// As [`Var::neural_sort`].
    pub fn sort_transposed_straight_through(&self, x: &Self, relaxation: Relaxation) -> Result<Self> {
        self.sort_exactly(x, relaxation, true)
    }

    fn sort_exactly(&self, x: &Self, relaxation: Relaxation, transposed: bool) -> Result<Self> {
        let (gpu, temperature) = (self.tape().gpu(), relaxation.temperature);
        if !(temperature.is_finite() && temperature > 0.0) {
            let what = format!("is {temperature}, not a positive number");
            return Err(KernelError::argument("relaxed_sort", "temperature", what).into());
        }
        let sorted = relaxed_sort::prepare(gpu, self.value())?;
        let (name, y) = match transposed {
            false => ("sort_straight_through", relaxed_sort::hard(gpu, &sorted, x.value())?),
            true => ("sort_transposed_straight_through", relaxed_sort::hard_transposed(gpu, &sorted, x.value())?),
        };
        let rule = StraightThrough { sorted, relaxation, x: x.value().clone(), transposed };
        let [y] = self.tape().record(name, &[self, x], [y], rule)?;
        Ok(y)
    }
}
