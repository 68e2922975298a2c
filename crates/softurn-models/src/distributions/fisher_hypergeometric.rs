//! `P(x) = C(m, x) C(M, n - x) ω^x / P₀`: how many of `n` draws from two groups fall to the first.

use softurn_autodiff::Var;
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::fisher_hypergeometric::{Sampling, Urn};
use softurn_kernels::ops::matmul;
use softurn_kernels::{Key, Tensor};

use super::{MultivariateFisherHypergeometric, Temperature};
use crate::{Error, Result};

/// Fisher's noncentral hypergeometric distribution of two groups, `successes` and `failures`, of which `draws` elements are
/// taken; `log_odds` `[1]` or `[rows]` is the log weight of a success above that of a failure.
///
/// ```
/// use softurn_autodiff::Tape;
/// use softurn_kernels::{Gpu, GpuConfig};
/// use softurn_models::distributions::FisherHypergeometric;
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let tape = Tape::new(&gpu);
/// let log_odds = tape.leaf(&gpu.tensor(&[2f32.ln()], [1])?)?;
/// let law = FisherHypergeometric::new(log_odds, 5, 7, 6)?;
/// // As scipy's nchypergeom_fisher(12, 5, 6, 2).
/// assert!((law.mean()?.item()? - 3.045_404).abs() < 1e-5);
/// let log_prob = law.log_prob(&gpu.tensor(&[3.0f32], [1])?)?;
/// assert!((log_prob.item()? + 0.814_258).abs() < 1e-5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FisherHypergeometric<'t> {
    two: MultivariateFisherHypergeometric<'t>,
    draws: Vec<u32>,
    /// Of each row, the fewest and the most successes.
    support: Vec<(u32, u32)>,
}

impl<'t> FisherHypergeometric<'t> {
    /// The law of the successes among `draws` elements.
    ///
    /// # Errors
    /// When there are more draws than elements, or 2²⁴ elements and more; when log odds are NaN or `+inf`, or `-inf` where
    /// the failures are fewer than the draws. Reads the log odds.
    pub fn new(log_odds: Var<'t>, successes: u32, failures: u32, draws: u32) -> Result<Self> {
        Self::per_row(log_odds, &[successes], &[failures], &[draws])
    }

    /// As [`Self::new`] with numbers per row: each of one number, shared, or of as many as there are rows.
    ///
    /// # Errors
    /// As [`Self::new`], naming the row, and when numbers of rows differ.
    pub fn per_row(log_odds: Var<'t>, successes: &[u32], failures: &[u32], draws: &[u32]) -> Result<Self> {
        let rows = successes.len().max(failures.len());
        for (argument, given) in [("successes", successes.len()), ("failures", failures.len())] {
            if given != rows && given != 1 {
                return Err(Error::argument(argument, format!("has {given} rows where the other has {rows}")));
            }
        }
        let pick = |numbers: &[u32], row: usize| numbers[if numbers.len() == 1 { 0 } else { row }];
        let sizes: Vec<u32> = (0..rows).flat_map(|row| [pick(successes, row), pick(failures, row)]).collect();
        let urn = Urn::per_row(log_odds.tape().gpu(), 2, &sizes, draws)?;
        let odds = log_odds.read()?;
        let this = Self::with_urn(log_odds, &urn)?;
        for row in 0..this.batch_shape()[0] {
            let odds = odds[if odds.len() == 1 { 0 } else { row }];
            if odds.is_nan() || odds == f32::INFINITY {
                return Err(Error::argument("log_odds", format!("of row {row} are {odds}")));
            }
            let (draws, failures) = (urn.draws(row), urn.sizes(row)[1]);
            if odds == f32::NEG_INFINITY && draws > failures {
                let message = format!("of row {row} are -inf, though only {failures} of {draws} draws can be failures");
                return Err(Error::argument("log_odds", message));
            }
        }
        Ok(this)
    }

    /// As [`Self::new`], for an urn of two groups that is already on the device, with numbers shared or per row. The log odds
    /// are not read, so that training loops do not wait: rows that cannot be drawn give NaN.
    ///
    /// # Errors
    /// When the urn has another number of groups, or numbers of rows differ.
    pub fn with_urn(log_odds: Var<'t>, urn: &Urn) -> Result<Self> {
        if urn.groups() != 2 {
            return Err(Error::argument("urn", format!("has {} groups, not successes and failures", urn.groups())));
        }
        if log_odds.shape().dims().len() != 1 {
            return Err(Error::argument("log_odds", format!("has shape {}, not [1] or [rows]", log_odds.shape())));
        }
        let count = log_odds.shape().len();
        // Log weights (odds, 0): the odds themselves, also where they are -inf, between bounds that hold the second column at 0.
        let bound = |first: f32| {
            let values: Vec<f32> = (0..count).flat_map(|_| [first, 0.0]).collect();
            Ok::<_, Error>(log_odds.tape().constant(&log_odds.tape().gpu().tensor(&values, [count, 2])?))
        };
        let (lower, upper) = (bound(f32::NEG_INFINITY)?, bound(f32::INFINITY)?);
        let log_weights = upper.minimum(&lower.maximum(&log_odds.reshape([count, 1])?)?)?;
        let two = MultivariateFisherHypergeometric::with_urn(log_weights, urn)?;
        let draws = (0..urn.rows()).map(|row| urn.draws(row)).collect();
        let support = (0..urn.rows()).map(|row| urn.support(row)[0]).collect();
        Ok(Self { two, draws, support })
    }

