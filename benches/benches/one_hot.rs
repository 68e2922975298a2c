//! Labels of a batch as rows of zeros with a one.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, labels, time};
use softurn_kernels::ops::one_hot;

fn bench(criterion: &mut Criterion) {
    for [count, classes] in [[256, 10], [10_000, 100]] {
        let labels = labels(count, classes);
        time(criterion, &format!("one_hot [{count}, {classes}]"), || one_hot::forward(gpu(), &labels, classes));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
