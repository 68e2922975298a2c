//! What a dispatch costs: 200 of the smallest kernel, in one wait and with a wait each.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time_of};
use softurn_kernels::ops::unary::{self, Unary};

fn bench(criterion: &mut Criterion) {
    let x = normal([1, 1], 1);
    let record = || unary::forward(gpu(), Unary::Relu, &x);
    time_of(criterion, "dispatch", 200, record);
    time_of(criterion, "dispatch and wait", 1, record);
}

criterion_group!(benches, bench);
criterion_main!(benches);
