//! The report of cluster-specific representations: where the clusters lie and in which directions their decoders go, each
//! cluster's representations, what the heads look like, and rows without noise.

use softurn::data::ImageShape;

use super::chart::{self, Segment};
use super::format::{escape, score, seconds, significant, thousands};
use super::image::{picture, scale, signed};
use super::parts::{self, clouds, figure, figures_table, plural, scatter_panel, section};
use super::{Images, Run, Truth, colour};
use crate::represent::{Model, Start, milliseconds};

/// Clusters whose representations are shown.
const EMBEDDINGS: usize = 24;

/// Columns of which centres and directions are shown in numbers, at most.
const COLUMNS: usize = 16;

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub struct RepresentReport {
    /// File or name of the rows.
    pub data: String,
    /// Rows.
    pub rows: usize,
    /// Columns of a row.
    pub columns: usize,
    /// The images that rows are, where they can be shown.
    pub image: Option<ImageShape>,
    /// Number of clusters.
    pub k: usize,
    /// What each cluster has of its own, in words.
    pub framework: String,
    /// Whether it has learned from the labels.
    pub uses_labels: bool,
    /// All fits.
    pub starts: Vec<Start>,
    /// The model, and after it what it is compared with.
    pub models: Vec<Model>,
    /// Deviation of the noise that was to be taken from rows, and the mean squared error of rows with it.
    pub noise: Option<(f64, f64)>,
    /// Cluster of each row.
    pub clusters: Vec<u32>,
    /// The true classes, where they are known.
    pub truth: Option<Truth>,
    /// Rows in the plane.
    pub plane: Plane,
    /// The representations of each cluster.
    pub embeddings: Vec<Embedding>,
    /// Rows with noise and without, where they are images.
    pub examples: Vec<Example>,
    /// What clusters are made of.
    pub parts: Vec<Parts>,
    /// How it was found.
    pub run: Run,
}

/// Rows in the plane.
#[derive(Debug, Clone)]
pub struct Plane {
    /// Numbers of the rows that are shown.
    pub rows: Vec<usize>,
    /// One point for each.
    pub points: Vec<[f32; 2]>,
    /// Names of both directions.
    pub axes: [String; 2],
    /// Where the clusters' decoders go.
    pub lines: Vec<Line>,
}

/// A direction of a cluster's decoder, through the cluster's centre.
#[derive(Debug, Clone)]
pub struct Line {
    /// The cluster.
    pub cluster: usize,
    /// One end.
    pub from: [f32; 2],
    /// The other.
    pub to: [f32; 2],
}

/// Representations of the rows of a cluster.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// The cluster.
    pub cluster: usize,
    /// Numbers of the rows that are shown.
    pub rows: Vec<usize>,
    /// One point for each.
    pub points: Vec<[f32; 2]>,
    /// Names of both directions.
    pub axes: [String; 2],
}

/// A row and what becomes of it.
#[derive(Debug, Clone)]
pub struct Example {
    /// Its number in the data.
    pub row: usize,
    /// Its cluster.
    pub cluster: u32,
    /// The row.
    pub clean: Vec<f32>,
    /// With noise.
    pub noisy: Vec<f32>,
    /// What the models with a denoising error make of that, in their order.
    pub restored: Vec<Vec<f32>>,
}

/// What a cluster is made of, by column.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Heading.
    pub name: String,
    /// The cluster; none of what all share.
    pub cluster: Option<usize>,
    /// Its centre.
    pub centre: Option<Vec<f32>>,
    /// What its decoder makes of each number.
    pub directions: Vec<Vec<f32>>,
    /// The first weights of its first layer.
    pub filters: Vec<Vec<f32>>,
}

/// The page as one string of HTML, styles, pictures and script included.
pub fn render(report: &RepresentReport) -> String {
    // Without the folder.
    let name = report.data.rsplit(['/', '\\']).next().unwrap_or(&report.data);
    let title = match report.k {
        1 => format!("{name}: one {}", report.framework),
        k => format!("{name}: {k} clusters, each with its {}", report.framework),
    };
    let facts = [
        report.data.clone(),
        plural(report.rows, "row"),
        plural(report.columns, "column"),
        format!("seed {}", report.run.seed),
        report.run.adapter.clone(),
    ];
    let body = [
        parts::header(&title, &facts),
        scores(report),
        starts(report),
        plane(report),
        embeddings(report),
        denoised(report),
        made_of(report),
        parts::training(&report.run),
        parts::how(&report.run),
    ]
    .concat();
    parts::page(&title, &body)
}

