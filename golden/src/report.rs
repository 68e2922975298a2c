//! Walks the files of a folder and lays out what their checkers found.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use softurn_kernels::Gpu;

use crate::SCHEMAS;
use crate::case::File;
use crate::line::{CELLS, Line, NO_OPERATION, TITLE};

/// The lines of each file, or why it could not be compared.
pub struct Report {
    files: Vec<(String, Result<Vec<Line>>)>,
}

/// The golden files of a folder, by name.
///
/// # Errors
/// When the folder cannot be listed or holds none.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    ensure!(!files.is_empty(), "no *.json in {}", dir.display());
    files.sort();
    Ok(files)
}

/// Checks every file; one that cannot be read does not stop the others.
pub fn check(gpu: &Gpu, files: &[PathBuf]) -> Report {
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let check = |path: &PathBuf| (name(path), check_file(gpu, path).with_context(|| path.display().to_string()));
    Report { files: files.iter().map(check).collect() }
}

fn check_file(gpu: &Gpu, path: &Path) -> Result<Vec<Line>> {
    let File { schema, cases } = File::read(path)?;
    match SCHEMAS.iter().find(|(name, _)| *name == schema) {
        Some((_, check)) => check(gpu, &cases),
        None => bail!("unknown schema `{schema}`"),
    }
}

impl Report {
    /// Whether every file could be read, and no value lies outside its tolerance.
    pub fn agrees(&self) -> bool {
        self.files.iter().all(|(_, lines)| lines.as_ref().is_ok_and(|lines| lines.iter().all(|line| line.failed == 0)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || self.files.iter().flat_map(|(file, lines)| lines.iter().flatten().map(move |line| (file, line)));
        let errors: Vec<_> =
            self.files.iter().filter_map(|(file, lines)| Some((file, lines.as_ref().err()?))).collect();

        let mut rows = vec![("file", TITLE.map(str::to_owned))];
        rows.extend(lines().map(|(file, line)| (file.as_str(), line.cells())));
        let widths: [usize; CELLS] = std::array::from_fn(|i| rows.iter().map(|row| row.1[i].len()).max().unwrap_or(0));
        let first = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
        for (file, cells) in &rows {
            let mut text = format!("{file:first$}");
            for (cell, width) in cells.iter().zip(widths) {
                text += &format!("  {cell:>width$}");
            }
            writeln!(f, "{text}")?;
        }
        writeln!(f)?;
        for (file, line) in lines().filter(|(_, line)| line.failed > 0) {
            writeln!(f, "{file}, {line}")?;
        }
        for (_, error) in &errors {
            writeln!(f, "error: {error:#}")?;
        }
        let count = |result: &str| lines().filter(|(_, line)| line.result() == result).count();
        let whole = lines().filter(|(_, line)| line.quantity.is_empty()).count();
        writeln!(
            f,
            "quantities: {} ok, {} failed, {} {NO_OPERATION}; files: {}, {} in error, {whole} {NO_OPERATION}",
            count("ok"),
            count("FAIL"),
            count(NO_OPERATION) - whole,
            self.files.len(),
            errors.len()
        )
    }
}
