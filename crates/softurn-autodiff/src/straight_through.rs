//! One value with the gradient of another, after Bengio, Léonard and Courville (2013).

use softurn_kernels::{Error as KernelError, Gpu, Tensor};

use crate::{Result, Rule, Var};

struct StraightThrough;

impl Rule for StraightThrough {
    fn backward(&self, _: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![dy[0].clone()])
    }
}

impl Var<'_> {
    /// `hard` as the value, with this as what its gradient goes to, unchanged: `hard - stop(x) + x` without the rounding.
    ///
    /// # Errors
    /// When `hard` has another shape.
    ///
    /// ```
    /// use softurn_autodiff::Tape;
    /// use softurn_kernels::{Gpu, GpuConfig};
    ///
    /// let gpu = Gpu::new(GpuConfig::default())?;
    /// let tape = Tape::new(&gpu);
    /// let x = tape.leaf(&gpu.tensor(&[0.2f32, 0.9], [2])?)?;
    /// let rounded = x.straight_through(&gpu.tensor(&[0.0f32, 1.0], [2])?)?;
    /// assert_eq!(rounded.read()?, [0.0, 1.0]);
    /// assert_eq!(tape.backward(&rounded.sum()?)?.of(&x).unwrap().read()?, [1.0, 1.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn straight_through(&self, hard: &Tensor) -> Result<Self> {
        if hard.shape() != self.shape() {
            let expected = self.shape().to_string();
            return Err(KernelError::shape("straight_through", "hard", hard.shape(), expected).into());
        }
        let [y] = self.tape().record("straight_through", &[self], [hard.clone()], StraightThrough)?;
        Ok(y)
    }
}
