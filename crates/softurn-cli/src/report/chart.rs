//! Line charts, bars and scatter plots as inline SVG; colours and type come from the style sheet.

use super::format::{escape, significant, tick_label, ticks};

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What it measures.
    pub name: String,
    /// `(epoch, value)`; values that are not finite leave a gap.
    pub points: Vec<(f64, f64)>,
}

/// A line chart of the curves over epochs. `range` fixes the vertical axis, which otherwise fits the data.
pub fn lines(curves: &[Curve], size: (f64, f64), range: Option<(f64, f64)>) -> String {
    lines_over("epoch", curves, size, range)
}

/// The same over whole numbers, or shares of one, of which `axis` says what they are.
pub fn lines_over(axis: &str, curves: &[Curve], size: (f64, f64), range: Option<(f64, f64)>) -> String {
    let (width, height) = size;
    let several = curves.len() > 1;
    // Names stand beside the ends of their lines: 6.3 units per letter, and room for a figure.
    let longest = curves.iter().map(|curve| curve.name.chars().count() + 6).max().unwrap_or(0);
    let right = if several { 14.0 + 6.3 * longest as f64 } else { 12.0 };
    let (left, top, bottom) = (46.0, 10.0, 36.0);
    let finite = || curves.iter().flat_map(|curve| &curve.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        match (low <= high, low == high) {
            (false, _) => (0.0, 1.0),
            (_, true) => (low - 0.5, high + 0.5),
            _ => (low, high),
        }
    };
    let (x_low, x_high) = span(&mut finite().map(|point| point.0));
    let (y_low, y_high) = range.unwrap_or_else(|| {
        let (low, high) = span(&mut finite().map(|point| point.1));
        let margin = 0.04 * (high - low);
        (low - margin, high + margin)
    });
    let x_of = |x: f64| left + (x - x_low) / (x_high - x_low) * (width - left - right);
    let y_of = |y: f64| top + (y_high - y) / (y_high - y_low) * (height - top - bottom);

    let names = curves.iter().map(|curve| curve.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{} by {}\">",
        escape(&names),
        escape(axis)
    );
    let y_ticks = ticks(y_low, y_high, 4);
    let step = y_ticks.get(1).map_or(1.0, |next| next - y_ticks[0]);
    for &tick in &y_ticks {
        let y = y_of(tick);
        svg += &format!("<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", width - right);
        svg += &format!(
            "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 7.0,
            y + 3.5,
            tick_label(tick, step)
        );
    }
    // Of whole numbers, whole ones.
    let whole = finite().all(|(x, _)| x.fract() == 0.0);
    let x_ticks: Vec<f64> = ticks(x_low, x_high, 5).into_iter().filter(|x| !whole || x.fract() == 0.0).collect();
    let step = x_ticks.get(1).map_or(1.0, |next| next - x_ticks[0]);
    for &tick in &x_ticks {
        let x = x_of(tick);
        let y = height - bottom;
        svg += &format!("<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{}\"/>", y + 4.0);
        svg += &format!(
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            y + 16.0,
            tick_label(tick, step)
        );
    }
    let middle = (left + width - right) / 2.0;
    svg += &format!(
        "<line class=\"axis\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>",
        width - right,
        height - bottom
    );
    svg += &format!(
        "<text class=\"tick\" x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        height - 4.0,
        escape(axis)
    );

    let mut labels = Vec::new();
    for (index, curve) in curves.iter().enumerate() {
        let mut path = String::new();
        let mut pen_down = false;
        for &(x, y) in &curve.points {
            if !(x.is_finite() && y.is_finite()) {
                pen_down = false;
                continue;
            }
            path += &format!("{}{:.1} {:.1}", if pen_down { 'L' } else { 'M' }, x_of(x), y_of(y));
            pen_down = true;
        }
        svg += &format!("<path class=\"line s{}\" d=\"{path}\"/>", index % 5);
        if let Some(&(x, y)) = curve.points.iter().rev().find(|(x, y)| x.is_finite() && y.is_finite()) {
            svg +=
                &format!("<circle class=\"end s{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>", index % 5, x_of(x), y_of(y));
            labels.push((y_of(y), index, format!("{} {}", curve.name, significant(y, 3))));
        }
    }
    if several {
        for (y, index, text) in apart(labels, 14.0, height - bottom) {
            svg += &format!(
                "<text class=\"series s{}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                index % 5,
                width - right + 8.0,
                y + 3.5,
                escape(&text)
            );
        }
    }
    svg + "</svg>"
}

/// Moves labels apart so that none covers another, and none sinks below `floor`.
fn apart(mut labels: Vec<(f64, usize, String)>, gap: f64, floor: f64) -> Vec<(f64, usize, String)> {
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    for i in 1..labels.len() {
        labels[i].0 = labels[i].0.max(labels[i - 1].0 + gap);
    }
    let mut ceiling = floor;
    for label in labels.iter_mut().rev() {
        label.0 = label.0.min(ceiling);
        ceiling = label.0 - gap;
    }
    labels
}

