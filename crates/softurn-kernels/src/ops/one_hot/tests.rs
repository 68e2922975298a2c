//! Tests of one-hot rows.

use softurn_tests::{Inputs, Mismatch, Mutant, SIZES, Tolerance, compare};

use super::{cpu, forward};
use crate::testing::{gpus, label};
use crate::{Error, Gpu};

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "columns for rows",
        "labels[i / params.classes] == i % params.classes",
        "labels[i % params.count] == i / params.count",
    ),
    mutant("the second of four", "vec4<u32>(0u, 1u, 2u, 3u)", "vec4<u32>(0u, 2u, 2u, 3u)"),
    mutant("labels counted from one", "== i % params.classes", "== i % params.classes + 1u"),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "one_hot", name, shader: "one_hot", from, to, plan: "both", hidden: None }
}

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &count in SIZES {
        for classes in [0, 1, 3, 8, 70] {
            let labels = Inputs::new(count as u64).index(count, classes as u32 + 2);
            let y = forward(gpu, &gpu.tensor(&labels, [count]).unwrap(), classes).unwrap().read().unwrap();
            let exact = Tolerance::new(0.0, 0.0, "zeros and ones");
            compare(
                &format!("{count} labels, {classes} classes"),
                &label(gpu),
                &y,
                &cpu::forward(&labels, classes),
                &exact,
            )?;
        }
    }
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    assert!(matches!(forward(gpu, &gpu.zeros([2]).unwrap(), 3), Err(Error::Argument { argument: "labels", .. })));
}
