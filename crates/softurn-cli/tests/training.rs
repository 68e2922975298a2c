//! Real runs, kept small: the same bits from the same seed and after every kind of stop, and bad input that leaves nothing
//! behind.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{read, subcommand, wait};
use serde_json::Value;

/// A small network on the first digits.
const SMALL: &str = "--data digits --k 10 --rows 200 --hidden 16 --latent 4 --batch 64";

fn program(words: &str, out: &Path) -> Command {
    subcommand(&format!("cluster {words}"), out)
}

fn run(words: &str, out: &Path) -> Output {
    common::run(&format!("cluster {words}"), out)
}

fn succeed(words: &str, out: &Path) -> Output {
    common::succeed(&format!("cluster {words}"), out)
}

/// Header, whose keys have no order, and the bytes of the tensors.
fn checkpoint(out: &Path) -> (Value, Vec<u8>) {
    let bytes = fs::read(out.join("checkpoint.safetensors")).expect("a checkpoint");
    let (length, rest) = bytes.split_at(8);
    let (header, tensors) = rest.split_at(u64::from_le_bytes(length.try_into().expect("8 bytes")) as usize);
    (serde_json::from_slice(header).expect("a header"), tensors.to_vec())
}

fn assert_same(one: &Path, other: &Path) {
    for name in ["metrics.jsonl", "assignments.csv"] {
        assert_eq!(read(one, name), read(other, name), "{name}");
    }
    assert!(checkpoint(one) == checkpoint(other), "checkpoints differ");
}

#[test]
fn the_seed_decides_every_bit() {
    let folder = tempfile::tempdir().expect("folder");
    let [first, again, other] = ["first", "again", "other"].map(|name| folder.path().join(name));
    let words = format!("{SMALL} --pretrain-epochs 3 --epochs 3");
    let output = succeed(&format!("{words} --json --quiet"), &first);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let summary: Value = serde_json::from_str(&text).expect("one object");
    assert_eq!(text.lines().count(), 1);
    assert_eq!((&summary["rows"], &summary["k"], &summary["seed"]), (&200.into(), &10.into(), &0.into()));
    assert!(summary["scores"]["accuracy"].is_f64() && summary["samples_per_second"].is_f64(), "{text}");

    succeed(&format!("{words} --seed 0"), &again);
    assert_same(&first, &again);
    succeed(&format!("{words} --seed 1"), &other);
    assert_ne!(read(&first, "metrics.jsonl"), read(&other, "metrics.jsonl"));
    assert_ne!(read(&first, "assignments.csv"), read(&other, "assignments.csv"));
}

/// Two starts, of which the better is kept, with a stop in the second one.
#[test]
fn starts_are_resumed_where_they_were_stopped() {
    let folder = tempfile::tempdir().expect("folder");
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let words =
        format!("{SMALL} --channels 3 --method idec --starts 2 --pretrain-epochs 40 --epochs 40 --quiet --json");
    let summary = |output: Output| serde_json::from_slice::<Value>(&output.stdout).expect("one object");
    let first = summary(succeed(&words, &whole));
    let objectives: Vec<f64> = serde_json::from_value(first["objectives"].clone()).expect("numbers");
    assert!(objectives.len() == 2 && objectives[0] != objectives[1], "{objectives:?}");
    assert!(read(&whole, "report.html").contains("pretrain, start 2"));

    let mut child = program(&words, &stopped).spawn().expect("the program starts");
    assert!(wait(&mut child, &stopped, |text| text.contains("\"start\":2")), "the run was too quick to be killed");
    child.kill().expect("a kill");
    child.wait().expect("a child");
    let again = summary(succeed("--resume --json --quiet", &stopped));
    assert_same(&whole, &stopped);
    assert_eq!((&again["objectives"], &again["scores"]), (&first["objectives"], &first["scores"]));
}

/// Phase and epoch of the checkpoint.
fn position(out: &Path) -> [u64; 2] {
    let (header, _) = checkpoint(out);
    ["softurn.phase", "softurn.epoch"].map(|key| {
        header["__metadata__"][key].as_str().and_then(|text| text.parse().ok()).expect("a number in the checkpoint")
    })
}

