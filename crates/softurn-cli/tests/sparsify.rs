//! Real runs of `softurn sparsify`, kept small: the same bits from the same seed and after a kill, figures that are those of the
//! files beside them, reports that show what they say, and bad input that leaves nothing behind.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use common::{read, succeed};
use runs::{cells, check_page, kill_and_resume, number, refuses, summary, without_times};

/// A line of `codes.csv`: whether the row was held out, how many features are active, and which.
fn code(line: &str) -> (bool, usize, Vec<String>) {
    let [_, held_out, count, active] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
    (held_out == "1", count.parse().expect("a count"), active.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn codes_are_those_of_the_seed_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("folder");
    let [whole, killed, other] = ["whole", "killed", "other"].map(|name| folder.path().join(name));
    let words =
        "sparsify codes --data digits --rows 200 --size 12 --bound 4 --hidden 16 --noise 0.3 --epochs 12 --batch 40";
    let output = succeed(&format!("{words} --json --quiet"), &whole);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = summary(&output);
    assert_eq!((&found["rows"], &found["held_out_rows"], &found["code"]), (&200.into(), &40.into(), &"sparse".into()));
    assert!(found["toy"].is_null() && number(&found, "pixel_probe_accuracy") > 0.5, "{found}");
    assert!((0.0..=1.0).contains(&number(&found, "probe_accuracy")));

    // The figures are those of the file.
    let table = read(&whole, "codes.csv");
    let (mut counts, mut rows) = ([0usize; 5], 0);
    for line in table.lines().skip(1) {
        let (held_out, count, active) = code(line);
        let distinct: BTreeSet<usize> = active.iter().map(|feature| feature.parse().expect("a feature")).collect();
        assert!((1..=4).contains(&count) && distinct.len() == count && distinct.last() < Some(&12), "{line}");
        counts[count] += usize::from(held_out);
        rows += 1;
    }
    assert_eq!((rows, counts.iter().sum()), (200, 40));
    assert_eq!(found["rows_by_active"], serde_json::to_value(counts).expect("numbers"));
    let mean = (0..5).map(|count| count * counts[count]).sum::<usize>() as f64 / 40.0;
    assert!((number(&found, "active") - mean).abs() < 1e-9);
    let errors = (0..5).map(|at| found["error_by_active"][at].as_f64().unwrap_or(0.0) * counts[at] as f64);
    assert!((errors.sum::<f64>() / 40.0 - number(&found, "error")).abs() < 1e-9, "{found}");

    let page = read(&whole, "report.html");
    check_page(&page, &["scores", "counts", "errors", "atoms", "examples", "training", "run"]);
    assert!(page.contains(&format!("<dd>{mean:.2}</dd>")) && !page.contains("id=\"toy\""));
    // With fewer features the error is larger, with all of them that of the summary.
    let kept: Vec<f64> = cells(&page, "errors").iter().map(|cells| cells[2].parse().expect("an error")).collect();
    assert!((kept[kept.len() - 1] / number(&found, "error") - 1.0).abs() < 1e-3 && kept[0] > kept[1], "{kept:?}");
    // Twelve atoms; of ten rows the row, what comes back and the features, which are no more than eight.
    let pictures = page.matches("data:image/png;base64,").count();
    assert!((12 + 10 * 3..=12 + 10 * 6).contains(&pictures), "{pictures}");

    let refusal = ("--size 13", "error: --size: 13 differs from 12");
    let again = kill_and_resume(words, "sparsify codes", &killed, refusal);
    for name in ["metrics.jsonl", "codes.csv"] {
        assert_eq!(read(&whole, name), read(&killed, name), "{name}");
    }
    assert_eq!(without_times(again), without_times(found));
    succeed(&format!("{words} --epochs 1 --seed 1 --quiet").replacen("--epochs 12", "", 1), &other);
    assert_ne!(read(&whole, "metrics.jsonl").lines().next(), read(&other, "metrics.jsonl").lines().next());
}

#[test]
fn the_toy_and_what_codes_are_compared_with() {
    let folder = tempfile::tempdir().expect("folder");
    let base = "sparsify codes --data toy --rows 300 --size 12 --hidden 0 --epochs 2 --json --quiet";
    for (name, words, active) in [
        ("relaxed", "--bound 3 --trainer relaxed --prior-ratio 0.5 --choice with-replacement --boost 3", None),
        ("topl", "--bound 3 --code topl --magnitudes", Some(3.0)),
        ("dense", "--code dense --decoder mlp", Some(12.0)),
        ("l1", "--code l1 --penalty 2", None),
    ] {
        let out = folder.path().join(name);
        let found = summary(&succeed(&format!("{base} {words}"), &out));
        assert_eq!((&found["rows"], &found["held_out_rows"]), (&1300.into(), &1000.into()), "{name}");
        assert!(found["probe_accuracy"].is_null());
        assert!(active.is_none_or(|active| number(&found, "active") == active), "{found}");
        let toy = &found["toy"];
        for key in ["counts", "true_counts"] {
            let rows = toy[key].as_array().expect(key).iter().map(|rows| rows.as_u64().expect("a number")).sum::<u64>();
            assert_eq!(rows, 1000, "{name}: {key}");
        }
        for key in ["count_accuracy", "atom_f1", "exact_set", "atom_cosine"] {
            assert!((-1.0..=1.0).contains(&number(toy, key)), "{name}: {key}");
        }
        let line = read(&out, "codes.csv").lines().nth(1).map(str::to_owned).expect("a row");
        assert_eq!(code(&line).2.iter().all(|feature| feature.contains(':')), name != "relaxed", "{line}");
        let page = read(&out, "report.html");
        check_page(&page, &["counts", "errors", "toy", "atoms", "examples"]);
        assert!(page.contains("Strongest columns") && page.contains("class=\"profile\""));
    }
}

/// An array as NumPy writes it.
fn npy(dtype: &str, shape: &str, payload: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), payload].concat()
}

