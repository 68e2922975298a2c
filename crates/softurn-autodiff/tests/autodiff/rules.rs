//! Every rule against central differences, on small shapes that are neither square nor powers of two; straight-through
//! rules, whose gradients are no derivatives of their forward, against the kernels' f64 twins.

use softurn_autodiff::{Tape, Var, check_gradients};
use softurn_kernels::ops::binary::Binary;
use softurn_kernels::ops::conv::Conv;
use softurn_kernels::ops::fisher_hypergeometric::{Law, Noise, Order, Prepared, Sampling, Urn, cpu};
use softurn_kernels::ops::grouped_matmul::{self, Groups};
use softurn_kernels::ops::label_loss::Loss;
use softurn_kernels::ops::matmul::{Activation, Options};
use softurn_kernels::ops::reduce::{Axis, Reduction};
use softurn_kernels::ops::relaxed_sort::{Kind, Relaxation};
use softurn_kernels::ops::unary::Unary;
use softurn_kernels::{Key, Tensor};

use crate::{Result, gpu, positive, values};

const TOLERANCE: f64 = 1e-3;

/// Checks the gradients by all inputs at once, and by each of them with the others constant.
fn check(inputs: &[&Tensor], f: impl for<'t> Fn(&[Var<'t>]) -> Result<Var<'t>>) -> Result {
    let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
    check_gradients(gpu(), &inputs, |_, x| f(x), TOLERANCE)?;
    for (i, input) in inputs.iter().enumerate().filter(|_| inputs.len() > 1) {
        check_gradients(
            gpu(),
            std::slice::from_ref(input),
            |tape, x| {
                let mut mixed: Vec<Var<'_>> = inputs.iter().map(|x| tape.constant(x)).collect();
                mixed[i] = x[0].clone();
                f(&mixed)
            },
            TOLERANCE,
        )?;
    }
    Ok(())
}

#[test]
fn unary() -> Result {
    let everywhere = [
        Unary::Affine { scale: -1.5, shift: 0.25 },
        Unary::Affine { scale: 1.0, shift: 0.25 },
        Unary::Exp,
        Unary::Expm1,
        Unary::Tanh,
        Unary::Relu,
        Unary::Sigmoid,
        Unary::Softplus,
        Unary::Square,
        Unary::Abs,
    ];
    for function in everywhere {
        check(&[&values([3, 5], 2)], |x| x[0].unary(function))?;
    }
    for function in [Unary::Log, Unary::Log1p, Unary::Sqrt, Unary::Reciprocal] {
        check(&[&positive([3, 5], 1)], |x| x[0].unary(function))?;
    }
    Ok(())
}

#[test]
fn binary() -> Result {
    let a = values([2, 3], 3);
    for function in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min] {
        for shape in [[2, 3], [1, 3], [2, 1], [1, 1]] {
            // Shifted by 1/4 from `a`, so that the larger and the smaller have no ties.
            let b = gpu().tensor(&positive(shape, 4).read()?.iter().map(|x| x + 0.25).collect::<Vec<_>>(), shape)?;
            check(&[&a, &b], |x| x[0].binary(function, &x[1]))?;
            // The smaller operand first.
            check(&[&b, &positive([2, 3], 5)], |x| x[0].binary(function, &x[1]))?;
        }
    }
    Ok(())
}

#[test]
fn clamp() -> Result {
    // Two below, two between and two above.
    let x = gpu().tensor(&[-3.0, -1.1, -0.4, 0.9, 1.6, 2.5f32], [2, 3])?;
    let kept = Tape::new(gpu()).constant(&x).clamp(-1.0, 1.5)?.value().read()?;
    assert_eq!(kept, [-1.0, -1.0, -0.4, 0.9, 1.5, 1.5]);
    check(&[&x], |x| x[0].clamp(-1.0, 1.5))
}

