//! Sparsemax and 1.5-entmax of rows.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::entmax::{self, Alpha};

fn bench(criterion: &mut Criterion) {
    for shape in [[256, 10], [256, 1000]] {
        let (x, dy) = (normal(shape, 1), normal(shape, 2));
        for alpha in [Alpha::Two, Alpha::OneAndAHalf] {
            let name = |what: &str| format!("entmax {alpha:?} {what} {shape:?}");
            let y = entmax::forward(gpu(), &x, alpha).unwrap();
            time(criterion, &name("forward"), || entmax::forward(gpu(), &x, alpha));
            time(criterion, &name("backward"), || entmax::backward(gpu(), &y, &dy, alpha));
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
