//! Pictures of sprites for a batch of pairs.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, labels, time};
use softurn_kernels::ops::sprites;

fn bench(criterion: &mut Criterion) {
    let factors = labels(128 * 5, 3).reshape([128, 5]).expect("five factors a row");
    time(criterion, "sprites [128, 64, 64]", || sprites::forward(gpu(), &factors, 64));
}

criterion_group!(benches, bench);
criterion_main!(benches);