#[cfg(unix)]
#[test]
fn stopped_at_any_moment_and_resumed_a_run_ends_with_the_same_bits() {
    use std::os::unix::process::ExitStatusExt;

    let folder = tempfile::tempdir().expect("folder");
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let words = format!("{SMALL} --quiet --pretrain-epochs 150 --epochs 120");
    succeed(&words, &whole);

    let count = |text: &str, phase: &str| text.matches(&format!("\"phase\":\"{phase}\"")).count();
    let kill = |words: &str, ready: &dyn Fn(&str) -> bool| {
        let mut child = program(words, &stopped).spawn().expect("the program starts");
        assert!(wait(&mut child, &stopped, ready), "the run was too quick to be killed");
        child.kill().expect("SIGKILL");
        assert_eq!(child.wait().expect("a child").signal(), Some(9));
    };
    let interrupt = |words: &str, ready: &dyn Fn(&str) -> bool| {
        let before = fs::read_to_string(stopped.join("metrics.jsonl")).unwrap_or_default();
        let mut child = program(words, &stopped).spawn().expect("the program starts");
        // A change in the file shows that this process is past its start: before that, the signal has no handler.
        let moved = |text: &str| text != before && ready(text);
        assert!(wait(&mut child, &stopped, moved), "the run was too quick to be interrupted");
        let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().expect("a shell");
        assert!(sent.success());
        let output = child.wait_with_output().expect("a child");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with("interrupted: ") && errors.contains("--resume"), "{errors}");
        // Everything that was measured is in the checkpoint.
        let last: Value = serde_json::from_str(read(&stopped, "metrics.jsonl").lines().last().expect("a line"))
            .expect("a whole line");
        assert_eq!(last["epoch"].as_u64(), Some(position(&stopped)[1]));
    };

    // Before the first checkpoint of the phase, unless the machine is slow.
    kill(&words, &|text| count(text, "contrast") >= 3);
    // After it, unless the machine is so quick that the phase is over by then.
    kill("--quiet --resume", &|text| position(&stopped) != [0, 0] && !text.is_empty());
    if position(&stopped)[0] == 0 {
        interrupt("--quiet --resume", &|text| count(text, "contrast") > position(&stopped)[1] as usize);
    }
    kill("--quiet --resume", &|text| count(text, "cluster") >= 5);
    interrupt("--quiet --resume", &|text| count(text, "cluster") >= 5);
    assert!(!stopped.join("report.html").exists() && !stopped.join("assignments.csv").exists());
    succeed("--quiet --resume", &stopped);
    assert_same(&whole, &stopped);
    assert!(read(&stopped, "report.html").contains("</html>"));
    assert_eq!(read(&stopped, "config.toml"), read(&whole, "config.toml"));

    // Nothing is left to train, and nothing changes.
    succeed(&format!("{words} --resume"), &stopped);
    assert_same(&whole, &stopped);
    // What a kill tears off or leaves behind does not matter either.
    let metrics = read(&stopped, "metrics.jsonl");
    fs::write(stopped.join("metrics.jsonl"), format!("{metrics}{{\"phase\":\"clus")).expect("a write");
    fs::write(stopped.join("checkpoint.safetensors.new"), "half").expect("a write");
    succeed("--quiet --resume", &stopped);
    assert_same(&whole, &stopped);
}

/// Three groups of 30 rows, two columns, and the group's name where asked for.
fn table(folder: &Path, labels: bool) -> PathBuf {
    let path = folder.join(if labels { "labelled.csv" } else { "plain.csv" });
    let mut text = String::from(if labels { "x,y,kind\n" } else { "x,y\n" });
    for i in 0..90 {
        let (group, at) = (i % 3, f64::from(i));
        let x = f64::from(group) * 5.0 + (at * 0.7).sin();
        let y = f64::from(group * group) * 3.0 + (at * 1.3).cos();
        text += &format!("{x},{y}{}\n", if labels { format!(",kind {group}") } else { String::new() });
    }
    fs::write(&path, text).expect("a table");
    path
}