#[test]
fn reduce() -> Result {
    for reduction in [Reduction::Sum, Reduction::Mean] {
        for axis in [Axis::Cols, Axis::Rows, Axis::All] {
            check(&[&values([3, 7], 6)], |x| x[0].reduce(reduction, axis)?.square())?;
        }
    }
    Ok(())
}

#[test]
fn reshape() -> Result {
    check(&[&values([3, 4], 7)], |x| x[0].square()?.reshape([2, 6])?.sum_cols())
}

#[test]
fn matmul() -> Result {
    for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
        for activation in [Activation::None, Activation::Tanh, Activation::Sigmoid] {
            let options = Options { transpose_a, transpose_b, activation };
            let a = values(if transpose_a { [3, 2] } else { [2, 3] }, 8);
            let b = values(if transpose_b { [5, 3] } else { [3, 5] }, 9);
            let bias = values([1, 5], 10).reshape([5])?;
            check(&[&a, &b], |x| x[0].matmul_with(&x[1], None, options))?;
            check(&[&a, &b, &bias], |x| x[0].matmul_with(&x[1], Some(&x[2]), options))?;
        }
    }
    check(&[&values([2, 3], 8), &values([3, 5], 9)], |x| x[0].matmul(&x[1]))?;
    // Chosen so that every sum is at least 1/4 away from the kink.
    let a = gpu().tensor(&[0.5, -1.5, 2.5, -0.5, 1.5, 0.5], [2, 3])?;
    let b = gpu().tensor(&[0.5, 1.5, -2.5, 1.5, -0.5, 0.5], [3, 2])?;
    let bias = gpu().tensor(&[1.0, -2.0], [2])?;
    check(&[&a, &b, &bias], |x| x[0].linear(&x[1], Some(&x[2]), Activation::Relu))
}

#[test]
fn grouped_matmul() -> Result {
    // Head 1 of three has no rows.
    let groups = Groups::new(gpu(), &gpu().tensor(&[2u32, 0, 2, 0], [4])?, 3)?;
    for groups in [groups, Groups::every(gpu(), 2, 3)?] {
        for transpose_b in [false, true] {
            for activation in [Activation::None, Activation::Tanh, Activation::Sigmoid] {
                let options = grouped_matmul::Options { transpose_b, activation };
                let a = values([groups.rows(), 2], 8);
                let b = values([3, 10], 9).reshape(if transpose_b { [3, 5, 2] } else { [3, 2, 5] })?;
                let bias = values([3, 5], 10);
                check(&[&a, &b], |x| x[0].grouped_matmul(&x[1], None, &groups, options))?;
                check(&[&a, &b, &bias], |x| x[0].grouped_matmul(&x[1], Some(&x[2]), &groups, options))?;
            }
        }
    }
    // Chosen so that every sum is at least 1/4 away from the kink.
    let groups = Groups::new(gpu(), &gpu().tensor(&[1u32, 0], [2])?, 2)?;
    let a = gpu().tensor(&[0.5, -1.5, 2.5, -0.5, 1.5, 0.5], [2, 3])?;
    let b = gpu().tensor(&[0.5, 1.5, -2.5, 1.5, -0.5, 0.5, -0.5, 1.5, 2.5, 0.5, -0.5, 0.5], [2, 3, 2])?;
    let bias = gpu().tensor(&[1.0, -2.0, 0.0, -0.5], [2, 2])?;
    let options = grouped_matmul::Options { activation: Activation::Relu, ..Default::default() };
    check(&[&a, &b, &bias], |x| x[0].grouped_matmul(&x[1], Some(&x[2]), &groups, options))
}

#[test]
fn matmul_of_a_variable_with_itself() -> Result {
    let options = Options { transpose_b: true, ..Options::default() };
    check(&[&values([3, 2], 11)], |x| x[0].matmul_with(&x[0], None, options))
}

#[test]
fn softmax() -> Result {
    for temperature in [1.0, 0.5] {
        check(&[&values([3, 5], 12)], |x| x[0].softmax(temperature))?;
        check(&[&values([3, 5], 12)], |x| x[0].log_softmax(temperature))?;
    }
    Ok(())
}

