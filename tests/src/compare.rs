//! Element-wise comparison: `|got - want| <= abs + rel |want|`, negated so that NaN fails.

use std::fmt;

/// How far a result may lie from its reference, and why that far.
///
/// Declared once per op, beside its f64 twin, never at the call site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute part, in the unit of the result.
    pub abs: f64,
    /// Part relative to the reference value.
    pub rel: f64,
    /// One sentence of derivation, printed with every failure.
    pub why: &'static str,
}

impl Tolerance {
    /// A tolerance of `abs + rel * |want|`.
    pub const fn new(abs: f64, rel: f64, why: &'static str) -> Self {
        Self { abs, rel, why }
    }

    /// The largest difference from `want` that passes.
    pub fn allowed(&self, want: f64) -> f64 {
        self.abs + self.rel * want.abs()
    }
}

/// The element with the largest error in units of what was allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worst {
    /// Index of the element; 0 when there were no elements.
    pub index: usize,
    /// The value under test.
    pub got: f64,
    /// The reference.
    pub want: f64,
    /// `|got - want|`; 0 for two NaN or two equal infinities, NaN when only one of them is NaN.
    pub error: f64,
    /// What the tolerance allowed at this element.
    pub allowed: f64,
}

impl Worst {
    /// Error over allowance: at most 1 for an element that passes, infinite for NaN.
    pub fn ratio(&self) -> f64 {
        if self.error == 0.0 {
            0.0
        } else if self.error.is_nan() || self.allowed.is_nan() {
            f64::INFINITY
        } else {
            self.error / self.allowed
        }
    }
}

/// A comparison that failed; its `Display` is the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// What was compared, as the caller named it.
    pub what: String,
    /// The adapter that made `got`; empty where none did.
    pub adapter: String,
    /// How it failed.
    pub kind: Box<MismatchKind>,
}

/// How a comparison failed.
#[derive(Clone, Debug, PartialEq)]
pub enum MismatchKind {
    /// The two sides have different lengths; no element was compared.
    Length {
        /// Elements under test.
        got: usize,
        /// Elements of the reference.
        want: usize,
    },
    /// Elements outside the tolerance.
    Elements {
        /// The worst of them.
        worst: Worst,
        /// How many fail.
        failures: usize,
        /// How many were compared.
        len: usize,
        /// The tolerance they fail.
        tolerance: Tolerance,
    },
    /// Elements whose bits differ.
    Bits {
        /// The first of them.
        index: usize,
        /// Its value on the left.
        a: f32,
        /// Its value on the right.
        b: f32,
        /// How many differ.
        failures: usize,
        /// How many were compared.
        len: usize,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if !self.adapter.is_empty() {
            write!(f, " on {}", self.adapter)?;
        }
        match &*self.kind {
            MismatchKind::Length { got, want } => {
                write!(f, ": got {got} elements, want {want}")
            }
            MismatchKind::Elements { worst, failures, len, tolerance } => write!(
                f,
                ": {failures} of {len} elements fail; worst is element {}: got {:e}, want {:e}, difference {:e}, \
                 allowed {:e} (abs {:e} + rel {:e}: {})",
                worst.index,
                worst.got,
                worst.want,
                worst.error,
                worst.allowed,
                tolerance.abs,
                tolerance.rel,
                tolerance.why
            ),
            MismatchKind::Bits { index, a, b, failures, len } => write!(
                f,
                ": {failures} of {len} elements differ in bits; first is element {index}: {a:e} ({:#010x}) against \
                 {b:e} ({:#010x})",
                a.to_bits(),
                b.to_bits()
            ),
        }
    }
}

impl std::error::Error for Mismatch {}

/// Whether the bits of `x` spell NaN; the test that no compiler may fold away.
pub const fn is_nan(x: f32) -> bool {
    x.to_bits() & 0x7fff_ffff > 0x7f80_0000
}

/// Compares `f32` results with their `f64` references.
///
/// A reference of NaN wants NaN and an infinite one wants that infinity. A finite reference beyond the range of `f32`
/// is also met by the infinity that it rounds to. Returns the worst element, for the error tables of the docs.
pub fn compare(what: &str, adapter: &str, got: &[f32], want: &[f64], tolerance: &Tolerance) -> Result<Worst, Mismatch> {
    compare_elements(what, adapter, got.len(), want, tolerance, |i| {
        let (value, rounded) = (got[i], want[i] as f32);
        if is_nan(value) {
            f64::NAN
        } else if value.is_infinite() && value == rounded {
            // Stand in for the reference that overflows f32, finite or not.
            want[i]
        } else {
            f64::from(value)
        }
    })
}