fn npz(path: &Path, members: &[(&str, Vec<u8>)]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).expect("a file"));
    for (name, bytes) in members {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).expect("a member");
        zip.write_all(bytes).expect("written");
    }
    zip.finish().expect("an archive");
}

/// 240 rows of eight bits, of which the first five are the labels, every third row for tests; row 0 has no labels.
fn archive() -> Vec<(&'static str, Vec<u8>)> {
    let bits: Vec<u8> = (0..240u32).map(|row| (row.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let labels: Vec<u8> = bits.iter().map(|bits| bits & 0b1111_1000).collect();
    let tests: Vec<u8> = (0..240).map(|row| u8::from(row % 3 == 1)).collect();
    vec![
        ("x_packed", npy("|u1", "(240, 1)", &bits)),
        ("n_features", npy("<i4", "(1,)", &8i32.to_le_bytes())),
        ("y_packed", npy("|u1", "(240, 1)", &labels)),
        ("n_labels", npy("<i4", "(1,)", &5i32.to_le_bytes())),
        ("is_test", npy("|u1", "(240,)", &tests)),
    ]
}

#[test]
fn labels_are_those_of_the_seed_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("folder");
    let [whole, killed, sigmoids] = ["whole", "killed", "sigmoids"].map(|name| folder.path().join(name));
    npz(&folder.path().join("bits.npz"), &archive());
    let names = ["first", "second", "a \"third\", of five", "<b>", "fifth"];
    fs::write(folder.path().join("bits.label_names.txt"), names.join("\n")).expect("written");
    let data = folder.path().join("bits.npz").display().to_string();
    let words = format!("sparsify labels --data {data} --hidden 16 --batch 32 --learning-rate 0.02");
    let found = summary(&succeed(&format!("{words} --epochs 40 --json --quiet"), &whole));
    assert_eq!((&found["rows"], &found["test_rows"], &found["loss"]), (&240.into(), &80.into(), &"exact".into()));

    // The figures are those of the file.
    let mut csv = csv::Reader::from_path(whole.join("labels.csv")).expect("a table");
    let [mut right, mut all, mut same, mut difference, mut rows, mut there] = [0usize; 6];
    for record in csv.records() {
        let record = record.expect("a row");
        let sets = [1, 2].map(|at| record[at].split(';').filter(|name| !name.is_empty()).collect::<BTreeSet<_>>());
        assert!(sets.iter().flatten().all(|name| names.contains(name)), "{record:?}");
        right += sets[0].intersection(&sets[1]).count();
        all += sets[0].len() + sets[1].len();
        there += sets[1].len();
        same += usize::from(sets[0] == sets[1]);
        difference += sets[0].len().abs_diff(sets[1].len());
        rows += 1;
    }
    assert_eq!(rows, 80);
    for (key, wanted) in [
        ("micro_f1", 2.0 * right as f64 / all as f64),
        ("subset_accuracy", same as f64 / 80.0),
        ("count_mae", difference as f64 / 80.0),
    ] {
        assert!((number(&found, key) - wanted).abs() < 1e-9, "{key}: {wanted}: {found}");
    }
    // The labels stand among the features.
    assert!(number(&found, "micro_f1") > 0.9 && number(&found, "precision_at_1") > 0.9, "{found}");
    assert!((0.0..=1.0).contains(&number(&found["argmax"], "micro_f1")));
    let ranks = ["precision_at_1", "precision_at_3", "precision_at_5"].map(|key| number(&found, key));
    assert!(ranks[0] >= ranks[1] && ranks[1] >= ranks[2], "{ranks:?}");

    let page = read(&whole, "report.html");
    check_page(&page, &["scores", "ways", "counts", "precision", "calibration", "labels", "training", "run"]);
    assert!(page.contains(&format!("<dd>{:.3}</dd>", number(&found, "micro_f1"))));
    // Pairs of all probabilities, and how many of them are there.
    let bins = cells(&page, "calibration");
    let [pairs, frequency] = [0, 2].map(|at| move |bin: &Vec<String>| bin[at].parse::<f64>().unwrap_or(0.0));
    assert_eq!(bins.iter().map(pairs).sum::<f64>(), 400.0);
    let found_there = bins.iter().map(|bin| pairs(bin) * frequency(bin)).sum::<f64>();
    assert!((found_there - there as f64).abs() < 0.05, "{found_there} of {there}");
    assert!(page.contains("400 pairs of a row and a label") && page.contains("&lt;b&gt;") && !page.contains("<b>"));

    let words = format!("{words} --epochs 40");
    let refusal = ("--loss relaxed", "error: --loss: \"relaxed\" differs from \"exact\"");
    let again = kill_and_resume(&words, "sparsify labels", &killed, refusal);
    for name in ["metrics.jsonl", "labels.csv"] {
        assert_eq!(read(&whole, name), read(&killed, name), "{name}");
    }
    assert_eq!(without_times(again), without_times(found));

    let other = words.replace("--epochs 40", "--epochs 2 --loss sigmoids --count mean --validation 0 --json --quiet");
    assert!(summary(&succeed(&other, &sigmoids))["argmax"].is_null());
}

#[test]
fn bad_input_names_its_argument_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let table = file("table.csv");
    fs::write(&table, "a,b,kind\n0.5,2,x\n1.5,1,y\n0.5,3,x\n").expect("written");
    npz(Path::new(&file("good.npz")), &archive());
    let without = |name: &str| archive().into_iter().filter(|(member, _)| *member != name).collect::<Vec<_>>();
    for name in ["y_packed", "is_test", "x_packed"] {
        npz(Path::new(&file(&format!("no-{name}.npz"))), &without(name));
    }
    // Label 5 of five is in row 0.
    let mut beyond = without("y_packed");
    beyond.push(("y_packed", npy("|u1", "(240, 1)", &[0b1000_0100; 240])));
    npz(Path::new(&file("beyond.npz")), &beyond);
    let (good, digits, toy) = (file("good.npz"), "--data digits --rows 60", "--data toy");
    let sized = format!("{digits} --size 8 --bound 4");
    let tabled = format!("--data {table} --label-column kind --size 4 --bound 2");
    for (words, wanted) in [
        ("codes --size 8 --bound 4".to_owned(), "--data: missing"),
        (format!("codes {digits} --bound 4"), "--size: missing"),
        (format!("codes {digits} --size 8"), "--bound: missing"),
        (format!("codes {digits} --size 8 --bound 9"), "--bound: 9 active features of 8"),
        (format!("codes {digits} --size 8 --bound 0"), "--bound: must be at least 1"),
        (format!("codes {digits} --size 0 --bound 0"), "--size: must be at least 1"),
        (format!("codes {sized} --code best"), "--code"),
        (format!("codes {sized} --trainer exact"), "--trainer"),
        (format!("codes {digits} --size 8 --code topl"), "--bound: missing"),
        (format!("codes {sized} --code dense"), "--bound: is a setting of --code sparse or topl"),
        (format!("codes {digits} --size 8 --code dense --trainer relaxed"), "--trainer: is a setting of --code sparse"),
        (format!("codes {sized} --penalty 1"), "--penalty: is a setting of --code l1"),
        (format!("codes {digits} --size 8 --code l1 --magnitudes"), "--magnitudes: is a setting"),
        (format!("codes {sized} --decoder mlp --atom-scale 1"), "--atom-scale: is a setting of --decoder linear"),
        (format!("codes {sized} --likelihood bernoulli --noise 1"), "--noise: is a setting of --likelihood gaussian"),
        (format!("codes {tabled} --likelihood bernoulli --held-out 0.4"), "--likelihood: a Bernoulli likelihood needs"),
        (format!("codes {tabled} --held-out 0.1"), "--held-out: 0.1 of 3 rows is 0 rows"),
        (format!("codes {sized} --held-out 1"), "--held-out: 1 is not a share"),
        (format!("codes {sized} --prior-ratio 0"), "--prior-ratio: 0"),
        (format!("codes {sized} --noise 0"), "--noise: 0"),
        (format!("codes {sized} --ramp 2"), "--ramp: 2"),
        (format!("codes {sized} --hidden 4,0"), "--hidden: layer 1"),
        (format!("codes {sized} --kind table"), "--kind"),
        (format!("codes {sized} --labels {table}"), "--labels"),
        (format!("codes {toy} --size 8 --bound 4 --kind embedding"), "--kind: --data toy knows"),
        (format!("codes {toy} --size 8 --bound 4 --held-out 0.5"), "--held-out: --data toy knows"),
        (format!("codes {toy} --size 8 --bound 4 --rows 5000"), "--rows"),
        (format!("codes {sized} --resume"), "--resume"),
        ("labels".to_owned(), "--data: missing"),
        (format!("labels --data {}", file("none.npz")), "--data: cannot open"),
        (format!("labels --data {}", file("no-y_packed.npz")), "--data: "),
        (format!("labels --data {}", file("no-is_test.npz")), "is_test"),
        (format!("labels --data {}", file("no-x_packed.npz")), "x_packed"),
        (format!("labels --data {}", file("beyond.npz")), "row 0 holds 5, not below 5"),
        (format!("labels --data {good} --zero-class false"), "--data: row 0 has none, and there is no zero class"),
        (format!("labels --data {good} --bound 6"), "--bound: is 6, more than the 5 labels"),
        (format!("labels --data {good} --bound 0"), "--bound: must be at least 1"),
        (format!("labels --data {good} --loss hinge"), "--loss"),
        (format!("labels --data {good} --loss sigmoids --bound 2"), "--bound: is a setting of"),
        (format!("labels --data {good} --loss sigmoids --count argmax"), "--count: --loss sigmoids knows no"),
        (format!("labels --data {good} --temperature 1"), "--temperature: is a setting of --loss relaxed"),
        (format!("labels --data {good} --loss relaxed --temperature 0"), "--temperature"),
        (format!("labels --data {good} --validation 0"), "--validation: 0 leaves no rows"),
        (format!("labels --data {good} --validation 0.001"), "--validation: 0.001 of 160 rows"),
        (format!("labels --data {good} --dropout 1"), "--dropout: 1"),
        (format!("labels --data {good} --adapter nowhere"), "--adapter"),
    ] {
        refuses(&format!("sparsify {words}"), folder.path(), wanted);
    }
}
