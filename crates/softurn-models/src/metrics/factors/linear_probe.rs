//! A linear probe: multinomial logistic regression from a representation to every factor, by Adam on all rows at once.
//!
//! The problem, stated at [`LinearProbe`], is convex and starts from zeros: nothing in it is random. All factors are fitted
//! side by side, by one product of matrices. Each has as many columns of logits as the largest factor has classes; a class
//! that a factor lacks has a bias that makes its probability and all its gradients exactly 0.
//!
//! The crate `linfa-logistic` 0.8 solves the same problem for one factor at a time, and would bring a second ndarray (0.16),
//! argmin and ndarray-stats along.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use softurn_autodiff::{Adam, Parameters, Schedule, Tape};
use softurn_kernels::Gpu;
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::ops::one_hot;

use super::{MetricError, check, check_representation};
use crate::data::moments;
use crate::metrics::adjusted_balanced_accuracy;
use crate::{Error, Result};

/// The first learning rate, which falls to 0 as a cosine.
const LEARNING_RATE: f32 = 0.5;
/// Adam's decay of both moments. Gradients of all rows have no noise to average out, and with the usual 0.999 the second
/// moment remembers the large first ones for too long: after 200 steps on the digits, mean absolute weights are off by up to
/// 0.03 instead of 0.002.
const DECAY: f32 = 0.9;
/// The bias of a class that a factor lacks: `exp` of it is 0.
const NEVER: f32 = -1e4;

/// Settings of a [`LinearProbe`]; [`ProbeParams::check`] turns them into a probe that can be fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeParams {
    l2: f32,
    steps: u32,
}

impl ProbeParams {
    /// The weight of the squared weights, as in the formula of [`LinearProbe`]; 1 unless set, as in scikit-learn.
    pub fn l2(mut self, l2: f32) -> Self {
        self.l2 = l2;
        self
    }

    /// Steps of Adam, each over all rows; 200 unless set, which is enough unless columns are nearly linear combinations of
    /// others.
    pub fn steps(mut self, steps: u32) -> Self {
        self.steps = steps;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Argument`] when `l2` is not from 0 to a million or `steps` is 0.
    pub fn check(self) -> Result<LinearProbe> {
        if !(0.0..=1e6).contains(&self.l2) {
            return Err(Error::argument("l2", format!("{} is not from 0 to a million", self.l2)));
        }
        if self.steps == 0 {
            return Err(Error::argument("steps", "must be at least 1"));
        }
        Ok(LinearProbe { params: self })
    }
}

/// Multinomial logistic regression of known factors on a representation: how much of each factor a linear model can read.
///
/// With standardised rows `x`, it minimises for each factor of `C` classes, over weights `W` of shape `[columns, C]` and
/// biases `b`,
///
/// `mean over rows of -ln softmax(x W + b)[class] + l2 / (2 rows) ‖W‖²`,
///
/// which is scikit-learn's `LogisticRegression(C=1/l2)`. (For two classes it is `C=2/l2`: scikit-learn keeps one weight then,
/// twice as large as each of the two here.) The result is the same every time, without a key.
///
/// ```
/// use ndarray::array;
/// use softurn_kernels::{Gpu, GpuConfig};
/// use softurn_models::metrics::LinearProbe;
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// // Two factors of 2 and 3 classes; the representation has a column for the first, and noise.
/// let factors = array![[0, 0], [1, 1], [0, 2], [1, 0], [0, 1], [1, 2]];
/// let representation = array![[-1.0, 0.3], [1.0, 0.1], [-1.1, 0.2], [0.9, 0.2], [-1.0, 0.1], [1.1, 0.3]];
/// let probe = LinearProbe::params().check()?.fit(&gpu, representation.view(), factors.view(), &[2, 3])?;
/// assert_eq!(probe.predict(array![[2.0, 0.2]].view())?[[0, 0]], 1);
/// # Ok::<(), softurn_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LinearProbe {
    params: ProbeParams,
}

impl LinearProbe {
    /// Settings, to be changed one by one and then checked.
    pub fn params() -> ProbeParams {
        ProbeParams { l2: 1.0, steps: 200 }
    }

