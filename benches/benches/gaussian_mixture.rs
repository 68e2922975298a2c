//! Densities of latent codes under the components of the prior.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::ops::gaussian_mixture;

fn bench(criterion: &mut Criterion) {
    for [rows, dims, k] in [[256, 10, 10], [256, 64, 100]] {
        let (m, s) = (normal([rows, dims], 1), normal([rows, dims], 2));
        let (means, variances, dy) = (normal([k, dims], 3), normal([k, dims], 4), normal([rows, k], 5));
        time(criterion, &format!("gaussian_mixture forward [{rows}, {dims}, {k}]"), || {
            gaussian_mixture::forward(gpu(), &m, Some(&s), &means, &variances)
        });
        time(criterion, &format!("gaussian_mixture backward [{rows}, {dims}, {k}]"), || {
            gaussian_mixture::backward(gpu(), &m, Some(&s), &means, &variances, &dy).map(|g| g.means)
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