#[test]
fn log_sum_exp() -> Result {
    check(&[&values([3, 5], 13)], |x| x[0].log_sum_exp())
}

#[test]
fn losses() -> Result {
    let (x, targets) = (values([3, 5], 14), values([3, 5], 15));
    let shares = gpu().tensor(&targets.read()?.iter().map(|t| (t + 2.0) / 4.0).collect::<Vec<_>>(), [3, 5])?;
    check(&[&x], |x| x[0].bernoulli_loss(&shares))?;
    check(&[&x], |x| x[0].cross_entropy(&shares))?;
    check(&[&x], |x| x[0].label_loss(Loss::ReverseCrossEntropy, &shares))?;
    check(&[&x], |x| x[0].label_loss(Loss::Collision, &shares))?;
    check(&[&x], |x| x[0].squared_error(&targets))
}

#[test]
fn gather() -> Result {
    // Row 2 is taken twice, row 1 never.
    let index = gpu().tensor(&[2u32, 0, 2, 3], [4])?;
    check(&[&values([4, 3], 16)], |x| x[0].gather(&index)?.square())
}

#[test]
fn entmax() -> Result {
    // Scores that are not at the edge of a support.
    let x = gpu().tensor(&[0.3f32, -0.2, 0.9, 0.25, -1.5, 1.5, 0.1, 1.1, -0.4, 0.7, 0.6, 0.5], [3, 4])?;
    check(&[&x], |x| x[0].sparsemax()?.square())?;
    check(&[&x], |x| x[0].entmax15()?.square())
}

#[test]
fn plackett_luce() -> Result {
    let order = gpu().tensor(&[2u32, 0, 4, 1, 3, 0], [2, 3])?;
    check(&[&values([2, 5], 16)], |x| x[0].plackett_luce_log_prob(&order)?.square())
}

#[test]
fn gaussian() -> Result {
    let (mean, log_variance, key) = (values([3, 5], 17), values([3, 5], 18), Key::new(4));
    let inputs = [&mean, &log_variance];
    check(&inputs, |x| x[0].gaussian_rsample(&x[1], key))?;
    check(&inputs, |x| x[0].gaussian(&x[1], key).map(|[_, divergence]| divergence))?;
    check(&inputs, |x| {
        let [z, divergence] = x[0].gaussian(&x[1], key)?;
        z.sum_cols()?.square()? + divergence
    })
}

#[test]
fn gaussian_mixture() -> Result {
    let (mean, log_variance) = (values([3, 2], 19), values([3, 2], 20));
    let (means, log_variances) = (values([4, 2], 21), values([4, 2], 22));
    check(&[&mean, &means, &log_variances], |x| x[0].gaussian_mixture(None, &x[1], &x[2]))?;
    check(&[&mean, &log_variance, &means, &log_variances], |x| x[0].gaussian_mixture(Some(&x[1]), &x[2], &x[3]))
}

#[test]
fn fisher_hypergeometric_log_prob() -> Result {
    let urn = Urn::new(gpu(), &[5, 4, 6], 7)?;
    let counts = gpu().tensor(&[2.0, 2.0, 3.0, 5.0, 1.0, 1.0, 0.0, 3.0, 4.0], [3, 3])?;
    for law in [Law::Exact, Law::Merged(Order::Given(vec![1, 2, 0]))] {
        for rows in [1, 3] {
            check(&[&values([rows, 3], 23)], |x| {
                let prepared = Prepared::new(gpu(), &urn, &law, x[0].value())?;
                x[0].fisher_hypergeometric_log_prob(&prepared, &counts)
            })?;
        }
    }
    Ok(())
}