#[test]
fn labels_serve_the_score_alone_in_every_method() {
    let folder = tempfile::tempdir().expect("folder");
    let [labelled, plain] = [true, false].map(|labels| table(folder.path(), labels).display().to_string());
    for words in
        ["kmeans", "kmeans --batch 20", "gmm", "gmm --covariance full", "dec", "idec", "variational", "partition"]
    {
        let method = words.replace(' ', "");
        let words = format!("--k 3 --method {words} --json --hidden 16 --latent 4 --pretrain-epochs 2 --epochs 2");
        let [with, without] = ["with", "without"].map(|name| folder.path().join(format!("{method}-{name}")));
        let scored = succeed(&format!("{words} --data {labelled} --label-column kind"), &with);
        let unscored = succeed(&format!("{words} --data {plain}"), &without);
        let [scored, unscored] =
            [scored, unscored].map(|output| serde_json::from_slice::<Value>(&output.stdout).expect("one object"));
        assert!(scored["scores"]["accuracy"].is_f64() && unscored["scores"]["accuracy"].is_null(), "{method}");
        assert_eq!(scored["scores"]["silhouette"], unscored["scores"]["silhouette"]);
        if method.starts_with("kmeans") || method.starts_with("gmm") {
            assert_eq!(scored["scores"]["accuracy"], 1.0, "{method}");
        }
        let cut: String = read(&with, "assignments.csv")
            .lines()
            .map(|line| line.rsplit_once(',').expect("a label").0.to_owned() + "\n")
            .collect();
        assert_eq!(cut, read(&without, "assignments.csv"), "{method}");
        for out in [&with, &without] {
            assert!(read(out, "report.html").contains("</html>"));
        }
        // The saved model says the same of the same rows.
        let groups = folder.path().join(format!("{method}.csv"));
        let words = format!("predict --model {} --data {labelled} --label-column kind", with.display());
        let output = subcommand(&words, &groups).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{method}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::read_to_string(&groups).expect("groups"), cut, "{method}");
        let again = subcommand(&words, &groups).output().expect("the program starts");
        fails(&again, "--out", "the file is there");
    }
    let words = format!("predict --model {} --data iris", folder.path().join("kmeans-with").display());
    fails(&subcommand(&words, &folder.path().join("other.csv")).output().expect("starts"), "--data", "other columns");
    let words = format!("predict --model {labelled} --data iris");
    fails(&subcommand(&words, &folder.path().join("other.csv")).output().expect("starts"), "--model", "no model");
}

#[test]
fn numbers_of_groups_are_compared() {
    let program = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_softurn"));
        command.env("NODEVICE_SELECT", "1").args(words.split_whitespace()).output().expect("the program starts")
    };
    let output = program("select --data iris --k 1-4 --covariance full --json");
    let found: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&found["best"]["held_out"], &found["best"]["silhouette"]), (&3.into(), &2.into()), "{found}");
    assert_eq!(found["candidates"].as_array().map(Vec::len), Some(4));
    fails(&program("select --data iris --k 5-2"), "--k", "an empty range");
    fails(&program("select --data iris --k 1-150"), "--k", "more groups than a fold has rows");
    fails(&program("select --data nowhere.csv --k 1-3"), "nowhere.csv", "no such file");
}

