//! Learns which 8 of the 64 pixels of a handwritten digit say what digit it is: feature selection by gradient descent.
//!
//! Every pixel has a log weight. Each step draws 8 pixels for every image of a batch, by the weights; a classifier sees
//! those alone, and one loss trains both. The draws are zeros and ones, and their gradient is straight-through: that of
//! the exact marginals (`subset`), or that of relaxed choices (`sigmoid`). What each chose is then judged by a fresh
//! classifier on images that nothing was trained on, beside the 8 pixels that say most one by one, random ones, and all.
//!
//! ```sh
//! cargo run --release --example select_features -- --seed 1
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use softurn::data::digits;
use softurn::kernels::ops::gather;
use softurn::kernels::ops::matmul::Activation;
use softurn::nn::Mlp;
use softurn::prelude::{Adam, Gpu, GpuConfig, Key, Parameters, Schedule, Tape, Tensor, Var};
use softurn::train::batches::shuffled;

const PIXELS: usize = 64;
const WIDTH: usize = 8;
const CLASSES: usize = 10;
const CHOSEN: usize = 8;
const TRAINING: usize = 1500;
const BATCH: usize = 100;
const HIDDEN: usize = 64;
/// Grey levels that mutual information tells apart.
const BINS: usize = 8;
const RANDOM_CHOICES: usize = 3;
const CLASSIFIER_RATE: f32 = 1e-2;
/// Of the classifier that learns with the weights: every step shows it other pixels.
const NETWORK_RATE: f32 = 3e-3;
/// Of the log weights; at ten times this rate what they choose is little better than by mutual information.
const WEIGHT_RATE: f32 = 1e-2;
const TEMPERATURE: f32 = 1.0;

const USAGE: &str = "\
select_features [--steps N] [--seed N]

  --steps N  steps of each selection and of each classifier (1500)
  --seed N   of split, order, classifiers and draws (0)";

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Options {
    steps: usize,
    seed: u64,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self { steps: 1500, seed: 0 };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
            match word.as_str() {
                "--steps" => options.steps = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                _ => return Err(format!("{word} is no option").into()),
            }
        }
        if options.steps == 0 {
            return Err("--steps is 0".into());
        }
        Ok(options)
    }
}

/// Images less the mean image of the training part, and their labels.
struct Part {
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl Part {
    fn rows(&self) -> usize {
        self.labels.len()
    }

    /// These pixels of every image, `[rows, pixels.len()]`.
    fn pixels(&self, gpu: &Gpu, pixels: &[usize]) -> Outcome<Tensor> {
        let values: Vec<f32> =
            self.images.chunks_exact(PIXELS).flat_map(|image| pixels.iter().map(|&pixel| image[pixel])).collect();
        Ok(gpu.tensor(&values, [self.rows(), pixels.len()])?)
    }

    /// Labels as rows of zeros with a one, `[rows, 10]`.
    fn targets(&self, gpu: &Gpu) -> Outcome<Tensor> {
        let mut values = vec![0.0; self.rows() * CLASSES];
        for (row, &label) in self.labels.iter().enumerate() {
            values[row * CLASSES + label as usize] = 1.0;
        }
        Ok(gpu.tensor(&values, [self.rows(), CLASSES])?)
    }
}

/// 1,500 digits to train on and the other 297, both in random order.
fn split(key: Key) -> Outcome<[Part; 2]> {
    let data = digits();
    let labels = data.labels().ok_or("the digits have no labels")?.ids();
    let order = shuffled(data.rows(), data.rows(), key).concat();
    let [mut training, mut held_out] = [&order[..TRAINING], &order[TRAINING..]].map(|rows| Part {
        images: rows.iter().flat_map(|&row| data.features().row(row as usize).to_vec()).collect(),
        labels: rows.iter().map(|&row| labels[row as usize]).collect(),
    });
    let mut mean = [0.0; PIXELS];
    for image in training.images.chunks_exact(PIXELS) {
        mean.iter_mut().zip(image).for_each(|(mean, value)| *mean += value / TRAINING as f32);
    }
    for part in [&mut training, &mut held_out] {
        for image in part.images.chunks_exact_mut(PIXELS) {
            image.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
        }
    }
    Ok([training, held_out])
}

/// How draws choose pixels.
#[derive(Clone, Copy)]
enum Selection {
    /// Subsets by the products of their weights, drawn exactly, with the gradient of their marginals.
    Subset,
    /// The largest of log weights with Gumbel noise, with the gradient of a relaxed choice at this temperature.
    Sigmoid(f32),
}

struct Experiment<'a> {
    gpu: &'a Gpu,
    training: &'a Part,
    held_out: &'a Part,
    steps: usize,
}

