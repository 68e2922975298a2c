//! The sections of a clustering's page, top to bottom. A section without data is an empty string.

use super::chart;
use super::format::{escape, score, seconds, significant, thousands, tick_label, ticks};
use super::parts::{self, figure, plural, section};
use super::{ReportData, Scores, colour, image};

/// More points than this only darken the picture and slow the page.
const MAX_POINTS: usize = 4000;

/// All images of the page together.
const MAX_IMAGES: usize = 1200;

impl ReportData {
    /// Class that a group is matched to.
    fn class_of(&self, group: usize) -> Option<usize> {
        self.truth.as_ref()?.matching.get(group).copied().flatten().map(|class| class as usize)
    }

    fn class_name(&self, class: usize) -> String {
        let name = self.truth.as_ref().and_then(|truth| truth.names.get(class).cloned());
        name.unwrap_or_else(|| class.to_string())
    }

    /// Groups in the order of their classes, so that tables read along a diagonal.
    fn ordered_groups(&self) -> Vec<usize> {
        let mut groups: Vec<usize> = (0..self.groups.k).collect();
        groups.sort_by_key(|&group| (self.class_of(group).unwrap_or(usize::MAX), group));
        groups
    }

    fn group_counts(&self) -> Vec<usize> {
        counts(&self.groups.assignments, self.groups.k)
    }
}

fn counts(values: &[u32], kinds: usize) -> Vec<usize> {
    let mut counts = vec![0; kinds];
    for &value in values {
        if let Some(count) = counts.get_mut(value as usize) {
            *count += 1;
        }
    }
    counts
}

/// Title and what was done.
pub fn header(data: &ReportData) -> String {
    let shape = match &data.images {
        Some(images) => {
            let kind = if images.channels == 3 { "colour images" } else { "images" };
            format!("{} × {} {kind}", images.height, images.width)
        }
        None => plural(data.dataset.cols, "column"),
    };
    let facts = [
        data.dataset.name.clone(),
        format!("{} of {shape}", plural(data.dataset.rows, "row")),
        data.method.clone(),
        format!("seed {}", data.run.seed),
        data.run.adapter.clone(),
    ];
    parts::header(&data.title, &facts)
}

/// Headline figures, and the same figures of simpler methods.
pub fn scores(data: &ReportData) -> String {
    let mut figures = String::new();
    for (name, value, note) in [
        ("Accuracy", data.scores.accuracy, "groups matched to classes"),
        ("NMI", data.scores.nmi, "normalised mutual information"),
        ("ARI", data.scores.ari, "adjusted Rand index"),
        ("Silhouette", data.scores.silhouette, "separation, without labels"),
    ] {
        if value.is_some() {
            figures += &figure(name, &score(value), note);
        }
    }
    let rate = format!("{} samples per second", thousands(data.run.samples_per_second.round() as u64));
    figures += &figure("Training", &seconds(data.run.seconds), &rate);
    let mut html = format!("<dl class=\"figures\">{figures}</dl>\n");

    if !data.baselines.is_empty() {
        let mut rows = String::new();
        let best = data.baselines.iter().filter_map(|baseline| main_score(&baseline.scores));
        let top = best.chain(main_score(&data.scores)).fold(1e-9, f64::max);
        let mut row = |name: &str, scores: &Scores, time: f64, class: &str| {
            let share = main_score(scores).unwrap_or(0.0).max(0.0) / top * 100.0;
            rows += &format!(
                "<tr{class}><th>{}</th><td class=\"bar\"><i style=\"width:{share:.1}%\"></i></td>\
                 <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                escape(name),
                score(scores.accuracy),
                score(scores.nmi),
                score(scores.ari),
                score(scores.silhouette),
                seconds(time),
            );
        };
        row(&data.method, &data.scores, data.run.seconds, " class=\"ours\"");
        for baseline in &data.baselines {
            row(&baseline.name, &baseline.scores, baseline.seconds, "");
        }
        // The accuracy stands right beside its bar; anything else needs a name.
        let bar_head = if data.scores.accuracy.is_some() { "" } else { "Silhouette" };
        html += &format!(
            "<div class=\"scroll\"><table class=\"baselines\">\n<thead><tr><th>Method</th><th class=\"bar\">{}</th>\
             <th>Accuracy</th><th>NMI</th><th>ARI</th><th>Silhouette</th><th>Time</th></tr></thead>\n\
             <tbody>\n{rows}</tbody></table></div>\n",
            bar_head,
        );
    }
    format!("<section id=\"scores\">\n{html}</section>\n")
}

