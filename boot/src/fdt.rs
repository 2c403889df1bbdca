//! A total reader of flattened device trees.
//!
//! [`Fdt::new`] reads the whole tree once and refuses what is not well-formed: bad header,
//! blocks out of range, unknown tokens, names without end, properties after child nodes, more
//! than [`MAX_DEPTH`] levels, more than one root. After that, iteration cannot fail, and every
//! iterator moves forward by at least one token a step, so it is bounded by the tree's length.
//! No recursion, no allocation.
//!
//! Believes nothing but the slice's length. Format: Devicetree Specification v0.4, chapter 5
//! (versions 16 and 17 of the format).

mod cursor;
mod node;
mod walk;

pub(crate) use cursor::{Cursor, Token};
pub use node::{Node, Properties, Property, Strings};
pub(crate) use walk::Step;
pub use walk::{Level, Path, PciWindows, Reg, Walk};

use crate::bytes;
use crate::range::is_aligned;

/// The deepest nesting of nodes that is read, the root included.
pub const MAX_DEPTH: usize = 16;

/// The largest tree that is read: what Linux accepts (booting.rst, section 2).
pub const MAX_FDT_SIZE: usize = 2 << 20;

/// The longest name of a node or property that is read. The specification allows 31 bytes (and
/// a unit address); the bound keeps a hostile tree from making every name lookup a long scan.
pub const MAX_NAME_SIZE: usize = 127;

/// The longest path that is searched for: as many names of the longest length as there are
/// levels, each with its slash.
pub const MAX_PATH_SIZE: usize = MAX_DEPTH * (MAX_NAME_SIZE + 1);

/// The size of the header.
pub(crate) const HEADER_SIZE: usize = 40;

/// The first word of the header.
pub(crate) const MAGIC: u32 = 0xd00d_feed;

/// Why bytes are not a device tree that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdtError {
    /// The slice is shorter than a header, or than the header says.
    Truncated,
    /// No `0xd00dfeed` at the start.
    BadMagic,
    /// Older than version 16, or not readable by readers of version 17.
    BadVersion,
    /// Larger than [`MAX_FDT_SIZE`].
    TooLarge,
    /// A block lies outside the tree or is misaligned.
    BadBlock,
    /// The memory reservation block has no end.
    BadReserveMap,
    /// The structure block ends in the middle of something.
    BadStructure,
    /// A token that has no meaning, or none here.
    BadToken,
    /// A name without end, out of range, or longer than [`MAX_NAME_SIZE`].
    BadName,
    /// Nodes are nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

impl FdtError {
    /// Says it in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "cut short",
            Self::BadMagic => "bad magic number (x0 does not point to a device tree)",
            Self::BadVersion => "format version is not 16 or 17",
            Self::TooLarge => "larger than 2 MiB",
            Self::BadBlock => "a block lies outside the tree or is misaligned",
            Self::BadReserveMap => "memory reservation block has no end",
            Self::BadStructure => "structure block is cut short",
            Self::BadToken => "unexpected token in the structure block",
            Self::BadName => "a name is too long or lies outside its block",
            Self::TooDeep => "nodes are nested deeper than 16 levels",
        }
    }
}

impl core::fmt::Display for FdtError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for FdtError {}

/// A well-formed flattened device tree.
#[derive(Clone, Copy, Debug)]
pub struct Fdt<'a> {
    total_size: usize,
    boot_cpu: u32,
    reserve_map: &'a [u8],
    structure: &'a [u8],
    strings: Strings<'a>,
}

impl<'a> Fdt<'a> {
    /// Reads `totalsize` from the first 8 bytes of a tree, for a caller that must know how much
    /// to map before [`Fdt::new`] can be called.
    pub fn total_size_of(header: &[u8]) -> Result<usize, FdtError> {
        if bytes::be32(header, 0).ok_or(FdtError::Truncated)? != MAGIC {
            return Err(FdtError::BadMagic);
        }
        let size = bytes::be32(header, 4).ok_or(FdtError::Truncated)? as usize;
        if size < HEADER_SIZE {
            return Err(FdtError::Truncated);
        }
        if size > MAX_FDT_SIZE {
            return Err(FdtError::TooLarge);
        }
        Ok(size)
    }

