//! The softurn command line: parse, run, print, exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use softurn_cli::args::{self, Command, SparsifyCommand};
use softurn_cli::failure::Result;
use softurn_cli::{devices, disentangle, interrupt, predict, represent, run, select, sparsify};

fn main() -> ExitCode {
    match execute() {
        Ok(output) => {
            // A closed pipe (`softurn ... | head`) is the reader's choice, not a failure of the run.
            let _ = writeln!(io::stdout(), "{}", output.trim_end());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn execute() -> Result<String> {
    let cli = match args::parse(std::env::args_os())? {
        args::Parsed::Run(cli) => cli,
        args::Parsed::Print(text) => return Ok(text),
    };
    match cli.command {
        Command::Cluster(args) => {
            let stop = interrupt::install(args.run.quiet)?;
            Ok(run::cluster(&args, stop)?.render(args.run.json))
        }
        Command::Disentangle(args) => {
            let stop = interrupt::install(args.run.quiet)?;
            Ok(disentangle::disentangle(&args, stop)?.render(args.run.json))
        }
        Command::Sparsify(args) => match args.command {
            SparsifyCommand::Codes(args) => {
                let stop = interrupt::install(args.run.quiet)?;
                Ok(sparsify::codes::codes(&args, stop)?.render(args.run.json))
            }
            SparsifyCommand::Labels(args) => {
                let stop = interrupt::install(args.run.quiet)?;
                Ok(sparsify::labels::labels(&args, stop)?.render(args.run.json))
            }
        },
        Command::Represent(args) => {
            let stop = interrupt::install(args.run.quiet)?;
            Ok(represent::represent(&args, stop)?.render(args.run.json))
        }
        Command::Predict(args) => predict::predict(&args),
        Command::Select(args) => select::select(&args),
        Command::Devices(args) => Ok(devices::render(&devices::list()?, args.json)),
    }
}
