//! The report of a model of pairs: how many factors it takes two views to share, and what its latent dimensions hold.

use softurn::weak_supervision::Evaluation;

use super::format::{escape, score, seconds, significant, thousands};
use super::parts::{self, figure, plural, section};
use super::{Images, Run, chart};

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub struct DisentangleReport {
    /// File or name of the images.
    pub data: String,
    /// How many there are.
    pub images: usize,
    /// Factors that the views of a pair share, and all factors.
    pub shared: [usize; 2],
    /// The model in words.
    pub model: String,
    /// Scores on fresh pairs.
    pub evaluation: Evaluation,
    /// One for every latent dimension.
    pub traversals: Vec<Traversal>,
    /// Of some pairs.
    pub swaps: Vec<Swap>,
    /// How it was found.
    pub run: Run,
}

/// One image decoded with one latent dimension at other values.
#[derive(Debug, Clone)]
pub struct Traversal {
    /// The dimension, counted from 0.
    pub dimension: usize,
    /// Standard deviation of its means over images; the prior's is 1.
    pub deviation: f64,
    /// The values it takes.
    pub values: Vec<f64>,
    /// An image for each of them.
    pub images: Images,
}

/// A pair, and what becomes of it when the parts of its views are exchanged.
#[derive(Debug, Clone)]
pub struct Swap {
    /// Both views, both decoded, and the shared part of each with the rest of the other: 6 images.
    pub images: Images,
    /// Names of the factors that the views share.
    pub shared: Vec<String>,
    /// The share of the latent dimensions that the model takes them to share.
    pub share: f64,
}

/// The page as one string of HTML, styles, pictures and script included.
pub fn render(report: &DisentangleReport) -> String {
    // Without the folder.
    let name = report.data.rsplit(['/', '\\']).next().unwrap_or(&report.data);
    let title = format!("{name}: {} of {} factors shared", report.shared[0], report.shared[1]);
    let facts = [
        report.data.clone(),
        plural(report.images, "image"),
        report.model.clone(),
        plural(report.traversals.len(), "latent dimension"),
        format!("seed {}", report.run.seed),
        report.run.adapter.clone(),
    ];
    let body = [
        parts::header(&title, &facts),
        scores(report),
        number(report),
        factors(report),
        traversals(report),
        swaps(report),
        parts::training(&report.run),
        parts::how(&report.run),
    ]
    .concat();
    parts::page(&title, &body)
}

/// Headline figures.
fn scores(report: &DisentangleReport) -> String {
    let e = &report.evaluation;
    let truth = format!("of the dimensions; {} of the factors", significant(e.true_share, 3));
    let rate = format!("{} pairs per second", thousands(report.run.samples_per_second.round() as u64));
    let figures = [
        figure("Shared", &format!("{:.3}", e.share), &truth),
        figure("Squared error", &format!("{:.4}", e.squared_error), "of that share, mean over pairs"),
        figure("Shared part", &score(e.shared_accuracy), "tells shared factors: balanced accuracy above chance"),
        figure("Independent part", &score(e.independent_accuracy), "tells the others"),
        figure("DCI", &format!("{:.3}", e.disentanglement), "disentanglement"),
        figure("MIG", &format!("{:.3}", e.mig), "mutual information gap"),
        figure("Training", &seconds(report.run.seconds), &rate),
    ];
    format!("<section id=\"scores\">\n<dl class=\"figures\">{}</dl>\n</section>\n", figures.concat())
}

/// Estimated numbers of shared dimensions against the truth.
fn number(report: &DisentangleReport) -> String {
    let dimensions = report.traversals.len();
    let mut counts = vec![0usize; dimensions + 1];
    for share in &report.evaluation.shares {
        counts[((share * dimensions as f64).round() as usize).min(dimensions)] += 1;
    }
    let pairs = report.evaluation.shares.len().max(1) as f64;
    let bars: Vec<f64> = counts.iter().map(|&count| count as f64 / pairs).collect();
    let truth = report.evaluation.true_share * dimensions as f64;
    let lead = format!(
        "For how many of {} the model takes each number of its {dimensions} latent dimensions to be shared, as shares of \
         the pairs. The line stands at the truth: {} of {} factors.",
        plural(report.evaluation.shares.len(), "fresh pair"),
        report.shared[0],
        report.shared[1]
    );
    let figure =
        format!("<figure class=\"panel\">{}</figure>\n", chart::bars(&[&bars], Some(truth), "shared dimensions"));
    section("number", "How much is shared", &lead, &figure)
}

