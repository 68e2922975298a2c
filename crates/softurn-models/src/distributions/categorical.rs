//! One of a row's elements, drawn exactly or relaxed.

use softurn_autodiff::Var;
use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::ops::{Noise, gumbel_softmax, softmax};
use softurn_kernels::{Key, Tensor};

use super::Temperature;
use crate::{Error, Result};

/// The categorical law of each row of logits `[rows, n]`, whose draws are rows of zeros with a one and have the gradient of
/// their relaxation: straight-through Gumbel-softmax (Jang, Gu and Poole 2017).
///
/// ```
/// use softurn_autodiff::Tape;
/// use softurn_kernels::{Gpu, GpuConfig, Key};
/// use softurn_models::distributions::{OneHotCategoricalStraightThrough, Temperature};
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let tape = Tape::new(&gpu);
/// let logits = tape.leaf(&gpu.tensor(&[0.0f32, 1.0, 2.0], [1, 3])?)?;
/// let law = OneHotCategoricalStraightThrough::new(logits.clone())?;
/// let draw = law.rsample(Key::new(0), Temperature::new(0.5)?)?;
/// assert_eq!(draw.read()?.iter().sum::<f32>(), 1.0);
/// let gradients = tape.backward(&law.log_prob(draw.value())?.sum()?)?;
/// assert!(gradients.of(&logits).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct OneHotCategoricalStraightThrough<'t> {
    logits: Var<'t>,
}

impl<'t> OneHotCategoricalStraightThrough<'t> {
    /// A law per row; logits of `-inf` are never drawn.
    ///
    /// # Errors
    /// When the logits are not `[rows, n]`.
    pub fn new(logits: Var<'t>) -> Result<Self> {
        Ok(Self { logits: matrix("logits", logits)? })
    }

    /// The shape of a draw: `[n]`.
    pub fn event_shape(&self) -> [usize; 1] {
        [self.logits.shape().rows_cols().1]
    }

    /// The rows of the law.
    pub fn batch_shape(&self) -> [usize; 1] {
        [self.logits.shape().rows_cols().0]
    }

    /// `softmax(logits)`: also the mean of draws.
    ///
    /// # Errors
    /// Those of the device.
    pub fn probabilities(&self) -> Result<Var<'t>> {
        Ok(self.logits.softmax(1.0)?)
    }

    /// An exact draw of each row `[rows, n]`, without a gradient.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sample(&self, key: Key) -> Result<Tensor> {
        Ok(gumbel_softmax::hard(self.logits.tape().gpu(), self.logits.value(), Noise::Key(key))?)
    }

    /// An exact draw of each row with the gradient of the relaxation at `temperature`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rsample(&self, key: Key, temperature: Temperature) -> Result<Var<'t>> {
        Ok(self.logits.gumbel_softmax_straight_through(key, temperature.value())?)
    }

    /// `log P(x)` in nats, `[rows]`, of rows of zeros with a one; some -3e38 where the law has no mass.
    /// A pure score: its gradient goes to the logits.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn log_prob(&self, draws: &Tensor) -> Result<Var<'t>> {
        same("draws", draws, &self.logits)?;
        let chosen = self.logits.tape().constant(draws);
        // 0 · -inf is no number: what is not chosen counts nothing.
        let floor = self.logits.tape().constant(&self.logits.tape().gpu().constant(-3e38)?);
        Ok((self.logits.log_softmax(1.0)?.maximum(&floor)? * &chosen)?.sum_cols()?)
    }

    /// `-E[log P]` in nats, `[rows]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn entropy(&self) -> Result<Var<'t>> {
        let floor = self.logits.tape().constant(&self.logits.tape().gpu().constant(-3e38)?);
        let log_p = self.logits.log_softmax(1.0)?.maximum(&floor)?;
        Ok((log_p * &self.probabilities()?)?.sum_cols()?.affine(-1.0, 0.0)?)
    }

    /// The likeliest element of each row as a row of zeros with a one.
    ///
    /// # Errors
    /// Those of the device.
    pub fn mode(&self) -> Result<Tensor> {
        Ok(gumbel_softmax::hard(self.logits.tape().gpu(), self.logits.value(), Noise::None)?)
    }
}

