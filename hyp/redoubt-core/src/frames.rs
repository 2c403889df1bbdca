//! The page-ownership table: the one truth about who may reach a physical page.
//!
//! Decides how a page's record ([`Frame`]) is stored: 8 bytes per 4 KiB page of RAM, in memory that
//! the arch crate hands in. Stage-2 and SMMU tables follow from this table, never the other way
//! round. Device ranges have an owner too ([`DeviceMap`]); an address that is neither RAM nor a
//! listed device belongs to nobody.
//!
//! Invariants: regions are sorted and disjoint, records of a region are contiguous, and the only
//! way from one record value to another is [`transition`](crate::transition::transition). A zeroed
//! record, and one whose bits mean nothing, says [`State::Hyp`]: nobody else may have the page.
//!
//! Trusts the caller to hold the lock around the table, and that nothing else writes the records.

use crate::addr::{Ipa, PageRange, Pfn};
use crate::refusal::Refusal;
use crate::transition::{Event, Frame, MetaKind, State, VmSlot, transition};

/// Holds the number of separate RAM regions that the table can track.
pub const MAX_REGIONS: usize = 32;
/// Holds the number of separate device ranges that the table can track.
pub const MAX_DEVICES: usize = 192;

const TAG_HYP: u64 = 0;
const TAG_HYP_LOAN: u64 = 1;
const TAG_HOST: u64 = 2;
const TAG_HOST_SHARED: u64 = 3;
const TAG_VM: u64 = 4;
const TAG_VM_SHARED: u64 = 5;
const TAG_META_TABLE: u64 = 6;
const TAG_META_STATE: u64 = 7;

const TAG_MASK: u64 = 0xf;
const SLOT_SHIFT: u32 = 4;
const SLOT_MASK: u64 = 0xff;
const PINS_SHIFT: u32 = 12;
const PINS_MASK: u64 = 0xffff;
const IPA_SHIFT: u32 = 28;

/// The packed record of one page: tag in [3:0], VM slot in [11:4], pins in [27:12], IPA page number
/// in [63:28].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct FrameEntry(u64);

const _: () = assert!(size_of::<FrameEntry>() == 8);

impl FrameEntry {
    /// The record that zeroed memory holds: the page is EL2's.
    pub const HYP: Self = Self(TAG_HYP);

    /// Packs a record.
    pub const fn encode(frame: Frame) -> Self {
        let state = match frame.state {
            State::Hyp => TAG_HYP,
            State::HypLoan => TAG_HYP_LOAN,
            State::Host => TAG_HOST,
            State::HostShared { vm, ipa } => TAG_HOST_SHARED | slot_bits(vm) | ipa_bits(ipa),
            State::Vm { vm, ipa } => TAG_VM | slot_bits(vm) | ipa_bits(ipa),
            State::VmShared { vm, ipa } => TAG_VM_SHARED | slot_bits(vm) | ipa_bits(ipa),
            State::VmMeta { vm, kind: MetaKind::Table } => TAG_META_TABLE | slot_bits(vm),
            State::VmMeta { vm, kind: MetaKind::State } => TAG_META_STATE | slot_bits(vm),
        };
        Self(state | ((frame.pins as u64) << PINS_SHIFT))
    }

    /// Unpacks a record. What no [`encode`](Self::encode) makes is read as a page of EL2's.
    pub const fn decode(self) -> Frame {
        let vm = VmSlot::new(((self.0 >> SLOT_SHIFT) & SLOT_MASK) as u8);
        let ipa = match Ipa::from_page_number(self.0 >> IPA_SHIFT) {
            Some(ipa) => ipa,
            None => return Frame::new(State::Hyp),
        };
        let state = match self.0 & TAG_MASK {
            TAG_HYP_LOAN => State::HypLoan,
            TAG_HOST => State::Host,
            TAG_HOST_SHARED => State::HostShared { vm, ipa },
            TAG_VM => State::Vm { vm, ipa },
            TAG_VM_SHARED => State::VmShared { vm, ipa },
            TAG_META_TABLE => State::VmMeta { vm, kind: MetaKind::Table },
            TAG_META_STATE => State::VmMeta { vm, kind: MetaKind::State },
            _ => State::Hyp,
        };
        let pins = ((self.0 >> PINS_SHIFT) & PINS_MASK) as u16;
        Frame { state, pins }
    }