#[test]
fn entropy_clustering_learns_sizes_and_resumes() {
    let folder = tempfile::tempdir().expect("folder");
    let data = table(folder.path(), true).display().to_string();
    let [learned, given] = ["learned", "given"].map(|name| folder.path().join(name));
    let words = format!("--data {data} --label-column kind --k 3 --method entropy --hidden 0 --json --quiet");
    let summary = |output: Output| serde_json::from_slice::<Value>(&output.stdout).expect("one object");
    let first = summary(succeed(&format!("{words} --epochs 20 --starts 2"), &learned));
    assert_eq!(first["method"], "entropy");
    assert!(first["scores"]["accuracy"].as_f64().is_some_and(|accuracy| accuracy > 0.6), "{first}");
    let sizes: Vec<f64> = serde_json::from_value(first["learned_sizes"].clone()).expect("numbers");
    assert!((sizes.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{sizes:?}");
    let metrics = read(&learned, "metrics.jsonl");
    assert_eq!(metrics.lines().count(), 40);
    assert!(metrics.contains("\"phase\":\"start 2\"") && metrics.contains("\"sizes\":"), "{metrics}");
    let report = read(&learned, "report.html");
    assert!(report.contains("learned by the model") && report.contains("entropy, learned group sizes"));
    // Nothing is left to train.
    let again = summary(succeed("--resume --json --quiet", &learned));
    assert_eq!(again["scores"], first["scores"]);
    assert_eq!(read(&learned, "metrics.jsonl"), metrics);

    let words = format!("{words} --epochs 2 --starts 1 --sizes 0.2,0.3,0.5 --loss collision");
    let second = summary(succeed(&words, &given));
    assert!(second["learned_sizes"].is_null(), "{second}");
    assert!(!read(&given, "report.html").contains("learned by the model"));
}

/// An npy file of version 1.
fn npy(path: &Path, descr: &str, rows: usize, bytes: &[u8]) {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, 2), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    fs::write(path, file).expect("an array");
}

#[test]
fn bad_input_is_code_2_one_line_that_names_the_argument_and_no_directory() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let plain = table(folder.path(), false).display().to_string();
    fs::write(path("nan.csv"), "x,y\n1,2\n3,NaN\n").expect("a table");
    fs::write(path("short.csv"), "kind\na\nb\n").expect("labels");
    fs::write(path("unknown.toml"), "k = 3\nlatnet = 4\n").expect("a configuration");
    fs::write(path("typed.toml"), "k = \"three\"\n").expect("a configuration");
    npy(Path::new(&path("complex.npy")), "<c8", 2, &[0; 32]);
    npy(Path::new(&path("text.npy")), "<U3", 2, &[0; 48]);
    // Claims more rows than any memory holds.
    npy(Path::new(&path("huge.npy")), "<f4", 1 << 60, &[0; 16]);
    let mut gz = gzip(b"x,y\n1,2\n3,4\n5,6\n");
    gz.truncate(gz.len() - 9);
    fs::File::create(path("cut.csv.gz")).and_then(|mut file| file.write_all(&gz)).expect("a file");
    fs::create_dir(path("taken")).expect("a folder");
    let before = fs::read_dir(folder.path()).expect("folder").count();

    let out = folder.path().join("deep/run");
    let digits = "--data digits --k 10";
    let entropy = format!("--data {plain} --k 3 --method entropy");
    for (words, argument) in [
        (format!("--data {} --k 2", path("missing.npy")), "--data: "),
        (format!("--data {} --k 2", path("cut.csv.gz")), "--data: "),
        (format!("--data {} --k 2", path("complex.npy")), "--data: "),
        (format!("--data {} --k 2", path("text.npy")), "--data: "),
        (format!("--data {} --k 2", path("huge.npy")), "--data: "),
        (format!("--data {} --k 2", path("nan.csv")), "--data: "),
        (format!("--data {plain} --k 91"), "--k: "),
        (format!("--data {plain} --k 91 --method kmeans"), "--k: "),
        (format!("--data {plain} --k 0"), "--k: "),
        (format!("--data {plain} --k 2 --rows 9"), "--data: "),
        (format!("--data {plain} --k 2 --labels {}", path("short.csv")), "--labels: "),
        (format!("--data {plain} --k 2 --labels {}", path("missing.csv")), "--labels: "),
        (format!("--data {plain} --k 2 --label-column kind"), "--label-column: "),
        (format!("{digits} --adapter no-such-adapter"), "--adapter: "),
        (format!("{digits} --adapter 99"), "--adapter: "),
        (format!("{digits} --config {}", path("unknown.toml")), "--config: "),
        (format!("{digits} --config {}", path("typed.toml")), "--config: "),
        (format!("{digits} --config {}", path("missing.toml")), "--config: "),
        (format!("{digits} --rows 0"), "--rows: "),
        (format!("{digits} --rows 1798"), "--rows: "),
        (format!("{digits} --keep 1,1"), "--keep: "),
        (format!("{digits} --keep 1,1,1,1,1,1,1,1,1,0"), "--keep: "),
        (format!("{digits} --hidden 100000000"), "--hidden: "),
        (format!("{digits} --hidden 16,0"), "--hidden: "),
        (format!("{digits} --channels 4,4,4,4"), "--channels: "),
        (format!("{digits} --method dec --channels 100000000"), "--channels: "),
        (format!("--data {plain} --k 3 --channels 4"), "--channels: "),
        (format!("{digits} --kind embedding"), "--kind: "),
        (format!("{digits} --kind table"), "--kind: "),
        (format!("{digits} --crop 1"), "--crop: "),
        (format!("{digits} --noise inf"), "--noise: "),
        (format!("{digits} --pretraining reconstruction --crop 0.1"), "--crop: "),
        (format!("{digits} --method partition --pretraining reconstruction --noise 0.1"), "--noise: "),
        (format!("--data {plain} --k 3 --crop 0.2"), "--crop: "),
        (format!("{digits} --latent 100000000"), "--latent: "),
        (format!("{digits} --latent {}", i64::MAX), "--latent: "),
        (format!("{digits} --batch {}", i64::MAX), "--batch: "),
        (format!("{digits} --batch {}", u64::MAX), "--batch "),
        (format!("{digits} --batch 1"), "--batch: "),
        (format!("{digits} --epochs {}", i64::MAX), "--epochs: "),
        (format!("{digits} --pretrain-epochs {}", i64::MAX), "--pretrain-epochs: "),
        (format!("{digits} --learning-rate nan"), "--learning-rate: "),
        (format!("{digits} --temperature 1e-60"), "--temperature: "),
        (format!("{digits} --covariance full"), "--covariance: "),
        (format!("{digits} --method gmm --covariance round"), "--covariance"),
        (format!("{digits} --method gmm --batch 100"), "--batch: "),
        (format!("{digits} --method dec --reconstruction 1"), "--reconstruction: "),
        (format!("{digits} --method idec --reconstruction -1"), "--reconstruction"),
        (format!("{digits} --method idec --reconstruction inf"), "--reconstruction: "),
        (format!("{digits} --method idec --latent 100000000"), "--latent: "),
        (format!("{digits} --method dec --batch 0"), "--batch: "),
        (format!("{digits} --method kmeans --batch -1"), "--batch"),
        (format!("{digits} --resume"), "--resume: "),
        (format!("{entropy} --sizes some"), "--sizes: "),
        (format!("{entropy} --sizes 0.5,0.5"), "--sizes: "),
        (format!("{entropy} --sizes 0.7,0.2,0.2"), "--sizes: "),
        (format!("{entropy} --sizes 1,0,0"), "--sizes: "),
        (format!("{entropy} --lambda=-1"), "--lambda: "),
        (format!("{entropy} --lambda 1e5"), "--lambda: "),
        (format!("{entropy} --gamma nan"), "--gamma: "),
        (format!("{entropy} --consistency=-1"), "--consistency: "),
        (format!("{entropy} --starts 0"), "--starts: "),
        (format!("{entropy} --starts 11"), "--starts: "),
        (format!("--data {plain} --k 91 --method entropy"), "--k: "),
        (format!("{entropy} --hidden 100000000"), "--hidden: "),
        (format!("{entropy} --epochs {}", i64::MAX), "--epochs: "),
    ] {
        let began = Instant::now();
        fails(&run(&words, &out), argument, &words);
        assert!(began.elapsed() < Duration::from_secs(20), "{words} took {:?}", began.elapsed());
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), before, "{words}");
    }
    fails(&run(digits, Path::new(&path("taken"))), "--out: ", "an existing directory");
    assert_eq!(fs::read_dir(path("taken")).expect("folder").count(), 0);
}

