//! One colour per group, the same in every picture of the report.

/// Ten hues that stay apart on light and on dark paper and for most kinds of colour blindness; the charts name the
/// groups as well, because ten is more than colour alone can carry.
const HUES: [&str; 10] =
    ["#4c78c8", "#e69b26", "#d9534f", "#4fb0a5", "#3f9a4d", "#e377a8", "#8e63c9", "#6fb3e8", "#9a6a4b", "#8c9196"];

/// A class has the colour of the group that is matched to it; classes without one continue behind the groups.
pub fn of_classes(matching: &[Option<u32>], classes: usize) -> Vec<String> {
    let mut next = matching.len();
    let of_class = |class: usize| match matching.iter().position(|&of| of == Some(class as u32)) {
        Some(group) => of_group(group),
        None => {
            next += 1;
            of_group(next - 1)
        }
    };
    (0..classes).map(of_class).collect()
}

/// Colour of a group; beyond the table, hues a golden angle apart in three lightnesses.
pub fn of_group(group: usize) -> String {
    match HUES.get(group) {
        Some(hue) => hue.to_string(),
        None => {
            let extra = group - HUES.len();
            let hue = (extra as f64 * 137.508 + 20.0) % 360.0;
            format!("hsl({hue:.0},48%,{}%)", [52, 40, 64][extra % 3])
        }
    }
}
