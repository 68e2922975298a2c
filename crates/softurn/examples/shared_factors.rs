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

use softurn::data::sprites_grid;
use softurn::train::{Event, Session};
use softurn::weak_supervision::{Model, WeakSupervision};
use softurn::{Gpu, GpuConfig, Key};

/// Sides of a picture in pixels.
const SIDE: usize = 32;

const USAGE: &str = "\
shared_factors [--shared N] [--model NAME] [--steps N] [--seed N]

  --shared N    factors that the views of a pair share, 0 to 4 (3)
  --model NAME  label, ada, hypergeometric or partition (hypergeometric)
  --steps N     of training, 64 pairs each (500)
  --seed N      of weights, pairs and draws (0)";

type Outcome<T> = Result<T, Box<dyn Error>>;

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
    let images = sprites_grid(SIDE)?;
    println!("{} pictures on {}", images.n_images(), gpu.capabilities());
    let method = WeakSupervision::params(model, shared).steps(steps).learning_rate(1e-3).check()?;
    let [key, evaluation_key] = Key::new(seed).split();
    let mut observe = |event: &Event| {
        if let Event::Epoch { step, losses, seconds, .. } = event {
            let of = |name: &str| losses.iter().find(|(part, _)| *part == name).map_or(f64::NAN, |(_, value)| *value);
            println!("step {step:>5}: loss {:.1}, shared dimensions {:.2}, {seconds:.1} s", of("loss"), of("shared"));
        }
    };
    let mut session = Session { observer: Some(&mut observe), ..Session::default() };
    let fitted = method.fit_with(&gpu, &images, key, &mut session)?;
    let found = fitted.evaluate(&images, shared, evaluation_key)?;
    let (share, truth) = (found.share, found.true_share);
    println!(
        "share of shared dimensions {share:.3}, of shared factors {truth:.3}; mean squared error {:.4}",
        found.squared_error
    );
    let show = |score: Option<f64>| score.map_or("-".into(), |score| format!("{score:.2}"));
    for factor in &found.factors {
        let scores = [factor.shared, factor.independent].map(show);
        println!("{:<12} known from the shared part {:>5}, from the other {:>5}", factor.name, scores[0], scores[1]);
    }
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
