//! The report of sparse codes: how many features rows have, what the features are, and how well rows come back.

use softurn::data::ImageShape;
use softurn::sparse::Evaluation;

use super::format::{escape, score, seconds, significant, thousands};
use super::image::{picture, scale, signed};
use super::parts::{self, figure, figures_table, legend, plural, section};
use super::{Curve, Images, Run, chart};
use crate::sparsify::codes::ToyScores;

/// Columns of an atom that are named where there are no pictures.
const STRONGEST: usize = 6;

/// Everything that the page shows; all but the training is of rows that the fit did not see.
#[derive(Debug, Clone)]
pub struct CodesReport {
    /// File or name of the rows.
    pub data: String,
    /// Rows of the fit, and rows that it did not see.
    pub rows: [usize; 2],
    /// Columns of a row.
    pub columns: usize,
    /// The images that rows are, where they can be shown.
    pub image: Option<ImageShape>,
    /// Number of features.
    pub size: usize,
    /// The code in words.
    pub model: String,
    /// Whether an active feature has a value other than 1.
    pub valued: bool,
    /// What the values of [`Atom`] are, in words.
    pub atoms_are: String,
    /// Scores.
    pub evaluation: Evaluation,
    /// Numbers of features, and the error when each row keeps no more than so many, its first.
    pub kept: Vec<(usize, f64)>,
    /// Accuracy of linear probes on codes and on columns.
    pub probes: Option<[f64; 2]>,
    /// Against the true codes, where they are known.
    pub toy: Option<Toy>,
    /// Features by how many rows they are active in, or the first of them.
    pub atoms: Vec<Atom>,
    /// Some rows, from few active features to many.
    pub examples: Vec<Example>,
    /// How it was found.
    pub run: Run,
}

/// Found codes beside true ones.
#[derive(Debug, Clone)]
pub struct Toy {
    /// How far they agree.
    pub scores: ToyScores,
    /// One for each true atom.
    pub pairs: Vec<Pair>,
}

/// A true atom and the learned one that it is matched to.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The true one, by column.
    pub truth: Vec<f32>,
    /// The learned one and the cosine of both; none where there are too few.
    pub learned: Option<(Vec<f32>, f64)>,
}

/// What a feature stands for.
#[derive(Debug, Clone)]
pub struct Atom {
    /// Its number, from 0.
    pub feature: usize,
    /// The share of the rows in which it is active.
    pub share: f64,
    /// What it alone decodes to, less what nothing decodes to, by column.
    pub values: Vec<f32>,
}

/// A row and what becomes of it.
#[derive(Debug, Clone)]
pub struct Example {
    /// Its number in the data.
    pub row: usize,
    /// The row as the model takes it.
    pub before: Vec<f32>,
    /// What its code decodes to.
    pub after: Vec<f32>,
    /// Active features with their values, the first that was taken first, up to some.
    pub active: Vec<(u32, f32)>,
    /// How many there are.
    pub count: usize,
    /// What these are, for pictures.
    pub atoms: Vec<Vec<f32>>,
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
    let body = [
        parts::header(&title, &facts),
        scores(report),
        counts(report),
        errors(report),
        toy(report),
        atoms(report),
        examples(report),
        parts::training(&report.run),
        parts::how(&report.run),
    ]
    .concat();
    parts::page(&title, &body)
}

