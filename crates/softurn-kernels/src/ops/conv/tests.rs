//! Tests of convolutions.

use softurn_tests::{Inputs, Mismatch, Mutant, Tolerance, assert_gradient, compare, same_bits};

use super::cpu::{self, Sizes};
use super::{Conv, conv_transpose2d, conv2d};
use crate::ops::matmul::Activation;
use crate::testing::{config, gpus, label, open, wide};
use crate::{Error, Gpu, GpuConfig, Plan, Tensor};

/// Sums of up to 500 products of normals: 500 roundings of 2^-24 of terms up to about 3.
const TOLERANCE: Tolerance = Tolerance::new(1e-4, 1e-5, "500 products of normals: 500 * 2^-24 * 3");

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("rows above the image are those of another", "let inside = row >= 0 && row <", "let inside = row <"),
    mutant(
        "rows below the image are those of another",
        "let inside = row >= 0 && row < i32(params.height)",
        "let inside = row >= 0",
    ),
    mutant("columns left of the image are read", "&& entry >= 0 && entry < length", "&& entry < length"),
    mutant("columns right of the image are read", "entry >= 0 && entry < length", "entry >= 0"),
    mutant("a walk stays in its row", "select(0u, 1u, wraps)", "select(0u, 0u, wraps)"),
    mutant(
        "the strides are exchanged",
        "params.out_height) * params.stride_height)",
        "params.out_height) * params.stride_width)",
    ),
    mutant("the first element is padding", "select(0.0, x[max(e, 0)], e >= 0)", "select(0.0, x[max(e, 0)], e > 0)"),
    mutant("the first four are padding", "x4[max(e, 0)], e >= 0)", "x4[max(e, 0)], e > 0)"),
    mutant("to fours: rows of another image", "vec4<bool>(row >= 0 && row <", "vec4<bool>(row <"),
    mutant("to fours: columns left of the image", "& (entry >= vec4<i32>(0)) &", "&"),
    mutant("to fours: columns right of the image", " & (entry < vec4<i32>(length))", ""),
    mutant("to fours: an entry twice", "x[e.z], x[e.w]", "x[e.z], x[e.z]"),
    mutant("a patch before the kernel reaches", "(at - kernel) / stride + 1u; }", "(at - kernel) / stride; }"),
    mutant("patches of the next row", "min(at / stride + 1u, count)", "at / stride + 1u"),
    mutant("patches do not add up", "sum += patches[entry", "sum = patches[entry"),
    mutant("patches of fours do not add up", "sum += patches4[entry", "sum = patches4[entry"),
    mutant("the first channel's bias", "sum = bias[channel]", "sum = bias[0]"),
    mutant("the first fours' bias", "sum = bias4[channel]", "sum = bias4[0]"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "conv", name, shader: "conv", from, to, plan: "both", hidden: None }
}