/// What linear probes find of each factor in both parts.
fn factors(report: &DisentangleReport) -> String {
    let rows: String = report
        .evaluation
        .factors
        .iter()
        .map(|factor| {
            format!(
                "<tr><th>{}</th><td>{}</td><td>{}</td></tr>\n",
                escape(&factor.name),
                score(factor.shared),
                score(factor.independent)
            )
        })
        .collect();
    let content = format!(
        "<div class=\"scroll\"><table class=\"baselines\">\n<thead><tr><th>Factor</th><th>Shared, from the shared part</th>\
         <th>Not shared, from the independent part</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    );
    let lead = "How well a linear probe tells a factor's class: balanced accuracy, 0 at chance and 1 without an error. From the \
                part of the latent means that the model takes to be shared over pairs that share the factor, and from the rest \
                over pairs that do not.";
    section("factors", "What both parts hold", lead, &content)
}

/// A picture of a row of them.
fn picture(images: &Images, row: usize, note: &str) -> String {
    let uri = images.data_uri(row).unwrap_or_default();
    format!("<img src=\"{uri}\" alt=\"{0}\" title=\"{0}\">", escape(note))
}

/// Decoded images along each latent dimension.
fn traversals(report: &DisentangleReport) -> String {
    let mut ordered: Vec<&Traversal> = report.traversals.iter().collect();
    ordered.sort_by(|a, b| b.deviation.total_cmp(&a.deviation));
    let row = |traversal: &Traversal| -> String {
        let pictures: String = (traversal.values.iter().enumerate())
            .map(|(i, value)| {
                let note = format!("dimension {} at {}", traversal.dimension, significant(*value, 2));
                format!("<td>{}</td>", picture(&traversal.images, i, &note))
            })
            .collect();
        let deviation = significant(traversal.deviation, 2);
        format!("<tr><th>{}<span>{deviation}</span></th>{pictures}</tr>\n", traversal.dimension)
    };
    let head: String = ordered.first().map_or(String::new(), |traversal| {
        traversal.values.iter().map(|value| format!("<th>{}</th>", significant(*value, 2))).collect()
    });
    let rows: String = ordered.into_iter().map(row).collect();
    let content = format!(
        "<div class=\"scroll\"><table class=\"pictures\">\n<thead><tr><th>Dimension</th>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n"
    );
    let lead = "One image, decoded with one latent dimension at a time at values from low to high. The dimensions that vary \
                most from image to image come first, with the deviation of their means; below a tenth or so they hold nothing.";
    section("traversals", "What each latent dimension does", lead, &content)
}

/// Pairs with exchanged parts.
fn swaps(report: &DisentangleReport) -> String {
    const HEADS: [&str; 6] = [
        "First",
        "Second",
        "First, decoded",
        "Second, decoded",
        "Shared part of first, rest of second",
        "Shared part of second, rest of first",
    ];
    let head: String = HEADS.iter().map(|head| format!("<th>{head}</th>")).collect();
    let row = |swap: &Swap| -> String {
        let shared = if swap.shared.is_empty() { "nothing".into() } else { swap.shared.join(", ") };
        let pictures: String =
            HEADS.iter().enumerate().map(|(i, head)| format!("<td>{}</td>", picture(&swap.images, i, head))).collect();
        let dimensions = significant(swap.share * report.traversals.len() as f64, 2);
        format!("<tr>{pictures}<td class=\"class\">{}</td><td>{dimensions}</td></tr>\n", escape(&shared))
    };
    let rows: String = report.swaps.iter().map(row).collect();
    let content = format!(
        "<div class=\"scroll\"><table class=\"pictures\">\n<thead><tr>{head}<th>Shared factors</th><th>Shared dimensions</th>\
         </tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    );
    let lead = "Pairs as they are, as the model decodes each view alone, and with the shared part of one view and the rest of the \
                other. Where the model is right, the fifth picture is the fourth and the sixth the third.";
    section("swaps", "Exchanged parts", lead, &content)
}
