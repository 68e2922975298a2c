//! The second and the last layer of an encoder of images of 64 x 64 pixels, and their transposes.

use criterion::{Criterion, criterion_group, criterion_main};
use softurn_benches::{gpu, normal, time_of, vector};
use softurn_kernels::Tensor;
use softurn_kernels::ops::conv::{Conv, conv_transpose2d, conv2d};
use softurn_kernels::ops::matmul::Activation;

const CONV: Conv = Conv { stride: [2, 2], padding: [1, 1] };

fn images(n: usize, side: usize, channels: usize, seed: u64) -> Tensor {
    normal([n * side * side, channels], seed).reshape([n, side, side, channels]).unwrap()
}

fn bench(criterion: &mut Criterion) {
    let n = 64;
    for (side, inputs, outputs) in [(32, 32, 32), (8, 64, 64)] {
        let (x, y, weight) =
            (images(n, side, inputs, 1), images(n, side / 2, outputs, 2), normal([16 * inputs, outputs], 3));
        let weight = weight.reshape([4, 4, inputs, outputs]).unwrap();
        let name = |what: &str| format!("{what} [{n}, {side}, {side}, {inputs}] to {outputs} channels");
        time_of(criterion, &name("conv2d forward"), 2, || {
            conv2d::forward(gpu(), CONV, Activation::Relu, &x, &weight, Some(&vector(outputs, 4)))
        });
        time_of(criterion, &name("conv2d backward"), 2, || {
            conv2d::backward(gpu(), CONV, Activation::Relu, &x, &weight, [&y, &y], [true; 2], true)
                .map(|gradients| gradients.x.unwrap())
        });
        time_of(criterion, &name("transpose of conv2d forward"), 2, || {
            conv_transpose2d::forward(gpu(), CONV, [0, 0], &y, &weight, None)
        });
        time_of(criterion, &name("transpose of conv2d backward"), 2, || {
            conv_transpose2d::backward(gpu(), CONV, [0, 0], &y, &weight, &x, [true; 2], true)
                .map(|gradients| gradients.x.unwrap())
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
