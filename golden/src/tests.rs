//! Tests of the comparison itself: what must fail does, and says where.

use std::path::Path;
use std::sync::OnceLock;

use softurn_kernels::{Gpu, GpuConfig};

use crate::case::File;
use crate::line::{Line, Precision};
use crate::report;
use softurn_tests::Tolerance;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}")))
}

/// Whether a folder agrees, and what is printed of it.
fn check(dir: &Path) -> (bool, String) {
    let report = report::check(gpu(), &report::files(dir).unwrap());
    (report.agrees(), report.to_string())
}

/// A folder of one file.
fn check_text(text: &str) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("copy.json"), text).unwrap();
    check(dir.path())
}

/// A golden file with the first occurrence of a text replaced.
fn edited(name: &str, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(format!("{DIR}/{name}.json")).unwrap();
    assert!(text.contains(from), "{from} is not in {name}");
    text.replacen(from, to, 1)
}

#[track_caller]
fn fails(text: &str, words: &[&str]) {
    let (agrees, printed) = check_text(text);
    assert!(!agrees, "{printed}");
    for word in words {
        assert!(printed.contains(word), "{word:?} is not in\n{printed}");
    }
}

#[test]
fn a_wrong_value_fails_and_names_its_case() {
    for (name, from, to, quantity, case) in [
        ("log_softmax", "1.3132616875182228,", "1.31327,", "lse", "l7"),
        ("log_softmax", "[\"-inf\",-1.3132", "[\"inf\",-1.3132", "log_softmax", "l7"),
        ("gumbel_transform", "\"g\":15.94", "\"g\":15.93", "g", "u11"),
        ("gumbel_softmax", "0.0007546725648981015", "0.0007556725648981015", "jac", "g0_3"),
        ("gumbel_softmax", "0.9995000608377603", "0.9994000608377603", "y", "g0_3"),
    ] {
        fails(&edited(name, from, to), &[&format!("copy, {quantity} in f64"), &format!("of case {case}:"), "FAIL"]);
    }
    // Small enough for f32, too large for f64.
    let (agrees, printed) = check_text(&edited("gumbel_transform", "\"e\":1.386294361", "\"e\":1.386294371"));
    assert!(!agrees && printed.contains("e in f64") && !printed.contains("e in f32"), "{printed}");
}

