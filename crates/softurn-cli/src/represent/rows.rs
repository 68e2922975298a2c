//! The rows of a run: which ones, how they are scaled, and what noise does to them.

use std::path::Path;

use ndarray::Array2;
use softurn::data::{self, Dataset, ImageShape, Labels};
use softurn::kernels::ops::random;
use softurn::{Gpu, Key};

use super::config::{BIT_PAIRS, Config, Framework, Scale, is_made, made};
use crate::failure::{Failure, Result};
use crate::run::{bad, load_rows, with_labels};
use crate::rundir::SCALING;
use crate::training::failure;

/// Rows of `--data bit-pairs`.
const PAIRS: usize = 800;

/// Rows as the model takes them, and what their columns were rescaled by, where they were.
///
/// # Errors
/// Bad input.
pub fn load(config: &Config) -> Result<(Dataset, Option<Vec<[f64; 2]>>)> {
    let data = read(config)?;
    if data.image().is_some() && config.scale.is_some() {
        return Err(Failure::bad_input("--scale", format!("{} holds images", data.name())));
    }
    let columns = match scale_of(config, &data) {
        Scale::None => None,
        Scale::Deviation => Some(data.deviations()),
        Scale::Maximum => Some(data.maxima()),
    };
    Ok((taken(config, &data, columns.as_deref())?, columns))
}

/// Other rows, rescaled by what those of the run in a folder were.
///
/// # Errors
/// Bad input.
pub fn load_like(config: &Config, run: &Config, folder: &Path) -> Result<Dataset> {
    let (data, columns) = (read(config)?, scaling(&folder.join(SCALING))?);
    if columns.is_none() && scale_of(run, &data) != Scale::None {
        let message = format!("{} holds no {SCALING}, by which its rows were scaled", folder.display());
        return Err(Failure::bad_input("--model", message));
    }
    taken(config, &data, columns.as_deref())
}

fn scale_of(config: &Config, data: &Dataset) -> Scale {
    let unscaled = data.image().is_some() || config.framework == Framework::Rbm || is_made(&config.data);
    config.scale.unwrap_or(if unscaled { Scale::None } else { Scale::Deviation })
}

fn read(config: &Config) -> Result<Dataset> {
    let data = match (made(&config.data), config.rows) {
        (Some(set), Some(rows)) => set.dataset().and_then(|data| data.take_rows(rows)).map_err(bad)?,
        (Some(set), None) => set.dataset().map_err(bad)?,
        (None, rows) if config.data == BIT_PAIRS => {
            data::bit_pairs(rows.unwrap_or(PAIRS), Key::new(config.seed)).map_err(bad)?
        }
        (None, rows) => load_rows(&config.data, config.label_column.as_deref(), rows, None)?,
    };
    chosen(with_labels(data, config.labels.as_deref())?, config)
}

/// Rescaled rows, as bits where there is a threshold.
fn taken(config: &Config, data: &Dataset, columns: Option<&[[f64; 2]]>) -> Result<Dataset> {
    let data = columns.map_or_else(|| data.clone(), |columns| data.rescaled(columns));
    match config.threshold {
        Some(threshold) => {
            let bits = data.features().mapv(|value| f32::from(u8::from(f64::from(value) > threshold)));
            remade(&data, bits, data.image())
        }
        None => Ok(data),
    }
}

/// [`SCALING`]: a line for each column.
pub fn written(columns: &[[f64; 2]]) -> Vec<u8> {
    let lines: String = columns.iter().map(|[less, over]| format!("{less},{over}\n")).collect();
    format!("less,over\n{lines}").into_bytes()
}

/// What [`written`] wrote, where a run has it.
fn scaling(path: &Path) -> Result<Option<Vec<[f64; 2]>>> {
    if !path.exists() {
        return Ok(None);
    }
    let bad = |error: csv::Error| Failure::bad_input("--model", format!("{}: {error}", path.display()));
    csv::Reader::from_path(path)
        .map_err(bad)?
        .into_deserialize()
        .map(|line| line.map_err(bad))
        .collect::<Result<_>>()
        .map(Some)
}

