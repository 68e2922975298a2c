//! Numeric test harness of softurn: tolerances, comparisons, test inputs, central differences, statistics and the
//! mutation table; depends on none of softurn's crates.
//!
//! A comparison here is written so that doubt fails: NaN where a number was wanted, a missing element, an infinity of
//! the wrong sign, a test without samples and a mutation that no longer applies are all failures.

mod compare;
mod gradient;
mod inputs;
mod mutation;
mod statistics;

pub use compare::{
    Mismatch, MismatchKind, Tolerance, Worst, assert_close, assert_close_f64, assert_same_bits, compare, compare_f64,
    is_nan, same_bits,
};
pub use gradient::{assert_gradient, central_difference, check_gradient};
pub use inputs::{Inputs, SIZES, SMALL_SIZES, special_rows};
pub use mutation::{Mutant, MutationReport, Outcome};
pub use statistics::{benjamini_hochberg, chi_square_p, discrete_ks_p, discrete_ks_statistic, ks_p, ks_statistic};
