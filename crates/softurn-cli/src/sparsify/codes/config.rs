//! The settings of `softurn sparsify codes`: [`Settings`] is what a person wrote, in flags or in a file; [`Config`] is what a run
//! uses.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use softurn::sparse::{self, ChoiceDivergence, CountPrior, DecoderKind, Sparse};
use toml::{Table, Value};

use crate::config::Kind;
use crate::failure::{Failure, Result};
use crate::settings::{Configuration, check_fit, count, flag, hidden_widths, missing, positive};
use crate::training::failure;

/// The word after `--data` that stands for made rows with known codes.
pub const TOY: &str = "toy";

/// What the code of a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Code {
    /// As many active features as the row needs, up to the bound
    Sparse,
    /// Baseline: as many as the bound in every row
    #[value(name = "topl")]
    TopL,
    /// Baseline: all of them, a variational autoencoder
    Dense,
    /// Baseline: an autoencoder with a penalty on the sum of its features
    L1,
}

/// How the gradient reaches counts and choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Trainer {
    /// By the exact sum over all counts
    Marginal,
    /// By one draw of count and features, straight-through in each
    StraightThrough,
    /// By one relaxed draw
    Relaxed,
}

/// From a code to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// A dictionary: the sum of an atom for each active feature
    Linear,
    /// The encoder's hidden layers in reverse order
    Mlp,
}

/// The law of a row around what is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Likelihood {
    /// Normal, of deviation --noise
    Gaussian,
    /// Of columns from 0 to 1, which are taken as they are
    Bernoulli,
}

/// How the divergence of the choice of features from a uniform one is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Along a drawn order, without replacement
    ChainRule,
    /// As if drawn with replacement
    WithReplacement,
}

/// Settings that a person gave; what is absent falls back to the next layer.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[group(skip)]
pub struct Settings {
    /// Data set: `digits`, `toy` (made rows with known codes), or an idx, npy, npz or csv file (idx and csv also as .gz)
    #[arg(long, value_name = "digits|toy|FILE[:ARRAY]", help_heading = "Input")]
    pub data: Option<String>,
    /// Labels of the rows, for the linear probe's accuracy only
    #[arg(long, value_name = "FILE[:ARRAY]", conflicts_with = "label_column", help_heading = "Input")]
    pub labels: Option<String>,
    /// Column of a csv file that holds such labels
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub label_column: Option<String>,
    /// What the columns are, unless they are pixels [default: table]
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub kind: Option<Kind>,
    /// Take the first N rows only
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Input")]
    pub rows: Option<usize>,
    /// Share of the rows that the fit does not see and all figures are taken on; `toy` has rows of its own for that [default: 0.2]
    #[arg(long, value_name = "X", help_heading = "Input")]
    pub held_out: Option<f64>,

    /// Number of features
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub size: Option<usize>,
    /// The most active features that a row may have; sparse and topl need it, dense and l1 have none
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub bound: Option<usize>,
    /// What the code of a row is [default: sparse]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub code: Option<Code>,
    /// Active features of sparse and topl have values of their own instead of 1 [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Model")]
    pub magnitudes: Option<bool>,
    /// From a code to a row [default: linear]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub decoder: Option<Decoder>,
    /// Widths of the encoder's hidden layers, 0 for none [default: 128,128]
    #[arg(long, value_name = "N,N,...", value_parser = count, value_delimiter = ',', help_heading = "Model")]
    pub hidden: Option<Vec<usize>>,
    /// The law of a row around what is decoded [default: gaussian]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub likelihood: Option<Likelihood>,
    /// Standard deviation of gaussian, in the units of the scaled columns: the smaller, the more features pay [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Model")]
    pub noise: Option<f64>,
    /// Prior of the counts, each so many times as likely as that of one feature less; sparse only [default: all alike]
    #[arg(long, value_name = "X", help_heading = "Model")]
    pub prior_ratio: Option<f64>,
    /// How the divergence of the choice is measured; sparse only [default: chain-rule]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub choice: Option<Choice>,
    /// Weight of the penalty of l1, in nats [default: 1.0]
    #[arg(long, value_name = "X", help_heading = "Model")]
    pub penalty: Option<f64>,

