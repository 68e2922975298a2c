//! The exact law of subsets of k elements.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::{Key, ops::subset};

fn bench(criterion: &mut Criterion) {
    for (shape, k) in [([256, 10], 3), ([256, 1000], 8)] {
        let (x, dy, dlog) = (normal(shape, 1), normal(shape, 2), vector(shape[0], 3));
        let name = |what: &str| format!("subset {what} {shape:?}, k {k}");
        let subsets = subset::forward(gpu(), &x, k).unwrap();
        time(criterion, &name("forward"), || Ok(subset::forward(gpu(), &x, k)?.marginals));
        time(criterion, &name("backward"), || subset::backward(gpu(), &subsets, &dy, &dlog));
        time(criterion, &name("sample"), || subset::sample(gpu(), &subsets, Key::new(4)));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
