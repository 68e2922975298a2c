//! Reparameterised draws of latent codes.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time, vector};
use softurn_kernels::{
    Key,
    ops::{Noise, gaussian},
};

fn bench(criterion: &mut Criterion) {
    let noise = Noise::Key(Key::new(5));
    for shape in [[256, 10], [4096, 64]] {
        let (mean, log_variance, dz, dkl) = (normal(shape, 1), normal(shape, 2), normal(shape, 3), vector(shape[0], 4));
        time(criterion, &format!("gaussian forward {shape:?}"), || {
            Ok(gaussian::forward(gpu(), &mean, &log_variance, noise)?.0)
        });
        time(criterion, &format!("gaussian backward {shape:?}"), || {
            Ok(gaussian::backward(gpu(), &mean, &log_variance, noise, Some(&dz), Some(&dkl))?.0)
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
