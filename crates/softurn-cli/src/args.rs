//! The command line: `softurn cluster`, `disentangle`, `sparsify`, `represent`, `predict`, `select` and `devices`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::config::{Covariance, Kind, Settings};
use crate::disentangle;
use crate::failure::{Failure, Result, one_line};
use crate::represent;
use crate::settings::count;
use crate::sparsify;

/// Learn discrete structure by gradient descent on any GPU.
#[derive(Debug, Parser)]
#[command(name = "softurn", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Cluster a data set and learn how large each group is
    Cluster(Box<ClusterArgs>),
    /// Learn how many factors two images share, and which latent dimensions hold them
    Disentangle(Box<DisentangleArgs>),
    /// Learn sparse codes of rows, or the labels of rows that have several
    Sparsify(SparsifyArgs),
    /// Learn clusters with a representation for each of them
    Represent(Box<RepresentArgs>),
    /// Assign new rows to the groups of a model that `cluster` saved
    Predict(PredictArgs),
    /// Compare numbers of groups without labels
    Select(SelectArgs),
    /// List the adapters that `--adapter` can name
    Devices(DevicesArgs),
}

const CLUSTER_EXAMPLES: &str = "\
Examples:
  The embedded handwritten digits, group sizes learned:
    softurn cluster --data digits --k 10 --prior hypergeometric --out runs/digits

  An array of an npz archive with its labels, the last two numbers from a file:
    softurn cluster --data cells.npz:x --labels cells.npz:y --k 8 --config small.toml --out runs/cells

  Carry on after Ctrl-C; everything else comes from the run directory:
    softurn cluster --resume --out runs/digits

A configuration file holds the same names with underscores; flags win over it:
    k = 8
    hidden = [256, 128]
    learning_rate = 0.002

Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.";

/// Cluster a data set and learn how large each group is.
///
/// Writes a run directory with the resolved configuration, metrics, a checkpoint, the assignments and one
/// self-contained HTML report. Labels serve the final score only, never the training.
#[derive(Debug, Args)]
#[command(after_help = CLUSTER_EXAMPLES, allow_negative_numbers = true)]
pub struct ClusterArgs {
    /// Everything that decides the result, from flags.
    #[command(flatten)]
    pub settings: Settings,

    /// Where the results go, and how.
    #[command(flatten)]
    pub run: RunArgs,
}

const DISENTANGLE_EXAMPLES: &str = "\
Examples:
  Sprites drawn on the device, at half their size; views share 3 of 5 factors, and the model is not told how many:
    softurn disentangle --data sprites --reduce 2 --shared 3 --steps 1500 --learning-rate 0.001 --out runs/sprites

  DeepMind's dSprites, with the factors in the same file:
    softurn disentangle --data dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz --shared 1 --out runs/dsprites

  MPI3D, whose images stand in the order of their factors:
    softurn disentangle --data mpi3d_toy.npz --factor-sizes 4,4,2,3,3,40,40 --shared 5 --out runs/mpi3d

  Carry on after Ctrl-C; everything else comes from the run directory:
    softurn disentangle --resume --out runs/sprites

A configuration file holds the same names with underscores; flags win over it.

Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.";

/// Learn how many factors two images share, and which latent dimensions hold them.
///
/// Pairs of images share so many of their factors, which ones differs from pair to pair; all but `--model label` are not
/// told. Writes a run directory with the resolved configuration, metrics, a checkpoint, the model, fresh pairs with what
/// the model takes them to share, and one self-contained HTML report. Factors serve to draw pairs and for the final scores.
#[derive(Debug, Args)]
#[command(after_help = DISENTANGLE_EXAMPLES, allow_negative_numbers = true)]
pub struct DisentangleArgs {
    /// Everything that decides the result, from flags.
    #[command(flatten)]
    pub settings: disentangle::config::Settings,
    /// Where the results go, and how.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Learn sparse codes of rows, or the labels of rows that have several: how many, and then which ones.
#[derive(Debug, Args)]
pub struct SparsifyArgs {
    /// Which of both.
    #[command(subcommand)]
    pub command: SparsifyCommand,
}

/// The subcommands of `softurn sparsify`.
#[derive(Debug, Subcommand)]
pub enum SparsifyCommand {
    /// Learn codes of which each row has its own number of active features, under a bound
    Codes(Box<CodesArgs>),
    /// Learn to predict sets of labels: how many a row has, and which ones
    Labels(Box<LabelsArgs>),
}

const CODES_EXAMPLES: &str = "\
Examples:
  Made rows with known codes, each the sum of 1 to 4 of 12 atoms:
    softurn sparsify codes --data toy --size 12 --bound 4 --out runs/toy

