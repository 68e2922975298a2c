//! Block masks of counts.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::blocks;

fn bench(criterion: &mut Criterion) {
    for [rows, length, groups] in [[64, 256, 8], [16, 1024, 8]] {
        let counts = vec![(length / groups) as f32; rows * groups];
        let counts = gpu().tensor(&counts, [rows, groups]).expect("counts");
        let dy = normal([rows * length, groups], 2).reshape([rows, length, groups]).expect("a shape");
        let name = |what: &str| format!("blocks {what} {:?}", [rows, length, groups]);
        time(criterion, &name("forward"), || blocks::forward(gpu(), &counts, length));
        time(criterion, &name("backward"), || blocks::backward(gpu(), &counts, &dy));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