/// The rows of some classes, and no more than so many of each.
fn chosen(data: Dataset, config: &Config) -> Result<Dataset> {
    let flag = match (&config.classes, config.per_class) {
        (Some(_), _) => "--classes",
        (None, Some(_)) => "--per-class",
        (None, None) => return Ok(data),
    };
    let Some(labels) = data.labels() else {
        return Err(Failure::bad_input(flag, "there are no labels to tell the classes"));
    };
    let (names, mut counts) = (labels.names(), vec![0; labels.classes()]);
    let wanted = config.classes.as_deref().unwrap_or(names);
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        return Err(Failure::bad_input(flag, format!("'{unknown}' is none of {}", names.join(", "))));
    }
    let most = config.per_class.unwrap_or(usize::MAX);
    let mut kept = Vec::new();
    for (row, &class) in labels.ids().iter().enumerate() {
        let class = class as usize;
        if wanted.contains(&names[class]) && counts[class] < most {
            counts[class] += 1;
            kept.push(row);
        }
    }
    if kept.is_empty() {
        return Err(Failure::bad_input(flag, "no row is of these classes"));
    }
    let texts: Vec<String> = kept.iter().map(|&row| names[labels.ids()[row] as usize].clone()).collect();
    data.select_rows(&kept).and_then(|data| data.with_labels(Labels::from_texts(&texts))).map_err(bad)
}

/// Other values for the same rows, as images where they have a shape.
///
/// # Errors
/// Values that are not finite.
pub fn remade(data: &Dataset, values: Array2<f32>, image: Option<ImageShape>) -> Result<Dataset> {
    let made = match image {
        Some(shape) => Dataset::images(data.name(), values, shape),
        None => Dataset::table(data.name(), values),
    };
    let made = match data.labels() {
        Some(labels) => made.and_then(|made| made.with_labels(labels.clone())),
        None => made,
    };
    made.map_err(bad)
}

/// The same values, which k-means does not scale.
///
/// # Errors
/// None that an input could cause.
pub fn as_they_are(data: &Dataset) -> Result<Dataset> {
    if data.image().is_some() { Ok(data.clone()) } else { data.clone().into_embedding().map_err(bad) }
}

/// Rows with the noise of `--denoise`, where it is given.
///
/// # Errors
/// Those of the device.
pub fn with_noise(config: &Config, gpu: &Gpu, data: &Dataset, key: Key) -> Result<Option<Dataset>> {
    let Some(deviation) = config.denoise else { return Ok(None) };
    let shape = [data.rows(), data.cols()];
    let noise = random::normal(gpu, shape, key).and_then(|noise| noise.read());
    let noise = noise.map_err(|error| failure(error.into()))?;
    let noise = Array2::from_shape_fn((shape[0], shape[1]), |(i, j)| noise[i * shape[1] + j] * deviation as f32);
    // Pixels with noise are no pixels: some are negative.
    remade(data, data.features() + &noise, None).map(Some)
}

/// The clusters that rows begin in by `--label-start`, where it is given.
///
/// # Errors
/// Bad input.
pub fn start(config: &Config, data: &Dataset, key: Key) -> Result<Option<Vec<u32>>> {
    let Some(share) = config.label_start else { return Ok(None) };
    let flag = "--label-start";
    let Some(labels) = data.labels() else {
        return Err(Failure::bad_input(flag, "there are no labels to begin with"));
    };
    if labels.classes() > config.k {
        return Err(Failure::bad_input(flag, format!("{} classes for {} clusters", labels.classes(), config.k)));
    }
    let begins = |(&label, key): (&u32, Key)| {
        let [any, cluster] = key.split();
        if any.unit() < share { (cluster.unit() * config.k as f64) as u32 } else { label }
    };
    Ok(Some(labels.ids().iter().zip(key.split_forever()).map(begins).collect()))
}
