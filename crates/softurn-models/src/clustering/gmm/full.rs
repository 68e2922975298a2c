//! Components with any covariance `Σ_c = L Lᵀ`. The density is that of a whitened row,
//!
//! `log N(x; μ, Σ) = -½ ‖(x - μ) L⁻ᵀ‖² - Σ_j log L_jj - cols/2 log 2π`,
//!
//! a product of rows with a small matrix for each component; the maximisation is another one, with `d = x - μ_old`:
//!
//! `μ_new = μ_old + Σ_i r_i d_i / N`, `Σ_new = Σ_i r_i d_i d_iᵀ / N - (μ_new - μ_old)(μ_new - μ_old)ᵀ + regularization · I`,
//!
//! where nothing cancels, because the old mean is close. The `k` Cholesky factors are made on the host in `f64`.

use nalgebra::{Cholesky, DMatrix, Dyn};
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::matmul::{self, Options};
use softurn_kernels::ops::reduce::{self, Reduction};
use softurn_kernels::{Gpu, Tensor};

use super::{Components, add_up};
use crate::clustering::kmeans::rows::{squared_lengths, upload};
use crate::{Error, Result};

/// Squared distances are cut here, so that no weight of 0 meets an infinity.
const FARTHEST: f32 = 1e30;

/// The components on the device.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    /// Mean `[cols]` and `L⁻ᵀ`, `[cols, cols]`, of each component.
    components: Vec<(Tensor, Tensor)>,
    /// What does not depend on the row, `[k]`.
    constants: Tensor,
    /// The unit matrix, `[k, k]`, times -½, and its columns without the factor.
    halves: Tensor,
    columns: Vec<Tensor>,
}

impl Mixture {
    pub(super) fn new(gpu: &Gpu, components: &Components) -> Result<Self> {
        let (k, cols) = (components.k(), components.cols());
        let mut constants = vec![0.0; k];
        let mut placed = Vec::with_capacity(k);
        for c in 0..k {
            let covariance = &components.spread[c * cols * cols..(c + 1) * cols * cols];
            let factor = factor(covariance, cols).ok_or_else(|| {
                let message = format!("the covariance of component {c} has no Cholesky factor; raise it");
                Error::argument("regularization", message)
            })?;
            let lower = factor.l();
            // Column after column of L⁻¹ is row after row of L⁻ᵀ.
            let inverse = lower
                .solve_lower_triangular(&DMatrix::identity(cols, cols))
                .ok_or_else(|| Error::argument("regularization", "a Cholesky factor has no inverse; raise it"))?;
            let log_determinant: f64 = lower.diagonal().iter().map(|diagonal| diagonal.ln()).sum();
            constants[c] =
                components.weights[c].ln() - log_determinant - 0.5 * cols as f64 * std::f64::consts::TAU.ln();
            let mean = upload(gpu, &components.means[c * cols..(c + 1) * cols], &[cols])?;
            placed.push((mean, upload(gpu, inverse.as_slice(), &[cols, cols])?));
        }
        let unit = |row: usize, column: usize| if row == column { 1.0 } else { 0.0 };
        let halves: Vec<f64> = (0..k * k).map(|at| -0.5 * unit(at / k, at % k)).collect();
        let column = |c: usize| upload(gpu, &(0..k).map(|row| unit(row, c)).collect::<Vec<_>>(), &[k, 1]);
        Ok(Self {
            components: placed,
            constants: upload(gpu, &constants, &[k])?,
            halves: upload(gpu, &halves, &[k, k])?,
            columns: (0..k).map(column).collect::<Result<_>>()?,
        })
    }

