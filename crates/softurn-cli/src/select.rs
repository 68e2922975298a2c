//! `softurn select`: how many groups, by criteria that need no labels.

use serde_json::json;
use softurn::Key;
use softurn::clustering::gmm;
use softurn::clustering::selection::{Candidate, best_by_likelihood, best_by_silhouette, compare};

use crate::args::{RowsArgs, SelectArgs};
use crate::config::Covariance;
use crate::failure::Result;
use crate::run::{load_rows, open};
use crate::training::failure;

/// Compares the numbers of groups and says which are best.
///
/// # Errors
/// Bad input, and a device that fails.
pub fn select(args: &SelectArgs) -> Result<String> {
    let (low, high) = args.k;
    let RowsArgs { data, label_column, rows, adapter } = &args.rows;
    let data = load_rows(data, label_column.as_deref(), *rows, args.kind)?;
    let gpu = open(adapter.as_deref())?;
    let covariance = match args.covariance {
        Covariance::Diagonal => gmm::Covariance::Diagonal,
        Covariance::Full => gmm::Covariance::Full,
    };
    let candidates = compare(&gpu, &data, low..=high, covariance, Key::new(args.seed)).map_err(failure)?;
    let [likelihood, silhouette] =
        [best_by_likelihood(&candidates), best_by_silhouette(&candidates)].map(|best| best.map(|best| best.k));
    if args.json {
        let row = |c: &Candidate| json!({"k": c.k, "silhouette": c.silhouette, "held_out": c.held_out});
        return Ok(json!({
            "data": data.name(), "rows": data.rows(), "adapter": gpu.capabilities().to_string(), "seed": args.seed,
            "candidates": candidates.iter().map(row).collect::<Vec<_>>(),
            "best": {"held_out": likelihood, "silhouette": silhouette},
        })
        .to_string());
    }
    let mut text = format!("{:>4}{:>14}{:>22}\n", "k", "silhouette", "held-out log p(row)");
    for Candidate { k, silhouette, held_out } in &candidates {
        let silhouette = silhouette.map_or("-".into(), |value| format!("{value:.3}"));
        text += &format!("{k:>4}{silhouette:>14}{held_out:>22.3}\n");
    }
    let show = |best: Option<usize>| best.map_or("none".into(), |k| k.to_string());
    text += &format!("best by held-out likelihood: {}; by silhouette: {}", show(likelihood), show(silhouette));
    Ok(text)
}
