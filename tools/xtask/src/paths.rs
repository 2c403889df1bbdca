//! Where things are.
//!
//! Sources are found from where this program was built, downloads are kept in `.cache/` (so that
//! `cargo clean` does not lose them), results go to `redoubt/` in cargo's target folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders of this repository.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The repository.
    pub root: PathBuf,
    /// What was downloaded.
    pub cache: PathBuf,
    /// What was built.
    pub out: PathBuf,
}

impl Paths {
    /// Finds the folders.
    pub fn find() -> Result<Paths> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).filter(|root| root.join("hyp").is_dir()).context(
            "the repository has moved since xtask was built: run `cargo clean -p xtask`",
        )?;
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => std::path::absolute(folder).context("CARGO_TARGET_DIR is no path")?,
            None => root.join("target"),
        };
        let paths =
            Paths { root: root.into(), cache: root.join(".cache"), out: target.join("redoubt") };
        make_folder(&paths.out)?;
        Ok(paths)
    }

    /// The unpacked arm64 packages.
    pub fn arm64(&self) -> PathBuf {
        self.cache.join("arm64")
    }

    /// Logs of machines and of builds.
    pub fn logs(&self) -> PathBuf {
        self.out.join("logs")
    }

    /// Files that one run of a machine needs.
    pub fn scratch(&self) -> PathBuf {
        self.out.join("scratch")
    }

    /// Cargo's target folder for what runs on arm64.
    pub fn cross_target(&self) -> PathBuf {
        self.out.join("cargo")
    }

    /// The attack profile.
    pub fn profile(&self) -> PathBuf {
        self.out.with_file_name("profile")
    }

    /// The image that a bootloader starts: Redoubt with the host's kernel.
    pub fn image(&self) -> PathBuf {
        self.out.join("redoubt.img")
    }
}

/// Makes a folder and those above it.
pub fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Removes a folder and all that is in it, if it is there.
pub fn remove_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// Makes `to` hold the files below `from`, touching only those that differ.
pub fn mirror_folder(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            mirror_folder(&source, &target)?;
            continue;
        }
        let bytes =
            fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        write_if_changed(&target, &bytes)?;
    }
    Ok(())
}

/// Writes a file unless it holds these bytes already.
pub fn write_if_changed(file: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        make_folder(folder)?;
    }
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
