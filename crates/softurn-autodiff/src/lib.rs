//! A tape of hand-written gradient rules over softurn kernels, with parameters and optimizers.