/// The relaxed categorical law ("Concrete"; Maddison, Mnih and Teh 2017) of each row of logits `[rows, n]`: points inside the
/// simplex, close to its corners at low temperatures.
#[derive(Debug, Clone)]
pub struct RelaxedCategorical<'t> {
    logits: Var<'t>,
    temperature: Temperature,
}

impl<'t> RelaxedCategorical<'t> {
    /// A law per row.
    ///
    /// # Errors
    /// When the logits are not `[rows, n]`.
    pub fn new(logits: Var<'t>, temperature: Temperature) -> Result<Self> {
        Ok(Self { logits: matrix("logits", logits)?, temperature })
    }

    /// The shape of a draw: `[n]`.
    pub fn event_shape(&self) -> [usize; 1] {
        [self.logits.shape().rows_cols().1]
    }

    /// The rows of the law.
    pub fn batch_shape(&self) -> [usize; 1] {
        [self.logits.shape().rows_cols().0]
    }

    /// `softmax(logits)`: how often each corner is the nearest.
    ///
    /// # Errors
    /// Those of the device.
    pub fn probabilities(&self) -> Result<Tensor> {
        Ok(softmax::forward(self.logits.tape().gpu(), self.logits.value(), 1.0)?)
    }

    /// A draw of each row `[rows, n]`, without a gradient.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sample(&self, key: Key) -> Result<Tensor> {
        let (gpu, t) = (self.logits.tape().gpu(), self.temperature.value());
        Ok(gumbel_softmax::forward(gpu, self.logits.value(), Noise::Key(key), t)?)
    }

    /// A draw of each row `[rows, n]`, with its gradient.
    ///
    /// # Errors
    /// Those of the device.
    pub fn rsample(&self, key: Key) -> Result<Var<'t>> {
        Ok(self.logits.gumbel_softmax(key, self.temperature.value())?)
    }

    /// The logarithm of the density, `[rows]`, at points with positive entries that sum to 1:
    /// `log (n-1)! + (n-1) log T + Σ (l - (T + 1) log y) - n log Σ exp(l - T log y)`. Its gradient goes to the logits.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn log_prob(&self, points: &Tensor) -> Result<Var<'t>> {
        same("points", points, &self.logits)?;
        let (tape, n, t) = (self.logits.tape(), self.event_shape()[0], self.temperature.value());
        // Entries below what f32 holds count as the smallest number that it holds.
        let smallest = tape.gpu().constant(f32::MIN_POSITIVE)?;
        let log_y =
            unary::forward(tape.gpu(), Unary::Log, &binary::forward(tape.gpu(), Binary::Max, points, &smallest)?)?;
        let scaled = unary::forward(tape.gpu(), Unary::Affine { scale: t, shift: 0.0 }, &log_y)?;
        let below = (&self.logits - &tape.constant(&scaled))?;
        let factorial: f64 = (1..n).map(|i| (i as f64).ln()).sum();
        let constant = factorial + (n as f64 - 1.0) * f64::from(t).ln();
        let total = below.log_sum_exp()?.affine(n as f32, 0.0)?;
        let sum = (&below - &tape.constant(&log_y))?.sum_cols()?;
        Ok((sum - &total)?.affine(1.0, constant as f32)?)
    }
}

/// Parameters must be `[rows, n]`.
pub(super) fn matrix<'t>(argument: &'static str, parameters: Var<'t>) -> Result<Var<'t>> {
    if parameters.shape().dims().len() == 2 && parameters.shape().dims()[1] > 0 {
        return Ok(parameters);
    }
    Err(Error::argument(argument, format!("has shape {}, not [rows, n]", parameters.shape())))
}

/// Draws must have the shape of the parameters.
pub(super) fn same(argument: &'static str, draws: &Tensor, parameters: &Var<'_>) -> Result<()> {
    if draws.shape() == parameters.shape() {
        return Ok(());
    }
    Err(Error::argument(argument, format!("has shape {}, not {}", draws.shape(), parameters.shape())))
}