    /// Fits a linear model of every factor.
    ///
    /// `representation` is `[rows, columns]`, `factors` `[rows, factors]`, and `classes` has the number of classes of each
    /// factor; a factor may lack some of them here. Columns are standardised by their mean and standard deviation over
    /// these rows; constant ones become 0. The device needs about `4 · rows · factors · max(classes)` numbers.
    ///
    /// # Errors
    /// [`MetricError::Argument`], within [`Error::Metric`], when there are fewer than 2 rows or no columns, when the numbers
    /// of rows or factors differ, a value is not finite, a class is out of range, or a factor has one class only;
    /// [`Error::Kernel`] when that does not fit the adapter.
    pub fn fit(
        &self,
        gpu: &Gpu,
        representation: ArrayView2<'_, f32>,
        factors: ArrayView2<'_, u32>,
        classes: &[usize],
    ) -> Result<FittedProbe> {
        check(representation, factors, classes)?;
        let ((rows, columns), heads) = (representation.dim(), classes.len());
        let widest = classes.iter().copied().max().unwrap_or(0);
        let scaling: Vec<[f64; 2]> = representation.columns().into_iter().map(moments).collect();
        let x: Vec<f32> = scaled(representation, &scaling).iter().map(|&value| value as f32).collect();
        let x = gpu.tensor(&x, [rows, columns])?;
        let labels: Vec<u32> = factors.iter().copied().collect();
        let targets = one_hot::forward(gpu, &gpu.tensor(&labels, [rows * heads])?, widest)?;

        let mut parameters = Parameters::new(gpu);
        let weight = parameters.zeros("weight", [columns, heads * widest])?;
        let biases: Vec<f32> = classes
            .iter()
            .flat_map(|&classes| (0..widest).map(move |class| if class < classes { 0.0 } else { NEVER }))
            .collect();
        let bias = parameters.from_values("bias", [heads * widest], &biases)?;
        let steps = self.params.steps;
        let mut adam = Adam::new(Schedule::Cosine { initial: LEARNING_RATE, last: 0.0, steps }).betas(DECAY, DECAY);
        // The cross-entropy is a mean over the factors too.
        let penalty = self.params.l2 / (2 * rows * heads) as f32;
        for _ in 0..steps {
            let tape = Tape::new(gpu);
            let w = tape.param(&parameters, &weight)?;
            let logits = tape.constant(&x).linear(&w, Some(&tape.param(&parameters, &bias)?), Activation::None)?;
            let cross_entropy = logits.reshape([rows * heads, widest])?.cross_entropy(&targets)?.mean()?;
            let loss = (cross_entropy + &w.square()?.sum()?.affine(penalty, 0.0)?)?;
            adam.step(&mut parameters, &tape.backward(&loss)?)?;
        }

        let wide = |values: Vec<f32>| values.into_iter().map(f64::from);
        let weight = Array1::from_iter(wide(parameters.read(&weight)?));
        let bias = Array1::from_iter(wide(parameters.read(&bias)?));
        let head = |(factor, &classes): (usize, &usize)| {
            let first = factor * widest;
            Head {
                weight: Array2::from_shape_fn((columns, classes), |(column, class)| {
                    weight[column * heads * widest + first + class]
                }),
                bias: bias.slice(s![first..first + classes]).to_owned(),
            }
        };
        Ok(FittedProbe { scaling, heads: classes.iter().enumerate().map(head).collect() })
    }
}

/// The model of one factor.
#[derive(Debug, Clone, PartialEq)]
struct Head {
    /// `[columns, classes]`.
    weight: Array2<f64>,
    /// `[classes]`.
    bias: Array1<f64>,
}

/// How well a probe predicts a factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeScore {
    /// The share of rows whose class is predicted.
    pub accuracy: f64,
    /// [`adjusted_balanced_accuracy`]: 0 for guesses, 1 when all is right.
    pub adjusted_balanced_accuracy: f64,
}

