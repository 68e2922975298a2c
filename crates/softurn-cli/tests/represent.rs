//! Real runs of `softurn represent`, kept small: the same bits from the same seed and after a kill, figures that are those of the
//! files beside them, reports that show what they say, and bad input that leaves nothing behind.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;

use common::{read, run, succeed};
use runs::{cells, check_page, kill_and_resume, number, refuses, summary, without_times};
use serde_json::Value;

/// Records of a table, without the header.
fn records(out: &Path, name: &str) -> Vec<Vec<String>> {
    let mut csv = csv::Reader::from_path(out.join(name)).expect("a table");
    csv.records().map(|record| record.expect("a row").iter().map(str::to_owned).collect()).collect()
}

fn models(summary: &Value) -> &[Value] {
    summary["models"].as_array().expect("models")
}

fn ari(model: &Value) -> f64 {
    number(&model["scores"], "ari")
}

/// The bytes of a model's tensors, behind the header, in which the order of metadata is that of a hash.
fn tensors(out: &Path) -> Vec<u8> {
    let bytes = fs::read(out.join("model.safetensors")).expect("a model");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("a length"));
    bytes[8 + header as usize..].to_vec()
}

/// Without what two runs of one configuration do not share, of the models either.
fn timeless(summary: Value) -> Value {
    let mut summary = without_times(summary);
    for model in summary["models"].as_array_mut().expect("models") {
        let model = model.as_object_mut().expect("a model");
        assert!(model.remove("seconds").is_some() && model.remove("epoch_seconds").is_some());
    }
    summary
}

#[test]
fn lines_are_found_by_the_lowest_objective_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("folder");
    let [whole, killed, other] = ["whole", "killed", "other"].map(|name| folder.path().join(name));
    let words = "represent --data parallel-line --k 2 --starts 2 --epochs 120 --denoise 0.1";
    let output = succeed(&format!("{words} --json --quiet"), &whole);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = summary(&output);
    assert_eq!((&found["rows"], &found["cols"], &found["framework"]), (&150.into(), &5.into(), &"autoencoder".into()));
    assert_eq!(found["cluster_sizes"], serde_json::json!([75, 75]));
    let [ours, kmeans, single, wide] = models(&found) else { panic!("{found}") };
    assert_eq!(ari(ours), 1.0, "{found}");
    assert!(ari(kmeans) < 0.5 && ari(single) < 0.5, "{found}");
    // Encoder, decoder and centres; one autoencoder of two numbers has as many weights as two of one.
    assert_eq!([ours, single, wide].map(|model| number(model, "parameters")), [30.0, 15.0, 25.0]);
    assert!((number(&found, "noisy_error") - 0.01).abs() < 0.002, "{found}");
    assert!([ours, single, wide].iter().all(|model| number(model, "denoising_error") > 0.0));
    assert!(kmeans["denoising_error"].is_null() && number(ours, "epoch_seconds") > 0.0);

    // Of all starts the one is kept with the lowest objective: the mean of the losses in the file.
    let starts = found["starts"].as_array().expect("starts");
    let objectives: Vec<f64> = starts.iter().map(|start| number(start, "objective")).collect();
    let lowest = objectives.iter().copied().fold(f64::INFINITY, f64::min);
    let rows = records(&whole, "assignments.csv");
    let loss: f64 = rows.iter().map(|row| row[2].parse::<f64>().expect("a loss")).sum::<f64>() / 150.0;
    assert!((starts.len(), rows.len()) == (2, 150) && (loss / lowest - 1.0).abs() < 1e-5, "{loss}: {objectives:?}");
    // Clusters are the lines, and a row has one number.
    assert!(rows.iter().all(|row| (row[1] == rows[0][1]) == (row[3] == rows[0][3])));
    let codes = records(&whole, "embeddings.csv");
    assert!(codes.iter().zip(&rows).all(|(code, row)| code[..2] == row[..2] && code.len() == 3));
    assert!(codes.iter().all(|code| code[2].parse::<f32>().expect("a number").is_finite()));

    let page = read(&whole, "report.html");
    check_page(&page, &["scores", "starts", "plane", "embeddings", "parts", "training", "run"]);
    assert!(!page.contains("id=\"denoised\"") && !page.contains("data:image"), "rows are no images");
    assert_eq!(page.matches("class=\"segment over\"").count(), 2);
    let shown: Vec<f64> = cells(&page, "starts").iter().map(|cells| cells[0].parse().expect("an objective")).collect();
    assert!(shown.is_sorted() && (shown[0] / lowest - 1.0).abs() < 1e-5, "{shown:?}");
    // A line goes up as far as it goes to the right.
    let of_clusters = cells(&page, "parts");
    let direction: Vec<f64> =
        of_clusters[1][..2].iter().map(|cell| cell.replace('−', "-").parse().expect("a number")).collect();
    assert!((direction[0] - direction[1]).abs() < 0.03 && direction[0].abs() > 0.7, "{direction:?}");

    let refusal = ("--k 3", "error: --k: 3 differs from 2");
    let again = kill_and_resume(words, "represent", &killed, refusal);
    for name in ["metrics.jsonl", "assignments.csv", "embeddings.csv"] {
        assert_eq!(read(&whole, name), read(&killed, name), "{name}");
    }
    assert!(tensors(&whole) == tensors(&killed));
    assert_eq!(timeless(again), timeless(found));
    succeed("represent --data parallel-line --k 2 --epochs 1 --seed 1 --quiet", &other);
    assert_ne!(read(&whole, "metrics.jsonl").lines().next(), read(&other, "metrics.jsonl").lines().next());
}

