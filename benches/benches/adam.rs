//! Updates of as many parameters as a small and a large encoder hold.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, time, vector};
use softurn_kernels::ops::adam::{self, Settings};

fn bench(criterion: &mut Criterion) {
    for length in [10_000, 2_000_000] {
        let [values, gradients, first] = [1, 2, 3].map(|seed| vector(length, seed));
        let second = gpu().zeros([length]).unwrap();
        time(criterion, &format!("adam step [{length}]"), || {
            adam::step(gpu(), &values, &gradients, &first, &second, &Settings::default(), None)?;
            Ok(values.clone())
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
