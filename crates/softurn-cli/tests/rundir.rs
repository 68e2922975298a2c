//! The run directory: whole or absent, replaced atomically, cut back cleanly.

use std::fs;
use std::path::Path;

use serde_json::json;
use softurn_cli::config::{Config, Settings};
use softurn_cli::rundir::{ASSIGNMENTS, CONFIG, METRICS, RunDir, check_free};
use softurn_cli::settings::Configuration;

fn config() -> Config {
    let settings = Settings { data: Some("digits".into()), k: Some(3), ..Settings::default() };
    Config::resolve(&settings, None).expect("configuration")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    names
}

#[test]
fn created_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("runs/a");
    let run = RunDir::create(&out, &config()).expect("created");
    assert_eq!(names(&out), [CONFIG]);
    assert_eq!(names(&folder.path().join("runs")), ["a"], "the temporary folder is gone");
    run.write("report.html", b"one").expect("written");
    run.write("report.html", b"two").expect("replaced");
    assert_eq!(fs::read(out.join("report.html")).expect("read"), b"two");
    assert_eq!(names(&out), [CONFIG, "report.html"]);

    let again = RunDir::create(&out, &config()).expect_err("exists");
    assert!(again.to_string().contains("--out") && again.exit_code() == 2, "{again}");
    fs::write(folder.path().join("file"), b"").expect("written");
    let below = RunDir::create(&folder.path().join("file/run"), &config()).expect_err("below a file");
    assert!(!below.to_string().contains('\n') && below.exit_code() == 2, "{below}");
    assert!(check_free(&folder.path().join("file")).is_err());
}

#[test]
fn metrics_are_cut_back_to_the_checkpoint() {
    let folder = tempfile::tempdir().expect("folder");
    let run = RunDir::create(&folder.path().join("run"), &config()).expect("created");
    for epoch in 1..=4 {
        run.append(METRICS, &json!({ "epoch": epoch, "loss": 0.1 * f64::from(epoch) })).expect("appended");
    }
    let path = run.file(METRICS);
    let before = fs::read_to_string(&path).expect("read");
    // What a kill in the middle of a write leaves.
    fs::write(&path, before.clone() + "{\"epoch\":5").expect("written");
    run.cut_back(METRICS, |_| true).expect("cut");
    assert_eq!(fs::read_to_string(&path).expect("read"), before);
    run.cut_back(METRICS, |line| line["epoch"].as_u64() <= Some(2)).expect("cut");
    assert_eq!(fs::read_to_string(&path).expect("read").lines().count(), 2);
    run.cut_back("absent.jsonl", |_| true).expect("nothing to cut");
}

#[test]
fn assignments_with_and_without_labels() {
    let folder = tempfile::tempdir().expect("folder");
    let run = RunDir::create(&folder.path().join("run"), &config()).expect("created");
    run.write_assignments(&[2, 0], ("probability", &[0.5, 1.0]), None).expect("written");
    let text = fs::read_to_string(run.file(ASSIGNMENTS)).expect("read");
    assert_eq!(text, "row,cluster,probability\n0,2,0.5\n1,0,1\n");
    run.write_assignments(&[2, 0], ("probability", &[0.5, 1.0]), Some(&["a,b".into(), "c".into()])).expect("written");
    let text = fs::read_to_string(run.file(ASSIGNMENTS)).expect("read");
    assert_eq!(text, "row,cluster,probability,label\n0,2,0.5,\"a,b\"\n1,0,1,c\n");
}
