//! Stage-2 tables: walk, map, unmap, split and merge.
//!
//! Decides the order of every change to live tables. Changes come in pairs: a `check_*` function
//! looks at the tables, refuses what cannot be done and counts the tables it takes; the change that
//! follows under the same lock cannot fail, and stops the machine if the tables are not what the
//! check saw.
//!
//! Invariants:
//! - invalid to valid: store, `DSB ISHST`; no TLB maintenance, for invalid entries are not cached;
//! - valid to invalid, and every change of size: break-before-make, through [`Stage2::flush`] alone
//!   (store of zero; `DSB ISHST`; `TLBI IPAS2E1IS`; `DSB ISH`; `TLBI VMALLE1IS`; `DSB ISH`; `ISB`;
//!   only then the new descriptor, and only then does anyone reuse a table or a page);
//! - a table's contents are complete and visible before it is linked;
//! - in a table set made with [`Emptied::Freed`] (a VM's) no table but the root is empty; in one
//!   made with [`Emptied::Kept`] (the host's) every page that was taken out of a block keeps its
//!   level-3 table, so that putting a page back never needs one.
//!
//! No recursion: a walk is a loop over at most four levels. Spec: Arm ARM D8.16.1 (break-before-make),
//! D8.17 (TLB maintenance).

pub mod descriptor;
pub mod geometry;
mod segments;

use crate::addr::{Ipa, IpaRange, Pa, PageRange, Pfn};
use crate::hw::{Breach, Stage2Context, TableHw, TableMemory, TlbOps};
use crate::refusal::Refusal;
use crate::tables::TablePool;
use descriptor::{
    Attrs, BLOCK_PAGES, ENTRIES, Entry, INDEX_MASK, LEAF_LEVEL, decode, encode_leaf, encode_table,
    level_pages, level_shift,
};
use geometry::Geometry;
pub use segments::BlockSize;
use segments::block_segments;
pub(crate) use segments::windows;

/// Holds the number of pages above which the whole context is invalidated instead of each page.
const FLUSH_EACH_PAGE_MAX: u64 = 64;
/// Holds the number of levels of a walk.
const LEVELS: usize = 4;

/// The place of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The table.
    pub table: Pa,
    /// The index in the table.
    pub index: usize,
}

/// A leaf found by a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first input address that the leaf translates.
    pub ipa: Ipa,
    /// What it translates to.
    pub pa: Pa,
    /// The leaf's level: 1 (1 GiB), 2 (2 MiB) or 3 (4 KiB).
    pub level: u8,
    /// What the mapping allows.
    pub attrs: Attrs,
}

impl Mapping {
    /// Returns the page that `ipa`, which the leaf translates, goes to.
    pub const fn page_of(&self, ipa: Ipa) -> Option<Pfn> {
        match ipa.page_number().checked_sub(self.ipa.page_number()) {
            Some(offset) if offset < level_pages(self.level) => {
                Pfn::new(self.pa.pfn().raw().saturating_add(offset))
            }
            Some(_) | None => None,
        }
    }

    /// Returns the number of pages that the leaf maps.
    pub const fn pages(&self) -> u64 {
        level_pages(self.level)
    }
}

/// A run of pages that is contiguous both as input and as output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The input addresses.
    pub ipas: IpaRange,
    /// The pages.
    pub pages: PageRange,
}

/// Says what becomes of a level-3 table whose last page is unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// It goes back to the pool, and so does every table above that becomes empty.
    Freed,
    /// It stays, so that the page can be mapped again without a new table.
    Kept,
}

/// Says what to invalidate.
#[derive(Clone, Copy)]
enum FlushScope {
    /// The leaf of each page of a range, of this level if it is known.
    Leaves(IpaRange, Option<u8>),
    /// All of the context.
    All,
}

/// Where a walk ended, and how it came there.
struct Location {
    path: [Slot; LEVELS],
    level: u8,
    entry: Entry,
}

impl Location {
    fn slot(&self, level: u8) -> Option<Slot> {
        self.path.get(usize::from(level)).copied()
    }
}

/// The stage-2 tables of one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    context: Stage2Context,
    geometry: Geometry,
    emptied: Emptied,
}

