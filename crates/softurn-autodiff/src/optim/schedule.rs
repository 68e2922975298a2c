//! Learning rates over steps.

/// A learning rate as a function of the step, counted from 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant(f32),
    /// `initial · factor^⌊step / every⌋`
    Exponential {
        /// The rate of the first steps.
        initial: f32,
        /// What the rate is multiplied by.
        factor: f32,
        /// The number of steps between two multiplications; 0 counts as 1.
        every: u32,
    },
    /// `last + (initial - last) · (1 + cos(π · min(step / steps, 1))) / 2` (Loshchilov and Hutter, 2017, eq. 5, without
    /// restarts).
    Cosine {
        /// The rate of the first step.
        initial: f32,
        /// The rate from step `steps` on.
        last: f32,
        /// The length of the descent.
        steps: u32,
    },
    /// `(step + 1) / steps` of the first rate of `then` for the first `steps` steps; then `then`, from its beginning.
    WarmUp {
        /// The length of the rise.
        steps: u32,
        /// What follows.
        then: Box<Schedule>,
    },
}

impl Schedule {
    /// This schedule after a linear rise of `steps` steps.
    pub fn warm_up(self, steps: u32) -> Self {
        Self::WarmUp { steps, then: Box::new(self) }
    }

    /// The rate of a step, counted from 0.
    pub fn at(&self, step: u32) -> f32 {
        self.wide(step) as f32
    }

    fn wide(&self, step: u32) -> f64 {
        match *self {
            Self::Constant(rate) => f64::from(rate),
            Self::Exponential { initial, factor, every } => {
                f64::from(initial) * f64::from(factor).powf(f64::from(step / every.max(1)))
            }
            Self::Cosine { initial, last, steps } => {
                let progress = if step < steps { f64::from(step) / f64::from(steps) } else { 1.0 };
                let (initial, last) = (f64::from(initial), f64::from(last));
                last + (initial - last) * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0
            }
            Self::WarmUp { steps, ref then } => match step.checked_sub(steps) {
                Some(step) => then.wide(step),
                None => then.wide(0) * f64::from(step + 1) / f64::from(steps),
            },
        }
    }
}

impl From<f32> for Schedule {
    fn from(rate: f32) -> Self {
        Self::Constant(rate)
    }
}
