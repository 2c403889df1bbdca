//! EL2's own translation tables: stage 1 of the EL2 regime (HCR_EL2.E2H = 0), 4 KiB granule.
//!
//! Decides what EL2 can reach and how. Writable and executable exclude one another by
//! construction: [`HypAttrs`] has no member that is both. Tables are built while booting; after
//! that only the leaves of fixmap windows change, one page for the length of one operation.
//!
//! Invariants: a valid descriptor is never replaced by another valid one (break-before-make: store
//! of zero, invalidation of the address, then the new one); the windows' tables are made at boot, so
//! that opening a window needs no memory and cannot fail. Spec: Arm ARM D8.3 (descriptors), D8.4.1
//! (AP, XN), D8.16.1 (break-before-make), D24.2 (TCR_EL2, MAIR_EL2).

use crate::addr::{ADDRESS_LIMIT, HypVa, PAGE_SHIFT, PAGE_SIZE, Pa, PageRange};
use crate::hw::TableMemory;
use crate::refusal::Refusal;
use crate::stage2::Slot;
use crate::stage2::descriptor::{BLOCK_PAGES, INDEX_MASK, LEAF_LEVEL, level_pages, level_shift};
use crate::tables::TablePool;

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ATTR_INDEX_DEVICE: u64 = 1 << 2;
/// AP[1], RES1 in a regime with one privilege level.
const AP_RES1: u64 = 1 << 6;
const AP_READ_ONLY: u64 = 1 << 7;
const SH_INNER: u64 = 0b11 << 8;
const ACCESS_FLAG: u64 = 1 << 10;
/// Guarded page: an indirect branch must land on a BTI instruction. RES0 without FEAT_BTI.
const GUARDED: u64 = 1 << 50;
const EXECUTE_NEVER: u64 = 1 << 54;
const ADDRESS_MASK: u64 = (ADDRESS_LIMIT - 1) & !(PAGE_SIZE - 1);

/// The value of MAIR_EL2 that the descriptors rely on: index 0 is normal write-back memory, index 1
/// is device nGnRE.
pub const MAIR_EL2: u64 = 0x04_ff;

/// Says how EL2 may use a mapping. Nothing is both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HypAttrs {
    /// Code: read and execute.
    Code,
    /// Constants: read.
    Constants,
    /// Data: read and write.
    Data,
    /// Device registers: read and write.
    Device,
}

/// The width of EL2's virtual addresses: the walk starts at level 0.
const VA_BITS: u32 = 48;
const START_LEVEL: u8 = 0;
const VA_LIMIT: u64 = 1 << VA_BITS;

/// Encodes TCR_EL2 for these tables; `pa_range` is the field ID_AA64MMFR0_EL1.PARange, capped by the
/// caller to at most 0b101.
pub const fn tcr(pa_range: u8) -> u64 {
    const RES1: u64 = (1 << 31) | (1 << 23);
    const WALKS_WBWA_INNER: u64 = (0b01 << 8) | (0b01 << 10) | (0b11 << 12);
    const T0SZ: u64 = 64 - VA_BITS as u64;
    RES1 | WALKS_WBWA_INNER | T0SZ | (((pa_range & 0b111) as u64) << 16)
}

/// Emits the barriers and TLB maintenance of EL2's own regime.
pub trait HypTlb {
    /// `DSB ISHST; TLBI VAE2IS; DSB ISH; ISB`: a descriptor set to zero is in no TLB any more.
    fn break_va(&mut self, va: HypVa);
}

/// EL2's translation tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage1 {
    root: Pa,
}

impl Stage1 {
    /// Takes a zeroed root table.
    pub const fn new(root: Pa) -> Self {
        Self { root }
    }

    /// Returns the value of TTBR0_EL2.
    pub const fn ttbr(&self) -> u64 {
        self.root.raw()
    }

    /// Encodes a page descriptor.
    pub const fn page_descriptor(page: Pa, attrs: HypAttrs) -> u64 {
        encode_leaf(LEAF_LEVEL, page, attrs)
    }

