//! Learns how much groups weigh from counts alone: the minimal experiment of Sutter et al., "Learning group importance using
//! the differentiable hypergeometric distribution" (ICLR 2023), in the configuration of its released code, on exact data.
//!
//! Each of 1,000 observations says how many of 180 draws fell to each of three groups of 200, whose weights are 1, w and 1.
//! `log ω` is learned by the squared distance of an observation from a draw under `log ω`, whose gradient is
//! straight-through. The distance does not fall below `2 Σ Var(x)`: observation and draw are independent.
//!
//! ```sh
//! cargo run --release --example learn_group_weights -- --weight 10 --seed 1
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use softurn::kernels::ops::binary::{self, Binary};
use softurn::kernels::ops::fisher_hypergeometric::{Law, Order, Urn};
use softurn::prelude::{
    Adam, Gpu, GpuConfig, Key, MultivariateFisherHypergeometric, Param, Parameters, Schedule, Tape, Temperature,
    Tensor, Var,
};
use softurn::train::batches::shuffled;

const GROUPS: usize = 3;
const SIZES: [u32; GROUPS] = [200; GROUPS];
const DRAWS: u32 = 180;
const TRAINING: usize = 800;
const VALIDATION: usize = 200;

const USAGE: &str = "\
learn_group_weights [--weight W] [--law LAW] [--batch N] [--epochs N] [--seed N] [--by-likelihood]

  --weight W       weight of the second group; those of the others are 1 (5)
  --law LAW        what the weights are learned with; the data are exact (exact)
                     exact    Fisher's law
                     merged   that of the paper, groups one by one in a random order, as its released layer does
                     natural  the same in the order of the groups
  --batch N        observations per step (1)
  --epochs N       walks over the 800 training observations (20)
  --seed N         of data, order and draws (0)
  --by-likelihood  learn by -log P of the observations instead of by draws";

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Clone, Copy)]
enum Learner {
    Exact,
    Merged,
    Natural,
}

impl FromStr for Learner {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "exact" => Ok(Self::Exact),
            "merged" => Ok(Self::Merged),
            "natural" => Ok(Self::Natural),
            _ => Err(format!("{name:?} is no law")),
        }
    }
}

struct Options {
    weight: f32,
    learner: Learner,
    batch: usize,
    epochs: usize,
    seed: u64,
    by_likelihood: bool,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options =
            Self { weight: 5.0, learner: Learner::Exact, batch: 1, epochs: 20, seed: 0, by_likelihood: false };
        while let Some(word) = words.next() {
            if word == "--by-likelihood" {
                options.by_likelihood = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
            match word.as_str() {
                "--weight" => options.weight = value.parse()?,
                "--law" => options.learner = value.parse()?,
                "--batch" => options.batch = value.parse()?,
                "--epochs" => options.epochs = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                _ => return Err(format!("{word} is no option").into()),
            }
        }
        if !(1..=TRAINING).contains(&options.batch) {
            return Err(format!("--batch is not in 1..={TRAINING}").into());
        }
        Ok(options)
    }
}

/// Observations `[rows, 3]` from the exact law, and the losses that true weights leave: `2 Σ Var(x)`, and the entropy.
fn observations(gpu: &Gpu, urn: &Urn, weight: f32, key: Key) -> Outcome<(Vec<f32>, [f32; 2])> {
    let tape = Tape::new(gpu);
    let log_weights = tape.constant(&gpu.tensor(&[0.0, weight.ln(), 0.0], [1, GROUPS])?);
    let law = MultivariateFisherHypergeometric::with_urn(log_weights, urn)?;
    let distance = 2.0 * law.variance()?.read()?.iter().sum::<f32>();
    Ok((law.sample(TRAINING + VALIDATION, key)?.read()?, [distance, law.entropy()?.item()?]))
}

struct Experiment<'a> {
    options: &'a Options,
    urn: &'a Urn,
    params: Parameters,
    log_omega: Param,
}

