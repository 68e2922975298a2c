//! The roofline (Williams, Waterman and Patterson 2009): operations per byte against operations per second, under the
//! ceilings of copies and of matrix products. An SVG whose colours are the page's.

use std::fmt::Write as _;

use serde_json::Value;

use super::Case;
use crate::table::{number, short};

const WIDTH: f64 = 1160.0;
const HEIGHT: f64 = 760.0;
/// Of the plot: left, top, right, bottom.
const FRAME: [f64; 4] = [64.0, 30.0, WIDTH - 20.0, HEIGHT - 52.0];
/// Of a label's letters, in pixels, rather too much than too little.
const LETTER: [f64; 2] = [6.3, 12.0];
const RADIUS: f64 = 4.5;

/// Left, top, right, bottom.
type Box4 = [f64; 4];

struct Point {
    group: String,
    label: String,
    told: String,
    at: [f64; 2],
}

/// Logarithmic axes over whole decades.
struct Axes {
    x: [i32; 2],
    y: [i32; 2],
}

impl Axes {
    fn over(points: &[[f64; 2]]) -> Self {
        let decades = |i: usize| {
            let logs = points.iter().map(|point| point[i].log10());
            let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
            [low.floor() as i32, (high + 0.05).ceil() as i32]
        };
        Self { x: decades(0), y: decades(1) }
    }

    fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let share = |value: f64, [low, high]: [i32; 2]| (value.log10() - f64::from(low)) / f64::from(high - low);
        let [left, top, right, bottom] = FRAME;
        [left + (right - left) * share(x, self.x), bottom - (bottom - top) * share(y, self.y)]
    }
}

