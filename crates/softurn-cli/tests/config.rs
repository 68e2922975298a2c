//! Arguments and configuration: which layer wins, what is refused, what a resumed run insists on.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use softurn_cli::args::{self, Cli, ClusterArgs, Command, Parsed, SparsifyArgs, SparsifyCommand};
use softurn_cli::config::{Config, Prior, Source};
use softurn_cli::failure::Result;
use softurn_cli::represent;
use softurn_cli::rundir::{CHECKPOINT, CONFIG, RunDir};
use softurn_cli::settings::Configuration;
use softurn_cli::sparsify;

fn cluster(words: &str) -> Result<ClusterArgs> {
    match args::parse(format!("softurn cluster {words}").split_whitespace())? {
        Parsed::Run(Cli { command: Command::Cluster(args) }) => Ok(*args),
        other => panic!("{other:?}"),
    }
}

fn configure(args: &ClusterArgs) -> Result<Config> {
    Config::of_run(&args.settings, &args.run)
}

fn error(words: &str) -> String {
    let failure = cluster(words).and_then(|args| configure(&args)).expect_err(words);
    assert_eq!(failure.exit_code(), 2, "{failure}");
    let text = failure.to_string();
    assert!(!text.contains('\n') && text.starts_with("error: "), "{text}");
    text
}

fn write(folder: &Path, text: &str) -> String {
    let path = folder.join("settings.toml");
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let folder = tempfile::tempdir().expect("folder");
    let file = write(folder.path(), "k = 4\nepochs = 7\nhidden = [32]\nlearning_rate = 1\nprior = \"categorical\"\n");
    let words = format!("--data digits --k 5 --hidden 64,16 --config {file} --out {}/run", folder.path().display());
    let config = configure(&cluster(&words).expect("arguments")).expect("configuration");
    assert_eq!((config.k, config.epochs, config.latent), (5, Some(7), 16));
    assert_eq!((config.hidden.as_slice(), config.learning_rate), (&[64, 16][..], 1.0));
    assert_eq!((config.prior, config.method.as_str()), (Prior::Categorical, "variational"));
    assert!(!folder.path().join("run").exists(), "resolving writes nothing");
}

#[test]
fn the_help_states_the_real_defaults() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("run").display().to_string();
    let parsed = |words: &str| match args::parse(format!("softurn {words} --out {out}").split_whitespace()) {
        Ok(Parsed::Run(Cli { command })) => command,
        other => panic!("{words}: {other:?}"),
    };
    let codes = |words: &str| match parsed(&format!("sparsify codes --data digits --size 5 {words}")) {
        Command::Sparsify(SparsifyArgs { command: SparsifyCommand::Codes(args) }) => {
            sparsify::codes::config::Config::of_run(&args.settings, &args.run).expect("configuration").rows_of_table()
        }
        other => panic!("{other:?}"),
    };
    let labels = |words: &str| match parsed(&format!("sparsify labels --data a.npz {words}")) {
        Command::Sparsify(SparsifyArgs { command: SparsifyCommand::Labels(args) }) => {
            sparsify::labels::config::Config::of_run(&args.settings, &args.run).expect("configuration").rows_of_table()
        }
        other => panic!("{other:?}"),
    };
    let cluster = configure(&cluster(&format!("--data digits --k 5 --out {out}")).expect("arguments"));
    let cases = [
        (vec!["cluster"], cluster.expect("configuration").rows_of_table(), vec!["data", "k"]),
        (vec!["sparsify", "codes"], codes("--bound 2"), vec!["data", "size", "bound"]),
        (vec!["sparsify", "codes"], codes("--code l1"), vec!["data", "size", "code"]),
        (vec!["sparsify", "labels"], labels(""), vec!["data"]),
        (vec!["sparsify", "labels"], labels("--loss relaxed"), vec!["data", "loss"]),
    ];
    for (path, config, given) in cases {
        let mut program = Cli::command();
        let command = path.iter().fold(&mut program, |command, name| command.find_subcommand_mut(name).expect("there"));
        let help = command.render_long_help().to_string();
        for (key, value) in config {
            if !given.contains(&key.as_str()) {
                let text = format!("[default: {}]", value.replace(['"', '[', ']', ' '], ""));
                assert!(help.contains(&text), "{path:?}, {key}: {text} is not in\n{help}");
            }
        }
        assert!(help.contains("Examples:") && help.contains("--resume"));
    }
}

