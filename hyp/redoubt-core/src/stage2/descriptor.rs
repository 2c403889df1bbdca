//! Stage-2 descriptors: VMSAv8-64, 4 KiB granule, 48-bit output addresses.
//!
//! Decides how memory type, permissions and addresses are encoded, and nothing else. FWB is not
//! assumed (HCR_EL2.FWB = 0), so stage 1 may make memory weaker, never stronger. The access flag is
//! always set: EL2 does not track use. Spec: Arm ARM D8.3 (descriptor formats), D8.5.5 (stage-2
//! memory attributes), D8.4.2 (S2AP, XN).

use crate::addr::{ADDRESS_LIMIT, PAGE_SHIFT, PAGE_SIZE, Pa};

/// Holds the binary logarithm of the number of descriptors in a table.
pub const TABLE_BITS: u32 = 9;
/// Holds the number of descriptors in a table.
pub const ENTRIES: usize = 1 << TABLE_BITS;
/// Holds the mask of an index in a table.
pub const INDEX_MASK: u64 = ENTRIES as u64 - 1;
/// Holds the number of pages that one level-3 table maps: the size of a level-2 block.
pub const BLOCK_PAGES: u64 = ENTRIES as u64;
/// Holds the last level of a walk.
pub const LEAF_LEVEL: u8 = 3;

const VALID: u64 = 1 << 0;
/// Says "table" at levels 0 to 2 and "page" at level 3.
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEMATTR_SHIFT: u32 = 2;
const MEMATTR_MASK: u64 = 0xf << MEMATTR_SHIFT;
/// Normal memory, inner and outer write-back cacheable.
const MEMATTR_NORMAL_WB: u64 = 0b1111 << MEMATTR_SHIFT;
/// Device memory, nGnRE.
const MEMATTR_DEVICE_NGNRE: u64 = 0b0001 << MEMATTR_SHIFT;
const S2AP_READ: u64 = 1 << 6;
const S2AP_WRITE: u64 = 1 << 7;
const SH_INNER: u64 = 0b11 << 8;
const ACCESS_FLAG: u64 = 1 << 10;
/// XN[1:0] = 0b10: not executable at EL1 nor at EL0 (with and without FEAT_XNX).
const EXECUTE_NEVER: u64 = 1 << 54;
const ADDRESS_MASK: u64 = (ADDRESS_LIMIT - 1) & !(PAGE_SIZE - 1);

/// Says what kind of memory a mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// Normal, write-back cacheable, inner shareable.
    Normal,
    /// Device nGnRE.
    Device,
}

/// What a mapping allows. Reading is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attrs {
    /// The memory type.
    pub memory: MemoryType,
    /// Whether stores are allowed.
    pub write: bool,
    /// Whether instructions may be fetched.
    pub execute: bool,
}

impl Attrs {
    /// The host's own RAM, and a VM's.
    pub const RAM: Self = Self { memory: MemoryType::Normal, write: true, execute: true };
    /// RAM that a VM may not change.
    pub const RAM_READ_ONLY: Self =
        Self { memory: MemoryType::Normal, write: false, execute: true };
    /// A VM's RAM as the host sees it while it borrows it.
    pub const BORROWED: Self = Self { memory: MemoryType::Normal, write: true, execute: false };
    /// A device.
    pub const DEVICE: Self = Self { memory: MemoryType::Device, write: true, execute: false };
}

/// A decoded descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Faults.
    Invalid,
    /// Points to the table of the next level.
    Table(Pa),
    /// Maps a page or a block.
    Leaf {
        /// The first output address.
        pa: Pa,
        /// What the mapping allows.
        attrs: Attrs,
    },
}

/// Returns the number of address bits below the ones that index a table of `level`.
pub const fn level_shift(level: u8) -> u32 {
    match level {
        0 => 39,
        1 => 30,
        2 => 21,
        _ => PAGE_SHIFT,
    }
}

/// Returns the number of pages that one descriptor of `level` maps.
pub const fn level_pages(level: u8) -> u64 {
    match level {
        0 => 1 << 27,
        1 => 1 << 18,
        2 => 1 << 9,
        _ => 1,
    }
}

/// Encodes a pointer to the next level's table.
pub const fn encode_table(table: Pa) -> u64 {
    table.raw() | TABLE_OR_PAGE | VALID
}

/// Encodes a leaf of `level` (1 to 3). `pa` is aligned to what the leaf maps.
pub const fn encode_leaf(level: u8, pa: Pa, attrs: Attrs) -> u64 {
    let kind = if level == LEAF_LEVEL { TABLE_OR_PAGE | VALID } else { VALID };
    let memory = match attrs.memory {
        MemoryType::Normal => MEMATTR_NORMAL_WB | SH_INNER,
        MemoryType::Device => MEMATTR_DEVICE_NGNRE,
    };
    let write = if attrs.write { S2AP_WRITE } else { 0 };
    let execute = if attrs.execute { 0 } else { EXECUTE_NEVER };
    pa.raw() | kind | memory | S2AP_READ | write | execute | ACCESS_FLAG
}

/// Decodes a descriptor read at `level`. What the architecture reserves faults, so it is
/// [`Entry::Invalid`].
pub const fn decode(level: u8, raw: u64) -> Entry {
    if raw & VALID == 0 {
        return Entry::Invalid;
    }
    let pa = match Pa::new(raw & ADDRESS_MASK) {
        Some(pa) => pa,
        None => return Entry::Invalid,
    };
    let is_table_or_page = raw & TABLE_OR_PAGE != 0;
    let is_leaf = match level {
        0 => false,
        1 | 2 => !is_table_or_page,
        _ => is_table_or_page,
    };
    if is_leaf {
        let memory = match raw & MEMATTR_MASK {
            MEMATTR_NORMAL_WB => MemoryType::Normal,
            _ => MemoryType::Device,
        };
        let write = raw & S2AP_WRITE != 0;
        let execute = raw & EXECUTE_NEVER == 0;
        Entry::Leaf { pa, attrs: Attrs { memory, write, execute } }
    } else if is_table_or_page && level < LEAF_LEVEL {
        Entry::Table(pa)
    } else {
        Entry::Invalid
    }
}

#[cfg(test)]
mod tests;
