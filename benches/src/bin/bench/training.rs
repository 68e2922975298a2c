//! A training step: the variational clustering model of softurn-models in its last phase, without views and contrast,
//! with proportions of a categorical prior. `benches/peers/bench.py` writes the same for PyTorch and JAX.

use anyhow::Result;
use softurn_autodiff::{Adam, Param, Parameters, Tape, Var};
use softurn_kernels::ops::matmul::Activation;
use softurn_kernels::{Gpu, Key, Tensor};
use softurn_models::nn::{Linear, Mlp};

/// Groups of the mixture.
const GROUPS: usize = 10;

/// Networks, mixture, optimizer and one batch.
pub(crate) struct Training {
    x: Tensor,
    latent: usize,
    trunk: Mlp,
    mean: Linear,
    log_variance: Linear,
    decoder: Mlp,
    means: Param,
    log_variances: Param,
    weights: Param,
    parameters: Parameters,
    adam: Adam,
}

impl Training {
    /// `widths` are those of the encoder from the rows of `x` on; the decoder mirrors them.
    pub(crate) fn new(gpu: &Gpu, x: Tensor, widths: &[usize], latent: usize) -> Result<Self> {
        let mut parameters = Parameters::new(gpu);
        let [trunk_key, mean_key, decoder_key, mixture_key] = Key::new(0).split();
        let trunk = Mlp::new(&mut parameters, "encoder", widths, Activation::Relu, trunk_key)?;
        let mut head = |name, bound| {
            let sizes = [widths[widths.len() - 1], latent];
            Linear::new(&mut parameters, name, sizes, bound, 0.0, Activation::None, mean_key)
        };
        let (mean, log_variance) = (head("mean", 0.03)?, head("log_variance", 0.0)?);
        let mirrored: Vec<usize> = std::iter::once(latent).chain(widths.iter().rev().copied()).collect();
        let decoder = Mlp::new(&mut parameters, "decoder", &mirrored, Activation::None, decoder_key)?;
        Ok(Self {
            x,
            latent,
            trunk,
            mean,
            log_variance,
            decoder,
            means: parameters.normal("means", [GROUPS, latent], 1.0, mixture_key)?,
            log_variances: parameters.zeros("log_variances", [GROUPS, latent])?,
            weights: parameters.zeros("weights", [1, GROUPS])?,
            parameters,
            adam: Adam::new(1e-3),
        })
    }

    /// Forward, backward and Adam; the loss.
    pub(crate) fn step(&mut self, key: Key) -> Result<Tensor> {
        let tape = Tape::new(self.parameters.gpu());
        let loss = self.loss(&tape, key)?;
        let gradients = tape.backward(&loss)?;
        self.adam.step(&mut self.parameters, &gradients)?;
        Ok(loss.value().clone())
    }

    fn loss<'t>(&self, tape: &'t Tape, key: Key) -> Result<Var<'t>> {
        let parameters = &self.parameters;
        let hidden = self.trunk.forward(tape, parameters, &tape.constant(&self.x), false)?;
        let mean = self.mean.forward(tape, parameters, &hidden, false)?;
        let log_variance = self.log_variance.forward(tape, parameters, &hidden, false)?;
        let z = mean.gaussian_rsample(&log_variance, key)?;
        let decoded = self.decoder.forward(tape, parameters, &z, false)?;
        let reconstruction = decoded.bernoulli_loss(&self.x)?.mean()?;
        let (means, log_variances) =
            (tape.param(parameters, &self.means)?, tape.param(parameters, &self.log_variances)?);
        let log_proportions = tape.param(parameters, &self.weights)?.log_softmax(1.0)?;
        // Responsibilities are the optimum for given parameters: no gradient through them.
        let logits =
            (z.detach().gaussian_mixture(None, &means.detach(), &log_variances.detach())? + &log_proportions.detach())?;
        let log_responsibilities = logits.log_softmax(1.0)?;
        let responsibilities = log_responsibilities.exp()?;
        let density = mean.gaussian_mixture(Some(&log_variance), &means, &log_variances)?;
        let bracket = (&log_responsibilities - &(density + &log_proportions)?)?;
        let groups = (&bracket * &responsibilities)?.sum_cols()?.mean()?;
        let rows = self.x.shape().dims()[0] as f32;
        let constant = 0.5 * (1.0 + std::f32::consts::TAU.ln()) * self.latent as f32;
        let entropy = log_variance.sum()?.affine(0.5 / rows, constant)?;
        Ok((&reconstruction + &(groups - &entropy)?)?)
    }
}

/// Operations of the matrix products of a step: forward, the gradient of each weight, and that of each layer's input but
/// the first's.
pub(crate) fn flop(rows: usize, widths: &[usize], latent: usize) -> f64 {
    let layers = |widths: &[usize]| widths.windows(2).map(|pair| pair[0] * pair[1]).sum::<usize>();
    let last = widths[widths.len() - 1];
    // The mirrored decoder ends in the encoder's widths from `latent` on.
    let weights = 2 * layers(widths) + 3 * last * latent;
    (2 * rows * (3 * weights - widths[0] * widths[1])) as f64
}
