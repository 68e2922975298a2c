//! The report of sparse codes: how many features rows have, what the features are, and how well rows come back.

use softurn::sparse::Evaluation;

use super::Run;
use super::format::{seconds, thousands};
use super::parts::{self, figure, plural};
use crate::sparsify::codes::ToyScores;

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub struct CodesReport {
    /// File or name of the rows.
    pub data: String,
    /// Rows of the fit, and rows that it did not see.
    pub rows: [usize; 2],
    /// Columns of a row.
    pub columns: usize,
    /// Number of features.
    pub size: usize,
    /// The most active features of a row.
    pub bound: usize,
    /// The code in words.
    pub model: String,
    /// Scores of the rows that the fit did not see.
    pub evaluation: Evaluation,
    /// Accuracy of linear probes on codes and on columns.
    pub probes: Option<[f64; 2]>,
    /// Scores against the true codes.
    pub toy: Option<ToyScores>,
    /// How it was found.
    pub run: Run,
}

/// The page as one string of HTML, styles, pictures and script included.
pub fn render(report: &CodesReport) -> String {
    // Without the folder.
    let name = report.data.rsplit(['/', '\\']).next().unwrap_or(&report.data);
    let title = format!("{name}: {}", report.model);
    let facts = [
        report.data.clone(),
        plural(report.rows[0], "row"),
        format!("{} held out", thousands(report.rows[1] as u64)),
        plural(report.columns, "column"),
        format!("seed {}", report.run.seed),
        report.run.adapter.clone(),
    ];
    let body =
        [parts::header(&title, &facts), scores(report), parts::training(&report.run), parts::how(&report.run)].concat();
    parts::page(&title, &body)
}

/// Headline figures.
fn scores(report: &CodesReport) -> String {
    let e = &report.evaluation;
    let rate = format!("{} rows per second", thousands(report.run.samples_per_second.round() as u64));
    let mut figures = vec![
        figure("Squared error", &format!("{:.3}", e.error), "sum over columns, mean over held-out rows"),
        figure(
            "Active",
            &format!("{:.2}", e.active),
            &format!("of {}, mean over rows", plural(report.size, "feature")),
        ),
    ];
    if let Some([codes, columns]) = report.probes {
        let note = format!("accuracy on codes; {columns:.3} on the columns themselves");
        figures.push(figure("Linear probe", &format!("{codes:.3}"), &note));
    }
    if let Some(toy) = &report.toy {
        figures.push(figure("Counts", &format!("{:.3}", toy.count_accuracy), "of the rows have the true one"));
        figures.push(figure("Atoms F1", &format!("{:.3}", toy.atom_f1), "of active atoms against the true ones"));
        figures.push(figure("Cosine", &format!("{:.3}", toy.atom_cosine), "of learned and true atoms"));
    }
    figures.push(figure("Training", &seconds(report.run.seconds), &rate));
    format!("<section id=\"scores\">\n<dl class=\"figures\">{}</dl>\n</section>\n", figures.concat())
}
