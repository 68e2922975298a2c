//! Categorical draws, relaxed and exact, with their noise.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::{
    Key,
    ops::{Noise, gumbel_softmax},
};

fn bench(criterion: &mut Criterion) {
    let noise = Noise::Key(Key::new(3));
    for shape in [[256, 10], [256, 1000]] {
        let (x, dy) = (normal(shape, 1), normal(shape, 2));
        let name = |what: &str| format!("gumbel_softmax {what} {shape:?}");
        time(criterion, &name("forward"), || gumbel_softmax::forward(gpu(), &x, noise, 0.5));
        time(criterion, &name("backward"), || gumbel_softmax::backward(gpu(), &x, noise, 0.5, &dy));
        time(criterion, &name("sample"), || gumbel_softmax::sample(gpu(), &x, noise));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
