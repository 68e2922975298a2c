//! The report of models of label sets: how many labels rows have and are predicted to have, and how far probabilities hold.

use softurn::sparse::labels::Evaluation;

use super::Run;
use super::format::{seconds, thousands};
use super::parts::{self, figure, plural};

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub struct LabelsReport {
    /// The archive.
    pub data: String,
    /// Rows to learn from, and rows that are scored.
    pub rows: [usize; 2],
    /// Columns of a row.
    pub columns: usize,
    /// How many labels there are.
    pub n_labels: usize,
    /// The model in words.
    pub model: String,
    /// Scores of the rows that are set apart for that.
    pub evaluation: Evaluation,
    /// How it was found.
    pub run: Run,
}

/// The page as one string of HTML, styles, pictures and script included.
pub fn render(report: &LabelsReport) -> String {
    // Without the folder.
    let name = report.data.rsplit(['/', '\\']).next().unwrap_or(&report.data);
    let title = format!("{name}: sets of {}", plural(report.n_labels, "label"));
    let facts = [
        report.data.clone(),
        plural(report.rows[0], "row"),
        format!("{} scored", thousands(report.rows[1] as u64)),
        plural(report.columns, "column"),
        report.model.clone(),
        format!("seed {}", report.run.seed),
        report.run.adapter.clone(),
    ];
    let body =
        [parts::header(&title, &facts), scores(report), parts::training(&report.run), parts::how(&report.run)].concat();
    parts::page(&title, &body)
}

/// Headline figures.
fn scores(report: &LabelsReport) -> String {
    let e = &report.evaluation;
    let rate = format!("{} rows per second", thousands(report.run.samples_per_second.round() as u64));
    let mut figures = vec![
        figure("Micro-F1", &format!("{:.3}", e.sets.micro_f1), "over all rows and labels together"),
        figure("Macro-F1", &format!("{:.3}", e.sets.macro_f1), "mean over labels"),
        figure("Exact", &format!("{:.3}", e.sets.subset_accuracy), "of the rows have the right set"),
        figure("Count error", &format!("{:.2}", e.sets.count_error), "mean absolute error of the number of labels"),
    ];
    for (k, share) in &e.precision_at {
        let note =
            format!("of the {} right", if *k == 1 { "first label is".into() } else { format!("first {k} labels are") });
        figures.push(figure(&format!("Precision at {k}"), &format!("{share:.3}"), &note));
    }
    figures.push(figure("Training", &seconds(report.run.seconds), &rate));
    format!("<section id=\"scores\">\n<dl class=\"figures\">{}</dl>\n</section>\n", figures.concat())
}