impl Stage2 {
    /// Takes start-level tables that the caller has zeroed. Refuses
    /// [`Misaligned`](Refusal::Misaligned) a root that VTTBR_EL2 cannot hold.
    pub fn new(
        context: Stage2Context,
        geometry: Geometry,
        emptied: Emptied,
    ) -> Result<Self, Refusal> {
        if !geometry.root_aligned(context.root) {
            return Err(Refusal::Misaligned);
        }
        Ok(Self { context, geometry, emptied })
    }

    /// Returns VMID and root.
    pub const fn context(&self) -> Stage2Context {
        self.context
    }

    /// Returns the shape of the walk.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Walks to the leaf that translates `ipa`.
    pub fn get(&self, hw: &mut impl TableMemory, ipa: Ipa) -> Option<Mapping> {
        let location = self.locate(hw, ipa)?;
        mapping_at(&location, ipa)
    }

    /// Finds the first leaf that translates `from` or an address above it: the cursor of a
    /// resumable walk. Reads at most a few thousand descriptors, because no table is empty.
    pub fn next_leaf(&self, hw: &mut impl TableMemory, from: Ipa) -> Option<Mapping> {
        let mut ipa = from.page_base();
        loop {
            let location = self.locate(hw, ipa)?;
            if let Some(mapping) = mapping_at(&location, ipa) {
                return Some(mapping);
            }
            // Skip to the next descriptor of this table that is not zero, or behind the table.
            let slot = location.slot(location.level)?;
            let next = slot.index.checked_add(1)?;
            let mut skipped = 1u64;
            for index in next..ENTRIES {
                if hw.read(slot.table, index) != 0 {
                    break;
                }
                skipped = skipped.saturating_add(1);
            }
            let span = level_pages(location.level);
            let base = ipa.page_number() & !span.wrapping_sub(1);
            ipa = Ipa::from_page_number(base.checked_add(skipped.checked_mul(span)?)?)?;
        }
    }

    /// Finds the longest run of at most `limit` pages from `ipa` on that is contiguous in both
    /// address spaces and crosses no 2 MiB boundary of the input. `None` if `ipa` is not mapped.
    pub fn run_at(&self, hw: &mut impl TableMemory, ipa: Ipa, limit: u64) -> Option<Run> {
        let location = self.locate(hw, ipa)?;
        let mapping = mapping_at(&location, ipa)?;
        let first = mapping.page_of(ipa)?;
        let in_window = BLOCK_PAGES.saturating_sub(ipa.page_number() % BLOCK_PAGES);
        let limit = limit.min(in_window).max(1);
        let pages = if mapping.level < LEAF_LEVEL {
            limit
        } else {
            let slot = location.slot(LEAF_LEVEL)?;
            let mut pages = 1u64;
            for index in slot.index.saturating_add(1)..ENTRIES {
                let expected = first.raw().saturating_add(pages);
                let found = decode(LEAF_LEVEL, hw.read(slot.table, index));
                let contiguous =
                    matches!(found, Entry::Leaf { pa, .. } if pa.pfn().raw() == expected);
                if pages >= limit || !contiguous {
                    break;
                }
                pages = pages.saturating_add(1);
            }
            pages
        };
        Some(Run {
            ipas: IpaRange::new(ipa.page_base(), pages).ok()?,
            pages: PageRange::new(first, pages).ok()?,
        })
    }

    /// Checks that no page of `ipas` is mapped and counts the tables that [`map`](Self::map) takes.
    pub fn check_map(
        &self,
        hw: &mut impl TableMemory,
        ipas: IpaRange,
        first: Pfn,
        largest: BlockSize,
    ) -> Result<u64, Refusal> {
        let mut tables = 0u64;
        let mut last: Option<Ipa> = None;
        for segment in block_segments(ipas, first, largest) {
            let location = self.locate(hw, segment.ipa).ok_or(Refusal::OutOfRange)?;
            let free = if segment.level == LEAF_LEVEL && location.level == LEAF_LEVEL {
                all_entries(hw, &location, segment.pages, |raw| raw == 0)
            } else {
                location.entry == Entry::Invalid && location.level <= segment.level
            };
            if !free {
                return Err(Refusal::AlreadyMapped);
            }
            // One table for each level that is missing, unless the segment before needed it too.
            for level in location.level.saturating_add(1)..=segment.level {
                let span = level_shift(level.saturating_sub(1));
                let shared = last.is_some_and(|before| {
                    before.raw().checked_shr(span) == segment.ipa.raw().checked_shr(span)
                });
                if !shared {
                    tables = tables.saturating_add(1);
                }
            }
            last = Some(segment.ipa);
        }
        Ok(tables)
    }

