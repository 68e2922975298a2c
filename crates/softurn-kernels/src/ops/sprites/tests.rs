//! Tests of the pictures: the twin, places, turns and areas read off them, classes that do not exist.

use std::f64::consts::PI;

use softurn_tests::{Inputs, Mismatch, Mutant, SMALL_SIZES, Tolerance, compare, same_bits};

use super::{SIZES, cpu, forward};
use crate::testing::{gpus, label};
use crate::{Error, Gpu};

/// A place is off by a few roundings of numbers up to 13 radii, 1e-6 of a radius of at most 10 pixels; the heart's polynomial
/// cancels near its outline, over a gradient of at least a half.
const TOLERANCE: Tolerance = Tolerance::new(
    2e-4,
    0.0,
    "places to 2e-6 radii of up to 10 pixels, times the slope of the heart's f / gradient, at most 8",
);

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant("the corner of a pixel", "+ 0.5) / side", ") / side"),
    mutant(
        "turned the other way",
        "sprite.turn.x * offset.y - sprite.turn.y",
        "sprite.turn.x * offset.y + sprite.turn.y",
    ),
    mutant("the second quarter", "vec2<f32>(-first.y, first.x)", "vec2<f32>(first.y, -first.x)"),
    mutant("beyond half a quarter", "min(steps, 10u - steps)", "steps"),
    mutant("the heart upside down", "vec2<f32>(v.x, -v.y)", "v"),
    mutant("inside a square", "+ min(max(d.x, d.y), 0.0)", ""),
    mutant("the ellipse's axis", "4.0 * v.y * v.y", "3.9 * v.y * v.y"),
    mutant("a class too many", "factors[at + 4u] < 32u", "factors[at + 4u] <= 32u"),
    mutant("a column twice", "pixel(sprite, column + 3u, row)", "pixel(sprite, column + 2u, row)"),
    mutant(
        "rows for columns",
        "pixel(sprite_of(line / params.side), i - line * params.side,",
        "pixel(sprite_of(line / params.side), line % params.side,",
    ),
];

const fn mutant(name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { op: "sprites", name, shader: "sprites", from, to, plan: "both", hidden: None }
}

fn pictures(gpu: &Gpu, factors: &[u32], side: usize) -> Vec<f32> {
    let factors = gpu.tensor(factors, [factors.len() / 5, 5]).unwrap();
    forward(gpu, &factors, side).unwrap().read().unwrap()
}

/// Everything that must hold on one device; the mutation table runs it on broken kernels.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &rows in SMALL_SIZES {
        for side in [8, 9, 32, 64] {
            let mut inputs = Inputs::new((rows + side) as u64);
            let columns = SIZES.map(|size| inputs.index(rows, size as u32));
            let mut factors: Vec<u32> = (0..rows).flat_map(|row| [0, 1, 2, 3, 4].map(|f| columns[f][row])).collect();
            // Every shape and quarter, and a class that does not exist.
            for (row, values) in factors.chunks_mut(5).enumerate().take(12) {
                (values[0], values[2]) = (row as u32 % 3, (7 * row as u32 + 5) % 40);
            }
            if rows > 20 {
                (0..5).for_each(|factor| factors[5 * (14 + factor) + factor] = SIZES[factor] as u32);
            }
            let what = format!("{rows} pictures of {side} x {side}");
            let y = pictures(gpu, &factors, side);
            compare(&what, &label(gpu), &y, &cpu::forward(&factors, side), &TOLERANCE)?;
            same_bits(&format!("{what}, again"), &y, &pictures(gpu, &factors, side))?;
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

/// The centre of mass of a square or an ellipse is its place, and the sum of its pixels the area: 2 R², π R² / 2. The heart's
/// area is 3.6617 in its own units of 4/5 R (integrated numerically), and its distance right to first order only.
#[test]
fn places_and_areas() {
    const SIDE: usize = 64;
    for (shape, area) in [(0, 2.0), (1, PI / 2.0), (2, 3.6617 * 0.64)] {
        for [scale, angle, column, row] in
            [[0, 0, 0, 0], [5, 3, 31, 0], [3, 17, 4, 31], [5, 28, 16, 9], [1, 39, 31, 31]]
        {
            let y = pictures(&gpus()[0], &[shape, scale, angle, column, row], SIDE);
            let mass: f64 = y.iter().map(|&y| f64::from(y)).sum();
            let radius = 0.15 * (0.5 + 0.1 * f64::from(scale)) * SIDE as f64;
            let expected = area * radius * radius;
            let near = if shape == 2 { 0.06 } else { 0.02 };
            assert!((mass / expected - 1.0).abs() < near, "{shape} of scale {scale}: {mass} for {expected}");
            if shape == 2 {
                continue;
            }
            let center = |of: fn(usize) -> usize| -> f64 {
                let moment = y.iter().enumerate().map(|(i, &y)| (of(i) as f64 + 0.5) * f64::from(y));
                moment.sum::<f64>() / mass / SIDE as f64
            };
            let [across, down] = [column, row].map(|place| 0.2 + 0.6 * f64::from(place) / 31.0);
            assert!((center(|i| i % SIDE) - across).abs() < 2e-3 && (center(|i| i / SIDE) - down).abs() < 2e-3);
        }
    }
}

/// A heart points down at angle 0, to the left a quarter later, and is symmetric about its axis.
#[test]
fn hearts_turn_clockwise() {
    const SIDE: usize = 63;
    let heart = |angle| pictures(&gpus()[1], &[2, 5, angle, 15, 15], SIDE);
    // The centre of mass less that of the circle.
    let spread = |y: &[f32], of: fn(usize) -> usize| {
        let mass: f64 = y.iter().map(|&y| f64::from(y)).sum();
        let moment: f64 = y.iter().enumerate().map(|(i, &y)| (of(i) as f64 + 0.5) * f64::from(y)).sum();
        moment / mass - (0.2 + 0.6 * 15.0 / 31.0) * SIDE as f64
    };
    let down = heart(0);
    assert!(spread(&down, |i| i / SIDE) < -0.5, "the broad end is above");
    assert!(spread(&down, |i| i % SIDE).abs() < 0.2);
    let left = heart(10);
    assert!(spread(&left, |i| i % SIDE) > 0.5, "the broad end is on the right");
    assert!(spread(&heart(20), |i| i / SIDE) > 0.5 && spread(&heart(30), |i| i % SIDE) < -0.5);
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let factors = gpu.tensor(&[0u32; 10], [2, 5]).unwrap();
    assert!(matches!(forward(gpu, &factors, 7), Err(Error::Argument { argument: "side", .. })));
    let wide = gpu.tensor(&[0u32; 12], [2, 6]).unwrap();
    assert!(matches!(forward(gpu, &wide, 8), Err(Error::Shape { argument: "factors", .. })));
    let floats = gpu.zeros([2, 5]).unwrap();
    assert!(matches!(forward(gpu, &floats, 8), Err(Error::Argument { argument: "factors", .. })));
}
