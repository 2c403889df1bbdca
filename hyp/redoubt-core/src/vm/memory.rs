//! The memory that a VM declares.
//!
//! Decides what is memory and what is a device to a VM. For a protected VM the distinction is what
//! keeps data from the host: an access inside never discloses a value. Ranges are whole pages, do not
//! overlap, lie in the VM's address space, and never change once the VM has run.

use redoubt_abi::{PAGE_SIZE, Status};

/// Most ranges of a VM.
pub const MAX_MEMORY_RANGES: usize = 8;

/// The declared ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRanges {
    /// First address, and first address behind.
    ranges: [(u64, u64); MAX_MEMORY_RANGES],
    count: usize,
}

impl MemoryRanges {
    /// No range.
    pub const EMPTY: Self = Self { ranges: [(0, 0); MAX_MEMORY_RANGES], count: 0 };

    /// Adds a range.
    ///
    /// # Errors
    /// [`Status::Misaligned`], [`Status::InvalidArgument`] when empty, [`Status::Overflow`] when
    /// it leaves the address space, [`Status::AlreadyMapped`] when it overlaps another,
    /// [`Status::NoSlot`] when the list is full.
    pub fn add(&mut self, ipa: u64, pages: u64, ipa_bits: u8) -> Result<(), Status> {
        if !ipa.is_multiple_of(PAGE_SIZE) {
            return Err(Status::Misaligned);
        }
        if pages == 0 {
            return Err(Status::InvalidArgument);
        }
        let limit = 1u64.checked_shl(ipa_bits.into()).ok_or(Status::Overflow)?;
        let bytes = pages.checked_mul(PAGE_SIZE).ok_or(Status::Overflow)?;
        let end = ipa.checked_add(bytes).ok_or(Status::Overflow)?;
        if end > limit {
            return Err(Status::Overflow);
        }
        if self.iter().any(|(start, other_end)| ipa < other_end && start < end) {
            return Err(Status::AlreadyMapped);
        }
        let slot = self.ranges.get_mut(self.count).ok_or(Status::NoSlot)?;
        *slot = (ipa, end);
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Tells whether an address is memory.
    #[must_use]
    pub fn contains_address(&self, ipa: u64) -> bool {
        self.iter().any(|(start, end)| start <= ipa && ipa < end)
    }

    /// Tells whether `pages` pages from `ipa` on are memory, all of them in one range.
    #[must_use]
    pub fn contains(&self, ipa: u64, pages: u64) -> bool {
        let end = pages.checked_mul(PAGE_SIZE).and_then(|bytes| ipa.checked_add(bytes));
        end.is_some_and(|end| self.iter().any(|(start, last)| start <= ipa && end <= last))
    }

    /// Lists the ranges: first address, and first address behind.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().take(self.count).copied()
    }
}
