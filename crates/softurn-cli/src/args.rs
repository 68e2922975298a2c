//! The command line: `softurn cluster` and `softurn devices`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::config::Settings;
use crate::failure::{Failure, Result, one_line};

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
