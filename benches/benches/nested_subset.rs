//! Subsets of a drawn number of elements.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::{
    Key,
    ops::{Noise, gumbel_softmax, nested_subset},
};

fn bench(criterion: &mut Criterion) {
    let draw = nested_subset::Draw { noise: Noise::Key(Key::new(3)), temperature: 0.5 };
    for (shape, bound) in [([256, 128], 8), ([256, 4096], 16)] {
        let (x, dy) = (normal(shape, 1), normal(shape, 2));
        let shares = gumbel_softmax::forward(gpu(), &normal([shape[0], bound], 3), Noise::None, 0.5).expect("shares");
        let (_, walk) = nested_subset::forward(gpu(), &x, draw, &shares, 1).expect("a walk");
        let name = |what: &str| format!("nested_subset {what} {shape:?}, bound {bound}");
        time(criterion, &name("forward"), || Ok(nested_subset::forward(gpu(), &x, draw, &shares, 1)?.0));
        time(criterion, &name("backward"), || {
            let [dx, _] = nested_subset::backward(gpu(), &walk, &shares, 1, &dy)?;
            Ok(dx)
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
