//! `softurn sparsify`: sparse codes of rows, and the labels of rows that have several.

pub mod codes;
pub mod labels;
