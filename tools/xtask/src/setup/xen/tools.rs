//! Xen's own toolstack for dom0, with the libraries that it needs.
//!
//! Decides which programs, and finds by what the programs say of themselves which libraries: so dom0
//! gets a few megabytes of Debian's packages instead of Debian.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{DT_NEEDED, DT_NULL, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use crate::paths::make_folder;

/// The programs: they create domains, keep their store and their consoles, and prepare dom0.
pub const PROGRAMS: [&str; 5] = ["xl", "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0"];
/// Where Debian's package has them, and where they look for each other.
pub const FOLDER: &str = "usr/lib/xen-4.17/bin";
/// Found at run time only: the C library ends a thread with it.
const AT_RUN_TIME: &str = "libgcc_s.so.1";
/// Where Debian's packages have libraries, and where its dynamic linker looks for them.
pub const LIBRARIES: [&str; 2] = ["lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"];

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
    let mut done = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if done.contains_key(&name) {
            continue;
        }
        let Some(file) = libraries.get(&name) else {
            bail!("Xen's tools need the library {name}, which is in none of the packages");
        };
        wanted.extend(needed(file)?);
        copy(file, &to.join("lib").join(&name))?;
        done.insert(name, ());
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
    for (here, there) in [("bin", FOLDER), ("lib", LIBRARIES[0])] {
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
    for folder in LIBRARIES.map(|folder| root.join(folder)) {
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

/// The libraries that a program or library names.
fn needed(file: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    names(&bytes).with_context(|| format!("in {}", file.display()))
}

fn names(elf: &[u8]) -> Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(elf).context("this is no 64-bit ELF file")?;
    let endian = header.endian().context("this ELF file has no byte order")?;
    let sections = header.sections(endian, elf).context("bad ELF sections")?;
    let mut names = Vec::new();
    for segment in header.program_headers(endian, elf).context("bad ELF program headers")? {
        let Some(entries) = segment.dynamic(endian, elf).context("bad dynamic segment")? else {
            continue;
        };
        let (_, link) = sections
            .dynamic(endian, elf)
            .context("bad dynamic section")?
            .context("a dynamic segment without a section")?;
        let strings = sections.strings(endian, elf, link).context("bad string table")?;
        for entry in entries.iter().take_while(|entry| entry.d_tag(endian) != u64::from(DT_NULL)) {
            if entry.d_tag(endian) == u64::from(DT_NEEDED) {
                let name = entry.string(endian, strings).context("a library has no name")?;
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    //! What needs nothing, and what is no program.

    use super::{collect, names};

    #[test]
    fn this_test_needs_the_c_library() {
        let program = std::env::current_exe().unwrap();
        let found = names(&std::fs::read(program).unwrap()).unwrap();
        assert!(found.iter().any(|name| name.starts_with("libc.so")), "{found:?}");
        assert!(names(b"#!/bin/sh").is_err());
    }

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
