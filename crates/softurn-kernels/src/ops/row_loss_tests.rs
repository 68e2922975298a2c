//! What holds of every loss by rows: the twin, central differences, NaN in its row, bad arguments.

use softurn_tests::{Mismatch, Tolerance, assert_gradient, compare, same_bits};

use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu, Result as KernelResult, Tensor};

const SHAPES: &[[usize; 2]] = &[[0, 3], [3, 0], [1, 1], [2, 3], [7, 63], [65, 64], [3, 257], [130, 5], [2, 1000]];

/// Columns, predictions, targets and gradients of the rows to gradients of the predictions.
type TwinBackward = fn(usize, &[f64], &[f64], &[f64]) -> Vec<f64>;

/// A loss under test: its kernels, its twins, and inputs that suit it (predictions, targets, gradients of the rows).
pub(super) struct Suite {
    pub(super) argument: &'static str,
    pub(super) tolerance: Tolerance,
    pub(super) inputs: fn(usize, usize) -> [Vec<f32>; 3],
    pub(super) forward: fn(&Gpu, &Tensor, &Tensor) -> KernelResult<Tensor>,
    pub(super) backward: fn(&Gpu, &Tensor, &Tensor, &Tensor) -> KernelResult<Tensor>,
    pub(super) twin: fn(usize, &[f64], &[f64], usize) -> Vec<f64>,
    pub(super) twin_backward: TwinBackward,
}

impl Suite {
    /// Everything that must hold on one device.
    pub(super) fn check(&self, gpu: &Gpu) -> Result<(), Mismatch> {
        for &[rows, cols] in SHAPES {
            let [x, t, dloss] = (self.inputs)(rows, cols);
            let (tx, tt) = (gpu.tensor(&x, [rows, cols]).unwrap(), gpu.tensor(&t, [rows, cols]).unwrap());
            let tdloss = gpu.tensor(&dloss, [rows]).unwrap();
            let what = |name: &str| format!("[{rows}, {cols}] {name}");
            let loss = (self.forward)(gpu, &tx, &tt).unwrap().read().unwrap();
            compare(
                &what("loss"),
                &label(gpu),
                &loss,
                &(self.twin)(cols, &wide(&x), &wide(&t), rows),
                &self.tolerance,
            )?;
            let dx = (self.backward)(gpu, &tx, &tt, &tdloss).unwrap().read().unwrap();
            let want = (self.twin_backward)(cols, &wide(&x), &wide(&t), &wide(&dloss));
            compare(&what("gradient"), &label(gpu), &dx, &want, &self.tolerance)?;
            same_bits(&what("two runs"), &loss, &(self.forward)(gpu, &tx, &tt).unwrap().read().unwrap())?;
            same_bits(&what("two runs"), &dx, &(self.backward)(gpu, &tx, &tt, &tdloss).unwrap().read().unwrap())?;
            let half = rows / 2;
            let first = gpu.tensor(&x[..half * cols], [half, cols]).unwrap();
            let first_targets = gpu.tensor(&t[..half * cols], [half, cols]).unwrap();
            same_bits(
                &what("half of the rows"),
                &loss[..half],
                &(self.forward)(gpu, &first, &first_targets).unwrap().read().unwrap(),
            )?;
        }
        Ok(())
    }

    pub(super) fn agrees_with_the_twin(&self) {
        for gpu in gpus() {
            self.check(gpu).unwrap();
        }
    }

    pub(super) fn twin_agrees_with_central_differences(&self) {
        let [x, t, dloss] = (self.inputs)(3, 4).map(|v| wide(&v));
        let x: Vec<f64> = x.iter().map(|x| x / 4.0).collect();
        let f = |x: &[f64]| (self.twin)(4, x, &t, 3).iter().zip(&dloss).map(|(l, g)| l * g).sum();
        assert_gradient(
            self.argument,
            f,
            &x,
            &(self.twin_backward)(4, &x, &t, &dloss),
            &Tolerance::new(1e-8, 1e-7, "central differences"),
        );
    }

    pub(super) fn nan_stays_in_its_row(&self) {
        for gpu in gpus() {
            let mut x = vec![0.5f32; 3 * 70];
            x[71] = f32::NAN;
            let (tx, t) = (gpu.tensor(&x, [3, 70]).unwrap(), gpu.tensor(&[0.25f32; 210], [3, 70]).unwrap());
            let loss = (self.forward)(gpu, &tx, &t).unwrap().read().unwrap();
            assert!(loss[0].is_finite() && loss[1].is_nan() && loss[2].is_finite(), "{loss:?}");
            let ones = gpu.tensor(&[1.0f32; 3], [3]).unwrap();
            let dx = (self.backward)(gpu, &tx, &t, &ones).unwrap().read().unwrap();
            assert!(dx[..70].iter().chain(&dx[140..]).all(|d| d.is_finite()) && dx[71].is_nan());
        }
    }

    pub(super) fn bad_arguments(&self) {
        let gpu = &gpus()[0];
        let (x, t) = (gpu.zeros([2, 3]).unwrap(), gpu.zeros([3, 2]).unwrap());
        assert!(matches!((self.forward)(gpu, &x, &t), Err(Error::Shape { argument: "targets", .. })));
        assert!(
            matches!((self.forward)(gpu, &t.reshape([6]).unwrap(), &t), Err(Error::Shape { argument, .. }) if argument == self.argument)
        );
        assert!(matches!((self.backward)(gpu, &x, &x, &t), Err(Error::Shape { argument: "dloss", .. })));
    }
}
