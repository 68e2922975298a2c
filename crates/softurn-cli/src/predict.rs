//! `softurn predict`: what a saved model of `softurn cluster` or `softurn represent` says of new rows.

use std::fmt::Write as _;
use std::io;

use anyhow::Context;
use softurn::clustering;
use softurn::data::Dataset;

use crate::args::{PredictArgs, RowsArgs};
use crate::failure::{Failure, Result};
use crate::represent;
use crate::run::{assign, load_rows, of_model, open};
use crate::rundir::MODEL;
use crate::training::failure;

/// Writes group and probability of each row, or cluster and representation, and says where.
///
/// # Errors
/// Bad input, and a device that fails.
pub fn predict(args: &PredictArgs) -> Result<String> {
    match args.out.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::bad_input("--out", format!("{}: {error}", args.out.display()))),
        Ok(_) => return Err(Failure::bad_input("--out", format!("{} already exists", args.out.display()))),
    }
    let (table, data) = match represent::predict(&args.model, &args.rows)? {
        Some(made) => made,
        None => grouped(args)?,
    };
    std::fs::write(&args.out, table).with_context(|| args.out.display().to_string())?;
    Ok(format!("{} rows of {}: {}", data.rows(), data.name(), args.out.display()))
}

/// Group and probability of each row, by a model of `softurn cluster`.
fn grouped(args: &PredictArgs) -> Result<(Vec<u8>, Dataset)> {
    let path = if args.model.is_dir() { args.model.join(MODEL) } else { args.model.clone() };
    let RowsArgs { data, label_column, rows, adapter } = &args.rows;
    // The model knows what its columns are.
    let data = load_rows(data, label_column.as_deref(), *rows, None)?;
    let gpu = open(adapter.as_deref())?;
    let model = clustering::load(&gpu, &path).map_err(of_model)?;
    let (groups, probabilities) = assign(&model.predict_proba(&data).map_err(failure)?);
    let mut text = String::from("row,cluster,probability\n");
    for (row, (group, probability)) in groups.iter().zip(&probabilities).enumerate() {
        let _ = writeln!(text, "{row},{group},{probability}");
    }
    Ok((text.into_bytes(), data))
}
