//! Deep clustering beside ClustPy's, and beside UMAP with a Gaussian mixture: scores over seeds, CPU seconds per epoch.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::figures;
use crate::shell::{Repository, describe};
use crate::study::{mean_and_deviation, with_data};
use crate::table::{self, lines, number, short};

const SEEDS: u64 = 5;

/// The name of a data set, what both programs are told of it, and how many epochs of pretraining and of clustering the peers
/// get: as many as ours has, and for DEC and IDEC, of which ours stops when no row moves any more, as it has at most.
struct Set {
    name: &'static str,
    arguments: &'static [&'static str],
    vade: [&'static str; 2],
    dec: [&'static str; 2],
}

const MNIST: [&str; 6] = [
    "--data",
    "$SOFTURN_DATA/mnist/train-images-idx3-ubyte.gz",
    "--labels",
    "$SOFTURN_DATA/mnist/train-labels-idx1-ubyte.gz",
    "--rows",
    "10000",
];
const SETS: [Set; 2] = [
    Set { name: "digits", arguments: &["--data", "digits"], vade: ["220", "40"], dec: ["500", "200"] },
    Set { name: "mnist-10k", arguments: &MNIST, vade: ["40", "8"], dec: ["90", "36"] },
];
/// Rows of the table: what is shown, the method's name in the figures, and whom ours is set against.
const ROWS: [(&str, &str, Option<&str>); 8] = [
    ("softurn variational", "softurn-variational", Some("vade")),
    ("ClustPy VaDE", "vade", None),
    ("softurn dec", "softurn-dec", Some("dec")),
    ("ClustPy DEC", "dec", None),
    ("softurn idec", "softurn-idec", Some("idec")),
    ("ClustPy IDEC", "idec", None),
    ("UMAP + GMM", "umap-gmm", None),
    ("scikit-learn k-means", "kmeans", None),
];

/// Runs what was not run before, prints the table.
///
/// # Errors
/// When a program fails or prints something else than figures.
pub fn run(repo: &Repository, python: &str) -> Result<()> {
    let program = repo.build_program()?;
    let folder = repo.target.join("peers");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = folder.join("clustering.jsonl");
    let data = std::env::var("SOFTURN_DATA").ok();
    let mut rows = vec![TITLES.map(str::to_owned).to_vec()];
    for set in &SETS {
        let owned = [set.arguments, &["--k", "10"]].concat().into_iter().map(str::to_owned).collect();
        let arguments = match with_data(owned, data.as_deref()) {
            Ok(arguments) => arguments,
            Err(reason) => {
                println!("{} is left out: {reason:#}", set.name);
                continue;
            }
        };
        let mut all = Vec::new();
        for (methods, [pretrain, epochs]) in [("vade", set.vade), ("dec,idec", set.dec), ("umap-gmm,kmeans", ["0"; 2])]
        {
            let own = ["--methods", methods, "--pretrain-epochs", pretrain, "--epochs", epochs];
            let arguments = with(&arguments, &own);
            all.extend(kept(&file, &arguments, || {
                let mut command = repo.command(python);
                lines(&repo.output(command.arg("benches/peers/clustering.py").args(&arguments))?)
            })?);
        }
        for seed in 0..SEEDS {
            for method in ["variational", "dec", "idec"] {
                let arguments = with(&arguments, &["--method", method, "--seed", &seed.to_string()]);
                all.extend(kept(&file, &arguments, || {
                    let figures = fit(repo, &program, &arguments, &folder.join("run"))?;
                    Ok(vec![figures])
                })?);
            }
        }
        rows.extend(ROWS.iter().map(|row| line(set.name, row, &all)));
    }
    println!("{}", table::markdown(&rows));
    println!("All figures are kept in {}; without it, everything is run again.", file.display());
    Ok(())
}

fn with(arguments: &[String], own: &[&str]) -> Vec<String> {
    arguments.iter().cloned().chain(own.iter().map(|&word| word.to_owned())).collect()
}

/// The figures that a file keeps of these arguments; else `run`, whose figures are put there.
fn kept(file: &Path, arguments: &[String], run: impl FnOnce() -> Result<Vec<Value>>) -> Result<Vec<Value>> {
    let old = lines(&std::fs::read_to_string(file).unwrap_or_default())?;
    if let Some(line) = old.iter().find(|line| line["arguments"] == json!(arguments)) {
        return line["figures"].as_array().cloned().context("a line without figures");
    }
    println!("{}", arguments.join(" "));
    let figures = run()?;
    let mut writer = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    writeln!(writer, "{}", json!({ "arguments": arguments, "figures": figures }))?;
    Ok(figures)
}

/// One run of ours. The CPU time of a phase ends with its last line in the run's `timing.jsonl`: pretraining's has the start
/// of the program and of the adapter in it, clustering's what comes before its first epoch; baselines, report and files are
/// in neither.
fn fit(repo: &Repository, program: &Path, arguments: &[String], out: &Path) -> Result<Value> {
    if out.exists() {
        std::fs::remove_dir_all(out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    let mut command = repo.command(program);
    command.arg("cluster").args(arguments).args(["--json", "--quiet", "--out"]).arg(out).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", describe(&command)))?;
    let stat = format!("/proc/{}/stat", child.id());
    let (mut epochs, mut ends) = ([0, 0], [0.0, 0.0]);
    while child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(5));
        let text = std::fs::read_to_string(out.join("timing.jsonl")).unwrap_or_default();
        let clustering = text.matches(r#""phase":"cluster""#).count();
        let now = [text.lines().count() - clustering, clustering];
        if now != epochs {
            epochs = now;
            ends[usize::from(clustering > 0)] = cpu_seconds(&std::fs::read_to_string(&stat)?)?;
        }
    }
    let output = child.wait_with_output()?;
    if !output.status.success() || epochs.contains(&0) {
        bail!("{} failed ({})", describe(&command), output.status);
    }
    let summary = figures::parse(&String::from_utf8_lossy(&output.stdout))?;
    let scores = figures::figures(figures::CLUSTERING, &summary);
    Ok(json!({
        "method": format!("softurn-{}", summary["method"].as_str().unwrap_or_default()),
        "accuracy": scores[0],
        "nmi": scores[1],
        "ari": scores[2],
        "pretrain_epochs": epochs[0],
        "epochs": epochs[1],
        "pretrain_cpu_s": ends[0],
        "cpu_s": ends[1] - ends[0],
    }))
}

/// User and system time of all threads, from Linux's `/proc/PID/stat`, in which a tick is 10 ms.
fn cpu_seconds(stat: &str) -> Result<f64> {
    // The second field is the program's name in parentheses.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("no process times")?;
    Ok((user + system) / 100.0)
}

const TITLES: [&str; 9] =
    ["data", "method", "accuracy", "NMI", "ARI", "epochs", "CPU s per epoch", "softurn / ClustPy", "CPU s"];

/// Means over the seeds; pairs are of pretraining and of clustering.
fn line(set: &str, row: &(&str, &str, Option<&str>), all: &[Value]) -> Vec<String> {
    let (title, method, rival) = *row;
    let of = |method: &str| all.iter().filter(|figures| figures["method"] == method).cloned().collect::<Vec<_>>();
    let (own, rival) = (of(method), rival.map(of));
    let mut cells = vec![set.to_owned(), title.to_owned()];
    cells.extend(["accuracy", "nmi", "ari"].map(|key| mean_and_deviation(key, &values(&own, key))));
    let pair = |show: &dyn Fn(&str) -> Option<String>| {
        show("pretrain_").zip(show("")).map_or_else(|| "-".to_owned(), |(a, b)| format!("{a} / {b}"))
    };
    cells.push(pair(&|phase| Some(format!("{:.0}", mean(&values(&own, &format!("{phase}epochs")))?))));
    cells.push(pair(&|phase| per_epoch(&own, phase).map(short)));
    cells.push(pair(&|phase| Some(short(per_epoch(&own, phase)? / per_epoch(rival.as_deref()?, phase)?))));
    let total = mean(&values(&own, "cpu_s")).map(|s| s + mean(&values(&own, "pretrain_cpu_s")).unwrap_or(0.0));
    cells.push(total.map_or_else(|| "-".to_owned(), short));
    cells
}

fn values(figures: &[Value], key: &str) -> Vec<f64> {
    figures.iter().filter_map(|figure| number(figure, key)).collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// CPU seconds of all runs by their epochs.
fn per_epoch(figures: &[Value], phase: &str) -> Option<f64> {
    Some(mean(&values(figures, &format!("{phase}cpu_s")))? / mean(&values(figures, &format!("{phase}epochs")))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_means_and_ours_are_set_against_their_rivals() {
        let figures = |method: &str, accuracy: f64, seconds: f64| {
            json!({"method": method, "accuracy": accuracy, "nmi": 0.5, "ari": 0.25, "pretrain_epochs": 10, "epochs": 4,
                "pretrain_cpu_s": seconds, "cpu_s": 1.0})
        };
        let plain = json!({"method": "kmeans", "accuracy": 0.5, "nmi": 0.5, "ari": 0.5, "cpu_s": 0.25});
        let ours = "softurn-dec";
        let all = [figures(ours, 1.0, 2.0), figures(ours, 0.5, 4.0), figures("dec", 0.5, 1.0), plain];
        let shown = line("digits", &("softurn dec", ours, Some("dec")), &all);
        assert_eq!(
            shown[2..],
            ["0.750 ± 0.354", "0.500 ± 0.000", "0.250 ± 0.000", "10 / 4", "0.30 / 0.25", "3.00 / 1.00", "4.00"]
        );
        let shown = line("digits", &("k-means", "kmeans", None), &all);
        assert_eq!(shown[5..], ["-", "-", "-", "0.25"]);
    }

    #[test]
    fn runs_are_kept_by_their_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept.jsonl");
        let run = |word: &str, value: u32| kept(&file, &[word.to_owned()], || Ok(vec![json!(value)])).unwrap();
        assert_eq!((run("a", 1), run("b", 2), run("a", 3)), (vec![json!(1)], vec![json!(2)], vec![json!(1)]));
    }

    #[test]
    fn process_times_are_read_behind_the_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 900 0 0 0 150 25 3 4 20 0 1 0";
        assert_eq!(cpu_seconds(stat).unwrap(), 1.75);
        assert!(cpu_seconds("7 (a) S 1").is_err());
    }
}