fn fails(output: &Output, argument: &str, what: &str) {
    let errors: Vec<_> = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    assert_eq!(output.status.code(), Some(2), "{what}: {errors:?}");
    assert_eq!(errors.len(), 1, "{what}: {errors:?}");
    assert!(errors[0].starts_with("error: ") && errors[0].contains(argument), "{what}: {errors:?}");
    assert!(output.stdout.is_empty(), "{what}");
}

/// Gzip with one stored block: enough to be cut short. The checksum is never reached.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    let mut gz = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    gz.extend(length.to_le_bytes());
    gz.extend((!length).to_le_bytes());
    gz.extend(bytes);
    gz.extend([0; 8]);
    gz
}

#[test]
fn a_run_that_does_not_fit_is_not_resumed_and_not_touched() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("run");
    succeed(&format!("{SMALL} --quiet --pretrain-epochs 1 --epochs 1"), &out);
    let path = out.join("checkpoint.safetensors");
    let good = fs::read(&path).expect("a checkpoint");
    let refuse = |words: &str, argument: &str, what: &str| {
        let files = || -> Vec<_> {
            let mut files: Vec<_> =
                fs::read_dir(&out).expect("folder").map(|entry| entry.expect("entry").path()).collect();
            files.sort();
            files.into_iter().map(|file| (fs::read(&file).expect("a file"), file)).collect()
        };
        let before = files();
        fails(&run(&format!("--quiet --resume {words}"), &out), argument, what);
        assert!(before == files(), "{what}");
    };
    refuse("--latent 5", "--latent: ", "another configuration");
    refuse("--seed 5", "--seed: ", "another seed");
    for (bytes, what) in [
        (good[..good.len() - 5].to_vec(), "a truncated checkpoint"),
        (good[..100].to_vec(), "a truncated header"),
        (vec![], "an empty checkpoint"),
        (vec![255; 64], "a header of 2^64 bytes"),
        (replaced(&good, "\"softurn.format\":\"1\"", "\"softurn.format\":\"2\""), "a newer format"),
        (replaced(&good, "value.mixture.means", "value.mixture.beans"), "a parameter of another name"),
    ] {
        fs::write(&path, bytes).expect("a write");
        refuse("", "--resume: ", what);
    }
    fs::remove_file(&path).expect("a removal");
    refuse("", "--resume: ", "no checkpoint");
    fs::write(&path, good).expect("a write");
    succeed("--quiet --resume", &out);
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text");
    [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
}
