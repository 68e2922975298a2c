//! Clustering: one folder per method; params, then `check()`, then `fit()`, then a fitted type.

mod contrast;
pub mod dec;
pub mod entropy;
mod features;
mod fitted;
pub mod gmm;
pub mod kmeans;
mod network;
pub mod partition;
pub mod selection;
mod start;
mod tally;
pub mod variational;

pub use fitted::{Fitted, load};
pub(crate) use network::{countable, fits};
pub use start::Start;
