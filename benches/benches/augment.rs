//! Random views of a batch of images and of features.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time};
use softurn_kernels::{
    Key,
    ops::augment::{self, Affine, ImageShape},
};

fn bench(criterion: &mut Criterion) {
    let (x, key) = (normal([256, 784], 1), Key::new(2));
    let shape = ImageShape { height: 28, width: 28, channels: 1 };
    let map = Affine { max_rotation: 0.2, max_scale: 0.1, max_shear: 0.1, max_shift: 2.0, max_crop: 0.0 };
    time(criterion, "augment affine [256, 784]", || augment::affine(gpu(), &x, shape, &map, key));
    time(criterion, "augment corrupt [256, 784]", || augment::corrupt(gpu(), &x, 0.1, 0.2, key));
}

criterion_group!(benches, bench);
criterion_main!(benches);
