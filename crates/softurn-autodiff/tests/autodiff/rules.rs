//! Every rule against central differences, on small shapes that are neither square nor powers of two.

use softurn_autodiff::check_gradients;
use softurn_kernels::ops::binary::Binary;
use softurn_kernels::ops::reduce::{Axis, Reduction};
use softurn_kernels::ops::unary::Unary;

use crate::{Result, gpu, positive, values};

const TOLERANCE: f64 = 1e-3;

#[test]
fn unary() -> Result {
    let functions = [
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
        Unary::Log,
        Unary::Log1p,
        Unary::Sqrt,
        Unary::Reciprocal,
    ];
    for function in functions {
        let x = positive([3, 5], 1);
        check_gradients(gpu(), &[x], |_, inputs| inputs[0].unary(function), TOLERANCE)?;
    }
    for function in &functions[..10] {
        let x = values([3, 5], 2);
        check_gradients(gpu(), &[x], |_, inputs| inputs[0].unary(*function), TOLERANCE)?;
    }
    Ok(())
}

#[test]
fn binary() -> Result {
    let functions = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];
    let a = values([3, 5], 3);
    for function in functions {
        for (i, shape) in [[3, 5], [1, 5], [3, 1], [1, 1]].into_iter().enumerate() {
            // Shifted by 1/4 from `a`, so that the larger and the smaller have no ties.
            let b = gpu().tensor(&positive(shape, 4).read()?.iter().map(|x| x + 0.25).collect::<Vec<_>>(), shape)?;
            check_gradients(gpu(), &[a.clone(), b.clone()], |_, x| x[0].binary(function, &x[1]), TOLERANCE)?;
            if i > 0 {
                let a = positive([3, 5], 5);
                check_gradients(gpu(), &[b.clone(), a], |_, x| x[0].binary(function, &x[1]), TOLERANCE)?;
            }
            check_gradients(
                gpu(),
                std::slice::from_ref(&a),
                |tape, x| x[0].binary(function, &tape.constant(&b)),
                TOLERANCE,
            )?;
            check_gradients(
                gpu(),
                std::slice::from_ref(&b),
                |tape, x| tape.constant(&a).binary(function, &x[0]),
                TOLERANCE,
            )?;
        }
    }
    Ok(())
}

#[test]
fn reduce() -> Result {
    for reduction in [Reduction::Sum, Reduction::Mean] {
        for axis in [Axis::Cols, Axis::Rows, Axis::All] {
            check_gradients(gpu(), &[values([3, 7], 6)], |_, x| x[0].reduce(reduction, axis)?.square(), TOLERANCE)?;
        }
    }
    Ok(())
}

#[test]
fn reshape() -> Result {
    check_gradients(gpu(), &[values([3, 4], 7)], |_, x| x[0].square()?.reshape([2, 6])?.sum_cols(), TOLERANCE)
}
