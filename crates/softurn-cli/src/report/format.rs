//! Numbers and text as people read them.

/// Text that is safe inside HTML elements and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            other => out.push(other),
        }
    }
    out
}

/// `1797` becomes `1,797`.
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// So many significant digits, without an exponent where one can do without.
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..9).contains(&magnitude) {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    format!("{value:.*}", (digits as i32 - 1 - magnitude).max(0) as usize)
}

/// A score in 0..1, or a dash.
pub fn score(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.3}"))
}

/// A duration: `8.4 s`, `2 min 05 s`, `1 h 12 min`.
pub fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        _ if value < 1.0 => format!("{value:.2} s"),
        0..60 => format!("{value:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// At most `count` round numbers that span `low..=high`.
pub fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = high - low;
    if !(span > 0.0 && span.is_finite()) || count == 0 {
        return vec![low];
    }
    let raw = span / count as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|unit| unit * power).find(|&step| step >= raw * 0.999);
    let step = step.unwrap_or(power * 10.0);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

/// A tick's label: as few decimals as its step needs.
pub fn tick_label(value: f64, step: f64) -> String {
    if step >= 1e6 || (step > 0.0 && step < 1e-4) {
        return format!("{value:e}");
    }
    let mut decimals = 0;
    while decimals < 6 && (step * 10f64.powi(decimals) - (step * 10f64.powi(decimals)).round()).abs() > 1e-6 {
        decimals += 1;
    }
    if decimals == 0 && value.abs() >= 1000.0 {
        let sign = if value < 0.0 { "−" } else { "" };
        return format!("{sign}{}", thousands(value.abs().round() as u64));
    }
    format!("{:.*}", decimals as usize, value).replacen('-', "−", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(significant(23.456_78, 4), "23.46");
        assert_eq!(significant(-0.001_234, 2), "-0.0012");
        assert_eq!(significant(0.0, 3), "0");
        assert_eq!(significant(1e-9, 3), "1.00e-9");
        assert_eq!(seconds(0.25), "0.25 s");
        assert_eq!(seconds(125.2), "2 min 05 s");
        assert_eq!(seconds(4320.0), "1 h 12 min");
        assert_eq!(ticks(0.0, 1.0, 4), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks(3.0, 3.0, 4), [3.0]);
        assert_eq!(tick_label(0.25, 0.25), "0.25");
        assert_eq!(tick_label(-2000.0, 500.0), "−2,000");
        assert_eq!(escape("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
