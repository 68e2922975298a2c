//! The run directory: created whole or not at all, and every file in it replaced whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::settings::Configuration;

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// One JSON object per epoch; the same bits in every run of the same configuration and adapter.
pub const METRICS: &str = "metrics.jsonl";
/// Wall times, apart from the metrics because no two runs share them.
pub const TIMING: &str = "timing.jsonl";
/// Parameters, moments and method state.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// The fitted model, for `softurn predict`.
pub const MODEL: &str = "model.safetensors";
/// One line per row of the data.
pub const ASSIGNMENTS: &str = "assignments.csv";
/// Pairs of rows, and what share of their factors the model takes them to share.
pub const PAIRS: &str = "pairs.csv";
/// What its head makes of each row.
pub const EMBEDDINGS: &str = "embeddings.csv";
/// What the columns of the data were rescaled by: less the first number, over the second.
pub const SCALING: &str = "scaling.csv";
/// The active features of each row.
pub const CODES: &str = "codes.csv";
/// Predicted and true labels of each row that was scored.
pub const LABELS: &str = "labels.csv";
/// The page for people.
pub const REPORT: &str = "report.html";

/// Checks that `--out` is free. Writes nothing, so it can come before the data is read.
pub fn check_free(out: &Path) -> Result<()> {
    match out.symlink_metadata() {
        Ok(_) => Err(Failure::bad_input(
            "--out",
            format!("{} already exists; choose another directory, or --resume to continue it", out.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::bad_input("--out", format!("{}: {error}", out.display()))),
    }
}

/// Checks that `--out` holds a run to resume, and returns the path of its configuration.
pub fn check_resumable(out: &Path) -> Result<PathBuf> {
    for name in [CONFIG, CHECKPOINT] {
        if !out.join(name).is_file() {
            return Err(Failure::bad_input("--resume", format!("{} holds no {name}", out.display())));
        }
    }
    Ok(out.join(CONFIG))
}

/// An existing run directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Creates `out` with its configuration. Call it when all input has been validated.
    pub fn create(out: &Path, config: &impl Configuration) -> Result<Self> {
        check_free(out)?;
        let out = std::path::absolute(out).with_context(|| out.display().to_string())?;
        let parent = out.parent().unwrap_or(Path::new("/"));
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let create = || -> io::Result<()> {
            fs::create_dir_all(parent)?;
            let temporary = tempfile::Builder::new().prefix(&format!(".{name}.")).tempdir_in(parent)?;
            replace(&temporary.path().join(CONFIG), config.to_toml().as_bytes())?;
            // tempfile makes private folders; a result is an ordinary one.
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755))?;
            }
            fs::rename(temporary.path(), &out)?;
            // Its place is taken by the run directory: nothing is left to delete.
            let _ = temporary.keep();
            sync_folder(parent)
        };
        create().map_err(|error| Failure::bad_input("--out", format!("{}: {error}", out.display())))?;
        Ok(RunDir { path: out })
    }

    /// Opens a directory that [`check_resumable`] accepted.
    pub fn open(out: &Path) -> Result<Self> {
        check_resumable(out)?;
        Ok(RunDir { path: std::path::absolute(out).with_context(|| out.display().to_string())? })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces a file: temporary file, sync, rename.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.file(name);
        Ok(replace(&path, bytes).with_context(|| format!("writing {}", path.display()))?)
    }

    /// Appends one line of JSON to [`METRICS`] or [`TIMING`].
    pub fn append(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.file(name);
        let append = || -> anyhow::Result<()> {
            let mut line = serde_json::to_vec(value)?;
            line.push(b'\n');
            // One write call per line, so that a killed run leaves at most its last line torn.
            OpenOptions::new().create(true).append(true).open(&path)?.write_all(&line)?;
            Ok(())
        };
        Ok(append().with_context(|| format!("writing {}", path.display()))?)
    }

    /// Cuts a JSON-lines file back to what `keep` accepts, from the first line on; a torn last line goes too.
    pub fn cut_back(&self, name: &str, keep: impl Fn(&Value) -> bool) -> Result<()> {
        let text = match fs::read_to_string(self.file(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text.with_context(|| format!("reading {}", self.file(name).display()))?,
        };
        let kept: String = text
            .split_inclusive('\n')
            .take_while(|line| line.ends_with('\n') && serde_json::from_str(line).is_ok_and(|value| keep(&value)))
            .collect();
        if kept.len() == text.len() { Ok(()) } else { self.write(name, kept.as_bytes()) }
    }

    /// Writes [`ASSIGNMENTS`]: row, cluster, a value of that name such as its probability, and the true label's name where there are
    /// labels.
    pub fn write_assignments(
        &self,
        clusters: &[u32],
        (name, values): (&str, &[f32]),
        labels: Option<&[String]>,
    ) -> Result<()> {
        let table = || -> anyhow::Result<Vec<u8>> {
            let mut csv = csv::Writer::from_writer(Vec::new());
            let mut header = vec!["row", "cluster", name];
            header.extend(labels.map(|_| "label"));
            csv.write_record(header)?;
            for (row, (cluster, value)) in clusters.iter().zip(values).enumerate() {
                let mut record = vec![row.to_string(), cluster.to_string(), value.to_string()];
                record.extend(labels.map(|labels| labels[row].clone()));
                csv.write_record(record)?;
            }
            Ok(csv.into_inner()?)
        };
        self.write(ASSIGNMENTS, &table()?)
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        temporary.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    sync_folder(folder)
}

/// Makes a rename durable; only Unix lets a folder be opened for that.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
