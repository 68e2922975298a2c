//! One-hot rows in f64.

/// A row per label.
pub fn forward(labels: &[u32], classes: usize) -> Vec<f64> {
    labels.iter().flat_map(|&label| (0..classes).map(move |c| f64::from(u8::from(c == label as usize)))).collect()
}
