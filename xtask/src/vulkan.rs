//! Whether this machine can run Vulkan programs at all, and what to do when it cannot.
//!
//! Asks the file system only: a driver is an ICD file plus the loader `libvulkan.so.1`. Whether the driver finds a
//! device is for the tests to say, which fail without one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::shell::Repository;

const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// What the decision depends on.
#[derive(Clone, Debug, Default)]
struct Machine {
    /// `std::env::consts::OS`.
    os: &'static str,
    /// The identifiers of `/etc/os-release`: `ID` and the words of `ID_LIKE`.
    distribution: Vec<String>,
    /// A driver's ICD file exists.
    driver: bool,
    /// The loader's library exists.
    loader: bool,
    /// The user may install packages as they are.
    root: bool,
    /// `sudo` works without a password.
    sudo: bool,
}

impl Machine {
    fn is(&self, names: &[&str]) -> bool {
        self.distribution.iter().any(|id| names.contains(&id.as_str()))
    }

    fn is_debian(&self) -> bool {
        self.is(&["debian", "ubuntu"])
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan {
    /// Nothing: an adapter can exist.
    Present,
    /// Install Debian's packages, with or without `sudo`.
    Install { sudo: bool },
    /// Print this command and stop.
    Tell(String),
}

/// Makes sure that a Vulkan driver exists, or says which one command installs it.
///
/// # Errors
/// When there is none and it cannot be installed from here.
pub fn ensure(repo: &Repository) -> Result<()> {
    match decide(&machine()) {
        Plan::Present => Ok(()),
        Plan::Tell(command) => bail!("this machine has no Vulkan driver; install one with:\n    {command}"),
        Plan::Install { .. } => {
            eprintln!("this machine has no Vulkan driver");
            install(repo, &PACKAGES)?;
            match decide(&machine()) {
                Plan::Present => Ok(()),
                _ => bail!("{} are installed, and still no Vulkan driver is found", PACKAGES.join(" and ")),
            }
        }
    }
}

/// Installs packages where this is Debian or a child of it and the user may; whether it did.
///
/// # Errors
/// When apt fails.
pub fn install(repo: &Repository, packages: &[&str]) -> Result<bool> {
    let machine = machine();
    if !machine.is_debian() || !(machine.root || machine.sudo) {
        return Ok(false);
    }
    eprintln!("installing {}", packages.join(" and "));
    repo.run(apt_get(!machine.root).args(["update", "--quiet"]))?;
    repo.run(apt_get(!machine.root).args(["install", "--yes", "--no-install-recommends"]).args(packages))?;
    Ok(true)
}

/// Unpacks a package into a folder without installing it. Needs no rights, but on Debian the lists that `apt-get update`
/// makes, which is run where the user may.
///
/// # Errors
/// When this is not Debian, or apt or dpkg fail.
pub fn unpack(repo: &Repository, package: &str, folder: &Path) -> Result<()> {
    let machine = machine();
    if !machine.is_debian() {
        bail!("only Debian's apt-get can fetch {package} from here");
    }
    std::fs::create_dir_all(folder)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", package]).current_dir(folder);
    if repo.run(&mut download).is_err() && (machine.root || machine.sudo) {
        repo.run(apt_get(!machine.root).args(["update", "--quiet"]))?;
        repo.run(&mut download)?;
    }
    let files = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let Some(archive) = files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"))
    else {
        bail!("apt-get downloaded no {package}; run `apt-get update` as root");
    };
    repo.run(Command::new("dpkg").arg("-x").args([&archive, folder]))?;
    Ok(std::fs::remove_file(archive)?)
}

fn decide(machine: &Machine) -> Plan {
    // Metal and DirectX 12 come with the system.
    if machine.os != "linux" || (machine.driver && machine.loader) {
        return Plan::Present;
    }
    let debian = machine.is_debian();
    let is = |names: &[&str]| machine.is(names);
    if debian && (machine.root || machine.sudo) {
        return Plan::Install { sudo: !machine.root };
    }
    let command = if debian {
        format!("apt-get install -y --no-install-recommends {}", PACKAGES.join(" "))
    } else if is(&["fedora", "rhel"]) {
        "dnf install -y mesa-vulkan-drivers vulkan-loader".to_owned()
    } else if is(&["arch"]) {
        "pacman -S --needed vulkan-swrast vulkan-icd-loader".to_owned()
    } else if is(&["alpine"]) {
        "apk add mesa-vulkan-swrast vulkan-loader".to_owned()
    } else if is(&["suse", "opensuse"]) {
        "zypper install libvulkan_lvp libvulkan1".to_owned()
    } else {
        "(your package manager) install Mesa's Vulkan drivers, lavapipe included, and the Vulkan loader".to_owned()
    };
    Plan::Tell(if machine.root || command.starts_with('(') { command } else { format!("sudo {command}") })
}

fn machine() -> Machine {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let root = printed("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    Machine {
        os: std::env::consts::OS,
        distribution: distribution(&release),
        driver: has_driver(),
        loader: has_loader(),
        root,
        sudo: !root && printed("sudo", &["-n", "true"]).is_some(),
    }
}

/// The words of `ID` and `ID_LIKE` in an os-release file.
fn distribution(release: &str) -> Vec<String> {
    release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .map(str::to_owned)
        .collect()
}

fn has_driver() -> bool {
    // Either variable replaces the loader's search; the newer name wins.
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        if let Some(list) = std::env::var_os(variable).filter(|list| !list.is_empty()) {
            return std::env::split_paths(&list).any(|path| path.is_file() || holds_driver(&path));
        }
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share/vulkan/icd.d"));
    ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"]
        .map(PathBuf::from)
        .into_iter()
        .chain(home)
        .any(|folder| holds_driver(&folder))
}

fn holds_driver(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
}

fn has_loader() -> bool {
    const NAME: &str = "libvulkan.so.1";
    let listed = ["ldconfig", "/sbin/ldconfig"].iter().filter_map(|program| printed(program, &["-p"]));
    let mut folders: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib64"].map(PathBuf::from).into();
    folders.push(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH).into());
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        folders.extend(std::env::split_paths(&paths));
    }
    listed.into_iter().any(|list| list.contains(NAME)) || folders.iter().any(|folder| folder.join(NAME).exists())
}

