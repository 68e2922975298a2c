//! Tests of the views: the twin, the identity, what was drawn read back from ramps, special values, bad arguments.

use std::f32::consts::FRAC_PI_4;

use softurn_tests::{Inputs, Mismatch, Mutant, SMALL_SIZES, Tolerance, compare, ks_p, same_bits};

use super::{Affine, ImageShape, affine, corrupt, cpu};
use crate::testing::{gpus, label, wide};
use crate::{Error, Gpu, Key};

/// Interpolation is continuous: a source that is off by e pixels along each axis is off by 2 · 2e for pixels in [-1, 1].
const AFFINE: Tolerance = Tolerance::new(
    1e-4,
    1e-6,
    "sources up to 40 pixels from the centre, 10 roundings of 2^-24 each: 2.4e-5 pixels along each axis, times 4",
);
const CORRUPT: Tolerance = Tolerance::new(1e-5, 1e-6, "normals to 1.2e-6 absolute and relative, times noise up to 3");

const NONE: Affine = Affine { max_rotation: 0.0, max_scale: 0.0, max_shear: 0.0, max_shift: 0.0, max_crop: 0.0 };
const ALL: Affine = Affine { max_rotation: 0.5, max_scale: 0.3, max_shear: 0.4, max_shift: 0.2, max_crop: 0.3 };
const MOST: Affine =
    Affine { max_rotation: FRAC_PI_4, max_scale: 0.4, max_shear: FRAC_PI_4, max_shift: 1.0, max_crop: 0.9 };

const SHAPES: &[(usize, [usize; 3])] = &[
    (0, [4, 4, 1]),
    (1, [1, 1, 1]),
    (3, [1, 7, 1]),
    (2, [7, 1, 2]),
    (65, [5, 3, 3]),
    (257, [2, 3, 1]),
    (3, [17, 16, 2]),
    (5, [33, 17, 1]),
    (9, [28, 28, 1]),
];

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        op: "augment",
        name: "pixels placed by their corners",
        shader: "augment",
        from: "0.5 * (width - 1.0)",
        to: "0.5 * width",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "rotation in the wrong sense",
        shader: "augment",
        from: "(c * shear - s)",
        to: "(c * shear + s)",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "the last column is outside",
        shader: "augment",
        from: "col >= i32(params.width)",
        to: "col + 1 >= i32(params.width)",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "a crop makes smaller",
        shader: "augment",
        from: "1.0 - crop",
        to: "1.0 + crop",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "the window's row is its column",
        shader: "augment",
        from: "third.x",
        to: "second.w",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "lanes all start at the first pixel",
        shader: "augment",
        from: "var i = local.x;",
        to: "var i = 0u;",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "images that are not square: the aspect of the shear",
        shader: "augment",
        from: "* (width / height)",
        to: "",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "sine: a coefficient",
        shader: "shared/angle",
        from: "8.3333333e-3",
        to: "8.2e-3",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "cosine: a coefficient",
        shader: "shared/angle",
        from: "4.1666667e-2",
        to: "4.0e-2",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "a tap of weight 0 counts",
        shader: "augment",
        from: "weight == 0.0 || ",
        to: "",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "what was kept is dropped",
        shader: "augment",
        from: "uniform_from(r.z) < params.dropout",
        to: "uniform_from(r.z) >= params.dropout",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "dropout and noise share a word",
        shader: "augment",
        from: "uniform_from(r.z)",
        to: "uniform_from(r.x)",
        plan: "both",
        hidden: None,
    },
    Mutant {
        op: "augment",
        name: "NaN is dropped",
        shader: "augment",
        from: " && !is_nan(value)",
        to: "",
        plan: "both",
        hidden: None,
    },
];

fn image_shape([height, width, channels]: [usize; 3]) -> ImageShape {
    ImageShape { height, width, channels }
}

fn view(gpu: &Gpu, images: &[f32], shape: ImageShape, maxima: &Affine, key: Key) -> Vec<f32> {
    let cols = shape.height * shape.width * shape.channels;
    let images = gpu.tensor(images, [images.len() / cols, cols]).unwrap();
    affine(gpu, &images, shape, maxima, key).unwrap().read().unwrap()
}

fn corrupted(gpu: &Gpu, x: &[f32], cols: usize, noise: f32, dropout: f32, key: Key) -> Vec<f32> {
    let x = gpu.tensor(x, [x.len() / cols.max(1), cols]).unwrap();
    corrupt(gpu, &x, noise, dropout, key).unwrap().read().unwrap()
}

