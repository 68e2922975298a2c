//! Where the repository is, and how its tasks start other programs.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

/// The checkout that this xtask belongs to.
#[derive(Clone)]
pub struct Repository {
    /// Folder of the workspace's manifest.
    pub root: PathBuf,
    /// Cargo's build folder.
    pub target: PathBuf,
    adapter: Option<String>,
    /// The file that describes the only Vulkan driver to be used.
    driver: Option<PathBuf>,
}

impl Repository {
    /// Finds the repository from the paths of this program.
    pub fn locate(adapter: Option<String>) -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask lies in no folder")?.to_owned();
        // The program is target/PROFILE/xtask, wherever the configuration puts `target`.
        let program = std::env::current_exe().context("where is this program?")?;
        let target = program.ancestors().nth(2).context("this program lies in no build folder")?.to_owned();
        Ok(Self { root, target, adapter, driver: None })
    }

    /// The adapter that was asked for, by `--adapter` or by the environment.
    pub fn adapter(&self) -> Option<String> {
        self.adapter.clone().or_else(|| std::env::var("SOFTURN_ADAPTER").ok())
    }

    /// The same, with this adapter of this driver alone.
    pub fn with_driver(&self, adapter: &str, driver: PathBuf) -> Self {
        Self { adapter: Some(adapter.to_owned()), driver: Some(driver), ..self.clone() }
    }

    /// A command that starts in the root, with the chosen adapter and a shader cache that outlives the run.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        if let Some(adapter) = &self.adapter {
            command.env("SOFTURN_ADAPTER", adapter);
        }
        if let Some(driver) = &self.driver {
            // The second name is for loaders before 1.3.207.
            command.env("VK_DRIVER_FILES", driver).env("VK_ICD_FILENAMES", driver);
        }
        // Mesa's device-select layer complains about a missing XDG_RUNTIME_DIR, twice per process; there is nothing to select.
        if std::env::var_os("NODEVICE_SELECT").is_none() {
            command.env("NODEVICE_SELECT", "1");
        }
        if std::env::var_os("MESA_SHADER_CACHE_DIR").is_none() {
            command.env("MESA_SHADER_CACHE_DIR", self.target.join("mesa-shader-cache"));
        }
        command
    }

    /// The cargo that started this program.
    pub fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Builds the release program and returns its path.
    pub fn build_program(&self) -> Result<PathBuf> {
        self.run(self.cargo().args(["build", "--release", "-p", "softurn-cli"]))?;
        let name = format!("softurn{}", std::env::consts::EXE_SUFFIX);
        Ok(self.target.join("release").join(name))
    }

    /// Builds a program of softurn-benches and returns its path.
    pub fn build_bench(&self, name: &str) -> Result<PathBuf> {
        self.run(self.cargo().args(["build", "--release", "-p", "softurn-benches", "--bin", name]))?;
        Ok(self.target.join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
    }

    /// Runs a command with this program's own output; a failure is an error that names the command.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        let status = command.status().with_context(|| format!("cannot start {}", describe(command)))?;
        succeed(command, status)
    }

    /// Runs a command and returns its standard output; standard error stays visible.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", describe(command)))?;
        succeed(command, output.status)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command, passes its standard output on line by line and returns it with the exit status.
    pub fn tee(&self, command: &mut Command) -> Result<(String, ExitStatus)> {
        let mut child =
            command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", describe(command)))?;
        let mut reader = BufReader::new(child.stdout.take().context("no standard output")?);
        let (mut all, mut line) = (String::new(), Vec::new());
        while reader.read_until(b'\n', &mut line)? > 0 {
            std::io::stdout().write_all(&line)?;
            all.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok((all, child.wait()?))
    }
}

fn succeed(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

/// A command as a person would type it.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
