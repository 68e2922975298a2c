//! The page: one file, nothing from elsewhere.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Rows, cases, describe, describe_peers, peers, roofline};

const STYLE: &str = include_str!("page.css");

/// All figures as HTML; `compared` is the table of a comparison.
pub fn page(figures: &Value, compared: Option<&Rows>) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>softurn bench</title>\n<style>\n{STYLE}</style></head>\n\
         <body><main>\n<h1>softurn bench</h1>\n<p>{}</p>\n",
        escape(&describe(figures))
    );
    if let Some(svg) = roofline::svg(figures) {
        page += "<h2>Roofline</h2>\n<p>Cases whose operations somebody counts, by what a run binds and copies; an \
                 exponential is one operation. Points on the slope move bytes as fast as a copy does.</p>\n";
        page += &svg;
    }
    page += "\n<h2>Cases</h2>\n<p>Medians per run; ± is the median absolute deviation of the samples.</p>\n";
    table(&mut page, &cases(figures));
    let peers = peers(figures);
    if peers.len() > 1 {
        let _ = writeln!(page, "<h2>Peers</h2>\n<p>{}</p>", escape(&describe_peers(figures)));
        table(&mut page, &peers);
    }
    if let Some(rows) = compared {
        page += "<h2>Compared</h2>\n";
        table(&mut page, rows);
    }
    page + "</main></body></html>\n"
}

fn table(page: &mut String, rows: &Rows) {
    *page += "<div class=\"scroll\"><table>\n";
    for (i, row) in rows.iter().enumerate() {
        let tag = if i == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        let _ = writeln!(page, "<tr>{cells}</tr>");
    }
    *page += "</table></div>\n";
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let figures = serde_json::json!({"adapter": "a <b> & c", "clock": "cpu_ms", "cases": []});
        let page = page(&figures, Some(&vec![vec!["<i>".to_owned()]]));
        assert!(page.contains("a &lt;b&gt; &amp; c") && page.contains("<th>&lt;i&gt;</th>"));
        assert!(!page.contains("<svg"), "no ceilings, no roofline");
    }
}
