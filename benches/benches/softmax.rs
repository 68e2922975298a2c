//! Softmax of narrow and wide rows.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::softmax;

fn bench(criterion: &mut Criterion) {
    for shape in [[256, 10], [256, 784]] {
        let (x, dy) = (normal(shape, 1), normal(shape, 2));
        let y = softmax::forward(gpu(), &x, 1.0).unwrap();
        time(criterion, &format!("softmax forward {shape:?}"), || softmax::forward(gpu(), &x, 1.0));
        time(criterion, &format!("softmax backward {shape:?}"), || softmax::backward(gpu(), &y, &dy, 1.0));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