/// Everything that must hold on one device; the mutation table runs it on broken kernels.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    for &(rows, dims) in SHAPES {
        let (shape, cols) = (image_shape(dims), dims.iter().product::<usize>());
        let images = Inputs::new(rows as u64).uniform(-1.0, 1.0, rows * cols);
        for (seed, maxima) in [ALL, MOST].iter().enumerate() {
            let key = Key::new(seed as u64);
            let what = format!("{rows} images of {dims:?} under {maxima:?}");
            let y = view(gpu, &images, shape, maxima, key);
            compare(&what, &label(gpu), &y, &cpu::affine(&wide(&images), shape, maxima, key), &AFFINE)?;
            same_bits(&format!("{what}, again"), &y, &view(gpu, &images, shape, maxima, key))?;
            let part = rows / 3 * cols;
            same_bits(&format!("{what}, first third"), &y[..part], &view(gpu, &images[..part], shape, maxima, key))?;
        }
        same_bits(&format!("{dims:?}, identity"), &images, &view(gpu, &images, shape, &NONE, Key::new(5)))?;
    }
    // A pixel that is not finite stays where it is under the identity.
    let mut images = Inputs::new(8).uniform(-1.0, 1.0, 2 * 15);
    (images[7], images[22]) = (f32::INFINITY, f32::NAN);
    let what = "identity of an image with infinity and NaN";
    let same = view(gpu, &images, image_shape([5, 3, 1]), &NONE, Key::new(1));
    compare(what, &label(gpu), &same, &wide(&images), &AFFINE)?;

    for &rows in SMALL_SIZES {
        for (cols, noise, dropout) in [(1, 1.0, 0.5), (7, 0.1, 0.2), (65, 3.0, 0.9), (130, 0.0, 0.3)] {
            let mut x = Inputs::new(rows as u64).normal(rows * cols);
            if rows > 2 {
                (x[0], x[1], x[2]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
            }
            let key = Key::new(cols as u64);
            let what = format!("corrupt [{rows}, {cols}], noise {noise}, dropout {dropout}");
            let y = corrupted(gpu, &x, cols, noise, dropout, key);
            compare(&what, &label(gpu), &y, &cpu::corrupt(&wide(&x), cols, noise, dropout, key), &CORRUPT)?;
            same_bits(&format!("{what}, again"), &y, &corrupted(gpu, &x, cols, noise, dropout, key))?;
            let part = rows / 3 * cols;
            let first = corrupted(gpu, &x[..part], cols, noise, dropout, key);
            same_bits(&format!("{what}, first third"), &y[..part], &first)?;
        }
    }
    // Every NaN of a row that is dropped for certain.
    let x = [f32::NAN, 1.0, f32::INFINITY, -0.0, 3e38];
    let want = [f64::NAN, 0.0, 0.0, 0.0, 0.0];
    compare("all dropped", &label(gpu), &corrupted(gpu, &x, 5, 0.5, 1.0, Key::new(3)), &want, &CORRUPT)?;
    Ok(())
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn several_workgroup_rows() {
    for gpu in gpus() {
        let (rows, cols) = (65_535 * 64 / 63 + 2, 63);
        let x = Inputs::new(3).uniform(-1.0, 1.0, rows * cols);
        let y = corrupted(gpu, &x, cols, 0.5, 0.25, Key::new(9));
        let want = cpu::corrupt(&wide(&x), cols, 0.5, 0.25, Key::new(9));
        compare("corrupt, folded dispatch", &label(gpu), &y, &want, &CORRUPT).unwrap();
    }
}

/// A ramp along either axis shows at every pixel where it came from: its two channels are the source's column and row.
fn ramps(rows: usize, side: usize) -> Vec<f32> {
    let image: Vec<f32> = (0..side * side).flat_map(|i| [(i % side) as f32, (i / side) as f32]).collect();
    image.repeat(rows)
}

/// θ, `s_x`, `s_y`, φ, `t_x`, `t_y` of every view, from the four neighbours of the central pixel.
fn recovered(gpu: &Gpu, rows: usize, maxima: &Affine, key: Key) -> Vec<[f64; 6]> {
    const SIDE: usize = 15;
    let y = view(gpu, &ramps(rows, SIDE), image_shape([SIDE, SIDE, 2]), maxima, key);
    y.chunks(SIDE * SIDE * 2)
        .map(|image| {
            let center = SIDE / 2;
            let at = |row: usize, col: usize| [0, 1].map(|axis| f64::from(image[(row * SIDE + col) * 2 + axis]));
            let (left, right) = (at(center, center - 1), at(center, center + 1));
            let (above, below) = (at(center - 1, center), at(center + 1, center));
            let a = [(right[0] - left[0]) / 2.0, (right[1] - left[1]) / 2.0]; // A's first column: R (1, 0) / s_x
            let b = [(below[0] - above[0]) / 2.0, (below[1] - above[1]) / 2.0]; // R (h, 1) / s_y
            let rotation = a[1].atan2(a[0]);
            let (sin, cos) = rotation.sin_cos();
            let (h, one) = (cos * b[0] + sin * b[1], cos * b[1] - sin * b[0]);
            let shift = at(center, center).map(|source| (source - center as f64) * 2.0 / SIDE as f64);
            [rotation, 1.0 / a[0].hypot(a[1]), 1.0 / one, (h / one).atan(), shift[0], shift[1]]
        })
        .collect()
}

#[test]
fn draws_are_uniform_and_each_alone_does_what_its_name_says() {
    let alone = [
        (Affine { max_rotation: 0.6, ..NONE }, vec![0], 0.6),
        (Affine { max_scale: 0.4, ..NONE }, vec![1, 2], 0.4),
        (Affine { max_shear: 0.5, ..NONE }, vec![3], 0.5),
        (Affine { max_shift: 0.3, ..NONE }, vec![4, 5], 0.3),
    ];
    let still = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    for (seed, (maxima, moved, bound)) in alone.iter().enumerate() {
        let views = recovered(&gpus()[1], 1000, maxima, Key::new(seed as u64));
        for which in 0..6 {
            let draws: Vec<f64> = views.iter().map(|view| view[which] - still[which]).collect();
            if moved.contains(&which) {
                let p = ks_p(&draws, |x| ((x + bound) / (2.0 * bound)).clamp(0.0, 1.0));
                assert!(p > 1e-3, "{maxima:?}, parameter {which}: p = {p}");
            } else {
                assert!(draws.iter().all(|x| x.abs() < 1e-5), "{maxima:?}, parameter {which} moves");
            }
        }
        for pair in moved.windows(2) {
            let products = views.iter().map(|view| (view[pair[0]] - still[pair[0]]) * (view[pair[1]] - still[pair[1]]));
            let correlation = products.sum::<f64>() / 1000.0 / (bound * bound / 3.0);
            assert!(correlation.abs() < 0.12, "{maxima:?}: axes correlate by {correlation}");
        }
    }
}

#[test]
fn crops_are_windows_of_the_image() {
    let maxima = Affine { max_crop: 0.6, ..NONE };
    let views = recovered(&gpus()[1], 1000, &maxima, Key::new(7));
    let (mut crops, mut places) = (Vec::new(), Vec::new());
    for view in &views {
        let seen = view[1].recip();
        assert!((seen - view[2].recip()).abs() < 1e-5 && view[0].abs() < 1e-5 && view[3].abs() < 1e-5, "{view:?}");
        assert!([view[4], view[5]].iter().all(|place| place.abs() + seen < 1.0 + 1e-5), "outside: {view:?}");
        crops.push(1.0 - seen);
        // What is cut off on one side, of all that is.
        places.extend([view[4], view[5]].map(|place| place / (1.0 - seen).max(1e-3)));
    }
    let p = ks_p(&crops, |x| (x / 0.6).clamp(0.0, 1.0));
    assert!(p > 1e-3, "crops: p = {p}");
    let p = ks_p(&places, |x| ((x + 1.0) / 2.0).clamp(0.0, 1.0));
    assert!(p > 1e-3, "places: p = {p}");
    let both: f64 = places.chunks(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / 1000.0 * 3.0;
    assert!(both.abs() < 0.12, "axes correlate by {both}");
}

#[test]
fn all_together_are_what_the_twin_drew() {
    let key = Key::new(11);
    let maxima = Affine { max_rotation: 0.4, max_scale: 0.2, max_shear: 0.3, max_shift: 0.2, max_crop: 0.0 };
    for (row, got) in recovered(&gpus()[0], 100, &maxima, key).iter().enumerate() {
        let view = cpu::View::draw(row, &maxima, key);
        let want = [view.rotation, view.scale[0], view.scale[1], view.shear, view.shift[0], view.shift[1]];
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{row}: {got:?}, drawn {want:?}");
    }
}

#[test]
fn corruption_has_its_probabilities() {
    let n = 50_000;
    let y = corrupted(&gpus()[0], &vec![100.0; n], 50, 2.0, 0.3, Key::new(4));
    let kept: Vec<f64> = y.iter().filter(|&&y| y != 0.0).map(|&y| (f64::from(y) - 100.0) / 2.0).collect();
    let rate = 1.0 - kept.len() as f64 / n as f64;
    assert!((rate - 0.3).abs() < 0.008, "{rate} dropped");
    let (mean, square) =
        (kept.iter().sum::<f64>() / kept.len() as f64, kept.iter().map(|z| z * z).sum::<f64>() / kept.len() as f64);
    assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.03, "mean {mean}, second moment {square}");
}

#[test]
fn values_that_are_not_finite_spread_to_their_neighbours_only() {
    let shape = image_shape([9, 9, 1]);
    let mut images = Inputs::new(2).uniform(-1.0, 1.0, 6 * 81);
    for (image, value) in [(0, f32::NAN), (2, f32::INFINITY), (4, f32::NEG_INFINITY)] {
        images[image * 81 + 40] = value;
    }
    for gpu in gpus() {
        let y = view(gpu, &images, shape, &ALL, Key::new(21));
        let want = cpu::affine(&wide(&images), shape, &ALL, Key::new(21));
        compare("one pixel not finite", &label(gpu), &y, &want, &AFFINE).unwrap();
        for image in 0..6 {
            let touched = y[image * 81..][..81].iter().filter(|y| !y.is_finite()).count();
            assert!(if image % 2 == 0 && image < 5 { (1..20).contains(&touched) } else { touched == 0 });
        }
        // So far away that coordinates leave every integer's range.
        let far = Affine { max_shift: f32::MAX, ..ALL };
        assert!(view(gpu, &images, shape, &far, Key::new(1)).iter().all(|&y| y == 0.0));
    }
}

#[test]
fn keys_and_rows_differ() {
    let gpu = &gpus()[1];
    let (shape, images) = (image_shape([8, 8, 1]), Inputs::new(1).uniform(0.1, 1.0, 64).repeat(2));
    let a = view(gpu, &images, shape, &ALL, Key::new(1));
    assert_ne!(a[..64], a[64..]);
    assert_ne!(a, view(gpu, &images, shape, &ALL, Key::new(2)));
    let x = corrupted(gpu, &images, 64, 0.1, 0.1, Key::new(1));
    assert_ne!(x[..64], x[64..]);
    assert_ne!(x, corrupted(gpu, &images, 64, 0.1, 0.1, Key::new(2)));
}

#[test]
fn bad_arguments() {
    let gpu = &gpus()[0];
    let key = Key::new(0);
    let images = gpu.zeros([2, 12]).unwrap();
    let shape = image_shape([2, 3, 2]);
    let bad = |maxima: Affine| match affine(gpu, &images, shape, &maxima, key) {
        Err(Error::Argument { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    for value in [-0.1, 0.79, f32::NAN, f32::INFINITY] {
        assert_eq!(bad(Affine { max_rotation: value, ..NONE }), "max_rotation");
        assert_eq!(bad(Affine { max_shear: value, ..NONE }), "max_shear");
    }
    for value in [-0.1, 1.0, f32::NAN] {
        assert_eq!(bad(Affine { max_scale: value, ..NONE }), "max_scale");
        assert_eq!(bad(Affine { max_crop: value, ..NONE }), "max_crop");
    }
    for value in [-0.1, f32::INFINITY, f32::NAN] {
        assert_eq!(bad(Affine { max_shift: value, ..NONE }), "max_shift");
        let result = corrupt(gpu, &images, value, 0.0, key);
        assert!(matches!(result, Err(Error::Argument { argument: "noise", .. })));
    }
    for value in [-0.1, 1.1, f32::NAN] {
        let result = corrupt(gpu, &images, 0.0, value, key);
        assert!(matches!(result, Err(Error::Argument { argument: "dropout", .. })));
    }
    let wrong = affine(gpu, &images, image_shape([2, 3, 1]), &NONE, key);
    assert!(matches!(wrong, Err(Error::Shape { argument: "images", .. })));
    for dims in [[0, 3, 1], [usize::MAX, 2, 2]] {
        let wrong = affine(gpu, &images, image_shape(dims), &NONE, key);
        assert!(matches!(wrong, Err(Error::Argument { argument: "shape", .. })));
    }
    let labels = gpu.tensor(&[1u32; 12], [1, 12]).unwrap();
    assert!(matches!(affine(gpu, &labels, shape, &NONE, key), Err(Error::Argument { argument: "images", .. })));
    assert!(matches!(corrupt(gpu, &labels, 0.0, 0.0, key), Err(Error::Argument { argument: "x", .. })));
}