    /// Maps `ipas` to the pages from `first` on, with blocks no larger than `largest`.
    pub fn map(
        &self,
        hw: &mut impl TableHw,
        pool: &mut TablePool,
        ipas: IpaRange,
        first: Pfn,
        attrs: Attrs,
        largest: BlockSize,
    ) {
        for segment in block_segments(ipas, first, largest) {
            let slot = self.make_path(hw, pool, segment.ipa, segment.level);
            let entries = if segment.level == LEAF_LEVEL { segment.pages } else { 1 };
            for offset in 0..entries {
                let pfn = segment.first.raw().saturating_add(offset);
                let (Some(page), Ok(offset)) = (Pfn::new(pfn), usize::try_from(offset)) else {
                    hw.fail_stop(Breach::TablesDisagree);
                };
                let index = slot.index.saturating_add(offset);
                hw.write(slot.table, index, encode_leaf(segment.level, page.base(), attrs));
            }
        }
        hw.dsb_ishst();
    }

    /// Checks that every page of `ipas` is mapped and counts the tables that
    /// [`unmap`](Self::unmap) takes to split blocks.
    pub fn check_unmap(&self, hw: &mut impl TableMemory, ipas: IpaRange) -> Result<u64, Refusal> {
        let mut tables = 0u64;
        let mut split: Option<Ipa> = None;
        let is_page = |raw| matches!(decode(LEAF_LEVEL, raw), Entry::Leaf { .. });
        for window in windows(ipas) {
            let location = self.locate(hw, window.ipa).ok_or(Refusal::OutOfRange)?;
            let mapping = mapping_at(&location, window.ipa).ok_or(Refusal::NotMapped)?;
            match mapping.level {
                LEAF_LEVEL if all_entries(hw, &location, window.pages, is_page) => {}
                LEAF_LEVEL => return Err(Refusal::NotMapped),
                2 if self.drops_block(window.pages) => {}
                2 => tables = tables.saturating_add(1),
                _ => {
                    // The window before may have split the same 1 GiB block already.
                    if split != Some(mapping.ipa) {
                        split = Some(mapping.ipa);
                        tables = tables.saturating_add(1);
                    }
                    if !self.drops_block(window.pages) {
                        tables = tables.saturating_add(1);
                    }
                }
            }
        }
        Ok(tables)
    }

    /// Unmaps every page of `ipas`. When it returns, no CPU can reach the pages through this
    /// context any more.
    pub fn unmap(&self, hw: &mut impl TableHw, pool: &mut TablePool, ipas: IpaRange) {
        for window in windows(ipas) {
            let location = self.locate(hw, window.ipa);
            let mapping = location.as_ref().and_then(|location| mapping_at(location, window.ipa));
            let range = IpaRange::new(window.ipa, window.pages);
            let (Some(location), Some(mapping), Ok(range)) = (location, mapping, range) else {
                hw.fail_stop(Breach::TablesDisagree);
            };
            let whole_block = mapping.level == 2 && self.drops_block(window.pages);
            if mapping.level == LEAF_LEVEL || whole_block {
                self.unmap_leaves(hw, pool, &location, range);
            } else {
                self.split_with_hole(hw, pool, &location, &mapping, range);
            }
        }
    }

    /// Maps pages again whose level-3 table is there and whose entries are invalid: needs no table.
    pub fn refill(&self, hw: &mut impl TableHw, ipas: IpaRange, first: Pfn, attrs: Attrs) {
        let mut page = first.raw();
        for window in windows(ipas) {
            let (slot, found) = match self.locate(hw, window.ipa) {
                Some(Location { path: [.., slot], level: LEAF_LEVEL, entry }) => (slot, entry),
                Some(_) | None => hw.fail_stop(Breach::TablesDisagree),
            };
            if found != Entry::Invalid {
                hw.fail_stop(Breach::TablesDisagree);
            }
            for index in entry_indices(slot.index, window.pages) {
                let Some(pfn) = Pfn::new(page) else { hw.fail_stop(Breach::TablesDisagree) };
                hw.write(slot.table, index, encode_leaf(LEAF_LEVEL, pfn.base(), attrs));
                page = page.saturating_add(1);
            }
        }
        hw.dsb_ishst();
    }