/// Headline figures, and those of what it is compared with.
fn scores(report: &RepresentReport) -> String {
    let Some(ours) = report.models.first() else { return String::new() };
    let mut figures = String::new();
    for (name, value, note) in [
        ("ARI", ours.scores.ari, "adjusted Rand index"),
        ("Accuracy", ours.scores.accuracy, "clusters matched to classes"),
    ] {
        if value.is_some() {
            figures += &figure(name, &score(value), note);
        }
    }
    if let (Some((_, noisy)), Some(error)) = (report.noise, ours.denoising_error) {
        let note = format!("mean squared, without noise; {} with it", significant(noisy, 3));
        figures += &figure("Error", &significant(error, 3), &note);
    }
    let lowest = report.starts.iter().map(|start| start.objective).fold(f64::INFINITY, f64::min);
    let note = format!("mean loss, the lowest of {}", plural(report.starts.len(), "start"));
    figures += &figure("Objective", &significant(lowest, 4), &note);
    let rate = format!("{} samples per second", thousands(report.run.samples_per_second.round() as u64));
    figures += &figure("Training", &seconds(report.run.seconds), &rate);
    let cell = |value: Option<f64>, digits| value.map_or("–".into(), |value| significant(value, digits));
    let rows: Vec<Vec<String>> = (report.models.iter())
        .map(|model| {
            let mut cells =
                vec![model.title(), score(model.scores.accuracy), score(model.scores.nmi), score(model.scores.ari)];
            cells.extend(report.noise.map(|_| cell(model.denoising_error, 4)));
            cells.push(model.parameters.map_or("–".into(), |count| thousands(count as u64)));
            cells.push(model.epoch_seconds.map_or("–".into(), milliseconds));
            cells.push(seconds(model.seconds));
            cells
        })
        .collect();
    let mut heads = vec!["", "Accuracy", "NMI", "ARI"];
    heads.extend(report.noise.map(|_| "Denoising error"));
    heads.extend(["Parameters", "Epoch", "Time"]);
    let labels = match report.uses_labels {
        true => "<p class=\"lead\">This run has learned from the labels: its scores do not compare with others.</p>\n",
        false => "",
    };
    let table = figures_table(&heads, &rows);
    format!("<section id=\"scores\">\n<dl class=\"figures\">{figures}</dl>\n{labels}{table}</section>\n")
}

/// What every start reached.
fn starts(report: &RepresentReport) -> String {
    if report.starts.len() < 2 {
        return String::new();
    }
    let mut order: Vec<usize> = (0..report.starts.len()).collect();
    order.sort_by(|&a, &b| report.starts[a].objective.total_cmp(&report.starts[b].objective));
    let line = |(place, &at): (usize, &usize)| {
        let Start { objective, ari } = report.starts[at];
        let kept = if place == 0 { "kept" } else { "" };
        vec![(at + 1).to_string(), significant(objective, 6), score(ari), kept.to_owned()]
    };
    let rows: Vec<Vec<String>> = order.iter().enumerate().map(line).collect();
    let table = figures_table(&["Start", "Objective", "ARI", ""], &rows);
    let lead = "Each from other seeds and first weights, the lowest objective first. That one is kept, whatever the labels say.";
    section("starts", "All starts", lead, &table)
}

/// Names and colours of the true classes, or of the clusters where these are not known, and the kind of a row.
fn kinds(report: &RepresentReport) -> (Vec<String>, Vec<String>, &[u32]) {
    match &report.truth {
        Some(truth) => (truth.names.clone(), colour::of_classes(&truth.matching, truth.names.len()), &truth.labels),
        None => (cluster_names(report.k), (0..report.k).map(colour::of_group).collect(), &report.clusters),
    }
}

fn cluster_names(k: usize) -> Vec<String> {
    (0..k).map(|cluster| cluster.to_string()).collect()
}

fn finite(point: &[f32; 2]) -> bool {
    point.iter().all(|x| x.is_finite())
}

