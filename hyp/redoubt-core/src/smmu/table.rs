//! The stream table: which devices are translated at all, and how.
//!
//! Decides that every stream given translates at stage 2 alone, with one set of tables, and that every
//! other stream aborts. There are two levels, and no entry (STE) ever changes: blocks of 256 streams
//! that are given as a whole share one level-2 table, a block given in part has one of its own.
//!
//! Invariants: an STE becomes valid after the rest of it is visible to the SMMU; all memory that the
//! SMMU reads was zeroed and cleaned before. Spec: IHI 0070, 3.3.1 (levels), 5.1 (L1STD), 5.2 (STE).

use super::{StreamRange, Unusable};
use crate::addr::{PAGE_SHIFT, Pa};
use crate::hw::{DeviceHw, MemoryHw};
use crate::stage2::Stage2;
use crate::stage2::descriptor::{ENTRIES, INDEX_MASK, TABLE_BITS};

/// The binary logarithm of the number of streams that one level-2 table is for.
pub(super) const SPLIT: u32 = 8;
const BLOCK: u64 = 1 << SPLIT;
/// Streams from 2^17 on, which a level-1 table of one page does not reach, abort.
const MOST_STREAM_BITS: u32 = SPLIT + TABLE_BITS;
/// An L1STD's span: the level-2 table has 2^(9 - 1) entries.
const L1_SPAN: u64 = SPLIT as u64 + 1;
/// Words of an STE.
const STE_WORDS: u64 = 8;

/// The words of an STE that are not zero.
pub(super) type Ste = [u64; 4];

/// Encodes the STE of every stream. `oas` is the SMMU's address size as IDR5.OAS states it.
pub(super) const fn ste(stage2: &Stage2, oas: u8) -> Ste {
    let context = stage2.context();
    // The fields T0SZ to PS are as in VTCR_EL2.
    let walk = (stage2.geometry().vtcr(oas, false) & 0x7_ffff) << 32;
    // S2AA64; S2AFFD: no access-flag faults; S2R: faults are recorded. S2S = 0: they do not stall.
    let format = 1 << 51 | 1 << 53 | 1 << 58;
    // V, Config: stage 2 translates and stage 1 does not. SHCFG: shareable as the device says.
    // EATS = 0: what the device says it has translated itself aborts.
    [0b110 << 1 | 1, 1 << 44, format | walk | context.vmid as u64, context.root.raw()]
}

/// Returns how many bits the largest stream number has, as far as it can be served.
pub(super) fn stream_bits(streams: &[StreamRange]) -> u32 {
    let last = streams.iter().map(|range| range.end().saturating_sub(1)).fold(0, u64::max);
    u64::BITS.saturating_sub(last.leading_zeros()).clamp(SPLIT, MOST_STREAM_BITS)
}

/// Cleans a page, whatever the length of a cache line (at least 16 bytes).
pub(crate) fn clean(hw: &mut impl DeviceHw, page: Pa) {
    (0..ENTRIES).step_by(2).for_each(|index| hw.clean_entry(page, index));
}

/// Stores a word of memory that a device reads.
pub(crate) fn store(hw: &mut impl MemoryHw, page: Pa, index: usize, word: u64) {
    hw.write(page, index, word);
    hw.clean_entry(page, index);
}

/// Fills the level-1 table for streams below 2^`bits`, with level-2 tables from `tables`.
pub(super) fn build(
    hw: &mut impl MemoryHw,
    level1: Pa,
    mut tables: impl Iterator<Item = Pa>,
    streams: &[StreamRange],
    bits: u32,
    ste: Ste,
) -> Result<(), Unusable> {
    let given = |stream: u64| streams.iter().any(|range| range.contains(stream));
    let all = tables.next().ok_or(Unusable::Memory)?;
    fill(hw, all, ste, 0, |_| true);
    for block in 0..1u64.wrapping_shl(bits.saturating_sub(SPLIT)) {
        let first = block << SPLIT;
        let mut level2 = all;
        let mut block_streams = first..first.saturating_add(BLOCK);
        if !block_streams.clone().any(given) {
            continue;
        }
        if !block_streams.all(given) {
            level2 = tables.next().ok_or(Unusable::Memory)?;
            fill(hw, level2, ste, first, given);
        }
        store_word(hw, level1, block, level2.raw() | L1_SPAN);
    }
    Ok(())
}

/// Fills the level-2 table for the block of streams from `first` on with the STEs of those `given`.
fn fill(hw: &mut impl MemoryHw, table: Pa, ste: Ste, first: u64, given: impl Fn(u64) -> bool) {
    let [valid, rest @ ..] = ste;
    for number in (0..BLOCK).filter(|number| given(first.saturating_add(*number))) {
        let start = number.saturating_mul(STE_WORDS);
        for (word, value) in (start.saturating_add(1)..u64::MAX).zip(rest) {
            store_word(hw, table, word, value);
        }
        hw.dsb_sy();
        store_word(hw, table, start, valid);
    }
}

/// Stores a word of a table of several pages.
fn store_word(hw: &mut impl MemoryHw, table: Pa, word: u64, value: u64) {
    if let Some(page) = table.checked_add((word >> TABLE_BITS) << PAGE_SHIFT) {
        store(hw, page, (word & INDEX_MASK) as usize, value);
    }
}