    /// `log π_c + log N(x_i; μ_c, Σ_c)`, `[rows, k]`.
    pub(super) fn joint(&self, gpu: &Gpu, rows: &Tensor) -> Result<Tensor> {
        let (count, k) = (rows.shape().dims()[0], self.components.len());
        // A component's distances are a row, which must start at a multiple of 64; then the table is turned.
        let padded = count.next_multiple_of(64);
        let squares = gpu.zeros([k, padded])?;
        let farthest = gpu.constant(FARTHEST)?;
        for (c, (mean, whitening)) in self.components.iter().enumerate() {
            let centred = binary::forward(gpu, Binary::Sub, rows, mean)?;
            let white = matmul::forward(gpu, Options::default(), &centred, whitening, None)?;
            let square = binary::forward(gpu, Binary::Min, &squared_lengths(gpu, &white)?, &farthest)?;
            gpu.copy(&square, &squares.view(c * padded, [count])?)?;
        }
        let turned = Options { transpose_a: true, ..Options::default() };
        let joint = matmul::forward(gpu, turned, &squares, &self.halves, Some(&self.constants))?;
        Ok(joint.view(0, [count, k])?)
    }
}

/// Sums over the rows, relative to the old means: `Σ r d`, `[k, cols]`, and `Σ r d dᵀ`, `[k, cols, cols]`.
#[derive(Debug)]
pub(super) struct Statistics {
    shifts: Vec<f64>,
    squares: Vec<f64>,
}

impl Statistics {
    pub(super) fn new(components: &Components) -> Self {
        Self { shifts: vec![0.0; components.means.len()], squares: vec![0.0; components.spread.len()] }
    }

    /// Adds rows with their shares in the components, `[rows, k]`.
    pub(super) fn add(&mut self, gpu: &Gpu, mixture: &Mixture, rows: &Tensor, shares: &Tensor) -> Result<()> {
        let cols = rows.shape().dims()[1];
        let turned = Options { transpose_a: true, ..Options::default() };
        for (c, (mean, _)) in mixture.components.iter().enumerate() {
            let share = matmul::forward(gpu, Options::default(), shares, &mixture.columns[c], None)?;
            let centred = binary::forward(gpu, Binary::Sub, rows, mean)?;
            let weighted = binary::forward(gpu, Binary::Mul, &centred, &share)?;
            let shift = reduce::over_rows(gpu, Reduction::Sum, &weighted)?;
            let squares = matmul::forward(gpu, turned, &weighted, &centred, None)?;
            add_up(&mut self.shifts[c * cols..(c + 1) * cols], &shift)?;
            add_up(&mut self.squares[c * cols * cols..(c + 1) * cols * cols], &squares)?;
        }
        Ok(())
    }

    /// New mean and covariance of component `c`, of `count` rows.
    pub(super) fn maximise(&self, components: &mut Components, c: usize, count: f64, regularization: f64) {
        let cols = components.cols();
        let shift: Vec<f64> = self.shifts[c * cols..(c + 1) * cols].iter().map(|sum| sum / count).collect();
        for (mean, shift) in components.means[c * cols..(c + 1) * cols].iter_mut().zip(&shift) {
            // The device worked with the rounded value.
            *mean = f64::from(*mean as f32) + shift;
        }
        let sums = &self.squares[c * cols * cols..(c + 1) * cols * cols];
        let covariance = &mut components.spread[c * cols * cols..(c + 1) * cols * cols];
        for i in 0..cols {
            for j in 0..cols {
                // Rounding leaves the two halves a little different.
                let square = 0.5 * (sums[i * cols + j] + sums[j * cols + i]) / count;
                covariance[i * cols + j] = square - shift[i] * shift[j];
            }
        }
        let mut added = 0.0;
        let mut wanted = regularization;
        while added == 0.0 || (factor(covariance, cols).is_none() && wanted <= 1e30) {
            (0..cols).for_each(|i| covariance[i * cols + i] += wanted - added);
            (added, wanted) = (wanted, 10.0 * wanted);
        }
    }
}

/// The Cholesky factor of a symmetric matrix, `[cols, cols]`, where there is one.
fn factor(matrix: &[f64], cols: usize) -> Option<Cholesky<f64, Dyn>> {
    DMatrix::from_row_slice(cols, cols, matrix).cholesky()
}