/// A fitted [`LinearProbe`]; it lives on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedProbe {
    /// Mean, and one over the deviation, of each column.
    scaling: Vec<[f64; 2]>,
    heads: Vec<Head>,
}

impl FittedProbe {
    /// The most likely class of each factor, `[rows, factors]`, the lowest of equally likely ones.
    ///
    /// # Errors
    /// [`MetricError::Argument`] when `representation` has other columns than the one of the fit, or a value is not finite.
    pub fn predict(&self, representation: ArrayView2<'_, f32>) -> std::result::Result<Array2<u32>, MetricError> {
        check_representation(representation)?;
        if representation.ncols() != self.scaling.len() {
            let message = format!("{} columns, fitted on {}", representation.ncols(), self.scaling.len());
            return Err(MetricError::argument("representation", message));
        }
        let x = scaled(representation, &self.scaling);
        let mut predicted = Array2::zeros((x.nrows(), self.heads.len()));
        for (head, mut predicted) in self.heads.iter().zip(predicted.columns_mut()) {
            let logits = x.dot(&head.weight) + &head.bias;
            predicted.assign(&logits.map_axis(Axis(1), argmax));
        }
        Ok(predicted)
    }

    /// How well each factor is predicted, on rows that should not be those of the fit: the informativeness of Eastwood and
    /// Williams (2018), who tell it as an error.
    ///
    /// # Errors
    /// As [`LinearProbe::fit`] and [`FittedProbe::predict`]: each factor needs two classes here too.
    pub fn score(
        &self,
        representation: ArrayView2<'_, f32>,
        factors: ArrayView2<'_, u32>,
    ) -> std::result::Result<Vec<ProbeScore>, MetricError> {
        let classes: Vec<usize> = self.heads.iter().map(|head| head.bias.len()).collect();
        check(representation, factors, &classes)?;
        let predicted = self.predict(representation)?;
        let of_factor = |((predicted, truth), classes): ((ArrayView1<'_, u32>, ArrayView1<'_, u32>), usize)| {
            let right = predicted.iter().zip(truth).filter(|(predicted, truth)| predicted == truth).count();
            Ok(ProbeScore {
                accuracy: right as f64 / truth.len() as f64,
                adjusted_balanced_accuracy: adjusted_balanced_accuracy(&predicted.to_vec(), &truth.to_vec(), classes)?,
            })
        };
        predicted.columns().into_iter().zip(factors.columns()).zip(classes).map(of_factor).collect()
    }

    /// The importance of each column for each factor, `[columns, factors]`, for [`dci`](super::dci): the mean over classes
    /// of the absolute weights, which are comparable because columns are standardised.
    ///
    /// Eastwood and Williams (2018) take the weights of a lasso, or the importances of random forests, `disentanglement_lib`
    /// those of gradient-boosted trees. This is the linear variant: it sees nothing that a linear model cannot read.
    pub fn importance(&self) -> Array2<f64> {
        Array2::from_shape_fn((self.scaling.len(), self.heads.len()), |(column, factor)| {
            let weights = self.heads[factor].weight.row(column);
            weights.iter().map(|weight| weight.abs()).sum::<f64>() / weights.len() as f64
        })
    }
}

fn scaled(representation: ArrayView2<'_, f32>, scaling: &[[f64; 2]]) -> Array2<f64> {
    Array2::from_shape_fn(representation.dim(), |(row, column)| {
        let [mean, scale] = scaling[column];
        (f64::from(representation[[row, column]]) - mean) * scale
    })
}

fn argmax(logits: ArrayView1<'_, f64>) -> u32 {
    let mut best = 0;
    for class in 1..logits.len() {
        if logits[class] > logits[best] {
            best = class;
        }
    }
    best as u32
}
