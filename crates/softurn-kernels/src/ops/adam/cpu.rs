//! AdamW in f64, one element after the other.

use super::Settings;

/// One update in place; `clip` is the gradient's sum of squares and the largest norm.
pub fn step(
    values: &mut [f64],
    gradients: &[f64],
    first: &mut [f64],
    second: &mut [f64],
    settings: &Settings,
    clip: Option<(f64, f64)>,
) {
    let scale = match clip {
        Some((squared, _)) if !squared.is_finite() => f64::NAN,
        Some((squared, max_norm)) => (max_norm / squared.sqrt()).min(1.0),
        None => 1.0,
    };
    let (beta1, beta2) = (f64::from(settings.beta1), f64::from(settings.beta2));
    let step = f64::from(settings.step);
    for i in 0..values.len() {
        let g = gradients[i] * scale;
        first[i] = beta1 * first[i] + (1.0 - beta1) * g;
        second[i] = beta2 * second[i] + (1.0 - beta2) * g * g;
        let m = first[i] / (1.0 - beta1.powf(step));
        let v = second[i] / (1.0 - beta2.powf(step));
        let direction = f64::from(settings.weight_decay) * values[i] + m / (v.sqrt() + f64::from(settings.epsilon));
        values[i] -= f64::from(settings.learning_rate) * direction;
    }
}
