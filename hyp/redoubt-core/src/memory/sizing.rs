//! How many tables a machine needs: the tests' own estimate, for pools of exactly that size.

use crate::addr::PageRange;
use crate::stage2::descriptor::level_pages;
use crate::stage2::geometry::Geometry;

/// Returns how many tables the host's stage 2 can come to need, so that with a pool of this size
/// (the root is extra) no later change can run out: all RAM in 4 KiB pages, devices in the blocks
/// that they are mapped with at boot.
pub fn host_tables_needed(
    geometry: Geometry,
    ram: impl Iterator<Item = PageRange>,
    devices: impl Iterator<Item = PageRange>,
) -> u64 {
    let touched = |range: PageRange, level: u8| {
        let span = level_pages(level);
        let first = range.start().raw().checked_div(span).unwrap_or(0);
        let last = range.end().saturating_sub(1).checked_div(span).unwrap_or(0);
        last.saturating_sub(first).saturating_add(1)
    };
    // A table of a level spans one entry of the level above.
    let level1 = |range| {
        if geometry.start_level() == 0 { touched(range, 0) } else { 0 }
    };
    let in_pages = ram.map(|range| {
        touched(range, 2).saturating_add(touched(range, 1)).saturating_add(level1(range))
    });
    // Blocks fill the middle: only the two ends take smaller tables.
    let in_blocks = devices.map(|range| {
        let ends = touched(range, 2).min(2).saturating_add(touched(range, 1).min(2));
        ends.saturating_add(level1(range))
    });
    in_pages.chain(in_blocks).fold(0, u64::saturating_add)
}

/// Returns how many tables the host's devices need, besides the root: all RAM, and the doorbells, in
/// 4 KiB pages.
pub fn dma_tables_needed(
    geometry: Geometry,
    ram: impl Iterator<Item = PageRange>,
    doorbells: impl Iterator<Item = PageRange>,
) -> u64 {
    host_tables_needed(geometry, ram.chain(doorbells), core::iter::empty())
}
