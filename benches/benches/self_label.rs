//! Soft labels by expectation maximisation: small batches in one dispatch, larger ones in one per iteration.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::self_label::{self, Loss, Settings};
use softurn_kernels::ops::softmax;

fn bench(criterion: &mut Criterion) {
    for shape in [[256, 10], [5000, 20], [1000, 200]] {
        let sigma = softmax::forward(gpu(), &normal(shape, 1), 1.0).unwrap();
        let proportions = gpu().tensor(&vec![1.0 / shape[1] as f32; shape[1]], [shape[1]]).unwrap();
        for loss in [Loss::ReverseCrossEntropy, Loss::Collision] {
            let settings = Settings { loss, lambda: 1.0, iterations: 10, tolerance: 0.0 };
            time(criterion, &format!("self_label {loss:?} {shape:?}"), || {
                Ok(self_label::forward(gpu(), &sigma, &proportions, &settings)?.labels)
            });
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
