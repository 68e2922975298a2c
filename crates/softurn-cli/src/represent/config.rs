//! The settings of `softurn represent`: [`Settings`] is what a person wrote, in flags or in a file; [`Config`] is what a run uses.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use softurn::cluster_specific as models;
use softurn::cluster_specific::{BoltzmannMachine, ClusterSpecific, Contrastive, VariationalAutoencoder};
use softurn::data::LineClusters;
use toml::{Table, Value};

use crate::failure::{Failure, Result};
use crate::settings::{Configuration, check_fit, count, flag, hidden_widths, positive};
use crate::training::failure;

/// The words after `--data` that stand for made clusters along lines.
const MADE: [(&str, LineClusters); 4] = [
    ("parallel-line", LineClusters::ParallelLine),
    ("orthogonal", LineClusters::Orthogonal),
    ("triangle", LineClusters::Triangle),
    ("lines-3d", LineClusters::Lines3d),
];

/// The word after `--data` that stands for bits of which only pairs say something.
pub const BIT_PAIRS: &str = "bit-pairs";

/// The made clusters along lines of that name.
pub fn made(data: &str) -> Option<LineClusters> {
    MADE.into_iter().find(|(name, _)| *name == data).map(|(_, set)| set)
}

/// Whether rows are made, with labels, and not read.
pub fn is_made(data: &str) -> bool {
    made(data).is_some() || data == BIT_PAIRS
}

/// What each cluster has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Framework {
    /// An autoencoder, of rows less their cluster's centre
    Autoencoder,
    /// Posterior and first decoder layer of a variational autoencoder, of rows less their centre; all clusters share the rest
    Vae,
    /// An encoder that tells a row and what is like it from other clusters
    Contrastive,
    /// A restricted Boltzmann machine, of bits; all clusters share the visible biases
    Rbm,
}

/// How the columns of a table are scaled before anything is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Not at all
    None,
    /// To mean 0 and standard deviation 1
    Deviation,
    /// Over their largest absolute value
    Maximum,
}

/// What a row is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Positives {
    /// Another row of its cluster
    Cluster,
    /// Itself under noise
    View,
    /// Another row of its class: learns from the labels
    Class,
}

/// By what rows choose their Boltzmann machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The pseudo-likelihood, which takes a pass for each bit
    PseudoLikelihood,
    /// The error of what the hidden units make of a row
    Reconstruction,
    /// The free energy less that of a sample: noisy
    FreeEnergyDifference,
    /// The free energy, whose constants differ from machine to machine
    FreeEnergy,
}

/// Which losses rows choose their cluster by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Reassignment {
    /// Those after the last step
    Fresh,
    /// Those before it
    PreStep,
}

/// Settings that a person gave; what is absent falls back to the next layer.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[group(skip)]
pub struct Settings {
    /// Data set: `digits`, `penguins`, made clusters along lines (`parallel-line`, `orthogonal`, `triangle`, `lines-3d`), `bit-pairs` (drawn
    /// by the seed, 800 rows unless --rows says otherwise), or an idx, npy, npz or csv file (idx and csv also as .gz)
    #[arg(long, value_name = "NAME|FILE[:ARRAY]", help_heading = "Input")]
    pub data: Option<String>,
    /// True labels, for the final scores, and for --classes, --per-class, --positives class and --label-start
    #[arg(long, value_name = "FILE[:ARRAY]", conflicts_with = "label_column", help_heading = "Input")]
    pub labels: Option<String>,
    /// Column of a csv file that holds the true labels
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub label_column: Option<String>,
    /// How columns are scaled, unless they are pixels [default: deviation; made clusters and rbm: none]
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub scale: Option<Scale>,
    /// Take the first N rows only, before the next two
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Input")]
    pub rows: Option<usize>,
    /// Take the rows of these classes only, by their labels
    #[arg(long, value_name = "LABEL,...", value_delimiter = ',', help_heading = "Input")]
    pub classes: Option<Vec<String>>,
    /// Take the first N rows of each class only
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Input")]
    pub per_class: Option<usize>,

    /// Number of clusters, each with a representation; 1 for the plain framework
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub k: Option<usize>,
    /// What each cluster has of its own [default: autoencoder]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub framework: Option<Framework>,
    /// Widths of the encoder's hidden layers, which the decoder mirrors, 0 for none [default: autoencoder 0, vae 400,200, contrastive 128]
    #[arg(long, value_name = "N,N,...", value_parser = count, value_delimiter = ',', help_heading = "Model")]
    pub hidden: Option<Vec<usize>>,
    /// Numbers that represent a row; of rbm the hidden units [default: autoencoder 1, vae 2, others 64]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub latent: Option<usize>,

