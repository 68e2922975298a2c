//! The program as tests start it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A subcommand with its words, writing to `out`.
pub fn subcommand(words: &str, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softurn"));
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("mesa-shader-cache");
    command.env("MESA_SHADER_CACHE_DIR", cache);
    // Mesa's device-select layer writes to standard error where XDG_RUNTIME_DIR is unset.
    command.env("NODEVICE_SELECT", "1");
    command.args(words.split_whitespace()).arg("--out").arg(out);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn run(words: &str, out: &Path) -> Output {
    subcommand(words, out).output().expect("the program starts")
}

pub fn succeed(words: &str, out: &Path) -> Output {
    let output = run(words, out);
    assert_eq!(output.status.code(), Some(0), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub fn read(out: &Path, name: &str) -> String {
    fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Waits until the run has written what `ready` looks for; false if it ended before.
pub fn wait(child: &mut Child, out: &Path, ready: impl Fn(&str) -> bool) -> bool {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_secs(300), "nothing to see after 5 minutes");
        if ready(&fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default()) {
            return child.try_wait().expect("a child").is_none();
        }
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
