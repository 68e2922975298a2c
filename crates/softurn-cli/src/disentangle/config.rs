//! The settings of `softurn disentangle`: [`Settings`] is what a person wrote, in flags or in a file; [`Config`] is what a run
//! uses.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use softurn::data::{self, FactorImages};
use softurn::weak_supervision::{self, WeakSupervision};
use toml::{Table, Value};

use crate::failure::{Failure, Result};
use crate::settings::{Configuration, count, flag, positive};
use crate::training::failure;

/// The word after `--data` that stands for sprites drawn on the device.
pub const SPRITES: &str = "sprites";
/// The word after `--factors` that says that the data are layers to be composed.
pub const LAYERS: &str = "layers";
/// Sides of the sprites in pixels.
const SIDE: usize = 64;

/// How a model decides which latent dimensions two views share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// As many as a draw from a hypergeometric law with learned weights says, the most similar ones
    Hypergeometric,
    /// A random partition of the dimensions, with learned sizes and order
    Partition,
    /// Those whose divergence is below the middle of its range
    Ada,
    /// It is told the number; the most similar ones
    Label,
}

/// What the views agree on in a dimension that they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Averaging {
    /// Means of means and of variances (GVAE)
    Mean,
    /// Means weighted by precisions (ML-VAE)
    Precision,
}

/// How often the divergence of a shared dimension from its prior counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Counting {
    /// As both views have one latent there: the evidence lower bound of the pair
    Once,
    /// For both views, as in the published code of AdaVAE
    Twice,
}

/// Settings that a person gave; what is absent falls back to the next layer.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[group(skip)]
pub struct Settings {
    /// Images: `sprites` (dSprites' factors, drawn anew on the device), or an idx, npy or npz file (idx also as .gz)
    #[arg(long, value_name = "sprites|FILE[:ARRAY]", help_heading = "Input")]
    pub data: Option<String>,
    /// Table of the images' factors [default: an array of --data]; `layers`: --data holds layers of sprites to be composed
    #[arg(long, value_name = "FILE[:ARRAY]|layers", conflicts_with = "factor_sizes", help_heading = "Input")]
    pub factors: Option<String>,
    /// Values of each factor, for images that stand in the order of the factors' grid, such as MPI3D's
    #[arg(long, value_name = "N,N,...", value_parser = count, value_delimiter = ',', help_heading = "Input")]
    pub factor_sizes: Option<Vec<usize>>,
    /// Shrink the images: squares of N × N pixels become one
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Input")]
    pub reduce: Option<usize>,
    /// Factors that the two views of a pair share
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Input")]
    pub shared: Option<usize>,

    /// How the shared latent dimensions are found [default: hypergeometric]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub model: Option<Model>,
    /// What the views agree on in a shared dimension [default: mean]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub averaging: Option<Averaging>,
    /// How often the divergence of a shared dimension from the prior counts; ada and label: twice [default: once]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub counting: Option<Counting>,
    /// Width of the latent space [default: 10]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Model")]
    pub latent: Option<usize>,
    /// Weight of the latents' divergence from the prior [default: 1.0]
    #[arg(long, value_name = "X", help_heading = "Model")]
    pub beta: Option<f64>,

    /// Steps of training, rounded up to whole epochs of 100 [default: 300000]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub steps: Option<usize>,
    /// Pairs of a step [default: 64]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Training")]
    pub batch: Option<usize>,
    /// Adam's largest step size; short trainings want more, such as 0.001 [default: 0.0001]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Temperature of the gradients through numbers and order [default: 1.0]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub temperature: Option<f64>,
    /// Seed of every random number [default: 0]
    // TOML integers are signed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = "Training")]
    pub seed: Option<u64>,
    /// Adapter by index or by part of its name, see `softurn devices` [default: the fastest kind]
    #[arg(long, value_name = "NAME|INDEX", help_heading = "Training")]
    pub adapter: Option<String>,
}

