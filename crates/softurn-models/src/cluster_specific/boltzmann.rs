//! The tensorised restricted Boltzmann machine (TRBM): weights and hidden biases of each cluster, visible biases of all.

use serde::{Deserialize, Serialize};
use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::ops::grouped_matmul::Options;
use softurn_kernels::ops::random;
use softurn_kernels::{Key, Tensor};

use super::Width;
use super::framework::{Framework, HeadRows, Reconstructs};
use crate::data::Dataset;
use crate::{Error, Result};

/// Turns any positive difference of probabilities into 1 or more.
const STEEP: f32 = 1e30;

/// Rows that are drawn for [`Rule::FreeEnergyDifference`].
const DRAWS: usize = 8;

/// By what rows choose their machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Rule {
    /// The negative log pseudo-likelihood, `Σ_q softplus(F(v) - F(v with bit q flipped))`. Takes a pass for each bit.
    #[default]
    PseudoLikelihood,
    /// The cross-entropy of what the mean-field hidden units make of a row.
    Reconstruction,
    /// `F(v) - F(v_K)`, the mean of eight drawn `v_K`; one in the authors' code. Noisy, and no likelihood.
    FreeEnergyDifference,
    /// `F(v)`: the machines' constants, `log Z_j`, are not known and left out.
    FreeEnergy,
}

/// A machine of binary units with the energy `-b·v - c·h - hᵀ W v`, learned by contrastive divergence: the loss of a row is
/// `F(v) - F(v_K)`, free energies `F(v) = -b·v - Σ softplus(c + W v)` of the row and of what `K` steps of Gibbs sampling make of it, through
/// which no gradient goes (Hinton 2002). Rows are not centred: they are bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoltzmannMachine {
    hidden: usize,
    steps: usize,
    rule: Rule,
    deviation: f32,
}

impl BoltzmannMachine {
    /// So many hidden units in each cluster.
    pub fn new(hidden: usize) -> Self {
        Self { hidden, steps: 1, rule: Rule::default(), deviation: 0.01 }
    }

    /// `K`, the steps of Gibbs sampling; by default 1.
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// By what rows choose their machine; by default the pseudo-likelihood.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    /// The standard deviation of the first weights; by default 0.01. After a warm-up, machines must differ from the start: then 0.5.
    pub fn deviation(mut self, deviation: f32) -> Self {
        self.deviation = deviation;
        self
    }
}

/// Weights and biases.
#[derive(Debug)]
pub struct BoltzmannLayers {
    /// `W`, `[k, visible, hidden]`.
    pub weights: Param,
    /// `c`, `[k, hidden]`.
    pub hidden_bias: Param,
    /// `b`, `[1, visible]`.
    pub visible_bias: Param,
}

/// Weights on a tape, and the heads of the rows that they are for.
struct Machines<'t, 'r> {
    weights: Var<'t>,
    hidden_bias: Var<'t>,
    visible_bias: Var<'t>,
    rows: &'r HeadRows,
}

impl<'t, 'r> Machines<'t, 'r> {
    fn new(layers: &BoltzmannLayers, tape: &'t Tape, parameters: &Parameters, rows: &'r HeadRows) -> Result<Self> {
        Ok(Self {
            weights: tape.param(parameters, &layers.weights)?,
            hidden_bias: tape.param(parameters, &layers.hidden_bias)?,
            visible_bias: tape.param(parameters, &layers.visible_bias)?,
            rows,
        })
    }

    /// The same without gradients.
    fn frozen(&self) -> Self {
        let [weights, hidden_bias, visible_bias] =
            [&self.weights, &self.hidden_bias, &self.visible_bias].map(Var::detach);
        Self { weights, hidden_bias, visible_bias, rows: self.rows }
    }

