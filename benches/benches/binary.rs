//! A product of equal shapes, and of a matrix and a row.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::binary::{self, Binary};

fn bench(criterion: &mut Criterion) {
    let (a, dy) = (normal([256, 784], 1), normal([256, 784], 2));
    for shape in [[256, 784], [1, 784]] {
        let b = normal(shape, 3);
        time(criterion, &format!("binary forward {shape:?}"), || binary::forward(gpu(), Binary::Mul, &a, &b));
        time(criterion, &format!("binary backward {shape:?}"), || {
            Ok(binary::backward(gpu(), Binary::Mul, &a, &b, &dy)?.1)
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
