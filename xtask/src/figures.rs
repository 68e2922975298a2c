//! The figures of one run of `softurn cluster --json`.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Titles of the figures that every table shows.
pub const TITLES: [&str; 5] = ["accuracy", "NMI", "ARI", "sizes L1", "seconds"];

/// Reads the one object on a program's standard output.
pub fn parse(output: &str) -> Result<Value> {
    let object = output.find('{').context("the run printed no JSON object")?;
    serde_json::from_str(output[object..].trim()).context("the run printed no valid JSON object")
}

/// The figures under [`TITLES`], where the run reports them.
pub fn figures(summary: &Value) -> [Option<f64>; TITLES.len()] {
    TITLES.map(|title| match title {
        "sizes L1" => number(summary, "proportion_error"),
        title => number(summary, &title.to_lowercase()),
    })
}

/// Figures as cells of a table: three decimals, seconds with one.
pub fn cell(title: &str, value: Option<f64>) -> String {
    match value {
        Some(value) if title == "seconds" => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
        None => "-".to_owned(),
    }
}

/// A number of the summary itself or of one of its inner objects (`scores`), the outermost first.
fn number(summary: &Value, key: &str) -> Option<f64> {
    let object = summary.as_object()?;
    object.get(key).and_then(Value::as_f64).or_else(|| object.values().find_map(|inner| number(inner, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_flat_or_under_scores() {
        let flat = parse("{\"accuracy\": 0.5, \"nmi\": 0.25, \"ari\": null, \"seconds\": 3}\n").unwrap();
        assert_eq!(figures(&flat), [Some(0.5), Some(0.25), None, None, Some(3.0)]);
        let nested = parse(
            "{\"seconds\": 2.5, \"proportion_error\": 0.75, \"scores\": {\"accuracy\": 0.5, \"nmi\": 0.25, \"ari\": 0.125}, \
             \"baselines\": [{\"scores\": {\"accuracy\": 0.9}}]}",
        );
        assert_eq!(figures(&nested.unwrap()), [Some(0.5), Some(0.25), Some(0.125), Some(0.75), Some(2.5)]);
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