    /// Outer layers, the encoder's first and the decoder's last ones, that all clusters share [default: 0]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Autoencoder")]
    pub shared: Option<usize>,
    /// Every layer of the encoder ends in a ReLU [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Autoencoder")]
    pub relu: Option<bool>,
    /// The decoder has the encoder's weights [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Autoencoder")]
    pub tied: Option<bool>,
    /// Rows come less the centre of their cluster [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Autoencoder")]
    pub centred: Option<bool>,
    /// Weight of the representation's squared length, beside the mean squared error of a column [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Autoencoder")]
    pub penalty: Option<f64>,
    /// Learn to take noise of this standard deviation from rows, and score that; of autoencoder and vae
    #[arg(long, value_name = "X", help_heading = "Other frameworks")]
    pub denoise: Option<f64>,

    /// Weight of the divergence of vae [default: 1.0]
    #[arg(long, value_name = "X", help_heading = "Other frameworks")]
    pub beta: Option<f64>,
    /// Standard deviation of the likelihood of vae, or of the noise in views of contrastive [default: vae 0.3, contrastive 0.1]
    #[arg(long, value_name = "X", help_heading = "Other frameworks")]
    pub noise: Option<f64>,
    /// What a row is to be like in contrastive [default: cluster, with --k 1 view]
    #[arg(long, value_name = "NAME", help_heading = "Other frameworks")]
    pub positives: Option<Positives>,
    /// Share of the columns that views of contrastive hide [default: 0.0]
    #[arg(long, value_name = "X", help_heading = "Other frameworks")]
    pub dropout: Option<f64>,
    /// Representations of contrastive have length 1; without, training diverges [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Other frameworks")]
    pub normalised: Option<bool>,
    /// Values above are 1 and others 0, for rbm [default: 0.5]
    #[arg(long, value_name = "X", help_heading = "Other frameworks")]
    pub threshold: Option<f64>,
    /// Steps of Gibbs sampling in the gradient of rbm [default: 1]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Other frameworks")]
    pub gibbs_steps: Option<usize>,
    /// By what rows choose their machine of rbm [default: pseudo-likelihood]
    #[arg(long, value_name = "NAME", help_heading = "Other frameworks")]
    pub rule: Option<Rule>,
    /// Standard deviation of the first weights of rbm [default: 0.01, with --warm-up 0.5]
    #[arg(long, value_name = "X", help_heading = "Other frameworks")]
    pub deviation: Option<f64>,