/// The score that the bars show.
fn main_score(scores: &Scores) -> Option<f64> {
    scores.accuracy.or(scores.silhouette)
}

/// Learned against assigned and true group sizes.
pub fn sizes(data: &ReportData) -> String {
    let rows = data.dataset.rows as f64;
    let assigned = data.group_counts();
    let learned = data.groups.learned.as_ref();
    let true_counts = data.truth.as_ref().map(|truth| counts(&truth.labels, truth.names.len()));
    let true_size = |group: usize| true_counts.as_ref().and_then(|sizes| sizes.get(data.class_of(group)?).copied());
    let learned_size = |group: usize| learned.and_then(|shares| shares.get(group)).map(|share| share * rows);
    let highest = (0..data.groups.k)
        .flat_map(|group| [Some(assigned[group] as f64), true_size(group).map(|n| n as f64), learned_size(group)])
        .flatten()
        .fold(1.0, f64::max);
    let high = highest * 1.04;
    let percent = |size: f64| format!("{:.2}%", size / high * 100.0);

    let mut body = String::new();
    for group in data.ordered_groups() {
        let mut track = String::new();
        if let Some(size) = learned_size(group) {
            track += &format!("<b class=\"learned\" style=\"width:{}\"></b>", percent(size));
        }
        track += &format!("<b class=\"assigned\" style=\"width:{}\"></b>", percent(assigned[group] as f64));
        if let Some(size) = true_size(group) {
            track += &format!("<b class=\"true\" style=\"left:{}\"></b>", percent(size as f64));
        }
        let class = match data.class_of(group) {
            Some(class) => format!("<td class=\"class\">{}</td>", escape(&data.class_name(class))),
            None if data.truth.is_some() => "<td class=\"class\">–</td>".into(),
            None => String::new(),
        };
        let cell = |value: Option<String>| value.map_or("<td>–</td>".into(), |value| format!("<td>{value}</td>"));
        let learned_cell =
            learned.map_or(String::new(), |_| cell(learned_size(group).map(|n| thousands(n.round() as u64))));
        let true_cell =
            true_counts.as_ref().map_or(String::new(), |_| cell(true_size(group).map(|n| thousands(n as u64))));
        body += &format!(
            "<tr style=\"--c:{}\"><th><i class=\"dot\"></i>{group}</th>{class}<td class=\"track\"><div>{track}</div></td>\
             {learned_cell}<td>{}</td>{true_cell}</tr>\n",
            colour::of_group(group),
            thousands(assigned[group] as u64),
        );
    }
    let marks = ticks(0.0, high, 5);
    let step = marks.get(1).copied().unwrap_or(1.0);
    let axis: String = marks
        .iter()
        .map(|&mark| format!("<span style=\"left:{}\">{}</span>", percent(mark), tick_label(mark, step)))
        .collect();
    let grid: String = marks.iter().map(|&mark| format!("<s style=\"left:{}\"></s>", percent(mark))).collect();
    let body = body.replace("<td class=\"track\"><div>", &format!("<td class=\"track\"><div>{grid}"));

    let class_head = if data.truth.is_some() { "<th class=\"class\">Class</th>" } else { "" };
    let class_foot = if data.truth.is_some() { "<td class=\"class\"></td>" } else { "" };
    let (learned_head, learned_key) = match learned {
        Some(_) => ("<th>Learned</th>", "<li><i class=\"key learned\"></i>learned by the model</li>"),
        None => ("", ""),
    };
    let (true_head, true_key) = match true_counts {
        Some(_) => ("<th>True</th>", "<li><i class=\"key true\"></i>true size of the matched class</li>"),
        None => ("", ""),
    };
    let lead = match (learned, &data.truth) {
        (Some(_), Some(_)) => {
            "What the model believes about the size of each group, how many rows each group received, and how many rows its class really has."
        }
        (Some(_), None) => {
            "What the model believes about the size of each group, and how many rows each group received."
        }
        (None, Some(_)) => "How many rows each group received, and how many its class really has.",
        (None, None) => "How many rows each group received.",
    };
    let content = format!(
        "<ul class=\"legend\">{learned_key}<li><i class=\"key assigned\"></i>assigned rows</li>{true_key}</ul>\n\
         <div class=\"scroll\"><table class=\"sizes\">\n<thead><tr><th>Group</th>{class_head}<th class=\"track\"></th>\
         {learned_head}<th>Assigned</th>{true_head}</tr></thead>\n<tbody>\n{body}</tbody>\n\
         <tfoot><tr><td></td>{class_foot}<td class=\"track\"><div>{axis}</div><p>rows</p></td></tr></tfoot></table></div>\n"
    );
    section("sizes", "How many of each", lead, &content)
}

