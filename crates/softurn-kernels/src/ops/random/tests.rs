//! Tests of the generator: known answers, the twin, distributions, independence of the dispatch.

use softurn_tests::{Mismatch, Mutant, SIZES, Tolerance, chi_square_p, compare, ks_p};

use super::{bits, cpu, gumbel, normal, uniform};
use crate::testing::{gpus, label};
use crate::{Gpu, Key};

/// Gumbel noise near 0 is the logarithm of a number near 1: its absolute error is that number's relative error, 4 ulp.
const TOLERANCE: Tolerance = Tolerance::new(1.2e-6, 1.2e-6, "log of exponential, 4 ulp each, and two polynomials");

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        op: "random",
        name: "nine rounds of Philox",
        shader: "shared/random",
        from: "return philox_round(c, key + 9u * weyl);",
        to: "return c;",
        plan: "cpu",
        hidden: None,
    },
    Mutant {
        op: "random",
        name: "carry lost in the high multiply",
        shader: "shared/random",
        from: "+ (mid >> 16u)",
        to: "",
        plan: "cpu",
        hidden: None,
    },
    Mutant {
        op: "random",
        name: "normals with the wrong quadrant",
        shader: "shared/random",
        from: "(quarter == vec4<u32>(1u)) | (quarter == vec4<u32>(2u))",
        to: "quarter == vec4<u32>(1u)",
        plan: "gpu",
        hidden: None,
    },
];

/// Everything that must hold on one device.
pub(crate) fn check(gpu: &Gpu) -> Result<(), Mismatch> {
    let exact = Tolerance::new(0.0, 0.0, "the integer stream is the same, and uniforms are multiples of 2^-24");
    for &n in SIZES.iter().chain(&[70_001]) {
        let key = Key::new(n as u64);
        let words: Vec<u32> = bits(gpu, [n], key).unwrap().read_u32().unwrap();
        // 32-bit words do not fit f32: compare their halves.
        for shift in [0, 16] {
            let half = |word: u32| f64::from(word >> shift & 0xffff);
            let got: Vec<f32> = words.iter().map(|&word| half(word) as f32).collect();
            let want: Vec<f64> = cpu::forward(n, key, 0).iter().map(|&word| half(word as u32)).collect();
            compare(&format!("bits [{n}] >> {shift}"), &label(gpu), &got, &want, &exact)?;
        }
        for (distribution, draw) in [(1, uniform as fn(&Gpu, [usize; 1], Key) -> _), (2, normal), (3, gumbel)] {
            let got = draw(gpu, [n], key).unwrap().read().unwrap();
            let tolerance = if distribution == 1 { &exact } else { &TOLERANCE };
            let what = format!("distribution {distribution} [{n}]");
            compare(&what, &label(gpu), &got, &cpu::forward(n, key, distribution), tolerance)?;
        }
    }
    Ok(())
}

#[test]
fn known_answers_of_random123() {
    assert_eq!(cpu::philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(cpu::philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    let (counter, key) = ([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
    assert_eq!(cpu::philox(counter, key), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

#[test]
fn agrees_with_the_twin() {
    for gpu in gpus() {
        check(gpu).unwrap();
    }
}

#[test]
fn distributions_are_right() {
    let (gpu, n) = (&gpus()[0], 50_000);
    let wide = |x: Vec<f32>| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let u = wide(uniform(gpu, [n], Key::new(1)).unwrap().read().unwrap());
    assert!(ks_p(&u, |x| x.clamp(0.0, 1.0)) > 1e-3);
    let g = wide(gumbel(gpu, [n], Key::new(2)).unwrap().read().unwrap());
    assert!(ks_p(&g, |x| (-(-x).exp()).exp()) > 1e-3);
    let z = wide(normal(gpu, [n], Key::new(3)).unwrap().read().unwrap());
    // Φ at the octiles.
    let edges = [-1.150_349_380, -0.674_489_750, -0.318_639_364, 0.0, 0.318_639_364, 0.674_489_750, 1.150_349_380];
    let mut observed = [0u64; 8];
    for z in &z {
        observed[edges.iter().filter(|&&edge| *z > edge).count()] += 1;
    }
    assert!(chi_square_p(&observed, &[n as f64 / 8.0; 8]) > 1e-3, "{observed:?}");
    let (mean, square) = (z.iter().sum::<f64>() / n as f64, z.iter().map(|z| z * z).sum::<f64>() / n as f64);
    assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.03, "mean {mean}, second moment {square}");
    // Neighbours in the stream are uncorrelated.
    let lag: f64 = z.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / n as f64;
    assert!(lag.abs() < 0.02, "lag-one correlation {lag}");
}

#[test]
fn gumbel_noise_has_its_tail() {
    assert!((22.8..23.0).contains(&cpu::gumbel_from(u32::MAX)) && cpu::gumbel_from(0).is_finite());
    assert!(cpu::exponential_from(u32::MAX) > 0.0);
}

#[test]
fn keys_differ_and_streams_do_not_depend_on_length() {
    let gpu = &gpus()[1];
    let long = uniform(gpu, [1000], Key::new(5)).unwrap().read().unwrap();
    assert_eq!(&long[..77], uniform(gpu, [77], Key::new(5)).unwrap().read().unwrap());
    let other = uniform(gpu, [1000], Key::new(6)).unwrap().read().unwrap();
    assert!(long.iter().zip(&other).filter(|(a, b)| a == b).count() < 3);
    let mut keys: Vec<u64> = Key::new(0).split_forever().take(1000).map(Key::bits).collect();
    keys.extend((0..1000).map(|seed| Key::new(seed).bits()));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 2000);
}