/// Of a file, the quantities with the start of their values in it, what to write instead, and the case.
type Corrupted = (&'static str, &'static [&'static str], &'static [[&'static str; 4]]);

const BOTH: &[&str] = &["f64", "f32"];

/// Each quantity is compared, in each precision: nothing else fails.
#[test]
fn a_wrong_value_of_each_quantity_fails() {
    let corrupted: &[Corrupted] = &[
        (
            "sparsemax",
            BOTH,
            &[
                ["sparsemax", "[0.0", "[0.001", "p0_0"],
                ["sparsemax_vjp", "[0.0", "[0.001", "p0_0"],
                ["entmax15", "[0.0", "[0.001", "p0_0"],
                ["entmax15_vjp", "[0.0", "[0.001", "p0_0"],
            ],
        ),
        (
            "plackett_luce",
            BOTH,
            &[
                ["logp", "[-5.2312", "[-5.2322", "pl1"],
                ["grad", "[[0.8457", "[[0.8467", "pl1"],
                ["inclusion", "[0.8818", "[0.8828", "pl1"],
                ["dinclusion", "[[0.1460", "[[0.1470", "pl1"],
                ["subset_logp", "[-1.7593", "[-1.7603", "pl1"],
            ],
        ),
        (
            "plackett_luce_big",
            BOTH,
            &[["logp", "-31.538", "-31.548", "plb0"], ["grad", "[-0.1187", "[-0.1197", "plb0"]],
        ),
        (
            "ksubset",
            BOTH,
            &[
                ["log_esp", "2.4914", "2.4924", "k0"],
                ["log_esp_all", "[2.0427", "[2.0437", "k0"],
                ["inclusion", "[0.5943", "[0.5953", "k0"],
                ["cov", "[[0.2411", "[[0.2421", "k0"],
            ],
        ),
        (
            "relaxed_sort",
            BOTH,
            &[
                ["neuralsort", "[[6.508687038283656e-06", "[[1e-03", "n0_0"],
                ["neuralsort_vjp", "[-0.5300", "[-0.5310", "n0_0"],
                ["softsort", "[[0.0221", "[[0.0231", "n0_0"],
                ["softsort_vjp", "[-0.3952", "[-0.3962", "n0_0"],
            ],
        ),
        (
            "relaxed_topk",
            BOTH,
            &[["sigmoid_topk", "[0.1178", "[0.1188", "x0_0"], ["sigmoid_topk_vjp", "[-0.1195", "[-0.1205", "x0_0"]],
        ),
        // Quantities of kernels alone.
        ("relaxed_topk", &["f32"], &[["sigmoid_lambda", "0.6370", "0.6380", "x0_0"]]),
        (
            "gumbel_softmax_expect",
            &["f32"],
            &[
                ["E_y0", "0.7031", "0.7131", "e16"],
                ["E_y0_sq", "0.6123", "0.6223", "e16"],
                ["dE_y0_dlogit0", "0.1815", "0.1855", "e16"],
                ["p_hard0", "0.04742", "0.05742", "e0"],
                ["dp_hard0_dlogit0", "0.04517", "0.05517", "e0"],
            ],
        ),
    ];
    for (file, precisions, edits) in corrupted {
        let mut text = std::fs::read_to_string(format!("{DIR}/{file}.json")).unwrap();
        for [quantity, from, to, _] in *edits {
            let [from, to] = [from, to].map(|value| format!("\"{quantity}\":{value}"));
            assert!(text.contains(&from), "{from} is not in {file}");
            text = text.replacen(&from, &to, 1);
        }
        let (agrees, printed) = check_text(&text);
        assert!(!agrees, "{printed}");
        for [quantity, _, _, case] in *edits {
            for precision in *precisions {
                let line = format!("copy, {quantity} in {precision}: 1 of ");
                let found = printed.lines().find(|text| text.starts_with(&line));
                let found = found.unwrap_or_else(|| panic!("{line:?} is not in\n{printed}"));
                assert!(found.contains(&format!("of case {case}:")), "{found}");
            }
        }
        assert_eq!(printed.matches("FAIL").count(), edits.len() * precisions.len(), "{printed}");
    }
}

#[test]
fn a_bad_file_is_an_error_that_says_where() {
    let one = |case: &str| format!("{{\"schema\":\"log_softmax/1\",\"cases\":[{case}]}}");
    for (text, words) in [
        ("{\"schema\": ".to_owned(), ["copy.json", "is no JSON"]),
        ("[1]".to_owned(), ["copy.json", "object"]),
        ("{\"cases\":[{\"id\":\"a\"}]}".to_owned(), ["copy.json", "`schema`"]),
        ("{\"schema\":\"log_softmax/1\"}".to_owned(), ["copy.json", "`cases`"]),
        (one(""), ["copy.json", "no cases"]),
        (one("{\"x\":[0.0]}"), ["case number 0", "`id`"]),
        (one("{\"id\":\"a\"}"), ["case a", "`x` is missing"]),
        (one("{\"id\":\"a\",\"x\":[]}"), ["case a", "`x` is empty"]),
        (one("{\"id\":\"a\",\"x\":[0.1]}"), ["case a", "no f32"]),
        (one("{\"id\":\"a\",\"x\":[\"nan\"]}"), ["case a", "`x`: \"nan\" is no number"]),
        (one("{\"id\":\"a\",\"x\":[0.0],\"softmax\":[1.0,0.0]}"), ["case a", "`softmax` holds 2 numbers, not 1"]),
        (edited("log_softmax", "log_softmax/1", "log_softmax/2"), ["copy.json", "unknown schema `log_softmax/2`"]),
        (edited("gumbel_softmax", "\"tau\":0.5", "\"tau\":0.0"), ["copy.json: case g0_3", "temperature"]),
        (edited("relaxed_sort", "\"tau\":1.0", "\"tau\":0.0"), ["copy.json: case n0_0", "temperature"]),
        (edited("relaxed_topk", "\"tau\":1.0", "\"tau\":0.0"), ["copy.json: case x0_0", "temperature"]),
        (edited("relaxed_topk", "\"cotangent\":[", "\"cotangent\":[0.5,"), ["case x0_0", "`cotangent` holds 6"]),
        (edited("ksubset", "\"k\":2", "\"k\":5"), ["case k0", "`k` is 5, not from 1 to 4"]),
        (edited("ksubset", "\"k\":2", "\"k\":0"), ["case k0", "`k` is 0, not from 1 to 4"]),
        (edited("ksubset", "\"k\":2", "\"k\":1.5"), ["case k0", "no whole number"]),
        (edited("ksubset", "\"inclusion\":[0.59", "\"inclusion\":[null,null,0.59"), ["case k0", "holds 4 numbers"]),
        (edited("plackett_luce", "\"ordered\":[[0,", "\"ordered\":[["), ["case pl0", "no selections of 2"]),
        (edited("gumbel_softmax", "\"gumbel\":[4.757874011993408,", "\"gumbel\":["), ["case g0_0", "`gumbel`"]),
    ] {
        fails(&text, &[words[0], words[1], "files: 1, 1 in error"]);
    }
}

#[test]
fn an_empty_or_missing_folder_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(report::files(dir.path()).unwrap_err().to_string().contains("no *.json"));
    assert!(report::files(&dir.path().join("missing")).is_err());
}

#[test]
fn nan_fails_and_equal_infinities_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.json");
    std::fs::write(&path, "{\"schema\":\"s\",\"cases\":[{\"id\":\"a\",\"v\":[1.0,\"inf\",1e39]}]}").unwrap();
    let case = &File::read(&path).unwrap().cases[0];
    let failed = |precision, got: [f64; 3]| {
        let mut line = Line::new("v", precision);
        line.compare(case, "v", &got, |_| Tolerance::new(0.0, 1e-3, "a test")).unwrap();
        line.failed
    };
    let infinity = f64::INFINITY;
    assert_eq!(failed(Precision::F64, [1.0, infinity, 1e39]), 0);
    assert_eq!(failed(Precision::F64, [f64::NAN, f64::NAN, infinity]), 3);
    // Beyond f32 its infinity is the right answer.
    assert_eq!(failed(Precision::F32, [1.0, infinity, infinity]), 0);
    assert_eq!(failed(Precision::F32, [1.0, -infinity, -infinity]), 2);
}
