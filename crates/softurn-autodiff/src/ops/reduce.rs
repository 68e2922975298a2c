//! Sums and means: `dy` spread over what was summed. Saves the shape of `x` alone. Largest and smallest elements have
//! no gradient.

use softurn_kernels::ops::reduce::{self, Axis, Reduction};
use softurn_kernels::{Gpu, Shape, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct Reduce {
    reduction: Reduction,
    axis: Axis,
    shape: Shape,
}

impl Rule for Reduce {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(reduce::backward(gpu, self.reduction, self.axis, &self.shape, only(dy)?)?)])
    }
}

impl<'t> Var<'t> {
    /// A reduction of each row (`[.., cols]` to `[..]`), of each column (`[.., cols]` to `[cols]`) or of everything (to
    /// `[]`). The largest and the smallest have no gradient.
    ///
    /// # Errors
    /// When nothing is left to take a mean, a largest or a smallest of.
    pub fn reduce(&self, reduction: Reduction, axis: Axis) -> Result<Self> {
        let (gpu, x) = (self.tape().gpu(), self.value());
        let y = match axis {
            Axis::Cols => reduce::over_cols(gpu, reduction, x)?,
            Axis::Rows => reduce::over_rows(gpu, reduction, x)?,
            Axis::All => reduce::all(gpu, reduction, x)?,
        };
        let [y] = match reduction {
            Reduction::Sum | Reduction::Mean => {
                let op = if reduction == Reduction::Sum { "sum" } else { "mean" };
                self.tape().record(op, &[self], [y], Reduce { reduction, axis, shape: x.shape().clone() })?
            }
            Reduction::Max => self.tape().record_without_rule("max", &[self], [y])?,
            Reduction::Min => self.tape().record_without_rule("min", &[self], [y])?,
        };
        Ok(y)
    }

    /// The sum of everything, of shape `[]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sum(&self) -> Result<Self> {
        self.reduce(Reduction::Sum, Axis::All)
    }

    /// The mean of everything, of shape `[]`.
    ///
    /// # Errors
    /// When there is nothing to take the mean of.
    pub fn mean(&self) -> Result<Self> {
        self.reduce(Reduction::Mean, Axis::All)
    }

    /// The sum of each row: `[.., cols]` to `[..]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sum_cols(&self) -> Result<Self> {
        self.reduce(Reduction::Sum, Axis::Cols)
    }

    /// The mean of each row: `[.., cols]` to `[..]`.
    ///
    /// # Errors
    /// When there are no columns.
    pub fn mean_cols(&self) -> Result<Self> {
        self.reduce(Reduction::Mean, Axis::Cols)
    }

    /// The sum of each column: `[.., cols]` to `[cols]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sum_rows(&self) -> Result<Self> {
        self.reduce(Reduction::Sum, Axis::Rows)
    }

    /// The mean of each column: `[.., cols]` to `[cols]`.
    ///
    /// # Errors
    /// When there are no rows.
    pub fn mean_rows(&self) -> Result<Self> {
        self.reduce(Reduction::Mean, Axis::Rows)
    }

    /// Where each row's largest element is, `[..]` of `u32`; leaves the tape. The first of equals.
    ///
    /// # Errors
    /// When there are no columns.
    pub fn argmax(&self) -> Result<Tensor> {
        Ok(reduce::argmax(self.tape().gpu(), self.value())?)
    }
}