  The embedded handwritten digits, at most 16 of 64 features each:
    softurn sparsify codes --data digits --size 64 --bound 16 --noise 0.2 --out runs/digits

  The same with as many features in every row, to compare with:
    softurn sparsify codes --data digits --size 64 --bound 8 --code topl --noise 0.2 --out runs/topl

  Carry on after Ctrl-C; everything else comes from the run directory:
    softurn sparsify codes --resume --out runs/digits

A configuration file holds the same names with underscores; flags win over it.

Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.";

/// Learn codes of which each row has its own number of active features, under a bound.
///
/// Images keep their pixels from 0 to 1, tables are standardised by the rows of the fit, embeddings scaled as a whole. Writes a run
/// directory with the resolved configuration, metrics, a checkpoint, the model, the active features of each row and one
/// self-contained HTML report. Labels serve the linear probe only.
#[derive(Debug, Args)]
#[command(after_help = CODES_EXAMPLES, allow_negative_numbers = true)]
pub struct CodesArgs {
    /// Everything that decides the result, from flags.
    #[command(flatten)]
    pub settings: sparsify::codes::config::Settings,
    /// Where the results go, and how.
    #[command(flatten)]
    pub run: RunArgs,
}

const LABELS_EXAMPLES: &str = "\
Examples:
  An archive of features and labels with its published split:
    softurn sparsify labels --data bibtex.npz --out runs/bibtex

  Each label on its own, to compare with:
    softurn sparsify labels --data bibtex.npz --loss sigmoids --out runs/sigmoids

  Carry on after Ctrl-C; everything else comes from the run directory:
    softurn sparsify labels --resume --out runs/bibtex

The archive holds features x [rows, columns], or as bits x_packed with n_features; labels y_packed with n_labels; is_test [rows].
Names of labels are read from STEM.label_names.txt beside it.

A configuration file holds the same names with underscores; flags win over it.

Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.";

/// Learn to predict sets of labels: how many a row has, and which ones.
///
/// Writes a run directory with the resolved configuration, metrics, a checkpoint, the model, predicted and true labels of the rows
/// that the archive sets apart for tests, and one self-contained HTML report.
#[derive(Debug, Args)]
#[command(after_help = LABELS_EXAMPLES, allow_negative_numbers = true)]
pub struct LabelsArgs {
    /// Everything that decides the result, from flags.
    #[command(flatten)]
    pub settings: sparsify::labels::config::Settings,
    /// Where the results go, and how.
    #[command(flatten)]
    pub run: RunArgs,
}

const REPRESENT_EXAMPLES: &str = "\
Examples:
  Two parallel lines, which k-means cuts across: an autoencoder of one number for each, the best of ten starts:
    softurn represent --data parallel-line --k 2 --starts 10 --out runs/lines

  Five of the embedded handwritten digits, 100 of each, and how well noise is taken from them:
    softurn represent --data digits --classes 0,1,2,3,4 --per-class 100 --k 5 --hidden 16 --shared 1 --latent 2
        --learning-rate 0.01 --epochs 300 --denoise 0.3 --out runs/digits

  The same by Boltzmann machines, which see pixels as bits:
    softurn represent --data digits --classes 0,1,2,3,4 --per-class 100 --k 5 --framework rbm --warm-up 20 --out runs/rbm

  Carry on after Ctrl-C; everything else comes from the run directory:
    softurn represent --resume --out runs/lines

A configuration file holds the same names with underscores; flags win over it.

Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.";

/// Learn clusters with a representation for each of them, both together.
///
/// Rows choose the cluster whose representation suits them best, and each cluster learns from its rows, in turns. Writes a run directory
/// with the resolved configuration, metrics, a checkpoint, the model, the cluster and the representation of each row, and one
/// self-contained HTML report, in which one representation for all rows and k-means stand beside. Labels serve the final scores only,
/// unless --positives class says otherwise.
#[derive(Debug, Args)]
#[command(after_help = REPRESENT_EXAMPLES, allow_negative_numbers = true)]
pub struct RepresentArgs {
    /// Everything that decides the result, from flags.
    #[command(flatten)]
    pub settings: represent::config::Settings,
    /// Where the results go, and how.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Where the results of a run go, and how it is done.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Directory for the results; must not exist unless --resume is given
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: PathBuf,

