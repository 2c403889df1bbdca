//! Turns a linked program into the flat bytes that a loader puts into memory.
//!
//! Decides nothing that the linker script did not: loadable segments are laid out by their physical
//! addresses from the lowest one on, gaps are zero. A program whose segments overlap or wander far
//! apart is refused.

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{EM_AARCH64, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// No image of ours comes near this size.
const LIMIT: u64 = 64 * 1024 * 1024;

/// A program as it lies in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flat {
    /// The physical address of the first byte.
    pub base: u64,
    /// The bytes that are loaded.
    pub bytes: Vec<u8>,
    /// How much memory it takes from `base` on, with what it expects to find zeroed.
    pub memory_size: u64,
}

/// Lays out the loadable segments of `elf`.
pub fn flatten(elf: &[u8]) -> Result<Flat> {
    let header = FileHeader64::<Endianness>::parse(elf).context("this is no 64-bit ELF file")?;
    let endian = header.endian().context("this ELF file has no byte order")?;
    if endian != Endianness::Little || header.e_machine(endian) != EM_AARCH64 {
        bail!("this ELF file is not for little-endian arm64");
    }
    let mut segments = Vec::new();
    for segment in header.program_headers(endian, elf).context("bad ELF program headers")? {
        if segment.p_type(endian) == PT_LOAD && segment.p_memsz(endian) != 0 {
            let data = segment.data(endian, elf).ok().context("an ELF segment has no data")?;
            let (at, size) = (segment.p_paddr(endian), segment.p_memsz(endian));
            if data.len() as u64 > size {
                bail!("an ELF segment has more data than memory");
            }
            let end = at.checked_add(size).context("an ELF segment wraps around")?;
            segments.push((at, end, data));
        }
    }
    segments.sort_by_key(|segment| segment.0);
    let base = segments.first().context("this ELF file has nothing to load")?.0;
    let mut flat = Flat { base, bytes: Vec::new(), memory_size: 0 };
    for (at, end, data) in segments {
        let offset = at - base;
        if offset < flat.memory_size {
            bail!("ELF segments overlap at {at:#x}");
        }
        if end - base > LIMIT {
            bail!("the ELF segments reach from {base:#x} to {end:#x}: that is no image");
        }
        if !data.is_empty() {
            // In range: both were just checked against the limit.
            flat.bytes.resize(offset as usize, 0);
            flat.bytes.extend_from_slice(data);
        }
        flat.memory_size = end - base;
    }
    Ok(flat)
}

#[cfg(test)]
mod tests;