impl Experiment<'_> {
    /// Calls `step` with the row numbers of each batch.
    fn batches(&self, key: Key, mut step: impl FnMut(&Tensor, Key) -> Outcome<()>) -> Outcome<()> {
        let mut left = self.steps;
        for key in key.split_forever() {
            let [order, draws] = key.split();
            for (rows, key) in shuffled(self.training.rows(), BATCH, order).iter().zip(draws.split_forever()).take(left)
            {
                step(&self.gpu.tensor(rows, [BATCH])?, key)?;
                left -= 1;
            }
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    fn rate(&self, initial: f32) -> Schedule {
        Schedule::Cosine { initial, last: 0.0, steps: self.steps as u32 }
    }

    /// The learned log weights of the pixels.
    fn select(&self, selection: Selection, key: Key) -> Outcome<Vec<f32>> {
        let [network_key, training_key] = key.split();
        let gpu = self.gpu;
        let every: Vec<usize> = (0..PIXELS).collect();
        let (images, targets) = (self.training.pixels(gpu, &every)?, self.training.targets(gpu)?);
        let mut network_params = Parameters::new(gpu);
        let widths = [PIXELS, HIDDEN, CLASSES];
        let network = Mlp::new(&mut network_params, "classifier", &widths, Activation::None, network_key)?;
        let mut weight_params = Parameters::new(gpu);
        let log_weights = weight_params.zeros("log_weights", [1, PIXELS])?;
        let mut network_adam = Adam::new(self.rate(NETWORK_RATE));
        let mut weight_adam = Adam::new(self.rate(WEIGHT_RATE));
        // The one row of weights, for every image of a batch: each gets a draw of its own.
        let first = gpu.tensor(&[0_u32; BATCH], [BATCH])?;
        self.batches(training_key, |rows, key| {
            let tape = Tape::new(gpu);
            let weights = tape.param(&weight_params, &log_weights)?.gather(&first)?;
            let mask = match selection {
                Selection::Subset => weights.subset_straight_through(CHOSEN, key)?,
                Selection::Sigmoid(temperature) => {
                    weights.sigmoid_top_k_straight_through(CHOSEN, temperature, Some(key))?
                }
            };
            let seen = (mask * &gather::forward(gpu, &images, rows)?)?;
            let loss = self.loss(&network.forward(&tape, &network_params, &seen, false)?, &targets, rows)?;
            let gradients = tape.backward(&loss)?;
            network_adam.step(&mut network_params, &gradients)?;
            weight_adam.step(&mut weight_params, &gradients)?;
            Ok(())
        })?;
        Ok(weight_params.read(&log_weights)?)
    }

    fn loss<'t>(&self, logits: &Var<'t>, targets: &Tensor, rows: &Tensor) -> Outcome<Var<'t>> {
        Ok(logits.cross_entropy(&gather::forward(self.gpu, targets, rows)?)?.mean()?)
    }

    /// The part of the held-out images that a fresh classifier names, which sees these pixels alone.
    fn accuracy(&self, pixels: &[usize], key: Key) -> Outcome<f32> {
        let [network_key, training_key] = key.split();
        let gpu = self.gpu;
        let (images, targets) = (self.training.pixels(gpu, pixels)?, self.training.targets(gpu)?);
        let mut params = Parameters::new(gpu);
        let widths = [pixels.len(), HIDDEN, CLASSES];
        let network = Mlp::new(&mut params, "classifier", &widths, Activation::None, network_key)?;
        let mut adam = Adam::new(self.rate(CLASSIFIER_RATE));
        self.batches(training_key, |rows, _| {
            let tape = Tape::new(gpu);
            let seen = tape.constant(&gather::forward(gpu, &images, rows)?);
            let loss = self.loss(&network.forward(&tape, &params, &seen, false)?, &targets, rows)?;
            adam.step(&mut params, &tape.backward(&loss)?)?;
            Ok(())
        })?;
        let tape = Tape::new(gpu);
        let seen = tape.constant(&self.held_out.pixels(gpu, pixels)?);
        let named = network.forward(&tape, &params, &seen, false)?.argmax()?.read_u32()?;
        let right = named.iter().zip(&self.held_out.labels).filter(|(named, label)| named == label).count();
        Ok(right as f32 / named.len() as f32)
    }
}