/// Bars of heights in 0..1 over 0, 1, 2 and so on, those of several series side by side, and a line at `truth`.
pub fn bars(series: &[&[f64]], truth: Option<f64>, axis: &str) -> String {
    const WIDTH: f64 = 460.0;
    const HEIGHT: f64 = 240.0;
    const EDGES: [f64; 4] = [46.0, 12.0, 10.0, 36.0];
    let [left, right, top, bottom] = EDGES;
    let finite = series.iter().copied().flatten().copied().filter(|height| height.is_finite());
    let high = finite.fold(0.0, f64::max).max(1e-3) * 1.04;
    let places = series.iter().map(|heights| heights.len()).max().unwrap_or(0);
    let slot = (WIDTH - left - right) / places.max(1) as f64;
    let x_of = |place: f64| left + (place + 0.5) * slot;
    let y_of = |height: f64| top + (high - height) / high * (HEIGHT - top - bottom);
    let floor = HEIGHT - bottom;
    let mut svg =
        format!("<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(axis));
    let marks = ticks(0.0, high, 4);
    let step = marks.get(1).copied().unwrap_or(1.0);
    for &mark in &marks {
        let y = y_of(mark);
        svg += &format!("<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", WIDTH - right);
        let (x, y, label) = (left - 7.0, y + 3.5, tick_label(mark, step));
        svg += &format!("<text class=\"tick\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{label}</text>");
    }
    let width = 0.8 * slot / series.len().max(1) as f64;
    for (index, heights) in series.iter().enumerate() {
        for (place, &height) in heights.iter().enumerate() {
            let x = x_of(place as f64) - 0.4 * slot + index as f64 * width;
            let y = y_of(if height.is_finite() { height } else { 0.0 });
            svg += &format!(
                "<rect class=\"bars b{index}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{place}: \
                 {}</title></rect>",
                floor - y,
                significant(height, 3)
            );
        }
    }
    // As many labels as have room.
    let every = (26.0 / slot).ceil().max(1.0) as usize;
    for place in (0..places).step_by(every) {
        let (x, y) = (x_of(place as f64), floor + 16.0);
        svg += &format!("<text class=\"tick\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{place}</text>");
    }
    if let Some(truth) = truth {
        let x = x_of(truth);
        svg += &format!("<line class=\"truth\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{floor}\"/>");
    }
    let (x, y) = ((left + WIDTH - right) / 2.0, HEIGHT - 4.0);
    svg += &format!("<text class=\"tick\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", escape(axis));
    svg + "</svg>"
}

/// Values side by side as the steps of a line, a line for each series, from `low` to `high`.
pub fn profile(series: &[&[f32]], low: f32, high: f32) -> String {
    const WIDTH: f32 = 300.0;
    const HEIGHT: f32 = 54.0;
    let y_of =
        |value: f32| 2.0 + (high - value.clamp(low, high)) / (high - low).max(f32::MIN_POSITIVE) * (HEIGHT - 4.0);
    let zero = y_of(0.0);
    let mut svg = format!(
        "<svg class=\"profile\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"values by column\">\
         <line class=\"grid\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{zero:.1}\" y2=\"{zero:.1}\"/>"
    );
    for (index, values) in series.iter().enumerate() {
        let step = WIDTH / values.len().max(1) as f32;
        let path: String = values
            .iter()
            .map(|&value| format!("V{:.1}h{step:.2}", y_of(if value.is_finite() { value } else { 0.0 })))
            .collect();
        svg += &format!("<path class=\"p{index}\" d=\"M0 {zero:.1}{path}\"/>");
    }
    svg + "</svg>"
}

/// One set of points of a scatter plot.
#[derive(Debug, Clone)]
pub struct Cloud {
    /// Written at the middle of the points.
    pub name: String,
    /// CSS colour.
    pub colour: String,
    /// Value of the `data-g` attribute that ties it to its legend.
    pub key: String,
    /// The points.
    pub points: Vec<[f32; 2]>,
}

/// A line over a scatter plot.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The key of the cloud that it belongs to.
    pub key: String,
    /// Its ends.
    pub ends: [[f32; 2]; 2],
}

/// `[[x low, x high], [y low, y high]]` of points.
pub fn bounds(points: impl Iterator<Item = [f32; 2]> + Clone) -> [[f32; 2]; 2] {
    [0, 1].map(|axis| {
        let values = points.clone().map(|point| point[axis]);
        values.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], x| [low.min(x), high.max(x)])
    })
}

