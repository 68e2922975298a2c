//! Cross-entropies of rows of classes.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::ops::{cross_entropy, softmax};

fn bench(criterion: &mut Criterion) {
    for shape in [[256, 10], [256, 784]] {
        let (x, dloss) = (normal(shape, 1), vector(shape[0], 2));
        let targets = softmax::forward(gpu(), &normal(shape, 3), 1.0).unwrap();
        time(criterion, &format!("cross_entropy forward {shape:?}"), || cross_entropy::forward(gpu(), &x, &targets));
        time(criterion, &format!("cross_entropy backward {shape:?}"), || {
            cross_entropy::backward(gpu(), &x, &targets, &dloss)
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