    /// Replaces the level-3 table around `ipa` by a block if it has become uniform, and the level-2
    /// table above it likewise. The tables go back to the pool. Does nothing otherwise.
    pub fn merge(&self, hw: &mut impl TableHw, pool: &mut TablePool, ipa: Ipa) {
        let Some(location) = self.locate(hw, ipa) else {
            return;
        };
        let [_, level1, level2, level3] = location.path;
        let Entry::Leaf { pa, attrs } = location.entry else {
            return;
        };
        if location.level != LEAF_LEVEL {
            return;
        }
        let Some(block) = uniform_base(hw, level3, LEAF_LEVEL, pa, attrs, None) else {
            return;
        };
        let above = uniform_base(hw, level2, 2, block, attrs, Some(level2.index));
        let (slot, level, base) = match above {
            Some(gigabyte) => (level1, 1, gigabyte),
            None => (level2, 2, block),
        };
        // Break: the old tables may be cached for any page of the new block, so all of the context
        // is invalidated. A CPU that faults in between finds the new block and tries again.
        hw.write(slot.table, slot.index, 0);
        self.flush(hw, FlushScope::All);
        hw.write(slot.table, slot.index, encode_leaf(level, base, attrs));
        hw.dsb_ishst();
        pool.push(hw, level3.table.pfn());
        if above.is_some() {
            pool.push(hw, level2.table.pfn());
        }
    }

    /// Invalidates everything cached for the context. For a VMID that is about to be used, or was.
    pub fn flush_all(&self, hw: &mut impl TlbOps) {
        self.flush(hw, FlushScope::All);
    }

    /// Makes the whole start level invalid, or valid again, without losing what it says: the valid bit
    /// of each descriptor that is there is cleared or set. An invalid descriptor is otherwise zero.
    pub fn set_root_valid(&self, hw: &mut impl TableHw, valid: bool) {
        let pages = self.geometry.root_pages();
        for page in 0..pages {
            let offset = page.saturating_mul(crate::addr::PAGE_SIZE);
            let Some(table) = self.context.root.checked_add(offset) else { continue };
            for index in 0..ENTRIES {
                let raw = hw.read(table, index);
                if raw != 0 {
                    hw.write(table, index, if valid { raw | 1 } else { raw & !1 });
                }
            }
        }
        self.flush(hw, FlushScope::All);
    }

    /// Makes descriptors that were set to zero before the call unreachable on every CPU: the one
    /// place where stage-2 TLB maintenance is emitted.
    fn flush(&self, hw: &mut (impl TlbOps + ?Sized), scope: FlushScope) {
        hw.dsb_ishst();
        hw.enter(self.context);
        match scope {
            FlushScope::Leaves(range, level) if range.pages() <= FLUSH_EACH_PAGE_MAX => {
                for ipa in range.iter() {
                    hw.invalidate_ipa(ipa, level);
                }
                hw.dsb_ish();
                hw.invalidate_stage1();
            }
            FlushScope::Leaves(..) | FlushScope::All => hw.invalidate_all(),
        }
        hw.dsb_ish();
        hw.isb();
        hw.leave();
    }

    /// Tells whether unmapping `pages` pages of a 2 MiB window removes a block as a whole.
    fn drops_block(&self, pages: u64) -> bool {
        pages == BLOCK_PAGES && self.emptied == Emptied::Freed
    }

    /// Finds the start-level descriptor for `ipa`.
    fn root_slot(&self, ipa: Ipa) -> Option<Slot> {
        let (table, index) = self.geometry.root_index(ipa)?;
        let bytes = table.checked_mul(crate::addr::PAGE_SIZE)?;
        Some(Slot { table: self.context.root.checked_add(bytes)?, index })
    }

