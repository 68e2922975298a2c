//! The program as a shell sees it: exit codes, one line of error, nothing left behind.

use std::process::{Command, Output};

fn softurn(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_softurn")).args(words).output().expect("the program starts")
}

#[test]
fn help_and_version_go_to_standard_output() {
    for words in ["--help", "--version", "cluster --help", "sparsify --help", "sparsify labels --help"] {
        let words: Vec<&str> = words.split(' ').collect();
        let output = softurn(&words);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{words:?}");
        assert!(!output.stdout.contains(&0x1b), "no escape codes in a pipe: {words:?}");
    }
}

#[test]
fn bad_input_is_code_2_one_line_and_no_directory() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("deep/run").display().to_string();
    for words in [
        vec![],
        vec!["clutser"],
        vec!["cluster"],
        vec!["sparsify"],
        vec!["sparsify", "codes", "--size", "3", "--bound", "2", "--out", &out],
        vec!["cluster", "--data", "digits", "--k", "many", "--out", &out],
        vec!["cluster", "--data", "digits", "--k", "0", "--json", "--out", &out],
        vec!["cluster", "--resume", "--json", "--out", &out],
    ] {
        let output = softurn(&words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{words:?}: {errors}");
        assert!(errors.starts_with("error: ") && output.stdout.is_empty(), "{words:?}: {errors}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
}
