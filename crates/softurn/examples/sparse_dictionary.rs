//! Learns a dictionary from rows that are sums of 1 to 4 of its 12 atoms, and how many atoms each row needs: the model is told
//! the bound and nothing else. Scores on other rows, after learned atoms are matched to the true ones.
//!
//! `cargo run --release --example sparse_dictionary -- [seed] [trainer] [boost] [epochs] [atom scale]`, trainer `marginal`,
//! `straight-through` or `relaxed`. With `0 relaxed 0 120 1` (no boost, large first atoms) high counts die out.

use std::time::Instant;

use softurn::data::dictionary_toy;
use softurn::metrics::dictionary_scores;
use softurn::prelude::*;
use softurn::sparse::{Sparse, Trainer};
use softurn::train::{Event, Session};

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let of = |at: usize, default: &'static str| arguments.get(at).map_or(default, String::as_str).to_owned();
    let seed: u64 = of(0, "0").parse()?;
    let trainer = match of(1, "marginal").as_str() {
        "marginal" => Trainer::Marginal,
        "straight-through" => Trainer::StraightThrough,
        "relaxed" => Trainer::Relaxed,
        other => return Err(format!("no trainer '{other}'").into()),
    };
    let gpu = Gpu::new(GpuConfig::default())?;
    let toy = dictionary_toy(Key::new(seed))?;
    let method = Sparse::params(12, 4)
        .trainer(trainer)
        .boost(of(2, "10").parse()?)
        .epochs(of(3, "120").parse()?)
        .atom_scale(of(4, "0.1").parse()?)
        .check()?;
    let mut observer = |event: &Event| {
        if let Event::Epoch { epoch, losses, .. } = event
            && epoch % 10 == 0
        {
            println!("epoch {epoch}: {losses:.3?}");
        }
    };
    let began = Instant::now();
    let mut session = Session { observer: Some(&mut observer), ..Session::default() };
    let fitted = method.fit_with(&gpu, &toy.train.data, Key::new(seed), &mut session)?;
    println!("{:.1} s", began.elapsed().as_secs_f64());
    let active = fitted.encode(&toy.test.data)?.active;
    let Some(atoms) = fitted.dictionary()? else { return Err("a linear decoder has atoms".into()) };
    let scores = dictionary_scores(active.view(), atoms.view(), toy.test.active.view(), toy.atoms.view())?;
    println!("{scores:?}");
    println!("{:?}", fitted.evaluate(&toy.test.data)?);
    Ok(())
}