    /// Walks down until a descriptor is no table. `None` if `ipa` is outside the address space.
    fn locate(&self, hw: &mut (impl TableMemory + ?Sized), ipa: Ipa) -> Option<Location> {
        let mut slot = self.root_slot(ipa)?;
        let mut path = [slot; LEVELS];
        let mut entry = Entry::Invalid;
        let mut reached = self.geometry.start_level();
        for level in self.geometry.start_level()..=LEAF_LEVEL {
            if let Some(step) = path.get_mut(usize::from(level)) {
                *step = slot;
            }
            reached = level;
            entry = decode(level, hw.read(slot.table, slot.index));
            let Entry::Table(next) = entry else { break };
            slot = Slot { table: next, index: table_index(ipa, level.saturating_add(1)) };
        }
        Some(Location { path, level: reached, entry })
    }

    /// Walks to the descriptor of `level` for `ipa`, making the tables that are missing.
    fn make_path(&self, hw: &mut impl TableHw, pool: &mut TablePool, ipa: Ipa, level: u8) -> Slot {
        let Some(mut slot) = self.root_slot(ipa) else { hw.fail_stop(Breach::TablesDisagree) };
        for above in self.geometry.start_level()..level {
            let next = match decode(above, hw.read(slot.table, slot.index)) {
                Entry::Table(next) => next,
                Entry::Invalid => {
                    let table = take_table(hw, pool);
                    hw.dsb_ishst();
                    hw.write(slot.table, slot.index, encode_table(table));
                    table
                }
                Entry::Leaf { .. } => hw.fail_stop(Breach::TablesDisagree),
            };
            slot = Slot { table: next, index: table_index(ipa, above.saturating_add(1)) };
        }
        slot
    }

    /// Unmaps the leaves at `location` that translate `range`: pages of one level-3 table, or a whole
    /// block. Frees tables that become empty where that is asked.
    fn unmap_leaves(
        &self,
        hw: &mut impl TableHw,
        pool: &mut TablePool,
        location: &Location,
        range: IpaRange,
    ) {
        let lowest = location.level;
        let leaves = if lowest == LEAF_LEVEL { range } else { IpaRange::one(range.start()) };
        let Some(slot) = location.slot(lowest) else { hw.fail_stop(Breach::TablesDisagree) };
        for index in entry_indices(slot.index, leaves.pages()) {
            hw.write(slot.table, index, 0);
        }
        let linked = self.unlink_empty(hw, location, lowest);
        self.flush(hw, FlushScope::Leaves(leaves, (linked == lowest).then_some(lowest)));
        for level in linked.saturating_add(1)..=lowest {
            if let Some(slot) = location.slot(level) {
                pool.push(hw, slot.table.pfn());
            }
        }
    }

    /// Unlinks the table of `level` on the path if it is empty, then the one above, and so on.
    /// Returns the level of the lowest table on the path that is still linked. The unlinked tables
    /// may be freed after the flush that follows.
    fn unlink_empty(&self, hw: &mut impl TableHw, location: &Location, level: u8) -> u8 {
        let mut linked = level;
        if self.emptied == Emptied::Kept {
            return linked;
        }
        while linked > self.geometry.start_level() {
            let above = linked.saturating_sub(1);
            let (Some(slot), Some(parent)) = (location.slot(linked), location.slot(above)) else {
                break;
            };
            if !(0..ENTRIES).all(|index| hw.read(slot.table, index) == 0) {
                break;
            }
            hw.write(parent.table, parent.index, 0);
            linked = above;
        }
        linked
    }