/// The latent space in the plane, by group and by class.
pub fn latent(data: &ReportData) -> String {
    let Some(latent) = data.latent.as_ref().filter(|latent| !latent.points.is_empty()) else {
        return String::new();
    };
    let stride = latent.points.len().div_ceil(MAX_POINTS).max(1);
    let shown: Vec<usize> = (0..latent.points.len())
        .step_by(stride)
        .filter(|&at| latent.points[at].iter().all(|x| x.is_finite()))
        .collect();
    let bounds = chart::bounds(shown.iter().map(|&at| latent.points[at]));
    let axes = [0, 1].map(|i| format!("component {} ({:.0} % of variance)", i + 1, latent.explained[i] * 100.0));
    let panel = |title: &str, prefix: &str, kinds: &[u32], names: &[String], colours: &[String]| {
        let points = shown.iter().map(|&at| (kinds.get(latent.rows[at]).copied(), latent.points[at]));
        let clouds = parts::clouds(prefix, points, names, colours);
        parts::scatter_panel(title, &clouds, bounds, &axes, &[])
    };
    let groups: Vec<String> = (0..data.groups.k).map(|group| group.to_string()).collect();
    let group_colours: Vec<String> = (0..data.groups.k).map(colour::of_group).collect();
    let mut panels = panel("by group", "g", &data.groups.assignments, &groups, &group_colours);
    if let Some(truth) = &data.truth {
        panels += &panel(
            "by true class",
            "t",
            &truth.labels,
            &truth.names,
            &colour::of_classes(&truth.matching, truth.names.len()),
        );
    }
    let rows = data.groups.assignments.len();
    let part = match shown.len() == rows {
        true => String::new(),
        false => format!(" {} of {} rows are shown.", thousands(shown.len() as u64), thousands(rows as u64)),
    };
    let colours = if data.truth.is_some() { " A class has the colour of the group that it is matched to." } else { "" };
    let lead = format!(
        "Each row's place in the latent space, along its two widest directions.{colours}{part} Point at a name to single it out, click to keep it."
    );
    section("latent", "The latent space", &lead, &format!("<div class=\"panels\">\n{panels}</div>\n"))
}