impl Experiment<'_> {
    /// The mean loss of observations `[rows, 3]`.
    fn loss<'t>(&self, tape: &'t Tape, observed: &Tensor, key: Key) -> Outcome<Var<'t>> {
        let rows = observed.shape().rows_cols().0;
        let [order, noise] = key.split();
        // A random order is one for every row, as the paper's batches of one have it; the exact law is made once.
        let (law, law_rows) = match self.options.learner {
            Learner::Exact => (Law::Exact, 1),
            Learner::Merged => (Law::Merged(Order::Random(order)), rows),
            Learner::Natural => (Law::Merged(Order::Natural), 1),
        };
        let log_omega = tape.param(&self.params, &self.log_omega)?;
        let law = MultivariateFisherHypergeometric::with_batch(log_omega, self.urn, &law, law_rows)?;
        if self.options.by_likelihood {
            return Ok((-law.log_prob(observed)?)?.mean()?);
        }
        let draws = law.rsample_rows(rows, noise, Temperature::new(0.5)?)?;
        Ok(((draws - observed)?.square()?.sum()? / rows as f32)?)
    }

    /// `softmax(log ω)`
    fn shares(&self) -> Outcome<Vec<f32>> {
        let odds: Vec<f32> = self.params.read(&self.log_omega)?.iter().map(|l| l.exp()).collect();
        let sum: f32 = odds.iter().sum();
        Ok(odds.iter().map(|odds| odds / sum).collect())
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Options::read(words.into_iter()).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error} (--help lists the options)");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let started = Instant::now();
    let gpu = Gpu::new(GpuConfig::default())?;
    let urn = Urn::new(&gpu, &SIZES, DRAWS)?;
    let [data_key, training_key] = Key::new(options.seed).split();
    let (data, floors) = observations(&gpu, &urn, options.weight, data_key)?;
    let floor = floors[usize::from(options.by_likelihood)];
    let (training, validation) = data.split_at(TRAINING * GROUPS);
    let validation = gpu.tensor(validation, [VALIDATION, GROUPS])?;
    let target = [1.0, options.weight, 1.0].map(|w| w / (2.0 + options.weight));

    let mut params = Parameters::new(&gpu);
    let log_omega = params.zeros("log_omega", [1, GROUPS])?;
    let mut experiment = Experiment { options, urn: &urn, params, log_omega };
    let steps = TRAINING / options.batch;
    let mut adam = Adam::new(Schedule::Exponential { initial: 1e-3, factor: 0.99, every: steps as u32 });
    println!(
        "{}, seed {}, target {:.4} {:.4} {:.4}",
        gpu.capabilities().name,
        options.seed,
        target[0],
        target[1],
        target[2]
    );
    println!("epoch  training  validation   floor  softmax(log omega)     mse_w");
    for (epoch, key) in training_key.split_forever().take(options.epochs).enumerate() {
        let [order_key, draws_key, validation_key] = key.split();
        let mut sum = gpu.zeros([1])?;
        for (rows, key) in shuffled(TRAINING, options.batch, order_key).iter().zip(draws_key.split_forever()) {
            let rows: Vec<f32> =
                rows.iter().flat_map(|&row| &training[row as usize * GROUPS..][..GROUPS]).copied().collect();
            let observed = gpu.tensor(&rows, [options.batch, GROUPS])?;
            let tape = Tape::new(&gpu);
            let loss = experiment.loss(&tape, &observed, key)?;
            adam.step(&mut experiment.params, &tape.backward(&loss)?)?;
            // On the device: a loss that is read makes every step wait.
            sum = binary::forward(&gpu, Binary::Add, &sum, &loss.value().reshape([1])?)?;
        }
        let tape = Tape::new(&gpu);
        let validation = experiment.loss(&tape, &validation, validation_key)?.item()?;
        let shares = experiment.shares()?;
        let errors = shares.iter().zip(target).map(|(share, target)| (share - target).powi(2));
        let mse = errors.sum::<f32>() / GROUPS as f32;
        println!(
            "{:5} {:9.3} {validation:11.3} {floor:7.3}  {:.4} {:.4} {:.4}   {mse:9.2e}",
            epoch + 1,
            sum.item()? / steps as f32,
            shares[0],
            shares[1],
            shares[2],
        );
    }
    let seconds = started.elapsed().as_secs_f32();
    println!("{seconds:.1} s, {:.2} ms a step", 1e3 * seconds / (options.epochs * steps).max(1) as f32);
    Ok(())
}
