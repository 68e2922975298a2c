//! The table of methods that `--method` accepts; adding a method adds one row.

/// One clustering method of the program.
#[derive(Debug)]
pub struct Method {
    /// The word after `--method`.
    pub name: &'static str,
    /// One line for the help text.
    pub summary: &'static str,
}

/// The method with settings of its own.
pub const ENTROPY: &str = "entropy";

/// All methods, the default first.
pub const METHODS: &[Method] = &[
    Method { name: "variational", summary: "Variational deep clustering with learned group sizes" },
    Method { name: ENTROPY, summary: "Entropy clustering: sure of each row, with learned or given group sizes" },
    Method { name: "kmeans", summary: "Baseline: k-means" },
    Method { name: "gmm", summary: "Baseline: Gaussian mixture with diagonal covariances" },
];

/// The names, in table order.
pub fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name)
}