/// Headline figures.
fn scores(report: &CodesReport) -> String {
    let e = &report.evaluation;
    let rate = format!("{} rows per second", thousands(report.run.samples_per_second.round() as u64));
    let mut figures = vec![
        figure("Squared error", &significant(e.error, 3), "sum over columns, mean over held-out rows"),
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
    if let Some(Toy { scores, .. }) = &report.toy {
        figures.push(figure("Counts", &format!("{:.3}", scores.count_accuracy), "of the rows have the true one"));
        figures.push(figure("Atoms F1", &format!("{:.3}", scores.atom_f1), "of active atoms against the true ones"));
        figures.push(figure("Exact", &format!("{:.3}", scores.exact_set), "of the rows have the true atoms"));
        figures.push(figure("Cosine", &format!("{:.3}", scores.atom_cosine), "of learned and true atoms"));
    }
    figures.push(figure("Training", &seconds(report.run.seconds), &rate));
    format!("<section id=\"scores\">\n<dl class=\"figures\">{}</dl>\n</section>\n", figures.concat())
}

/// Shares of all.
fn shares(counts: &[usize]) -> Vec<f64> {
    let all = counts.iter().sum::<usize>().max(1) as f64;
    counts.iter().map(|&count| count as f64 / all).collect()
}

/// How many features rows have.
fn counts(report: &CodesReport) -> String {
    let found = shares(&report.evaluation.rows_by_active);
    let rows = plural(report.rows[1], "held-out row");
    let (keys, bars) = match &report.toy {
        Some(Toy { scores, .. }) => {
            let truth = shares(&scores.true_counts);
            let truth = &truth[..truth.len().min(found.len())];
            (legend(&[("b0", "found"), ("b1", "true")]), chart::bars(&[&found, truth], None, "active features"))
        }
        None => (String::new(), chart::bars(&[&found], None, "active features")),
    };
    let lead = format!("The share of the {rows} with each number of active features.");
    section("counts", "How many features rows have", &lead, &format!("{keys}<figure class=\"panel\">{bars}</figure>\n"))
}

/// Reconstruction error against the number of active features.
fn errors(report: &CodesReport) -> String {
    let e = &report.evaluation;
    let of_rows = e.error_by_active.iter().enumerate().filter_map(|(count, error)| Some((count as f64, (*error)?)));
    let curves = [
        Curve {
            name: "at most so many kept".into(),
            points: report.kept.iter().map(|&(count, error)| (count as f64, error)).collect(),
        },
        Curve { name: "rows with so many".into(), points: of_rows.collect() },
    ];
    let chart = chart::lines_over("active features", &curves, (660.0, 260.0), None);
    let rows: Vec<Vec<String>> = (report.kept.iter())
        .map(|&(count, kept)| {
            let by = |values: &[Option<f64>]| values.get(count).copied().flatten();
            let rows = e.rows_by_active.get(count).copied().unwrap_or(0);
            let error = by(&e.error_by_active).map_or("–".into(), |error| significant(error, 4));
            vec![count.to_string(), thousands(rows as u64), error, significant(kept, 4)]
        })
        .collect();
    let table = figures_table(
        &["Active features", "Rows with so many", "Their error", "Error when every row keeps at most so many"],
        &rows,
    );
    let lead = "Sum of squared errors of a row, mean over rows. Of all rows, when each keeps no more than its first so many \
                features: the choices of a row are nested. And of the rows that have so many.";
    section("errors", "Error by active features", lead, &format!("<figure>{chart}</figure>\n{table}"))
}

/// Learned atoms beside the true ones.
fn toy(report: &CodesReport) -> String {
    let Some(Toy { pairs, .. }) = &report.toy else { return String::new() };
    let learned = pairs.iter().filter_map(|pair| Some(&pair.learned.as_ref()?.0));
    let (low, high) = range(pairs.iter().map(|pair| &pair.truth).chain(learned));
    let rows: String = (pairs.iter().enumerate())
        .map(|(atom, Pair { truth, learned })| {
            let mut lines = vec![truth.as_slice()];
            lines.extend(learned.iter().map(|(learned, _)| learned.as_slice()));
            let cosine = score(learned.as_ref().map(|(_, cosine)| *cosine));
            format!("<tr><th>{atom}</th><td>{}</td><td>{cosine}</td></tr>\n", chart::profile(&lines, low, high))
        })
        .collect();
    let content = legend(&[("p0", "true"), ("p1", "learned")])
        + &format!(
            "<div class=\"scroll\"><table class=\"pictures\">\n<thead><tr><th>Atom</th><th>Columns</th><th>Cosine</th></tr>\
             </thead>\n<tbody>\n{rows}</tbody></table></div>\n"
        );
    let lead = "The atoms that the rows were made from, and the learned ones after the best matching of one to one.";
    section("toy", "Learned and true atoms", lead, &content)
}

/// The least and the largest value, 0 included.
fn range<'a>(values: impl Iterator<Item = &'a Vec<f32>>) -> (f32, f32) {
    let finite = values.flatten().copied().filter(|value| value.is_finite());
    finite.fold((0.0, 1e-6), |(low, high), value| (low.min(value), high.max(value)))
}

fn percent(share: f64) -> String {
    format!("{} %", significant(100.0 * share, 2))
}

