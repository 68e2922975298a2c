//! `gumbel_transform/1`: `e = -log u` and `g = -log e` of a given `u`.
//!
//! softurn draws from 32-bit words, `u' = (word + 1/2) / 2³²`, and has no operation that takes `u`. So the formula is
//! checked by its logarithms (`e`, `g`), and the transforms of words in f64 at the word nearest to `u` (`e of word`, `g of
//! word`), with the exact step from `u'` to `u`.

use anyhow::{Context as _, Result};
use softurn_kernels::ops::random::cpu::{exponential_from, gumbel_from};
use softurn_kernels::ops::unary::{self, Unary};
use softurn_kernels::{Gpu, Tensor};
use softurn_tests::Tolerance;

use crate::case::Case;
use crate::line::{F64_RELATIVE, Line, Precision};

const WORDS: f64 = 4_294_967_296.0;
const NEGATE: Unary = Unary::Affine { scale: -1.0, shift: 0.0 };

/// By precision; e is a logarithm, g the logarithm of one, whose relative error is absolute near g = 0.
const EXPONENTIAL: [Tolerance; 2] = [
    Tolerance::new(1e-300, F64_RELATIVE, "the promise of the golden data"),
    Tolerance::new(1e-37, 1.5e-6, "at most 12 ulp of 2^-23 by the error bounds of shared/math"),
];
const GUMBEL: [Tolerance; 2] = [
    Tolerance::new(1e-15, F64_RELATIVE, "the relative error of e, absolute in its logarithm"),
    Tolerance::new(1.2e-6, 1.2e-6, "log of exponential, 4 ulp each, and two polynomials"),
];

pub fn check(gpu: &Gpu, cases: &[Case]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (i, precision) in Precision::BOTH.into_iter().enumerate() {
        let [mut e, mut g] = ["e", "g"].map(|field| Line::new(field, precision));
        for case in cases {
            let u = case.input("u")?;
            let got = match precision {
                Precision::F64 => twin(f64::from(u)),
                Precision::F32 => kernel(gpu, u).with_context(|| format!("case {}", case.id))?,
            };
            e.compare(case, "e", &got[..1], |_| EXPONENTIAL[i])?;
            g.compare(case, "g", &got[1..], |_| GUMBEL[i])?;
        }
        lines.extend([e, g]);
    }
    let [mut e, mut g] = ["e of word", "g of word"].map(|quantity| Line::new(quantity, Precision::F64));
    for case in cases {
        match by_word(f64::from(case.input("u")?)) {
            Some(got) => {
                e.compare(case, "e", &got[..1], |_| EXPONENTIAL[0])?;
                g.compare(case, "g", &got[1..], |_| GUMBEL[0])?;
            }
            None => [&mut e, &mut g].into_iter().for_each(|line| line.skipped += 1),
        }
    }
    lines.extend([e, g]);
    Ok(lines)
}

fn twin(u: f64) -> [f64; 2] {
    let minus_log = |x| unary::cpu::forward(NEGATE, &unary::cpu::forward(Unary::Log, &[x]))[0];
    [minus_log(u), minus_log(minus_log(u))]
}

fn kernel(gpu: &Gpu, u: f32) -> softurn_kernels::Result<[f64; 2]> {
    let minus_log = |x: &Tensor| unary::forward(gpu, NEGATE, &unary::forward(gpu, Unary::Log, x)?);
    let e = minus_log(&gpu.tensor(&[u], [1])?)?;
    let g = minus_log(&e)?;
    Ok([f64::from(e.read()?[0]), f64::from(g.read()?[0])])
}

/// `None` where no word is near: they are 2⁻³² apart.
fn by_word(u: f64) -> Option<[f64; 2]> {
    if !(1.0 / WORDS..1.0).contains(&u) {
        return None;
    }
    let word = (u * WORDS - 0.5).round() as u32;
    let nearest = (f64::from(word) + 0.5) / WORDS;
    // -log u = -log u' - log(1 + (u - u') / u'), and the same once more for its logarithm.
    let step = -((u - nearest) / nearest).ln_1p();
    let e = exponential_from(word);
    Some([e + step, gumbel_from(word) - (step / e).ln_1p()])
}
