//! Criterion benches of softurn.
