//! Log-probabilities of ordered selections.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::ops::plackett_luce;

fn bench(criterion: &mut Criterion) {
    for [rows, n, k] in [[256, 10, 3], [256, 1000, 50]] {
        let (scores, dy) = (normal([rows, n], 1), vector(rows, 2));
        let order: Vec<u32> = (0..rows * k).map(|i| (i % k * (n / k)) as u32).collect();
        let order = gpu().tensor(&order, [rows, k]).unwrap();
        let name = |what: &str| format!("plackett_luce {what} {:?}", [rows, n, k]);
        let (_, saved) = plackett_luce::forward(gpu(), &scores, &order).unwrap();
        time(criterion, &name("forward"), || Ok(plackett_luce::forward(gpu(), &scores, &order)?.0));
        time(criterion, &name("backward"), || plackett_luce::backward(gpu(), &scores, &saved, &dy));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