#[test]
fn digits_lose_their_noise_and_show_what_clusters_are_made_of() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("digits");
    let words = "represent --data digits --classes 0,1,4 --per-class 20 --k 3 --hidden 8 --shared 1 --latent 2 \
                 --learning-rate 0.02 --epochs 60 --denoise 0.3 --reassignment pre-step --json --quiet";
    let found = summary(&succeed(words, &out));
    assert_eq!(found["rows"], 60);
    let labels: Vec<String> = records(&out, "assignments.csv").into_iter().map(|row| row[3].clone()).collect();
    for class in ["0", "1", "4"] {
        assert_eq!(labels.iter().filter(|label| *label == class).count(), 20, "{class}");
    }
    let [ours, _, single, wide] = models(&found) else { panic!("{found}") };
    // Of the 64 columns to 8 and back one each, of the 8 to 2 and back one for each cluster, and centres.
    let expected = [1024 + 3 * 32 + 3 * 64, 1024 + 32 + 64, 1024 + 3 * 32 + 64];
    assert_eq!([ours, single, wide].map(|model| number(model, "parameters")), expected.map(f64::from));
    let (noisy, error) = (number(&found, "noisy_error"), number(ours, "denoising_error"));
    assert!((noisy / 0.09 - 1.0).abs() < 0.1 && error < 0.5 * noisy, "{noisy}: {error}");

    let page = read(&out, "report.html");
    check_page(&page, &["scores", "plane", "embeddings", "denoised", "parts", "training", "run"]);
    assert!(!page.contains("id=\"starts\""));
    // Twelve rows, each as it is, with noise, and as three models restore it; eight filters that all share; of each cluster its mean and
    // two directions.
    assert_eq!(page.matches("data:image/png;base64,").count(), 12 * 5 + 8 + 3 * 3);
    // Means of the errors of single rows would be other numbers: the picture's are those of the summary.
    let shown: Vec<f64> = cells(&page, "scores")[0][3..4].iter().map(|cell| cell.parse().expect("an error")).collect();
    assert!((shown[0] / error - 1.0).abs() < 1e-3, "{shown:?}");
}

