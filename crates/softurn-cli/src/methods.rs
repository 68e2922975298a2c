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

/// Entropy clustering.
pub const ENTROPY: &str = "entropy";
/// Deep embedded clustering.
pub const DEC: &str = "dec";
/// Deep embedded clustering that goes on reconstructing.
pub const IDEC: &str = "idec";
/// k-means.
pub const KMEANS: &str = "kmeans";
/// The Gaussian mixture.
pub const GMM: &str = "gmm";

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
    Method { name: DEC, summary: "Baseline: deep embedded clustering (Xie et al. 2016)", trains: true },
    Method { name: IDEC, summary: "Baseline: dec that goes on reconstructing (Guo et al. 2017)", trains: true },
    Method { name: KMEANS, summary: "Baseline: k-means, of all rows at once or by mini-batches", trains: false },
    Method { name: GMM, summary: "Baseline: Gaussian mixture with diagonal or full covariances", trains: false },
];

/// The names, in table order.
pub fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name)
}

/// Whether the method of this name trains in epochs.
pub fn trains(name: &str) -> bool {
    METHODS.iter().any(|method| method.name == name && method.trains)
}
