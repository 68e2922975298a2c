//! Gradients compared with central differences: `f'(x) ≈ [8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))] / 12h`.
//!
//! The forward runs in f32, so `h` is large (1/32, error `h⁴ f⁽⁵⁾ / 30`) and the output is weighted and summed in f64
//! on the host: the rounding error left over is that of single output elements.

use softurn_kernels::{Gpu, Key, Tensor};

use crate::{Error, Result, Tape, Var};

/// The distance of the stencil's points; a power of two, so that `x ± h` is exact for inputs with few bits.
const STEP: f32 = 0.03125;

/// Compares the tape's gradients of `f` by every element of every input with central differences.
///
/// `f` may return any shape: its elements are weighted with fixed numbers in `[-1, -½] ∪ [½, 1]` and summed. It must
/// give the same result for the same inputs (fixed keys), and be smooth within 1/16 around them: keep away from the
/// kinks of functions such as `relu`. An element passes when `|tape - numeric| <= tolerance · (1 + |numeric|)`; 1e-3
/// suits most functions with values near 1. Costs four forward passes per element: for small inputs.
///
/// ```
/// use softurn_autodiff::check_gradients;
/// use softurn_kernels::{Gpu, GpuConfig};
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let x = gpu.tensor(&[0.5, -1.0, 2.0], [3])?;
/// check_gradients(&gpu, &[x], |_, inputs| inputs[0].tanh()?.square(), 1e-3)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::WrongGradient`] with the element at fault; whatever `f` and `backward` return. An input that the result does
/// not depend on has gradient 0.
pub fn check_gradients<F>(gpu: &Gpu, inputs: &[Tensor], f: F, tolerance: f64) -> Result<()>
where
    F: for<'t> Fn(&'t Tape, &[Var<'t>]) -> Result<Var<'t>>,
{
    let tape = Tape::new(gpu);
    let leaves = inputs.iter().map(|x| tape.leaf(x)).collect::<Result<Vec<_>>>()?;
    let y = f(&tape, &leaves)?;
    let weights: Vec<f32> = Key::new(0).split_forever().take(y.value().len()).map(weight).collect();
    let ops = tape.ops().join(", ");
    let gradients = tape.backward_with(&y, &gpu.tensor(&weights, y.shape().clone())?)?;

    let evaluate = |input: usize, values: &[f32]| -> Result<f64> {
        let tape = Tape::new(gpu);
        let mut constants: Vec<Var<'_>> = inputs.iter().map(|x| tape.constant(x)).collect();
        constants[input] = tape.constant(&gpu.tensor(values, inputs[input].shape().clone())?);
        let y = f(&tape, &constants)?.read()?;
        Ok(y.iter().zip(&weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum())
    };
    for (input, leaf) in leaves.iter().enumerate() {
        let values = leaf.read()?;
        let gradient = match gradients.of(leaf) {
            Some(gradient) => gradient.read()?,
            None => vec![0.0; values.len()],
        };
        for element in 0..values.len() {
            let at = |steps: f32| {
                let mut moved = values.clone();
                moved[element] += steps * STEP;
                evaluate(input, &moved)
            };
            let near = at(1.0)? - at(-1.0)?;
            let far = at(2.0)? - at(-2.0)?;
            let numeric = (8.0 * near - far) / (12.0 * f64::from(STEP));
            let tape = f64::from(gradient[element]);
            // NaN on either side is not within any tolerance.
            let within = (tape - numeric).abs() <= tolerance * (1.0 + numeric.abs());
            if !within {
                return Err(Error::WrongGradient { ops, input, element, tape, numeric });
            }
        }
    }
    Ok(())
}

fn weight(key: Key) -> f32 {
    let magnitude = 0.5 + (key.bits() >> 41) as f32 / (1u64 << 24) as f32;
    if key.bits() & 1 == 0 { magnitude } else { -magnitude }
}
