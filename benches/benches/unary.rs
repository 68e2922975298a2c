//! Element-wise functions of a layer's size.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::unary::{self, Unary};

fn bench(criterion: &mut Criterion) {
    let (x, dy) = (normal([256, 784], 1), normal([256, 784], 2));
    for function in [Unary::Relu, Unary::Exp, Unary::Softplus] {
        time(criterion, &format!("unary {function:?} forward"), || unary::forward(gpu(), function, &x));
        time(criterion, &format!("unary {function:?} backward"), || unary::backward(gpu(), function, &x, &dy));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
