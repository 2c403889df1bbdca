//! The shape of a stage-2 walk: where it starts and with how many tables.
//!
//! Decides, from the size of the input address and from what the CPU can do, the start level and
//! the number of concatenated start-level tables. With the 4 KiB granule a walk of up to 39 bits
//! starts at level 1 with one table; 40 to 48 bits start at level 0, which the architecture allows
//! only where PARange is at least 44 bits; otherwise 40 to 43 bits start at level 1 with 2 to 16
//! concatenated tables. Spec: Arm ARM D8.2.6 to D8.2.9 (VTCR_EL2.T0SZ, SL0, concatenation).

use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::refusal::Refusal;
use crate::stage2::descriptor::{INDEX_MASK, TABLE_BITS, level_shift};

const SMALLEST_BITS: u8 = 32;
const LARGEST_BITS: u8 = 48;
/// Holds the widest input that one level-1 table translates.
const ONE_LEVEL1_TABLE_BITS: u8 = 39;
/// Holds the widest input that 16 concatenated level-1 tables translate.
const MOST_LEVEL1_TABLES_BITS: u8 = 43;
/// Holds the physical-address size from which on a walk may start at level 0.
const LEVEL0_PA_BITS: u8 = 44;

const VTCR_RES1: u64 = 1 << 31;
const VTCR_SL0_LEVEL1: u64 = 0b01 << 6;
const VTCR_SL0_LEVEL0: u64 = 0b10 << 6;
const VTCR_IRGN0_WBWA: u64 = 0b01 << 8;
const VTCR_ORGN0_WBWA: u64 = 0b01 << 10;
const VTCR_SH0_INNER: u64 = 0b11 << 12;
const VTCR_PS_SHIFT: u32 = 16;
const VTCR_VS_16BIT: u64 = 1 << 19;

/// Says how to translate 40 to 43 bits where both ways are legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concatenation {
    /// One level-0 table: every walker, also an SMMU that does not concatenate, can use it.
    Avoid,
    /// Concatenated level-1 tables: a walk is one load shorter.
    Prefer,
}

/// The shape of one stage-2 translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    ipa_bits: u8,
    start_level: u8,
    root_tables: u8,
}

impl Geometry {
    /// Chooses the shape for `ipa_bits` (32 to 48) of input on a CPU with `pa_bits` of physical
    /// address (ID_AA64MMFR0_EL1.PARange as a number of bits).
    ///
    /// Refuses [`BadGeometry`](Refusal::BadGeometry) what the CPU cannot translate.
    pub const fn new(
        ipa_bits: u8,
        pa_bits: u8,
        concatenation: Concatenation,
    ) -> Result<Self, Refusal> {
        if ipa_bits < SMALLEST_BITS || ipa_bits > LARGEST_BITS || ipa_bits > pa_bits {
            return Err(Refusal::BadGeometry);
        }
        if ipa_bits <= ONE_LEVEL1_TABLE_BITS {
            return Ok(Self { ipa_bits, start_level: 1, root_tables: 1 });
        }
        let concatenate = match concatenation {
            Concatenation::Avoid => pa_bits < LEVEL0_PA_BITS,
            Concatenation::Prefer => ipa_bits <= MOST_LEVEL1_TABLES_BITS,
        };
        if !concatenate {
            return Ok(Self { ipa_bits, start_level: 0, root_tables: 1 });
        }
        let root_tables = match ipa_bits {
            40 => 2,
            41 => 4,
            42 => 8,
            MOST_LEVEL1_TABLES_BITS => 16,
            _ => return Err(Refusal::BadGeometry),
        };
        Ok(Self { ipa_bits, start_level: 1, root_tables })
    }

    /// Returns the number of input-address bits.
    pub const fn ipa_bits(self) -> u8 {
        self.ipa_bits
    }

    /// Returns the level of the first lookup.
    pub const fn start_level(self) -> u8 {
        self.start_level
    }

    /// Returns the number of pages that the start level takes.
    pub const fn root_pages(self) -> u64 {
        self.root_tables as u64
    }

    /// Tells whether `root` is aligned to the whole start level, as VTTBR_EL2.BADDR must be.
    pub const fn root_aligned(self, root: Pa) -> bool {
        let bytes = (self.root_tables as u64).saturating_mul(PAGE_SIZE);
        root.raw() & bytes.saturating_sub(1) == 0
    }

    /// Returns the number of the page behind the last one of the address space.
    pub const fn end_page(self) -> u64 {
        match self.ipa_bits {
            SMALLEST_BITS..=LARGEST_BITS => match 1u64.checked_shl(self.ipa_bits as u32) {
                Some(bytes) => bytes / PAGE_SIZE,
                None => 0,
            },
            _ => 0,
        }
    }

    /// Tells whether `ipa` lies in the address space.
    pub const fn contains(self, ipa: Ipa) -> bool {
        ipa.page_number() < self.end_page()
    }

    /// Encodes VTCR_EL2. `pa_range` is the field ID_AA64MMFR0_EL1.PARange (capped by the caller to
    /// what it uses, at most 0b101); `wide_vmid` says that VMIDs have 16 bits.
    pub const fn vtcr(self, pa_range: u8, wide_vmid: bool) -> u64 {
        let t0sz = 64u64.saturating_sub(self.ipa_bits as u64);
        let start = if self.start_level == 0 { VTCR_SL0_LEVEL0 } else { VTCR_SL0_LEVEL1 };
        let size = ((pa_range & 0b111) as u64) << VTCR_PS_SHIFT;
        let vmid = if wide_vmid { VTCR_VS_16BIT } else { 0 };
        VTCR_RES1 | t0sz | start | VTCR_IRGN0_WBWA | VTCR_ORGN0_WBWA | VTCR_SH0_INNER | size | vmid
    }

    /// Finds the start-level descriptor for `ipa`: which of the start-level tables, and where in it.
    pub(crate) const fn root_index(self, ipa: Ipa) -> Option<(u64, usize)> {
        if !self.contains(ipa) {
            return None;
        }
        let entry = match ipa.raw().checked_shr(level_shift(self.start_level)) {
            Some(entry) => entry,
            None => return None,
        };
        Some((entry >> TABLE_BITS, (entry & INDEX_MASK) as usize))
    }
}

#[cfg(test)]
mod tests;