/// Relaxed counts and their log-probabilities against central differences, with respect to the log weights and to a
/// real number of draws.
#[test]
fn fisher_hypergeometric_relaxed() -> Result {
    let (rows, key) = (3, Key::new(8));
    let urn = Urn::per_row(gpu(), 3, &[40, 38, 42], &[30, 31, 28])?;
    let draws = gpu().tensor(&[30.3f32, 31.2, 28.1], [rows])?;
    for law in [Law::Exact, Law::Merged(Order::Natural)] {
        // Masks of the last group have a kink at every whole count: their gradient is checked with the kernel's twin.
        for output in 0..2 {
            let sampling = Sampling { noise: Noise::Key(key), temperature: 1.3, relaxed: true, scored: output == 1 };
            let inputs = [values([rows, 3], 23), draws.clone()];
            check_gradients(gpu(), &inputs, |_, x| relaxed(&urn, &law, &sampling, output, x), 2e-2)?;
        }
    }
    Ok(())
}

/// Counts or log-probabilities of relaxed draws.
fn relaxed<'t>(urn: &Urn, law: &Law, sampling: &Sampling<'_>, output: usize, x: &[Var<'t>]) -> Result<Var<'t>> {
    let prepared = Prepared::with_draws(gpu(), urn, law, x[0].value(), x[1].value())?;
    let rows = prepared.law_rows();
    let draw = x[0].fisher_hypergeometric_rsample(&prepared, Some(&x[1]), rows, sampling, false)?;
    Ok(if output == 0 { draw.counts } else { draw.sampled_log_prob.unwrap() })
}

#[test]
fn fisher_hypergeometric_straight_through() -> Result {
    let (sizes, draws, rows, key, temperature) = ([5, 4, 6], 7, 4, Key::new(5), 0.5);
    let urn = Urn::new(gpu(), &sizes, draws)?;
    for weight_rows in [1, rows] {
        let tape = Tape::new(gpu());
        let log_weights = tape.leaf(&values([weight_rows, 3], 24))?;
        let prepared = Prepared::new(gpu(), &urn, &Law::Exact, log_weights.value())?;
        let draw = |temperature| {
            let sampling = Sampling::straight_through(key, temperature);
            log_weights.fisher_hypergeometric_rsample(&prepared, None, rows, &sampling, false)
        };
        let counts = draw(temperature)?.counts;
        let error = draw(0.0).unwrap_err();
        assert!(error.to_string().starts_with("fisher_hypergeometric: temperature is 0"), "{error}");
        let dcounts = values([rows, 3], 25);
        let (weights, x, dx) = (wide(&log_weights.read()?), counts.read()?, wide(&dcounts.read()?));
        let got = tape.backward_with(&counts, &dcounts)?.of(&log_weights).unwrap().read()?;
        let mut expected = vec![0.0; weight_rows * 3];
        for row in 0..rows {
            let at = if weight_rows == 1 { 0 } else { row * 3 };
            let law = cpu::Law { sizes: &sizes, draws, log_weights: &weights[at..at + 3] };
            let noise = cpu::noise(row, key);
            let how = cpu::Draw { merged: None, relaxed: false, temperature: f64::from(temperature), noise: &noise };
            let drawn = law.draw(&how, f64::from(draws));
            let same = drawn.counts.iter().zip(&x[row * 3..]).all(|(&a, &b)| a == f64::from(b));
            assert!(same, "row {row} differs from its twin");
            let up = cpu::Upstream { counts: &dx[row * 3..row * 3 + 3], log_prob: 0.0, masks: None };
            let (gradient, _) = law.backward(&how, f64::from(draws), &drawn, &up);
            gradient.iter().enumerate().for_each(|(j, g)| expected[at + j] += g);
        }
        for (i, (&got, expected)) in got.iter().zip(&expected).enumerate() {
            assert!((f64::from(got) - expected).abs() < 1e-4, "{i}: {got} for {expected}");
        }
    }
    Ok(())
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn gumbel_softmax() -> Result {
    let key = Key::new(11);
    check_gradients(gpu(), &[values([3, 5], 1)], |_, x| x[0].gumbel_softmax(key, 0.7), TOLERANCE)
}

#[test]
fn straight_through_draws_have_the_relaxed_gradient() -> Result {
    let (key, x, weights) = (Key::new(11), values([3, 5], 1), values([3, 5], 2));
    let run = |hard: bool| -> Result<[Vec<f32>; 2]> {
        let tape = Tape::new(gpu());
        let x = tape.leaf(&x)?;
        let y = if hard { x.gumbel_softmax_straight_through(key, 0.7)? } else { x.gumbel_softmax(key, 0.7)? };
        let gradients = tape.backward(&(&y * &weights)?.sum()?)?;
        Ok([y.value().read()?, gradients.of(&x).unwrap().read()?])
    };
    let ([hard, straight], [relaxed, gradient]) = (run(true)?, run(false)?);
    for (straight, gradient) in straight.iter().zip(&gradient) {
        assert!((straight - gradient).abs() < 1e-6, "{straight} for {gradient}");
    }
    for (hard, relaxed) in hard.chunks(5).zip(relaxed.chunks(5)) {
        let top = relaxed.iter().copied().fold(0.0, f32::max);
        assert_eq!(hard, relaxed.iter().map(|&y| f32::from(y == top)).collect::<Vec<_>>());
    }
    let tape = Tape::new(gpu());
    assert!(tape.leaf(&x)?.gumbel_softmax_straight_through(key, 0.0).is_err());
    Ok(())
}

const SORTS: [Relaxation; 2] =
    [Relaxation { kind: Kind::Neural, temperature: 2.0 }, Relaxation { kind: Kind::Soft, temperature: 0.7 }];

/// Scores a quarter apart at least, so that no step of a difference changes their order.
fn scores() -> Result<Tensor> {
    Ok(gpu().tensor(&[0.25, -0.5, 1.0, 0.5, -1.25, 1.5, 0.0, 0.75, -0.75, 2.0], [2, 5])?)
}

#[test]
fn relaxed_sorts() -> Result {
    let (s, x) = (scores()?, values([10, 3], 2).reshape([2, 5, 3])?);
    check(&[&s, &x], |v| v[0].neural_sort(&v[1], 2.0))?;
    check(&[&s, &x], |v| v[0].soft_sort(&v[1], 0.7))?;
    for sort in SORTS {
        check(&[&s, &x], |v| v[0].relaxed_sort_transposed(&v[1], sort))?;
    }
    Ok(())
}

#[test]
fn straight_through_sorts() -> Result {
    let (s, x, weights) = (scores()?, values([10, 3], 2).reshape([2, 5, 3])?, values([10, 3], 3).reshape([2, 5, 3])?);
    let run = |hard: bool, transposed: bool, sort: Relaxation| -> Result<[Vec<f32>; 3]> {
        let tape = Tape::new(gpu());
        let (s, x) = (tape.leaf(&s)?, tape.leaf(&x)?);
        let y = match (hard, transposed) {
            (false, false) => s.relaxed_sort(&x, sort)?,
            (false, true) => s.relaxed_sort_transposed(&x, sort)?,
            (true, false) => s.sort_straight_through(&x, sort)?,
            (true, true) => s.sort_transposed_straight_through(&x, sort)?,
        };
        let gradients = tape.backward(&(&y * &weights)?.sum()?)?;
        Ok([y.value().read()?, gradients.of(&s).unwrap().read()?, gradients.of(&x).unwrap().read()?])
    };
    for sort in SORTS {
        for transposed in [false, true] {
            let ([y, ds, dx], [_, relaxed, _]) = (run(true, transposed, sort)?, run(false, transposed, sort)?);
            assert_eq!(ds, relaxed);
            let [cold, _, cold_dx] = run(false, transposed, Relaxation { temperature: 1e-4, ..sort })?;
            assert_eq!((y, dx), (cold, cold_dx));
        }
    }
    let tape = Tape::new(gpu());
    let (s, x) = (tape.leaf(&s)?, tape.leaf(&x)?);
    assert!(s.sort_straight_through(&x, Relaxation { temperature: 0.0, ..SORTS[0] }).is_err());
    Ok(())
}

#[test]
fn blocks() -> Result {
    let counts = gpu().tensor(&[1.25, 2.5, 2.25, 0.5, 0.25, 5.25], [2, 3])?;
    check(&[&counts], |x| x[0].blocks(6))
}

#[test]
fn convolutions() -> Result {
    let images = |count: usize, height: usize, width: usize, channels: usize, seed| {
        values([count * height * width, channels], seed).reshape([count, height, width, channels])
    };
    let conv = Conv { stride: [2, 1], padding: [1, 0] };
    let (x, weight, bias) = (images(2, 4, 3, 2, 20)?, images(3, 2, 2, 3, 21)?, values([1, 3], 22).reshape([3])?);
    for activation in [Activation::None, Activation::Tanh, Activation::Sigmoid] {
        check(&[&x, &weight, &bias], |x| x[0].conv2d(&x[1], Some(&x[2]), conv, activation))?;
        check(&[&x, &weight], |x| x[0].conv2d(&x[1], None, conv, activation))?;
    }
    let (x, bias) = (images(2, 2, 3, 3, 23)?, values([1, 2], 24).reshape([2])?);
    check(&[&x, &weight, &bias], |x| x[0].conv_transpose2d(&x[1], Some(&x[2]), conv, [1, 0]))?;
    check(&[&x, &weight], |x| x[0].conv_transpose2d(&x[1], None, conv, [0, 0]))
}

#[test]
fn nested_subsets() -> Result {
    let (x, key) = (values([3, 6], 4), Key::new(6));
    for (counts, least) in [(values([3, 3], 5), 1), (values([3, 4], 6), 0)] {
        let inputs = [x.clone(), counts];
        check_gradients(gpu(), &inputs, |_, x| x[0].nested_subset(&x[1], least, [0.9, 1.2], Some(key)), TOLERANCE)?;
        let [of_counts, of_choice] = key.split();
        check_gradients(gpu(), &inputs[..1], |_, x| x[0].nested_prefixes(3, 1.2, Some(of_choice)), TOLERANCE)?;

        // Straight through, a count gains what its elements are worth, and elements have the gradient of the relaxed mask of as many.
        let worth = values([3, 6], 7).read()?;
        let [hard, dx, dcounts] =
            pulled(&inputs, &worth, |x| x[0].nested_subset_straight_through(&x[1], least, [0.9, 1.2], Some(key)))?;
        let masks = [0.0; 54];
        let [nested, ..] = pulled(&inputs, &masks, |x| x[0].nested_prefixes_straight_through(3, 1.2, Some(of_choice)))?;
        let (mut of_sizes, mut of_masks) = (Vec::new(), masks);
        for (row, mask) in hard.chunks(6).enumerate() {
            let worth = &worth[6 * row..6 * row + 6];
            of_sizes.extend((least == 0).then_some(0.0));
            of_sizes.extend(
                nested[18 * row..18 * row + 18]
                    .chunks(6)
                    .map(|mask| mask.iter().zip(worth).map(|(m, g)| m * g).sum::<f32>()),
            );
            if let Some(size) = (mask.iter().sum::<f32>() as usize).checked_sub(1) {
                let at = 18 * row + 6 * size;
                assert_eq!(*mask, nested[at..at + 6]);
                of_masks[at..at + 6].copy_from_slice(worth);
            }
        }
        let [_, _, want] = pulled(&inputs, &of_sizes, |x| x[1].gumbel_softmax(of_counts, 0.9))?;
        assert!(dcounts.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-6));
        let [_, want, _] = pulled(&inputs, &of_masks, |x| x[0].nested_prefixes(3, 1.2, Some(of_choice)))?;
        assert!(dx.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-5 * (1.0 + want.abs())));
        let [_, same, _] =
            pulled(&inputs, &of_masks, |x| x[0].nested_prefixes_straight_through(3, 1.2, Some(of_choice)))?;
        assert_eq!(same, want);
    }
    Ok(())
}

