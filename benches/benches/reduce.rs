//! Sums along either axis and over all.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::reduce::{self, Axis, Reduction};

fn bench(criterion: &mut Criterion) {
    let x = normal([256, 784], 1);
    let dy = gpu().zeros([]).unwrap();
    time(criterion, "reduce over_cols", || reduce::over_cols(gpu(), Reduction::Sum, &x));
    time(criterion, "reduce over_rows", || reduce::over_rows(gpu(), Reduction::Sum, &x));
    time(criterion, "reduce all", || reduce::all(gpu(), Reduction::Sum, &x)?.reshape([1]));
    time(criterion, "reduce argmax", || reduce::argmax(gpu(), &x));
    time(criterion, "reduce backward", || reduce::backward(gpu(), Reduction::Mean, Axis::All, x.shape(), &dy));
}

criterion_group!(benches, bench);
criterion_main!(benches);
