//! A batch taken out of a data set.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, labels, normal, time};
use softurn_kernels::ops::gather;

fn bench(criterion: &mut Criterion) {
    for shape in [[1000, 10], [1000, 784]] {
        let (x, index, dy) = (normal(shape, 1), labels(256, shape[0]), normal([256, shape[1]], 2));
        time(criterion, &format!("gather 256 of {shape:?}"), || gather::forward(gpu(), &x, &index));
        time(criterion, &format!("gather backward {shape:?}"), || gather::backward(gpu(), shape[0], &index, &dy));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