/// Rows by cluster and by class, with the directions of the decoders.
fn plane(report: &RepresentReport) -> String {
    let Plane { rows, points, axes, lines } = &report.plane;
    let lines: Vec<&Line> = lines.iter().filter(|line| finite(&line.from) && finite(&line.to)).collect();
    let ends = lines.iter().flat_map(|line| [line.from, line.to]);
    let bounds = chart::bounds(points.iter().copied().filter(finite).chain(ends));
    let segments: Vec<Segment> =
        lines.iter().map(|line| Segment { key: format!("g{}", line.cluster), ends: [line.from, line.to] }).collect();
    let placed = |kinds: &[u32]| -> Vec<(Option<u32>, [f32; 2])> {
        let points = rows.iter().zip(points).filter(|(_, point)| finite(point));
        points.map(|(&row, &point)| (kinds.get(row).copied(), point)).collect()
    };
    let colours: Vec<String> = (0..report.k).map(colour::of_group).collect();
    let by_cluster = clouds("g", placed(&report.clusters).into_iter(), &cluster_names(report.k), &colours);
    let mut panels = scatter_panel("by cluster", &by_cluster, bounds, axes, &segments);
    if report.truth.is_some() {
        let (names, colours, classes) = kinds(report);
        let by_class = clouds("t", placed(classes).into_iter(), &names, &colours);
        panels += &scatter_panel("by true class", &by_class, bounds, axes, &[]);
    }
    let shown = match rows.len() == report.rows {
        true => String::new(),
        false => format!(" {} of {} rows are shown.", thousands(rows.len() as u64), thousands(report.rows as u64)),
    };
    let directions = match lines.is_empty() {
        true => "",
        false => {
            " A line is what a number of a cluster's representation stands for: it goes through the cluster's centre in the direction in which \
             the decoder moves a row, as far as two deviations of the cluster's rows; of more than three, the longest."
        }
    };
    let lead = format!("Each row's place by {} and {}.{directions}{shown}", escape(&axes[0]), escape(&axes[1]));
    section("plane", "The clusters", &lead, &format!("<div class=\"panels\">\n{panels}</div>\n"))
}

/// The representations of each cluster.
fn embeddings(report: &RepresentReport) -> String {
    let (names, colours, kinds) = kinds(report);
    let shown = report.embeddings.iter().filter(|embedding| embedding.points.iter().any(finite));
    let panel = |embedding: &Embedding| {
        let points = embedding.rows.iter().zip(&embedding.points).filter(|(_, point)| finite(point));
        let points: Vec<(Option<u32>, [f32; 2])> =
            points.map(|(&row, &point)| (kinds.get(row).copied(), point)).collect();
        let bounds = chart::bounds(points.iter().map(|point| point.1));
        let mut clouds = clouds("t", points.into_iter(), &names, &colours);
        clouds.retain(|cloud| !cloud.points.is_empty());
        let rows = report.clusters.iter().filter(|&&cluster| cluster as usize == embedding.cluster).count();
        let title = match report.k {
            1 => plural(rows, "row"),
            _ => format!("Cluster {}<span>{}</span>", embedding.cluster, plural(rows, "row")),
        };
        scatter_panel(&title, &clouds, bounds, &embedding.axes, &[])
    };
    let panels: String = shown.take(EMBEDDINGS).map(panel).collect();
    let colours = if report.truth.is_some() { " Colours are those of the true classes." } else { "" };
    let single = report.embeddings.first().is_some_and(|embedding| embedding.axes[1].is_empty());
    let heights = if single { " A single number lies on a line: the height only tells rows apart." } else { "" };
    let more = match report.k {
        k if k > EMBEDDINGS => format!(" The first {EMBEDDINGS} of {k} clusters."),
        _ => String::new(),
    };
    let lead = match report.k {
        1 => format!("What each row becomes.{colours}{heights}"),
        _ => format!(
            "What each row becomes, in its own cluster: each has coordinates of its own, and distances between panels mean \
             nothing.{colours}{heights}{more}"
        ),
    };
    section("embeddings", "The representations", &lead, &format!("<div class=\"panels small\">\n{panels}</div>\n"))
}