    /// TOML file with any of the settings above; flags win over it
    #[arg(long, value_name = "FILE.toml", help_heading = "Run")]
    pub config: Option<PathBuf>,

    /// Carry on from the checkpoint in --out, with the configuration stored there
    #[arg(long, help_heading = "Run")]
    pub resume: bool,

    /// Print one JSON object with the final figures on standard output
    #[arg(long, help_heading = "Run")]
    pub json: bool,

    /// No progress on standard error
    #[arg(long, short, help_heading = "Run")]
    pub quiet: bool,
}

/// Rows of a data set, and the adapter for what is done with them.
#[derive(Debug, Clone, Args)]
pub struct RowsArgs {
    /// Data set: `digits`, or an idx, npy, npz or csv file (idx and csv also as .gz)
    #[arg(long, value_name = "digits|FILE[:ARRAY]")]
    pub data: String,
    /// Column of a csv file that holds labels: it is left out
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// Take the first N rows only
    #[arg(long, value_name = "N", value_parser = count)]
    pub rows: Option<usize>,
    /// Adapter by index or by part of its name [default: the fastest kind]
    #[arg(long, value_name = "NAME|INDEX")]
    pub adapter: Option<String>,
}

/// Assign new rows to the groups of a saved model.
///
/// Writes a csv file of row, group and the group's probability, or, of a run of `softurn represent`, row, cluster and what the cluster
/// makes of the row. Rows are scaled as those were that the model was fitted on.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Run directory of `softurn cluster` or `softurn represent`, or the model.safetensors of the former
    #[arg(long, value_name = "DIR|FILE")]
    pub model: PathBuf,
    /// What to read, and where to work.
    #[command(flatten)]
    pub rows: RowsArgs,
    /// File for the result; must not exist
    #[arg(long, value_name = "FILE.csv")]
    pub out: PathBuf,
}

/// Compare numbers of groups without labels.
///
/// Fits a Gaussian mixture for each number and shows the likelihood of held-out rows (5 folds) and the silhouette.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// What to read, and where to work.
    #[command(flatten)]
    pub rows: RowsArgs,
    /// What the columns are, unless they are pixels [default: table]
    #[arg(long, value_name = "NAME")]
    pub kind: Option<Kind>,
    /// Numbers of groups to compare
    #[arg(long, value_name = "LOW-HIGH", value_parser = range)]
    pub k: (usize, usize),
    /// What a component of the mixture may look like
    #[arg(long, value_name = "NAME", default_value = "diagonal")]
    pub covariance: Covariance,
    /// Seed of every random number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `2-12`
fn range(text: &str) -> std::result::Result<(usize, usize), String> {
    let (low, high) = text.split_once('-').ok_or("give two numbers such as 2-12")?;
    let (low, high) = (count(low)?, count(high)?);
    if low == 0 || low > high {
        return Err(format!("{low} to {high} is no range from 1 on"));
    }
    Ok((low, high))
}

/// Arguments of `softurn devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// Run a subcommand.
    Run(Cli),
    /// Print a help or version text and stop.
    Print(String),
}

/// Parses a command line whose first word is the program's name.
///
/// # Errors
/// [`Failure::BadInput`] with clap's message on one line.
pub fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Parsed> {
    match Cli::try_parse_from(words) {
        Ok(cli) => Ok(Parsed::Run(cli)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                let text = error.render();
                // Escape codes are for terminals, not for files and pagers.
                let colour = std::io::stdout().is_terminal();
                Ok(Parsed::Print(if colour { text.ansi().to_string() } else { text.to_string() }))
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Err(Failure::BadInput("no subcommand: try 'softurn --help'".into()))
            }
            _ => {
                // Usage and tips follow the first empty line.
                let text = error.to_string();
                let first = text.split("\n\n").next().unwrap_or(&text);
                Err(Failure::BadInput(one_line(first.strip_prefix("error: ").unwrap_or(first))))
            }
        },
    }
}
