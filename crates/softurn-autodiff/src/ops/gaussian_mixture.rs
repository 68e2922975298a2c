//! Expected log density under diagonal Gaussian components. Saves its inputs.

use softurn_kernels::ops::gaussian_mixture;
use softurn_kernels::{Gpu, Tensor};

use super::only;
use crate::{Result, Rule, Var};

struct GaussianMixture {
    mean: Tensor,
    log_variance: Option<Tensor>,
    means: Tensor,
    log_variances: Tensor,
}

impl Rule for GaussianMixture {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let spread = self.log_variance.as_ref();
        let all = gaussian_mixture::backward(gpu, &self.mean, spread, &self.means, &self.log_variances, only(dy)?)?;
        let mut gradients = vec![Some(all.mean), Some(all.means), Some(all.log_variances)];
        gradients.extend(all.log_variance.map(Some));
        Ok(gradients.into_iter().zip(wanted).map(|(gradient, wanted)| gradient.filter(|_| *wanted)).collect())
    }
}

impl<'t> Var<'t> {
    /// With this as the means of rows `[rows, dims]`: `E[log N(z; μ_c, e^v_c)]` in nats, `[rows, components]`, under
    /// `z ~ N(mean, e^log_variance)`, or for `z = mean` where no log-variance is given. Components are
    /// `[components, dims]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn gaussian_mixture(&self, log_variance: Option<&Self>, means: &Self, log_variances: &Self) -> Result<Self> {
        let spread = log_variance.map(Self::value);
        let (gpu, mean) = (self.tape().gpu(), self.value());
        let density = gaussian_mixture::forward(gpu, mean, spread, means.value(), log_variances.value())?;
        let rule = GaussianMixture {
            mean: mean.clone(),
            log_variance: spread.cloned(),
            means: means.value().clone(),
            log_variances: log_variances.value().clone(),
        };
        let mut inputs = vec![self, means, log_variances];
        inputs.extend(log_variance);
        let [density] = self.tape().record("gaussian_mixture", &inputs, [density], rule)?;
        Ok(density)
    }
}
