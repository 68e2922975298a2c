//! A draw from a Gaussian and its divergence from the standard normal. Saves mean, log-variance and the key; the noise is
//! made again.

use softurn_kernels::ops::{Noise, gaussian};
use softurn_kernels::{Gpu, Key, Tensor};

use crate::{Result, Rule, Var};

struct Gaussian {
    mean: Tensor,
    log_variance: Tensor,
    key: Key,
}

impl Rule for Gaussian {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [dz, dkl] = [&dy[0], &dy[1]].map(Option::as_ref);
        let (mean, log_variance) =
            gaussian::backward(gpu, &self.mean, &self.log_variance, Noise::Key(self.key), dz, dkl)?;
        Ok(vec![wanted[0].then_some(mean), wanted[1].then_some(log_variance)])
    }
}

impl<'t> Var<'t> {
    /// With this as the mean: a reparameterised draw `z` `[rows, dims]` from `N(mean, e^log_variance)`, and per row the
    /// divergence `[rows]` from the standard normal, in nats.
    ///
    /// # Errors
    /// When the shapes differ or are not matrices.
    pub fn gaussian(&self, log_variance: &Self, key: Key) -> Result<[Self; 2]> {
        let (z, divergence) =
            gaussian::forward(self.tape().gpu(), self.value(), log_variance.value(), Noise::Key(key))?;
        let rule = Gaussian { mean: self.value().clone(), log_variance: log_variance.value().clone(), key };
        self.tape().record("gaussian", &[self, log_variance], [z, divergence], rule)
    }
    /// The draw of [`Var::gaussian`] alone.
    ///
    /// # Errors
    /// As [`Var::gaussian`].
    pub fn gaussian_rsample(&self, log_variance: &Self, key: Key) -> Result<Self> {
        let [z, _] = self.gaussian(log_variance, key)?;
        Ok(z)
    }
}
