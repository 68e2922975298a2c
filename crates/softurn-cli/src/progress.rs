//! Progress on standard error: a bar on a terminal, now and then a line elsewhere, nothing when quiet.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::format::{seconds, significant, thousands};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows one phase after the other.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    phase: Option<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Bar,
    Lines,
    Quiet,
}

#[derive(Debug)]
struct Phase {
    name: String,
    /// Epochs that an earlier run had done.
    first: usize,
    epochs: usize,
    rows: usize,
    started: Instant,
    last_line: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Chooses bar, lines or silence.
    pub fn new(quiet: bool) -> Self {
        let mode = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Bar,
            (false, false) => Mode::Lines,
        };
        Progress { mode, phase: None }
    }

    /// Begins a phase of `epochs` epochs over `rows` rows each, of which `first` are done already.
    pub fn begin(&mut self, name: &str, first: usize, epochs: usize, rows: usize) {
        self.end();
        let bar = (self.mode == Mode::Bar).then(|| {
            let bar = ProgressBar::with_draw_target(Some(epochs as u64), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix:>12} {bar:28.cyan/dim} {pos:>4}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─"));
            bar.set_prefix(name.to_string());
            bar.set_position(first as u64);
            bar
        });
        let started = Instant::now();
        self.phase = Some(Phase { name: name.into(), first, epochs, rows, started, last_line: None, bar });
    }

    /// `done` epochs of the phase are done, the last one with this mean loss.
    pub fn epoch(&mut self, done: usize, loss: f64) {
        let Some(phase) = &mut self.phase else { return };
        let status = phase.status(done, loss, phase.started.elapsed());
        if let Some(bar) = &phase.bar {
            bar.set_message(status);
            bar.set_position(done as u64);
        } else if self.mode == Mode::Lines {
            let due = phase.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
            if due || done == phase.epochs {
                eprintln!("{} {done}/{}  {status}", phase.name, phase.epochs);
                phase.last_line = Some(Instant::now());
            }
        }
    }

    /// Ends the phase; its last state stays on the screen.
    pub fn end(&mut self) {
        if let Some(Phase { bar: Some(bar), .. }) = self.phase.take() {
            bar.abandon();
        }
    }

    /// A line of its own, such as the adapter in use.
    pub fn note(&self, text: &str) {
        match &self.phase {
            _ if self.mode == Mode::Quiet => {}
            Some(Phase { bar: Some(bar), .. }) => bar.println(text),
            _ => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

impl Phase {
    fn status(&self, done: usize, loss: f64, elapsed: Duration) -> String {
        let elapsed = elapsed.as_secs_f64();
        let here = done.saturating_sub(self.first);
        let mut text = format!("loss {}", significant(loss, 4));
        if here > 0 && elapsed > 0.0 {
            let rate = (here * self.rows) as f64 / elapsed;
            let left = elapsed / here as f64 * self.epochs.saturating_sub(done) as f64;
            text += &format!("  {} samples/s", thousands(rate.round() as u64));
            text += &if left > 0.0 { format!("  ETA {}", seconds(left)) } else { format!("  in {}", seconds(elapsed)) };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_eta_count_only_the_epochs_of_this_run() {
        let mut progress = Progress { mode: Mode::Quiet, phase: None };
        progress.begin("train", 10, 30, 1000);
        let phase = progress.phase.as_ref().expect("begun");
        let status = phase.status(20, 12.345_67, Duration::from_secs(5));
        assert_eq!(status, "loss 12.35  2,000 samples/s  ETA 5.0 s");
        assert_eq!(phase.status(30, 12.0, Duration::from_secs(10)), "loss 12.00  2,000 samples/s  in 10.0 s");
        assert_eq!(phase.status(10, f64::NAN, Duration::ZERO), "loss NaN");
    }
}