    /// Maps physical pages at `va`, with 2 MiB blocks where both addresses allow it.
    ///
    /// Refuses [`Misaligned`](Refusal::Misaligned), [`OutOfRange`](Refusal::OutOfRange),
    /// [`AlreadyMapped`](Refusal::AlreadyMapped), and [`NoTables`](Refusal::NoTables) before the
    /// first change of a leaf. Emits no barrier: the caller does (`DSB ISHST; ISB`) before use.
    pub fn map(
        &self,
        hw: &mut impl TableMemory,
        pool: &mut TablePool,
        va: HypVa,
        range: PageRange,
        attrs: HypAttrs,
    ) -> Result<(), Refusal> {
        self.check_range(va, range.pages())?;
        let pa = range.start_pa();
        // First all paths and the check, then the leaves: a refusal leaves no leaf behind.
        for step in steps(va, pa, range.pages()) {
            let slot = self.make_path(hw, pool, step.va, step.level)?;
            if hw.read(slot.table, slot.index) != 0 {
                return Err(Refusal::AlreadyMapped);
            }
        }
        for step in steps(va, pa, range.pages()) {
            let slot = self.make_path(hw, pool, step.va, step.level)?;
            hw.write(slot.table, slot.index, encode_leaf(step.level, step.pa, attrs));
        }
        Ok(())
    }

    /// Unmaps pages that were mapped one by one or by whole blocks.
    ///
    /// Refuses [`NotMapped`](Refusal::NotMapped) a range with a page that is not mapped, or that
    /// ends in the middle of a block.
    pub fn unmap(
        &self,
        hw: &mut (impl TableMemory + HypTlb),
        va: HypVa,
        pages: u64,
    ) -> Result<(), Refusal> {
        self.check_range(va, pages)?;
        self.walk_leaves(hw, va, pages, |_, _, _| {})?;
        self.walk_leaves(hw, va, pages, |hw, slot, va| {
            hw.write(slot.table, slot.index, 0);
            hw.break_va(va);
        })
    }

    /// Makes the tables for fixmap windows of `pages` pages at `va`, so that each window's
    /// [`leaf_slot`](Self::leaf_slot) exists.
    pub fn reserve(
        &self,
        hw: &mut impl TableMemory,
        pool: &mut TablePool,
        va: HypVa,
        pages: u64,
    ) -> Result<(), Refusal> {
        self.check_range(va, pages)?;
        for page in 0..pages {
            let va = va.checked_add(page << PAGE_SHIFT).ok_or(Refusal::OutOfRange)?;
            let slot = self.make_path(hw, pool, va, LEAF_LEVEL)?;
            if hw.read(slot.table, slot.index) != 0 {
                return Err(Refusal::AlreadyMapped);
            }
        }
        Ok(())
    }

    /// Finds the level-3 descriptor for `va`; `None` if there is no table for it.
    pub fn leaf_slot(&self, hw: &mut impl TableMemory, va: HypVa) -> Option<Slot> {
        self.locate(hw, va).filter(|(_, level, _)| *level == LEAF_LEVEL).map(|(slot, _, _)| slot)
    }

    /// Returns where `va` goes and the raw attributes of the leaf.
    #[cfg(test)]
    fn get(&self, hw: &mut impl TableMemory, va: HypVa) -> Option<(Pa, u64)> {
        let (_, level, raw) = self.locate(hw, va)?;
        if raw & VALID == 0 {
            return None;
        }
        let offset = va.raw() & level_bytes(level).wrapping_sub(1);
        let pa = Pa::new((raw & ADDRESS_MASK).checked_add(offset)?)?;
        Some((pa, raw & !ADDRESS_MASK))
    }

    fn check_range(&self, va: HypVa, pages: u64) -> Result<(), Refusal> {
        if !va.is_page_aligned() {
            return Err(Refusal::Misaligned);
        }
        let bytes = pages.checked_mul(PAGE_SIZE).ok_or(Refusal::OutOfRange)?;
        match va.raw().checked_add(bytes) {
            _ if pages == 0 => Err(Refusal::Empty),
            Some(end) if end <= VA_LIMIT => Ok(()),
            Some(_) | None => Err(Refusal::OutOfRange),
        }
    }

    /// Walks down until a descriptor is no table.
    fn locate(&self, hw: &mut impl TableMemory, va: HypVa) -> Option<(Slot, u8, u64)> {
        if va.raw() >= VA_LIMIT {
            return None;
        }
        let mut table = self.root;
        for level in START_LEVEL..=LEAF_LEVEL {
            let slot = Slot { table, index: table_index(va, level) };
            let raw = hw.read(slot.table, slot.index);
            match next_table(level, raw) {
                Some(next) => table = next,
                None => return Some((slot, level, raw)),
            }
        }
        None
    }

