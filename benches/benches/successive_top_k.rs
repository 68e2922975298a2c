//! Relaxed choices of k by successive softmaxes.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::{
    Key,
    ops::{Noise, successive_top_k},
};

fn bench(criterion: &mut Criterion) {
    let noise = Noise::Key(Key::new(3));
    for (shape, k) in [([256, 10], 3), ([256, 1000], 8)] {
        let (x, dy) = (normal(shape, 1), normal(shape, 2));
        let name = |what: &str| format!("successive_top_k {what} {shape:?}, k {k}");
        time(criterion, &name("forward"), || successive_top_k::forward(gpu(), &x, noise, k, 1.0));
        time(criterion, &name("backward"), || successive_top_k::backward(gpu(), &x, noise, k, 1.0, &dy));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
