//! Reverse and collision cross-entropy with soft labels.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::ops::label_loss::{self, Loss};
use softurn_kernels::ops::softmax;

fn bench(criterion: &mut Criterion) {
    for shape in [[256, 10], [256, 784]] {
        let (x, dloss) = (normal(shape, 1), vector(shape[0], 2));
        let labels = softmax::forward(gpu(), &normal(shape, 3), 1.0).unwrap();
        for loss in [Loss::ReverseCrossEntropy, Loss::Collision] {
            let name = |what: &str| format!("label_loss {loss:?} {what} {shape:?}");
            time(criterion, &name("forward"), || label_loss::forward(gpu(), loss, &x, &labels));
            time(criterion, &name("backward"), || label_loss::backward(gpu(), loss, &x, &labels, &dloss));
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
