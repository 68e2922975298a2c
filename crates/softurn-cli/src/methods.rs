//! The table of methods that `--method` accepts; adding a method adds one row.

/// One clustering method of the program.
#[derive(Debug)]
pub struct Method {
    /// The word after `--method`.
    pub name: &'static str,
    /// One line for the help text.
    pub summary: &'static str,
    /// Whether it trains in epochs, with a checkpoint and curves.
    pub trains: bool,
}

/// The method with settings of its own.
pub const ENTROPY: &str = "entropy";

/// The method of random partitions.
pub const PARTITION: &str = "partition";

/// All methods, the default first.
pub const METHODS: &[Method] = &[
    Method { name: "variational", summary: "Variational deep clustering with learned group sizes", trains: true },
    Method {
        name: ENTROPY,
        summary: "Entropy clustering: sure of each row, with learned or given group sizes",
        trains: true,
    },
    Method { name: PARTITION, summary: "Variational clustering by random partitions of batches", trains: true },
    Method { name: "kmeans", summary: "Baseline: k-means", trains: false },
    Method { name: "gmm", summary: "Baseline: Gaussian mixture with diagonal covariances", trains: false },
];

/// The names, in table order.
pub fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name)
}

/// Whether the method of this name trains in epochs.
pub fn trains(name: &str) -> bool {
    METHODS.iter().any(|method| method.name == name && method.trains)
}
