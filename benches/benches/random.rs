//! Noise of a million elements.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, time};
use softurn_kernels::{Key, ops::random};

fn bench(criterion: &mut Criterion) {
    let key = Key::new(1);
    time(criterion, "random uniform [1000000]", || random::uniform(gpu(), [1_000_000], key));
    time(criterion, "random normal [1000000]", || random::normal(gpu(), [1_000_000], key));
    time(criterion, "random gumbel [1000000]", || random::gumbel(gpu(), [1_000_000], key));
}

criterion_group!(benches, bench);
criterion_main!(benches);