#[test]
fn every_framework_runs_and_one_representation_is_the_plain_one() {
    let folder = tempfile::tempdir().expect("folder");
    let table = folder.path().join("bits.csv");
    let bits: String = (0..40).map(|row| format!("{0},{0},{1},{1}\n", row % 2, row / 2 % 2)).collect();
    fs::write(&table, format!("a,b,c,d\n{bits}")).expect("written");
    let bits = table.display();
    for (name, words, models, latent) in [
        ("vae", "--data penguins --k 2 --framework vae --hidden 8 --denoise 0.2".into(), 4, 2),
        ("own", "--data penguins --k 2 --framework vae --hidden 0".into(), 3, 2),
        ("alone", "--data penguins --k 1 --framework contrastive --latent 3".into(), 1, 3),
        (
            "view",
            "--data penguins --k 3 --framework contrastive --latent 3 --positives view --dropout 0.1".into(),
            3,
            3,
        ),
        (
            "class",
            "--data penguins --scale maximum --k 3 --framework contrastive --latent 3 --positives class".into(),
            3,
            3,
        ),
        ("rbm", format!("--data {bits} --k 2 --framework rbm --latent 4 --warm-up 1 --temperatures 1,0.5"), 3, 4),
        (
            "pairs",
            "--data bit-pairs --rows 60 --k 2 --framework rbm --latent 4 --label-start 0.5 --deviation 0.1".into(),
            3,
            4,
        ),
        ("images", "--data digits --rows 30 --k 2 --framework rbm --latent 4 --rule reconstruction".into(), 3, 4),
        ("plain", "--data penguins --k 1 --latent 2 --tied".into(), 1, 2),
    ] {
        let out = folder.path().join(name);
        let found = summary(&succeed(&format!("represent {words} --epochs 2 --json --quiet"), &out));
        assert_eq!(self::models(&found).len(), models, "{name}: {found}");
        assert_eq!(self::models(&found)[0]["denoising_error"].is_f64(), name == "vae");
        assert!(self::models(&found)[0]["scores"]["ari"].is_f64() == (name != "rbm"), "{name}: {found}");
        let sizes = found["cluster_sizes"].as_array().expect("sizes").iter().filter_map(Value::as_u64).sum::<u64>();
        assert_eq!(found["rows"].as_u64(), Some(sizes), "{name}");
        assert!(records(&out, "embeddings.csv").iter().all(|code| code.len() == 2 + latent), "{name}");
        let page = read(&out, "report.html");
        check_page(&page, &["scores", "plane", "embeddings", "training", "run"]);
        assert_eq!(page.contains("has learned from the labels"), ["class", "pairs"].contains(&name));
        // The saved model says the same of the same rows.
        let given = |flag| words.split(' ').skip_while(|&word| word != flag).take(2).collect::<Vec<_>>().join(" ");
        let of_model = format!("predict --model {} {} {}", out.display(), given("--data"), given("--rows"));
        let again = folder.path().join(format!("{name}.csv"));
        succeed(of_model.trim_end(), &again);
        assert_eq!(fs::read_to_string(&again).expect("representations"), read(&out, "embeddings.csv"), "{name}");
        // Four filters of each of two machines.
        assert_eq!(page.matches("data:image").count(), if name == "images" { 8 } else { 0 }, "{name}");
    }
    // Rows are rescaled as those of the fit were, also where they are few.
    let vae = folder.path().join("vae");
    let few = folder.path().join("few.csv");
    succeed(&format!("predict --model {} --data penguins --rows 3", vae.display()), &few);
    let few = fs::read_to_string(few).expect("representations");
    assert_eq!(few.lines().count(), 4);
    for (few, all) in few.lines().zip(read(&vae, "embeddings.csv").lines()) {
        let [few, all]: [Vec<f64>; 2] =
            [few, all].map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(0.0)).collect());
        assert!(few.iter().zip(&all).all(|(few, all)| (few - all).abs() < 1e-4), "{few:?}: {all:?}");
    }
    let refused = |data: &str, wanted: &str| {
        let output = run(&format!("predict --model {} --data {data}", vae.display()), &folder.path().join("no.csv"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && errors.contains(wanted), "{errors}");
    };
    refused("iris.csv", "--data: cannot open");
    refused("parallel-line", "--data: has 5 columns, the model was fitted on 4");
    fs::write(vae.join("scaling.csv"), "less,over\n1,x\n").expect("written");
    refused("penguins", "--model: ");
    fs::remove_file(vae.join("scaling.csv")).expect("removed");
    refused("penguins", "holds no scaling.csv");
}

