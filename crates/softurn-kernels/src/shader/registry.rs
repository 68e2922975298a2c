//! The WGSL files, compiled into the crate.

macro_rules! shader {
    ($name:literal) => {
        ($name, include_str!(concat!("../../shaders/", $name, ".wgsl")))
    };
}

/// One file per operation: name and source.
pub const SHADERS: &[(&str, &str)] = &[
    shader!("augment"),
    shader!("bernoulli_loss"),
    shader!("cross_entropy"),
    shader!("entmax"),
    shader!("plackett_luce"),
    shader!("label_loss"),
    shader!("self_label"),
    shader!("squared_error"),
    shader!("gaussian_mixture"),
    shader!("reduce"),
    shader!("binary"),
    shader!("log_sum_exp"),
    shader!("softmax"),
    shader!("gaussian"),
    shader!("gumbel_softmax"),
    shader!("gather"),
    shader!("grouped_matmul"),
    shader!("one_hot"),
    shader!("adam"),
    shader!("fisher_hypergeometric"),
    shader!("matmul"),
    shader!("random"),
    shader!("top_k"),
    shader!("sigmoid_top_k"),
    shader!("subset"),
    shader!("successive_top_k"),
    shader!("unary"),
    shader!("nested_subset"),
    shader!("relaxed_sort"),
    shader!("blocks"),
    shader!("conv"),
    shader!("sprites"),
];

/// The importable files.
pub const SHARED: &[(&str, &str)] = &[
    shader!("shared/activation"),
    shader!("shared/angle"),
    shader!("shared/fisher_law"),
    shader!("shared/fisher_tables"),
    shader!("shared/fours"),
    shader!("shared/online"),
    shader!("shared/index"),
    shader!("shared/math"),
    shader!("shared/random"),
    shader!("shared/reduce"),
    shader!("shared/score"),
    shader!("shared/scores"),
];

/// The source of `NAME` or `shared/NAME`.
pub(super) fn source(name: &str) -> Option<&'static str> {
    SHADERS.iter().chain(SHARED).find(|(candidate, _)| *candidate == name).map(|&(_, source)| source)
}