/// The resolved configuration: every value that decides the result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `sprites` or `FILE[:ARRAY]`.
    pub data: String,
    /// `FILE[:ARRAY]` of the table of factors, or `layers`.
    pub factors: Option<String>,
    /// Values of each factor of a grid.
    pub factor_sizes: Option<Vec<usize>>,
    /// Sides of the squares that become a pixel.
    pub reduce: Option<usize>,
    /// Factors that the views of a pair share.
    pub shared: usize,
    /// How the shared latent dimensions are found.
    pub model: Model,
    /// What the views agree on in a shared dimension.
    pub averaging: Averaging,
    /// How often the divergence of a shared dimension counts.
    pub counting: Counting,
    /// Width of the latent space.
    pub latent: usize,
    /// Weight of the latents' divergence from the prior.
    pub beta: f64,
    /// Steps of training.
    pub steps: usize,
    /// Pairs of a step.
    pub batch: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Temperature of the relaxed draws.
    pub temperature: f64,
    /// Seed of every random number.
    pub seed: u64,
    /// Adapter by index or part of its name; the context chooses when absent.
    pub adapter: Option<String>,
}

impl Configuration for Config {
    type Settings = Settings;

    const REQUIRED: &'static [&'static str] = &["data", "shared"];

    fn defaults(given: &Table) -> Settings {
        let fixed = given.get("model").and_then(Value::as_str).is_some_and(|model| ["ada", "label"].contains(&model));
        Settings {
            model: Some(Model::Hypergeometric),
            averaging: Some(Averaging::Mean),
            counting: Some(if fixed { Counting::Twice } else { Counting::Once }),
            latent: Some(10),
            beta: Some(1.0),
            steps: Some(300_000),
            batch: Some(64),
            learning_rate: Some(1e-4),
            temperature: Some(1.0),
            seed: Some(0),
            ..Settings::default()
        }
    }

    fn check(&self) -> Result<()> {
        positive("reduce", self.reduce.unwrap_or(1) as f64)?;
        if self.factors.is_some() && self.factor_sizes.is_some() {
            return Err(Failure::bad_input("--factor-sizes", "cannot be used together with --factors"));
        }
        for (key, set) in [("factors", self.factors.is_some()), ("factor_sizes", self.factor_sizes.is_some())] {
            if set && self.data == SPRITES {
                return Err(Failure::bad_input(flag(key), format!("--data {SPRITES} knows its factors")));
            }
        }
        // The rest is what the method itself checks.
        self.method().map(drop)
    }
}

impl Config {
    /// The method that is asked for.
    ///
    /// # Errors
    /// The first setting that it does not take, by its flag.
    pub fn method(&self) -> Result<WeakSupervision> {
        let model = match self.model {
            Model::Hypergeometric => weak_supervision::Model::HypergeometricVae,
            Model::Partition => weak_supervision::Model::PartitionVae,
            Model::Ada => weak_supervision::Model::AdaVae,
            Model::Label => weak_supervision::Model::LabelVae,
        };
        let averaging = match self.averaging {
            Averaging::Mean => weak_supervision::Averaging::Mean,
            Averaging::Precision => weak_supervision::Averaging::Precision,
        };
        let counting = match self.counting {
            Counting::Once => weak_supervision::Counting::Once,
            Counting::Twice => weak_supervision::Counting::Twice,
        };
        WeakSupervision::params(model, self.shared)
            .averaging(averaging)
            .counting(counting)
            .latent(self.latent)
            .beta(self.beta as f32)
            .steps(self.steps)
            .batch(self.batch)
            .learning_rate(self.learning_rate as f32)
            .temperature(self.temperature as f32)
            .check()
            .map_err(failure)
    }

    /// The images and their factors.
    ///
    /// # Errors
    /// Bad input.
    pub fn load(&self) -> Result<FactorImages> {
        let images = match (self.data.as_str(), self.factors.as_deref(), &self.factor_sizes) {
            (SPRITES, ..) => data::sprites_grid(SIDE),
            (file, _, Some(sizes)) => data::load_factor_grid(file, sizes),
            (file, Some(LAYERS), None) => data::load_sprites(file),
            (file, factors, None) => data::load_factor_images(file, factors.unwrap_or(file)),
        };
        images
            .and_then(|images| images.reduced(self.reduce.unwrap_or(1)))
            .map_err(|error| Failure::BadInput(error.to_string()))
    }
}