#[test]
fn bad_input_names_its_argument_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let table = folder.path().join("table.csv");
    fs::write(&table, "a,b,kind\n0.5,2,x\n1.5,1,y\n0.5,3,x\n").expect("written");
    let unlabelled = folder.path().join("unlabelled.csv");
    fs::write(&unlabelled, "a,b\n0.5,2\n1.5,1\n").expect("written");
    let (table, unlabelled) = (format!("--data {} --label-column kind", table.display()), unlabelled.display());
    let lines = "--data parallel-line";
    let lines2 = "--data parallel-line --k 2";
    let contrastive = "--data penguins --k 2 --framework contrastive";
    for (words, wanted) in [
        ("--k 2".to_owned(), "--data: missing"),
        (lines.to_owned(), "--k: missing"),
        (format!("{lines} --k 0"), "--k: must be at least 1"),
        (format!("{lines} --k 151"), "--k: 151 clusters for 150 rows"),
        ("--data none.npz --k 2".to_owned(), "--data: cannot open"),
        (format!("{lines2} --labels {unlabelled}"), "--labels: --data parallel-line knows its labels"),
        (format!("{lines2} --rows 151"), "--rows"),
        (format!("{lines2} --rows 0"), "--rows: 0"),
        ("--data digits --k 2 --scale maximum".to_owned(), "--scale: digits holds images"),
        (format!("--data {unlabelled} --k 1 --classes x"), "--classes: there are no labels"),
        (format!("--data {unlabelled} --k 1 --per-class 1"), "--per-class: there are no labels"),
        (format!("{table} --k 1 --classes x,z"), "--classes: 'z' is none of x, y"),
        (format!("{table} --k 2 --classes y"), "--k: 2 clusters for 1 rows"),
        (format!("{table} --k 1 --per-class 0"), "--per-class: 0"),
        (format!("{lines2} --framework forest"), "--framework"),
        (format!("{lines2} --latent 0"), "--latent: 0"),
        (format!("{lines2} --hidden 4,0"), "--hidden: layer 1"),
        (format!("{lines2} --hidden 1000000000"), "--hidden: a layer needs"),
        (format!("{lines2} --latent 1000000000"), "--latent: a layer needs"),
        (format!("{contrastive} --hidden 9000000000000000000"), "--hidden: a layer needs"),
        (format!("{contrastive} --latent 1000000000"), "--latent: a layer needs"),
        ("--data digits --k 2 --framework vae --latent 1000000000".to_owned(), "--latent: a layer needs"),
        ("--data digits --k 2 --framework rbm --latent 1000000000".to_owned(), "--latent: a layer needs"),
        (format!("{lines2} --shared 2"), "--shared: 2 of 1"),
        (format!("{lines2} --penalty -1"), "--penalty: -1"),
        (format!("{lines2} --denoise 0"), "--denoise: 0"),
        (format!("{lines2} --beta 1"), "--beta: is a setting of --framework vae"),
        (format!("{lines2} --noise 1"), "--noise: is a setting of --framework vae"),
        (format!("{lines2} --rule free-energy"), "--rule: is a setting of --framework rbm"),
        (format!("{lines2} --positives view"), "--positives: is a setting of --framework contrastive"),
        (format!("{lines2} --temperatures 1,1"), "--temperatures: is a setting of a --warm-up"),
        (format!("{lines2} --warm-up 2 --temperatures 1"), "--temperatures: 1 numbers, not 2"),
        (format!("{lines2} --warm-up 2 --temperatures 1,0"), "--temperatures: 0"),
        ("--data bit-pairs --k 2 --rows 0".to_owned(), "--rows: 0"),
        (format!("--data bit-pairs --k 2 --labels {unlabelled}"), "--labels: --data bit-pairs knows its labels"),
        (format!("{lines2} --label-start 1.5"), "--label-start: 1.5 is not a share"),
        (format!("--data {unlabelled} --k 1 --label-start 0"), "--label-start: there are no labels"),
        (format!("{lines2} --label-start 0 --warm-up 2"), "--label-start: is a setting of a fit without --warm-up"),
        (format!("{contrastive} --warm-up 2"), "--warm-up: "),
        ("--data penguins --k 1 --framework contrastive --positives cluster".to_owned(), "--positives: "),
        (format!("{lines2} --denoise 1e39"), "--denoise: "),
        (format!("{contrastive} --positives view --noise 1e39"), "--noise: must be"),
        (format!("{contrastive} --positives view --dropout 0.999999999"), "--dropout: "),
        (format!("{lines2} --warm-up 2 --temperatures 1e39,1"), "--temperatures: "),
        (format!("{lines2} --hidden 4 --latent 1000000000"), "--latent: a layer needs"),
        ("--data penguins --k 2 --label-start 0".to_owned(), "--label-start: 3 classes for 2 clusters"),
        (format!("{lines2} --hold 151"), "--hold: 151 of 150 epochs"),
        (format!("{lines2} --starts 0"), "--starts: must be at least 1"),
        (format!("{lines2} --epochs 0"), "--epochs: must be at least 1"),
        (format!("{lines2} --learning-rate 0"), "--learning-rate: 0"),
        (format!("{lines2} --steps-per-assignment 0"), "--steps-per-assignment: must be at least 1"),
        (format!("{lines2} --reassignment never"), "--reassignment"),
        (format!("{lines2} --adapter nowhere"), "--adapter"),
        (format!("{lines2} --resume"), "--resume"),
        (format!("{lines2} --framework rbm --denoise 1"), "--denoise: is a setting of --framework autoencoder or vae"),
        (format!("{lines2} --framework rbm --hidden 4"), "--hidden: is a setting of"),
        (format!("{lines2} --framework rbm --gibbs-steps 0"), "--gibbs-steps: 0"),
        (format!("{lines2} --framework rbm --deviation 0"), "--deviation: 0"),
        (format!("{lines2} --framework vae --noise 0"), "--noise: 0"),
        (format!("{lines2} --framework vae --tied"), "--tied: is a setting of --framework autoencoder"),
        (format!("{contrastive} --noise 1"), "--noise: is a setting of"),
        (format!("{contrastive} --positives view --dropout 1"), "--dropout: 1 is not a share"),
        (format!("{contrastive} --positives view --noise -1"), "--noise: must be a number from 0 on"),
        (format!("--data {unlabelled} --k 1 --framework contrastive --positives class"), "--positives"),
    ] {
        refuses(&format!("represent {words}"), folder.path(), wanted);
    }
}
