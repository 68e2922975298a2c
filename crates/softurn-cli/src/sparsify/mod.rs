//! `softurn sparsify`: sparse codes of rows, and the labels of rows that have several.

pub mod codes;
pub mod labels;

use crate::failure::{Failure, Result};
use crate::settings::flag;

/// Settings that suit some choices alone: their key, whether it is set, whether it suits, and what it is a setting of.
type Fit = (&'static str, bool, bool, &'static str);

/// Refuses settings that would have no effect.
fn check_fit(settings: &[Fit]) -> Result<()> {
    match settings.iter().find(|(_, set, suits, _)| *set && !suits) {
        Some((key, _, _, choice)) => Err(Failure::bad_input(flag(key), format!("is a setting of {choice}"))),
        None => Ok(()),
    }
}

/// Widths of hidden layers; a single 0 says that there are none.
fn hidden_widths(widths: &[usize]) -> Vec<usize> {
    if widths == [0] { Vec::new() } else { widths.to_vec() }
}