/// What features stand for.
fn atoms(report: &CodesReport) -> String {
    let unused = report.atoms.iter().filter(|atom| atom.share == 0.0).count();
    let which = match report.atoms.len() {
        all if all == report.size => String::new(),
        some => format!(" The {some} that are active most often, of {}.", thousands(report.size as u64)),
    };
    let lead =
        format!("{}, with the share of the held-out rows in which they are active.{which}", escape(&report.atoms_are));
    let lead = if unused > 0 { format!("{lead} {unused} of these are active in none.") } else { lead };
    let Some(shape) = report.image else {
        let rows: Vec<Vec<String>> = report.atoms.iter().map(strongest).collect();
        let content = figures_table(&["Feature", "Active", "Strongest columns, counted from 0"], &rows);
        return section("atoms", "What features stand for", &lead, &content);
    };
    let scale = scale(report.atoms.iter().flat_map(|atom| &atom.values));
    let cell = |atom: &Atom| {
        let note = format!("feature {}, active in {} of the rows", atom.feature, percent(atom.share));
        let picture = picture(&signed(shape, &atom.values, scale), &note);
        format!(
            "<figure>{picture}<figcaption>{}<span>{}</span></figcaption></figure>",
            atom.feature,
            percent(atom.share)
        )
    };
    let colours =
        if shape.channels == 3 { "Grey is nothing" } else { "Blue is what they add to a row, red what they take away" };
    let lead = format!("{lead} {colours}; all have one scale.");
    let content = format!("<div class=\"atoms\">{}</div>\n", report.atoms.iter().map(cell).collect::<String>());
    section("atoms", "What features stand for", &lead, &content)
}

/// A line of the table of atoms.
fn strongest(atom: &Atom) -> Vec<String> {
    let mut order: Vec<usize> = (0..atom.values.len()).collect();
    order.sort_by(|&a, &b| atom.values[b].abs().total_cmp(&atom.values[a].abs()));
    let named = order.iter().take(STRONGEST).map(|&column| {
        let value = f64::from(atom.values[column]);
        format!("{column}: {}{}", if value < 0.0 { "−" } else { "+" }, significant(value.abs(), 2))
    });
    vec![atom.feature.to_string(), percent(atom.share), named.collect::<Vec<_>>().join(", ")]
}

/// Rows beside what their codes decode to.
fn examples(report: &CodesReport) -> String {
    let scale = scale(report.atoms.iter().flat_map(|atom| &atom.values));
    let (low, high) = range(report.examples.iter().flat_map(|example| [&example.before, &example.after]));
    let row = |example: &Example| -> String {
        let value =
            |value: f32| if report.valued { format!(": {}", significant(f64::from(value), 2)) } else { String::new() };
        let error: f32 = example.before.iter().zip(&example.after).map(|(x, y)| (x - y) * (x - y)).sum();
        let error = if error.is_finite() { significant(f64::from(error), 3) } else { "–".into() };
        let numbers = format!("<td class=\"number\">{}</td><td class=\"number\">{}</td>", example.count, error);
        let Some(shape) = report.image else {
            let names: Vec<String> = example.active.iter().map(|&(k, v)| format!("{k}{}", value(v))).collect();
            let more = if example.count > names.len() { " …" } else { "" };
            let lines = chart::profile(&[&example.before, &example.after], low, high);
            return format!(
                "<tr><th>{}</th><td>{lines}</td>{numbers}<td class=\"class\">{}{more}</td></tr>\n",
                example.row,
                escape(&names.join(", "))
            );
        };
        let shown = |values: &[f32], note: &str| {
            picture(&Images::from_values(shape.height, shape.width, shape.channels, values, 0.0, 1.0), note)
        };
        let atoms: String = (example.active.iter().zip(&example.atoms))
            .map(|(&(k, v), values)| {
                let note = format!("feature {k}{}", value(v));
                let caption = format!("<figcaption>{k}{}</figcaption>", value(v));
                format!(
                    "<td class=\"small\"><figure>{}{caption}</figure></td>",
                    picture(&signed(shape, values, scale), &note)
                )
            })
            .collect();
        let more = if example.count > example.atoms.len() { "<td>…</td>" } else { "" };
        format!(
            "<tr><th>{}</th><td>{}</td><td>{}</td>{numbers}{atoms}{more}</tr>\n",
            example.row,
            shown(&example.before, "the row"),
            shown(&example.after, "what its code decodes to")
        )
    };
    let rows: String = report.examples.iter().map(row).collect();
    let (keys, columns) = match report.image {
        Some(_) => (String::new(), "<th></th><th>Decoded</th>"),
        None => (legend(&[("p0", "the row"), ("p1", "what its code decodes to")]), "<th>Columns</th>"),
    };
    let content = format!(
        "{keys}<div class=\"scroll\"><table class=\"pictures\">\n<thead><tr><th>Row</th>{columns}<th class=\"number\">Active</th><th class=\"number\">Error</th>\
         <th class=\"number\" colspan=\"9\">Features</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    );
    let lead = "Held-out rows, from those with the fewest active features to those with the most, what their codes decode to, and \
                the features, in the order in which they are taken.";
    section("examples", "Rows and what comes back", lead, &content)
}
