//! `softurn predict`: the groups of new rows, by a model that `softurn cluster` saved.

use std::fmt::Write as _;
use std::io;

use anyhow::Context;
use softurn::{Error, clustering};

use crate::args::{PredictArgs, RowsArgs};
use crate::failure::{Failure, Result};
use crate::run::{assign, load_rows, open};
use crate::rundir::MODEL;
use crate::training::failure;

/// Writes group and probability of each row, and says where.
///
/// # Errors
/// Bad input, and a device that fails.
pub fn predict(args: &PredictArgs) -> Result<String> {
    match args.out.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::bad_input("--out", format!("{}: {error}", args.out.display()))),
        Ok(_) => return Err(Failure::bad_input("--out", format!("{} already exists", args.out.display()))),
    }
    let path = if args.model.is_dir() { args.model.join(MODEL) } else { args.model.clone() };
    let RowsArgs { data, label_column, rows, adapter } = &args.rows;
    // The model knows what its columns are.
    let data = load_rows(data, label_column.as_deref(), *rows, None)?;
    let gpu = open(adapter.as_deref())?;
    let bad_file = |error: Error| match error {
        Error::ModelFile { .. } => Failure::bad_input("--model", error),
        other => failure(other),
    };
    let model = clustering::load(&gpu, &path).map_err(bad_file)?;
    let (groups, probabilities) = assign(&model.predict_proba(&data).map_err(failure)?);
    let mut text = String::from("row,cluster,probability\n");
    for (row, (group, probability)) in groups.iter().zip(&probabilities).enumerate() {
        let _ = writeln!(text, "{row},{group},{probability}");
    }
    std::fs::write(&args.out, text).with_context(|| args.out.display().to_string())?;
    Ok(format!("{} rows of {}: {}", data.rows(), data.name(), args.out.display()))
}
