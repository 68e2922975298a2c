//! Draws, log-probabilities and gradients of the law of cluster sizes.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::Key;
use softurn_kernels::ops::fisher_hypergeometric::{self as law, Law, Prepared, Sampling, Upstream, Urn};

fn bench(criterion: &mut Criterion) {
    let sampling = Sampling::straight_through(Key::new(3), 1.0);
    for (groups, draws) in [(10, 128), (4, 512)] {
        let urn = Urn::new(gpu(), &vec![draws; groups], draws).unwrap();
        let (weights, dcounts) = (normal([64, groups], 1), normal([64, groups], 2));
        let prepared = Prepared::new(gpu(), &urn, &Law::Exact, &weights).unwrap();
        let draw = law::forward(gpu(), &prepared, 64, &sampling).unwrap();
        let upstream = Upstream { counts: &dcounts, log_prob: None, masks: None };
        let name = |what: &str| format!("fisher_hypergeometric {what}, {groups} groups, {draws} draws");
        time(criterion, &name("preparation and a draw"), || {
            let prepared = Prepared::new(gpu(), &urn, &Law::Exact, &weights)?;
            Ok(law::forward(gpu(), &prepared, 64, &sampling)?.counts)
        });
        time(criterion, &name("log_prob"), || Ok(law::log_prob(gpu(), &prepared, &draw.counts)?.log_prob));
        time(criterion, &name("backward"), || {
            let [weights, _] = law::backward(gpu(), &prepared, &draw, &upstream, &sampling)?;
            Ok(weights)
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