    /// `c + W v`.
    fn to_hidden(&self, v: &Var<'t>) -> Result<Var<'t>> {
        Ok(v.grouped_matmul(&self.weights, Some(&self.hidden_bias), &self.rows.heads, Options::default())?)
    }

    /// `b + Wᵀ h`.
    fn to_visible(&self, h: &Var<'t>) -> Result<Var<'t>> {
        let options = Options { transpose_b: true, ..Options::default() };
        Ok((h.grouped_matmul(&self.weights, None, &self.rows.heads, options)? + &self.visible_bias)?)
    }

    /// `-b·v - Σ softplus(c + W v)`.
    fn free_energy(&self, v: &Var<'t>) -> Result<Var<'t>> {
        let (by_visible, by_hidden) =
            ((v * &self.visible_bias)?.sum_cols()?, self.to_hidden(v)?.softplus()?.sum_cols()?);
        Ok((by_visible + &by_hidden)?.affine(-1.0, 0.0)?)
    }

    /// The visible bits after so many steps of Gibbs sampling.
    fn sample(&self, v: &Var<'t>, steps: usize, key: Key) -> Result<Var<'t>> {
        let frozen = self.frozen();
        let mut v = v.detach();
        for key in key.split_forever().take(steps) {
            let [hidden_key, visible_key] = key.split();
            let h = bits(&frozen.to_hidden(&v)?, hidden_key)?;
            v = bits(&frozen.to_visible(&h)?, visible_key)?;
        }
        Ok(v)
    }

    /// The logits of the bits, given the mean-field hidden units.
    fn reconstruction(&self, v: &Tensor) -> Result<Var<'t>> {
        self.to_visible(&self.to_hidden(&self.weights.tape().constant(v))?.sigmoid()?)
    }

    /// `Σ_q softplus(F(v) - F(v with bit q flipped))`. A flip of bit `q` changes `a` by `±W_q`.
    fn pseudo_likelihood_loss(&self, v: &Var<'t>) -> Result<Var<'t>> {
        let tape = v.tape();
        let &[heads, visible, hidden] = self.weights.shape().dims() else {
            return Err(Error::argument("hidden", format!("weights of shape {}", self.weights.shape())));
        };
        let a = self.to_hidden(v)?;
        let by_hidden = a.softplus()?.sum_cols()?;
        let by_bit = self.weights.reshape([heads * visible, hidden])?;
        let rows = v.shape().dims()[0];
        let mut sum = tape.constant(&tape.gpu().zeros([rows])?);
        for bit in 0..visible {
            let places: Vec<u32> = (0..heads).map(|head| (head * visible + bit) as u32).collect();
            let of_heads = by_bit.gather(&tape.gpu().tensor(&places, [heads])?)?;
            let mut only = vec![0.0f32; visible];
            only[bit] = 1.0;
            let only = tape.constant(&tape.gpu().tensor(&only, [visible, 1])?);
            // 1 where the bit is switched on, -1 where off.
            let change = v.matmul(&only)?.affine(-2.0, 1.0)?;
            let flipped = (&a + &(of_heads.gather(&self.rows.index)? * &change)?)?;
            let by_visible = change.matmul(&self.visible_bias.matmul(&only)?)?.reshape([rows])?;
            // F(v) less that of the flipped row.
            let rise = ((flipped.softplus()?.sum_cols()? - &by_hidden)? + &by_visible)?;
            sum = (sum + &rise.softplus()?)?;
        }
        Ok(sum)
    }
}

/// Bits that are 1 with the probabilities that the logits say.
fn bits<'t>(logits: &Var<'t>, key: Key) -> Result<Var<'t>> {
    let uniform = random::uniform(logits.tape().gpu(), logits.shape().clone(), key)?;
    Ok((logits.sigmoid()? - &uniform)?.affine(STEEP, 0.0)?.clamp(0.0, 1.0)?)
}

impl Framework for BoltzmannMachine {
    type Layers = BoltzmannLayers;
    const NAME: &'static str = "cluster_specific.boltzmann";

    fn check(&self, _heads: usize) -> Result<()> {
        for (name, value) in [("hidden", self.hidden), ("steps", self.steps)] {
            if value == 0 {
                return Err(Error::argument(name, "must be at least 1"));
            }
        }
        if !(self.deviation.is_finite() && self.deviation > 0.0) {
            return Err(Error::argument("deviation", format!("{} is not a positive number", self.deviation)));
        }
        Ok(())
    }

    fn check_data(&self, data: &Dataset) -> Result<()> {
        match data.values().iter().find(|&&value| value != 0.0 && value != 1.0) {
            Some(value) => Err(Error::argument("data", format!("{} has {value}; the units are 0 or 1", data.name()))),
            None => Ok(()),
        }
    }

    fn widths(&self) -> Vec<Width> {
        vec![Width { setting: "hidden", outputs: self.hidden, own: true }]
    }

    fn layers(&self, parameters: &mut Parameters, [heads, columns]: [usize; 2], key: Key) -> Result<BoltzmannLayers> {
        Ok(BoltzmannLayers {
            weights: parameters.normal("weights", [heads, columns, self.hidden], self.deviation, key)?,
            hidden_bias: parameters.zeros("hidden_bias", [heads, self.hidden])?,
            visible_bias: parameters.zeros("visible_bias", [1, columns])?,
        })
    }

    fn centred(&self) -> bool {
        false
    }

    fn losses<'t>(
        &self,
        layers: &BoltzmannLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        key: Option<Key>,
    ) -> Result<Var<'t>> {
        let machines = Machines::new(layers, tape, parameters, rows)?;
        let v = tape.constant(&rows.x);
        let sampled = machines.sample(&v, self.steps, key.unwrap_or(Key::new(0)))?;
        Ok((machines.free_energy(&v)? - &machines.free_energy(&sampled)?)?)
    }