    /// Checks the tree at the start of `blob`, which may be longer than the tree.
    pub fn new(blob: &'a [u8]) -> Result<Self, FdtError> {
        let total_size = Self::total_size_of(blob)?;
        let blob = blob.get(..total_size).ok_or(FdtError::Truncated)?;
        let word = |offset| bytes::be32(blob, offset).ok_or(FdtError::Truncated);
        let (version, last_compatible) = (word(20)?, word(24)?);
        if version < 16 || last_compatible > 17 || last_compatible > version {
            return Err(FdtError::BadVersion);
        }
        // Version 16 has no size of the structure block: it may reach to the end.
        let structure = if version == 16 {
            blob.get(word(8)? as usize..).ok_or(FdtError::BadBlock)?
        } else {
            block(blob, word(8)?, word(36)?)?
        };
        if !is_aligned(u64::from(word(8)?), 4) || !is_aligned(u64::from(word(16)?), 8) {
            return Err(FdtError::BadBlock);
        }
        let fdt = Self {
            total_size,
            boot_cpu: word(28)?,
            reserve_map: reserve_map(blob, word(16)?)?,
            structure,
            strings: Strings::new(block(blob, word(12)?, word(32)?)?),
        };
        fdt.check_structure()?;
        Ok(fdt)
    }

    /// The size that the header gives: what must stay untouched while the tree is in use.
    pub fn total_size(&self) -> usize {
        self.total_size
    }

    /// The physical id of the CPU that the loader says it booted on.
    pub fn boot_cpu(&self) -> u32 {
        self.boot_cpu
    }

    /// The memory reservation block: (address, size) of each entry, unchecked.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let map = self.reserve_map;
        map.chunks_exact(16)
            .filter_map(|entry| Some((bytes::be64(entry, 0)?, bytes::be64(entry, 8)?)))
    }

    /// Goes through all nodes, parents before children.
    pub fn walk(&self) -> Walk<'a> {
        Walk::new(self.cursor(), self.strings)
    }

    /// Finds the node at an absolute path such as `/soc/serial@9000000`. A component without
    /// `@` also matches a node that has a unit address.
    pub fn find(&self, path: &[u8]) -> Option<Path<'a>> {
        if path.len() > MAX_PATH_SIZE {
            return None;
        }
        let mut walk = self.walk();
        while let Some(here) = walk.next_node() {
            if here.matches(path) {
                return Some(*here);
            }
        }
        None
    }

    /// The strings block.
    pub(crate) fn strings(&self) -> Strings<'a> {
        self.strings
    }

    /// The tokens, from the first.
    pub(crate) fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.structure)
    }

    /// Reads every token once and holds it against the grammar.
    fn check_structure(&self) -> Result<(), FdtError> {
        let mut cursor = self.cursor();
        let mut depth = 0usize;
        let mut root_seen = false;
        // Properties may stand only between their node's begin and its first child.
        let mut in_properties = false;
        loop {
            match cursor.next_token()? {
                Token::BeginNode(_) => {
                    if depth == 0 && root_seen {
                        return Err(FdtError::BadToken);
                    }
                    if depth >= MAX_DEPTH {
                        return Err(FdtError::TooDeep);
                    }
                    depth = depth.saturating_add(1);
                    root_seen = true;
                    in_properties = true;
                }
                Token::EndNode => {
                    depth = depth.checked_sub(1).ok_or(FdtError::BadToken)?;
                    in_properties = false;
                }
                Token::Property { name_offset, .. } => {
                    if !in_properties {
                        return Err(FdtError::BadToken);
                    }
                    self.strings.get(name_offset).ok_or(FdtError::BadName)?;
                }
                Token::End if depth == 0 && root_seen => return Ok(()),
                Token::End => return Err(FdtError::BadToken),
            }
        }
    }
}

/// The block of `size` bytes at `offset`.
fn block(blob: &[u8], offset: u32, size: u32) -> Result<&[u8], FdtError> {
    let start = offset as usize;
    let end = start.checked_add(size as usize).ok_or(FdtError::BadBlock)?;
    blob.get(start..end).ok_or(FdtError::BadBlock)
}

/// The memory reservation block without its last, all-zero entry.
fn reserve_map(blob: &[u8], offset: u32) -> Result<&[u8], FdtError> {
    let rest = blob.get(offset as usize..).ok_or(FdtError::BadBlock)?;
    let mut end = 0usize;
    for entry in rest.chunks_exact(16) {
        if entry.iter().all(|byte| *byte == 0) {
            return rest.get(..end).ok_or(FdtError::BadReserveMap);
        }
        end = end.saturating_add(16);
    }
    Err(FdtError::BadReserveMap)
}

#[cfg(test)]
mod tests;
