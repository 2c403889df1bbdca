//! Whether two builds of the hypervisor are the same.
//!
//! Decides what counts: every byte of the image that is started. Only the build ID may differ: it is
//! a checksum over the debug information, too. Where all else is the same, the debug information of
//! one build describes the other, instruction by instruction.

use std::ops::Range;

use anyhow::{Context, Result};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection};

/// Where the build ID is in the flat image of the linked hypervisor `elf`, which begins at the
/// lowest address that is loaded.
pub fn build_id(elf: &[u8]) -> Result<Range<usize>> {
    let elf =
        ElfFile64::<Endianness>::parse(elf).context("the hypervisor is no 64-bit ELF file")?;
    let section = elf
        .section_by_name(".note.gnu.build-id")
        .context("the linked hypervisor has no build ID")?;
    let sections = elf.sections().map(|section| section.address());
    let base = sections.filter(|address| *address != 0).min().unwrap_or_default();
    let start = usize::try_from(section.address() - base).context("the build ID is far away")?;
    let size = usize::try_from(section.size()).context("the build ID is too long")?;
    Ok(start..start.checked_add(size).context("the build ID wraps around")?)
}

/// Says where two images differ outside `ignored`, or that they do not.
pub fn difference(one: &[u8], other: &[u8], ignored: &Range<usize>) -> Option<String> {
    if one.len() != other.len() {
        return Some(format!("{} bytes against {}", one.len(), other.len()));
    }
    let pairs = one.iter().zip(other).enumerate();
    let mut different =
        pairs.filter(|(at, (one, other))| one != other && !ignored.contains(at)).map(|(at, _)| at);
    let first = different.next()?;
    Some(format!("{} bytes differ, from offset {first:#x} on", 1 + different.count()))
}

#[cfg(test)]
mod tests {
    //! Images that are the same, nearly the same, and not.

    use super::{build_id, difference};

    #[test]
    fn only_the_build_id_may_differ() {
        let debian = b"code-ID1-data";
        assert_eq!(difference(debian, b"code-ID2-data", &(5..8)), None);
        assert_eq!(difference(debian, debian, &(0..0)), None);
        let found = difference(debian, b"code-ID2-dada", &(5..8)).unwrap();
        assert_eq!(found, "1 bytes differ, from offset 0xb on");
        assert!(difference(debian, b"code-ID1-dat", &(5..8)).is_some());
    }

    #[test]
    fn refuses_what_has_no_build_id() {
        assert!(build_id(b"no ELF").is_err());
    }
}
