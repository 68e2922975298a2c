//! Images of known factors: tiny files of every format, written here, against numbers worked out by hand; and pairs against
//! what they promise.

use std::io::{Cursor, Write};

use ndarray::{Array2, Array4, array};
use proptest::prelude::*;
use softurn_kernels::{Gpu, GpuConfig, Key};

use super::factors::grid;
use super::tests::{Folder, gzip, idx, message, npy, says};
use super::*;

fn array_of(dtype: &str, shape: &str, payload: &[u8]) -> Vec<u8> {
    npy(&format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}"), payload)
}

fn npz_of(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn factors(sizes: &[usize]) -> Vec<Factor> {
    let factor = |(at, &size)| Factor { name: format!("f{at}"), size };
    sizes.iter().enumerate().map(factor).collect()
}

const DOT: ImageShape = ImageShape { height: 1, width: 1, channels: 1 };

/// A full grid whose images are a grey pixel.
fn dots(sizes: &[usize]) -> FactorImages {
    let classes = grid(sizes);
    FactorImages::new("dots", vec![7; classes.nrows()], DOT, factors(sizes), classes).unwrap()
}

#[test]
fn images_must_fit_their_factors() {
    let new = |pixels: &[u8], sizes: &[usize], classes| {
        FactorImages::new("dots", pixels.to_vec(), DOT, factors(sizes), classes)
    };
    let images = new(&[0, 255, 51], &[3, 1, 2], array![[2, 0, 0], [0, 0, 1], [2, 0, 0]]).unwrap();
    // The factor of one value is gone, and the first of two images of a combination found.
    assert_eq!(images.classes(), array![[2, 0], [0, 1], [2, 0]]);
    let names: Vec<&str> = images.factors().iter().map(|factor| &factor.name[..]).collect();
    assert_eq!((names, images.n_images(), images.shape()), (vec!["f0", "f2"], 3, DOT));
    assert_eq!(
        [[2, 0], [0, 1], [1, 1], [3, 0], [0, 2]].map(|classes| images.row_of(&classes)),
        [Some(0), Some(1), None, None, None]
    );
    assert_eq!((images.row_of(&[2]), images.row_of(&[2, 0, 0])), (None, None));
    assert_eq!(images.rows(&[1, 2, 1]), [1.0, 0.2, 1.0]);
    assert_eq!((images.shared([0, 2]), images.shared([0, 1])), (vec![true, true], vec![false, false]));

    assert_eq!(message(new(&[0; 3], &[2], array![[0], [1]])), "--factors: 2 rows of factors for 3 images");
    let wrong = new(&[0; 2], &[2], array![[0], [2]]);
    assert_eq!(message(wrong), "--factors: class 2 of 'f0' in row 1, expected 0 to 1");
    says(new(&[0; 2], &[2], array![[0, 0], [1, 1]]), "--factors: ", "1 factors for a table of 2 columns");
    says(new(&[0; 2], &[1, 1], array![[0, 0], [0, 0]]), "--factors: ", "no factor has two values");
    says(new(&[0; 2], &[], Array2::zeros((2, 0))), "--factors: ", "no factor has two values");
    says(new(&[], &[2], Array2::zeros((0, 1))), "--data: 'dots' is empty", "");
    let huge = 1 << 31;
    says(new(&[0], &[huge; 3], array![[0, 0, 0]]), "--factors: ", "more than 2^64 combinations");
    let shape = ImageShape { height: 2, width: 2, channels: 1 };
    let wrong = FactorImages::new("dots", vec![0; 6], shape, factors(&[2]), array![[0], [1]]);
    says(wrong, "--data: 'dots' is malformed", "6 values for images");
}

#[test]
fn box_filter() {
    let shape = ImageShape { height: 2, width: 4, channels: 2 };
    // Two images of two channels: the squares of channel 0 sum to 10, 766, 0 and 4.
    #[rustfmt::skip]
    let pixels = vec![
        1, 9, 2, 9,   255, 0, 255, 0,
        3, 9, 4, 9,   255, 0, 1, 2,
        0, 0, 0, 1,   1, 8, 1, 8,
        0, 0, 0, 0,   1, 8, 1, 8,
    ];
    let images = FactorImages::new("a", pixels, shape, factors(&[2]), array![[0], [1]]).unwrap();
    let small = images.clone().reduced(2).unwrap();
    assert_eq!(small.shape(), ImageShape { height: 1, width: 2, channels: 2 });
    // 10 / 4 = 2.5 and 2 / 4 are rounded up, 766 / 4 = 191.5 too, 1 / 4 down.
    let expected = [3, 9, 192, 1, 0, 0, 1, 8].map(|pixel| pixel as f32 / 255.0);
    assert_eq!(small.rows(&[0, 1]), expected);
    assert_eq!((small.classes(), images.clone().reduced(1).unwrap()), (images.classes(), images.clone()));
    let expected = "--data: images of 2 by 4 pixels in 'a' cannot be reduced by";
    for by in [0, 3, 4, 8] {
        assert_eq!(message(images.clone().reduced(by)), format!("{expected} {by}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Against means of windows of the array `[n, height, by, width, by, channels]`.
    #[test]
    fn box_filter_of_any_size(by in 1..4_usize, (n, height, width, channels) in (1..4_usize, 1..4_usize, 1..4_usize, 1..4_usize), seed: u64) {
        let shape = ImageShape { height: height * by, width: width * by, channels };
        let pixels: Vec<u8> = Key::new(seed).split_forever().take(n * shape.len()).map(|key| key.bits() as u8).collect();
        let array = Array4::from_shape_vec((n, shape.height, shape.width, channels), pixels.clone()).unwrap();
        let mut expected = Vec::new();
        for (image, y, x, channel) in ndarray::indices((n, height, width, channels)) {
            let window = array.slice(ndarray::s![image, y * by..(y + 1) * by, x * by..(x + 1) * by, channel]);
            let mean = window.mapv(f64::from).mean().unwrap();
            expected.push(mean.round() as f32 / 255.0);
        }
        let classes = Array2::from_shape_fn((n, 1), |(row, _)| row as u32);
        let images = FactorImages::new("a", pixels, shape, factors(&[3]), classes).unwrap().reduced(by).unwrap();
        let rows: Vec<u32> = (0..n as u32).collect();
        prop_assert_eq!(images.rows(&rows), expected);
    }
}

#[test]
fn idx_images_with_a_table() {
    let folder = Folder::new();
    let images = folder.write("images-ubyte.gz", gzip(&idx(8, &[4, 1, 2, 3], &(0..24).collect::<Vec<u8>>())));
    let table = folder.write("factors-idx2-ubyte.gz", gzip(&idx(8, &[4, 2], &[0, 1, 0, 0, 2, 1, 2, 0])));
    let loaded = load_factor_images(&images, &table).unwrap();
    assert_eq!(loaded.shape(), ImageShape { height: 1, width: 2, channels: 3 });
    assert_eq!(loaded.classes(), array![[0, 1], [0, 0], [2, 1], [2, 0]]);
    assert_eq!(loaded.rows(&[2])[1], 13.0 / 255.0);
    // Without names, the size is the largest class + 1.
    let named = |name: &str, size| Factor { name: name.into(), size };
    assert_eq!(loaded.factors(), [named("factor 1", 3), named("factor 2", 2)]);
    assert_eq!(
        message(Pairs::new(&loaded, 1)),
        "--factors: 4 of 6 combinations have an image; none has factor 1 1, factor 2 0"
    );

    folder.write("factors.txt", "shape 4 a,b c,d\n\n  light   2\n");
    let loaded = load_factor_images(&images, &table).unwrap();
    assert_eq!(loaded.factors(), [named("shape", 4), named("light", 2)]);
    for (text, part) in [
        ("shape 4\n", "1 factors for a table of 2 columns"),
        ("", "0 factors for a table of 2 columns"),
        ("shape 4\nlight\n", "line \"light\", expected NAME SIZE"),
        ("shape 4\nlight two\n", "expected NAME SIZE"),
        ("shape 2\nlight 2\n", "class 2 of 'shape' in row 2, expected 0 to 1"),
        ("shape 4\nlight 0\n", "class 1 of 'light' in row 0"),
    ] {
        folder.write("factors.txt", text);
        says(load_factor_images(&images, &table), "--factors: ", part);
    }
    folder.write("factors.txt", b"\xff\xfe");
    says(load_factor_images(&images, &table), "--factors: cannot read", "factors.txt");

    let folder = Folder::new();
    let images = folder.write("images-ubyte", idx(8, &[2, 1, 1], &[0, 1]));
    let table = |name: &str, bytes: Vec<u8>| folder.write(name, bytes);
    let short = table("short.idx", idx(8, &[3, 1], &[0, 1, 0]));
    assert_eq!(message(load_factor_images(&images, &short)), "--factors: 3 rows of factors for 2 images");
    let flat = table("flat.idx", idx(8, &[2], &[0, 1]));
    says(load_factor_images(&images, &flat), "--factors: ", "has shape [2], expected two dimensions");
    let floats = table("floats.idx", idx(0x0d, &[2, 1], &[0; 8]));
    says(load_factor_images(&images, &floats), "--factors: ", "expected integers (a row of classes");
    let negative = table("negative.npy", array_of("|i1", "2, 1", &[0, 255]));
    says(load_factor_images(&images, &negative), "--factors: ", "class -1 of 'factor 1' in row 1");
    let csv = table("factors.csv", b"a\n1\n2\n".to_vec());
    says(load_factor_images(&images, &csv), "--factors: ", "not a csv file");
    says(load_factor_images("nowhere.npz", &flat.replace("flat", "none")), "--factors: cannot open", "");
    let good = table("good.idx", idx(8, &[2, 1], &[0, 1]));
    // Images of zeros and ones are black and white.
    assert_eq!(load_factor_images(&images, &good).unwrap().rows(&[0, 1]), [0.0, 1.0]);
    says(load_factor_images("nowhere.npz", &good), "--data: cannot open", "nowhere.npz");
    says(load_factor_images(&flat, &good), "--data: ", "expected images [n, height, width]");
    let floats = table("floats.npy", array_of("<f4", "2, 1, 1", &[0; 8]));
    says(load_factor_images(&floats, &good), "--data: ", "type '<f4', expected 8-bit unsigned integers");
    let cut = table("cut-ubyte", idx(8, &[2, 1, 2], &[0; 3]));
    says(load_factor_images(&cut, &good), "--data: ", "unexpected end of data");
}

/// As the archive of dSprites has them: images of zeros and ones, 64-bit classes whose first column is one colour.
#[test]
fn dsprites() {
    let folder = Folder::new();
    let classes = [[0_i64, 0, 1], [0, 0, 0], [0, 1, 1], [0, 1, 0]].as_flattened().iter();
    let classes: Vec<u8> = classes.flat_map(|class| class.to_le_bytes()).collect();
    let imgs = array_of("|u1", "4, 2, 2", &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1]);
    let archive = folder.write(
        "dsprites.npz",
        npz_of(&[
            ("metadata", array_of("|O", "", &[1, 2, 3])),
            ("imgs", imgs.clone()),
            ("latents_classes", array_of("<i8", "4, 3", &classes)),
            ("latents_values", array_of("<f8", "4, 3", &[0; 96])),
        ]),
    );
    let images = load_factor_images(&archive, &archive).unwrap();
    assert_eq!(images.rows(&[1]), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(images.classes(), array![[0, 1], [0, 0], [1, 1], [1, 0]]);
    assert_eq!(images.factors()[0], Factor { name: "factor 2".into(), size: 2 });
    assert_eq!(images.row_of(&[1, 1]), Some(2));
    // A quarter of white is 63.75.
    let small = images.reduced(2).unwrap();
    assert_eq!(small.rows(&[0, 1, 2, 3]), [0.0, 64.0, 128.0, 191.0].map(|pixel: f32| pixel / 255.0));
    assert_eq!(Pairs::new(&small, 0).unwrap().sample(1, Key::new(0)).len(), 1);

    let named = format!("{archive}:latents_classes");
    assert_eq!(load_factor_images(&format!("{archive}:imgs"), &named).unwrap().n_images(), 4);
    says(load_factor_images(&archive, &format!("{archive}:none")), "--factors: ", "no array or column 'none', but: ");
    says(load_factor_images(&archive, &format!("{archive}:imgs")), "--factors: ", "expected two dimensions");
    says(load_factor_images(&named, &archive), "--data: ", "expected images");
    let images = folder.write("images.npz", npz_of(&[("a", imgs.clone()), ("b", imgs)]));
    says(load_factor_images(&images, &archive), "--data: ", "needs a choice");
    says(load_factor_images(&images, &images), "--factors: ", "needs a choice");
}

#[test]
fn images_in_the_order_of_a_grid() {
    let folder = Folder::new();
    let pixels: Vec<u8> = (0..12).collect();
    let images = array_of("|u1", "12, 1, 1, 1", &pixels);
    let archive = folder.write("mpi.npz", npz_of(&[("images", images.clone()), ("other", images.clone())]));
    let loaded = load_factor_grid(&archive, &[2, 1, 3, 2]).unwrap();
    assert_eq!(loaded.factors().iter().map(|factor| factor.size).collect::<Vec<_>>(), [2, 3, 2]);
    assert_eq!(loaded.factors()[1].name, "factor 3");
    assert_eq!(loaded.classes().row(7), array![1, 0, 1]);
    assert_eq!((loaded.row_of(&[1, 2, 0]), loaded.rows(&[10])), (Some(10), vec![10.0 / 255.0]));
    // The first index runs fastest in the file, not in the grid.
    let fortran = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 1, 3), }";
    let bytes = npy(fortran, &[0, 9, 1, 9, 2, 9]);
    let columns = folder.write("fortran.npy", bytes);
    assert_eq!(load_factor_grid(&columns, &[2]).unwrap().rows(&[0]), [0.0, 1.0, 2.0].map(|pixel: f32| pixel / 255.0));

    let file = folder.write("images.npy", &images);
    let error = format!("--factor-sizes: 8 combinations (2 x 4) for the 12 images of '{file}'");
    assert_eq!(message(load_factor_grid(&file, &[2, 4])), error);
    says(load_factor_grid(&file, &[]), "--factor-sizes: ", "1 combinations () for the 12 images");
    says(load_factor_grid(&file, &[12, 0]), "--factor-sizes: ", "0 combinations");
    says(load_factor_grid(&file, &[usize::MAX, 3]), "--factor-sizes: ", "more than 2^64 combinations");
    says(load_factor_grid(&format!("{archive}:none"), &[12]), "--data: ", "no array or column 'none'");
    let none = folder.write("none.npy", array_of("|u1", "0, 2, 2", &[]));
    says(load_factor_grid(&none, &[0]), "--factor-sizes: ", "for the 0 images");
    let thin = folder.write("thin.npy", array_of("|u1", "100000000000, 0, 2", &[]));
    says(load_factor_grid(&thin, &[100_000_000_000]), "--data: ", "is empty");
}

#[test]
fn pairs_share_what_they_say() {
    let sizes = [2, 3, 4, 5];
    let images = dots(&sizes);
    for shared in 0..4 {
        let pairs = Pairs::new(&images, shared).unwrap();
        let sample = pairs.sample(500, Key::new(11));
        for &[first, second] in &sample {
            assert!(first < 120 && second < 120);
            let mask = images.shared([first, second]);
            assert_eq!(mask.iter().filter(|&&same| same).count(), shared);
            for factor in 0..4 {
                let [first, second] = [first, second].map(|row| images.classes()[(row as usize, factor)]);
                assert_eq!(first == second, mask[factor]);
            }
        }
        assert_eq!(pairs.sample(40, Key::new(11)), sample[..40]);
        assert_ne!(pairs.sample(500, Key::new(12)), sample);
    }
    assert_eq!(message(Pairs::new(&images, 4)), "--shared: 4 shared factors of 4, expected 0 to 3");
    assert_eq!(message(Pairs::new(&images, 9)), "--shared: 9 shared factors of 4, expected 0 to 3");

    let part = |classes: Array2<u32>| {
        FactorImages::new("dots", vec![7; classes.nrows()], DOT, factors(&[2, 3]), classes).unwrap()
    };
    let cases = [
        (array![[0, 0], [0, 1], [0, 2], [1, 0], [1, 2]], "5 of 6 combinations have an image; none has f0 1, f1 1"),
        (array![[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]], "5 of 6 combinations have an image; none has f0 1, f1 2"),
        (array![[1, 1]], "1 of 6 combinations have an image; none has f0 0, f1 0"),
        (
            array![[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [0, 0]],
            "7 images of 6 combinations, expected one of each",
        ),
    ];
    for (classes, expected) in cases {
        assert_eq!(message(Pairs::new(&part(classes), 1)), format!("--factors: {expected}"));
    }
}

/// `Σ (n - e)² / e` for equally likely cells.
fn chi_square(counts: &[usize]) -> f64 {
    let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum()
}

/// Each limit is scipy.stats.chi2.ppf(0.999, cells - 1); the keys are fixed.
#[test]
fn pairs_are_uniform() {
    let images = dots(&[2, 3, 4, 2, 3]);
    let class = |row: u32, factor| images.classes()[(row as usize, factor)];
    for (shared, cells, limit) in [(1, 5, 18.467), (2, 10, 27.877), (3, 10, 27.877), (4, 5, 18.467)] {
        // Which factors differ.
        let mut sets = vec![0; 32];
        let mut firsts = vec![0; 144];
        // What becomes of class 1 of the factor of 4 classes.
        let mut values = vec![0; 4];
        // The steps of the two factors of 3 classes where both differ.
        let mut steps = vec![0; 4];
        for [first, second] in Pairs::new(&images, shared).unwrap().sample(10_000, Key::new(5)) {
            let mask = images.shared([first, second]);
            sets[mask.iter().fold(0, |set, &same| 2 * set + usize::from(!same))] += 1;
            firsts[first as usize] += 1;
            if class(first, 2) == 1 && !mask[2] {
                values[class(second, 2) as usize] += 1;
            }
            if !mask[1] && !mask[4] {
                let step = |factor| (class(second, factor) + 3 - class(first, factor)) as usize % 3 - 1;
                steps[2 * step(1) + step(4)] += 1;
            }
        }
        sets.retain(|&count| count > 0);
        assert_eq!((sets.len(), values.remove(1)), (cells, 0));
        assert!(chi_square(&sets) < limit, "{shared}: {sets:?}");
        assert!(chi_square(&firsts) < 201.0, "{shared}: {firsts:?}");
        assert!(chi_square(&values) < 13.816, "{shared}: {values:?}");
        // With four shared factors never do both differ.
        assert!(shared == 4 || chi_square(&steps) < 16.266, "{shared}: {steps:?}");
    }
}

#[test]
fn sprites_from_layers() {
    let folder = Folder::new();
    // One pixel, two poses (the second of 9 must not be seen) and two directions, unless said otherwise: red, green, blue,
    // opacity.
    let layer = |values: &[[[u8; 4]; 2]]| {
        let of = |value: &[[u8; 4]; 2]| [value.as_flattened(), &[9; 8]].concat();
        let bytes: Vec<u8> = values.iter().flat_map(of).collect();
        array_of("|u1", &format!("{}, 2, 2, 1, 1, 4", values.len()), &bytes)
    };
    let clear = [[50, 60, 70, 0]; 2];
    let layers = [
        ("body", layer(&[[[200, 100, 50, 255], [10, 20, 30, 255]], [[201, 101, 51, 102]; 2]])),
        ("bottomwear", layer(&[clear])),
        ("topwear", layer(&[clear, [[0, 255, 3, 51]; 2]])),
        ("hair", layer(&[clear, [[1, 2, 3, 255]; 2]])),
        ("shoes", layer(&[[[255; 4]; 2], [[100, 100, 100, 0], [100, 100, 100, 5]]])),
    ];
    let write = |layers: &[(&str, Vec<u8>)]| folder.write("layers.npz", npz_of(layers));
    let images = load_sprites(&write(&layers)).unwrap();
    let sizes: Vec<(&str, usize)> = images.factors().iter().map(|factor| (&factor.name[..], factor.size)).collect();
    assert_eq!(sizes, [("body", 2), ("topwear", 2), ("hair", 2), ("direction", 2)]);
    let pixel = |classes: &[u32]| {
        images.rows(&[images.row_of(classes).unwrap()]).iter().map(|value| (value * 255.0).round()).collect::<Vec<_>>()
    };
    assert_eq!(pixel(&[0, 0, 0, 0]), [200.0, 100.0, 50.0]);
    // The shoes: (5 * 100 + 250 * d) / 255 of 10, 20, 30 is 11.8, 21.6, 31.4.
    assert_eq!(pixel(&[0, 0, 0, 1]), [12.0, 22.0, 31.0]);
    // 102 / 255 = 0.4 of 201, 101, 51 over black is 80.4, 40.4, 20.4; then 0.2 of 0, 255, 3 over 80, 40, 20.
    assert_eq!(pixel(&[1, 0, 0, 0]), [80.0, 40.0, 20.0]);
    assert_eq!(pixel(&[1, 1, 0, 0]), [64.0, 83.0, 17.0]);
    assert_eq!(pixel(&[1, 1, 1, 0]), [1.0, 2.0, 3.0]);
    Pairs::new(&images, 3).unwrap();

    says(load_sprites(&write(&layers[..4])), "--data: ", "no array or column 'shoes', but: ");
    let with = |at: usize, layer: Vec<u8>| {
        let mut layers = layers.clone();
        layers[at].1 = layer;
        load_sprites(&write(&layers))
    };
    says(with(3, array_of("|u1", "1, 2, 2, 1, 1, 3", &[0; 12])), "--data: ", "expected [values, poses,");
    says(with(3, array_of("<f4", "1, 2, 2, 1, 1, 4", &[0; 64])), "--data: ", "expected 8-bit");
    says(
        with(3, array_of("|u1", "1, 2, 3, 1, 1, 4", &[0; 24])),
        "--data: ",
        "'hair' has poses, directions and sides [2, 3,",
    );
    says(with(4, layer(&[clear])), "--data: ", "1 shoes in 2 poses");
    says(with(1, layer(&[])), "--data: ", "is empty");
    says(load_sprites(&folder.write("noise.npz", [1, 2, 3])), "--data: ", "malformed");
}

#[test]
fn sprites_are_drawn_when_they_are_asked_for() {
    let gpu = Gpu::new(GpuConfig::default()).unwrap();
    let images = sprites_grid(32).unwrap();
    let sizes: Vec<(&str, usize)> = images.factors().iter().map(|factor| (&factor.name[..], factor.size)).collect();
    assert_eq!(sizes, [("shape", 3), ("scale", 6), ("angle", 40), ("column", 32), ("row", 32)]);
    assert_eq!((images.n_images(), images.shape().len(), images.name()), (737_280, 1024, "sprites"));
    let row = |classes: &[u32]| images.row_of(classes).unwrap();
    assert_eq!(row(&[2, 5, 10, 16, 17]), ((2 * 6 + 5) * 40 + 10) * 1024 + 16 * 32 + 17);
    let rows = [row(&[0, 5, 0, 31, 0]), row(&[1, 0, 13, 3, 9]), row(&[2, 5, 39, 16, 17]), 0, 737_279];
    let drawn = images.tensor(&gpu, &rows).unwrap();
    assert_eq!(drawn.shape().dims(), [5, 1024]);
    let (drawn, twin) = (drawn.read().unwrap(), images.rows(&rows));
    assert!(drawn.iter().zip(&twin).all(|(a, b)| (a - b).abs() < 1e-5), "{drawn:?} {twin:?}");
    // A large square at the top right, from 0.694 to 0.906 across and from 0.094 to 0.306 down.
    let at = |line: usize, column: usize| drawn[line * 32 + column];
    assert_eq!([at(6, 25), at(4, 23), at(7, 27), at(25, 6), at(6, 20), at(11, 25)], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);

    let small = images.clone().reduced(2).unwrap();
    assert_eq!(small.shape(), ImageShape { height: 16, width: 16, channels: 1 });
    assert_eq!(small.rows(&rows), sprites_grid(16).unwrap().rows(&rows));
    says(images.clone().reduced(3), "--data: ", "32 by 32 pixels in 'sprites' cannot be reduced by 3");
    says(images.reduced(8), "--data: ", "cannot be reduced by 8");
    assert_eq!(message(sprites_grid(7)), "--data: sprites of side 7, expected 8 to 1024");
    says(sprites_grid(usize::MAX), "--data: ", "expected 8 to 1024");

    // Images that are kept are the same on the device.
    let dots = FactorImages::new("dots", vec![0, 255, 51], DOT, factors(&[3]), array![[0], [1], [2]]).unwrap();
    let uploaded = dots.tensor(&gpu, &[2, 0]).unwrap();
    assert_eq!((uploaded.shape().dims(), uploaded.read().unwrap()), (&[2, 1][..], vec![0.2, 0.0]));
}