/// Standard output of a small program; `None` when it does not exist or fails.
fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `apt-get`, to install packages.
fn apt_get(sudo: bool) -> Command {
    // `env` inside, because sudo drops variables.
    let mut command = Command::new(if sudo { "sudo" } else { "env" });
    if sudo {
        command.args(["-n", "env"]);
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(release: &str) -> Machine {
        Machine { os: "linux", distribution: distribution(release), ..Machine::default() }
    }

    const DEBIAN: &str = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";

    #[test]
    fn a_driver_needs_its_loader() {
        let whole = Machine { driver: true, loader: true, ..bare("ID=gentoo") };
        assert_eq!(decide(&whole), Plan::Present);
        let root = Machine { root: true, ..bare(DEBIAN) };
        for (driver, loader) in [(false, false), (true, false), (false, true)] {
            let machine = Machine { driver, loader, ..root.clone() };
            assert_eq!(decide(&machine), Plan::Install { sudo: false });
        }
    }

    #[test]
    fn other_systems_bring_their_own() {
        for os in ["macos", "windows"] {
            assert_eq!(decide(&Machine { os, ..Machine::default() }), Plan::Present);
        }
    }

    #[test]
    fn installs_only_where_it_may() {
        let ubuntu = "ID=mint\nID_LIKE=\"ubuntu debian\"\n";
        for release in [DEBIAN, ubuntu] {
            let sudo = Machine { sudo: true, ..bare(release) };
            assert_eq!(decide(&sudo), Plan::Install { sudo: true });
            assert_eq!(
                decide(&bare(release)),
                Plan::Tell("sudo apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1".to_owned())
            );
        }
    }

    #[test]
    fn elsewhere_it_prints_one_command() {
        for (release, program) in [
            ("ID=fedora", "dnf"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"", "dnf"),
            ("ID=arch", "pacman"),
            ("ID=alpine", "apk"),
            ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"", "zypper"),
        ] {
            let told = |machine: &Machine| match decide(machine) {
                Plan::Tell(command) => command,
                plan => panic!("{plan:?} for {release}"),
            };
            let user = Machine { sudo: true, ..bare(release) };
            assert!(told(&user).starts_with(&format!("sudo {program} ")));
            let root = Machine { root: true, ..bare(release) };
            assert!(told(&root).starts_with(&format!("{program} ")));
        }
        assert!(matches!(decide(&bare("")), Plan::Tell(command) if command.contains("Mesa")));
    }
}
