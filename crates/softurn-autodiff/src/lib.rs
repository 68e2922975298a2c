//! A tape of hand-written gradient rules over softurn kernels, with parameters and optimizers.
//!
//! A [`Tape`] records operations on [`Var`]s; [`Tape::backward`] returns [`Gradients`]; [`Parameters`] hold what is
//! trained, and [`Adam`] changes it. Operations run when they are recorded; shapes are run-time values.
//!
//! ```
//! use softurn_autodiff::{Parameters, Tape};
//! use softurn_kernels::{Gpu, GpuConfig};
//!
//! let gpu = Gpu::new(GpuConfig::default())?;
//! let mut parameters = Parameters::new(&gpu);
//! let centre = parameters.zeros("centre", [2])?;
//! let points = gpu.tensor(&[1.0, 2.0, 3.0, 4.0], [2, 2])?;
//!
//! let tape = Tape::new(&gpu);
//! let loss = (tape.constant(&points) - tape.param(&parameters, &centre)?)?.square()?.mean()?;
//! let gradients = tape.backward(&loss)?;
//! assert_eq!(gradients.param(&centre).unwrap().read()?, [-2.0, -3.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Adding an operation
//!
//! A [`Rule`] holds what the forward saved and turns gradients of outputs into gradients of inputs;
//! [`Tape::record`] puts it on the tape. The rules of this crate are made the same way. [`check_gradients`] compares
//! a rule with central differences.

mod check;
mod error;
mod ops;
mod optim;
mod params;
mod reshape;
mod straight_through;
mod tape;
mod var;

pub use check::check_gradients;
pub use error::{Error, Result};
pub use ops::FisherHypergeometricDraw;
pub use optim::{Adam, Schedule};
pub use params::{Param, ParameterState, Parameters};
pub use tape::{Gradients, Rule, Tape};
pub use var::Var;
