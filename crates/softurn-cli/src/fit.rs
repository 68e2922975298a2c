//! From a configuration to what a method finds.

use std::time::Instant;

use ndarray::Array2;
use softurn::clustering::dec::{self, Dec};
use softurn::clustering::entropy::{self, Entropy, GroupSizes};
use softurn::clustering::gmm::{self, GaussianMixture};
use softurn::clustering::kmeans::KMeans;
use softurn::clustering::partition::{self, Partition};
use softurn::clustering::selection::best_of;
use softurn::clustering::variational::{self, Variational};
use softurn::clustering::{self, Fitted};
use softurn::data::Dataset;
use softurn::train::Session;
use softurn::train::batches::below;
use softurn::{Gpu, Key};

use crate::config::{Config, Covariance, Loss, Pretraining, Prior, Start, Weights};
use crate::failure::{Failure, Result};
use crate::methods::{DEC, ENTROPY, IDEC, KMEANS, PARTITION};
use crate::rundir::RunDir;
use crate::settings::Configuration;
use crate::training::{Trainer, failure, totals};

/// What takes a while before the first epoch.
const NEIGHBOURS: &str = "building the model and finding each row's neighbours";

/// What a method has found.
pub struct Outcome {
    /// What is saved.
    pub model: Box<dyn Fitted>,
    /// `[rows, k]`
    pub probabilities: Array2<f32>,
    /// `[shown, d]`: what the picture and the silhouette are made of.
    pub latent: Array2<f32>,
    /// The rows that it belongs to.
    pub shown: Vec<usize>,
    /// What each start reached; the lowest is that of the model.
    pub objectives: Vec<f64>,
    /// Proportions by the model's prior or group sizes.
    pub learned: Option<Vec<f64>>,
    /// Wall time of the training.
    pub seconds: f64,
    /// Rows that went through it.
    pub samples: f64,
}

/// One run of the program, as methods need it.
pub struct Job<'a> {
    /// The rows.
    pub data: &'a Dataset,
    /// The device.
    pub gpu: &'a Gpu,
    /// Where to write, when to stop, what to show.
    pub trainer: Trainer<'a>,
}

impl Job<'_> {
    /// Fits the configured method and makes or opens the run directory; nothing is written or said before the input is
    /// known to be good.
    ///
    /// # Errors
    /// Bad settings, a run that fails or is interrupted, and files that cannot be written.
    pub fn fit(&mut self, config: &mut Config) -> Result<(RunDir, Outcome)> {
        let (data, gpu) = (self.data, self.gpu);
        match config.method.as_str() {
            "variational" => {
                let method = variational(config)?;
                set_epochs(config, method.epochs(data.rows()));
                method.check_data(gpu, data).map_err(failure)?;
                self.train(config, |key| method.start(gpu, data, key), variational::Training::run)
            }
            PARTITION => {
                let method = partition(config)?;
                set_epochs(config, method.epochs(data.rows()));
                method.check_data(gpu, data).map_err(failure)?;
                self.train(config, |key| method.start(gpu, data, key), partition::Training::run)
            }
            ENTROPY => {
                let method = entropy(config)?;
                set_epochs(config, method.epochs(data.rows()));
                method.check_data(gpu, data).map_err(failure)?;
                let (dir, outcome) = self.train(config, |key| method.start(gpu, data, key), entropy::Training::run)?;
                let learned = if sizes_of(config)? == GroupSizes::Learned { outcome.learned } else { None };
                Ok((dir, Outcome { learned, ..outcome }))
            }
            DEC | IDEC => {
                let method = dec(config)?;
                set_epochs(config, method.epochs(data.rows()));
                method.check_data(gpu, data).map_err(failure)?;
                self.train(config, |key| method.start(gpu, data, key), dec::Training::run)
            }
            method => {
                self.headline();
                let outcome = baseline(method, config, data, gpu)?;
                Ok((RunDir::create(&self.trainer.run.out, config)?, outcome))
            }
        }
    }

    fn headline(&mut self) {
        let (data, adapter) = (self.data, self.gpu.capabilities());
        self.trainer.progress.note(&format!("{} rows of {} on {adapter}", data.rows(), data.name()));
    }

    /// Trains what has epochs, with a run directory, checkpoints, and progress: `build` makes a model for a key, `run` trains
    /// it. Of several starts the one with the lowest objective is kept.
    fn train<T, F: Fitted + 'static>(
        &mut self,
        config: &Config,
        build: impl Fn(Key) -> softurn::Result<T>,
        run: impl Fn(T, &mut Session<'_>) -> softurn::Result<F>,
    ) -> Result<(RunDir, Outcome)> {
        let (rows, key) = (self.data.rows(), Key::new(config.seed));
        // The method entropy has starts of its own.
        let starts = if config.method == ENTROPY { 1 } else { config.starts.unwrap_or(1) };
        self.headline();
        let by_contrast = config.pretraining != Some(Pretraining::Reconstruction);
        if by_contrast && !config.is_linear() && ![DEC, IDEC].contains(&config.method.as_str()) {
            self.trainer.progress.note(NEIGHBOURS);
        }
        // What is wrong with a model shows before anything is written.
        let mut first = Some(build(key).map_err(failure)?);
        let dir = self.trainer.directory(config)?;
        let mut start = 0;
        let fitted = best_of(starts, key, |key| {
            let training = match first.take() {
                Some(training) => training,
                None => build(key)?,
            };
            start += 1;
            let start = (starts > 1).then_some(start);
            self.trainer.train(&dir, config.hash(), rows, start, |session| run(training, session))
        });
        self.trainer.written()?;
        let (fitted, objectives) = fitted.map_err(failure)?;
        let (seconds, samples) = totals(&dir)?;
        let outcome = Outcome {
            probabilities: fitted.predict_proba(self.data).map_err(failure)?,
            latent: fitted.transform(self.data).map_err(failure)?,
            shown: (0..rows).collect(),
            learned: fitted.group_proportions().map_err(failure)?,
            model: Box::new(fitted),
            objectives,
            seconds,
            samples,
        };
        Ok((dir, outcome))
    }
}

