//! What a training epoch costs: variational clustering of the embedded digits, one epoch of each phase.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::gpu;
use softurn_kernels::Key;
use softurn_models::clustering::variational::Variational;
use softurn_models::data;

fn bench(criterion: &mut Criterion) {
    let digits = data::digits();
    let method = Variational::params(10).pretrain_epochs(1).epochs(1).check().unwrap();
    let mut group = criterion.benchmark_group("training");
    group.sample_size(10);
    group.bench_function("digits, one epoch of each phase", |bencher| {
        bencher.iter(|| method.fit(gpu(), &digits, Key::new(0)).unwrap());
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
