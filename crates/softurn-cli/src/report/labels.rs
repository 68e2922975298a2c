//! The report of models of label sets: how many labels rows have and are predicted to have, and how far probabilities hold.

use softurn::sparse::labels::Evaluation;

use super::format::{seconds, significant, thousands};
use super::parts::{self, figure, figures_table, legend, plural, section};
use super::{Curve, Run, chart};

/// Labels in the lists of those with the most right and the most wrong predictions.
const LISTED: usize = 15;

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
    /// Scores of the rows that are set apart for that, by each way of telling the number of labels: that of the run first.
    pub evaluations: Vec<(String, Evaluation)>,
    /// The probability that makes a label a predicted one, where that is the way.
    pub threshold: Option<f32>,
    /// Precision at 1, 3 .. of these rows if all were ranked without a mistake.
    pub best_precision: Vec<(usize, f64)>,
    /// Rows with 0, 1, 2 .. labels: predicted, and true.
    pub counts: [Vec<usize>; 2],
    /// Probabilities of labels in bins of equal width from 0 to 1.
    pub calibration: Vec<Bin>,
    /// What was predicted of each label.
    pub labels: Vec<Label>,
    /// How it was found.
    pub run: Run,
}

/// Pairs of a row and a label whose probability is in some range.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// How many there are.
    pub pairs: u64,
    /// The sum of their probabilities.
    pub probability: f64,
    /// How many of the labels are there.
    pub true_pairs: u64,
}

/// What was predicted of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name, or its number from 0.
    pub name: String,
    /// Rows that have it and are predicted to.
    pub right: usize,
    /// Rows that are predicted to have it and do not.
    pub added: usize,
    /// Rows that have it and are not predicted to.
    pub missing: usize,
}

impl Label {
    fn wrong(&self) -> usize {
        self.added + self.missing
    }
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
    let body = [
        parts::header(&title, &facts),
        scores(report),
        ways(report),
        counts(report),
        precision(report),
        calibration(report),
        labels(report),
        parts::training(&report.run),
        parts::how(&report.run),
    ]
    .concat();
    parts::page(&title, &body)
}

/// Headline figures.
fn scores(report: &LabelsReport) -> String {
    let rate = format!("{} rows per second", thousands(report.run.samples_per_second.round() as u64));
    let mut figures = Vec::new();
    if let Some((_, e)) = report.evaluations.first() {
        figures.push(figure("Micro-F1", &format!("{:.3}", e.sets.micro_f1), "over all rows and labels together"));
        figures.push(figure("Macro-F1", &format!("{:.3}", e.sets.macro_f1), "mean over labels"));
        figures.push(figure("Exact", &format!("{:.3}", e.sets.subset_accuracy), "of the rows have the right set"));
        figures.push(figure(
            "Count error",
            &format!("{:.2}", e.sets.count_error),
            "labels too many or too few, mean over rows",
        ));
        figures.extend(e.precision_at.iter().take(1).map(|(k, share)| {
            figure(&format!("Precision at {k}"), &format!("{share:.3}"), "of the rows have the label that comes first")
        }));
    }
    figures.push(figure("Training", &seconds(report.run.seconds), &rate));
    format!("<section id=\"scores\">\n<dl class=\"figures\">{}</dl>\n</section>\n", figures.concat())
}

/// Ways of telling the number of labels.
fn ways(report: &LabelsReport) -> String {
    let row = |(way, e): &(String, Evaluation)| {
        let sets = e.sets;
        let scores = [sets.micro_f1, sets.macro_f1, sets.subset_accuracy, sets.count_error];
        std::iter::once(way.clone()).chain(scores.map(|score| format!("{score:.4}"))).collect()
    };
    let rows: Vec<Vec<String>> = report.evaluations.iter().map(row).collect();
    let threshold = report.threshold.map_or(String::new(), |threshold| {
        format!(
            " The threshold is {}, the best of the rows that were kept from the fit.",
            significant(f64::from(threshold), 3)
        )
    });
    let lead = format!(
        "The labels of a row are those with the highest scores; so many as the first column says. The first line is that of \
         this run.{threshold}"
    );
    let content = figures_table(&["Number of labels", "Micro-F1", "Macro-F1", "Exact", "Count error"], &rows);
    section("ways", "Sets of labels", &lead, &content)
}

