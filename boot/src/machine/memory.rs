//! RAM, what of it is reserved, and the initrd.
//!
//! Memory nodes are the root's children with `device_type = "memory"`, as Linux has it. A node
//! that is not well-formed is refused, not skipped: memory that is silently not tracked would be
//! memory that no rule protects.

use crate::array_vec::ArrayVec;
use crate::error::BootError;
use crate::fdt::{Fdt, Path};
use crate::range::{PhysRange, RangeSet};

/// How many ranges of memory, after adjacent ones are joined, there is room for.
pub const MAX_MEMORY_RANGES: usize = 32;

/// How many reserved ranges there is room for.
pub const MAX_RESERVED_RANGES: usize = 64;

/// Memory that the loader or the firmware has reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReservedRange {
    /// All pages touched by it.
    pub range: PhysRange,
    /// Not even a speculative access may reach it: it must not be mapped as memory.
    pub no_map: bool,
}

/// The ranges of memory nodes.
type Memory = RangeSet<MAX_MEMORY_RANGES>;

/// Tells whether the node describes RAM that is in use.
pub(crate) fn is_memory_node(path: &Path<'_>) -> bool {
    path.depth() == 1
        && path.is_enabled()
        && path.node().property(b"device_type").is_some_and(|kind| kind.value == b"memory\0")
}

/// Collects the RAM: the whole pages in it, and all of it to the byte.
#[inline(never)]
pub(crate) fn collect_memory(fdt: &Fdt<'_>) -> Result<(Memory, Memory), BootError> {
    let mut exact = Memory::default();
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        if !is_memory_node(path) {
            continue;
        }
        let name = path.node().display_name();
        if path.node().property(b"reg").is_none() {
            return Err(BootError::MissingProperty(name, "reg"));
        }
        for entry in path.reg()? {
            let (start, size) = entry?;
            if size == 0 {
                return Err(BootError::MemoryZeroSize(name));
            }
            let range = PhysRange::new(start, size).ok_or(BootError::MemoryWraps(name))?;
            if exact.overlaps(&range) {
                return Err(BootError::MemoryOverlap(name));
            }
            exact.insert(range).map_err(|_| BootError::TooManyMemoryRanges(name))?;
        }
    }
    let mut whole = Memory::default();
    // Rounding inward neither adds ranges nor makes two touch: the insert cannot fail.
    for range in exact.as_slice() {
        let inner = range.page_inward().ok_or(BootError::MemoryTooSmall(range.start()))?;
        whole.insert(inner).map_err(|_| BootError::NoMemory)?;
    }
    if whole.as_slice().is_empty() {
        return Err(BootError::NoMemory);
    }
    Ok((whole, exact))
}

/// Collects the memory reservation block and the nodes of /reserved-memory that have a place.
///
/// Nodes that only ask for a size leave the place to the host, which chooses within its memory.
#[inline(never)]
pub(crate) fn collect_reserved(
    fdt: &Fdt<'_>,
) -> Result<ArrayVec<ReservedRange, MAX_RESERVED_RANGES>, BootError> {
    let mut reserved = ArrayVec::new();
    let mut add = |range: PhysRange, no_map| {
        let entry = ReservedRange { range: range.page_outward(), no_map };
        reserved.push(entry).map_err(|_| BootError::TooManyReserved)
    };
    for (start, size) in fdt.reservations().filter(|(_, size)| *size != 0) {
        add(PhysRange::new(start, size).ok_or(BootError::ReservationWraps(start))?, false)?;
    }
    let mut walk = fdt.walk();
    while let Some(path) = walk.next_node() {
        if path.depth() != 2 || !path.is_in(b"reserved-memory") || !path.is_enabled() {
            continue;
        }
        let no_map = path.node().property(b"no-map").is_some();
        for entry in path.reg()? {
            let (start, size) = entry?;
            if size == 0 {
                continue;
            }
            let name = path.node().display_name();
            add(PhysRange::new(start, size).ok_or(BootError::ReservedWraps(name))?, no_map)?;
        }
    }
    Ok(reserved)
}

/// Reads the initrd's place from /chosen. Start and end at zero mean none, as loaders write it.
#[inline(never)]
pub(crate) fn find_initrd(fdt: &Fdt<'_>) -> Result<Option<PhysRange>, BootError> {
    let Some(chosen) = fdt.find(b"/chosen") else {
        return Ok(None);
    };
    let end_of = |name: &[u8]| match chosen.node().property(name) {
        Some(property) => property.as_number().map(Some).ok_or(BootError::BadInitrd),
        None => Ok(None),
    };
    match (end_of(b"linux,initrd-start")?, end_of(b"linux,initrd-end")?) {
        (None, None) => Ok(None),
        (Some(start), Some(end)) if start == end => Ok(None),
        (Some(start), Some(end)) => {
            PhysRange::from_bounds(start, end).map(Some).ok_or(BootError::BadInitrd)
        }
        (Some(_), None) | (None, Some(_)) => Err(BootError::BadInitrd),
    }
}
