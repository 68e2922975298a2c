//! The mutation table: deliberately broken kernels that the tests must reject, the proof that the suite can fail.

use std::fmt;
use std::io::Write as _;

/// One deliberate mistake in a shader.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// The op whose tests must notice.
    pub op: &'static str,
    /// What is broken, in a few words.
    pub name: &'static str,
    /// Name of the shader that is changed, without `.wgsl`.
    pub shader: &'static str,
    /// Text of the shader that is replaced; it must occur exactly once.
    pub from: &'static str,
    /// What replaces it.
    pub to: &'static str,
    /// The plan under which the mistake shows: `"cpu"`, `"gpu"` or `"both"`.
    pub plan: &'static str,
    /// Why no adapter here can tell it from the right kernel, where that is so.
    pub hidden: Option<&'static str>,
}

impl Mutant {
    /// The broken shader, or why the mutation no longer applies to `source`.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        if self.from == self.to {
            return Err(format!("mutant {:?} of {} changes nothing", self.name, self.op));
        }
        match source.matches(self.from).count() {
            1 => Ok(source.replacen(self.from, self.to, 1)),
            n => Err(format!(
                "mutant {:?} of {}: {:?} occurs {n} times in {}.wgsl, not once",
                self.name, self.op, self.from, self.shader
            )),
        }
    }
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Rejected, by the named check.
    Caught(String),
    /// Not rejected, and declared as one that cannot be told apart here, for this reason.
    Hidden(&'static str),
    /// Not rejected: the suite has a hole.
    Survived,
}

/// The outcomes of all mutants of a suite.
#[derive(Clone, Debug, Default)]
pub struct MutationReport {
    rows: Vec<(Mutant, Outcome)>,
}

impl MutationReport {
    /// An empty report.
    pub const fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a mutant: `caught_by` names the check that rejected it, `None` when every check passed.
    ///
    /// A mutant that is declared hidden and gets caught all the same counts as caught: other adapters see more.
    pub fn record(&mut self, mutant: &Mutant, caught_by: Option<String>) {
        let outcome = match (caught_by, mutant.hidden) {
            (Some(check), _) => Outcome::Caught(check),
            (None, Some(reason)) => Outcome::Hidden(reason),
            (None, None) => Outcome::Survived,
        };
        self.rows.push((*mutant, outcome));
    }

    /// Mutants and outcomes in the order in which they were recorded.
    pub fn rows(&self) -> &[(Mutant, Outcome)] {
        &self.rows
    }

    /// Prints the table on standard output, past the capture of the test runner: a run shows it when it passes, too.
    pub fn print(&self) {
        // A closed pipe is no reason to fail a test.
        let _ = std::io::stdout().lock().write_all(format!("\n{self}\n").as_bytes());
    }

    /// An error unless the table has rows and every mutant is caught or declared hidden.
    pub fn check(&self) -> Result<(), String> {
        if self.rows.is_empty() {
            return Err("the mutation table is empty".to_owned());
        }
        let survivors: Vec<String> = self
            .rows
            .iter()
            .filter(|(_, outcome)| *outcome == Outcome::Survived)
            .map(|(mutant, _)| format!("{}: {} ({} plan)", mutant.op, mutant.name, mutant.plan))
            .collect();
        if survivors.is_empty() {
            return Ok(());
        }
        let (count, all) = (survivors.len(), self.rows.len());
        Err(format!("{count} of {all} mutants survived: {}", survivors.join("; ")))
    }

    /// Prints the table, then panics with what [`check`](Self::check) says.
    #[track_caller]
    pub fn assert_all_caught(&self) {
        self.print();
        if let Err(hole) = self.check() {
            panic!("{hole}");
        }
    }
}

impl fmt::Display for MutationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: &dyn Fn(&Mutant) -> &'static str, title: &str| {
            let cells = self.rows.iter().map(|(mutant, _)| column(mutant).chars().count());
            cells.max().unwrap_or(0).max(title.len())
        };
        let (op, name) = (width(&|m| m.op, "op"), width(&|m| m.name, "mutant"));
        writeln!(f, "{:op$}  {:name$}  {:4}  outcome", "op", "mutant", "plan")?;
        for (mutant, outcome) in &self.rows {
            write!(f, "{:op$}  {:name$}  {:4}  ", mutant.op, mutant.name, mutant.plan)?;
            match outcome {
                Outcome::Caught(check) => writeln!(f, "caught by {check}")?,
                Outcome::Hidden(reason) => writeln!(f, "HIDDEN: {reason}")?,
                Outcome::Survived => writeln!(f, "SURVIVED")?,
            }
        }
        let count = |which: fn(&Outcome) -> bool| self.rows.iter().filter(|row| which(&row.1)).count();
        writeln!(
            f,
            "{} mutants: {} caught, {} hidden, {} survived",
            self.rows.len(),
            count(|o| matches!(o, Outcome::Caught(_))),
            count(|o| matches!(o, Outcome::Hidden(_))),
            count(|o| matches!(o, Outcome::Survived))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUTANT: Mutant = Mutant {
        op: "softmax",
        name: "dropped max guard",
        shader: "softmax",
        from: "x - high",
        to: "x",
        plan: "both",
        hidden: None,
    };

    #[test]
    fn a_mutation_applies_exactly_once_or_is_an_error() {
        assert_eq!(MUTANT.apply("exp(x - high)"), Ok("exp(x)".to_owned()));
        assert!(MUTANT.apply("exp(x)").is_err());
        assert!(MUTANT.apply("x - high, x - high").is_err());
        let nothing = Mutant { to: MUTANT.from, ..MUTANT };
        assert!(nothing.apply("exp(x - high)").is_err());
    }

    #[test]
    fn the_table_names_every_outcome() {
        let mut report = MutationReport::new();
        let hidden = Mutant { name: "missing barrier", plan: "gpu", hidden: Some("lockstep"), ..MUTANT };
        report.record(&MUTANT, Some("huge spread".to_owned()));
        report.record(&hidden, None);
        assert_eq!(report.check(), Ok(()));
        report.record(&hidden, Some("forward 257".to_owned()));
        report.record(&MUTANT, None);
        let table = report.to_string();
        for line in [
            "op       mutant             plan  outcome",
            "softmax  dropped max guard  both  caught by huge spread",
            "softmax  missing barrier    gpu   HIDDEN: lockstep",
            "softmax  missing barrier    gpu   caught by forward 257",
            "softmax  dropped max guard  both  SURVIVED",
            "4 mutants: 2 caught, 1 hidden, 1 survived",
        ] {
            assert!(table.lines().any(|l| l == line), "{line:?} not in\n{table}");
        }
    }

    #[test]
    fn survivors_and_empty_tables_fail_the_suite() {
        let mut report = MutationReport::new();
        assert!(report.check().is_err_and(|hole| hole.contains("empty")));
        report.record(&MUTANT, None);
        let hole = "1 of 1 mutants survived: softmax: dropped max guard (both plan)";
        assert_eq!(report.check(), Err(hole.to_owned()));
    }
}
