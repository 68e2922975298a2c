//! What all reports are made of: the page, its head, sections, curves, and how to do the run again.

use super::Run;
use super::chart::{self, Cloud, Segment};
use super::format::{escape, seconds, significant, thousands};

/// The page as one string of HTML, styles, pictures and script included.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} · softurn</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <script>\n{}</script>\n</body>\n</html>\n",
        escape(title),
        include_str!("style.css"),
        include_str!("script.js"),
    )
}

/// `1 row`, `2,000 rows`.
pub fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}

/// A part of the page with a heading and a sentence that says what it shows.
pub fn section(id: &str, title: &str, lead: &str, content: &str) -> String {
    format!("<section id=\"{id}\">\n<h2>{title}</h2>\n<p class=\"lead\">{lead}</p>\n{content}</section>\n")
}

/// Title and what was done.
pub fn header(title: &str, facts: &[String]) -> String {
    let facts: String = facts.iter().map(|fact| format!("<li>{}</li>", escape(fact))).collect();
    format!(
        "<header>\n<p class=\"mark\">softurn</p>\n<h1>{}</h1>\n<ul class=\"facts\">{facts}</ul>\n</header>\n",
        escape(title)
    )
}

/// One of the large figures at the top.
pub fn figure(name: &str, value: &str, note: &str) -> String {
    format!("<div><dt>{name}</dt><dd>{}</dd><p>{note}</p></div>", escape(value))
}

/// What the colours of a picture stand for: classes of keys, and words.
pub fn legend(keys: &[(&str, &str)]) -> String {
    let keys: String = keys
        .iter()
        .map(|(class, text)| format!("<span><i class=\"key {class}\"></i>{}</span>", escape(text)))
        .collect();
    format!("<div class=\"legend\">{keys}</div>\n")
}

/// Points by kind, of names and colours; those without a kind are left out.
pub fn clouds(
    prefix: &str,
    points: impl Iterator<Item = (Option<u32>, [f32; 2])>,
    names: &[String],
    colours: &[String],
) -> Vec<Cloud> {
    let cloud = |(kind, name): (usize, &String)| Cloud {
        name: name.clone(),
        colour: colours[kind].clone(),
        key: format!("{prefix}{kind}"),
        points: Vec::new(),
    };
    let mut clouds: Vec<Cloud> = names.iter().enumerate().map(cloud).collect();
    for (kind, point) in points {
        if let Some(cloud) = kind.and_then(|kind| clouds.get_mut(kind as usize)) {
            cloud.points.push(point);
        }
    }
    clouds
}

/// A scatter plot with a key for each cloud, and segments over it.
pub fn scatter_panel(
    title: &str,
    clouds: &[Cloud],
    bounds: [[f32; 2]; 2],
    axes: &[String; 2],
    segments: &[Segment],
) -> String {
    let keys: String = clouds
        .iter()
        .map(|cloud| {
            format!(
                "<button type=\"button\" data-g=\"{}\" aria-pressed=\"false\"><i class=\"dot\" style=\"--c:{}\"></i>{}</button>",
                escape(&cloud.key), escape(&cloud.colour), escape(&cloud.name)
            )
        })
        .collect();
    let axes = [axes[0].as_str(), axes[1].as_str()];
    format!(
        "<figure class=\"panel\"><figcaption>{title}</figcaption>\n{}\n<div class=\"keys\">{keys}</div></figure>\n",
        chart::scatter(clouds, bounds, axes, &format!("Rows {title}"), segments)
    )
}

/// A table of figures: the heads of its columns and the cells of its rows, of which the first is a name.
pub fn figures_table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let head: String = heads.iter().map(|head| format!("<th>{}</th>", escape(head))).collect();
    let row = |cells: &Vec<String>| -> String {
        let cell = |(at, cell): (usize, &String)| match at {
            0 => format!("<th>{}</th>", escape(cell)),
            _ => format!("<td>{}</td>", escape(cell)),
        };
        format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
    };
    let body: String = rows.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table class=\"baselines\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
}

/// Curves of every phase.
pub fn training(run: &Run) -> String {
    let mut content = String::new();
    for phase in &run.phases {
        let mut charts = String::new();
        if phase.metrics.iter().any(|curve| !curve.points.is_empty()) {
            let lowest = phase.metrics.iter().flat_map(|curve| &curve.points).map(|point| point.1).fold(0.0, f64::min);
            charts += &format!(
                "<figure class=\"wide\"><figcaption>scores</figcaption>{}</figure>\n",
                chart::lines(&phase.metrics, (660.0, 230.0), Some((lowest, 1.0)))
            );
        }
        for curve in phase.losses.iter().filter(|curve| !curve.points.is_empty()) {
            let last = curve.points.last().map_or(f64::NAN, |point| point.1);
            charts += &format!(
                "<figure><figcaption>{}<span>{}</span></figcaption>{}</figure>\n",
                escape(&curve.name),
                significant(last, 4),
                chart::lines(std::slice::from_ref(curve), (320.0, 200.0), None)
            );
        }
        content += &format!(
            "<h3 class=\"phase\">{}<span>{} in {}</span><span>{} samples per second</span></h3>\n<div class=\"charts\">\n{charts}</div>\n",
            escape(&phase.name),
            plural(phase.epochs, "epoch"),
            seconds(phase.seconds),
            thousands(phase.samples_per_second.round() as u64)
        );
    }
    if content.is_empty() {
        return content;
    }
    section(
        "training",
        "Training",
        "Loss, its parts and the scores, epoch by epoch. Figures beside the names are those of the last epoch.",
        &content,
    )
}

/// How to do it again.
pub fn how(run: &Run) -> String {
    let rows: String = run
        .config
        .iter()
        .map(|(key, value)| format!("<tr><th>{}</th><td>{}</td></tr>\n", escape(key), escape(value)))
        .collect();
    let content = format!(
        "<pre><code>{}</code></pre>\n<table class=\"config\"><tbody>\n{rows}</tbody></table>\n",
        escape(&run.command)
    );
    let lead = format!("The same command on {} gives the same figures to the last bit.", escape(&run.adapter));
    section("run", "This run", &lead, &content)
        + &format!("<footer>Made by softurn {}. This page needs no network.</footer>\n", env!("CARGO_PKG_VERSION"))
}
