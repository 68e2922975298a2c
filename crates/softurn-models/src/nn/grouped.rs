//! A linear layer with several heads, of which each row goes through one.

use softurn_autodiff::{Param, Parameters, Tape, Var};
use softurn_kernels::Key;
use softurn_kernels::ops::grouped_matmul::{Groups, Options};
use softurn_kernels::ops::matmul::Activation;

use crate::Result;

/// `y_r = f(x_r W_g(r) + b_g(r))` with `W` of shape `[heads, inputs, outputs]` and `g(r)` the head of row `r`.
#[derive(Debug, Clone)]
pub struct GroupedLinear {
    weight: Param,
    bias: Param,
    activation: Activation,
}

impl GroupedLinear {
    /// A layer with weights uniform on `±bound`, other for each head, and bias `bias`; the parameters are called `NAME.weight` and
    /// `NAME.bias`.
    ///
    /// # Errors
    /// When the name is taken or the layer is too large for the adapter.
    pub fn new(
        parameters: &mut Parameters,
        name: &str,
        [heads, inputs, outputs]: [usize; 3],
        bound: f32,
        bias: f32,
        activation: Activation,
        key: Key,
    ) -> Result<Self> {
        let weight = parameters.uniform(format!("{name}.weight"), [heads, inputs, outputs], bound, key)?;
        let bias = parameters.constant(format!("{name}.bias"), [heads, outputs], bias)?;
        Ok(Self { weight, bias, activation })
    }

    /// `W`, `[heads, inputs, outputs]`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// `b`, `[heads, outputs]`.
    pub fn bias(&self) -> &Param {
        &self.bias
    }

    /// `[rows, inputs]` to `[rows, outputs]`, each row through its head. With `frozen`, no gradient reaches the layer's own
    /// parameters.
    ///
    /// # Errors
    /// When `x` has another number of columns, or the groups have other rows or heads.
    pub fn forward<'t>(
        &self,
        tape: &'t Tape,
        parameters: &Parameters,
        x: &Var<'t>,
        groups: &Groups,
        frozen: bool,
    ) -> Result<Var<'t>> {
        let weight = super::variable(tape, parameters, &self.weight, frozen)?;
        let bias = super::variable(tape, parameters, &self.bias, frozen)?;
        let options = Options { activation: self.activation, ..Options::default() };
        Ok(x.grouped_matmul(&weight, Some(&bias), groups, options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use softurn_kernels::ops::gather;
    use softurn_kernels::{Gpu, GpuConfig};

    /// A head's rows get what a plain layer with its parameters gives them, and only heads that have rows learn.
    #[test]
    fn rows_go_through_their_heads() {
        let gpu =
            Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap_or_else(|error| panic!("{error}"));
        let mut parameters = Parameters::new(&gpu);
        let [heads, inputs, outputs] = [3, 64, 8];
        let shape = [heads, inputs, outputs];
        let layer =
            GroupedLinear::new(&mut parameters, "head", shape, 0.3, 0.5, Activation::Tanh, Key::new(1)).unwrap();
        let names: Vec<&str> = parameters.iter().map(Param::name).collect();
        assert_eq!(names, ["head.weight", "head.bias"]);
        let x = softurn_kernels::ops::random::normal(&gpu, [5, inputs], Key::new(2)).unwrap();
        let assignment = gpu.tensor(&[2u32, 0, 2, 2, 0], [5]).unwrap();
        let groups = Groups::new(&gpu, &assignment, heads).unwrap();
        let tape = Tape::new(&gpu);
        let y = layer.forward(&tape, &parameters, &tape.constant(&x), &groups, false).unwrap();
        let values = y.read().unwrap();
        let size = inputs * outputs;
        let weight = tape.param(&parameters, layer.weight()).unwrap().value().clone();
        let bias = gpu.tensor(&[0.5f32; 8], [outputs]).unwrap();
        for (head, rows) in [(0, &[1u32, 4][..]), (2, &[0, 2, 3])] {
            let of_head = gather::forward(&gpu, &x, &gpu.tensor(rows, [rows.len()]).unwrap()).unwrap();
            let weight = tape.constant(&weight.view(head * size, [inputs, outputs]).unwrap());
            let plain = tape.constant(&of_head).linear(&weight, Some(&tape.constant(&bias)), Activation::Tanh).unwrap();
            for (&row, want) in rows.iter().zip(plain.read().unwrap().chunks(outputs)) {
                for (got, want) in values[row as usize * outputs..].iter().zip(want) {
                    assert!((got - want).abs() < 1e-5, "row {row}: {got}, expected {want}");
                }
            }
        }
        let gradients = tape.backward(&y.square().unwrap().mean().unwrap()).unwrap();
        for (param, size) in [(layer.weight(), size), (layer.bias(), outputs)] {
            let gradient = gradients.param(param).unwrap().read().unwrap();
            let learns: Vec<bool> = gradient.chunks(size).map(|head| head.iter().any(|&g| g != 0.0)).collect();
            assert_eq!(learns, [true, false, true], "{}", param.name());
        }
    }
}
