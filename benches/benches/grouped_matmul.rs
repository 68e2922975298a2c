//! A layer whose rows go to heads, and the sorting of the rows.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, labels, normal, time};
use softurn_kernels::ops::grouped_matmul::{self, Groups, Options};
use softurn_kernels::ops::matmul::Activation;

fn bench(criterion: &mut Criterion) {
    let options = Options { activation: Activation::Relu, ..Options::default() };
    for [rows, heads, k, n] in [[1024, 4, 64, 64], [1024, 64, 64, 64], [256, 10, 10, 10]] {
        let assignment = labels(rows, heads);
        let groups = Groups::new(gpu(), &assignment, heads).unwrap();
        let (a, bias, dc) = (normal([rows, k], 1), normal([heads, n], 3), normal([rows, n], 4));
        let b = normal([heads * k, n], 2).reshape([heads, k, n]).unwrap();
        let forward = || grouped_matmul::forward(gpu(), options, &groups, &a, &b, Some(&bias));
        let c = forward().unwrap();
        let shape = format!("[{rows}, {k}] [{heads}, {k}, {n}]");
        time(criterion, &format!("grouped_matmul forward {shape}"), forward);
        time(criterion, &format!("grouped_matmul backward {shape}"), || {
            grouped_matmul::backward(gpu(), options, &groups, &a, &b, &c, &dc, [true; 2], true).map(|g| g.b.unwrap())
        });
        time(criterion, &format!("grouped_matmul groups and forward {shape}"), || {
            let groups = Groups::new(gpu(), &assignment, heads)?;
            grouped_matmul::forward(gpu(), options, &groups, &a, &b, Some(&bias))
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