/// The value of a function of two tensors, and the gradients of both from that of the value.
fn pulled(
    inputs: &[Tensor; 2],
    dy: &[f32],
    f: impl for<'t> Fn(&[Var<'t>; 2]) -> softurn_autodiff::Result<Var<'t>>,
) -> Result<[Vec<f32>; 3]> {
    let tape = Tape::new(gpu());
    let x = [tape.leaf(&inputs[0])?, tape.leaf(&inputs[1])?];
    let y = f(&x)?;
    let gradients = tape.backward_with(&y, &gpu().tensor(dy, y.shape().clone())?)?;
    let read = |x: &Var<'_>| gradients.of(x).map_or(Ok(Vec::new()), |dx| dx.read());
    Ok([y.read()?, read(&x[0])?, read(&x[1])?])
}

#[test]
fn choices_of_k() -> Result {
    let (x, key) = (values([3, 6], 4), Key::new(6));
    check_gradients(gpu(), std::slice::from_ref(&x), |_, x| x[0].sigmoid_top_k(2, 0.8, Some(key)), TOLERANCE)?;
    check_gradients(gpu(), std::slice::from_ref(&x), |_, x| x[0].sigmoid_top_k(3, 1.5, None), TOLERANCE)?;
    check_gradients(gpu(), std::slice::from_ref(&x), |_, x| x[0].successive_top_k(3, 1.5, Some(key)), TOLERANCE)?;
    check_gradients(gpu(), std::slice::from_ref(&x), |_, x| Ok(x[0].subset_marginals(2)?[0].clone()), TOLERANCE)?;
    check_gradients(gpu(), std::slice::from_ref(&x), |_, x| Ok(x[0].subset_marginals(2)?[1].clone()), TOLERANCE)?;
    // The order of these values stands steps of a sixteenth.
    let apart = gpu().tensor(&[0.0, 2.0, -1.0, 1.0, 3.0, -2.0], [2, 3])?;
    check_gradients(gpu(), &[apart], |_, x| Ok(x[0].top_k(2)?.0), TOLERANCE)?;
    // Exact choices have the gradient of their relaxation or of their marginals.
    let run = |f: &dyn for<'t> Fn(&Var<'t>) -> softurn_autodiff::Result<Var<'t>>| -> Result<[Vec<f32>; 2]> {
        let tape = Tape::new(gpu());
        let x = tape.leaf(&x)?;
        let y = f(&x)?;
        let gradients = tape.backward_with(&y, &values([3, 6], 5))?;
        Ok([y.read()?, gradients.of(&x).unwrap().read()?])
    };
    let [hard, gradient] = run(&|x| x.sigmoid_top_k_straight_through(2, 0.8, Some(key)))?;
    assert_eq!(gradient, run(&|x| x.sigmoid_top_k(2, 0.8, Some(key)))?[1]);
    let (_, chosen) = Tape::new(gpu()).constant(&x).gumbel_top_k(2, key)?;
    for (row, chosen) in hard.chunks(6).zip(chosen.read_u32()?.chunks(2)) {
        assert!((0..6).all(|c| row[c] == f32::from(chosen.contains(&(c as u32)))), "{row:?} {chosen:?}");
    }
    let [same, gradient] = run(&|x| x.successive_top_k_straight_through(2, 0.8, Some(key)))?;
    assert_eq!(same, hard);
    assert_eq!(gradient, run(&|x| x.successive_top_k(2, 0.8, Some(key)))?[1]);
    let [drawn, gradient] = run(&|x| x.subset_straight_through(2, key))?;
    assert!(drawn.chunks(6).all(|row| row.iter().sum::<f32>() == 2.0));
    assert_eq!(gradient, run(&|x| Ok(x.subset_marginals(2)?[0].clone()))?[1]);
    Ok(())
}
