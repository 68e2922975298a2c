//! The figures of one run of the program with `--json`.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The title of a column, and the name of its figure in a run's summary, or the way there (`/models/0/seconds`).
pub type Column = (&'static str, &'static str);

/// What tables of clusterings show.
pub const CLUSTERING: &[Column] = &[
    ("accuracy", "accuracy"),
    ("NMI", "nmi"),
    ("ARI", "ari"),
    ("sizes L1", "proportion_error"),
    ("seconds", "seconds"),
];

/// What tables of models of pairs show.
pub const DISENTANGLE: &[Column] = &[
    ("share", "share"),
    ("squared error", "squared_error"),
    ("shared part", "shared_accuracy"),
    ("independent part", "independent_accuracy"),
    ("DCI", "disentanglement"),
    ("MIG", "mig"),
    ("seconds", "seconds"),
];

/// What tables of sparse codes show.
pub const CODES: &[Column] =
    &[("squared error", "error"), ("active", "active"), ("probe", "probe_accuracy"), ("seconds", "seconds")];

/// What tables of codes of the dictionary toy show.
pub const TOY: &[Column] = &[
    ("count accuracy", "count_accuracy"),
    ("atom F1", "atom_f1"),
    ("exact set", "exact_set"),
    ("atom cosine", "atom_cosine"),
    ("seconds", "seconds"),
];

/// What tables of cluster-specific representations show: beside the model k-means, and one representation for all rows with k-means
/// on it.
pub const REPRESENT: &[Column] = &[
    ("ARI", "/models/0/scores/ari"),
    ("k-means", "/models/1/scores/ari"),
    ("one + k-means", "/models/2/scores/ari"),
    ("objective", "objective"),
    ("seconds an epoch", "/models/0/epoch_seconds"),
    ("of one", "/models/2/epoch_seconds"),
];

/// What tables of denoising show: the model, one representation as wide as that of a cluster, and one as wide as all of them.
pub const DENOISE: &[Column] = &[
    ("noisy", "noisy_error"),
    ("restored", "/models/0/denoising_error"),
    ("by one", "/models/2/denoising_error"),
    ("by one of k times the width", "/models/3/denoising_error"),
    ("parameters", "/models/0/parameters"),
    ("of one", "/models/2/parameters"),
    ("of the wide one", "/models/3/parameters"),
    ("seconds an epoch", "/models/0/epoch_seconds"),
    ("of one, too", "/models/2/epoch_seconds"),
];

/// What tables of label sets show.
pub const LABELS: &[Column] = &[
    ("micro-F1", "micro_f1"),
    ("macro-F1", "macro_f1"),
    ("subset accuracy", "subset_accuracy"),
    ("count MAE", "count_mae"),
    ("precision@1", "precision_at_1"),
    ("precision@3", "precision_at_3"),
    ("precision@5", "precision_at_5"),
    ("seconds", "seconds"),
];

/// `accuracy 0.970, NMI 0.930, ...`
pub fn in_words(columns: &[Column], summary: &Value) -> String {
    let cells = columns.iter().zip(figures(columns, summary)).map(|((t, _), value)| format!("{t} {}", cell(t, value)));
    cells.collect::<Vec<_>>().join(", ")
}

/// Reads the one object on a program's standard output.
pub fn parse(output: &str) -> Result<Value> {
    let object = output.find('{').context("the run printed no JSON object")?;
    serde_json::from_str(output[object..].trim()).context("the run printed no valid JSON object")
}

/// The figures of the columns, where the run reports them.
pub fn figures(columns: &[Column], summary: &Value) -> Vec<Option<f64>> {
    columns.iter().map(|(_, key)| number(summary, key)).collect()
}

/// Figures as cells of a table: three decimals, seconds with one.
pub fn cell(title: &str, value: Option<f64>) -> String {
    match value {
        Some(value) if title == "seconds" => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
        None => "-".to_owned(),
    }
}

/// A number of the summary itself or of one of its inner objects (`scores`), the outermost first; or that at the end of a way.
fn number(summary: &Value, key: &str) -> Option<f64> {
    if key.starts_with('/') {
        return summary.pointer(key).and_then(Value::as_f64);
    }
    let object = summary.as_object()?;
    object.get(key).and_then(Value::as_f64).or_else(|| object.values().find_map(|inner| number(inner, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_flat_or_under_scores() {
        let flat = parse("{\"accuracy\": 0.5, \"nmi\": 0.25, \"ari\": null, \"seconds\": 3}\n").unwrap();
        assert_eq!(figures(CLUSTERING, &flat), [Some(0.5), Some(0.25), None, None, Some(3.0)]);
        let nested = parse(
            "{\"seconds\": 2.5, \"proportion_error\": 0.75, \"scores\": {\"accuracy\": 0.5, \"nmi\": 0.25, \"ari\": 0.125}, \
             \"baselines\": [{\"scores\": {\"accuracy\": 0.9}}]}",
        );
        assert_eq!(figures(CLUSTERING, &nested.unwrap()), [Some(0.5), Some(0.25), Some(0.125), Some(0.75), Some(2.5)]);
    }

    #[test]
    fn figures_are_found_by_their_way() {
        let summary = parse("{\"models\": [{\"ari\": 0.5}, {\"scores\": {\"ari\": 0.25}}]}").unwrap();
        let columns = [("", "/models/0/ari"), ("", "/models/1/scores/ari"), ("", "/models/2/ari"), ("", "ari")];
        assert_eq!(figures(&columns, &summary), [Some(0.5), Some(0.25), None, None]);
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse("{\"accuracy\": ").is_err());
    }

    #[test]
    fn cells_show_the_digits_that_matter() {
        assert_eq!(cell("NMI", Some(0.87654)), "0.877");
        assert_eq!(cell("seconds", Some(12.34)), "12.3");
        assert_eq!(cell("ARI", None), "-");
    }
}