/// Compares two `f64` results by the rules of [`compare`].
pub fn compare_f64(
    what: &str,
    adapter: &str,
    got: &[f64],
    want: &[f64],
    tolerance: &Tolerance,
) -> Result<Worst, Mismatch> {
    compare_elements(what, adapter, got.len(), want, tolerance, |i| got[i])
}

/// [`compare`], with a panic that prints the mismatch.
#[track_caller]
pub fn assert_close(what: &str, adapter: &str, got: &[f32], want: &[f64], tolerance: &Tolerance) -> Worst {
    compare(what, adapter, got, want, tolerance).unwrap_or_else(|mismatch| panic!("{mismatch}"))
}

/// [`compare_f64`], with a panic that prints the mismatch.
#[track_caller]
pub fn assert_close_f64(what: &str, adapter: &str, got: &[f64], want: &[f64], tolerance: &Tolerance) -> Worst {
    compare_f64(what, adapter, got, want, tolerance).unwrap_or_else(|mismatch| panic!("{mismatch}"))
}

/// Whether two results have the same bits: 0 and -0 differ, and so do two NaN of different payload.
pub fn same_bits(what: &str, a: &[f32], b: &[f32]) -> Result<(), Mismatch> {
    let mismatch = |kind| Mismatch { what: what.to_owned(), adapter: String::new(), kind: Box::new(kind) };
    if a.len() != b.len() {
        return Err(mismatch(MismatchKind::Length { got: a.len(), want: b.len() }));
    }
    let mut differing = (0..a.len()).filter(|&i| a[i].to_bits() != b[i].to_bits());
    match differing.next() {
        None => Ok(()),
        Some(index) => Err(mismatch(MismatchKind::Bits {
            index,
            a: a[index],
            b: b[index],
            failures: 1 + differing.count(),
            len: a.len(),
        })),
    }
}

/// [`same_bits`], with a panic that prints the mismatch.
#[track_caller]
pub fn assert_same_bits(what: &str, a: &[f32], b: &[f32]) {
    if let Err(mismatch) = same_bits(what, a, b) {
        panic!("{mismatch}");
    }
}

fn compare_elements(
    what: &str,
    adapter: &str,
    len: usize,
    want: &[f64],
    tolerance: &Tolerance,
    got: impl Fn(usize) -> f64,
) -> Result<Worst, Mismatch> {
    let mismatch = |kind| Err(Mismatch { what: what.to_owned(), adapter: adapter.to_owned(), kind: Box::new(kind) });
    if len != want.len() {
        return mismatch(MismatchKind::Length { got: len, want: want.len() });
    }
    let mut worst: Option<Worst> = None;
    let mut failures = 0;
    for (index, &want) in want.iter().enumerate() {
        let element = measure(index, got(index), want, tolerance);
        #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "the negation is what makes NaN fail")]
        let fails = !(element.error <= element.allowed);
        if fails {
            failures += 1;
        }
        if worst.is_none_or(|worst| element.ratio() > worst.ratio()) {
            worst = Some(element);
        }
    }
    let worst = worst.unwrap_or_default();
    if failures == 0 {
        Ok(worst)
    } else {
        mismatch(MismatchKind::Elements { worst, failures, len, tolerance: *tolerance })
    }
}