    /// Replaces a block by tables that map the same pages but for `hole`, which lies in one 2 MiB
    /// window. The new tables are complete before the block is broken: there is one
    /// break-before-make, and the hole is never mapped again.
    fn split_with_hole(
        &self,
        hw: &mut impl TableHw,
        pool: &mut TablePool,
        location: &Location,
        mapping: &Mapping,
        hole: IpaRange,
    ) {
        let Some(slot) = location.slot(mapping.level) else {
            hw.fail_stop(Breach::TablesDisagree);
        };
        let window = hole.start().page_number() & !BLOCK_PAGES.wrapping_sub(1);
        let Some(window_page) = Ipa::from_page_number(window).and_then(|ipa| mapping.page_of(ipa))
        else {
            hw.fail_stop(Breach::TablesDisagree);
        };
        let mut child = 0;
        if !self.drops_block(hole.pages()) {
            let table = take_table(hw, pool);
            for (index, ipa) in (0..ENTRIES).zip(window..window.saturating_add(BLOCK_PAGES)) {
                let pfn = window_page.raw().saturating_add(index as u64);
                let in_hole = ipa >= hole.start().page_number() && ipa < hole.end();
                let Some(page) = Pfn::new(pfn) else { hw.fail_stop(Breach::TablesDisagree) };
                if !in_hole {
                    let leaf = encode_leaf(LEAF_LEVEL, page.base(), mapping.attrs);
                    hw.write(table, index, leaf);
                }
            }
            child = encode_table(table);
        }
        if mapping.level < 2 {
            let table = take_table(hw, pool);
            let hole_index = table_index(hole.start(), 2);
            for index in 0..ENTRIES {
                let offset = (index as u64).saturating_mul(BLOCK_PAGES);
                let Some(page) = Pfn::new(mapping.pa.pfn().raw().saturating_add(offset)) else {
                    hw.fail_stop(Breach::TablesDisagree);
                };
                let block = encode_leaf(2, page.base(), mapping.attrs);
                hw.write(table, index, if index == hole_index { child } else { block });
            }
            child = encode_table(table);
        }
        hw.write(slot.table, slot.index, 0);
        self.flush(hw, FlushScope::Leaves(IpaRange::one(mapping.ipa), Some(mapping.level)));
        hw.write(slot.table, slot.index, child);
        hw.dsb_ishst();
    }
}

/// Hands out a table that a check counted.
fn take_table(hw: &mut impl TableHw, pool: &mut TablePool) -> Pa {
    match pool.pop(hw) {
        Some(table) => table,
        None => hw.fail_stop(Breach::TableMissing),
    }
}

/// Returns the index of `ipa` in a table of `level` below the start level.
fn table_index(ipa: Ipa, level: u8) -> usize {
    let index = ipa.raw().checked_shr(level_shift(level)).unwrap_or(0) & INDEX_MASK;
    index as usize
}

/// Tells whether `is_right` holds for `pages` level-3 descriptors from `location` on.
fn all_entries(
    hw: &mut impl TableMemory,
    location: &Location,
    pages: u64,
    is_right: impl Fn(u64) -> bool,
) -> bool {
    let [.., slot] = location.path;
    entry_indices(slot.index, pages).all(|index| is_right(hw.read(slot.table, index)))
}

/// Lists `pages` indices from `first` on, none beyond the table.
fn entry_indices(first: usize, pages: u64) -> impl Iterator<Item = usize> {
    let pages = usize::try_from(pages).unwrap_or(ENTRIES);
    first..first.saturating_add(pages).min(ENTRIES)
}

/// Describes the leaf that a walk to `ipa` ended at.
fn mapping_at(location: &Location, ipa: Ipa) -> Option<Mapping> {
    let Entry::Leaf { pa, attrs } = location.entry else {
        return None;
    };
    let base = ipa.page_number() & !level_pages(location.level).wrapping_sub(1);
    Some(Mapping { ipa: Ipa::from_page_number(base)?, pa, level: location.level, attrs })
}

/// Returns the first output address of the table that `slot` lies in, if the table maps one aligned
/// block with leaves of `level` and the given attributes, the one at `slot` being `pa`. The entry at
/// `except` is taken for granted.
fn uniform_base(
    hw: &mut impl TableMemory,
    slot: Slot,
    level: u8,
    pa: Pa,
    attrs: Attrs,
    except: Option<usize>,
) -> Option<Pa> {
    let step = level_pages(level);
    let before = (slot.index as u64).checked_mul(step)?;
    let base = pa.pfn().raw().checked_sub(before)?;
    let span = step.checked_mul(ENTRIES as u64)?;
    if base & span.checked_sub(1)? != 0 {
        return None;
    }
    // From the end: pages usually come back in rising order.
    for index in (0..ENTRIES).rev() {
        let page = Pfn::new(base.checked_add((index as u64).checked_mul(step)?)?)?;
        let uniform = except == Some(index)
            || hw.read(slot.table, index) == encode_leaf(level, page.base(), attrs);
        if !uniform {
            return None;
        }
    }
    Some(Pfn::new(base)?.base())
}

#[cfg(test)]
mod tests;
