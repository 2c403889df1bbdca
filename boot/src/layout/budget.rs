//! How much memory the hypervisor takes for itself.
//!
//! After boot nothing is allocated at EL2, so the region is sized for the worst case: every page
//! of RAM in another hand than its neighbour, so that all of the host's stage 2 is 4 KiB pages.
//!
//! Page tables are counted for a 4 KiB granule (Arm ARM D8.2): a table has 512 entries, so one
//! level-3 table maps 2 MiB, one level-2 table 1 GiB, one level-1 table 512 GiB, and one root
//! (level 0) all the rest. A table is needed for each piece of that size in which something is
//! mapped in smaller units:
//!
//! - RAM may be split everywhere: each piece that RAM touches needs its table.
//! - Device ranges stay in blocks: only a piece that a range covers in part needs a table (but
//!   level 0 has no blocks: a level-1 table is needed for each piece touched).
//!
//! Pieces touched by several ranges count once.
//!
//! Where there is an SMMU, devices have tables of their own, made once and for all: RAM is in
//! 4 KiB pages from the start, and of all registers only the doorbells of ITSs are mapped, each
//! a page somewhere else.

use crate::error::BootError;
use crate::range::{BLOCK_SIZE, PAGE_SIZE, PhysRange, align_up, is_aligned};

/// What one level-2 table maps.
const GIB: u64 = 1 << 30;

/// What one level-1 table maps.
const LEVEL1_SPAN: u64 = 512 << 30;

/// Tables for what EL2 maps besides its region: a root, a level-1 and a level-2 table for the
/// private area of stacks and windows and the same for devices, and a level-3 table for each of
/// console, distributor, and redistributors (which may straddle a boundary).
const STAGE1_FIXED_TABLES: u64 = 1 + 2 + 2 + 4;

/// Upper-level tables for the region itself, which may straddle a level-2 and a level-1 piece.
const STAGE1_REGION_UPPER_TABLES: u64 = 4;

/// What determines the size.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// RAM, as [`crate::machine::MachineInfo::memory`] has it.
    pub memory: &'a [PhysRange],
    /// Device ranges, as [`crate::machine::MachineInfo::devices`] has them.
    pub devices: &'a [PhysRange],
    /// How many CPUs there are.
    pub cpus: u64,
    /// What the hypervisor's image uses in memory.
    pub image_bytes: u64,
    /// Stacks, guard gaps and data of one CPU.
    pub per_cpu_bytes: u64,
    /// The ownership table's record of one 4 KiB page.
    pub page_record_bytes: u64,
    /// Further stage-2 tables: for device pages that are withdrawn from inside a block.
    pub spare_tables: u64,
    /// Where devices have tables of their own: how many doorbells they map besides RAM.
    pub dma_doorbells: Option<u64>,
    /// What the caller sets aside for other purposes, such as stream tables and queues.
    pub extra_bytes: u64,
}

/// What the hypervisor's region holds. All sizes in bytes are multiples of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The image with its bss.
    pub image_bytes: u64,
    /// All CPUs' stacks and data.
    pub per_cpu_bytes: u64,
    /// The ownership table: for each range of memory its records, rounded up to a page.
    pub ownership_bytes: u64,
    /// Tables of the host's stage 2, the root included.
    pub stage2_tables: u64,
    /// Tables that SMMUs walk, the root included; none without `dma_doorbells`.
    pub dma_tables: u64,
    /// What the caller sets aside.
    pub extra_bytes: u64,
    /// Tables of EL2's own stage 1.
    pub stage1_tables: u64,
    /// The sum, rounded up to 2 MiB: the size of the region.
    pub total_bytes: u64,
}

/// Works out the size of the hypervisor's region. `NoRoom` if it does not fit 64 bits.
pub fn budget(demand: &Demand<'_>) -> Result<Budget, BootError> {
    checked_budget(demand).ok_or(BootError::NoRoom(u64::MAX))
}

