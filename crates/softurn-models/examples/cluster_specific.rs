//! Figures of cluster-specific representations, a line each; nothing is chosen by labels. One of
//! `cluster_specific lines [SEEDS]`: autoencoders on clusters along lines, the best of ten starts by its objective;
//! `cluster_specific penguins [SEEDS]`: autoencoders on penguins beside k-means, and their denoising;
//! `cluster_specific cost`: processor time of a step on 1,000 rows of 784 columns, of heads for 5 clusters beside one autoencoder;
//! `cluster_specific images IMAGES LABELS [SEEDS [EPOCHS]]`: the same on the first 200 images of classes 0 to 4 of idx files.

use std::error::Error;
use std::time::Instant;

use ndarray::Array2;
use softurn_kernels::ops::random;
use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};
use softurn_models::cluster_specific::{Autoencoder, ClusterSpecific};
use softurn_models::clustering::kmeans::KMeans;
use softurn_models::data::{self, Dataset, LineClusters};
use softurn_models::metrics::adjusted_rand_index;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| args.get(at).map_or(Ok(default), |arg| arg.parse());
    let gpu = Gpu::new(GpuConfig::default())?;
    match args.first().map(String::as_str) {
        Some("lines") => lines(&gpu, number(1, 1)?),
        Some("penguins") => real(&gpu, &data::penguins().over_maxima(), number(1, 5)?, 200),
        Some("cost") => cost(&gpu),
        Some("images") => {
            let [images, labels] = [1, 2].map(|at| args.get(at).ok_or("the paths of images and labels are missing"));
            let all = data::load(images?, None)?.with_labels(data::load_labels(labels?)?)?;
            let mut left = [200; 5];
            let kept: Vec<usize> = (0..all.rows())
                .filter(|&row| match left.get_mut(truth(&all)[row] as usize) {
                    Some(left) if *left > 0 => {
                        *left -= 1;
                        true
                    }
                    _ => false,
                })
                .collect();
            real(&gpu, &all.select_rows(&kept)?, number(3, 5)?, number(4, 200)?)
        }
        _ => Err("expected lines, penguins, cost or images".into()),
    }
}

fn truth(data: &Dataset) -> &[u32] {
    data.labels().map_or(&[], |labels| labels.ids())
}

fn rand_index(data: &Dataset, labels: &[u32]) -> Result<f64> {
    Ok(adjusted_rand_index(labels, truth(data))?)
}

fn classes(data: &Dataset) -> usize {
    data.labels().map_or(0, |labels| labels.classes().min(5))
}

fn tensor(gpu: &Gpu, x: &Array2<f32>) -> Result<Tensor> {
    Ok(gpu.tensor(&x.iter().copied().collect::<Vec<f32>>(), [x.nrows(), x.ncols()])?)
}

/// The rand index of k-means on points.
fn k_means(gpu: &Gpu, data: &Dataset, points: &Array2<f32>, key: Key) -> Result<f64> {
    let fitted = KMeans::params(classes(data)).check()?.fit_points(gpu, &tensor(gpu, points)?, key)?;
    rand_index(data, fitted.labels())
}

