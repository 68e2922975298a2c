use softurn_autodiff::{Error, Rule, Tape, Var, check_gradients};
use softurn_kernels::ops::reduce::{Axis, Reduction};
use softurn_kernels::{Gpu, Tensor};

use crate::{Result, gpu, values};

#[test]
fn a_variable_used_twice_adds_its_gradients() -> Result {
    let tape = Tape::new(gpu());
    let x = tape.leaf(&gpu().tensor(&[2.0, -3.0], [2])?)?;
    // x² + x·x + x + 3x: every use of x is a path of its own.
    let y = ((x.square()? + (&x * &x)?)? + (&x + (&x * 3.0)?)?)?;
    let gradients = tape.backward(&y.sum()?)?;
    assert_eq!(gradients.of(&x).unwrap().read()?, [4.0 * 2.0 + 4.0, 4.0 * -3.0 + 4.0]);
    assert!(gradients.of(&y).is_none(), "results of operations keep no gradient");
    Ok(())
}

#[test]
fn constants_and_detached_variables_record_nothing() -> Result {
    let tape = Tape::new(gpu());
    let x = tape.constant(&values([2, 3], 0));
    let y = (x.exp()? * &x)?.mean()?;
    assert!(!y.wants_gradient() && tape.ops().is_empty());
    assert_eq!(tape.backward(&y).unwrap_err(), Error::Constant);

    let leaf = tape.leaf(&values([2, 3], 1))?;
    let y = (leaf.detach().exp()? * &leaf)?.sum()?;
    assert_eq!(tape.ops(), ["mul", "sum"]);
    let expected = leaf.detach().exp()?.read()?;
    let unused = tape.leaf(&values([2, 3], 2))?;
    let gradients = tape.backward(&y)?;
    assert_eq!(gradients.of(&leaf).unwrap().read()?, expected);
    assert!(gradients.of(&unused).is_none() && gradients.of(&x).is_none());
    Ok(())
}

#[test]
fn operators_take_variables_tensors_and_numbers() -> Result {
    let tape = Tape::new(gpu());
    let (a, b) = (tape.constant(&gpu().tensor(&[6.0], [1])?), tape.constant(&gpu().tensor(&[3.0], [1])?));
    let t = gpu().tensor(&[2.0], [1])?;
    let cases = [
        ((&a + &b)?, 9.0),
        ((a.clone() - &b)?, 3.0),
        ((&a * b.clone())?, 18.0),
        ((a.clone() / b.clone())?, 2.0),
        ((&a - &t)?, 4.0),
        ((a.clone() / &t)?, 3.0),
        ((&a + 1.0)?, 7.0),
        ((a.clone() - 1.0)?, 5.0),
        ((&a / 2.0)?, 3.0),
        ((1.0 - &a)?, -5.0),
        ((12.0 / a.clone())?, 2.0),
        ((2.0 * &a)?, 12.0),
        ((-&a)?, -6.0),
    ];
    for (i, (y, expected)) in cases.iter().enumerate() {
        assert!((y.item()? - expected).abs() < 1e-5, "case {i}: {} for {expected}", y.item()?);
    }
    Ok(())
}

#[test]
fn a_smaller_left_operand_is_repeated() -> Result {
    let tape = Tape::new(gpu());
    let row = tape.constant(&gpu().tensor(&[1.0, 2.0], [2])?);
    let x = tape.constant(&gpu().tensor(&[1.0, 2.0, 4.0, 8.0], [2, 2])?);
    assert_eq!((&row - &x)?.read()?, [0.0, 0.0, -3.0, -6.0]);
    assert_eq!((&row / &x)?.read()?, [1.0, 1.0, 0.25, 0.25]);
    let wrong = tape.constant(&gpu().tensor(&[1.0, 2.0, 3.0], [3])?);
    assert!((&wrong + &x).unwrap_err().to_string().starts_with("binary: b has shape [3]"));
    Ok(())
}

#[test]
fn errors_name_the_operation() -> Result {
    let gpu = gpu();
    let x = values([2, 3], 0);

    let tape = Tape::new(gpu);
    let y = tape.leaf(&x)?;
    assert_eq!(tape.backward(&y).unwrap_err(), Error::NotScalar { shape: [2, 3].into() });
    let largest = y.reduce(Reduction::Max, Axis::All)?;
    let error = tape.backward(&largest).unwrap_err();
    assert_eq!(error, Error::MissingRule { op: "max" });
    assert!(error.to_string().starts_with("max: no gradient exists"));
    assert_eq!(y.exp().unwrap_err(), Error::SpentTape { op: "exp" });
    assert_eq!(tape.leaf(&x).unwrap_err(), Error::SpentTape { op: "leaf" });
    assert_eq!(tape.backward(&largest).unwrap_err(), Error::SpentTape { op: "backward" });

    let (tape, other) = (Tape::new(gpu), Tape::new(gpu));
    let (a, b) = (tape.leaf(&x)?, other.leaf(&x)?);
    assert_eq!((&a + &b).unwrap_err(), Error::OtherTape { op: "add", input: 1 });
    assert_eq!(tape.backward(&b.sum()?).unwrap_err(), Error::OtherTape { op: "backward", input: 0 });
    assert!(other.backward(&b.sum()?)?.of(&a).is_none(), "gradients of one tape know no variable of another");
    let labels = gpu.tensor(&[1u32], [1])?;
    assert!(matches!(tape.leaf(&labels).unwrap_err(), Error::NotDifferentiable(_)));
    Ok(())
}

