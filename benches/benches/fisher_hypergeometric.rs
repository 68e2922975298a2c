//! Tables, draws and gradients of the law of cluster sizes.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::{
    Key,
    ops::fisher_hypergeometric::{self as law, Urn},
};

fn bench(criterion: &mut Criterion) {
    let key = Key::new(3);
    for (groups, draws) in [(10, 128), (4, 512)] {
        let urn = Urn::new(gpu(), &vec![draws; groups], draws).unwrap();
        let (weights, dcounts) = (normal([1, groups], 1), normal([64, groups], 2));
        let tables = law::tabulate(gpu(), &urn, &weights).unwrap();
        let counts = law::forward(gpu(), &tables, 64, key).unwrap();
        let name = |what: &str| format!("fisher_hypergeometric {what}, {groups} groups, {draws} draws");
        time(criterion, &name("tables and a draw"), || {
            law::forward(gpu(), &law::tabulate(gpu(), &urn, &weights)?, 64, key)
        });
        time(criterion, &name("log_prob"), || law::log_prob(gpu(), &tables, &counts));
        time(criterion, &name("backward"), || law::backward(gpu(), &tables, &counts, &dcounts, key, 1.0));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
