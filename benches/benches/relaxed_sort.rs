//! Relaxed sorts as operators.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::relaxed_sort::{Kind, Relaxation, Wanted, backward, forward, prepare, transposed};

fn bench(criterion: &mut Criterion) {
    let [rows, length, columns] = [64, 256, 8];
    let scores = normal([rows, length], 1);
    let cube = |seed| normal([rows * length, columns], seed).reshape([rows, length, columns]).expect("a shape");
    let (x, dy) = (cube(2), cube(3));
    time(criterion, "relaxed_sort prepare", || Ok(prepare(gpu(), &scores)?.order().clone()));
    let sorted = prepare(gpu(), &scores).expect("sorted scores");
    for kind in [Kind::Neural, Kind::Soft] {
        let relaxation = Relaxation { kind, temperature: 1.0 };
        let name = |what: &str| format!("relaxed_sort {kind:?} {what}");
        let (y, normalisers) = forward(gpu(), &sorted, relaxation, &x).expect("a product");
        time(criterion, &name("forward"), || Ok(forward(gpu(), &sorted, relaxation, &x)?.0));
        time(criterion, &name("transposed"), || transposed(gpu(), &sorted, relaxation, &normalisers, &x));
        let wanted = Wanted { scores: true, x: true };
        time(criterion, &name("backward"), || {
            let gradients = backward(gpu(), &sorted, relaxation, &normalisers, &x, &y, &dy, wanted)?;
            Ok(gradients.scores.expect("wanted"))
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
