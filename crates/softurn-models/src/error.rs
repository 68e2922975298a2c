//! The one error type of this crate, outside of reading data and of scoring.

use std::path::PathBuf;

/// The result of fitting or predicting.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting or an input that the model cannot take.
    #[error("{argument}: {message}")]
    Argument {
        /// The setting at fault.
        argument: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A kernel, or the device under it.
    #[error(transparent)]
    Kernel(#[from] softurn_kernels::Error),
    /// The tape, a parameter or an optimizer.
    #[error(transparent)]
    Autodiff(#[from] softurn_autodiff::Error),
    /// Data that a score is not defined for.
    #[error(transparent)]
    Metric(#[from] crate::metrics::MetricError),
    /// The loss is no longer a number.
    #[error("training diverged: the loss of phase '{phase}' is {loss} in epoch {epoch}; try a smaller learning rate")]
    Diverged {
        /// The phase.
        phase: &'static str,
        /// Counted from 1.
        epoch: usize,
        /// The mean loss of the epoch.
        loss: f64,
    },
    /// A checkpoint that cannot be continued.
    #[error("checkpoint {}: {message}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A checkpoint that cannot be written.
    #[error("writing checkpoint {}: {message}", path.display())]
    CheckpointWrite {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A saved model that cannot be read or written.
    #[error("model file {}: {message}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Training was asked to stop; the checkpoint holds everything up to here.
    #[error("interrupted in phase '{phase}' after epoch {epoch}")]
    Interrupted {
        /// The phase.
        phase: &'static str,
        /// Whole epochs done in that phase.
        epoch: usize,
    },
}

impl Error {
    pub(crate) fn argument(argument: &'static str, message: impl Into<String>) -> Self {
        Self::Argument { argument, message: message.into() }
    }
}