/// The picture of a run; `None` where its ceilings are unknown or no case counts operations.
pub fn svg(figures: &Value) -> Option<String> {
    let (copy, matmul) = (number(figures, "copy_gb_s")?, number(figures, "matmul_gflop_s")?);
    let values: Vec<(Case<'_>, [f64; 2])> = Case::all(figures)
        .filter_map(|case| {
            let at = [case.number("flop")? / case.bytes()?, case.gigaflops()?];
            at.iter().all(|value| *value > 0.0 && value.is_finite()).then_some((case, at))
        })
        .collect();
    if values.is_empty() {
        return None;
    }
    let ridge = [matmul / copy, matmul];
    let all: Vec<[f64; 2]> = values.iter().map(|(_, at)| *at).chain([ridge]).collect();
    let axes = Axes::over(&all);
    let points: Vec<Point> = values
        .iter()
        .map(|(case, at)| {
            let again = values.iter().filter(|(other, _)| other.text("case") == case.text("case")).count() > 1;
            let title = format!("{} {}", case.text("case"), case.text("shape"));
            Point {
                group: case.text("group").to_owned(),
                label: if again { title.clone() } else { case.text("case").to_owned() },
                told: format!("{title}: {} GFLOP/s at {} operations per byte", short(at[1]), short(at[0])),
                at: axes.place(*at),
            }
        })
        .collect();
    let mut svg = format!(r#"<svg class="roofline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Roofline">"#);
    grid(&mut svg, &axes);
    let mut taken = roof(&mut svg, &axes, copy, matmul);
    taken.extend(legend(&mut svg, &points));
    taken.extend(points.iter().map(|point| around(point.at, RADIUS + 1.0)));
    for (point, (label, end)) in points.iter().zip(place_labels(&points, taken)) {
        let [x, y] = point.at;
        let from = [label[0], label[2]].into_iter().min_by(|a, b| (a - x).abs().total_cmp(&(b - x).abs())).unwrap_or(x);
        let middle = (label[1] + label[3]) / 2.0;
        if (from - x).hypot(middle - y) > 3.0 * RADIUS {
            let _ = write!(svg, r#"<line class="leader" x1="{x:.1}" y1="{y:.1}" x2="{from:.1}" y2="{middle:.1}"/>"#);
        }
        let (anchor, at) = if end { ("end", label[2] - 2.0) } else { ("start", label[0] + 2.0) };
        let _ =
            write!(svg, r#"<text text-anchor="{anchor}" x="{at:.1}" y="{:.1}">{}</text>"#, label[3] - 3.0, point.label);
    }
    for Point { group, told, at: [x, y], .. } in &points {
        let _ = write!(
            svg,
            r#"<circle class="{group}" cx="{x:.1}" cy="{y:.1}" r="{RADIUS}"><title>{told}</title></circle>"#
        );
    }
    svg += "</svg>";
    Some(svg)
}

fn around([x, y]: [f64; 2], by: f64) -> Box4 {
    [x - by, y - by, x + by, y + by]
}

fn power(exponent: i32) -> String {
    if (-3..=4).contains(&exponent) { format!("{}", 10f64.powi(exponent)) } else { format!("1e{exponent}") }
}

fn grid(svg: &mut String, axes: &Axes) {
    let [left, top, right, bottom] = FRAME;
    for exponent in axes.x[0]..=axes.x[1] {
        let [x, _] = axes.place([10f64.powi(exponent), 1.0]);
        let _ = write!(svg, r#"<line class="grid" x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{bottom}"/>"#);
        let label = power(exponent);
        let _ =
            write!(svg, r#"<text class="axis" text-anchor="middle" x="{x:.1}" y="{}">{label}</text>"#, bottom + 18.0);
    }
    for exponent in axes.y[0]..=axes.y[1] {
        let [_, y] = axes.place([1.0, 10f64.powi(exponent)]);
        let _ = write!(svg, r#"<line class="grid" x1="{left}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#);
        let label = power(exponent);
        let _ =
            write!(svg, r#"<text class="axis" text-anchor="end" x="{}" y="{:.1}">{label}</text>"#, left - 8.0, y + 4.0);
    }
    let middle = (left + right) / 2.0;
    let _ = write!(
        svg,
        r#"<text class="axis" text-anchor="middle" x="{middle}" y="{}">operations per byte</text>"#,
        bottom + 40.0
    );
    let _ = write!(svg, r#"<text class="axis" x="8" y="{}">GFLOP/s</text>"#, top - 12.0);
}

/// The two ceilings with their names; returns where labels must not go.
fn roof(svg: &mut String, axes: &Axes, copy: f64, matmul: f64) -> Vec<Box4> {
    let [left, _, right, bottom] = FRAME;
    let low = 10f64.powi(axes.x[0]).max(10f64.powi(axes.y[0]) / copy);
    let corners =
        [[low, low * copy], [matmul / copy, matmul], [10f64.powi(axes.x[1]), matmul]].map(|at| axes.place(at));
    let path: Vec<String> = corners.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(svg, r#"<polyline class="roof" points="{}"/>"#, path.join(" "));
    let mut taken = Vec::new();
    for pair in corners.windows(2) {
        let steps = 200;
        taken.extend((0..=steps).map(|i| {
            let t = f64::from(i) / f64::from(steps);
            around([0, 1].map(|axis| pair[0][axis] + t * (pair[1][axis] - pair[0][axis])), 2.0)
        }));
    }
    let mut name = |text: String, end: bool, [x, y]: [f64; 2], turn: f64| {
        let anchor = if end { "end" } else { "start" };
        let turned = format!("rotate({turn:.2} {x:.1} {y:.1})");
        let _ = write!(
            svg,
            r#"<text class="ceiling" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}" transform="{turned}">{text}</text>"#
        );
        // Along the turned text.
        let (length, sin, cos) = (7.0 * text.chars().count() as f64, turn.to_radians().sin(), turn.to_radians().cos());
        let sign = if end { -1.0 } else { 1.0 };
        taken.extend((0..=20).map(|i| {
            let along = sign * length * f64::from(i) / 20.0;
            around([x + along * cos + 5.0 * sin, y + along * sin - 5.0 * cos], 9.0)
        }));
    };
    let slope = (corners[1][1] - corners[0][1]).atan2(corners[1][0] - corners[0][0]);
    let start = [corners[0][0] + 14.0 * slope.cos(), corners[0][1] + 14.0 * slope.sin()];
    let above = [start[0] + 8.0 * slope.sin(), start[1] - 8.0 * slope.cos()];
    name(format!("copy, {} GB/s", short(copy)), false, above, slope.to_degrees());
    name(format!("best matmul, {} GFLOP/s", short(matmul)), true, [right - 6.0, corners[2][1] - 8.0], 0.0);
    taken.extend([[0.0, 0.0, left + 2.0, HEIGHT], [0.0, bottom - 2.0, WIDTH, HEIGHT]]);
    taken
}

/// Groups by colour, at the lower right where nothing is fast for its operations.
fn legend(svg: &mut String, points: &[Point]) -> Option<Box4> {
    let mut groups: Vec<&str> = points.iter().map(|point| point.group.as_str()).collect();
    groups.dedup();
    let (left, top) = (FRAME[2] - 110.0, FRAME[3] - 20.0 * groups.len() as f64 - 10.0);
    for (i, group) in groups.iter().enumerate() {
        let y = top + 10.0 + 20.0 * i as f64;
        let _ = write!(svg, r#"<circle class="{group}" cx="{left}" cy="{y}" r="{RADIUS}"/>"#);
        let _ = write!(svg, r#"<text x="{}" y="{}">{group}</text>"#, left + 12.0, y + 4.0);
    }
    Some([left - 8.0, top, FRAME[2], FRAME[3]])
}

/// For each point the first free box of rings around it, and whether the text ends at the point. The crowded come first.
fn place_labels(points: &[Point], mut taken: Vec<Box4>) -> Vec<(Box4, bool)> {
    let distance = |a: &Point, b: &Point| (a.at[0] - b.at[0]).hypot(a.at[1] - b.at[1]);
    let crowd = |point: &Point| points.iter().filter(|other| distance(point, other) < 60.0).count();
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(crowd(&points[i])));
    let mut placed = vec![([0.0; 4], false); points.len()];
    for i in order {
        let (point, width) = (&points[i], LETTER[0] * points[i].label.chars().count() as f64 + 4.0);
        let candidates = (0..40).flat_map(|ring| {
            let radius = RADIUS + 4.0 + 8.0 * f64::from(ring);
            (0..24).map(move |turn| {
                // To the right first, then further and further from the horizontal on either side.
                let angle = f64::from(turn / 4) * std::f64::consts::PI / 12.0;
                let (side, up) = (turn % 2 == 1, turn % 4 >= 2);
                (radius * angle.cos(), if up { -radius * angle.sin() } else { radius * angle.sin() }, side)
            })
        });
        let to_box = |(dx, dy, left): (f64, f64, bool)| {
            let (x, y) = (point.at[0] + if left { -dx } else { dx }, point.at[1] + dy);
            let half = LETTER[1] / 2.0;
            (if left { [x - width, y - half, x, y + half] } else { [x, y - half, x + width, y + half] }, left)
        };
        let free = |(label, _): &(Box4, bool)| {
            let inside = label[0] > FRAME[0] && label[1] > 0.0 && label[2] < FRAME[2] && label[3] < FRAME[3];
            inside && !taken.iter().any(|other| overlap(*label, *other))
        };
        let mut boxes = candidates.map(to_box);
        let first = boxes.next().unwrap_or(([0.0; 4], false));
        let found = std::iter::once(first).chain(boxes).find(free).unwrap_or(first);
        taken.push(found.0);
        placed[i] = found;
    }
    placed
}

fn overlap(a: Box4, b: Box4) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn axes_are_logarithmic() {
        let axes = Axes::over(&[[0.2, 3.0], [40.0, 800.0]]);
        assert_eq!((axes.x, axes.y), ([-1, 2], [0, 3]));
        let [left, top, right, bottom] = FRAME;
        assert_eq!(axes.place([0.1, 1.0]), [left, bottom]);
        assert_eq!(axes.place([100.0, 1000.0]), [right, top]);
        let [x, _] = axes.place([1.0, 1.0]);
        assert!((x - (left + (right - left) / 3.0)).abs() < 1e-9);
    }

    #[test]
    fn labels_do_not_overlap() {
        let point = |i: usize| Point {
            group: "rows".into(),
            label: format!("case number {i}"),
            told: String::new(),
            at: [400.0 + 3.0 * i as f64, 300.0 + 5.0 * (i % 4) as f64],
        };
        let points: Vec<Point> = (0..30).map(point).collect();
        let labels = place_labels(&points, Vec::new());
        for (i, (a, _)) in labels.iter().enumerate() {
            assert!(labels[..i].iter().all(|(b, _)| !overlap(*a, *b)), "label {i}");
        }
    }

    #[test]
    fn only_cases_with_operations_are_points() {
        let case = |name: &str, flop: Option<f64>| json!({"group": "rows", "case": name, "shape": "1", "flop": flop, "bytes": 10.0, "cpu_ms": 1.0, "cpu_ms_mad": 0.0});
        let mut figures = json!({"clock": "cpu_ms", "copy_gb_s": 2.0, "matmul_gflop_s": 8.0});
        figures["cases"] = json!([case("counted", Some(5.0)), case("uncounted", None)]);
        let svg = svg(&figures).unwrap();
        assert!(svg.contains("<text text-anchor=\"start\"") && svg.contains(">counted</text>"));
        assert!(!svg.contains("uncounted"));
        figures["copy_gb_s"] = Value::Null;
        assert!(super::svg(&figures).is_none());
    }
}