fn checked_budget(demand: &Demand<'_>) -> Option<Budget> {
    let image_bytes = align_up(demand.image_bytes, PAGE_SIZE)?;
    let per_cpu_bytes = align_up(demand.per_cpu_bytes, PAGE_SIZE)?.checked_mul(demand.cpus)?;
    let mut ownership_bytes = 0u64;
    for range in demand.memory {
        let records = pages_in(range.size()).checked_mul(demand.page_record_bytes)?;
        ownership_bytes = ownership_bytes.checked_add(align_up(records, PAGE_SIZE)?)?;
    }
    let stage2_tables =
        all_tables(demand.memory, demand.devices)?.checked_add(demand.spare_tables)?;
    let dma_tables = match demand.dma_doorbells {
        // A doorbell may need a table of each level below the root.
        Some(doorbells) => {
            all_tables(demand.memory, &[])?.checked_add(doorbells.checked_mul(3)?)?
        }
        None => 0,
    };
    let extra_bytes = align_up(demand.extra_bytes, PAGE_SIZE)?;
    // Each CPU's stack and windows lie in a 2 MiB piece of the private area of their own.
    let fixed_stage1 =
        STAGE1_FIXED_TABLES.checked_add(STAGE1_REGION_UPPER_TABLES)?.checked_add(demand.cpus)?;
    let before_region_tables = stage2_tables
        .checked_add(dma_tables)?
        .checked_add(fixed_stage1)?
        .checked_mul(PAGE_SIZE)?
        .checked_add(extra_bytes)?
        .checked_add(image_bytes)?
        .checked_add(per_cpu_bytes)?
        .checked_add(ownership_bytes)?;
    // The region is mapped by one level-3 table per 2 MiB at worst, and those tables lie in the
    // region: n tables suffice for `size` other bytes if n * 2 MiB >= size + n * 4 KiB.
    let per_table = const { BLOCK_SIZE - PAGE_SIZE };
    let region_tables = before_region_tables.div_ceil(per_table);
    let stage1_tables = fixed_stage1.checked_add(region_tables)?;
    let total = before_region_tables.checked_add(region_tables.checked_mul(PAGE_SIZE)?)?;
    Some(Budget {
        image_bytes,
        per_cpu_bytes,
        ownership_bytes,
        stage2_tables,
        dma_tables,
        extra_bytes,
        stage1_tables,
        total_bytes: align_up(total, BLOCK_SIZE)?,
    })
}

/// The pages of a range of whole pages.
const fn pages_in(bytes: u64) -> u64 {
    bytes / PAGE_SIZE
}

/// Counts the tables of all levels, the root included.
fn all_tables(memory: &[PhysRange], devices: &[PhysRange]) -> Option<u64> {
    1u64.checked_add(tables(memory, devices, LEVEL1_SPAN))?
        .checked_add(tables(memory, devices, GIB))?
        .checked_add(tables(memory, devices, BLOCK_SIZE))
}

/// Counts the pieces of `span` bytes for which a table is needed. Memory and devices are sorted,
/// and disjoint from each other.
fn tables(memory: &[PhysRange], devices: &[PhysRange], span: u64) -> u64 {
    let mut count = 0u64;
    // The first piece that has not been looked at.
    let mut next = 0u64;
    // Adds the pieces from `first` to `last` that have not been counted.
    let mut add = |first: u64, last: u64| {
        let first = first.max(next);
        let end = last.saturating_add(1);
        count = count.saturating_add(end.saturating_sub(first));
        next = next.max(end);
    };
    let mut memory = memory.iter().peekable();
    let mut devices = devices.iter().peekable();
    loop {
        let memory_is_next = match (memory.peek(), devices.peek()) {
            (Some(ram), Some(device)) => ram.start() < device.start(),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return count,
        };
        let Some(range) = (if memory_is_next { memory.next() } else { devices.next() }) else {
            return count;
        };
        let first = piece(range.start(), span);
        let last = piece(range.end().saturating_sub(1), span);
        if memory_is_next || span == LEVEL1_SPAN {
            add(first, last);
        } else {
            // A device range: only its ends can lie in a piece that it does not fill.
            let fills_first =
                is_aligned(range.start(), span) && (first != last || is_aligned(range.end(), span));
            if !fills_first {
                add(first, first);
            }
            if first != last && !is_aligned(range.end(), span) {
                add(last, last);
            }
        }
    }
}

/// The number of the piece of `span` bytes that holds `address`. `span` is a power of two.
const fn piece(address: u64, span: u64) -> u64 {
    address.wrapping_shr(span.trailing_zeros())
}

#[cfg(test)]
mod tests;