    /// Fits from other random numbers, of which the lowest objective is kept [default: 1]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub starts: Option<usize>,
    /// Passes over the rows [default: autoencoder 150, others 100]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Rows of a step, 0 for all [default: autoencoder 0, others 100]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub batch: Option<usize>,
    /// Adam's largest step size [default: autoencoder 0.1, rbm 0.01, others 0.001]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Steps after which rows choose their cluster anew [default: as many as an epoch has]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub steps_per_assignment: Option<usize>,
    /// Which losses they choose by [default: fresh]
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub reassignment: Option<Reassignment>,
    /// First epochs in which no row changes its cluster [default: 0]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub hold: Option<usize>,
    /// Rows begin in the cluster of their class, but for this share, which begin in any, alike in all starts: learns from the labels [default:
    /// they begin in that of the nearest of k rows]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub label_start: Option<f64>,
    /// Epochs before the others in which rows learn in all clusters, most where their loss is low [default: 0]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub warm_up: Option<usize>,
    /// Loss that counts as much as one unit of a logit in the warm-up, at its start and at its end [default: 1.0,1.0]
    #[arg(long, value_name = "X,X", value_delimiter = ',', help_heading = "Training")]
    pub temperatures: Option<Vec<f64>>,
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
    /// A name or `FILE[:ARRAY]`.
    pub data: String,
    /// `FILE[:ARRAY]` of the labels.
    pub labels: Option<String>,
    /// Column of the labels in a csv file.
    pub label_column: Option<String>,
    /// How columns are scaled; absent says by what the data are.
    pub scale: Option<Scale>,
    /// Rows to take.
    pub rows: Option<usize>,
    /// Classes to take.
    pub classes: Option<Vec<String>>,
    /// Rows to take of each class.
    pub per_class: Option<usize>,
    /// Number of clusters.
    pub k: usize,
    /// What each cluster has of its own.
    pub framework: Framework,
    /// Widths of hidden layers.
    pub hidden: Option<Vec<usize>>,
    /// Numbers that represent a row.
    pub latent: usize,
    /// Outer layers that clusters share.
    pub shared: Option<usize>,
    /// Whether the encoder has ReLUs.
    pub relu: Option<bool>,
    /// Whether the decoder has the encoder's weights.
    pub tied: Option<bool>,
    /// Whether rows come less their centre.
    pub centred: Option<bool>,
    /// Weight of the representation's squared length.
    pub penalty: Option<f64>,
    /// Deviation of the noise that is to be taken from rows.
    pub denoise: Option<f64>,
    /// Weight of the divergence.
    pub beta: Option<f64>,
    /// Deviation of the likelihood or of views.
    pub noise: Option<f64>,
    /// What a row is to be like.
    pub positives: Option<Positives>,
    /// Share of the columns that views hide.
    pub dropout: Option<f64>,
    /// Whether representations have length 1.
    pub normalised: Option<bool>,
    /// From what value on a bit is 1.
    pub threshold: Option<f64>,
    /// Steps of Gibbs sampling.
    pub gibbs_steps: Option<usize>,
    /// By what rows choose their machine.
    pub rule: Option<Rule>,
    /// Deviation of the first weights.
    pub deviation: Option<f64>,
    /// Models of which the best is kept.
    pub starts: usize,
    /// Passes over the rows.
    pub epochs: usize,
    /// Rows of a step, 0 for all.
    pub batch: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Steps between choices.
    pub steps_per_assignment: Option<usize>,
    /// Which losses rows choose by.
    pub reassignment: Reassignment,
    /// First epochs without choices.
    pub hold: usize,
    /// Share of the rows that do not begin in the cluster of their class.
    pub label_start: Option<f64>,
    /// Epochs of the warm-up.
    pub warm_up: usize,
    /// Its temperatures.
    pub temperatures: Option<Vec<f64>>,
    /// Seed of every random number.
    pub seed: u64,
    /// Adapter by index or part of its name; the context chooses when absent.
    pub adapter: Option<String>,
}

impl Configuration for Config {
    type Settings = Settings;