    /// Takes the raw bits.
    #[cfg(test)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the raw bits.
    #[cfg(test)]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

const fn slot_bits(vm: VmSlot) -> u64 {
    (vm.index() as u64) << SLOT_SHIFT
}

const fn ipa_bits(ipa: Ipa) -> u64 {
    ipa.page_number() << IPA_SHIFT
}

/// A run of RAM pages and where its records start.
#[derive(Clone, Copy, Debug)]
struct Region {
    range: PageRange,
    first_entry: usize,
}

/// The ownership table of all RAM, and the owners of device ranges.
#[derive(Debug)]
pub struct FrameTable<'a> {
    entries: &'a mut [FrameEntry],
    used_entries: usize,
    regions: [Option<Region>; MAX_REGIONS],
    /// Who owns what is not RAM.
    pub devices: DeviceMap,
}

impl<'a> FrameTable<'a> {
    /// Takes the storage of the records (one for each page of RAM) and says that every page is
    /// EL2's.
    pub fn new(entries: &'a mut [FrameEntry]) -> Self {
        entries.fill(FrameEntry::HYP);
        Self { entries, used_entries: 0, regions: [None; MAX_REGIONS], devices: DeviceMap::EMPTY }
    }

    /// Adds a run of RAM; its pages are EL2's until [`give_host`](Self::give_host). A run that
    /// touches the one added before it extends it. Regions are added in any order.
    ///
    /// Refuses [`Overlap`](Refusal::Overlap) with RAM or a device, and
    /// [`ListFull`](Refusal::ListFull) when regions or records run out.
    pub fn add_region(&mut self, range: PageRange) -> Result<(), Refusal> {
        if self.regions.iter().flatten().any(|region| region.range.overlaps(range))
            || self.devices.overlaps(range)
        {
            return Err(Refusal::Overlap);
        }
        let pages = usize::try_from(range.pages()).map_err(|_| Refusal::ListFull)?;
        let used = self.used_entries.checked_add(pages).ok_or(Refusal::ListFull)?;
        if used > self.entries.len() {
            return Err(Refusal::ListFull);
        }
        let first_entry = self.used_entries;
        if let Some(region) = self.regions.iter_mut().flatten().last()
            && region.range.end() == range.start().raw()
        {
            // The records of the last region end where the new ones start.
            let pages = region.range.pages().saturating_add(range.pages());
            region.range = PageRange::new(region.range.start(), pages)?;
        } else {
            let free = self.regions.iter_mut().find(|slot| slot.is_none());
            *free.ok_or(Refusal::ListFull)? = Some(Region { range, first_entry });
        }
        self.used_entries = used;
        Ok(())
    }

    /// Lists the RAM regions.
    pub fn regions(&self) -> impl Iterator<Item = PageRange> + '_ {
        self.regions.iter().flatten().map(|region| region.range)
    }

    /// Tells whether `page` is tracked RAM.
    #[cfg(any(test, feature = "invariants"))]
    pub fn is_ram(&self, page: Pfn) -> bool {
        self.regions().any(|range| range.contains(page))
    }

    /// Returns the record of `page`; [`NotRam`](Refusal::NotRam) if it has none.
    pub fn frame(&self, page: Pfn) -> Result<Frame, Refusal> {
        match self.slice(PageRange::one(page))? {
            [entry] => Ok(entry.decode()),
            _ => Err(Refusal::NotRam),
        }
    }

    /// Says what `event` would make of `page`, and changes nothing.
    #[cfg(test)]
    pub fn check(&self, page: Pfn, event: Event) -> Result<Frame, Refusal> {
        transition(self.frame(page)?, event)
    }

    /// Checks that `event`, which may differ from page to page, is legal for every page of `range`.
    pub fn check_range(
        &self,
        range: PageRange,
        mut event: impl FnMut(u64) -> Result<Event, Refusal>,
    ) -> Result<(), Refusal> {
        for (index, entry) in (0..range.pages()).zip(self.slice(range)?) {
            transition(entry.decode(), event(index)?)?;
        }
        Ok(())
    }

    /// Applies `event` to `page`.
    pub fn apply(&mut self, page: Pfn, event: Event) -> Result<Frame, Refusal> {
        match self.slice_mut(PageRange::one(page))? {
            [entry] => {
                let next = transition(entry.decode(), event)?;
                *entry = FrameEntry::encode(next);
                Ok(next)
            }
            _ => Err(Refusal::NotRam),
        }
    }

    /// Applies [`Event::BootGiveHost`] to every page of `range`, or to none.
    pub fn give_host(&mut self, range: PageRange) -> Result<(), Refusal> {
        let entries = self.slice_mut(range)?;
        if entries.iter().any(|entry| *entry != FrameEntry::HYP) {
            return Err(Refusal::NotOwner);
        }
        let host = transition(Frame::new(State::Hyp), Event::BootGiveHost)?;
        entries.fill(FrameEntry::encode(host));
        Ok(())
    }

    /// Returns the records, for a comparison of two states of the table.
    #[cfg(any(test, feature = "invariants"))]
    pub fn entries(&self) -> &[FrameEntry] {
        self.entries
    }

    /// Finds the records of `range`, which must lie in one region.
    fn bounds(&self, range: PageRange) -> Result<core::ops::Range<usize>, Refusal> {
        let region = self
            .regions
            .iter()
            .flatten()
            .find(|region| region.range.covers(range))
            .ok_or(Refusal::NotRam)?;
        let offset = range.start().raw().saturating_sub(region.range.start().raw());
        let offset = usize::try_from(offset).map_err(|_| Refusal::NotRam)?;
        let pages = usize::try_from(range.pages()).map_err(|_| Refusal::NotRam)?;
        let start = region.first_entry.checked_add(offset).ok_or(Refusal::NotRam)?;
        let end = start.checked_add(pages).ok_or(Refusal::NotRam)?;
        Ok(start..end)
    }

    fn slice(&self, range: PageRange) -> Result<&[FrameEntry], Refusal> {
        self.entries.get(self.bounds(range)?).ok_or(Refusal::NotRam)
    }

    fn slice_mut(&mut self, range: PageRange) -> Result<&mut [FrameEntry], Refusal> {
        let bounds = self.bounds(range)?;
        self.entries.get_mut(bounds).ok_or(Refusal::NotRam)
    }
}