    /// Walks to the descriptor of `level` for `va`, making the tables that are missing.
    fn make_path(
        &self,
        hw: &mut impl TableMemory,
        pool: &mut TablePool,
        va: HypVa,
        level: u8,
    ) -> Result<Slot, Refusal> {
        let mut table = self.root;
        for above in START_LEVEL..level {
            let slot = Slot { table, index: table_index(va, above) };
            let raw = hw.read(slot.table, slot.index);
            table = match next_table(above, raw) {
                Some(next) => next,
                None if raw & VALID != 0 => return Err(Refusal::AlreadyMapped),
                None => {
                    let new = pool.pop(hw).ok_or(Refusal::NoTables)?;
                    hw.write(slot.table, slot.index, new.raw() | TABLE_OR_PAGE | VALID);
                    new
                }
            };
        }
        Ok(Slot { table, index: table_index(va, level) })
    }

    /// Calls `visit` for each leaf in a range that leaves fill exactly.
    fn walk_leaves<H: TableMemory>(
        &self,
        hw: &mut H,
        va: HypVa,
        pages: u64,
        mut visit: impl FnMut(&mut H, Slot, HypVa),
    ) -> Result<(), Refusal> {
        let mut at = va;
        let mut left = pages;
        while left > 0 {
            let (slot, level, raw) = self.locate(hw, at).ok_or(Refusal::NotMapped)?;
            let whole = at.raw() & level_bytes(level).wrapping_sub(1) == 0;
            if raw & VALID == 0 || !whole {
                return Err(Refusal::NotMapped);
            }
            left = left.checked_sub(level_pages(level)).ok_or(Refusal::NotMapped)?;
            visit(hw, slot, at);
            at = at.checked_add(level_bytes(level)).ok_or(Refusal::OutOfRange)?;
        }
        Ok(())
    }
}

/// One leaf of a mapping.
struct Step {
    va: HypVa,
    pa: Pa,
    level: u8,
}

/// Cuts a mapping into leaves, in rising order.
fn steps(va: HypVa, pa: Pa, pages: u64) -> impl Iterator<Item = Step> {
    let mut next = Some((va, pa));
    let mut left = pages;
    core::iter::from_fn(move || {
        let (va, pa) = next?;
        let block = level_bytes(2).wrapping_sub(1);
        let fits = left >= BLOCK_PAGES && va.raw() & block == 0 && pa.raw() & block == 0;
        let level = if fits { 2 } else { LEAF_LEVEL };
        left = left.checked_sub(level_pages(level))?;
        next = va.checked_add(level_bytes(level)).zip(pa.checked_add(level_bytes(level)));
        Some(Step { va, pa, level })
    })
}

const fn level_bytes(level: u8) -> u64 {
    level_pages(level) << PAGE_SHIFT
}

fn table_index(va: HypVa, level: u8) -> usize {
    let index = va.raw().checked_shr(level_shift(level)).unwrap_or(0) & INDEX_MASK;
    index as usize
}

/// Returns the next level's table if `raw` points to one.
const fn next_table(level: u8, raw: u64) -> Option<Pa> {
    if level < LEAF_LEVEL && raw & (TABLE_OR_PAGE | VALID) == TABLE_OR_PAGE | VALID {
        Pa::new(raw & ADDRESS_MASK)
    } else {
        None
    }
}

const fn encode_leaf(level: u8, pa: Pa, attrs: HypAttrs) -> u64 {
    let kind = if level == LEAF_LEVEL { TABLE_OR_PAGE | VALID } else { VALID };
    let bits = match attrs {
        HypAttrs::Code => SH_INNER | AP_READ_ONLY | GUARDED,
        HypAttrs::Constants => SH_INNER | AP_READ_ONLY | EXECUTE_NEVER,
        HypAttrs::Data => SH_INNER | EXECUTE_NEVER,
        HypAttrs::Device => ATTR_INDEX_DEVICE | EXECUTE_NEVER,
    };
    pa.raw() | kind | AP_RES1 | ACCESS_FLAG | bits
}

#[cfg(test)]
mod tests;
