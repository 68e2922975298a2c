//! Squared errors of rows.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::ops::{softmax, squared_error};

fn bench(criterion: &mut Criterion) {
    for shape in [[256, 10], [256, 784]] {
        let (x, dloss) = (normal(shape, 1), vector(shape[0], 2));
        let targets = softmax::forward(gpu(), &normal(shape, 3), 1.0).unwrap();
        time(criterion, &format!("squared_error forward {shape:?}"), || squared_error::forward(gpu(), &x, &targets));
        time(criterion, &format!("squared_error backward {shape:?}"), || {
            squared_error::backward(gpu(), &x, &targets, &dloss)
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
