//! How many factors do two views share? A model learns it from pairs of pictures alone.
//!
//! The pictures are sprites of five factors (shape, size, angle, column, row), drawn on the device. The pairs of a run share so many of
//! them, which ones differs from pair to pair, and the model is told neither. It says what share of its latent dimensions
//! both views have in common; the truth is `shared / 5`.
//!
//! ```sh
//! cargo run --release --example shared_factors -- --shared 3 --model hypergeometric --steps 1500
//! ```

use std::error::Error;
use std::process::ExitCode;

use ndarray::Array2;
use softurn::data::{Factor, FactorImages, ImageShape, Pairs};
use softurn::kernels::ops::sprites;
use softurn::train::{Event, Session};
use softurn::weak_supervision::{Model, WeakSupervision};
use softurn::{Gpu, GpuConfig, Key};

const SIDE: usize = 32;
/// Every so many classes of each factor of the op are taken: 3 × 3 × 8 × 8 × 8 pictures.
const STRIDES: [usize; 5] = [1, 2, 5, 4, 4];

const USAGE: &str = "\
shared_factors [--shared N] [--model NAME] [--steps N] [--seed N]

  --shared N    factors that the views of a pair share, 0 to 4 (3)
  --model NAME  label, ada, hypergeometric or partition (hypergeometric)
  --steps N     of training, 64 pairs each (500)
  --seed N      of weights, pairs and draws (0)";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The pictures of a part of the grid, as a data set that is kept in bytes.
fn pictures(gpu: &Gpu) -> Outcome<FactorImages> {
    let sizes: Vec<usize> = sprites::SIZES.iter().zip(STRIDES).map(|(size, stride)| size.div_ceil(stride)).collect();
    let count = sizes.iter().product();
    let class = |row: usize, factor: usize| {
        let after: usize = sizes[factor + 1..].iter().product();
        (row / after % sizes[factor]) as u32
    };
    let classes = Array2::from_shape_fn((count, 5), |(row, factor)| class(row, factor));
    let mut pixels = Vec::with_capacity(count * SIDE * SIDE);
    for rows in (0..count).collect::<Vec<_>>().chunks(1024) {
        let factors: Vec<u32> = rows
            .iter()
            .flat_map(|&row| (0..5).map(move |f| (row, f)))
            .map(|(row, f)| class(row, f) * STRIDES[f] as u32)
            .collect();
        let drawn = sprites::forward(gpu, &gpu.tensor(&factors, [rows.len(), 5])?, SIDE)?;
        pixels.extend(drawn.read()?.iter().map(|pixel| (255.0 * pixel).round() as u8));
    }
    let named = sprites::FACTORS.iter().zip(&sizes).map(|(name, &size)| Factor { name: (*name).into(), size });
    let shape = ImageShape { height: SIDE, width: SIDE, channels: 1 };
    Ok(FactorImages::new("sprites", pixels, shape, named.collect(), classes)?)
}

fn run(words: &[String]) -> Outcome<()> {
    let (mut shared, mut model, mut steps, mut seed) = (3, Model::HypergeometricVae, 500, 0);
    for pair in words.chunks(2) {
        let [flag, value] = pair else { return Err(format!("{} needs a value", pair[0]).into()) };
        match flag.as_str() {
            "--shared" => shared = value.parse()?,
            "--steps" => steps = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--model" => {
                model = match value.as_str() {
                    "label" => Model::LabelVae,
                    "ada" => Model::AdaVae,
                    "hypergeometric" => Model::HypergeometricVae,
                    "partition" => Model::PartitionVae,
                    _ => {
                        return Err(format!("--model: {value} is none of label, ada, hypergeometric, partition").into());
                    }
                }
            }
            _ => return Err(format!("{flag} is unknown").into()),
        }
    }
    let gpu = Gpu::new(GpuConfig::default())?;
    let images = pictures(&gpu)?;
    println!("{} pictures on {}", images.n_images(), gpu.capabilities());
    let method = WeakSupervision::params(model, shared).steps(steps).learning_rate(1e-3).check()?;
    let [key, pairs_key] = Key::new(seed).split();
    let mut observe = |event: &Event| {
        if let Event::Epoch { step, losses, seconds, .. } = event {
            let of = |name: &str| losses.iter().find(|(part, _)| *part == name).map_or(f64::NAN, |(_, value)| *value);
            println!("step {step:>5}: loss {:.1}, shared dimensions {:.2}, {seconds:.1} s", of("loss"), of("shared"));
        }
    };
    let mut session = Session { observer: Some(&mut observe), ..Session::default() };
    let fitted = method.fit_with(&gpu, &images, key, &mut session)?;
    let pairs = Pairs::new(&images, shared)?.sample(1000, pairs_key);
    let shares = fitted.shared_share(&images, &pairs)?;
    let (truth, n) = (shared as f64 / images.factors().len() as f64, shares.len() as f64);
    let mean = shares.iter().sum::<f64>() / n;
    let error = shares.iter().map(|share| (share - truth).powi(2)).sum::<f64>() / n;
    println!("share of shared dimensions {mean:.3}, of shared factors {truth:.3}; mean squared error {error:.4}");
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
