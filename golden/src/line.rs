//! One row of the table: a quantity in one precision, over all cases of a file.

use std::fmt;

use anyhow::{Result, ensure};
use softurn_tests::{Mismatch, MismatchKind, Tolerance, Worst, compare, compare_f64};

use crate::case::Case;

/// What the golden data promise of f64; what is worse conditioned has its own bound beside its checker.
pub const F64_RELATIVE: f64 = 1e-10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The twin of an operation.
    F64,
    /// Its kernel.
    F32,
}

impl Precision {
    pub const BOTH: [Self; 2] = [Self::F64, Self::F32];

    fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
        }
    }

    /// That of a pair in the order of [`Self::BOTH`].
    pub fn of(self, tolerances: [Tolerance; 2]) -> Tolerance {
        let [f64, f32] = tolerances;
        match self {
            Self::F64 => f64,
            Self::F32 => f32,
        }
    }

    /// Half the distance from 1 to the next number: the error of one rounding.
    pub fn unit(self) -> f64 {
        match self {
            Self::F64 => f64::EPSILON / 2.0,
            Self::F32 => f64::from(f32::EPSILON) / 2.0,
        }
    }

    /// Above the smallest normal number: what lies below may be flushed to zero.
    pub fn floor(self) -> f64 {
        match self {
            Self::F64 => 1e-300,
            Self::F32 => 1e-37,
        }
    }
}

/// The errors of one quantity over the cases of a file. The default is a file without an operation.
#[derive(Default)]
pub struct Line {
    pub quantity: &'static str,
    /// `None` where softurn has no such operation.
    precision: Option<Precision>,
    compared: usize,
    pub failed: usize,
    /// Cases that were not compared, because this precision, or a sample, does not hold them.
    pub skipped: usize,
    absolute: f64,
    /// Over the values above the absolute part of their tolerance: below it a relative error says nothing.
    relative: f64,
    /// The value of the largest error over its tolerance, with its case.
    worst: Option<(String, Worst, Tolerance)>,
}

pub const CELLS: usize = 9;
pub const TITLE: [&str; CELLS] = [
    "quantity",
    "precision",
    "values",
    "cases skipped",
    "abs error",
    "rel error",
    "error/tolerance",
    "worst case",
    "result",
];
pub const NO_OPERATION: &str = "no operation yet";

impl Line {
    pub fn new(quantity: &'static str, precision: Precision) -> Self {
        Self { quantity, precision: Some(precision), ..Self::default() }
    }

    /// A quantity of the file that softurn does not compute.
    pub fn without_operation(quantity: &'static str) -> Self {
        Self { quantity, ..Self::default() }
    }

    /// Compares results with a field of their case, each within its own tolerance.
    ///
    /// # Errors
    /// When the field does not hold as many numbers.
    pub fn compare(
        &mut self,
        case: &Case,
        field: &str,
        got: &[f64],
        tolerance: impl Fn(usize) -> Tolerance,
    ) -> Result<()> {
        self.compare_with(case, got, &case.numbers(field)?, tolerance)
    }

    /// As [`Self::compare`], with numbers that were made of fields.
    ///
    /// # Errors
    /// As [`Self::compare`].
    pub fn compare_with(
        &mut self,
        case: &Case,
        got: &[f64],
        want: &[f64],
        tolerance: impl Fn(usize) -> Tolerance,
    ) -> Result<()> {
        let (n, length) = (want.len(), got.len());
        ensure!(n == length, "case {}: `{}` holds {n} numbers, not {length}", case.id, self.quantity);
        for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
            let tolerance = tolerance(index);
            let value = Worst { index, ..measure(self.precision, got, want, &tolerance) };
            self.compared += 1;
            self.failed += usize::from(!(value.error <= value.allowed));
            self.absolute = larger(self.absolute, value.error);
            if want.abs() > tolerance.abs && value.error != 0.0 {
                self.relative = larger(self.relative, value.error / want.abs());
            }
            if self.worst.as_ref().is_none_or(|worst| value.ratio() > worst.1.ratio()) {
                self.worst = Some((case.id.clone(), value, tolerance));
            }
        }
        Ok(())
    }

    /// Whether anything was compared.
    pub fn compared(&self) -> bool {
        self.compared > 0
    }

    pub fn result(&self) -> &'static str {
        match self {
            Self { precision: None, .. } => NO_OPERATION,
            Self { failed: 1.., .. } => "FAIL",
            Self { compared: 0, .. } => "none compared",
            _ => "ok",
        }
    }

    /// The row of the table.
    pub fn cells(&self) -> [String; CELLS] {
        let mut cells = [const { String::new() }; CELLS];
        (cells[0], cells[CELLS - 1]) = (self.quantity.to_owned(), self.result().to_owned());
        if let Some(precision) = self.precision {
            (cells[1], cells[2], cells[3]) =
                (precision.name().to_owned(), self.compared.to_string(), self.skipped.to_string());
        }
        if let Some((case, value, _)) = &self.worst {
            (cells[4], cells[5]) = (format!("{:.1e}", self.absolute), format!("{:.1e}", self.relative));
            (cells[6], cells[7]) = (format!("{:.1e}", value.ratio()), case.clone());
        }
        cells
    }
}

/// What failed.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = self.precision.map_or("", Precision::name);
        write!(f, "{} in {precision}: {} of {} values fail", self.quantity, self.failed, self.compared)?;
        let Some((case, Worst { index, got, want, allowed, .. }, Tolerance { why, .. })) = &self.worst else {
            return Ok(());
        };
        write!(f, "; worst is element {index} of case {case}: got {got:e}, want {want:e}, allowed {allowed:e} ({why})")
    }
}

/// The rules of the tests: infinities match exactly, and that of f32 stands for what f32 cannot hold.
fn measure(precision: Option<Precision>, got: f64, want: f64, tolerance: &Tolerance) -> Worst {
    let result = match precision {
        Some(Precision::F32) => compare("", "", &[got as f32], &[want], tolerance),
        _ => compare_f64("", "", &[got], &[want], tolerance),
    };
    result.unwrap_or_else(|Mismatch { kind, .. }| match *kind {
        MismatchKind::Elements { worst, .. } => worst,
        MismatchKind::Length { .. } | MismatchKind::Bits { .. } => unreachable!("one element, compared by value"),
    })
}

/// The maximum, where NaN is the largest of all.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
