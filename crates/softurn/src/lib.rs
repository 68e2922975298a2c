//! Learn discrete structure by gradient descent on any GPU: how many elements belong to each group, which ones are
//! picked, which group each one belongs to.
//!
//! This crate is the one to name in `Cargo.toml`; it re-exports the others. Start with [`prelude`].
#![doc = include_str!("../README.md")]

pub use softurn_autodiff as autodiff;
pub use softurn_kernels as kernels;
pub use softurn_kernels::{Gpu, GpuConfig, Key, Plan, Shape, Tensor, available_adapters};
pub use softurn_models::{
    Error, Result, cluster_specific, clustering, data, distributions, metrics, neighbours, nn, sparse, train,
    weak_supervision,
};

/// What most programs need.
pub mod prelude {
    pub use softurn_autodiff::{Adam, Param, Parameters, Schedule, Tape, Var};
    pub use softurn_kernels::{Gpu, GpuConfig, Key, Shape, Tensor};
    pub use softurn_models::clustering::variational::{Prior, Variational};
    pub use softurn_models::distributions::{
        FisherHypergeometric, Kind, MultivariateFisherHypergeometric, OneHotCategoricalStraightThrough, PlackettLuce,
        RandomPartition, Relaxation, RelaxedCategorical, SubsetK, Temperature,
    };
    pub use softurn_models::{Error, Result};
}
