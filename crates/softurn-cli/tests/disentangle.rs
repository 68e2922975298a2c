//! Real runs of `softurn disentangle`, kept small: the same bits from the same seed and after a kill, a report that shows
//! what it says, and bad input that leaves nothing behind.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{read, subcommand, wait};
use serde_json::Value;

/// Writes an array in the IDX format.
fn idx(path: &Path, shape: &[usize], bytes: &[u8]) {
    let mut text = vec![0, 0, 8, shape.len() as u8];
    for &size in shape {
        text.extend((size as u32).to_be_bytes());
    }
    text.extend(bytes);
    fs::write(path, text).expect("written");
}

/// Squares on a plane of 16 pixels: a size of 2 and a row and a column of 3 each.
fn squares(folder: &Path) -> [String; 2] {
    let (mut pixels, mut classes) = (Vec::new(), Vec::new());
    for code in 0..18 {
        let [size, row, column] = [code / 9, code / 3 % 3, code % 3];
        let inside = |place: usize, class: usize| (5 * class..5 * class + 3 + 2 * size).contains(&place);
        pixels.extend((0..256).map(|i| if inside(i / 16, row) && inside(i % 16, column) { 255 } else { 0 }));
        classes.extend([size, row, column].map(|class| class as u8));
    }
    let files = ["images-idx3-ubyte", "factors-idx2-ubyte"].map(|name| folder.join(name));
    idx(&files[0], &[18, 16, 16], &pixels);
    idx(&files[1], &[18, 3], &classes);
    files.map(|file| file.display().to_string())
}

fn run(words: &str, out: &Path) -> Output {
    common::run(&format!("disentangle {words}"), out)
}

fn succeed(words: &str, out: &Path) -> Output {
    common::succeed(&format!("disentangle {words}"), out)
}

fn assert_same(one: &Path, other: &Path) {
    for name in ["metrics.jsonl", "pairs.csv"] {
        assert_eq!(read(one, name), read(other, name), "{name}");
    }
}

/// One run, the same again, killed and resumed, and of another seed.
#[test]
fn the_seed_decides_every_bit_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("folder");
    let [data, factors] = squares(folder.path());
    let words = format!("--data {data} --factors {factors} --shared 1 --batch 4 --latent 4 --learning-rate 0.002");
    let [whole, killed, other] = ["whole", "killed", "other"].map(|name| folder.path().join(name));

    let output = succeed(&format!("{words} --steps 300 --json --quiet"), &whole);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(
        (&summary["images"], &summary["shared"], &summary["model"]),
        (&18.into(), &1.into(), &"hypergeometric".into())
    );
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("{key}: {summary}"));
    assert!((number("true_share") - 1.0 / 3.0).abs() < 1e-12 && (0.0..=1.0).contains(&number("share")));

    // The printed error is that of the pairs in the file.
    let pairs = read(&whole, "pairs.csv");
    let mut errors = Vec::new();
    for line in pairs.lines().skip(1) {
        let [first, second, share] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let [first, second] = [first, second].map(|row| row.parse::<usize>().expect("a row"));
        let shared =
            [9, 3, 1].map(|after| first / after % 3 == second / after % 3 && (after < 9 || first / 9 == second / 9));
        assert_eq!(shared.iter().filter(|&&shared| shared).count(), 1, "{line}");
        errors.push((share.parse::<f64>().expect("a share") - 1.0 / 3.0).powi(2));
    }
    let error = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(errors.len() >= 100 && (error - number("squared_error")).abs() < 1e-6, "{error}: {summary}");

    let mut child =
        subcommand(&format!("disentangle {words} --steps 300 --quiet"), &killed).spawn().expect("the program starts");
    assert!(wait(&mut child, &killed, |text| text.contains("\"epoch\":1")), "the run was too quick to be killed");
    child.kill().expect("a kill");
    child.wait().expect("a child");
    assert!(!killed.join("report.html").exists());
    let refused = run("--resume --shared 2", &killed);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("error: --shared: 2 differs from 1"));
    succeed("--resume --quiet", &killed);
    assert_same(&whole, &killed);

    succeed(&format!("{words} --steps 100 --seed 1 --model ada"), &other);
    assert_ne!(read(&whole, "metrics.jsonl").lines().next(), read(&other, "metrics.jsonl").lines().next());

    let page = read(&whole, "report.html");
    // Four dimensions at nine values, six pairs of six pictures.
    assert_eq!(page.matches("data:image/png;base64,").count(), 4 * 9 + 6 * 6);
    for part in
        ["id=\"number\"", "id=\"factors\"", "id=\"traversals\"", "id=\"swaps\"", "id=\"training\"", "id=\"run\""]
    {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["http://", "https://", "src=\"//", "@import", "<link", "url("] {
        assert!(!page.contains(outside), "{outside} reaches outside the page");
    }
}

#[test]
fn bad_input_names_its_argument_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let [data, factors] = squares(folder.path());
    let short: PathBuf = folder.path().join("short-idx2-ubyte");
    idx(&short, &[17, 3], &[0; 51]);
    let odd = folder.path().join("odd-idx3-ubyte");
    idx(&odd, &[18, 15, 16], &[7; 18 * 240]);
    let (short, odd) = (short.display(), odd.display());
    let both = format!("--data {data} --factors {factors}");
    for (words, wanted) in [
        ("--shared 1".to_owned(), "--data"),
        (both.clone(), "--shared"),
        (format!("{both} --shared 3"), "--shared"),
        (format!("--data {data} --factors {short} --shared 1"), "--factors"),
        (format!("--data {data} --factors none-idx2-ubyte --shared 1"), "--factors"),
        (format!("--data {data} --shared 1"), "--factors"),
        (format!("--data {data} --factor-sizes 2,3,4 --shared 1"), "--factor-sizes"),
        (format!("{both} --factor-sizes 2,3,3 --shared 1"), "--factor"),
        (format!("--data {odd} --factors {factors} --shared 1"), "--data"),
        (format!("{both} --reduce 3 --shared 1"), "--data"),
        (format!("{both} --reduce 2 --shared 1"), "--data"),
        (format!("{both} --reduce 0 --shared 1"), "--reduce"),
        (format!("{both} --shared 1 --batch 0"), "--batch"),
        (format!("{both} --shared 1 --beta -1"), "--beta"),
        (format!("{both} --shared 1 --temperature nan"), "--temperature"),
        (format!("{both} --shared 1 --model best"), "--model"),
        ("--data sprites --factors layers --shared 1".to_owned(), "--factors"),
        (format!("{both} --shared 1 --resume"), "--resume"),
    ] {
        let out = folder.path().join("deep/run");
        let output = run(&words, &out);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}: {errors}");
        assert!(errors.lines().count() == 1 && output.stdout.is_empty(), "{words}: {errors}");
        assert!(errors.contains(wanted), "{words}: {errors}");
        assert!(!folder.path().join("deep").exists(), "{words}");
    }
}