    /// How sparse is trained [default: marginal]
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub trainer: Option<Trainer>,
    /// First share of training in which the divergences of sparse and dense come into force [default: 0.3333333333333333]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub ramp: Option<f64>,
    /// Extra weight of the divergences at the start, which keeps all counts in use; sparse only [default: 10.0]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub boost: Option<f64>,
    /// Size of the first atoms of a linear decoder, over the usual one [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub atom_scale: Option<f64>,
    /// Rows of a step [default: 100]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub batch: Option<usize>,
    /// Passes over the rows [default: 120]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Adam's largest step size [default: 0.002]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Seed of every random number [default: 0]
    // TOML integers are signed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = "Training")]
    pub seed: Option<u64>,
    /// Adapter by index or by part of its name, see `softurn devices` [default: the fastest kind]
    #[arg(long, value_name = "NAME|INDEX", help_heading = "Training")]
    pub adapter: Option<String>,
}

/// The resolved configuration: every value that decides the result of a run. What does not suit the other choices is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `digits`, `toy` or `FILE[:ARRAY]`.
    pub data: String,
    /// `FILE[:ARRAY]` of the labels.
    pub labels: Option<String>,
    /// Column of the labels in a csv file.
    pub label_column: Option<String>,
    /// What the columns are.
    pub kind: Option<Kind>,
    /// Rows to take.
    pub rows: Option<usize>,
    /// Share of the rows that the fit does not see.
    pub held_out: Option<f64>,
    /// Number of features.
    pub size: usize,
    /// The most active features of a row.
    pub bound: Option<usize>,
    /// What the code of a row is.
    pub code: Code,
    /// Whether active features have values.
    pub magnitudes: Option<bool>,
    /// From a code to a row.
    pub decoder: Decoder,
    /// Widths of the encoder's hidden layers.
    pub hidden: Vec<usize>,
    /// The law of a row around what is decoded.
    pub likelihood: Likelihood,
    /// Its deviation.
    pub noise: Option<f64>,
    /// Ratio of the prior of the counts.
    pub prior_ratio: Option<f64>,
    /// How the divergence of the choice is measured.
    pub choice: Option<Choice>,
    /// Weight of the penalty of l1.
    pub penalty: Option<f64>,
    /// How sparse is trained.
    pub trainer: Option<Trainer>,
    /// First share of training in which divergences come into force.
    pub ramp: Option<f64>,
    /// Extra weight of the divergences at the start.
    pub boost: Option<f64>,
    /// Size of the first atoms.
    pub atom_scale: Option<f64>,
    /// Rows of a step.
    pub batch: usize,
    /// Passes over the rows.
    pub epochs: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Seed of every random number.
    pub seed: u64,
    /// Adapter by index or part of its name; the context chooses when absent.
    pub adapter: Option<String>,
}

impl Configuration for Config {
    type Settings = Settings;

