//! What an earlier boot left in RAM.
//!
//! RAM can keep its contents over a reset that EL2 did not see: a watchdog, a crash of the firmware,
//! the reset button. Before the first host instruction, every page that the ownership table of that
//! boot calls a VM's, or the state of a vCPU, is scrubbed. The table is found through a record in EL2's
//! region, when that lies where it lay before.
//!
//! The record is a hint that anybody may have written: where EL2's region lies now, the host may have
//! had RAM in an earlier boot. So nothing follows from it but that RAM is zeroed which the host gets
//! anyway: never EL2's own pages, never what the loader has put there, never what is reserved.
//!
//! A PSCI reset of the host's does not need this: `vm::scrub_all` runs before it is relayed.

use redoubt_boot::PhysRange;
use redoubt_core::addr::{PageRange, Pfn};
use redoubt_core::frames::FrameEntry;
use redoubt_core::hw::PageScrub;
use redoubt_core::memory::holds_vm_secret;

use super::{Facts, Region, pages};
use crate::arch;
use crate::layout::LINEAR_VA;
use crate::memory::Hw;

/// "REDOUBT", version 1 of the table's format.
const MAGIC: u64 = 0x0154_4255_4f44_4552;

/// Says that an ownership table is there, and of which machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Record {
    magic: u64,
    region_start: u64,
    region_end: u64,
    ownership: u64,
    records: u64,
    /// Sum of the bounds of all RAM ranges: the same sum, the same numbering of pages.
    memory: u64,
}

impl Record {
    /// The record of this boot.
    fn of(facts: &Facts, region: &Region, records: usize) -> Self {
        let ranges = facts.machine.memory.as_slice().iter().zip(1u64..u64::MAX);
        let memory = ranges.fold(0u64, |sum, (range, number)| {
            let bounds = range.start().wrapping_mul(31).wrapping_add(range.end());
            sum.wrapping_mul(31).wrapping_add(bounds.wrapping_mul(number))
        });
        Self {
            magic: MAGIC,
            region_start: region.image,
            region_end: region.end,
            ownership: region.ownership,
            records: records as u64,
            memory,
        }
    }

    /// Where the record lies: the page before the ownership table.
    fn place(region: &Region) -> *mut Self {
        let offset = super::distance(region.stage1, region.record);
        LINEAR_VA.saturating_add(offset) as *mut Self
    }
}

/// Scrubs what VMs of an earlier boot left, as far as the loader has not overwritten it. Returns the
/// number of pages.
pub fn scrub(facts: &Facts, region: &Region, entries: &[FrameEntry]) -> u64 {
    // SAFETY: the record's page lies in the linear map; any bytes are a valid record.
    let found = unsafe { Record::place(region).read_volatile() };
    if found != Record::of(facts, region, entries.len()) {
        return 0;
    }
    let layout = &facts.layout;
    let in_use = [
        Some(layout.hyp),
        Some(layout.image),
        Some(layout.kernel),
        Some(layout.fdt),
        Some(layout.host_fdt),
        layout.initrd,
    ];
    let reserved = facts.machine.reserved.iter().map(|reserved| Some(reserved.range));
    let mut hw = Hw::new();
    let mut scrubbed = 0u64;
    let mut rest = entries;
    for range in facts.machine.memory.as_slice() {
        let range = pages(range.start(), range.size());
        let count = usize::try_from(range.pages()).unwrap_or(usize::MAX).min(rest.len());
        let (records, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        rest = others;
        for (entry, page) in records.iter().zip(range.iter()) {
            if holds_vm_secret(entry.decode().state)
                && !is_taken(page, in_use.iter().copied().chain(reserved.clone()))
            {
                hw.scrub(page);
                scrubbed = scrubbed.saturating_add(1);
            }
        }
    }
    hw.settle();
    scrubbed
}

/// Whether a page lies in one of the ranges.
fn is_taken(page: Pfn, mut ranges: impl Iterator<Item = Option<PhysRange>>) -> bool {
    let page = PageRange::one(page);
    let here = PhysRange::new(page.start_pa().raw(), page.bytes());
    here.is_none_or(|here| ranges.any(|range| range.is_some_and(|range| range.overlaps(&here))))
}

/// Leaves the record for the next boot.
pub fn leave_record(facts: &Facts, region: &Region, records: usize) {
    let place = Record::place(region);
    // SAFETY: the record's page lies in the linear map, and nothing else is in it.
    unsafe { place.write_volatile(Record::of(facts, region, records)) };
    // SAFETY: as above, the page is mapped.
    unsafe { arch::clean_invalidate(place as u64, size_of::<Record>() as u64) };
}
