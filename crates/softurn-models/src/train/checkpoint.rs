//! `checkpoint.safetensors`: parameters with their moments, and where training stands.
//!
//! Written to a temporary file, synced and renamed: a kill at any moment leaves a whole checkpoint, old or new.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use softurn_autodiff::{ParameterState, Parameters};

use crate::{Error, Result};

const FORMAT: &str = "1";

/// Where training stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The phase in progress.
    pub phase: usize,
    /// Whole epochs done in it.
    pub epoch: usize,
    /// Steps since training began.
    pub step: u64,
    /// The key of the run.
    pub key: u64,
}

/// Writes the checkpoint.
pub(super) fn save(path: &Path, fingerprint: &str, parameters: &Parameters, progress: &Progress) -> Result<()> {
    let fail = |message: String| Error::CheckpointWrite { path: path.to_owned(), message };
    let state = parameters.state()?;
    let mut views = Vec::new();
    for ParameterState { name, shape, values: value, first_moment: first, second_moment: second } in &state {
        for (prefix, values) in [("value", value), ("first", first), ("second", second)] {
            let view = TensorView::new(Dtype::F32, shape.dims().to_vec(), bytemuck::cast_slice(values));
            views.push((format!("{prefix}.{name}"), view.map_err(|error| fail(error.to_string()))?));
        }
    }
    let metadata: HashMap<String, String> = [
        ("softurn.format", FORMAT.to_owned()),
        ("softurn.configuration", fingerprint.to_owned()),
        ("softurn.phase", progress.phase.to_string()),
        ("softurn.epoch", progress.epoch.to_string()),
        ("softurn.step", progress.step.to_string()),
        ("softurn.key", progress.key.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| fail(error.to_string()))?;
    replace_file(path, &bytes).map_err(|error| fail(error.to_string()))
}

/// Writes a file next to its place and then moves it there, so that whatever stops it leaves the old one or the new one.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("safetensors.new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Reads the checkpoint into parameters of the same names and shapes.
pub(super) fn load(path: &Path, fingerprint: &str, parameters: &mut Parameters) -> Result<Progress> {
    let fail = |message: String| Error::Checkpoint { path: path.to_owned(), message };
    let bytes = fs::read(path).map_err(|error| fail(error.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| fail(error.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let text = |key: &str| metadata.get(key).ok_or_else(|| fail(format!("it has no '{key}'")));
    let number = |key: &str| text(key)?.parse::<u64>().map_err(|error| fail(format!("'{key}': {error}")));
    let format = text("softurn.format")?;
    if format != FORMAT {
        return Err(fail(format!("its format is {format}, this program reads {FORMAT}")));
    }
    if text("softurn.configuration")? != fingerprint {
        return Err(fail("it was made with another configuration".into()));
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| fail(error.to_string()))?;
    let names: Vec<String> = parameters.iter().map(|param| param.name().to_owned()).collect();
    let mut state = Vec::with_capacity(names.len());
    for name in names {
        let read = |prefix: &str| -> Result<(Vec<usize>, Vec<f32>)> {
            let view = tensors.tensor(&format!("{prefix}.{name}")).map_err(|error| fail(error.to_string()))?;
            if view.dtype() != Dtype::F32 {
                return Err(fail(format!("'{prefix}.{name}' does not hold floats")));
            }
            Ok((view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())))
        };
        let (shape, value) = read("value")?;
        let (first, second) = (read("first")?.1, read("second")?.1);
        state.push(ParameterState {
            name,
            shape: shape.into(),
            values: value,
            first_moment: first,
            second_moment: second,
        });
    }
    parameters.load_state(&state).map_err(|error| fail(error.to_string()))?;
    Ok(Progress {
        phase: number("softurn.phase")? as usize,
        epoch: number("softurn.epoch")? as usize,
        step: number("softurn.step")?,
        key: number("softurn.key")?,
    })
}
