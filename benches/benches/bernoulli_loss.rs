//! Bernoulli losses of rows of pixels.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::ops::{bernoulli_loss, softmax};

fn bench(criterion: &mut Criterion) {
    for shape in [[256, 10], [256, 784]] {
        let (x, dloss) = (normal(shape, 1), vector(shape[0], 2));
        let targets = softmax::forward(gpu(), &normal(shape, 3), 1.0).unwrap();
        time(criterion, &format!("bernoulli_loss forward {shape:?}"), || bernoulli_loss::forward(gpu(), &x, &targets));
        time(criterion, &format!("bernoulli_loss backward {shape:?}"), || {
            bernoulli_loss::backward(gpu(), &x, &targets, &dloss)
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
