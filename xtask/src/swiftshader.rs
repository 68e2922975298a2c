//! SwiftShader, the second software adapter: Chromium's Vulkan driver, which flushes subnormals, has subgroups of four and
//! compiles with another compiler than Mesa's.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::shell::Repository;
use crate::vulkan;

/// The value of `--adapter` that asks for it, and a part of the adapter's name.
pub const NAME: &str = "swiftshader";
const LIBRARY: &str = "usr/lib/chromium/libvk_swiftshader.so";

/// The repository with this adapter for all its commands; the driver is that of an installed Chromium, or comes out of
/// Debian's package, unpacked below `target`.
///
/// # Errors
/// When there is neither.
pub fn select(repo: &Repository) -> Result<Repository> {
    let folder = repo.target.join(NAME);
    let driver = folder.join("icd.json");
    let library = library(repo, &folder)?;
    std::fs::create_dir_all(&folder)?;
    std::fs::write(&driver, description(&library)).with_context(|| driver.display().to_string())?;
    Ok(repo.with_driver(NAME, driver))
}

fn library(repo: &Repository, folder: &Path) -> Result<PathBuf> {
    let unpacked = folder.join(LIBRARY);
    let installed = Path::new("/").join(LIBRARY);
    if let Some(library) = [installed, unpacked.clone()].into_iter().find(|path| path.is_file()) {
        return Ok(library);
    }
    let help = format!(
        "SwiftShader was not found: install Debian's package chromium-common, or put Chromium's libvk_swiftshader.so at {}",
        unpacked.display()
    );
    vulkan::unpack(repo, "chromium-common", folder).context(help.clone())?;
    if !unpacked.is_file() {
        bail!(help);
    }
    Ok(unpacked)
}

/// The file by which Vulkan's loader finds a driver.
fn description(library: &Path) -> String {
    let driver = serde_json::json!({ "library_path": library, "api_version": "1.0.5" });
    serde_json::json!({ "file_format_version": "1.0.0", "ICD": driver }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_the_library() {
        let text = description(Path::new("/opt/a \"b\"/libvk_swiftshader.so"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["ICD"]["library_path"], "/opt/a \"b\"/libvk_swiftshader.so");
    }
}
