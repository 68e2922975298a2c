//! Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019) and clipping by the norm of the
//! whole gradient: one dispatch per flat buffer, whatever the number of parameters.

use softurn_kernels::ops::adam::{self, Settings};

use crate::{Gradients, Parameters, Result, Schedule};

/// The optimizer. Its moments live in [`Parameters`]; what a checkpoint needs besides is [`Adam::steps`].
///
/// ```
/// use softurn_autodiff::{Adam, Parameters, Schedule, Tape};
/// use softurn_kernels::{Gpu, GpuConfig};
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let mut parameters = Parameters::new(&gpu);
/// let x = parameters.constant("x", [1], 5.0)?;
/// let mut adam = Adam::new(Schedule::Cosine { initial: 0.5, last: 0.0, steps: 100 }).clip(1.0);
/// for _ in 0..100 {
///     let tape = Tape::new(&gpu);
///     let loss = (tape.param(&parameters, &x)? - 2.0)?.square()?;
///     adam.step(&mut parameters, &tape.backward(&loss)?)?;
/// }
/// assert!((parameters.read(&x)?[0] - 2.0).abs() < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    learning_rate: Schedule,
    settings: Settings,
    clip: Option<f32>,
    steps: u32,
}

impl Adam {
    /// With `β = (0.9, 0.999)`, `ε = 1e-8`, no weight decay and no clipping. Takes an `f32` or a [`Schedule`].
    pub fn new(learning_rate: impl Into<Schedule>) -> Self {
        Self { learning_rate: learning_rate.into(), settings: Settings::default(), clip: None, steps: 0 }
    }

    /// The decay of the two moments, each in `[0, 1)`.
    pub fn betas(mut self, first: f32, second: f32) -> Self {
        (self.settings.beta1, self.settings.beta2) = (first, second);
        self
    }

    /// What is added to the root of the second moment; positive.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.settings.epsilon = epsilon;
        self
    }

    /// The part of every parameter, times the learning rate, that each step takes away; at least 0.
    pub fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.settings.weight_decay = weight_decay;
        self
    }

    /// A gradient whose norm over all parameters is longer is scaled down to `max_norm`, without waiting for the device.
    pub fn clip(mut self, max_norm: f32) -> Self {
        self.clip = Some(max_norm);
        self
    }

    /// Goes on after `steps` steps, for parameters whose moments come from a checkpoint.
    pub fn at_step(mut self, steps: u32) -> Self {
        self.steps = steps;
        self
    }

    /// The number of steps taken.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f32 {
        self.learning_rate.at(self.steps)
    }

    /// Changes every parameter of the store. Parameters that the loss did not depend on have gradient 0: their moments
    /// decay, and they still move by what is left of them. Gradients by parameters of other stores are left alone.
    ///
    /// # Errors
    /// When a setting is out of range (naming it) or the device failed; the step is not counted then.
    pub fn step(&mut self, parameters: &mut Parameters, gradients: &Gradients) -> Result<()> {
        let flats = parameters.gather(gradients)?;
        let norm_squared = match self.clip {
            Some(max_norm) => Some((parameters.norm_squared(&flats)?, max_norm)),
            None => None,
        };
        let clip = norm_squared.as_ref().map(|(norm_squared, max_norm)| (norm_squared, *max_norm));
        let step = self.steps.saturating_add(1);
        let settings = Settings { learning_rate: self.learning_rate(), step, ..self.settings };
        for flat in &flats {
            adam::step(parameters.gpu(), &flat.value, &flat.gradient, &flat.first, &flat.second, &settings, clip)?;
        }
        self.steps = step;
        Ok(())
    }
}
