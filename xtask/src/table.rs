//! Plain tables: the first column to the left, figures to the right; and the JSON lines that they are made of.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The figures that a program printed, an object a line.
pub fn lines(output: &str) -> Result<Vec<Value>> {
    output.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no figures: {line}"))).collect()
}

/// A number of an object, if it has one.
pub fn number(figure: &Value, key: &str) -> Option<f64> {
    figure.get(key).and_then(Value::as_f64)
}

/// Three digits.
pub fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// Renders rows, the first of which is the title, with aligned columns.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let widths = widths(rows);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            line += &if i == 0 { format!("{cell:width$}") } else { format!("  {cell:>width$}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The same rows in Markdown.
pub fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if i == 0 {
            text += &format!("| --- |{}\n", " ---: |".repeat(row.len() - 1));
        }
    }
    text
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max();
    (0..columns).map(|i| width(i).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows: Vec<Vec<String>> =
            [["method", "±"], ["k-means", "0.79"]].iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(aligned(&rows), "method      ±\nk-means  0.79\n");
        assert_eq!(markdown(&rows), "| method | ± |\n| --- | ---: |\n| k-means | 0.79 |\n");
    }
}