/// Some defaults of `represent` depend on the framework: `[default: autoencoder 1, vae 2, others 64]`.
#[test]
fn the_help_states_the_defaults_of_each_framework() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("run").display().to_string();
    let mut program = Cli::command();
    let help = program.find_subcommand_mut("represent").expect("there").render_long_help().to_string();
    for (framework, words) in
        [("autoencoder", ""), ("vae", ""), ("contrastive", "--positives view"), ("rbm", ""), ("rbm", "--warm-up 3")]
    {
        let words = format!("softurn represent --data digits --k 5 --framework {framework} {words} --out {out}");
        let config = match args::parse(words.split_whitespace()) {
            Ok(Parsed::Run(Cli { command: Command::Represent(args) })) => {
                represent::config::Config::of_run(&args.settings, &args.run).expect("configuration").rows_of_table()
            }
            other => panic!("{words}: {other:?}"),
        };
        for (key, value) in config {
            if words.contains(&format!("--{} ", key.replace('_', "-"))) {
                continue;
            }
            let flag = format!("--{} ", key.replace('_', "-"));
            let of_flag = help.split(&format!("      {flag}")).nth(1).expect(&flag);
            let defaults = of_flag.split("[default: ").nth(1).and_then(|rest| rest.split(']').next()).expect(&flag);
            let value = value.replace(['"', '[', ']', ' '], "");
            let stated = |of: &str| defaults.starts_with(of) || defaults.contains(&format!(" {of}"));
            let of_framework = format!("{framework} {value}");
            let other = !defaults.contains(framework) && stated(&format!("others {value}"));
            let general = !defaults.contains("others") && !defaults.contains("autoencoder") && stated(&value);
            assert!(stated(&of_framework) || other || general, "{words}: {key} is {value}, not {defaults}");
        }
    }
}