/// The epochs that a method has chosen for its data become those of the run.
fn set_epochs(config: &mut Config, [pretrain, epochs]: [usize; 2]) {
    config.epochs = Some(epochs);
    if !config.is_linear() {
        config.pretrain_epochs = Some(pretrain);
    }
}

/// Hands on the settings that were given; the others keep the method's own defaults.
macro_rules! set_given {
    ($params:ident, $config:ident: $($name:ident $(as $type:ty)?),+) => {
        $(if let Some(value) = $config.$name {
            $params = $params.$name(value $(as $type)?);
        })+
    };
}

fn variational(config: &Config) -> Result<Variational> {
    let mut params = Variational::params(config.k)
        .prior(match config.prior {
            Prior::Uniform => variational::Prior::Uniform,
            Prior::Categorical => variational::Prior::Categorical,
            Prior::Hypergeometric => variational::Prior::Hypergeometric,
            Prior::Exchangeable => variational::Prior::Exchangeable,
        })
        .start(start(config.start))
        .channels(config.channels.clone().unwrap_or_default())
        .hidden(config.hidden.clone())
        .latent(config.latent)
        .batch(config.batch)
        .learning_rate(config.learning_rate as f32)
        .temperature(config.temperature as f32);
    if config.pretraining == Some(Pretraining::Reconstruction) {
        params = params.pretraining(variational::Pretraining::Reconstruction);
    }
    set_given!(params, config: crop as f32, noise as f32, pretrain_epochs, epochs);
    params.check().map_err(failure)
}

fn start(start: Start) -> clustering::Start {
    match start {
        Start::Best => clustering::Start::Best,
        Start::Kmeans => clustering::Start::KMeans,
        Start::Joined => clustering::Start::Joined,
    }
}

fn partition(config: &Config) -> Result<Partition> {
    let mut params = Partition::params(config.k)
        .weights(match config.weights {
            Some(Weights::Responsibilities) | None => partition::Weights::Responsibilities,
            Some(Weights::Learned) => partition::Weights::Learned,
        })
        .start(start(config.start))
        .channels(config.channels.clone().unwrap_or_default())
        .hidden(config.hidden.clone())
        .latent(config.latent)
        .batch(config.batch)
        .learning_rate(config.learning_rate as f32)
        .temperature(config.temperature as f32);
    if config.pretraining == Some(Pretraining::Reconstruction) {
        params = params.pretraining(variational::Pretraining::Reconstruction);
    }
    set_given!(params, config: beta as f32, gamma as f32, delta as f32, crop as f32, noise as f32);
    set_given!(params, config: pretrain_epochs, epochs);
    params.check().map_err(failure)
}

