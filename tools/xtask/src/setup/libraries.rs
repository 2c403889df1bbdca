//! The shared libraries that arm64 programs of unpacked Debian packages need.
//!
//! Decides which they are by what the programs say of themselves, in their dynamic section.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{DT_NEEDED, DT_NULL, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

/// Where Debian's packages have libraries, and where its dynamic linker looks for them.
pub const FOLDERS: [&str; 2] = ["lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"];

/// The libraries that a program or library names.
pub fn needed(file: &Path) -> Result<Vec<String>> {
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

    use super::names;

    #[test]
    fn this_test_needs_the_c_library() {
        let program = std::env::current_exe().unwrap();
        let found = names(&std::fs::read(program).unwrap()).unwrap();
        assert!(found.iter().any(|name| name.starts_with("libc.so")), "{found:?}");
        assert!(names(b"#!/bin/sh").is_err());
    }
}