/// Images of each group: their mean, the surest, and some at random.
pub fn samples(data: &ReportData) -> String {
    let Some(images) = &data.images else {
        return String::new();
    };
    let per_row = (MAX_IMAGES / (2 * data.groups.k).max(1)).clamp(4, 12);
    let picked = image::pick(&data.groups.assignments, &data.groups.confidence, data.groups.k, per_row, data.run.seed);
    let sizes = data.group_counts();
    let mut cards = String::new();
    for group in data.ordered_groups() {
        let class = data.class_of(group);
        let strip = |rows: &[usize]| -> String {
            rows.iter()
                .filter_map(|&row| {
                    let uri = images.data_uri(row)?;
                    let mut note =
                        format!("row {row}, probability {}", significant(f64::from(data.groups.confidence[row]), 3));
                    let mut odd = "";
                    if let Some(truth) = &data.truth {
                        let label = truth.labels.get(row).map(|&label| label as usize);
                        note += &format!(", class {}", label.map_or("?".into(), |label| data.class_name(label)));
                        if label != class {
                            odd = " class=\"odd\"";
                        }
                    }
                    Some(format!("<img{odd} src=\"{uri}\" alt=\"{0}\" title=\"{0}\">", escape(&note)))
                })
                .collect()
        };
        let mean = |group: usize| {
            let rows = data.groups.assignments.iter().enumerate().filter(|&(_, &of)| of as usize == group);
            let uri = images.mean_uri(rows.map(|(row, _)| row));
            uri.map_or(String::new(), |uri| format!("<img src=\"{uri}\" alt=\"mean of group {group}\">"))
        };
        let matched =
            class.map_or(String::new(), |class| format!("<span>class {}</span>", escape(&data.class_name(class))));
        let content = match sizes[group] {
            0 => "<p class=\"empty\">No row belongs to this group.</p>".into(),
            _ => format!(
                "<h4>Mean</h4><div class=\"strip\">{}</div>\n<h4>Most confident</h4><div class=\"strip\">{}</div>\n<h4>At random</h4><div class=\"strip\">{}</div>",
                mean(group),
                strip(&picked[group].confident),
                strip(&picked[group].random)
            ),
        };
        cards += &format!(
            "<article style=\"--c:{}\"><h3><i class=\"dot\"></i>Group {group}{matched}<span>{}</span></h3>\n{content}</article>\n",
            colour::of_group(group),
            plural(sizes[group], "row")
        );
    }
    let odd = if data.truth.is_some() { " An underline marks images of another class than the group's." } else { "" };
    let lead = format!("The mean of all rows, the rows that the model is surest of, and rows drawn at random.{odd}");
    section("samples", "What the groups look like", &lead, &format!("<div class=\"cards\">\n{cards}</div>\n"))
}

/// True classes against groups.
pub fn confusion(data: &ReportData) -> String {
    let Some(truth) = &data.truth else {
        return String::new();
    };
    let groups = data.ordered_groups();
    let mut matrix = vec![vec![0usize; data.groups.k]; truth.names.len()];
    for (&label, &group) in truth.labels.iter().zip(&data.groups.assignments) {
        if let Some(cell) = matrix.get_mut(label as usize).and_then(|row| row.get_mut(group as usize)) {
            *cell += 1;
        }
    }
    let head: String = groups
        .iter()
        .map(|&group| format!("<th style=\"--c:{}\"><i class=\"dot\"></i>{group}</th>", colour::of_group(group)))
        .collect();
    let mut body = String::new();
    for (class, row) in matrix.iter().enumerate() {
        let total: usize = row.iter().sum();
        let mut right = 0;
        let cells: String = groups
            .iter()
            .map(|&group| {
                let count = row[group];
                let share = count as f64 / total.max(1) as f64;
                let mut names = Vec::new();
                if data.class_of(group) == Some(class) {
                    right = count;
                    names.push("match");
                }
                if share > 0.5 {
                    names.push("strong");
                }
                let text = if count == 0 { "<span>·</span>".into() } else { thousands(count as u64) };
                format!("<td class=\"{}\" style=\"--s:{:.0}%\">{text}</td>", names.join(" "), share * 100.0)
            })
            .collect();
        body += &format!(
            "<tr><th>{}</th>{cells}<td class=\"total\">{}</td><td class=\"total\">{:.0} %</td></tr>\n",
            escape(&truth.names[class]),
            thousands(total as u64),
            right as f64 / total.max(1) as f64 * 100.0
        );
    }
    let content = format!(
        "<div class=\"scroll\"><table class=\"confusion\">\n<thead><tr><th></th><th class=\"over\" colspan=\"{}\">Group</th><th></th><th></th></tr>\n\
         <tr><th>Class</th>{head}<th class=\"total\">Rows</th><th class=\"total\">Found</th></tr></thead>\n<tbody>\n{body}</tbody></table></div>\n",
        groups.len()
    );
    let lead = "Rows of each true class by the group that they fell into. Groups stand in the order of their classes; a frame marks the match, shade the share of the class.";
    section("confusion", "Classes and groups", lead, &content)
}