fn entropy(config: &Config) -> Result<Entropy> {
    let mut params = Entropy::params(config.k)
        .loss(match config.loss {
            Some(Loss::MutualInformation) => entropy::Loss::MutualInformation,
            Some(Loss::SelfLabel) | None => entropy::Loss::SelfLabel,
            Some(Loss::Collision) => entropy::Loss::Collision,
        })
        .sizes(sizes_of(config)?)
        .start(start(config.start))
        .channels(config.channels.clone().unwrap_or_default())
        .hidden(if config.is_linear() { Vec::new() } else { config.hidden.clone() })
        .latent(config.latent)
        .learning_rate(config.learning_rate as f32)
        // A batch has no more rows than there are.
        .batch(if config.batch > 0 { config.batch } else { usize::MAX });
    set_given!(params, config: lambda as f32, gamma as f32, consistency as f32, crop as f32, noise as f32);
    set_given!(params, config: starts, pretrain_epochs, epochs);
    params.check().map_err(failure)
}

fn dec(config: &Config) -> Result<Dec> {
    let mut params = if config.method == IDEC { Dec::idec(config.k) } else { Dec::params(config.k) }
        .channels(config.channels.clone().unwrap_or_default())
        .hidden(config.hidden.clone())
        .latent(config.latent)
        .batch(config.batch)
        .learning_rate(config.learning_rate as f32);
    set_given!(params, config: reconstruction as f32, pretrain_epochs, epochs);
    params.check().map_err(failure)
}

/// `learned`, `uniform`, or shares with commas.
fn sizes_of(config: &Config) -> Result<GroupSizes> {
    match config.sizes.as_deref().unwrap_or("learned") {
        "learned" => Ok(GroupSizes::Learned),
        "uniform" => Ok(GroupSizes::Uniform),
        text => {
            let shares: std::result::Result<Vec<f32>, _> = text.split(',').map(|share| share.trim().parse()).collect();
            let message = || format!("'{text}' is neither learned, nor uniform, nor shares such as 0.5,0.3,0.2");
            shares.map(GroupSizes::Given).map_err(|_| Failure::bad_input("--sizes", message()))
        }
    }
}

/// Fits k-means or the Gaussian mixture.
///
/// # Errors
/// What the method does not take, and a device that fails.
pub fn baseline(method: &str, config: &Config, data: &Dataset, gpu: &Gpu) -> Result<Outcome> {
    let (began, key) = (Instant::now(), Key::new(config.seed));
    let shown = shown_rows(data.rows(), key.child(SHOWN));
    let sample = data.select_rows(&shown).map_err(|error| Failure::BadInput(error.to_string()))?;
    let (model, latent): (Box<dyn Fitted>, _) = if method == KMEANS {
        let mut params = KMeans::params(config.k);
        if config.method == method && config.batch > 0 {
            params = params.batch(config.batch);
        }
        if let Some(starts) = config.starts.filter(|_| config.method == method) {
            params = params.starts(starts);
        }
        let fitted = params.check().and_then(|method| method.fit(gpu, data, key)).map_err(failure)?;
        let latent = fitted.scaled(&sample);
        (Box::new(fitted), latent)
    } else {
        let mut params = GaussianMixture::params(config.k).covariance(match config.covariance {
            Some(Covariance::Full) => gmm::Covariance::Full,
            Some(Covariance::Diagonal) | None => gmm::Covariance::Diagonal,
        });
        if let Some(starts) = config.starts.filter(|_| config.method == method) {
            params = params.starts(starts);
        }
        let fitted = params.check().and_then(|method| method.fit(gpu, data, key)).map_err(failure)?;
        let latent = fitted.scaled(&sample);
        (Box::new(fitted), latent)
    };
    let (seconds, samples) = (began.elapsed().as_secs_f64(), data.rows() as f64);
    Ok(Outcome {
        probabilities: model.predict_proba(data).map_err(failure)?,
        latent: latent.map_err(failure)?,
        learned: model.group_proportions().map_err(failure)?,
        objectives: vec![model.objective()],
        model,
        shown,
        seconds,
        samples,
    })
}

/// Rows of a baseline's picture: enough for it, and bounded where the data is large.
const SHOWN_ROWS: usize = 20_000;
/// The child of the seed's key that chooses them.
const SHOWN: u64 = 0x7368_6f77;

/// All rows, or so many of them, chosen by the key, in order.
fn shown_rows(rows: usize, key: Key) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    if rows > SHOWN_ROWS {
        for at in 0..SHOWN_ROWS {
            order.swap(at, at + below(key.child(at as u64), rows - at));
        }
        order.truncate(SHOWN_ROWS);
        order.sort_unstable();
    }
    order
}