#[test]
fn bad_settings_are_one_line_that_names_the_key() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("run").display().to_string();
    let base = format!("--data digits --k 5 --out {out}");
    for (text, wanted) in [
        ("epoch = 3\n", "unknown key `epoch`"),
        ("k = \"ten\"\n", "key `k`"),
        ("hidden = 3\n", "key `hidden`"),
        ("rows = -3\n", "key `rows`"),
        ("prior = \"flat\"\n", "key `prior`"),
        ("batch = 3\nk = = 3\n", "line 2"),
        ("method = \"magic\"\n", "--method"),
        ("temperature = nan\n", "--temperature"),
    ] {
        let file = write(folder.path(), text);
        let message = error(&format!("{base} --config {file}"));
        assert!(message.contains(wanted), "{text}: {message}");
    }
    for (words, wanted) in [
        ("--k 5 --out OUT", "--data"),
        ("--data digits --out OUT", "--k"),
        ("--data digits --k 5", "--out"),
        ("--data digits --k 0 --out OUT", "--k: 0"),
        ("--data digits --k x --out OUT", "--k"),
        ("--data digits --k 5 --prior flat --out OUT", "--prior"),
        ("--data digits --k 5 --hidden 3,0 --out OUT", "--hidden"),
        ("--data digits --k 5 --learning-rate -1 --out OUT", "--learning-rate"),
        ("--data digits --k 5 --learning-rate=-1 --out OUT", "--learning-rate"),
        ("--data digits --k 5 --seed 18446744073709551615 --out OUT", "--seed"),
        ("--data a.csv --k 5 --labels b --label-column c --out OUT", "--label"),
        ("--data digits --k 5 --out OUT --config nowhere.toml", "--config: nowhere.toml"),
        ("--data digits --k 5 --out OUT --frobnicate", "--frobnicate"),
        ("--data digits --k 5 --method entropy --loss hinge --out OUT", "--loss"),
        ("--data digits --k 5 --method entropy --hidden 0,3 --out OUT", "--hidden"),
        ("--data digits --k 5 --method entropy --batch 0 --out OUT", "--batch"),
        ("--data digits --k 5 --method entropy --starts two --out OUT", "--starts"),
        ("--data digits --k 5 --hidden 0 --out OUT", "--hidden"),
        ("--data digits --k 5 --channels 8,0 --out OUT", "--channels"),
        ("--data digits --k 5 --method kmeans --channels 8 --out OUT", "--channels: is a setting of --method"),
        ("--data digits --k 5 --method entropy --hidden 0 --channels 8 --out OUT", "--channels: convolutions"),
        ("--data digits --k 5 --method kmeans --starts 0 --out OUT", "--starts"),
        ("--data digits --k 5 --kind pixels --out OUT", "--kind"),
        ("--data digits --k 5 --sizes uniform --out OUT", "--sizes: is a setting of --method entropy"),
        ("--data digits --k 5 --method kmeans --gamma 1 --out OUT", "--gamma: is a setting of --method entropy"),
    ] {
        let message = error(&words.replace("OUT", &out));
        assert!(message.contains(wanted), "{words}: {message}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "only settings.toml");
}

#[test]
fn a_stored_configuration_comes_back_whole_and_must_stay_the_same() {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("run");
    let words =
        format!("--data a.csv --label-column kind --k 5 --temperature 0.1 --epochs 100 --out {}", out.display());
    let config = configure(&cluster(&words).expect("arguments")).expect("configuration");
    assert_eq!(config.check_data(5, Some(5)).map_err(|e| e.to_string()), Ok(()));
    assert_eq!(config.check_data(4, None).expect_err("k").to_string(), "error: --k: 5 clusters for 4 rows");
    assert!(config.check_data(9, Some(8)).expect_err("labels").to_string().contains("--labels"));

    RunDir::create(&out, &config).expect("created");
    assert_eq!(Config::read(&out.join(CONFIG)).expect("read"), config);
    assert!(error(&format!("--resume --out {}", out.display())).contains(CHECKPOINT));
    fs::write(out.join(CHECKPOINT), b"").expect("written");

    let resumed = configure(&cluster(&format!("--resume --out {}", out.display())).expect("arguments"));
    assert_eq!(resumed.expect("same configuration").hash(), config.hash());
    let other = error(&format!("--resume --seed 3 --epochs 3 --out {}", out.display()));
    assert!(other.starts_with("error: --epochs: 3 differs from 100"), "{other}");
    assert!(error(&words).contains("--out"), "an existing directory is never reused");

    let changed = Config { seed: 1, ..config.clone() };
    assert_ne!(changed.hash(), config.hash());
    assert_eq!(config.hash().len(), 64);
}

#[test]
fn a_linear_model_has_defaults_of_its_own() {
    let folder = tempfile::tempdir().expect("folder");
    let words = format!("--data digits --k 5 --method entropy --out {}/run", folder.path().display());
    let config = |more: &str| configure(&cluster(&format!("{words} {more}")).expect("arguments")).expect("good");
    let [deep, linear, set] = ["", "--hidden 0", "--hidden 0 --batch 9"].map(config);
    assert_eq!((deep.is_linear(), deep.batch, deep.learning_rate), (false, 256, 5e-4));
    assert_eq!((linear.is_linear(), linear.batch, linear.learning_rate), (true, 2048, 5e-2));
    assert_eq!((set.is_linear(), set.batch), (true, 9));
}

#[test]
fn sources() {
    let source = |path: &str, array: Option<&str>| Source { path: path.into(), array: array.map(Into::into) };
    assert_eq!(Source::parse("a.npz:x"), source("a.npz", Some("x")));
    assert_eq!(Source::parse("a.npz"), source("a.npz", None));
    assert_eq!(Source::parse("C:\\a.npz"), source("C:\\a.npz", None));
    assert_eq!(Source::parse("C:\\a.npz:x"), source("C:\\a.npz", Some("x")));
    assert_eq!(Source::parse("odd:name/a.npy"), source("odd:name/a.npy", None));
}
