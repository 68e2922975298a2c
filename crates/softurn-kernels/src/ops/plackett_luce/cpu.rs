//! Log-probabilities of ordered selections in f64, straight from the definition: a sum over what remains for each step.

/// Of each row of `cols` scores and `picks` indices.
pub fn forward(scores: &[f64], order: &[u32], cols: usize, picks: usize) -> Vec<f64> {
    rows(scores, order, cols, picks).map(|(s, o)| walk(s, o).map_or(f64::NAN, |steps| of_steps(s, &steps))).collect()
}

/// The gradient of the scores; `dlog_p` holds one number for each row.
pub fn backward(scores: &[f64], order: &[u32], cols: usize, picks: usize, dlog_p: &[f64]) -> Vec<f64> {
    let of_row = |((s, o), g): ((&[f64], &[u32]), &f64)| -> Vec<f64> {
        let Some(steps) = walk(s, o) else { return vec![f64::NAN; s.len()] };
        let mut ds = vec![0.0; s.len()];
        for (item, remaining) in steps {
            let (high, sum) = log_sum(s, &remaining);
            ds[item] += g;
            remaining.iter().for_each(|&j| ds[j] -= g * (if s[j] == high { 0.0 } else { s[j] - high }).exp() / sum);
        }
        // An entry at -inf is a constant.
        ds.iter().zip(s).map(|(&d, &s)| if s == f64::NEG_INFINITY { 0.0 } else { d }).collect()
    };
    rows(scores, order, cols, picks).zip(dlog_p).flat_map(of_row).collect()
}

fn rows<'a>(
    scores: &'a [f64],
    order: &'a [u32],
    cols: usize,
    picks: usize,
) -> impl Iterator<Item = (&'a [f64], &'a [u32])> {
    (0..scores.len() / cols).map(move |r| (&scores[r * cols..][..cols], &order[r * picks..][..picks]))
}

/// What is selected at each step, and out of which items; `None` where the row holds NaN or the order is none.
fn walk(s: &[f64], order: &[u32]) -> Option<Vec<(usize, Vec<usize>)>> {
    if s.iter().any(|s| s.is_nan()) {
        return None;
    }
    let mut remaining: Vec<usize> = (0..s.len()).collect();
    let step = |&item: &u32| {
        let at = remaining.iter().position(|&j| j == item as usize)?;
        let before = remaining.clone();
        remaining.remove(at);
        Some((item as usize, before))
    };
    order.iter().map(step).collect()
}

fn of_steps(s: &[f64], steps: &[(usize, Vec<usize>)]) -> f64 {
    let of_step = |(item, remaining): &(usize, Vec<usize>)| {
        let (high, sum) = log_sum(s, remaining);
        match s[*item] {
            f64::NEG_INFINITY => f64::NEG_INFINITY,
            s if s == high => -sum.ln(),
            s => s - high - sum.ln(),
        }
    };
    steps.iter().map(of_step).sum()
}

/// The largest of some scores, and `Σ exp(s - largest)`.
fn log_sum(s: &[f64], items: &[usize]) -> (f64, f64) {
    let high = items.iter().map(|&j| s[j]).fold(f64::NEG_INFINITY, f64::max);
    (high, items.iter().map(|&j| if s[j] == high { 1.0 } else { (s[j] - high).exp() }).sum())
}
