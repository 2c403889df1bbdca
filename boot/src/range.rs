//! Ranges of physical addresses, and sorted sets of them.
//!
//! Invariant of [`PhysRange`]: `start <= end <= MAX_ADDRESS`, and what a constructor returns is
//! never empty (only [`PhysRange::default`] is). The upper bound is the largest physical address
//! size that the architecture knows (52 bits, Arm ARM D8.1), so no sum of an in-range address
//! and a size can wrap, and "the end of the address space" is never a special case.

use crate::array_vec::{ArrayVec, Full};

/// The granule of ownership and of every table.
pub const PAGE_SIZE: u64 = 4096;

/// What one level-2 block entry maps: the unit in which the hypervisor region is placed.
pub const BLOCK_SIZE: u64 = 2 << 20;

/// One past the largest physical address that is believed.
pub const MAX_ADDRESS: u64 = 1 << 52;

/// Rounds down to a multiple of `unit`, a power of two.
pub(crate) const fn align_down(value: u64, unit: u64) -> u64 {
    value & !unit.wrapping_sub(1)
}

/// Rounds up to a multiple of `unit`, a power of two; `None` where that wraps.
pub(crate) const fn align_up(value: u64, unit: u64) -> Option<u64> {
    match value.checked_add(unit.wrapping_sub(1)) {
        Some(sum) => Some(align_down(sum, unit)),
        None => None,
    }
}

/// Tells whether `value` is a multiple of `unit`, a power of two.
pub(crate) const fn is_aligned(value: u64, unit: u64) -> bool {
    align_down(value, unit) == value
}

/// Physical addresses from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhysRange {
    start: u64,
    end: u64,
}

impl PhysRange {
    /// Makes the range of `size` bytes at `start`; `None` if it is empty or leaves the physical
    /// address space.
    pub const fn new(start: u64, size: u64) -> Option<Self> {
        match start.checked_add(size) {
            Some(end) => Self::from_bounds(start, end),
            None => None,
        }
    }

    /// Makes the range from `start` to `end`; `None` if it is empty, reversed or leaves the
    /// physical address space.
    pub const fn from_bounds(start: u64, end: u64) -> Option<Self> {
        if start < end && end <= MAX_ADDRESS { Some(Self { start, end }) } else { None }
    }

    /// The first address.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// One past the last address.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The size in bytes.
    pub const fn size(&self) -> u64 {
        self.end.wrapping_sub(self.start)
    }

    /// Tells whether the two have a byte in common.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Tells whether all of `other` lies in this range.
    pub const fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The part that both have.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::from_bounds(self.start.max(other.start), self.end.min(other.end))
    }

    /// What is left of this range below and above `hole`.
    pub fn without(&self, hole: &Self) -> (Option<Self>, Option<Self>) {
        if !self.overlaps(hole) {
            return (Some(*self), None);
        }
        (Self::from_bounds(self.start, hole.start), Self::from_bounds(hole.end, self.end))
    }

    /// The whole pages inside; `None` if there is not one.
    pub fn page_inward(&self) -> Option<Self> {
        Self::from_bounds(align_up(self.start, PAGE_SIZE)?, align_down(self.end, PAGE_SIZE))
    }

    /// All pages touched. An empty range stays empty.
    pub fn page_outward(&self) -> Self {
        // `end <= MAX_ADDRESS`, which is a multiple of the page size: rounding cannot pass it.
        let end = align_up(self.end, PAGE_SIZE).unwrap_or(MAX_ADDRESS);
        Self { start: align_down(self.start, PAGE_SIZE), end }
    }

    /// The smallest range that holds both.
    fn hull(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Up to `N` ranges: sorted, disjoint, and with a gap between any two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeSet<const N: usize> {
    ranges: ArrayVec<PhysRange, N>,
}

impl<const N: usize> Default for RangeSet<N> {
    fn default() -> Self {
        Self { ranges: ArrayVec::new() }
    }
}

impl<const N: usize> RangeSet<N> {
    /// Adds `range`, joining it with every range that it overlaps or touches. On `Full` nothing
    /// has changed.
    pub fn insert(&mut self, range: PhysRange) -> Result<(), Full> {
        let mut joined = ArrayVec::new();
        let mut pending = Some(range);
        for old in self.ranges.iter() {
            let Some(new) = pending else {
                joined.push(*old)?;
                continue;
            };
            if old.end < new.start {
                joined.push(*old)?;
            } else if new.end < old.start {
                joined.push(new)?;
                joined.push(*old)?;
                pending = None;
            } else {
                pending = Some(new.hull(old));
            }
        }
        if let Some(new) = pending {
            joined.push(new)?;
        }
        self.ranges = joined;
        Ok(())
    }

    /// Takes `hole` away from every range. On `Full` nothing has changed.
    pub fn remove(&mut self, hole: PhysRange) -> Result<(), Full> {
        let mut left = ArrayVec::new();
        for old in self.ranges.iter() {
            let (below, above) = old.without(&hole);
            for piece in [below, above].into_iter().flatten() {
                left.push(piece)?;
            }
        }
        self.ranges = left;
        Ok(())
    }

    /// The ranges, in ascending order.
    pub fn as_slice(&self) -> &[PhysRange] {
        &self.ranges
    }

    /// Tells whether any range has a byte in common with `range`.
    pub fn overlaps(&self, range: &PhysRange) -> bool {
        self.ranges.iter().any(|held| held.overlaps(range))
    }

    /// Tells whether one range holds all of `range`.
    pub fn contains(&self, range: &PhysRange) -> bool {
        self.ranges.iter().any(|held| held.contains(range))
    }

    /// The sum of the sizes, in bytes.
    pub fn total(&self) -> u64 {
        // The ranges are disjoint and below MAX_ADDRESS: the sum cannot wrap.
        self.ranges.iter().fold(0, |sum, range| sum.wrapping_add(range.size()))
    }
}

#[cfg(test)]
mod tests;
