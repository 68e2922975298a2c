//! Log-sum-exp of narrow and wide rows.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::ops::log_sum_exp;

fn bench(criterion: &mut Criterion) {
    for shape in [[256, 10], [256, 784]] {
        let (x, dy) = (normal(shape, 1), vector(shape[0], 2));
        let y = log_sum_exp::forward(gpu(), &x).unwrap();
        time(criterion, &format!("log_sum_exp forward {shape:?}"), || log_sum_exp::forward(gpu(), &x));
        time(criterion, &format!("log_sum_exp backward {shape:?}"), || log_sum_exp::backward(gpu(), &x, &y, &dy));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