/// How many labels rows have and are predicted to have.
fn counts(report: &LabelsReport) -> String {
    let all = report.rows[1].max(1) as f64;
    let [predicted, truth] =
        [0, 1].map(|which| report.counts[which].iter().map(|&rows| rows as f64 / all).collect::<Vec<f64>>());
    let content = legend(&[("b0", "predicted"), ("b1", "true")])
        + &format!(
            "<figure class=\"panel\">{}</figure>\n",
            chart::bars(&[&predicted, &truth], None, "labels of a row")
        );
    let lead = format!("The share of the {} with each number of labels.", plural(report.rows[1], "scored row"));
    section("counts", "How many labels rows have", &lead, &content)
}

/// Precision at k.
fn precision(report: &LabelsReport) -> String {
    let Some((_, evaluation)) = report.evaluations.first() else { return String::new() };
    let rows: Vec<Vec<String>> = (evaluation.precision_at.iter().zip(&report.best_precision))
        .map(|(&(k, share), &(_, best))| vec![k.to_string(), format!("{share:.4}"), format!("{best:.4}")])
        .collect();
    let lead = "The share of right ones among the first k labels of a row, mean over rows. A row with fewer labels cannot reach 1: \
                the last column says what a faultless order would.";
    section("precision", "Precision at k", lead, &figures_table(&["k", "Precision", "At best"], &rows))
}

/// Probabilities of labels against their frequency.
fn calibration(report: &LabelsReport) -> String {
    let bins: Vec<&Bin> = report.calibration.iter().filter(|bin| bin.pairs > 0).collect();
    let means = |bin: &Bin| [bin.probability / bin.pairs as f64, bin.true_pairs as f64 / bin.pairs as f64];
    let pairs: u64 = bins.iter().map(|bin| bin.pairs).sum();
    let gap = |bin: &&Bin| (bin.probability - bin.true_pairs as f64).abs();
    let gap = bins.iter().map(gap).sum::<f64>() / pairs.max(1) as f64;
    let curves = [
        Curve { name: "labels".into(), points: bins.iter().map(|bin| means(bin).into()).collect() },
        Curve { name: "calibrated".into(), points: vec![(0.0, 0.0), (1.0, 1.0)] },
    ];
    let chart = chart::lines_over("probability", &curves, (460.0, 300.0), Some((0.0, 1.0)));
    let width = 1.0 / report.calibration.len().max(1) as f64;
    let rows: Vec<Vec<String>> = (report.calibration.iter().enumerate())
        .map(|(at, bin)| {
            let cells = match bin.pairs {
                0 => ["–".into(), "–".into()],
                _ => means(bin).map(|mean| format!("{mean:.4}")),
            };
            let name = format!("{:.1} to {:.1}", at as f64 * width, (at + 1) as f64 * width);
            [name, thousands(bin.pairs)].into_iter().chain(cells).collect()
        })
        .collect();
    let lead = format!(
        "How often labels are there that the model gives a probability, over all {} pairs of a row and a label. Mean distance \
         of both: {}, of which pairs with small probabilities are the most.",
        thousands(pairs),
        significant(gap, 2)
    );
    let table = figures_table(&["Probability", "Pairs", "Mean probability", "Frequency"], &rows);
    section("calibration", "Calibration", &lead, &format!("<figure class=\"panel\">{chart}</figure>\n{table}"))
}

/// Labels with most right and most wrong predictions.
fn labels(report: &LabelsReport) -> String {
    let list = |title: &str, by: fn(&Label) -> usize| {
        let mut labels: Vec<&Label> = report.labels.iter().filter(|label| by(label) > 0).collect();
        labels.sort_by_key(|label| std::cmp::Reverse(by(label)));
        let row = |label: &&Label| {
            let f1 = 2.0 * label.right as f64 / (2 * label.right + label.wrong()).max(1) as f64;
            let numbers = [label.right + label.missing, label.right, label.missing, label.added];
            let cells = numbers.map(|number| thousands(number as u64));
            std::iter::once(label.name.clone()).chain(cells).chain([format!("{f1:.3}")]).collect()
        };
        let rows: Vec<Vec<String>> = labels.iter().take(LISTED).map(row).collect();
        let table = figures_table(&["Label", "Rows that have it", "Found", "Missed", "Wrongly added", "F1"], &rows);
        format!("<h3 class=\"phase\">{title}</h3>\n{table}")
    };
    let content = list("Most wrong", Label::wrong) + &list("Most right", |label| label.right);
    let lead = "Labels with the most wrong predictions, missed or added, and those with the most right ones.";
    section("labels", "Which labels", lead, &content)
}