    /// One draw is one number: `[]`.
    pub fn event_shape(&self) -> [usize; 0] {
        []
    }

    /// The rows of the law: `[1]` when everything is shared.
    pub fn batch_shape(&self) -> [usize; 1] {
        self.two.batch_shape()
    }

    /// The fewest and the most successes of a row.
    ///
    /// # Panics
    /// When there is no such row; where everything is shared, there is only one and any number stands for it.
    pub fn support(&self, row: usize) -> (u32, u32) {
        self.support[if self.support.len() == 1 { 0 } else { row }]
    }

    /// `rows` exact draws `[rows]`, without a gradient.
    ///
    /// # Errors
    /// When `rows` does not fit a law per row.
    pub fn sample(&self, rows: usize, key: Key) -> Result<Tensor> {
        let counts = self.two.sample(rows, key)?;
        self.successes(&counts)
    }

    /// `rows` exact draws `[rows]` with the straight-through gradient of the relaxation at `temperature`.
    ///
    /// # Errors
    /// When `rows` does not fit a law per row.
    pub fn rsample(&self, rows: usize, key: Key, temperature: Temperature) -> Result<Var<'t>> {
        Self::successes_of(&self.two.rsample_rows(rows, key, temperature)?)
    }

    /// `rows` relaxed draws `[rows]`: means of the relaxation, with their own gradient.
    ///
    /// # Errors
    /// When `rows` does not fit a law per row.
    pub fn rsample_relaxed(&self, rows: usize, key: Key, temperature: Temperature) -> Result<Var<'t>> {
        Self::successes_of(&self.two.rsample_relaxed(rows, key, temperature)?)
    }

    /// As [`Self::rsample`], with all choices: noise or none, exact or relaxed counts.
    ///
    /// # Errors
    /// When `rows` does not fit a law per row.
    pub fn rsample_with(&self, rows: usize, sampling: &Sampling<'_>) -> Result<Var<'t>> {
        Self::successes_of(&self.two.rsample_with(rows, sampling, false)?.counts)
    }

    /// `log P(x)` in nats, `[rows]`, for successes `x` `[rows]`; `-inf` outside the support. Its gradient is `x - E[x]`.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn log_prob(&self, successes: &Tensor) -> Result<Var<'t>> {
        let gpu = successes.gpu();
        if successes.shape().dims().len() != 1 {
            let message = format!("has shape {}, not [rows]", successes.shape());
            return Err(Error::argument("successes", message));
        }
        let rows = successes.len();
        if self.draws.len() > 1 && self.draws.len() != rows {
            let message = format!("has {rows} rows for {} rows of draws", self.draws.len());
            return Err(Error::argument("successes", message));
        }
        let others: Vec<f32> = self.draws.iter().flat_map(|&n| [0.0, n as f32]).collect();
        let others = gpu.tensor(&others, [self.draws.len(), 2])?;
        let signs = gpu.tensor(&[1.0f32, -1.0], [1, 2])?;
        let first = matmul::forward(gpu, matmul::Options::default(), &successes.reshape([rows, 1])?, &signs, None)?;
        self.two.log_prob(&binary::forward(gpu, Binary::Add, &first, &others)?)
    }

    /// `E[x]`, `[law rows]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn mean(&self) -> Result<Tensor> {
        self.successes(&self.two.mean()?)
    }

    /// `Var(x)`, `[law rows]`: also `∂E[x] / ∂ log ω`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn variance(&self) -> Result<Tensor> {
        self.successes(&self.two.variance()?)
    }

    /// `-E[log P(x)]` in nats, `[law rows]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn entropy(&self) -> Result<Tensor> {
        self.two.entropy()
    }

    /// The most probable number of successes, `[law rows]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn mode(&self) -> Result<Tensor> {
        self.successes(&self.two.mode()?)
    }

    /// The first column.
    fn successes(&self, counts: &Tensor) -> Result<Tensor> {
        let gpu = counts.gpu();
        let first = gpu.tensor(&[1.0f32, 0.0], [2, 1])?;
        let column = matmul::forward(gpu, matmul::Options::default(), counts, &first, None)?;
        Ok(column.reshape([column.len()])?)
    }

    fn successes_of(counts: &Var<'t>) -> Result<Var<'t>> {
        let tape = counts.tape();
        let first = tape.constant(&tape.gpu().tensor(&[1.0f32, 0.0], [2, 1])?);
        let rows = counts.shape().dims()[0];
        Ok(counts.matmul(&first)?.reshape([rows])?)
    }
}