/// What is compared: a name, whether each cluster has a head, and the autoencoder.
fn autoencoders(k: usize) -> [(&'static str, bool, Autoencoder); 6] {
    [
        ("AE1", false, Autoencoder::new([1]).centred(false).penalty(0.0)),
        ("AE2", false, Autoencoder::new([2, 1]).centred(false).penalty(0.0)),
        ("AE3", false, Autoencoder::new([2, k]).centred(false).penalty(0.0)),
        ("TAE1", true, Autoencoder::new([1])),
        ("TAE2", true, Autoencoder::new([2, 1])),
        ("PTAE", true, Autoencoder::new([2, 1]).shared(1)),
    ]
}

fn lines(gpu: &Gpu, seeds: usize) -> Result<()> {
    for set in LineClusters::ALL {
        let data = set.dataset()?;
        let k = classes(&data);
        println!("{} k-means {:.4}", set.name(), k_means(gpu, &data, data.features(), Key::new(0))?);
        for seed in 0..seeds as u64 {
            for (name, own, framework) in autoencoders(k) {
                let method = ClusterSpecific::params(if own { k } else { 1 }, framework).starts(10).check()?;
                let began = Instant::now();
                let (fitted, objectives) = method.fit_starts(gpu, &data, Key::new(seed))?;
                let index = match own {
                    true => rand_index(&data, fitted.labels())?,
                    false => k_means(gpu, &data, &fitted.encode(&data)?.code, Key::new(seed))?,
                };
                let (least, most) = objectives.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
                let seconds = began.elapsed().as_secs_f64();
                println!(
                    "{} {name} seed {seed}: rand index {index:.4}, objectives {least:.4} to {most:.4}, {seconds:.1} s",
                    set.name()
                );
            }
        }
    }
    Ok(())
}

fn real(gpu: &Gpu, data: &Dataset, seeds: usize, epochs: usize) -> Result<()> {
    let k = classes(data);
    for rate in [1e-3f32, 1e-2, 0.1] {
        for (name, own, framework) in autoencoders(k) {
            let heads = if own { k } else { 1 };
            for seed in 0..seeds as u64 {
                let params = ClusterSpecific::params(heads, framework.clone()).learning_rate(rate).epochs(epochs);
                let (key, began) = (Key::new(seed), Instant::now());
                let fitted = params.clone().check()?.fit(gpu, data, key)?;
                let seconds = began.elapsed().as_secs_f64();
                let index = match own {
                    true => rand_index(data, fitted.labels())?,
                    false => k_means(gpu, data, &fitted.encode(data)?.code, key)?,
                };
                let noise = random::normal(gpu, [data.rows(), data.cols()], key.child(7))?.read()?;
                let noise = Array2::from_shape_vec((data.rows(), data.cols()), noise)?.mapv(|noise| 0.1 * noise);
                let noisy = Dataset::table("noisy", noise + data.features())?;
                let framework = framework.clone().noise(0.1);
                let method = ClusterSpecific::params(heads, framework).learning_rate(rate).epochs(epochs).check()?;
                let error = method.fit(gpu, data, key)?.denoising_error(&noisy, data)?;
                let parameters: usize = ["encoder.0", "encoder.1", "decoder.0", "decoder.1"]
                    .iter()
                    .filter_map(|name| fitted.parameters().get(name))
                    .map(|param| param.shape().len())
                    .sum();
                println!(
                    "{name} rate {rate} seed {seed}: rand index {index:.4}, objective {:.6}, denoised {error:.6}, \
                     {parameters} parameters, {seconds:.1} s",
                    fitted.objective()
                );
            }
        }
    }
    for seed in 0..seeds as u64 {
        println!("k-means seed {seed}: rand index {:.4}", k_means(gpu, data, data.features(), Key::new(seed))?);
    }
    Ok(())
}

/// Seconds of processor time so far (Linux counts them in hundredths).
fn processor() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn cost(gpu: &Gpu) -> Result<()> {
    // What a step costs does not depend on the values.
    let values = Array2::from_shape_fn((1000, 784), |(row, column)| ((row * 31 + column * 17) % 97) as f32 / 97.0);
    let (data, epochs) = (Dataset::table("rows", values)?, 150);
    for widths in [vec![2, 1], vec![128, 8]] {
        let whole = Autoencoder::new(widths.clone());
        let cases = [
            ("one autoencoder", 1, whole.clone(), 1),
            ("own heads on a shared trunk, no choice", 5, whole.clone().shared(1), epochs + 1),
            ("own heads on a shared trunk, a choice every 10 steps", 5, whole.clone().shared(1), 10),
            ("own heads on a shared trunk, a choice every step", 5, whole.clone().shared(1), 1),
            ("own heads, no choice", 5, whole.clone(), epochs + 1),
            ("own heads, a choice every step", 5, whole, 1),
        ];
        // The least of several rounds in turns: other work on the machine only adds.
        let mut steps = [f64::INFINITY; 6];
        for _ in 0..3 {
            for ((_, k, framework, every), step) in cases.iter().zip(&mut steps) {
                let params = ClusterSpecific::params(*k, framework.clone()).steps_per_assignment(*every);
                let seconds = |epochs: usize| -> Result<f64> {
                    let method = params.clone().learning_rate(1e-3).epochs(epochs).check()?;
                    let began = processor()?;
                    method.fit(gpu, &data, Key::new(0))?;
                    Ok(processor()? - began)
                };
                // The difference leaves out what a fit costs once.
                let once = seconds(1)?;
                *step = step.min((seconds(epochs + 1)? - once) / epochs as f64);
            }
        }
        for ((name, ..), step) in cases.iter().zip(steps) {
            println!("{widths:?}, {name}: {:.2} ms a step, {:.2} times one autoencoder", 1e3 * step, step / steps[0]);
        }
    }
    Ok(())
}