fn measure(index: usize, got: f64, want: f64, tolerance: &Tolerance) -> Worst {
    // An infinite or NaN reference allows nothing but itself, whatever the tolerance says.
    let (error, allowed) = if want.is_nan() {
        (if got.is_nan() { 0.0 } else { f64::NAN }, 0.0)
    } else if want.is_infinite() {
        let error = match got {
            _ if got == want => 0.0,
            _ if got.is_nan() => f64::NAN,
            _ => f64::INFINITY,
        };
        (error, 0.0)
    } else {
        ((got - want).abs(), tolerance.allowed(want))
    };
    Worst { index, got, want, error, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOSE: Tolerance = Tolerance::new(1e-3, 1e-3, "a loose tolerance of the harness's tests");
    const INF: f64 = f64::INFINITY;

    fn passes(got: f32, want: f64) -> bool {
        let single = compare("x", "none", &[got], &[want], &LOOSE).is_ok();
        let inside = compare("x", "none", &[0.0, got, 0.0], &[0.0, want, 0.0], &LOOSE).is_ok();
        assert_eq!(single, inside);
        single
    }

    #[test]
    fn accepts_what_is_close_and_rejects_what_is_not() {
        assert!(passes(1.0, 1.0));
        assert!(passes(1.0015, 1.0));
        assert!(!passes(1.0025, 1.0));
        assert!(!passes(0.9975, 1.0));
        assert!(!passes(-1.0, 1.0));
        assert!(passes(0.0, -0.0));
        assert!(passes(1000.9, 1000.0));
        assert!(!passes(1001.1, 1000.0));
    }

    #[test]
    fn rejects_nan_and_infinity_unless_they_are_wanted() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for want in [0.0, 1.0, -1e30, INF, -INF] {
            assert!(!passes(nan, want), "NaN passed for {want}");
        }
        for got in [0.0, 1.0, inf, -inf, f32::MAX] {
            assert!(!passes(got, f64::NAN), "{got} passed for NaN");
        }
        assert!(passes(nan, f64::NAN));
        assert!(passes(f32::from_bits(0xffff_ffff), f64::NAN));
        assert!(passes(inf, INF) && passes(-inf, -INF));
        assert!(!passes(inf, -INF) && !passes(-inf, INF));
        assert!(!passes(inf, 1.0) && !passes(1.0, INF) && !passes(f32::MAX, INF));
        // Beyond f32 the infinity is the right answer, of the right sign only.
        assert!(passes(inf, 1e40) && !passes(-inf, 1e40) && !passes(f32::MAX, 1e40));
        assert!(!passes(inf, 3e38));
    }

    #[test]
    fn a_nan_or_infinite_tolerance_does_not_wave_nan_through() {
        let nan = Tolerance::new(f64::NAN, 0.0, "broken");
        assert!(compare("x", "", &[1.0], &[1.0], &nan).is_err());
        let infinite = Tolerance::new(INF, 0.0, "anything finite");
        assert!(compare("x", "", &[f32::NAN], &[1.0], &infinite).is_err());
        assert!(compare("x", "", &[1.0], &[f64::NAN], &infinite).is_err());
        assert!(compare("x", "", &[1.0], &[INF], &infinite).is_err());
    }

    #[test]
    fn rejects_other_lengths() {
        for (got, want) in [(0, 1), (1, 0), (3, 2), (2, 3)] {
            let mismatch =
                compare("sum", "cpu", &vec![0.0; got], &vec![0.0; want], &LOOSE).expect_err("lengths differ");
            assert_eq!(*mismatch.kind, MismatchKind::Length { got, want });
            assert_eq!(mismatch.to_string(), format!("sum on cpu: got {got} elements, want {want}"));
            assert!(compare_f64("sum", "", &vec![0.0; got], &vec![0.0; want], &LOOSE).is_err());
            assert!(same_bits("sum", &vec![0.0; got], &vec![0.0; want]).is_err());
        }
        assert_eq!(compare("empty", "", &[], &[], &LOOSE), Ok(Worst::default()));
    }

    #[test]
    fn names_the_worst_element_and_the_adapter() {
        let got = [1.0, 2.5, 3.0, f32::NAN, 9.0];
        let want = [1.0, 2.0, 3.0, 4.0, 5.0];
        let report =
            compare("softmax [5]", "llvmpipe", &got, &want, &LOOSE).expect_err("three elements are wrong").to_string();
        for part in ["softmax [5]", "llvmpipe", "3 of 5", "element 3", "NaN", "4e0", LOOSE.why] {
            assert!(report.contains(part), "{part:?} not in {report:?}");
        }
        let worst = compare("x", "", &got[..3], &[1.0, 2.4995, 3.0001], &LOOSE).expect("close");
        assert_eq!(worst.index, 1);
        assert!(worst.ratio() > 0.0 && worst.ratio() < 1.0);
    }

    #[test]
    #[should_panic(expected = "sum on llvmpipe: 1 of 2 elements fail; worst is element 1")]
    fn assert_close_panics_with_the_report() {
        assert_close("sum", "llvmpipe", &[1.0, 2.0], &[1.0, 3.0], &LOOSE);
    }

    #[test]
    fn bits_are_bits() {
        assert!(same_bits("x", &[1.0, f32::NAN], &[1.0, f32::NAN]).is_ok());
        assert!(same_bits("x", &[0.0], &[-0.0]).is_err());
        assert!(same_bits("x", &[f32::NAN], &[f32::from_bits(0xffff_ffff)]).is_err());
        let report = same_bits("runs", &[1.0, 2.0, 3.0], &[1.0, 2.0000002, 4.0]).expect_err("two differ").to_string();
        assert!(report.contains("2 of 3") && report.contains("element 1"), "{report}");
        assert!(report.contains("0x40000001"), "{report}");
    }

    #[test]
    fn nan_is_told_by_bits() {
        assert!(is_nan(f32::NAN) && is_nan(-f32::NAN) && is_nan(f32::from_bits(0x7f80_0001)));
        assert!(!is_nan(f32::INFINITY) && !is_nan(f32::NEG_INFINITY) && !is_nan(0.0));
    }
}
