//! A fitted model in a file: named tensors in the safetensors format, with the method and its settings as metadata.
//!
//! Metadata: `softurn.format` (1), `softurn.method` (its name) and `softurn.settings` (JSON). A model that is read back
//! has the same bits.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;
use softurn_autodiff::Parameters;

use crate::train::replace_file;
use crate::{Error, Result};

const FORMAT: &str = "1";
/// What the labels of fitted rows are called.
const LABELS: &str = "labels";

fn fail(path: &Path, message: impl ToString) -> Error {
    Error::ModelFile { path: path.to_owned(), message: message.to_string() }
}

/// Gathers what is to be saved.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    /// Numbers of a shape that fits them.
    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.tensors.push((name.into(), Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values).to_vec()));
    }

    /// Numbers in double precision, in one row.
    pub(crate) fn doubles(&mut self, name: &str, values: &[f64]) {
        self.tensors.push((name.into(), Dtype::F64, vec![values.len()], bytemuck::cast_slice(values).to_vec()));
    }

    /// Labels or counts.
    pub(crate) fn integers(&mut self, name: &str, values: &[u32]) {
        self.tensors.push((name.into(), Dtype::U32, vec![values.len()], bytemuck::cast_slice(values).to_vec()));
    }

    /// The labels of the rows that were fitted.
    pub(crate) fn labels(&mut self, labels: &[u32]) {
        self.integers(LABELS, labels);
    }

    /// All parameters, by their names.
    pub(crate) fn parameters(&mut self, parameters: &Parameters) -> Result<()> {
        for param in parameters.iter() {
            self.floats(param.name(), param.shape().dims(), &parameters.read(param)?);
        }
        Ok(())
    }

    /// Writes the file in the place of one that may be there.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when it cannot be written.
    pub(crate) fn write(self, path: &Path, method: &str, settings: &impl Serialize) -> Result<()> {
        let settings = serde_json::to_string(settings).map_err(|error| fail(path, error))?;
        let entries = [("format", FORMAT), ("method", method), ("settings", &settings)];
        let metadata: HashMap<String, String> =
            entries.map(|(key, value)| (format!("softurn.{key}"), value.to_owned())).into();
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, kind, shape, bytes) in &self.tensors {
            let view = TensorView::new(*kind, shape.clone(), bytes).map_err(|error| fail(path, error))?;
            views.push((name, view));
        }
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| fail(path, error))?;
        replace_file(path, &bytes).map_err(|error| fail(path, error))
    }
}

