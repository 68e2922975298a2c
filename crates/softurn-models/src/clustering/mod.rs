//! Clustering: one folder per method; params, then `check()`, then `fit()`, then a fitted type.

pub mod dec;
pub mod entropy;
mod features;
mod fitted;
pub mod gmm;
pub mod kmeans;
pub mod partition;
mod saved;
pub mod selection;
mod tally;
pub mod variational;

pub use fitted::{Fitted, load};
