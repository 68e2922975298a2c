//! Relaxed choices of k by sigmoids.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::{
    Key,
    ops::{Noise, sigmoid_top_k},
};

fn bench(criterion: &mut Criterion) {
    let noise = Noise::Key(Key::new(3));
    for (shape, k) in [([256, 10], 3), ([256, 1000], 8)] {
        let (x, dy) = (normal(shape, 1), normal(shape, 2));
        let name = |what: &str| format!("sigmoid_top_k {what} {shape:?}, k {k}");
        let y = sigmoid_top_k::forward(gpu(), &x, noise, k, 0.5).unwrap();
        time(criterion, &name("forward"), || sigmoid_top_k::forward(gpu(), &x, noise, k, 0.5));
        time(criterion, &name("backward"), || sigmoid_top_k::backward(gpu(), &y, &dy, 0.5));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