/// Sizes by images, `[height, width]` and channels of both sides, kernel, stride and padding.
const fn case(
    images: usize,
    [height, width]: [usize; 2],
    [channels, outputs]: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Sizes {
    let out =
        [(height + 2 * padding[0] - kernel[0]) / stride[0] + 1, (width + 2 * padding[1] - kernel[1]) / stride[1] + 1];
    let conv = Conv { stride, padding };
    Sizes { conv, images, image: [height, width, channels], small: [out[0], out[1], outputs], kernel }
}

const CASES: &[Sizes] = &[
    case(1, [1, 1], [1, 1], [1, 1], [1, 1], [0, 0]),
    case(3, [5, 7], [3, 4], [1, 1], [2, 1], [0, 0]),
    case(5, [9, 7], [3, 5], [3, 3], [1, 1], [1, 1]), // blocks of two images that start anywhere
    case(3, [16, 16], [4, 8], [4, 4], [2, 2], [1, 1]), // blocks of an image, which are views
    case(2, [7, 9], [8, 3], [5, 3], [3, 2], [2, 0]),
    case(2, [8, 6], [1, 8], [4, 4], [2, 3], [2, 2]),
    case(4, [9, 7], [1, 5], [3, 4], [1, 2], [1, 2]), // rows of the kernel are fours, channels are not
    case(3, [5, 6], [2, 2], [5, 6], [2, 1], [2, 3]),
    case(3, [4, 5], [1, 1], [3, 3], [3, 3], [0, 2]),
    case(2, [3, 3], [32, 4], [3, 3], [1, 2], [1, 0]),
    case(1, [2, 11], [4, 1], [5, 3], [1, 3], [2, 1]),
    case(2, [5, 5], [3, 3], [1, 1], [3, 3], [2, 2]), // patches of nothing but padding
    case(1, [3, 70], [12, 2], [1, 65], [1, 2], [0, 0]),
];

const ACTIVATIONS: [Activation; 4] = [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid];

fn dims(images: usize, [height, width, channels]: [usize; 3]) -> [usize; 4] {
    [images, height, width, channels]
}

/// What a transposed convolution must be told to end at the image.
fn output_padding(sizes: Sizes) -> [usize; 2] {
    let Conv { stride, padding } = sizes.conv;
    [0, 1]
        .map(|axis| sizes.image[axis] + 2 * padding[axis] - (sizes.small[axis] - 1) * stride[axis] - sizes.kernel[axis])
}

struct Values {
    image: Vec<f32>,
    small: Vec<f32>,
    weight: Vec<f32>,
    image_bias: Vec<f32>,
    small_bias: Vec<f32>,
}

impl Values {
    fn new(sizes: Sizes, seed: u64) -> Self {
        let mut inputs = Inputs::new(seed);
        let [image, small] = [sizes.image, sizes.small].map(|side| side.iter().product::<usize>());
        Self {
            image: inputs.normal(sizes.images * image),
            small: inputs.normal(sizes.images * small),
            weight: inputs.normal(sizes.kernel[0] * sizes.kernel[1] * sizes.image[2] * sizes.small[2]),
            image_bias: inputs.normal(sizes.image[2]),
            small_bias: inputs.normal(sizes.small[2]),
        }
    }
}

fn weight_of(gpu: &Gpu, sizes: Sizes, weight: &[f32]) -> Tensor {
    gpu.tensor(weight, [sizes.kernel[0], sizes.kernel[1], sizes.image[2], sizes.small[2]]).unwrap()
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for (at, &sizes) in CASES.iter().enumerate() {
        agrees(gpu, sizes, ACTIVATIONS[at % 4], at)?;
        transpose_agrees(gpu, sizes, at)?;
    }
    Ok(())
}

fn agrees(gpu: &Gpu, sizes: Sizes, activation: Activation, at: usize) -> Result<(), Mismatch> {
    let values = Values::new(sizes, at as u64);
    let what = format!("{sizes:?} {activation:?}");
    let bias = at.is_multiple_of(2).then_some(&values.small_bias);
    let x = gpu.tensor(&values.image, dims(sizes.images, sizes.image)).unwrap();
    let weight = weight_of(gpu, sizes, &values.weight);
    let tbias = bias.map(|bias| gpu.tensor(bias, [bias.len()]).unwrap());
    let dy = gpu.tensor(&values.small, dims(sizes.images, sizes.small)).unwrap();
    let run = || conv2d::forward(gpu, sizes.conv, activation, &x, &weight, tbias.as_ref()).unwrap();
    let y = run();
    assert_eq!(y.shape(), dy.shape(), "{what}");
    let got = y.read().unwrap();
    let (wx, wweight, wbias) = (wide(&values.image), wide(&values.weight), bias.map(|bias| wide(bias)));
    let want = cpu::conv2d(sizes, activation, &wx, &wweight, wbias.as_deref());
    compare(&what, &label(gpu), &got, &want, &TOLERANCE)?;
    same_bits(&what, &got, &run().read().unwrap())?;
    let gradients = |wanted| {
        let g = conv2d::backward(gpu, sizes.conv, activation, &x, &weight, [&y, &dy], wanted, true).unwrap();
        [g.x, g.weight, g.bias].map(|gradient| gradient.map(|gradient| gradient.read().unwrap()))
    };
    let want = cpu::conv2d_backward(sizes, activation, &wx, &wweight, [&wide(&got), &wide(&values.small)]);
    compare_all(gpu, &what, gradients([true, true]), want)?;
    assert!(gradients([false, true])[0].is_none() && gradients([true, false])[1].is_none());
    let [again, once] = [0, 1].map(|_| gradients([true, true])[1].clone().unwrap());
    same_bits(&what, &again, &once)
}

fn transpose_agrees(gpu: &Gpu, sizes: Sizes, at: usize) -> Result<(), Mismatch> {
    let values = Values::new(sizes, 100 + at as u64);
    let what = format!("transposed {sizes:?}");
    let bias = at.is_multiple_of(2).then_some(&values.image_bias);
    let x = gpu.tensor(&values.small, dims(sizes.images, sizes.small)).unwrap();
    let weight = weight_of(gpu, sizes, &values.weight);
    let tbias = bias.map(|bias| gpu.tensor(bias, [bias.len()]).unwrap());
    let dy = gpu.tensor(&values.image, dims(sizes.images, sizes.image)).unwrap();
    let padding = output_padding(sizes);
    let run = || conv_transpose2d::forward(gpu, sizes.conv, padding, &x, &weight, tbias.as_ref()).unwrap();
    let y = run();
    assert_eq!(y.shape(), dy.shape(), "{what}");
    let got = y.read().unwrap();
    let (wx, wweight, wbias) = (wide(&values.small), wide(&values.weight), bias.map(|bias| wide(bias)));
    let want = cpu::conv_transpose2d(sizes, &wx, &wweight, wbias.as_deref());
    compare(&what, &label(gpu), &got, &want, &TOLERANCE)?;
    same_bits(&what, &got, &run().read().unwrap())?;
    let gradients = |wanted| {
        let g = conv_transpose2d::backward(gpu, sizes.conv, padding, &x, &weight, &dy, wanted, true).unwrap();
        [g.x, g.weight, g.bias].map(|gradient| gradient.map(|gradient| gradient.read().unwrap()))
    };
    let want = cpu::conv_transpose2d_backward(sizes, &wx, &wweight, &wide(&values.image));
    compare_all(gpu, &what, gradients([true, true]), want)?;
    let [dx, dweight, dbias] = gradients([false, false]);
    assert!(dx.is_none() && dweight.is_none() && dbias.is_some());
    Ok(())
}

fn compare_all(gpu: &Gpu, what: &str, got: [Option<Vec<f32>>; 3], want: [Vec<f64>; 3]) -> Result<(), Mismatch> {
    for ((name, got), want) in ["dx", "dweight", "dbias"].iter().zip(got).zip(want) {
        compare(&format!("{what} {name}"), &label(gpu), &got.unwrap(), &want, &TOLERANCE)?;
    }
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
    // Products on the host, where it can.
    check(&open(GpuConfig { plan: Some(Plan::Cpu), host_matmul: Some(0), ..config() })).unwrap();
}

#[test]
fn twin_agrees_with_central_differences() {
    let tolerance = Tolerance::new(1e-7, 1e-7, "central differences in f64");
    for (at, sizes) in
        [case(2, [3, 4], [2, 3], [3, 2], [2, 1], [1, 1]), case(1, [5, 4], [1, 2], [2, 3], [1, 3], [0, 2])]
            .into_iter()
            .enumerate()
    {
        let values = Values::new(sizes, at as u64);
        let [image, small, weight] = [&values.image, &values.small, &values.weight].map(|values| wide(values));
        let [image_bias, small_bias] = [&values.image_bias, &values.small_bias].map(|values| wide(values));
        let dot = |y: &[f64], dy: &[f64]| -> f64 { y.iter().zip(dy).map(|(y, dy)| y * dy).sum() };
        for activation in ACTIVATIONS {
            let f = |x: &[f64], w: &[f64], b: &[f64]| dot(&cpu::conv2d(sizes, activation, x, w, Some(b)), &small);
            let y = cpu::conv2d(sizes, activation, &image, &weight, Some(&small_bias));
            let [dx, dweight, dbias] = cpu::conv2d_backward(sizes, activation, &image, &weight, [&y, &small]);
            assert_gradient("dx", |x| f(x, &weight, &small_bias), &image, &dx, &tolerance);
            assert_gradient("dweight", |w| f(&image, w, &small_bias), &weight, &dweight, &tolerance);
            assert_gradient("dbias", |b| f(&image, &weight, b), &small_bias, &dbias, &tolerance);
        }
        let f = |x: &[f64], w: &[f64], b: &[f64]| dot(&cpu::conv_transpose2d(sizes, x, w, Some(b)), &image);
        let [dx, dweight, dbias] = cpu::conv_transpose2d_backward(sizes, &small, &weight, &image);
        assert_gradient("dx", |x| f(x, &weight, &image_bias), &small, &dx, &tolerance);
        assert_gradient("dweight", |w| f(&small, w, &image_bias), &weight, &dweight, &tolerance);
        assert_gradient("dbias", |b| f(&small, &weight, b), &image_bias, &dbias, &tolerance);
    }
}

#[test]
fn one_is_the_transpose_of_the_other() {
    // <conv(x), z> = <x, conv_transpose(z)>
    let sizes = case(3, [9, 8], [3, 4], [4, 3], [2, 3], [1, 2]);
    let values = Values::new(sizes, 7);
    for gpu in gpus() {
        let x = gpu.tensor(&values.image, dims(sizes.images, sizes.image)).unwrap();
        let z = gpu.tensor(&values.small, dims(sizes.images, sizes.small)).unwrap();
        let weight = weight_of(gpu, sizes, &values.weight);
        let there = conv2d::forward(gpu, sizes.conv, Activation::None, &x, &weight, None).unwrap().read().unwrap();
        let back = conv_transpose2d::forward(gpu, sizes.conv, output_padding(sizes), &z, &weight, None).unwrap();
        let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
        let [left, right] = [dot(&there, &values.small), dot(&values.image, &back.read().unwrap())];
        assert!((left - right).abs() <= 1e-5 * left.abs().max(10.0), "{left} {right}, {}", label(gpu));
    }
}

/// `i · a mod m - o`, for i from 0.
fn sequence(n: usize, a: usize, m: usize, o: usize) -> Vec<f32> {
    (0..n).map(|i| (i * a % m) as f32 - o as f32).collect()
}

#[test]
fn agrees_with_torch() {
    // torch 2 `F.conv2d` and `F.conv_transpose2d` with axes permuted, and their gradients.
    let y = [
        -20, -11, 20, -26, 28, -1, 21, -19, 12, 3, 9, -5, 5, -12, 21, 6, 24, 1, -9, 32, -45, 27, -37, -2, -17, 11, -16,
        21, -19, 12, 13, 11, 3, 3, 6, -11, 16, 6, 11, -9, 32, -45, 42, -48, -25, -10, -25, 17,
    ];
    let dx = [
        4, 16, 4, -8, -1, -7, -8, -4, -18, 3, -8, -5, -1, 5, 4, 16, 4, -8, 2, -6, -11, -6, -9, 14, -6, -6, -1, 5, 4,
        16, 17, -3, 17, 9, -8, -4, -1, -7, -6, -6, -1, 5, 3, 4, 15, -6, 2, -6,
    ];
    let dweight = [
        -20, 13, -4, 10, -13, -11, -4, 14, -3, -11, 6, 8, 2, -14, -15, 24, 4, 19, -15, 14, 13, 19, -31, -16, 24, -16,
        -31, 2, 13, 14, -31, 19, 4, 14, -15, -14,
    ];
    let transposed = [
        0, -8, -10, 17, 1, -2, 14, 14, 20, -15, 1, -2, 17, 14, 17, -14, 1, -2, 1, -2, 4, -21, -19, -16, 1, -2, -19,
        -21, 4, 30, 1, -2, -20, -21, 5, 32, 1, -2, 1, -2, 20, 14, 14, -13, 1, -2, -10, -8, 0, -12, 1, -2, -7, -8, -3,
        -11, 1, -2, 1, -2, -13, -12, -12, 17, 1, -2, -4, 12, 20, -13, 1, -2, -6, 14, 19, -10, 1, -2, 1, -2,
    ];
    let transposed_dx = [14, 12, -11, -10, 1, -9, -13, 11, 14, -16, -2, 26, 13, -6, -11, -21, 11, 8];
    let transposed_dweight = [
        7, -9, -3, -3, 1, 16, 1, -3, -7, 12, 0, -23, 19, -7, 22, 0, -9, -7, -26, 10, 13, 25, 1, -23, 10, -12, -12, 19,
        -7, 22, 0, -9, -7, -26, 10, 13,
    ];
    let floats = |values: &[i16]| -> Vec<f32> { values.iter().map(|&value| f32::from(value)).collect() };
    for gpu in gpus() {
        let tensor = |values: &[f32], dims: &[usize]| gpu.tensor(values, dims).unwrap();
        let x = tensor(&sequence(48, 7, 11, 5), &[2, 4, 3, 2]);
        let weight = tensor(&sequence(36, 5, 7, 3), &[3, 2, 2, 3]);
        let bias = tensor(&[1.0, -2.0, 3.0], &[3]);
        let conv = Conv { stride: [2, 1], padding: [1, 1] };
        let got = conv2d::forward(gpu, conv, Activation::None, &x, &weight, Some(&bias)).unwrap();
        assert_eq!(got.read().unwrap(), floats(&y));
        let dy = tensor(&sequence(48, 3, 5, 2), &[2, 2, 4, 3]);
        let gradients =
            conv2d::backward(gpu, conv, Activation::None, &x, &weight, [&got, &dy], [true, true], true).unwrap();
        assert_eq!(gradients.x.unwrap().read().unwrap(), floats(&dx));
        assert_eq!(gradients.weight.unwrap().read().unwrap(), floats(&dweight));
        assert_eq!(gradients.bias.unwrap().read().unwrap(), [-2.0, 1.0, -1.0]);

        let x = tensor(&sequence(18, 7, 11, 5), &[1, 2, 3, 3]);
        let conv = Conv { stride: [2, 3], padding: [1, 0] };
        let bias = tensor(&[1.0, -2.0], &[2]);
        let got = conv_transpose2d::forward(gpu, conv, [1, 2], &x, &weight, Some(&bias)).unwrap();
        assert_eq!(got.shape().dims(), [1, 4, 10, 2]);
        assert_eq!(got.read().unwrap(), floats(&transposed));
        let dy = tensor(&sequence(80, 3, 7, 2), &[1, 4, 10, 2]);
        let gradients = conv_transpose2d::backward(gpu, conv, [1, 2], &x, &weight, &dy, [true, true], true).unwrap();
        assert_eq!(gradients.x.unwrap().read().unwrap(), floats(&transposed_dx));
        assert_eq!(gradients.weight.unwrap().read().unwrap(), floats(&transposed_dweight));
        assert_eq!(gradients.bias.unwrap().read().unwrap(), [43.0, 37.0]);
    }
}

#[test]
fn what_is_not_finite_stays_in_its_patches() {
    for gpu in gpus() {
        let mut x = vec![1.0; 2 * 5 * 5];
        x[7] = f32::NAN; // row 1, column 2 of the first image
        x[25 + 24] = f32::INFINITY;
        let x = gpu.tensor(&x, [2, 5, 5, 1]).unwrap();
        let weight = gpu.tensor(&[1.0; 9], [3, 3, 1, 1]).unwrap();
        let conv = Conv { stride: [1, 1], padding: [1, 1] };
        let y = conv2d::forward(gpu, conv, Activation::Relu, &x, &weight, None).unwrap().read().unwrap();
        for (i, y) in y.iter().enumerate() {
            let [row, column] = [i % 25 / 5, i % 5];
            match i / 25 {
                0 => assert_eq!(y.is_nan(), row <= 2 && (1..=3).contains(&column), "{i}: {y}"),
                _ => assert_eq!(*y == f32::INFINITY, row >= 3 && column >= 3, "{i}: {y}"),
            }
        }
    }
}

#[test]
fn empty_inputs() {
    let gpu = &gpus()[0];
    let conv = Conv { stride: [2, 2], padding: [1, 1] };
    let gradients = |x: [usize; 4], weight: [usize; 4], y: [usize; 4]| {
        let (x, weight, dy) = (gpu.zeros(x).unwrap(), gpu.zeros(weight).unwrap(), gpu.zeros(y).unwrap());
        let there = conv2d::forward(gpu, conv, Activation::Relu, &x, &weight, None).unwrap();
        assert_eq!(there.shape().dims(), y);
        let g = conv2d::backward(gpu, conv, Activation::Relu, &x, &weight, [&dy, &dy], [true, true], true).unwrap();
        assert_eq!((g.x.as_ref().unwrap().shape(), g.weight.as_ref().unwrap().shape()), (x.shape(), weight.shape()));
        let back = conv_transpose2d::forward(gpu, conv, [1, 0], &dy, &weight, None).unwrap();
        assert_eq!(back.shape(), x.shape());
        let t = conv_transpose2d::backward(gpu, conv, [1, 0], &dy, &weight, &back, [true, true], true).unwrap();
        assert_eq!((t.x.unwrap().shape(), t.weight.unwrap().shape()), (dy.shape(), weight.shape()));
        [g.x, g.weight, g.bias, t.bias].into_iter().flat_map(|gradient| gradient.unwrap().read().unwrap()).collect()
    };
    let all: Vec<f32> = gradients([0, 4, 5, 2], [3, 3, 2, 3], [0, 2, 3, 3]);
    assert_eq!(all, [0.0; 54 + 3 + 2]);
    let all: Vec<f32> = gradients([2, 4, 5, 0], [3, 3, 0, 3], [2, 2, 3, 3]);
    assert_eq!(all, [0.0; 3]);
    let all: Vec<f32> = gradients([1, 4, 5, 2], [3, 3, 2, 0], [1, 2, 3, 0]);
    assert_eq!(all, [0.0; 40 + 2]);
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let zeros = |dims: &[usize]| gpu.zeros(dims).unwrap();
    let named = |result: crate::Result<Tensor>| match result {
        Err(Error::Shape { argument, .. } | Error::Argument { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    let (plain, relu) = (Conv::default(), Activation::Relu);
    let (x, weight) = (zeros(&[2, 5, 5, 3]), zeros(&[3, 3, 3, 4]));
    let with = |conv, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>| {
        named(conv2d::forward(gpu, conv, relu, x, weight, bias))
    };
    assert_eq!(with(plain, &zeros(&[5, 5, 3]), &weight, None), "x");
    assert_eq!(with(plain, &gpu.tensor(&[1u32; 75], [1, 5, 5, 3]).unwrap(), &weight, None), "x");
    assert_eq!(with(plain, &x, &zeros(&[3, 3, 3]), None), "weight");
    assert_eq!(with(plain, &x, &zeros(&[3, 3, 4, 4]), None), "weight");
    assert_eq!(with(plain, &x, &weight, Some(&zeros(&[3]))), "bias");
    assert_eq!(with(plain, &x, &zeros(&[6, 3, 3, 4]), None), "kernel");
    assert_eq!(with(plain, &x, &zeros(&[3, 0, 3, 4]), None), "kernel");
    assert_eq!(with(plain, &zeros(&[2, 0, 5, 3]), &weight, None), "x");
    assert_eq!(with(Conv { stride: [1, 0], ..plain }, &x, &weight, None), "stride");
    assert_eq!(with(Conv { padding: [0, 70_000], ..plain }, &x, &weight, None), "padding");
    let (good, bad) = (zeros(&[2, 3, 3, 4]), zeros(&[2, 3, 4, 3]));
    let gradient = |y: &Tensor, dy: &Tensor| {
        named(conv2d::backward(gpu, plain, relu, &x, &weight, [y, dy], [true, true], true).map(|g| g.x.unwrap()))
    };
    assert_eq!((gradient(&bad, &good), gradient(&good, &bad)), ("y", "dy"));

    let (x, stride) = (zeros(&[2, 5, 5, 4]), Conv { stride: [2, 2], padding: [0, 0] });
    let with = |conv, extra, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>| {
        named(conv_transpose2d::forward(gpu, conv, extra, x, weight, bias))
    };
    assert_eq!(with(stride, [0, 0], &zeros(&[2, 5, 4]), &weight, None), "x");
    assert_eq!(with(stride, [0, 0], &zeros(&[2, 0, 5, 4]), &weight, None), "x");
    assert_eq!(with(stride, [0, 0], &x, &zeros(&[3, 3, 3, 3]), None), "weight");
    assert_eq!(with(stride, [0, 0], &x, &weight, Some(&zeros(&[4]))), "bias");
    assert_eq!(with(stride, [0, 2], &x, &weight, None), "output_padding");
    assert_eq!(with(Conv { stride: [0, 1], ..stride }, [0, 0], &x, &weight, None), "stride");
    assert_eq!(with(Conv { padding: [6, 0], ..stride }, [0, 0], &x, &weight, None), "padding");
    let result = conv_transpose2d::backward(gpu, stride, [0, 0], &x, &weight, &x, [true, true], true);
    assert_eq!(named(result.map(|g| g.x.unwrap())), "dy");
    let far = Conv { stride: [60_000, 60_000], padding: [0, 0] };
    let result = conv_transpose2d::forward(gpu, far, [0, 0], &x, &weight, None);
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
    let (x, weight) = (zeros(&[1, 400, 400, 1]), zeros(&[400, 400, 1, 1]));
    let padded = Conv { padding: [399, 399], ..plain };
    if gpu.is_software() {
        let small = zeros(&[1, 1, 1, 1]);
        let result = conv_transpose2d::forward(gpu, plain, [0, 0], &small, &weight, None);
        assert!(matches!(result, Err(Error::TooLarge { unit: "loop turns", .. })), "{result:?}");
    }
    let result = conv2d::forward(gpu, padded, relu, &x, &weight, None);
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
}