/// The name of the method that a file's model is of.
///
/// # Errors
/// [`Error::ModelFile`] when there is no such file, or it is no saved model.
pub(crate) fn method(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|error| fail(path, error))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| fail(path, error))?;
    let method = header.metadata().as_ref().and_then(|metadata| metadata.get("softurn.method").cloned());
    method.ok_or_else(|| fail(path, "it has no 'method'; is it a saved model?"))
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Reader {
    /// Reads a file and its settings.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when there is no such file, it is broken, or of another format or method.
    pub(crate) fn open<S: DeserializeOwned>(path: &Path, method: &str) -> Result<(Self, S)> {
        let bytes = fs::read(path).map_err(|error| fail(path, error))?;
        // Also checks that the tensors are all there.
        SafeTensors::deserialize(&bytes).map_err(|error| fail(path, error))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| fail(path, error))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let text = |key: &str| {
            let key = format!("softurn.{key}");
            metadata.get(&key).ok_or_else(|| fail(path, format!("it has no '{key}'; is it a saved model?")))
        };
        for (key, wanted) in [("format", FORMAT), ("method", method)] {
            let found = text(key)?;
            if found != wanted {
                return Err(fail(path, format!("its {key} is '{found}', not '{wanted}'")));
            }
        }
        let settings =
            serde_json::from_str(text("settings")?).map_err(|error| fail(path, format!("its settings: {error}")))?;
        Ok((Self { path: path.to_owned(), bytes }, settings))
    }

    /// An error about this file.
    pub(crate) fn fail(&self, message: impl ToString) -> Error {
        fail(&self.path, message)
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.bytes).is_ok_and(|tensors| tensors.tensor(name).is_ok())
    }

    fn tensor(&self, name: &str, kind: Dtype, shape: Option<&[usize]>) -> Result<Vec<u8>> {
        let tensors = SafeTensors::deserialize(&self.bytes).map_err(|error| self.fail(error))?;
        let view = tensors.tensor(name).map_err(|error| self.fail(error))?;
        let shape = shape.unwrap_or(view.shape());
        if view.dtype() != kind || view.shape() != shape {
            let found = format!("{:?} {:?}", view.dtype(), view.shape());
            return Err(self.fail(format!("'{name}' is {found}, not {kind:?} {shape:?}")));
        }
        Ok(view.data().to_vec())
    }

    /// The numbers of a tensor of a known shape.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.tensor(name, Dtype::F32, Some(shape))?))
    }

    /// So many numbers in double precision.
    pub(crate) fn doubles(&self, name: &str, count: usize) -> Result<Vec<f64>> {
        Ok(bytemuck::pod_collect_to_vec(&self.tensor(name, Dtype::F64, Some(&[count]))?))
    }

    /// The labels of the rows that were fitted, each less than `k`.
    pub(crate) fn labels(&self, k: usize) -> Result<Vec<u32>> {
        let labels = self.integers(LABELS)?;
        match labels.iter().find(|&&label| label as usize >= k) {
            Some(label) => Err(self.fail(format!("'labels' holds {label} for {k} groups"))),
            None => Ok(labels),
        }
    }

    /// Labels or counts, of whatever number.
    pub(crate) fn integers(&self, name: &str) -> Result<Vec<u32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.tensor(name, Dtype::U32, None)?))
    }

    /// Gives all parameters their values in the file.
    pub(crate) fn parameters(&self, parameters: &mut Parameters) -> Result<()> {
        let all: Vec<_> = parameters.iter().cloned().collect();
        for param in all {
            let values = self.floats(param.name(), param.shape().dims())?;
            parameters.set(&param, &values)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Writer};
    use crate::Result;

    #[test]
    fn what_is_read_is_what_was_written_and_other_files_are_refused_by_name() -> Result<()> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let mut writer = Writer::default();
        writer.floats("x", &[2, 2], &[0.1, -0.0, f32::MAX, 1e-40]);
        writer.integers("labels", &[3, u32::MAX, 0]);
        writer.write(&path, "magic", &vec![0.1f64, 1.0 / 3.0])?;
        let (reader, settings): (_, Vec<f64>) = Reader::open(&path, "magic")?;
        assert_eq!(settings, [0.1, 1.0 / 3.0]);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&reader.floats("x", &[2, 2])?), bits(&[0.1, -0.0, f32::MAX, 1e-40]));
        assert_eq!(reader.integers("labels")?, [3, u32::MAX, 0]);

        let says = |error: crate::Error, words: &[&str]| {
            let message = error.to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{message}: {words:?}");
        };
        says(reader.floats("x", &[4]).unwrap_err(), &["model.safetensors", "'x'", "[2, 2]", "[4]"]);
        says(reader.floats("labels", &[3]).unwrap_err(), &["'labels'"]);
        says(reader.integers("y").unwrap_err(), &["y"]);
        says(Reader::open::<Vec<f64>>(&path, "kmeans").unwrap_err(), &["magic", "kmeans"]);
        says(Reader::open::<String>(&path, "magic").unwrap_err(), &["settings"]);
        says(Reader::open::<String>(&folder.path().join("none"), "magic").unwrap_err(), &["none"]);
        let bytes = std::fs::read(&path).expect("bytes");
        for end in [0, 7, 40, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..end]).expect("written");
            says(Reader::open::<Vec<f64>>(&path, "magic").unwrap_err(), &["model.safetensors"]);
        }
        Ok(())
    }
}