    const REQUIRED: &'static [&'static str] = &["data", "k"];

    fn defaults(given: &Table) -> Settings {
        let is = |key: &str, value: &str| given.get(key).and_then(Value::as_str) == Some(value);
        let warm_up = given.get("warm_up").and_then(Value::as_integer).is_some_and(|epochs| epochs > 0);
        let common = Settings {
            framework: Some(Framework::Autoencoder),
            starts: Some(1),
            epochs: Some(100),
            batch: Some(100),
            learning_rate: Some(1e-3),
            reassignment: Some(Reassignment::Fresh),
            hold: Some(0),
            warm_up: Some(0),
            temperatures: warm_up.then(|| vec![1.0, 1.0]),
            seed: Some(0),
            ..Settings::default()
        };
        if is("framework", "vae") {
            return Settings {
                hidden: Some(vec![400, 200]),
                latent: Some(2),
                beta: Some(1.0),
                noise: Some(0.3),
                ..common
            };
        }
        if is("framework", "contrastive") {
            let alone = given.get("k").and_then(Value::as_integer) == Some(1);
            let view = is("positives", "view") || (alone && !given.contains_key("positives"));
            return Settings {
                hidden: Some(vec![128]),
                latent: Some(64),
                positives: Some(if view { Positives::View } else { Positives::Cluster }),
                noise: view.then_some(0.1),
                dropout: view.then_some(0.0),
                normalised: Some(true),
                ..common
            };
        }
        if is("framework", "rbm") {
            return Settings {
                latent: Some(64),
                threshold: Some(0.5),
                gibbs_steps: Some(1),
                rule: Some(Rule::PseudoLikelihood),
                deviation: Some(if warm_up { 0.5 } else { 0.01 }),
                learning_rate: Some(1e-2),
                ..common
            };
        }
        Settings {
            hidden: Some(vec![0]),
            latent: Some(1),
            shared: Some(0),
            relu: Some(false),
            tied: Some(false),
            centred: Some(true),
            penalty: Some(0.1),
            epochs: Some(150),
            batch: Some(0),
            learning_rate: Some(0.1),
            ..common
        }
    }

    fn check(&self) -> Result<()> {
        if self.labels.is_some() && self.label_column.is_some() {
            return Err(Failure::bad_input("--label-column", "cannot be used together with --labels"));
        }
        if is_made(&self.data) {
            let known = [("labels", self.labels.is_some()), ("label_column", self.label_column.is_some())];
            if let Some((key, _)) = known.into_iter().find(|(_, set)| *set) {
                return Err(Failure::bad_input(flag(key), format!("--data {} knows its labels", self.data)));
            }
        }
        let is = |framework| self.framework == framework;
        let (autoencoder, vae) = (is(Framework::Autoencoder), is(Framework::Vae));
        let (contrastive, rbm) = (is(Framework::Contrastive), is(Framework::Rbm));
        let view = contrastive && self.positives == Some(Positives::View);
        let (of_autoencoder, of_contrastive) = ("--framework autoencoder", "--framework contrastive");
        check_fit(&[
            ("hidden", self.hidden.is_some(), !rbm, "--framework autoencoder, vae or contrastive"),
            ("shared", self.shared.is_some(), autoencoder, of_autoencoder),
            ("relu", self.relu.is_some(), autoencoder, of_autoencoder),
            ("tied", self.tied.is_some(), autoencoder, of_autoencoder),
            ("centred", self.centred.is_some(), autoencoder, of_autoencoder),
            ("penalty", self.penalty.is_some(), autoencoder, of_autoencoder),
            ("denoise", self.denoise.is_some(), autoencoder || vae, "--framework autoencoder or vae"),
            ("beta", self.beta.is_some(), vae, "--framework vae"),
            ("noise", self.noise.is_some(), vae || view, "--framework vae, or contrastive with --positives view"),
            ("positives", self.positives.is_some(), contrastive, of_contrastive),
            ("dropout", self.dropout.is_some(), view, "--framework contrastive with --positives view"),
            ("normalised", self.normalised.is_some(), contrastive, of_contrastive),
            ("threshold", self.threshold.is_some(), rbm, "--framework rbm"),
            ("gibbs_steps", self.gibbs_steps.is_some(), rbm, "--framework rbm"),
            ("rule", self.rule.is_some(), rbm, "--framework rbm"),
            ("deviation", self.deviation.is_some(), rbm, "--framework rbm"),
            ("temperatures", self.temperatures.is_some(), self.warm_up > 0, "a --warm-up"),
            ("label_start", self.label_start.is_some(), self.warm_up == 0, "a fit without --warm-up"),
        ])?;
        // These go by other names in the method, or may be 0 there.
        for (key, value) in [
            ("rows", self.rows.unwrap_or(1) as f64),
            ("per_class", self.per_class.unwrap_or(1) as f64),
            ("latent", self.latent as f64),
            ("denoise", self.denoise.unwrap_or(1.0)),
            ("gibbs_steps", self.gibbs_steps.unwrap_or(1) as f64),
        ] {
            positive(key, value)?;
        }
        let hidden = hidden_widths(self.hidden.as_deref().unwrap_or_default());
        if let Some(at) = hidden.iter().position(|&width| width == 0) {
            return Err(Failure::bad_input("--hidden", format!("layer {at} has width 0")));
        }
        let bounded = |value: f64| (value as f32).is_finite() && value >= 0.0;
        if view && !bounded(self.noise.unwrap_or(0.0)) {
            return Err(Failure::bad_input("--noise", "must be a number from 0 on"));
        }
        if let Some(share) = self.dropout.filter(|&share| !(0.0..1.0).contains(&(share as f32))) {
            return Err(Failure::bad_input("--dropout", format!("{share} is not a share from 0 to below 1")));
        }
        if let Some(share) = self.label_start.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(Failure::bad_input("--label-start", format!("{share} is not a share from 0 to 1")));
        }
        if self.threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return Err(Failure::bad_input("--threshold", "must be a number"));
        }
        if let Some(temperatures) = &self.temperatures {
            if temperatures.len() != 2 {
                return Err(Failure::bad_input("--temperatures", format!("{} numbers, not 2", temperatures.len())));
            }
            temperatures.iter().try_for_each(|&temperature| positive("temperatures", temperature))?;
        }
        if self.hold > self.epochs {
            return Err(Failure::bad_input("--hold", format!("{} of {} epochs", self.hold, self.epochs)));
        }
        // The rest is what the method itself checks.
        match self.framework {
            Framework::Autoencoder => self.method(self.k, self.autoencoder(self.latent)).map(drop),
            Framework::Vae => self.method(self.k, self.vae(self.latent)).map(drop),
            Framework::Contrastive => self.method(self.k, self.contrastive(self.latent)).map(drop),
            Framework::Rbm => self.method(self.k, self.rbm(self.latent)).map(drop),
        }
    }
}

