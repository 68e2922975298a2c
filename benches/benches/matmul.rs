//! Layers of the encoder on a batch.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::ops::matmul::{self, Activation, Options};

fn bench(criterion: &mut Criterion) {
    let options = Options { activation: Activation::Relu, ..Options::default() };
    for [m, k, n] in [[256, 784, 500], [256, 10, 10]] {
        let (a, b, bias, dc) = (normal([m, k], 1), normal([k, n], 2), vector(n, 3), normal([m, n], 4));
        let forward = || matmul::forward(gpu(), options, &a, &b, Some(&bias));
        let c = forward().unwrap();
        time(criterion, &format!("matmul forward [{m}, {k}] [{k}, {n}]"), forward);
        time(criterion, &format!("matmul backward [{m}, {k}] [{k}, {n}]"), || {
            matmul::backward(gpu(), options, &a, &b, &c, &dc, [true; 2], true).map(|g| g.b.unwrap())
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