    fn assignment_losses<'t>(
        &self,
        layers: &BoltzmannLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        key: Key,
    ) -> Result<Var<'t>> {
        let machines = Machines::new(layers, tape, parameters, rows)?.frozen();
        let v = tape.constant(&rows.x);
        match self.rule {
            Rule::PseudoLikelihood => machines.pseudo_likelihood_loss(&v),
            Rule::Reconstruction => Ok(machines.reconstruction(&rows.x)?.bernoulli_loss(&rows.x)?),
            Rule::FreeEnergyDifference => {
                let mut difference = machines.free_energy(&v)?;
                for key in key.split_forever().take(DRAWS) {
                    let drawn = machines.free_energy(&machines.sample(&v, self.steps, key)?)?;
                    difference = (difference - &drawn.affine(1.0 / DRAWS as f32, 0.0)?)?;
                }
                Ok(difference)
            }
            Rule::FreeEnergy => machines.free_energy(&v),
        }
    }

    /// The pseudo-likelihood where rows choose by free energies: their constants differ from fit to fit.
    fn objective_losses<'t>(
        &self,
        layers: &BoltzmannLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
        _key: Key,
    ) -> Result<Option<Var<'t>>> {
        match self.rule {
            Rule::PseudoLikelihood | Rule::Reconstruction => Ok(None),
            Rule::FreeEnergyDifference | Rule::FreeEnergy => {
                let machines = Machines::new(layers, tape, parameters, rows)?.frozen();
                machines.pseudo_likelihood_loss(&tape.constant(&rows.x)).map(Some)
            }
        }
    }

    fn encode<'t>(
        &self,
        layers: &BoltzmannLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        let machines = Machines::new(layers, tape, parameters, rows)?;
        Ok(machines.to_hidden(&tape.constant(&rows.x))?.sigmoid()?)
    }
}

impl Reconstructs for BoltzmannMachine {
    /// The probabilities of the bits, given the mean-field hidden units.
    fn reconstruct<'t>(
        &self,
        layers: &BoltzmannLayers,
        tape: &'t Tape,
        parameters: &Parameters,
        rows: &HeadRows,
    ) -> Result<Var<'t>> {
        Ok(Machines::new(layers, tape, parameters, rows)?.reconstruction(&rows.x)?.sigmoid()?)
    }
}