/// Rows with noise and without.
fn denoised(report: &RepresentReport) -> String {
    let (Some((deviation, noisy)), Some(shape)) = (report.noise, report.image) else { return String::new() };
    let shown = |values: &[f32], note: &str| {
        let values: Vec<f32> = values.iter().map(|&value| if value.is_finite() { value } else { 0.0 }).collect();
        let images = Images::from_values(shape.height, shape.width, shape.channels, &values, 0.0, 1.0);
        format!("<td>{}</td>", picture(&images, note))
    };
    let restoring: Vec<&Model> = report.models.iter().filter(|model| model.denoising_error.is_some()).collect();
    let row = |example: &Example| {
        let restored: String = (example.restored.iter().zip(&restoring))
            .map(|(values, model)| shown(values, &format!("by {}", model.name)))
            .collect();
        format!(
            "<tr><th>{}<span>cluster {}</span></th>{}{}{restored}</tr>\n",
            example.row,
            example.cluster,
            shown(&example.clean, "the row"),
            shown(&example.noisy, "with noise"),
        )
    };
    let rows: String = report.examples.iter().map(row).collect();
    let heads: String = restoring.iter().map(|model| format!("<th>{}</th>", escape(&model.name))).collect();
    let errors: String = (restoring.iter())
        .map(|model| format!("<td>{}</td>", significant(model.denoising_error.unwrap_or(f64::NAN), 3)))
        .collect();
    let content = format!(
        "<div class=\"scroll\"><table class=\"pictures\">\n<thead><tr><th>Row</th><th>The row</th><th>With noise</th>{heads}</tr></thead>\n\
         <tbody>\n{rows}<tr><th>Error</th><td></td><td>{}</td>{errors}</tr>\n</tbody></table></div>\n",
        significant(noisy, 3)
    );
    let lead = format!(
        "Rows with new noise of deviation {deviation}, and what is made of them; rows choose their cluster by what they are with noise. \
         Below the mean squared error over all rows and columns."
    );
    section("denoised", "Noise taken away", &lead, &content)
}

/// Centres, directions and filters.
fn made_of(report: &RepresentReport) -> String {
    let mut kinds = Vec::new();
    if report.parts.iter().any(|parts| parts.centre.is_some()) {
        kinds.push("the mean of its rows");
    }
    if report.parts.iter().any(|parts| !parts.directions.is_empty()) {
        kinds.push("what its decoder adds to that for each number of a representation");
    }
    let Some(shape) = report.image else {
        if report.columns > COLUMNS || kinds.is_empty() {
            return String::new();
        }
        let lead = format!("Of each cluster {}, by column.", kinds.join(", and "));
        return section("parts", "What the clusters are made of", &lead, &by_column(report));
    };
    kinds.push("the first filters of its first layer");
    let of = |pick: fn(&Parts) -> &Vec<Vec<f32>>| scale(report.parts.iter().flat_map(pick).flatten());
    let [of_directions, of_filters] = [of(|parts| &parts.directions), of(|parts| &parts.filters)];
    let strip = |title: &str, of: &[Vec<f32>], scale: f32| {
        let images: String = (of.iter().enumerate())
            .map(|(at, values)| picture(&signed(shape, values, scale), &format!("{title} {at}")))
            .collect();
        if of.is_empty() { String::new() } else { format!("<h4>{title}</h4><div class=\"strip\">{images}</div>\n") }
    };
    let card = |parts: &Parts| {
        let centre = parts.centre.as_ref().map_or(String::new(), |values| {
            let images = Images::from_values(shape.height, shape.width, shape.channels, values, 0.0, 1.0);
            format!("<h4>Mean</h4><div class=\"strip\">{}</div>\n", picture(&images, "mean"))
        });
        let directions = strip("Directions of the decoder", &parts.directions, of_directions);
        let filters = strip("Filters of the first layer", &parts.filters, of_filters);
        let (colour, dot) = match parts.cluster {
            Some(cluster) => (colour::of_group(cluster), "<i class=\"dot\"></i>"),
            None => ("var(--rule)".into(), ""),
        };
        let content = centre + &directions + &filters;
        match content.is_empty() {
            true => String::new(),
            false => {
                format!("<article style=\"--c:{colour}\"><h3>{dot}{}</h3>\n{content}</article>\n", escape(&parts.name))
            }
        }
    };
    let cards: String = report.parts.iter().map(card).collect();
    let lead = format!(
        "Of each cluster {}. Blue is what is added, red what is taken away; pictures of a kind have one scale.",
        kinds.join(", and ")
    );
    section("parts", "What the clusters are made of", &lead, &format!("<div class=\"cards parts\">\n{cards}</div>\n"))
}

/// Centres and directions in numbers.
fn by_column(report: &RepresentReport) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for parts in &report.parts {
        let mut row = |name: String, values: &[f32]| {
            let cells = values.iter().map(|&value| format!("{value:.3}").replacen('-', "−", 1));
            rows.push([format!("{}, {name}", parts.name)].into_iter().chain(cells).collect());
        };
        if let Some(centre) = &parts.centre {
            row("mean".into(), centre);
        }
        parts.directions.iter().enumerate().for_each(|(at, values)| row(format!("direction {at}"), values));
    }
    let heads: Vec<String> = (0..report.columns).map(|column| column.to_string()).collect();
    let heads: Vec<&str> = [""].into_iter().chain(heads.iter().map(String::as_str)).collect();
    figures_table(&heads, &rows)
}