/// Says who may reach a device range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceOwner {
    /// EL2 drives the device, or has withdrawn it.
    Hyp,
    /// The host reaches it directly.
    Host,
}

/// The owners of device ranges: sorted, disjoint, filled at boot.
#[derive(Clone, Debug)]
pub struct DeviceMap {
    ranges: [Option<(PageRange, DeviceOwner)>; MAX_DEVICES],
}

impl DeviceMap {
    /// Lists no device.
    pub const EMPTY: Self = Self { ranges: [None; MAX_DEVICES] };

    /// Gives a range that is not listed yet an owner. Refuses [`Overlap`](Refusal::Overlap) and
    /// [`ListFull`](Refusal::ListFull).
    pub fn insert(&mut self, range: PageRange, owner: DeviceOwner) -> Result<(), Refusal> {
        if self.overlaps(range) {
            return Err(Refusal::Overlap);
        }
        let mut moving = Some((range, owner));
        if self.ranges.iter().all(Option::is_some) {
            return Err(Refusal::ListFull);
        }
        for slot in &mut self.ranges {
            let Some((new, _)) = moving else { break };
            match slot {
                Some((old, _)) if old.end() <= new.start().raw() => {}
                Some(_) | None => core::mem::swap(slot, &mut moving),
            }
        }
        Ok(())
    }

    /// Takes `range` away from the host: every part of it that is listed as the host's becomes
    /// EL2's, and what is not listed is added as EL2's.
    pub fn withdraw(&mut self, range: PageRange) -> Result<(), Refusal> {
        let mut next = Self::EMPTY;
        for (old, owner) in self.iter() {
            for part in outside(old, range) {
                next.insert(part, owner)?;
            }
        }
        next.insert(range, DeviceOwner::Hyp)?;
        *self = next;
        Ok(())
    }

    /// Returns the owner of the device that `page` belongs to, if there is one.
    #[cfg(any(test, feature = "invariants"))]
    pub fn owner(&self, page: Pfn) -> Option<DeviceOwner> {
        self.iter().find(|(range, _)| range.contains(page)).map(|(_, owner)| owner)
    }

    /// Tells whether a listed range has a page in common with `range`.
    pub fn overlaps(&self, range: PageRange) -> bool {
        self.iter().any(|(listed, _)| listed.overlaps(range))
    }

    /// Lists ranges and owners in rising order.
    pub fn iter(&self) -> impl Iterator<Item = (PageRange, DeviceOwner)> + '_ {
        self.ranges.iter().copied().flatten()
    }
}

/// Lists the parts of `range` that `hole` does not cover.
fn outside(range: PageRange, hole: PageRange) -> impl Iterator<Item = PageRange> {
    let below_end = hole.start().raw().min(range.end());
    let below = below_end
        .checked_sub(range.start().raw())
        .and_then(|pages| PageRange::new(range.start(), pages).ok());
    let above_start = hole.end().max(range.start().raw());
    let above = range
        .end()
        .checked_sub(above_start)
        .and_then(|pages| PageRange::new(Pfn::new(above_start)?, pages).ok());
    [below, above].into_iter().flatten()
}

#[cfg(test)]
mod tests;
