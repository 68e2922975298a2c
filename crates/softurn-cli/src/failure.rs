//! Failures as the shell sees them: one line on standard error and an exit code.

use std::fmt;

/// Result of everything that the program does.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why the program ends without a result.
#[derive(Debug)]
pub enum Failure {
    /// The input is wrong: exit code 2. The text begins with the argument at fault.
    BadInput(String),
    /// The input was fine and the run failed: exit code 1.
    Failed(anyhow::Error),
    /// Stopped by Ctrl-C or a termination signal: exit code 130.
    Interrupted(String),
}

impl Failure {
    /// Bad input in `argument`, which is a flag (`--k`) or a place in a file.
    pub fn bad_input(argument: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Failure::BadInput(format!("{argument}: {reason}"))
    }

    /// The process exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::BadInput(_) => 2,
            Failure::Interrupted(_) => 130,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Failed(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::BadInput(text) => write!(f, "error: {}", one_line(text)),
            Failure::Failed(error) => write!(f, "error: {}", one_line(&format!("{error:#}"))),
            Failure::Interrupted(text) => write!(f, "interrupted: {}", one_line(text)),
        }
    }
}

/// Lines and runs of blanks become single blanks: whoever reads our errors reads one line per error.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_one_line_with_its_code() {
        let cases = [
            (Failure::bad_input("--k", "2000 clusters\nfor 1797 rows"), 2, "error: --k: 2000 clusters for 1797 rows"),
            (anyhow::anyhow!("inner\n  detail").context("writing").into(), 1, "error: writing: inner detail"),
            (Failure::Interrupted("at epoch 3".into()), 130, "interrupted: at epoch 3"),
        ];
        for (failure, code, text) in cases {
            assert_eq!((failure.exit_code(), failure.to_string().as_str()), (code, text));
        }
    }
}
