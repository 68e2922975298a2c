//! The k largest of rows, with Gumbel noise.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::{
    Key,
    ops::{Noise, top_k},
};

fn bench(criterion: &mut Criterion) {
    let noise = Noise::Key(Key::new(3));
    for (shape, k) in [([256, 10], 3), ([256, 1000], 8), ([4, 100_000], 100)] {
        let (x, dvalues) = (normal(shape, 1), normal([shape[0], k], 2));
        let name = |what: &str| format!("top_k {what} {shape:?}, k {k}");
        let indices = top_k::forward(gpu(), &x, noise, k).unwrap().indices;
        time(criterion, &name("forward"), || Ok(top_k::forward(gpu(), &x, noise, k)?.values));
        time(criterion, &name("backward"), || top_k::backward(gpu(), &indices, shape[1], &dvalues));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