/// A rule that answers with whatever it was made with.
struct Answer(Vec<Option<Tensor>>);

impl Rule for Answer {
    fn backward(&self, _: &Gpu, _: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_wrong_rule_is_found_out() -> Result {
    let x = values([2, 3], 0);
    let run = |answer: Vec<Option<Tensor>>, check: bool| {
        let tape = Tape::new(gpu()).check_finite(check);
        let leaf = tape.leaf(&x)?;
        let [y] = tape.record("mine", &[&leaf], [gpu().tensor(&[1.0], [])?], Answer(answer))?;
        tape.backward(&y).map(|gradients| gradients.of(&leaf).is_some())
    };
    let op = "mine";
    let (got, expected) = ([3, 2].into(), [2, 3].into());
    assert_eq!(run(vec![Some(x.reshape([3, 2])?)], false), Err(Error::GradientShape { op, input: 0, got, expected }));
    assert_eq!(run(vec![None], false), Err(Error::MissingGradient { op, input: 0 }));
    assert_eq!(run(vec![], false), Err(Error::GradientCount { op, got: 0, expected: 1 }));
    let infinite = gpu().tensor(&[0.0, 1.0, f32::INFINITY, 0.0, 0.0, 0.0], [2, 3])?;
    assert_eq!(run(vec![Some(infinite.clone())], false), Ok(true));
    let value = f32::INFINITY;
    assert_eq!(run(vec![Some(infinite)], true), Err(Error::NonFinite { op, input: 0, element: 2, value }));
    let nan = gpu().tensor(&[f32::NAN; 6], [2, 3])?;
    assert!(matches!(run(vec![Some(nan)], true), Err(Error::NonFinite { op: "mine", element: 0, .. })));
    assert_eq!(run(vec![Some(x.clone())], true), Ok(true));
    Ok(())
}

#[test]
fn the_checker_finds_a_wrong_gradient() -> Result {
    let x = values([2, 3], 0);
    let scaled = |factor: f32| {
        check_gradients(
            gpu(),
            std::slice::from_ref(&x),
            |tape, inputs| {
                let y = inputs[0].value().clone();
                let dy = gpu().tensor(&[factor; 6], [2, 3])?;
                let [y] = tape.record("mine", &[&inputs[0]], [y], Elementwise(dy))?;
                y.sum()
            },
            1e-3,
        )
    };
    assert_eq!(scaled(1.0), Ok(()));
    let Err(Error::WrongGradient { ops, input: 0, element: 0, .. }) = scaled(1.01) else {
        panic!("an error of one per cent passes");
    };
    assert_eq!(ops, "mine, sum");
    assert!(scaled(f32::NAN).is_err());
    Ok(())
}

struct Elementwise(Tensor);

impl Rule for Elementwise {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        use softurn_kernels::ops::binary::{Binary, forward};
        let dy = dy[0].as_ref().unwrap();
        Ok(vec![Some(forward(gpu, Binary::Mul, dy, &self.0)?)])
    }
}

/// Two outputs, `x` and `2x`; an output that the loss does not use has no gradient.
struct Pair;

impl Rule for Pair {
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        assert_eq!(wanted, [true, false]);
        assert!(dy[0].is_none());
        let twice = softurn_kernels::ops::unary::Unary::Affine { scale: 2.0, shift: 0.0 };
        Ok(vec![Some(softurn_kernels::ops::unary::forward(gpu, twice, dy[1].as_ref().unwrap())?), None])
    }
}

#[test]
fn a_node_may_have_several_outputs() -> Result {
    let tape = Tape::new(gpu());
    let x = tape.leaf(&values([2, 3], 0))?;
    let constant: Var<'_> = tape.constant(x.value());
    let outputs = [x.value().clone(), (&constant * 2.0)?.value().clone()];
    let [_unused, twice] = tape.record("pair", &[&x, &constant], outputs, Pair)?;
    assert_eq!(tape.backward(&twice.sum()?)?.of(&x).unwrap().read()?, [2.0; 6]);
    Ok(())
}