impl Config {
    /// Whether labels are looked at for more than scores.
    pub fn uses_labels(&self) -> bool {
        self.positives == Some(Positives::Class) || self.label_start.is_some()
    }

    /// These settings for one representation of all rows: views take the place of other rows of its cluster, from which it would not learn.
    pub fn of_one(&self) -> Self {
        let positives = self.positives.map(|positives| match positives {
            Positives::Cluster => Positives::View,
            other => other,
        });
        Self { k: 1, positives, ..self.clone() }
    }

    /// So many clusters of a framework.
    ///
    /// # Errors
    /// The first setting that the method does not take, by its flag.
    pub fn method<F: models::Framework>(&self, k: usize, framework: F) -> Result<ClusterSpecific<F>> {
        let mut params = ClusterSpecific::params(k, framework)
            .starts(self.starts)
            .epochs(self.epochs)
            .learning_rate(self.learning_rate as f32)
            .reassignment(match self.reassignment {
                Reassignment::Fresh => models::Reassignment::Fresh,
                Reassignment::PreStep => models::Reassignment::BeforeStep,
            })
            .hold(self.hold);
        if self.batch > 0 {
            params = params.batch(self.batch);
        }
        if let Some(steps) = self.steps_per_assignment {
            params = params.steps_per_assignment(steps);
        }
        if let Some(&[start, end]) = self.temperatures.as_deref() {
            params = params.warm_up(self.warm_up, start as f32, end as f32);
        }
        params.check().map_err(failure)
    }

    fn hidden(&self) -> Vec<usize> {
        hidden_widths(self.hidden.as_deref().unwrap_or_default())
    }

    /// The autoencoder that is asked for, with so many numbers to a row.
    pub fn autoencoder(&self, latent: usize) -> models::Autoencoder {
        let widths: Vec<usize> = self.hidden().into_iter().chain([latent]).collect();
        models::Autoencoder::new(widths)
            .shared(self.shared.unwrap_or(0))
            .relu(self.relu.unwrap_or(false))
            .tied(self.tied.unwrap_or(false))
            .centred(self.centred.unwrap_or(true))
            .penalty(self.penalty.unwrap_or(0.1) as f32)
            .noise(self.denoise.unwrap_or(0.0) as f32)
    }

    /// The same of the variational autoencoder.
    pub fn vae(&self, latent: usize) -> VariationalAutoencoder {
        VariationalAutoencoder::new(latent)
            .hidden(self.hidden())
            .noise(self.noise.unwrap_or(0.3) as f32)
            .beta(self.beta.unwrap_or(1.0) as f32)
            .corruption(self.denoise.unwrap_or(0.0) as f32)
    }

    /// The same of contrastive learning.
    pub fn contrastive(&self, latent: usize) -> Contrastive {
        let positives = match self.positives {
            None | Some(Positives::Cluster) => models::Positives::Cluster,
            Some(Positives::View) => models::Positives::View {
                noise: self.noise.unwrap_or(0.1) as f32,
                dropout: self.dropout.unwrap_or(0.0) as f32,
            },
            Some(Positives::Class) => models::Positives::Class,
        };
        Contrastive::new(latent).hidden(self.hidden()).positives(positives).normalised(self.normalised.unwrap_or(true))
    }

    /// The same of Boltzmann machines.
    pub fn rbm(&self, latent: usize) -> BoltzmannMachine {
        BoltzmannMachine::new(latent)
            .steps(self.gibbs_steps.unwrap_or(1))
            .rule(match self.rule {
                None | Some(Rule::PseudoLikelihood) => models::Rule::PseudoLikelihood,
                Some(Rule::Reconstruction) => models::Rule::Reconstruction,
                Some(Rule::FreeEnergyDifference) => models::Rule::FreeEnergyDifference,
                Some(Rule::FreeEnergy) => models::Rule::FreeEnergy,
            })
            .deviation(self.deviation.unwrap_or(0.01) as f32)
    }
}
