//! Components with a variance for each column. The maximisation is read off the gradient of the expected log density
//! `Σ_ic r_ic log N(x_i; μ_c, v_c)` at the old components: with `N_c = Σ_i r_ic`,
//!
//! `μ_new = μ + v ∂μ / N`, `v_new = v (1 + 2 ∂log v / N) - (μ_new - μ)² + regularization`,
//!
//! which needs no tensor of `rows · k · cols` and, unlike `E[x²] - E[x]²`, does not cancel where components are narrow.

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::gaussian_mixture;
use softurn_kernels::{Gpu, Tensor};

use super::{Components, add_up};
use crate::Result;
use crate::clustering::kmeans::rows::upload;

/// The components on the device.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    log_weights: Tensor,
    means: Tensor,
    log_variances: Tensor,
}

impl Mixture {
    pub(super) fn new(gpu: &Gpu, components: &Components) -> Result<Self> {
        let shape = [components.k(), components.cols()];
        let log = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.ln()).collect() };
        Ok(Self {
            log_weights: upload(gpu, &log(&components.weights), &[components.k()])?,
            means: upload(gpu, &components.means, &shape)?,
            log_variances: upload(gpu, &log(&components.spread), &shape)?,
        })
    }

    /// `log π_c + log N(x_i; μ_c, v_c)`, `[rows, k]`.
    pub(super) fn joint(&self, gpu: &Gpu, rows: &Tensor) -> Result<Tensor> {
        let density = gaussian_mixture::forward(gpu, rows, None, &self.means, &self.log_variances)?;
        Ok(binary::forward(gpu, Binary::Add, &density, &self.log_weights)?)
    }
}

/// Sums over the rows: the gradients, `[k, cols]` both.
#[derive(Debug)]
pub(super) struct Statistics {
    means: Vec<f64>,
    log_variances: Vec<f64>,
}

impl Statistics {
    pub(super) fn new(components: &Components) -> Self {
        let zeros = vec![0.0; components.means.len()];
        Self { means: zeros.clone(), log_variances: zeros }
    }

    /// Adds rows with their shares in the components, `[rows, k]`.
    pub(super) fn add(&mut self, gpu: &Gpu, mixture: &Mixture, rows: &Tensor, shares: &Tensor) -> Result<()> {
        let gradients = gaussian_mixture::backward(gpu, rows, None, &mixture.means, &mixture.log_variances, shares)?;
        add_up(&mut self.means, &gradients.means)?;
        add_up(&mut self.log_variances, &gradients.log_variances)
    }

    /// New mean and variances of component `c`, of `count` rows.
    pub(super) fn maximise(&self, components: &mut Components, c: usize, count: f64, regularization: f64) {
        let cols = components.cols();
        for at in c * cols..(c + 1) * cols {
            // The device worked with the rounded values.
            let mean = f64::from(components.means[at] as f32);
            let variance = f64::from(components.spread[at].ln() as f32).exp();
            let shift = variance * self.means[at] / count;
            let spread = variance * (1.0 + 2.0 * self.log_variances[at] / count) - shift * shift;
            components.means[at] = mean + shift;
            components.spread[at] = spread.max(0.0) + regularization;
        }
    }
}
