//! Distributions, losses, data sets, metrics and training loops of softurn.