/// A scatter plot with both axes to the same scale, inside of what [`bounds`] says.
pub fn scatter(clouds: &[Cloud], bounds: [[f32; 2]; 2], axes: [&str; 2], title: &str, segments: &[Segment]) -> String {
    const WIDTH: f64 = 460.0;
    const HEIGHT: f64 = 440.0;
    const EDGE: f64 = 24.0;
    let [[x_low, x_high], [y_low, y_high]] = bounds.map(|axis| axis.map(f64::from));
    let inner = (WIDTH - 2.0 * EDGE, HEIGHT - 2.0 * EDGE);
    let scale = (inner.0 / (x_high - x_low).max(1e-12)).min(inner.1 / (y_high - y_low).max(1e-12));
    let x_of = |x: f32| WIDTH / 2.0 + (f64::from(x) - (x_low + x_high) / 2.0) * scale;
    let y_of = |y: f32| HEIGHT / 2.0 - (f64::from(y) - (y_low + y_high) / 2.0) * scale;
    let total: usize = clouds.iter().map(|cloud| cloud.points.len()).sum();
    let dot = if total > 2500 {
        3.2
    } else if total > 600 {
        4.4
    } else {
        6.5
    };

    let mut svg = format!(
        "<svg class=\"scatter\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    );
    svg += &format!(
        "<rect class=\"frame\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>",
        WIDTH - 1.0,
        HEIGHT - 1.0
    );
    // Several interleaved layers per cloud, or the last cloud would hide all others.
    const LAYERS: usize = 6;
    for layer in 0..LAYERS {
        for cloud in clouds {
            let path: String = cloud
                .points
                .iter()
                .skip(layer)
                .step_by(LAYERS)
                .map(|&[x, y]| format!("M{:.1} {:.1}h0", x_of(x), y_of(y)))
                .collect();
            if !path.is_empty() {
                svg += &format!(
                    "<path class=\"dots\" data-g=\"{}\" d=\"{path}\" stroke=\"{}\" stroke-width=\"{dot}\"/>",
                    escape(&cloud.key),
                    escape(&cloud.colour)
                );
            }
        }
    }
    for Segment { key, ends: [from, to] } in segments {
        let path = format!("M{:.1} {:.1}L{:.1} {:.1}", x_of(from[0]), y_of(from[1]), x_of(to[0]), y_of(to[1]));
        for class in ["under", "over"] {
            svg += &format!("<path class=\"segment {class}\" data-g=\"{}\" d=\"{path}\"/>", escape(key));
        }
    }
    let named: Vec<&Cloud> = clouds.iter().filter(|cloud| !cloud.points.is_empty()).collect();
    let mut places: Vec<[f64; 2]> = named
        .iter()
        .map(|cloud| {
            let [x, y] = [0, 1].map(|axis| {
                let mut values: Vec<f32> = cloud.points.iter().map(|point| point[axis]).collect();
                values.sort_by(f32::total_cmp);
                values[values.len() / 2]
            });
            [x_of(x), y_of(y)]
        })
        .collect();
    spread(&mut places, 19.0);
    for (cloud, [x, y]) in named.iter().zip(places) {
        svg += &format!(
            "<text class=\"tag\" data-g=\"{}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            escape(&cloud.key),
            y + 4.5,
            escape(&cloud.name)
        );
    }
    let [x_axis, y_axis] = axes.map(|axis| if axis.is_empty() { String::new() } else { format!("{} →", escape(axis)) });
    svg += &format!(
        "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{x_axis}</text>",
        WIDTH - 12.0,
        HEIGHT - 10.0
    );
    svg +=
        &format!("<text class=\"tick\" transform=\"translate(17 12) rotate(-90)\" text-anchor=\"end\">{y_axis}</text>");
    svg + "</svg>"
}

/// Pushes points that are closer than `gap` apart, by equal parts, until none is or patience ends.
fn spread(points: &mut [[f64; 2]], gap: f64) {
    for _ in 0..60 {
        let mut moved = false;
        for i in 1..points.len() {
            for j in 0..i {
                let [dx, dy] = [points[i][0] - points[j][0], points[i][1] - points[j][1]];
                let distance = dx.hypot(dy);
                if distance >= gap {
                    continue;
                }
                // Two points in one place have no direction: separate them sideways.
                let (ux, uy) = if distance > 1e-9 { (dx / distance, dy / distance) } else { (1.0, 0.0) };
                let push = (gap - distance) / 2.0 + 0.01;
                points[i] = [points[i][0] + ux * push, points[i][1] + uy * push];
                points[j] = [points[j][0] - ux * push, points[j][1] - uy * push];
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_survive_nan_single_points_and_nothing() {
        for points in
            [vec![], vec![(1.0, 2.0)], vec![(1.0, f64::NAN), (2.0, f64::INFINITY)], vec![(0.0, 1.0), (1.0, 1.0)]]
        {
            let svg = lines(&[Curve { name: "<loss>".into(), points }], (320.0, 180.0), None);
            assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("&lt;loss&gt;"), "{svg}");
        }
    }

    #[test]
    fn names_in_one_place_spread() {
        let mut places = [[5.0, 5.0], [5.0, 5.0], [6.0, 5.0], [90.0, 5.0]];
        spread(&mut places, 10.0);
        for i in 1..places.len() {
            for j in 0..i {
                assert!((places[i][0] - places[j][0]).hypot(places[i][1] - places[j][1]) >= 10.0, "{places:?}");
            }
        }
        assert_eq!(places[3], [90.0, 5.0]);
    }

    #[test]
    fn labels_keep_their_distance_and_stay_inside() {
        let labels = apart((0..3).map(|i| (99.0, i, String::new())).collect(), 14.0, 100.0);
        let heights: Vec<f64> = labels.iter().map(|label| label.0).collect();
        assert_eq!(heights, [72.0, 86.0, 100.0]);
    }
}
