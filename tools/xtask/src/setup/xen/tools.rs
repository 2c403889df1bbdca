//! Xen's own toolstack for dom0, with the libraries that it needs.
//!
//! Decides which programs, and finds by what the programs say of themselves which libraries: so dom0
//! gets a few megabytes of Debian's packages instead of Debian.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths::make_folder;
use crate::setup::libraries::{FOLDERS, needed};

/// The programs: they create domains, keep their store and their consoles, and prepare dom0.
pub const PROGRAMS: [&str; 5] = ["xl", "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0"];
/// Where Debian's package has them, and where they look for each other.
pub const FOLDER: &str = "usr/lib/xen-4.17/bin";
/// Found at run time only: the C library ends a thread with it.
const AT_RUN_TIME: &str = "libgcc_s.so.1";

/// Copies the programs from the unpacked packages `root` to `to`/bin, their libraries to `to`/lib.
pub fn collect(root: &Path, to: &Path) -> Result<()> {
    make_folder(&to.join("bin"))?;
    make_folder(&to.join("lib"))?;
    let programs = root.join(FOLDER);
    if !programs.join(PROGRAMS[0]).is_file() {
        bail!("Debian's package xen-utils has no /{FOLDER}/{}", PROGRAMS[0]);
    }
    let libraries = libraries(root)?;
    let mut wanted = vec![AT_RUN_TIME.to_owned()];
    for name in PROGRAMS {
        let file = programs.join(name);
        wanted.extend(needed(&file)?);
        copy(&file, &to.join("bin").join(name))?;
    }
    let mut done = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if done.contains(&name) {
            continue;
        }
        let Some(file) = libraries.get(&name) else {
            bail!("Xen's tools need the library {name}, which is in none of the packages");
        };
        wanted.extend(needed(file)?);
        copy(file, &to.join("lib").join(&name))?;
        done.insert(name);
    }
    Ok(())
}

/// Whether `collect` was here.
pub fn complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|name| folder.join("bin").join(name).is_file())
        && folder.join("lib").is_dir()
}

/// The files that [`collect`] put into `folder`: where they belong in dom0, and where they are here.
pub fn placed(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for (here, there) in [("bin", FOLDER), ("lib", FOLDERS[0])] {
        let here = folder.join(here);
        let entries =
            fs::read_dir(&here).with_context(|| format!("cannot read {}", here.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", here.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Programs name the dynamic linker by its full path.
            let there = if name.starts_with("ld-") { "lib" } else { there };
            files.push((format!("{there}/{name}"), entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// All libraries by their name.
fn libraries(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS.map(|folder| root.join(folder)) {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(".so") {
                found.insert(name, entry.path());
            }
        }
    }
    Ok(found)
}

/// Copies a program or library; a link becomes what it leads to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let result = fs::copy(from, to).map(drop);
    result.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    //! Packages that are not there.

    use super::collect;

    #[test]
    fn a_missing_package_is_named() {
        let folder = std::env::temp_dir().join(format!("redoubt-xen-{}", std::process::id()));
        let programs = folder.join("packages").join(super::FOLDER);
        std::fs::create_dir_all(&programs).unwrap();
        let error = collect(&folder.join("packages"), &folder.join("to")).unwrap_err();
        assert!(error.to_string().contains("xen-utils"), "{error}");
        for name in super::PROGRAMS {
            std::fs::copy(std::env::current_exe().unwrap(), programs.join(name)).unwrap();
        }
        let error = collect(&folder.join("packages"), &folder.join("to")).unwrap_err();
        assert!(error.to_string().contains(".so"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
