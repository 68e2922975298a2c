//! Sparse representations with a learned, bounded number of active features.

pub mod labels;
