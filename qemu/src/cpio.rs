//! Writes initramfs archives: cpio in its "newc" form.
//!
//! Decides what a file looks like inside an initramfs. Linux unpacks archives that follow one
//! another in an initrd as if they were one, each starting on a 4-byte boundary; [`concatenate`]
//! relies on that to give one boot its own `/cmd` without building the rest again.
//!
//! Invariants: every archive ends with its trailer and is a multiple of 512 bytes long; a parent
//! folder stands before what is in it; the same input gives the same bytes (times are zero).
//!
//! Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const BLOCK: usize = 512;

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Starts an empty archive.
    pub fn new() -> Archive {
        Archive::default()
    }

    /// Adds a folder, and those above it, unless they are there already.
    pub fn folder(&mut self, path: &str) -> Result<&mut Self> {
        let path = checked(path)?;
        let mut upto = String::new();
        for part in path.split('/') {
            if !upto.is_empty() {
                upto.push('/');
            }
            upto.push_str(part);
            if self.folders.insert(upto.clone()) {
                self.entry(&upto.clone(), DIRECTORY | 0o755, (0, 0), &[])?;
            }
        }
        Ok(self)
    }

    /// Adds a file with the permission bits `mode`.
    pub fn file(&mut self, path: &str, mode: u32, contents: &[u8]) -> Result<&mut Self> {
        let path = checked(path)?;
        self.parents(path)?;
        self.entry(path, REGULAR | (mode & 0o7777), (0, 0), contents)?;
        Ok(self)
    }

    /// Adds a file of this machine.
    pub fn file_from(&mut self, path: &str, mode: u32, source: &Path) -> Result<&mut Self> {
        let contents =
            fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.file(path, mode, &contents)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<&mut Self> {
        let path = checked(path)?;
        self.parents(path)?;
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())?;
        Ok(self)
    }

    /// Adds a character device node.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) -> Result<&mut Self> {
        let path = checked(path)?;
        self.parents(path)?;
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[])?;
        Ok(self)
    }

    /// Ends the archive and returns its bytes.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        pad(&mut self.bytes, BLOCK);
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, rdev: (u32, u32), data: &[u8]) -> Result<()> {
        let size = u32::try_from(data.len())
            .with_context(|| format!("{path} is too large for an initramfs (4 GiB)"))?;
        let name_size = u32::try_from(path.len() + 1).context("a path is too long")?;
        self.entries += 1;
        let links = if mode & 0o170_000 == DIRECTORY { 2 } else { 1 };
        // inode, mode, uid, gid, links, mtime, size, device (major, minor), rdev, name size, check
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, rdev.0, rdev.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        pad(&mut self.bytes, 4);
        self.bytes.extend_from_slice(data);
        pad(&mut self.bytes, 4);
        Ok(())
    }
}

/// Joins the archives `parts` to one initrd at `target`.
pub fn concatenate(parts: &[PathBuf], extra: &[u8], target: &Path) -> Result<()> {
    let mut initrd = Vec::new();
    for part in parts {
        let bytes = fs::read(part).with_context(|| {
            format!("cannot read the initramfs part {}: run `cargo xtask build`", part.display())
        })?;
        initrd.extend_from_slice(&bytes);
        pad(&mut initrd, 4);
    }
    initrd.extend_from_slice(extra);
    fs::write(target, initrd).with_context(|| format!("cannot write {}", target.display()))
}

/// A path as an archive holds it: relative, and without parts that climb out.
fn checked(path: &str) -> Result<&str> {
    let trimmed = path.trim_start_matches('/');
    if trimmed.is_empty() || trimmed.split('/').any(|part| matches!(part, "" | "." | "..")) {
        bail!("`{path}` is no path inside an initramfs");
    }
    Ok(trimmed)
}

fn pad(bytes: &mut Vec<u8>, boundary: usize) {
    bytes.resize(bytes.len().next_multiple_of(boundary), 0);
}

#[cfg(test)]
mod tests;