/// The mutual information of each pixel and the label, in nats, over the training part.
fn mutual_information(part: &Part) -> Vec<f64> {
    let rows = part.rows() as f64;
    (0..PIXELS)
        .map(|pixel| {
            let values: Vec<f32> = part.images.iter().skip(pixel).step_by(PIXELS).copied().collect();
            let darkest = values.iter().copied().fold(f32::INFINITY, f32::min);
            let mut joint = [[0.0; CLASSES]; BINS];
            for (value, &label) in values.iter().zip(&part.labels) {
                let bin = ((value - darkest) * BINS as f32 + 1e-4) as usize;
                joint[bin.min(BINS - 1)][label as usize] += 1.0 / rows;
            }
            let of_label: [f64; CLASSES] = std::array::from_fn(|label| joint.iter().map(|bin| bin[label]).sum());
            let mut sum = 0.0;
            for bin in &joint {
                let of_bin: f64 = bin.iter().sum();
                for (p, of_label) in bin.iter().zip(of_label).filter(|&(&p, _)| p > 0.0) {
                    sum += p * (p / (of_bin * of_label)).ln();
                }
            }
            sum
        })
        .collect()
}

/// The 8 pixels of the largest scores, the first of equals, in ascending order.
fn best<T: PartialOrd>(scores: &[T]) -> Vec<usize> {
    let mut pixels: Vec<usize> = (0..scores.len()).collect();
    pixels.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap_or(std::cmp::Ordering::Equal));
    pixels.truncate(CHOSEN);
    pixels.sort_unstable();
    pixels
}

/// How often each pixel is among 8 drawn by these log weights.
fn marginals(gpu: &Gpu, log_weights: &[f32]) -> Outcome<Vec<f32>> {
    let tape = Tape::new(gpu);
    let [marginals, _] = tape.constant(&gpu.tensor(log_weights, [1, PIXELS])?).subset_marginals(CHOSEN)?;
    Ok(marginals.read()?)
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
    let [split_key, subset_key, sigmoid_key, random_key, classifier_key] = Key::new(options.seed).split();
    let [training, held_out] = split(split_key)?;
    println!(
        "{}, seed {}: {} digits to train on, {} held out; {} steps of {BATCH} images for every selection and classifier",
        gpu.capabilities().name,
        options.seed,
        training.rows(),
        held_out.rows(),
        options.steps
    );
    let experiment = Experiment { gpu: &gpu, training: &training, held_out: &held_out, steps: options.steps };
    // One key for every classifier: what differs is the pixels.
    let accuracy = |pixels: &[usize]| experiment.accuracy(pixels, classifier_key);

    let mut choices = Vec::new();
    for (name, selection, key) in
        [("subset", Selection::Subset, subset_key), ("sigmoid", Selection::Sigmoid(TEMPERATURE), sigmoid_key)]
    {
        let began = Instant::now();
        let log_weights = experiment.select(selection, key)?;
        let seconds = began.elapsed().as_secs_f32();
        let pixels = best(&log_weights);
        if let Selection::Subset = selection {
            let marginals = marginals(&gpu, &log_weights)?;
            let mean = pixels.iter().map(|&pixel| marginals[pixel]).sum::<f32>() / CHOSEN as f32;
            println!("selection by {name}: {seconds:.1} s, mean marginal of its 8 pixels {mean:.2} (1 when decided)");
        } else {
            // The same order: a larger weight is drawn more often.
            println!("selection by {name}: {seconds:.1} s, its 8 pixels are those of the largest weights");
        }
        choices.push((name, pixels));
    }
    choices.push(("information", best(&mutual_information(&training))));

    println!("\nchosen pixels (#), of all (.)\n");
    println!("{}", choices.iter().map(|(name, _)| format!("{name:14}")).collect::<String>().trim_end());
    for row in 0..PIXELS / WIDTH {
        let line: String = choices
            .iter()
            .map(|(_, pixels)| {
                let marks: String = (row * WIDTH..(row + 1) * WIDTH)
                    .map(|pixel| if pixels.contains(&pixel) { '#' } else { '.' })
                    .collect();
                format!("{marks:14}")
            })
            .collect();
        println!("{}", line.trim_end());
    }

    println!("\naccuracy on held-out digits of a fresh classifier that sees");
    for ((_, pixels), what) in choices.iter().zip([
        "the 8 pixels learned with exact subsets",
        "the 8 pixels learned with relaxed choices by sigmoids",
        "the 8 pixels of largest mutual information with the label",
    ]) {
        println!("{:6.3}  {what}", accuracy(pixels)?);
    }
    let mut sum = 0.0;
    for key in random_key.split_forever().take(RANDOM_CHOICES) {
        let order = shuffled(PIXELS, PIXELS, key).concat();
        let pixels: Vec<usize> = order[..CHOSEN].iter().map(|&pixel| pixel as usize).collect();
        sum += accuracy(&pixels)?;
    }
    println!("{:6.3}  8 random pixels (mean of {RANDOM_CHOICES} choices)", sum / RANDOM_CHOICES as f32);
    let every: Vec<usize> = (0..PIXELS).collect();
    println!("{:6.3}  all {PIXELS} pixels", accuracy(&every)?);
    println!("\n{:.1} s in all", started.elapsed().as_secs_f32());
    Ok(())
}