    const REQUIRED: &'static [&'static str] = &["data", "size"];

    fn defaults(given: &Table) -> Settings {
        let is = |key: &str, value: &str| given.get(key).and_then(Value::as_str) == Some(value);
        let [topl, dense, l1] = ["topl", "dense", "l1"].map(|code| is("code", code));
        let sparse = !(topl || dense || l1);
        Settings {
            held_out: (!is("data", TOY)).then_some(0.2),
            code: Some(Code::Sparse),
            magnitudes: (sparse || topl).then_some(false),
            decoder: Some(Decoder::Linear),
            hidden: Some(vec![128, 128]),
            likelihood: Some(Likelihood::Gaussian),
            noise: (!is("likelihood", "bernoulli")).then_some(0.1),
            choice: sparse.then_some(Choice::ChainRule),
            penalty: l1.then_some(1.0),
            trainer: sparse.then_some(Trainer::Marginal),
            ramp: (sparse || dense).then_some(1.0 / 3.0),
            boost: sparse.then_some(10.0),
            atom_scale: (!is("decoder", "mlp")).then_some(0.1),
            batch: Some(100),
            epochs: Some(120),
            learning_rate: Some(2e-3),
            seed: Some(0),
            ..Settings::default()
        }
    }

    fn check(&self) -> Result<()> {
        if self.labels.is_some() && self.label_column.is_some() {
            return Err(Failure::bad_input("--label-column", "cannot be used together with --labels"));
        }
        if self.data == TOY {
            let known = [
                ("labels", self.labels.is_some()),
                ("label_column", self.label_column.is_some()),
                ("kind", self.kind.is_some()),
                ("held_out", self.held_out.is_some()),
            ];
            if let Some((key, _)) = known.into_iter().find(|(_, set)| *set) {
                return Err(Failure::bad_input(flag(key), format!("--data {TOY} knows its codes and its test rows")));
            }
        }
        let (code, sparse) = (self.code, self.code == Code::Sparse);
        if self.bound.is_none() && (sparse || code == Code::TopL) {
            return Err(missing("bound"));
        }
        check_fit(&[
            ("bound", self.bound.is_some(), sparse || code == Code::TopL, "--code sparse or topl"),
            ("magnitudes", self.magnitudes.is_some(), sparse || code == Code::TopL, "--code sparse or topl"),
            ("prior_ratio", self.prior_ratio.is_some(), sparse, "--code sparse"),
            ("choice", self.choice.is_some(), sparse, "--code sparse"),
            ("penalty", self.penalty.is_some(), code == Code::L1, "--code l1"),
            ("trainer", self.trainer.is_some(), sparse, "--code sparse"),
            ("ramp", self.ramp.is_some(), sparse || code == Code::Dense, "--code sparse or dense"),
            ("boost", self.boost.is_some(), sparse, "--code sparse"),
            ("noise", self.noise.is_some(), self.likelihood == Likelihood::Gaussian, "--likelihood gaussian"),
            ("atom_scale", self.atom_scale.is_some(), self.decoder == Decoder::Linear, "--decoder linear"),
        ])?;
        if let Some(share) = self.held_out.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            return Err(Failure::bad_input("--held-out", format!("{share} is not a share above 0 and below 1")));
        }
        positive("prior_ratio", self.prior_ratio.unwrap_or(1.0))?;
        positive("rows", self.rows.unwrap_or(1) as f64)?;
        // The rest is what the method itself checks.
        self.method().map(drop)
    }
}

impl Config {
    /// The method that is asked for.
    ///
    /// # Errors
    /// The first setting that it does not take, by its flag.
    pub fn method(&self) -> Result<Sparse> {
        let mut params = Sparse::params(self.size, self.bound.unwrap_or(1))
            .code(match self.code {
                Code::Sparse => sparse::Code::Sparse,
                Code::TopL => sparse::Code::TopL,
                Code::Dense => sparse::Code::Dense,
                Code::L1 => sparse::Code::L1,
            })
            .trainer(match self.trainer {
                None | Some(Trainer::Marginal) => sparse::Trainer::Marginal,
                Some(Trainer::StraightThrough) => sparse::Trainer::StraightThrough,
                Some(Trainer::Relaxed) => sparse::Trainer::Relaxed,
            })
            .magnitudes(self.magnitudes.unwrap_or(false))
            .decoder(match self.decoder {
                Decoder::Linear => DecoderKind::Linear,
                Decoder::Mlp => DecoderKind::Mlp,
            })
            .hidden(hidden_widths(&self.hidden))
            .likelihood(match self.likelihood {
                Likelihood::Gaussian => sparse::Likelihood::Gaussian,
                Likelihood::Bernoulli => sparse::Likelihood::Bernoulli,
            })
            .prior(self.prior_ratio.map_or(CountPrior::Uniform, |ratio| CountPrior::Geometric(ratio as f32)))
            .choice(match self.choice {
                None | Some(Choice::ChainRule) => ChoiceDivergence::ChainRule,
                Some(Choice::WithReplacement) => ChoiceDivergence::WithReplacement,
            })
            .batch(self.batch)
            .epochs(self.epochs)
            .learning_rate(self.learning_rate as f32);
        if let Some(noise) = self.noise {
            params = params.noise(noise as f32);
        }
        if let Some(penalty) = self.penalty {
            params = params.penalty(penalty as f32);
        }
        if let Some(ramp) = self.ramp {
            params = params.ramp(ramp);
        }
        if let Some(boost) = self.boost {
            params = params.boost(boost as f32);
        }
        if let Some(scale) = self.atom_scale {
            params = params.atom_scale(scale as f32);
        }
        params.check().map_err(failure)
    }
}
